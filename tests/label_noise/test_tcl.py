"""TCL: co-labels against Dawid and Skene and by hand, its rounds, and what it refuses."""

import dataclasses

import crowd_phases
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill import label_noise
from jaxdistill.data import Vectors
from jaxdistill.data.crowds import Crowd
from jaxdistill.data.examples import Examples
from jaxdistill.errors import UserError
from jaxdistill.estimation import confusions, votes
from jaxdistill.label_noise import colabels, tcl
from jaxdistill.label_noise.method import Setting
from jaxdistill.label_noise.observed import Evidence

CLASSES, N = 3, 60
UNIFORM = jnp.full(CLASSES, 1 / CLASSES)
TRUSTED = Examples(
  np.zeros((6, 1, 2, 1), np.uint8), np.arange(6) % CLASSES, CLASSES, (0.5,), (0.5,)
)


def random_crowd(seed, annotators=5, missing=0.3, n=N):
  random = np.random.default_rng(seed)
  table = random.integers(CLASSES, size=(n, annotators))
  table[random.random(table.shape) < missing] = -1
  table[:, 0] = random.integers(CLASSES, size=n)
  return Crowd.from_table(table, CLASSES)


def random_beliefs(seed, n=N):
  beliefs = np.random.default_rng(seed).dirichlet(np.ones(CLASSES), size=n)
  return jax.device_put(np.float32(beliefs))


def setting(crowd=None, trusted=TRUSTED):
  asked = dict(make_optimizer=lambda *fields: optax.sgd(1.0), make_views=lambda *fields: fields)
  evidence = Evidence(random_crowd(0) if crowd is None else crowd)
  sizes = dict(epochs=3, batch=8, epoch_steps=10)
  return Setting(
    nn.Dense(CLASSES), evidence, None, weak=(), strong=(), trusted=trusted, **sizes, **asked
  )


def log_softmax(logits):
  return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_one_annotator_who_is_always_right_decides_whatever_the_network_says():
  truth = np.arange(N) % CLASSES
  crowd = Crowd.from_labels(truth, CLASSES)
  said = colabels.by_crowd(crowd, votes.soft(crowd), UNIFORM)
  believed = colabels.agreed(random_beliefs(1), said, UNIFORM)
  np.testing.assert_allclose(believed, np.eye(CLASSES)[truth], atol=1e-5)


@pytest.mark.parametrize('seed', range(3))
def test_uncalibrated_rounds_with_a_constant_network_are_dawid_and_skenes(seed):
  crowd, rounds = random_crowd(seed), 7
  constant, believed = jnp.full((N, CLASSES), 1 / CLASSES), votes.soft(crowd)
  for _ in range(rounds):
    network = colabels.by_network(constant)
    believed = colabels.agreed(network, colabels.by_crowd(crowd, believed, UNIFORM), UNIFORM)
  wanted = confusions.fit(crowd, votes.soft(crowd), UNIFORM, iterations=rounds, tolerance=-np.inf)
  np.testing.assert_allclose(believed, wanted.beliefs, atol=1e-5)


def test_the_prior_counts_once():
  prior = jnp.array([0.7, 0.2, 0.1])
  views = jnp.broadcast_to(prior, (2, CLASSES))
  np.testing.assert_allclose(colabels.agreed(views, views, prior), views, rtol=1e-6)


def test_co_labels_are_their_formula():
  crowd, believed, network = random_crowd(3), random_beliefs(4), random_beliefs(5)
  prior = np.array([0.5, 0.3, 0.2])
  counts = np.zeros((crowd.num_annotators, CLASSES, CLASSES))
  for i, r, k in zip(crowd.example, crowd.annotator, crowd.label):
    counts[r, :, k] += believed[i]
  matrices = counts / counts.sum(2, keepdims=True)
  wanted = np.asarray(network, np.float64).copy()
  for i, r, k in zip(crowd.example, crowd.annotator, crowd.label):
    wanted[i] *= matrices[r, :, k]  # prior_c of the crowd's view goes with the division
  wanted /= wanted.sum(1, keepdims=True)
  said = colabels.by_crowd(crowd, believed, prior)
  np.testing.assert_allclose(colabels.agreed(network, said, prior), wanted, atol=1e-5)
  np.testing.assert_allclose(colabels.annotators(crowd, believed), matrices, atol=1e-5)


def test_a_class_that_nobody_believes_in_has_a_uniform_row():
  crowd = Crowd.from_labels(np.zeros(N, int), CLASSES)
  matrices = colabels.annotators(crowd, jnp.eye(CLASSES)[np.zeros(N, int)])
  np.testing.assert_allclose(matrices[0, 1:], np.full((2, CLASSES), 1 / CLASSES))


def test_constant_scores_are_calibrated_to_the_share_of_each_class():
  scores = jnp.full((4, CLASSES), 1 / CLASSES)
  calibrated = colabels.by_network(scores[:1], scores, jnp.array([0, 0, 1, 2]))
  np.testing.assert_allclose(calibrated, [[0.5, 0.25, 0.25]], rtol=1e-6)


def test_spammers_have_uniform_rows_and_say_little():
  random, n = np.random.default_rng(0), 2000
  truth = random.integers(CLASSES, size=n)
  good = np.where(random.random((n, 4)) < 0.85, truth[:, None], (truth[:, None] + 1) % CLASSES)
  table = np.concatenate([good, random.integers(CLASSES, size=(n, 2))], 1)
  alone, all_of_them = (Crowd.from_table(table[:, :k], CLASSES) for k in (4, 6))
  constant = jnp.full((n, CLASSES), 1 / CLASSES)
  believed = {}
  for name, crowd in (('alone', alone), ('all', all_of_them)):
    believed[name] = votes.soft(crowd)
    for _ in range(10):
      said = colabels.by_crowd(crowd, believed[name], UNIFORM)
      believed[name] = colabels.agreed(constant, said, UNIFORM)
  spammers = colabels.annotators(all_of_them, believed['all'])[4:]
  np.testing.assert_allclose(spammers, np.full_like(spammers, 1 / CLASSES), atol=0.06)
  assert np.abs(believed['all'] - believed['alone']).mean() < 0.03


def test_the_loss_is_the_divergence_from_the_co_labels():
  logits, q = np.random.default_rng(0).normal(size=(4, CLASSES)), np.array(random_beliefs(2))
  q[7] = [0, 1, 0]
  index, weight = np.array([3, 7, 5, 5]), np.array([1.0, 1, 1, 0])
  log_p = log_softmax(logits)
  wanted = (np.where(q > 0, q * np.log(np.maximum(q, 1e-30)), 0)[index] - q[index] * log_p).sum(1)
  scene = tcl.Scene(
    {'net': {'logits': jnp.asarray(logits)}},
    {'index': jnp.asarray(index), 'weight': jnp.asarray(weight)},
    beliefs={'colabels': jnp.asarray(q)},
  )
  loss = tcl.of_colabels('net')(scene)
  np.testing.assert_allclose(loss, wanted[:3].mean(), rtol=1e-5)


def looked(seed=0, networks=2):
  """Answers of networks that were never trained, and of the same to trusted examples."""
  random = np.random.default_rng(seed)
  answers = {'train': N, 'trusted': len(TRUSTED)}
  answers = {of: random.normal(size=(networks, n, CLASSES)) for of, n in answers.items()}
  return lambda variables, part='net', of='train': {'logits': answers[of]}


def test_a_round_calibrates_each_network_on_the_trusted_examples():
  asked, look = setting(), looked()
  believed = jnp.stack([random_beliefs(6), random_beliefs(7)])
  agreement = tcl.Agreement(asked, True, np.asarray(UNIFORM))
  after = agreement({'beliefs': {'colabels': believed}}, look)
  for number in range(2):
    answers = {
      of: np.exp(log_softmax(look({}, of=of)['logits'][number])) for of in ('train', 'trusted')
    }
    network = colabels.by_network(answers['train'], answers['trusted'], TRUSTED.labels)
    said = colabels.by_crowd(asked.evidence.crowd, believed[number], UNIFORM)
    np.testing.assert_allclose(after[number], colabels.agreed(network, said, UNIFORM), atol=1e-5)


def test_rounds_begin_after_the_first_epochs_and_the_last_co_labels_teach_a_new_network():
  asked, look = setting(), looked()
  rounds, retrain, finetune = tcl.method(asked, pretrain=4, rounds=3, round_epochs=2).phases
  assert (rounds.epochs, rounds.first, rounds.every) == (10, 4, 2)
  variables = {
    'beliefs': {'colabels': jnp.stack([asked.evidence.soft] * 2)},
    'params': {'net': 1.0},
  }
  due = rounds.refresh(variables, look, 4 * asked.epoch_steps)['colabels']
  assert not np.allclose(due, variables['beliefs']['colabels'])
  begun = retrain.begin({'rounds': variables}, look)
  assert list(begun) == ['beliefs'] and np.array_equal(begun['beliefs']['colabels'], due)
  ended = {'rounds': variables, 'retrain': {**variables, **begun}}
  assert finetune.begin(ended, look)['params'] == {'net': 1.0}
  assert (retrain.epochs, finetune.epochs, finetune.on) == (20, 10, 'trusted')


def test_the_recipes_optimiser_is_that_of_the_examples_of_each_phase():
  asked, phases = setting(), []
  optimizer = lambda *fields: phases.append(fields[0:1] + fields[-1:]) or optax.sgd(1.0)
  asked = dataclasses.replace(asked, make_optimizer=optimizer)
  tcl.method(asked, pretrain=1, rounds=2, retrain=4, finetune=5, optimizer='recipe')
  assert phases == [(3, 'train'), (4, 'train'), (5, 'trusted')]


def test_a_length_of_rounds_that_does_not_divide_the_first_epochs():
  asked, look = setting(), looked()
  rounds = tcl.method(asked, pretrain=3, rounds=2, round_epochs=2).phases[0]
  variables = {'beliefs': {'colabels': jnp.stack([asked.evidence.soft] * 2)}}
  passes = [epoch for epoch in range(7) if epoch >= rounds.first and epoch % rounds.every == 0]
  due = [epoch for epoch in passes if rounds.refresh(variables, look, epoch * asked.epoch_steps)]
  assert due == [3, 5]  # and once more in the end


def test_what_it_believes_in_the_end():
  asked = setting()
  believed = jnp.stack([random_beliefs(6), random_beliefs(7)])
  result = tcl.method(asked).believe({'beliefs': {'colabels': believed}}, None)
  np.testing.assert_array_equal(result.labels, believed)
  wanted = colabels.annotators(asked.evidence.crowd, believed[1])
  np.testing.assert_array_equal(result.confusions[1], wanted)


def test_an_mlp_reads_every_annotators_label():
  asked = setting(random_crowd(0, missing=0.0))
  method = tcl.method(asked, aggregator='mlp', hidden=4)
  rounds, retrain = method.phases[:2]
  assert rounds.tables['said'].shape == (N, 5) and not retrain.tables
  assert [player.name for player in rounds.game.players] == ['net', 'aggregator']
  module = rounds.game.parts['aggregator'].module
  said = jnp.asarray(rounds.tables['said'])
  params = jax.vmap(lambda key: module.init(key, said)['params'])(
    jax.random.split(jax.random.key(0))
  )
  variables = {
    'params': {'aggregator': params},
    'beliefs': {'colabels': jnp.stack([asked.evidence.soft] * 2)},
  }
  after = rounds.refresh(variables, looked(), rounds.first * asked.epoch_steps)['colabels']
  own = module.apply({'params': jax.tree.map(lambda leaf: leaf[1], params)}, said)['logits']
  answers = {
    of: np.exp(log_softmax(looked()({}, of=of)['logits'][1])) for of in ('train', 'trusted')
  }
  network = colabels.by_network(answers['train'], answers['trusted'], TRUSTED.labels)
  wanted = colabels.agreed(network, jax.nn.softmax(own), UNIFORM)
  np.testing.assert_allclose(after[1], wanted, atol=1e-5)


def test_no_program_has_an_array_of_all_annotators_for_every_example(monkeypatch):
  """Co-labels by both aggregators; the MLP says what it does of all examples at once."""
  examples, annotators = 64, 40
  bound = examples * annotators * CLASSES / 4
  sparse = random_crowd(1, annotators, missing=0.95, n=examples)
  believed = random_beliefs(2, examples)
  for function in (
    lambda q: colabels.by_crowd(sparse, q, UNIFORM),
    lambda q: colabels.annotators(sparse, q),
  ):
    assert max(crowd_phases.sizes(jax.make_jaxpr(function)(believed).jaxpr)) < bound
  monkeypatch.setattr(tcl, '_AT_ONCE', 12)
  said = jnp.asarray(np.random.default_rng(0).integers(CLASSES, size=(examples, annotators)))
  module = tcl.Aggregator(CLASSES, hidden=5)
  keys = jax.random.split(jax.random.key(0))
  variables = jax.vmap(lambda key: module.init(key, said[:1]))(keys)
  answers = tcl._aggregated(module, variables, said)
  expected = jax.vmap(module.apply, (0, None))(variables, said)['logits']
  np.testing.assert_allclose(answers, jax.nn.softmax(expected), atol=1e-6)
  program = jax.make_jaxpr(tcl._aggregated, static_argnums=0)(module, variables, said)
  assert max(crowd_phases.sizes(program.jaxpr)) < examples * annotators * CLASSES


@pytest.mark.parametrize(
  'fields, word',
  [
    ({'rounds': 0}, 'rounds'),
    ({'pretrain': -1}, 'pretrain'),
    ({'prior': (0.5, 0.5)}, 'prior needs 3'),
    ({'prior': (0.5, 0.5, 0.5)}, 'sum to 1'),
    ({'prior': (1.0, 0.0, 0.0)}, 'above 0'),
    ({'aggregator': 'mlp'}, 'every annotator'),
  ],
)
def test_bad_fields_are_refused(fields, word):
  with pytest.raises(UserError, match=word):
    tcl.method(setting(), **fields)


def test_it_needs_trusted_examples_of_every_class():
  with pytest.raises(UserError, match='there are none'):
    tcl.method(setting(trusted=None))
  with pytest.raises(UserError, match='there are none'):
    tcl.method(setting(trusted=None), calibrate=False)
  some = Examples(TRUSTED.images[:2], np.array([0, 2]), CLASSES, (0.5,), (0.5,))
  with pytest.raises(UserError, match='none of class 1'):
    tcl.method(setting(trusted=some))
  phases = tcl.method(setting(trusted=None), calibrate=False, finetune=0).phases
  assert [phase.name for phase in phases] == ['rounds', 'retrain']


def adversarial(number=2000, trusted=20, annotators=50):
  """(Vectors, their crowd, trusted vectors) of four classes in the plane, one label a vector: 40 %
  of the annotators mean to be right, the others to name a class one, two or three further on; nine
  times of ten they say what they mean."""
  random, classes = np.random.RandomState(0), 4
  truth = np.r_[random.randint(classes, size=number), np.arange(trusted) % classes]
  centres = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
  points = centres[truth] + 0.5 * random.normal(size=(number + trusted, 2))
  said = np.arange(annotators)[:, None, None] * np.ones((1, classes, classes))
  good = said < 0.4 * annotators
  shift = 1 + np.arange(annotators) % (classes - 1)
  wrong = (np.arange(classes)[None] + shift[:, None]) % classes
  said = np.where(good, np.eye(classes), np.eye(classes)[wrong])
  confusion = 0.9 * said + 0.1 * (1 - said) / (classes - 1)
  who = random.randint(annotators, size=number)
  drawn = confusion[who, truth[:number]].cumsum(1) < random.random_sample((number, 1))
  crowd = Crowd.from_triples(np.arange(number), who, drawn.sum(1), classes)
  vectors = Vectors(points, truth)
  return vectors.take(np.arange(number)), crowd, vectors.take(number + np.arange(trusted))


@pytest.mark.slow
def test_an_adversarial_crowd_needs_trusted_examples():
  """The co-labels beat the vote and Dawid and Skene's labels by far; without the calibration much
  less."""
  vectors, crowd, trusted = adversarial()
  right = lambda labels: (labels == vectors.labels).mean()
  vote = right(np.asarray(votes.majority(crowd)))
  dawid_skene = right(label_noise.aggregate(crowd).labels)
  accuracy = {}
  for calibrate in (True, False):
    fields = {
      'rounds': 15,
      'retrain': 1,
      'finetune': 1,
      'learning_rate': 0.01,
      'calibrate': calibrate,
    }
    result = label_noise.fit(
      vectors,
      crowd,
      vectors,
      'tcl',
      {'name': 'mlp', 'width': 32, 'depth': 1},
      seeds=1,
      trusted=trusted,
      truth=vectors.labels,
      validation=0,
      overrides={f'method.{name}': value for name, value in fields.items()},
    )
    accuracy[calibrate] = right(result.beliefs[0].argmax(1))
  assert accuracy[True] > max(vote, dawid_skene) + 0.3
  assert accuracy[True] > accuracy[False] + 0.2

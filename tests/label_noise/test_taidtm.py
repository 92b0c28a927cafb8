"""TAIDTM: what is distilled and kept, whose steps are whose, the losses of its stages, and the
phases handing on to each other; against numbers by hand."""

import crowd_phases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill import models
from jaxdistill.data.crowds import Crowd
from jaxdistill.data.examples import Examples
from jaxdistill.errors import UserError
from jaxdistill.label_noise import (
  annotator_graph,
  annotator_matrices,
  annotator_steps,
  distilled,
  keeping,
  taidtm,
  transition_stages,
  vote,
)
from jaxdistill.label_noise.keeping import Keeping
from jaxdistill.label_noise.method import Setting
from jaxdistill.label_noise.observed import ANNOTATORS, GIVEN, Evidence
from jaxdistill.training.scene import Scene

CROWD = Crowd.from_table(
  [[0, 1, -1], [1, -1, -1], [-1, 2, 2], [0, -1, 0], [2, -1, 1], [1, 1, -1]], classes=3
)
LOGITS = jax.device_put(np.float32(np.random.RandomState(0).standard_normal((6, 3))))
WEIGHT = jnp.array([1.0, 1, 1, 1, 1, 0])


def scene_of(crowd=CROWD, rows=np.arange(6), outputs=None, beliefs=None, step=0):
  tables = {name: jnp.asarray(table[rows]) for name, table in Evidence(crowd).tables.items()}
  batch = {**tables, 'weight': WEIGHT[rows], 'index': jnp.asarray(rows)}
  outputs = {'net': {'logits': LOGITS[rows]}, **(outputs or {})}
  return Scene(outputs, batch, step=step, beliefs=beliefs or {}, is_whole=True)


def labels_of(examples):
  """(example, annotator, label) of the rows that count."""
  return [triple for triple in zip(*map(np.asarray, CROWD.triples)) if triple[0] in examples]


def test_with_identities_the_joint_loss_is_cross_entropy_on_all_labels():
  identities = jnp.broadcast_to(jnp.eye(3), (6, 2, 3, 3))
  scene = scene_of(outputs={'heads': {'transition': identities}})
  log_p = np.asarray(jax.nn.log_softmax(LOGITS), np.float64)
  expected = -np.mean([log_p[example, label] for example, _, label in labels_of(range(5))])
  assert transition_stages.joint_loss(scene) == pytest.approx(expected, rel=1e-5)
  assert transition_stages.plain_loss(scene) == pytest.approx(expected, rel=1e-5)


def test_the_joint_loss_mixes_the_rows_of_each_annotator():
  matrices = np.random.RandomState(1).dirichlet(np.ones(3), (6, 2, 3))
  scene = scene_of(outputs={'heads': {'transition': jax.device_put(np.float32(matrices))}})
  p, places = np.asarray(jax.nn.softmax(LOGITS)), np.asarray(scene.batch[ANNOTATORS]).tolist()
  said = []
  for example, annotator, label in labels_of(range(5)):
    place = places[example].index(annotator)
    said.append(p[example] @ matrices[example, place, :, label])
  expected = -np.log(said).mean()
  assert transition_stages.joint_loss(scene) == pytest.approx(expected, rel=1e-5)


def test_the_balance_is_the_divergence_of_the_mean_answer():
  mean = np.asarray(jax.nn.softmax(LOGITS))[:5].mean(0)
  expected = (np.log(1 / 3 / mean) / 3).sum()
  assert transition_stages.balance(scene_of()) == pytest.approx(expected, rel=1e-5)


def test_of_the_matrices_alone_distilled_examples_count():
  rows = np.random.RandomState(2).dirichlet(np.ones(3), (6, 2)).astype(np.float32)
  kept = jnp.array([1.0, 0, 1, 0, 0, 1])
  scene = scene_of(outputs={'heads': {'rows': jnp.asarray(rows)}}, beliefs={'kept': kept})
  places, said = np.asarray(scene.batch[ANNOTATORS]).tolist(), []
  for example, annotator, label in labels_of((0, 2)):
    said.append(rows[example, places[example].index(annotator), label])
  expected = -np.log(said).mean()
  assert transition_stages.distilled_loss(scene) == pytest.approx(expected, rel=1e-5)


def test_distilled_are_those_above_the_margin_and_the_best_of_a_rare_class():
  probabilities = np.array([[0.56, 0.44, 0], [0.54, 0.46, 0], [0.3, 0.4, 0.3], [0.2, 0.5, 0.3]])
  kept, guess = distilled.distil(probabilities, margin=0.1, least=1)
  assert kept.tolist() == [1, 0, 0, 1] and guess.tolist() == [0, 0, 1, 1]
  kept, _ = distilled.distil(probabilities, margin=0.1, least=0)
  assert kept.tolist() == [1, 0, 0, 0]
  several = distilled.distil(np.stack([probabilities, probabilities[::-1]]), least=1)
  assert several.kept.tolist() == [[1, 0, 0, 1], [1, 0, 0, 1]]
  assert several.guess.tolist() == [[0, 0, 1, 1], [1, 1, 0, 0]]


def test_each_annotator_is_asked_about_his_distilled_examples():
  kept = np.array([1, 1, 1, 1, 0, 1])
  positions, count = distilled.by_annotator(CROWD, kept, most=3, least=2)
  # Annotator 0 labelled the distilled 0, 1, 3, 5; annotator 1 of them 0, 2, 5; annotator 2 2 and 3.
  assert count.tolist() == [3, 3, 2] and positions.shape == (3, 3)
  assert set(positions[0]) < {0, 1, 3, 5} and len(set(positions[0])) == 3
  assert sorted(positions[1]) == [0, 2, 5] and sorted(positions[2, :2]) == [2, 3]
  assert distilled.by_annotator(CROWD, kept, most=3, least=3).count.tolist() == [3, 3, 0]


def setting_of(crowd=CROWD, validation=None):
  images = np.random.RandomState(3).randint(256, size=(crowd.num_examples, 2, 2, 1))
  evidence = Evidence(crowd)
  return Setting(
    network=models.build({'name': 'mlp', 'width': 8, 'depth': 1}, crowd.num_classes, (2, 2, 1)),
    evidence=evidence,
    examples=Examples(
      images.astype(np.uint8), evidence.labels, crowd.num_classes, (0.5,), (0.25,), False
    ),
    epochs=2,
    batch=4,
    epoch_steps=-(-crowd.num_examples // 4),
    weak=(),
    strong=(),
    make_optimizer=lambda epochs, rate, constant, decay, on: optax.sgd(rate or 0.1, momentum=0.9),
    make_views=lambda named, common: None,
    validation=validation,
  )


def test_a_step_has_the_rows_and_the_labels_of_one_annotator():
  steps = annotator_steps.of(setting_of(), rounds=2, most=3)
  assert (steps.rows, steps.annotators, steps.passes) == (3, 3, 3)  # 6 steps, 2 a pass
  kept = np.array([[1.0, 1, 1, 1, 0, 1]])
  beliefs = annotator_steps.believed(CROWD, kept, steps.rows, least=3)
  beliefs = {name: jnp.asarray(value[0]) for name, value in beliefs.items()}
  positions, weights = steps.draw(None, jnp.int32(4), beliefs)
  assert positions.tolist() == beliefs['positions'][1].tolist() and weights.tolist() == [1, 1, 1]
  # Annotator 2 has too few: rows for batch normalisation, and no label among them.
  positions, weights = steps.draw(None, jnp.int32(2), beliefs)
  assert weights.tolist() == [1, 1, 1]
  counted = steps.loss(lambda scene: (scene.batch[ANNOTATORS] >= 0).sum())
  seen = steps.loss(lambda scene: jnp.where(scene.batch[ANNOTATORS] >= 0, scene.batch[GIVEN], 0))
  assert counted(scene_of(beliefs=beliefs, step=2)) == 0
  assert counted(scene_of(beliefs=beliefs, step=1)) == 3
  assert seen(scene_of(beliefs=beliefs, step=1)).sum(1).tolist() == [1, 0, 2, 0, 0, 1]
  # Behind the last round nobody is asked.
  assert counted(scene_of(beliefs=beliefs, step=5 * 3 + 1)) == 0


def test_a_step_moves_the_layer_of_its_annotator_alone():
  optimizer = annotator_steps.asked_alone(optax.sgd(0.1, momentum=0.9), 'heads')
  params = {'heads': {'layers': jnp.ones((3, 2))}, 'trunk': {'w': jnp.ones(2)}}
  state = optimizer.init(params)
  zero = jax.tree.map(jnp.zeros_like, params)
  for number in (0, 2):
    gradient = {'heads': {'layers': zero['heads']['layers'].at[number].set(1.0)}}
    gradient['trunk'] = {'w': jnp.ones(2)}
    updates, state = optimizer.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
  np.testing.assert_allclose(params['heads']['layers'][:, 0], [0.9, 1, 0.9], rtol=1e-6)
  np.testing.assert_allclose(params['trunk']['w'], 1 - 0.1 - 0.19, rtol=1e-6)
  updates, rested = optimizer.update(zero, state, params)
  assert not any(leaf.any() for leaf in jax.tree.leaves(updates))
  jax.tree.map(np.testing.assert_array_equal, rested, state)


def test_the_best_state_by_noisy_validation_is_kept():
  held_out = Evidence(Crowd.from_table([[0, 0], [1, -1], [0, 1]], classes=2))
  first = lambda key: {'params': {'w': jnp.ones(2)}, 'batch_stats': {'mean': jnp.ones(())}}
  kept = Keeping({'net': first}, held_out)
  answers = {}
  look = lambda variables, part, of: {'logits': answers['now']}
  begin = kept.beliefs['best'](jax.random.key(0))
  best = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), begin)

  def state(value, best):
    params = {'net': {'w': np.full((2, 2), value)}, 'other': {'w': np.zeros(2)}}
    stats = {'net': {'mean': np.full(2, value)}}
    return {'params': params, 'batch_stats': stats, 'beliefs': {'best': best}}

  says = lambda *labels: np.eye(2)[np.array(labels)]
  # Network 0 agrees fully but in the third; network 1 with half of that and nothing else.
  answers['now'] = np.stack([says(0, 1, 0), says(1, 0, 1)])
  best = kept.refresh(state(1.0, best), look, 5)['best']
  np.testing.assert_allclose(best['score'], [2.5 / 3, 0.5 / 3], rtol=1e-6)
  answers['now'] = np.stack([says(0, 0, 0), says(0, 0, 0)])
  ended = kept.best(state(2.0, best), look)
  assert ended['params']['net']['w'][:, 0].tolist() == [1, 2]
  assert ended['batch_stats']['net']['mean'].tolist() == [1, 2]
  assert set(ended) == {'params', 'batch_stats'} and set(ended['params']) == {'net'}
  # Without examples to hold out it is the last state.
  last = Keeping({'net': first}, None)
  assert (last.beliefs, last.refresh) == ({}, None)
  assert last.best(state(2.0, best), look)['params']['net']['w'].tolist() == [[2, 2], [2, 2]]


def test_agreement_is_the_mean_share_of_an_examples_labels():
  logits = np.array([[[1.0, 0, 0]] * 6])
  # Of the examples' labels [0 1], [1], [2 2], [0 0], [2 1], [1 1] it says 0.
  assert keeping.agreement(logits, Evidence(CROWD)).tolist() == [0.25]


@pytest.mark.parametrize(
  'fields, names',
  [
    ({'stage': 'global'}, 'warmup global global_joint'),
    ({'stage': 'individual'}, 'warmup global global_joint individual individual_joint'),
    (
      {'stage': 'individual', 'joint_stages': 'last'},
      'warmup global individual individual_joint',
    ),
    ({}, 'warmup global global_joint individual gcn gcn_joint'),
    ({'joint_stages': 'last'}, 'warmup global individual gcn gcn_joint'),
    (
      {'joint_stages': 'all'},
      'warmup global global_joint individual individual_joint gcn gcn_joint',
    ),
  ],
)
def test_stages_are_phases(fields, names):
  made = taidtm.method(setting_of(), **fields)
  assert ' '.join(phase.name for phase in made.phases) == names and made.reconstruction
  epochs = {phase.name: phase.epochs for phase in made.phases}
  assert (epochs['warmup'], epochs['global'], epochs[made.phases[-1].name]) == (5, 5, 2)


@pytest.mark.parametrize(
  'fields, words',
  [
    ({'margin': 1.0}, 'margin'),
    ({'neighbours': 3}, 'neighbours'),
    ({'rank': 0}, 'rank'),
    ({'least': 0}, 'least'),
    ({'joint_epochs': -1}, 'joint_epochs'),
    ({'warmup': 0}, 'warmup'),
  ],
)
def test_numbers_out_of_range_are_refused(fields, words):
  with pytest.raises(UserError, match=words):
    taidtm.method(setting_of(), **fields)


@pytest.mark.slow
def test_no_step_has_a_matrix_of_all_annotators_for_every_example():
  """From fresh weights, in every phase."""
  annotators, batch = 100, 16
  images, truth = crowd_phases.blobs(64)
  many = crowd_phases.crowd(truth, np.full(annotators, 0.7))
  setting = crowd_phases.setting(images, many, batch=batch)
  fields = dict(width=4, joint_stages='all', most=batch, least=1)
  ended = {}
  for phase in taidtm.method(setting, **fields).phases:
    problem = crowd_phases.ready(setting, phase, 1, ended)
    bound = batch * annotators * crowd_phases.CLASSES**2
    assert crowd_phases.largest_array(problem) < bound, phase.name
    ended[phase.name] = jax.tree.map(np.asarray, problem.state.variables)
  assert len(ended) == 7


def played(setting, method, networks):
  """The variables that every phase ends with, by name."""
  ended = {}
  for phase in method.phases:
    size = min(phase.batch or setting.batch, len(setting.evidence))
    steps = phase.epochs * -(-len(setting.evidence) // size)
    ended[phase.name], losses = crowd_phases.run(setting, phase, networks, ended, steps=steps)
    assert np.isfinite(losses).all(), phase.name
  return ended


def test_stages_hand_on_what_they_have_learned():
  images, truth = crowd_phases.blobs(40)
  # The third annotator says little, so that he has too few distilled examples.
  table = crowd_phases.crowd(truth).to_table()
  table[4:, 2] = np.where(table[4:, :2].max(1) >= 0, -1, table[4:, 2])
  setting = crowd_phases.setting(images, Crowd.from_table(table, 4), epochs=1, batch=20)
  short = dict(warmup=3, global_epochs=1, individual_epochs=1, graph_epochs=1, width=4)
  made = taidtm.method(setting, least=5, margin=0.0, **short)
  ended = played(setting, made, networks=1)
  assert list(ended) == [phase.name for phase in made.phases]
  params = {name: variables['params'] for name, variables in ended.items()}
  assert_same = lambda one, other: jax.tree.map(np.testing.assert_array_equal, one, other)
  differ = lambda one, other: (
    not all(jax.tree.leaves(jax.tree.map(lambda a, b: np.array_equal(a, b), one, other)))
  )
  # The classifier of the warm-up rests while T learns alone, and every joint phase begins with it.
  for name in ('global', 'individual', 'gcn'):
    assert_same(params[name]['net'], params['warmup']['net'])
  for name in ('global_joint', 'gcn_joint'):
    assert differ(params[name]['net'], params['warmup']['net'])
  # Annotators that are asked have layers of their own, the others the common one.
  counts = ended['individual']['beliefs']['count']
  assert (counts[:, :2] >= 5).all() and (counts[:, 2] == 0).all()
  common, own = params['global_joint']['heads']['layer'], params['individual']['heads']['layers']
  assert_same(own[:, 2], common)
  assert all(differ(own[:, number], common) for number in (0, 1))
  # The trunk of the common T is that of the convolutions, which learn alone at first.
  assert_same(params['gcn']['trunk'], params['global_joint']['trunk'])
  assert differ(params['gcn_joint']['trunk'], params['gcn']['trunk'])
  # What is distilled is kept to the end, and the graph is of the layers.
  assert_same(ended['gcn_joint']['beliefs'], ended['gcn']['beliefs'])
  vectors = (common[:, None] - own)[0].reshape(3, -1)
  graph = annotator_graph.annotator_graph(vectors, 1, 5, counts[0] == 0)
  np.testing.assert_allclose(ended['gcn']['beliefs']['graph'][0], graph, atol=1e-5)
  look = crowd_phases.looking(setting, made.phases[-1])
  believed = made.believe(ended['gcn_joint'], look)
  assert believed.confident.shape == (1, 40) and believed.confident.any()
  assert (believed.confident <= (ended['global']['beliefs']['kept'] > 0)).all()
  np.testing.assert_allclose(believed.confusions.sum(-1), np.ones((1, 3, 4)), rtol=1e-5)


def grouped(images, truth, annotators=30, seed=0):
  """(A crowd in three groups, two labels an image; the groups' laws [3, n, 4]; groups): group g
  takes class c for c + g + 1, often where one pixel is bright."""
  random, number = np.random.RandomState(seed), len(truth)
  group, laws = np.arange(annotators) % 3, np.zeros((3, number, 4))
  for law, of_group in enumerate(laws):
    rate = np.where(images[:, 0, law, 0] > 0.5, 0.6, 0.1)
    of_group[np.arange(number), truth] = 1 - rate
    of_group[np.arange(number), (truth + law + 1) % 4] = rate
  who = np.argsort(random.random_sample((number, annotators)), 1)[:, :2].ravel()
  example = np.repeat(np.arange(number), 2)
  sums = laws[group[who], example].cumsum(1)
  said = (random.random_sample((len(who), 1)) >= sums[:, :3]).sum(1)
  crowd = Crowd.from_triples(example, who, said, 4, examples=number, annotators=annotators)
  return crowd, laws, group


@pytest.mark.slow
def test_groups_are_found_and_the_matrices_come_nearer_from_stage_to_stage():
  images, truth = crowd_phases.blobs(3000, spread=0.15)
  test_images, test_truth = crowd_phases.blobs(2000, spread=0.15, seed=1)
  crowd, laws, group = grouped(images, truth)
  network = models.build({'name': 'mlp', 'width': 64, 'depth': 1}, 4, images.shape[1:])
  setting = crowd_phases.setting(
    images, crowd, network=network, epochs=30, batch=128, rate=0.02, momentum=0.9
  )
  made = taidtm.method(setting, warmup=10, global_epochs=10)
  ended = played(setting, made, networks=1)
  # Distilled classes are right far more often than labels, and many.
  kept, guess = (ended['global']['beliefs'][name][0] for name in ('kept', 'guess'))
  labels_right = (np.asarray(crowd.label) == truth[np.asarray(crowd.example)]).mean()
  assert labels_right < 0.7 and (guess == truth)[kept > 0].mean() > 0.95
  assert kept.mean() > 0.4
  # Who adapted alike is of one group.
  layer = ended['global_joint']['params']['heads']['layer']
  layers = ended['individual']['params']['heads']['layers']
  vectors = (layer[:, None] - layers)[0].reshape(30, -1)
  edges = annotator_graph.neighbour_graph(vectors, 5)
  cut = annotator_graph.rank_cut(edges, 5)
  before, after = (annotator_graph.inside_share(graph, group) for graph in (edges, cut))
  assert before > 0.9 and after >= before
  errors, divergences = {}, {}
  for phase in made.phases:
    if phase.name.endswith('joint'):
      variables = ended[phase.name]
      hidden = crowd_phases.looking(setting, phase)(variables, 'trunk')['hidden'][0]
      of_all = taidtm.layers_of(variables, 30)
      errors[phase.name] = annotator_matrices.rows_error(of_all, hidden, truth, laws, group)
      rows, true = annotator_matrices.rows_of(of_all, hidden, truth), laws[group]
      logs = np.log(np.maximum(true, 1e-9)) - np.log(np.maximum(rows, 1e-9))
      divergences[phase.name] = (true * logs).sum(-1).mean()
  assert errors['gcn_joint'] < 0.9 * errors['global_joint']
  assert divergences['gcn_joint'] < divergences['global_joint']
  voted = vote.method(setting)
  ended_vote = played(setting, voted, networks=1)
  accuracies = []
  for method, variables in ((made, ended['gcn_joint']), (voted, ended_vote['vote'])):
    answers = crowd_phases.probabilities(method, variables, test_images)[0].argmax(1)
    accuracies.append((answers == test_truth).mean())
  assert accuracies[0] > accuracies[1] + 0.03

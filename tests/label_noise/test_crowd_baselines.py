"""CoNAL, UnionNet-B, DoctorNet and Max-MIG: their losses against numpy in float64, their answers,
and what a step of them keeps in memory."""

import dataclasses
import itertools

import crowd_phases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill.errors import UserError
from jaxdistill.label_noise import conal, doctor_net, max_mig, methods, union_net
from jaxdistill.training.scene import Scene

NAMES = ('conal', 'doctor_net', 'max_mig', 'union_net')
RANDOM = np.random.RandomState(0)
ROWS, CLASSES, ANNOTATORS = 5, 3, 4
LOGITS = RANDOM.normal(size=(ROWS, CLASSES)).astype(np.float32)
# The last row has one label, and the one before it only fills up the batch.
ANNOTATOR = np.array([[0, 1], [2, 3], [1, 2], [0, 3], [3, -1]])
GIVEN = np.array([[0, 2], [1, 1], [2, 0], [1, 2], [2, -1]])
WEIGHT = np.array([1.0, 1.0, 1.0, 0.0, 1.0])
BATCH = {'annotators': ANNOTATOR, 'given': GIVEN, 'weight': WEIGHT.astype(np.float32)}
BATCH = {name: jnp.asarray(entry) for name, entry in BATCH.items()}
# (Row, annotator, label) of all that count.
LABELS = [
  (row, ANNOTATOR[row, place], GIVEN[row, place])
  for row, place in np.argwhere((GIVEN >= 0) & (WEIGHT[:, None] > 0))
]


def softmax(logits, axis=-1):
  logits = np.asarray(logits, np.float64)
  exponentials = np.exp(logits - logits.max(axis, keepdims=True))
  return exponentials / exponentials.sum(axis, keepdims=True)


SHARES = softmax(LOGITS)


def applied(module, *arguments, scale=0.3):
  """(Output, parameters away from where they start) of a module."""
  params = module.init(jax.random.key(0), *arguments)['params']
  leaves, tree = jax.tree.flatten(params)
  random = np.random.RandomState(1)
  moved = [leaf + scale * random.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
  params = jax.tree.unflatten(tree, moved)
  return module.apply({'params': params}, *arguments), jax.tree.map(np.float64, params)


def scene(**outputs):
  return Scene({'net': {'logits': jnp.asarray(LOGITS)}, **outputs}, BATCH)


def unit(vectors):
  return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_conal_mixes_a_common_matrix_with_each_ones_own():
  images = RANDOM.normal(size=(ROWS, 2, 2, 1)).astype(np.float32)
  module = conal.Mixed(ANNOTATORS, CLASSES, width=6, size=5)
  output, params = applied(module, jnp.asarray(images), BATCH['annotators'])
  layer = lambda name, x: x @ params[name]['kernel'] + params[name]['bias']
  image = unit(layer('image2', layer('image1', images.reshape(ROWS, -1))))
  person = unit(params['persons'] + params['bias'])
  losses = []
  for row, annotator, label in LABELS:
    share = 1 / (1 + np.exp(-image[row] @ person[annotator]))
    matrix = share * params['common'] + (1 - share) * params['individual'][annotator]
    losses.append(-np.log(softmax(SHARES[row] @ matrix)[label]))
  seen = scene(crowd=output)
  np.testing.assert_allclose(conal.nll(seen), np.mean(losses), rtol=1e-5)
  apart = np.sqrt(((params['individual'] - params['common']) ** 2).sum((1, 2))).sum()
  np.testing.assert_allclose(conal.apart(seen), apart, rtol=1e-5)
  believed = conal.believe({'params': {'crowd': jax.tree.map(lambda a: a[None], params)}}, None)
  middle = softmax((params['individual'] + params['common']) / 2)
  np.testing.assert_allclose(believed.confusions[0], middle, atol=1e-6)


def test_conal_starts_where_no_distance_has_a_gradient_and_goes_on_all_the_same():
  module = conal.Mixed(ANNOTATORS, CLASSES, width=6, size=5)
  arguments = jnp.ones((ROWS, 2, 2, 1)), BATCH['annotators']
  variables = module.init(jax.random.key(0), *arguments)
  slope = jax.jit(jax.grad(lambda v: module.apply(v, *arguments)['apart'][0]))(variables)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


def test_union_net_gives_one_distribution_over_annotators_and_labels():
  output, params = applied(union_net.Union(ANNOTATORS, CLASSES, 1e-5), BATCH['annotators'])
  raw = params['matrices']
  exponentials = np.exp(raw)
  pairs = exponentials / exponentials.sum((0, 2))[None, :, None]
  losses = [-np.log(SHARES[row] @ pairs[annotator, :, label]) for row, annotator, label in LABELS]
  # A sum over the labels of an example, a mean over the four examples that count.
  np.testing.assert_allclose(union_net.loss(scene(crowd=output)), sum(losses) / 4, rtol=1e-5)
  believed = union_net.believe({'params': {'crowd': {'matrices': raw[None]}}}, None).confusions[0]
  np.testing.assert_allclose(believed, pairs / pairs.sum(2, keepdims=True), rtol=1e-5)


def test_doctor_net_has_a_classifier_for_everybody():
  embedding = RANDOM.normal(size=(ROWS, 6)).astype(np.float32)
  output, params = applied(
    doctor_net.Heads(ANNOTATORS, CLASSES), jnp.asarray(embedding), BATCH['annotators']
  )
  answers = softmax(
    np.einsum('nd,rdc->rnc', embedding, params['kernels']) + params['biases'][:, None]
  )
  losses = [-np.log(answers[annotator, row, label]) for row, annotator, label in LABELS]
  np.testing.assert_allclose(doctor_net.loss(scene(heads=output)), np.mean(losses), rtol=1e-5)


def test_doctor_net_answers_with_the_mean_of_those_who_labelled():
  """More of them than are computed at once."""
  random = np.random.RandomState(2)
  kernels, biases = random.normal(size=(40, 6, CLASSES)), random.normal(size=(40, CLASSES))
  embedding, active = random.normal(size=(ROWS, 6)), np.arange(40) % 2 == 0
  answers = softmax(np.einsum('nd,rdc->rnc', embedding, kernels) + biases[:, None])
  mean = doctor_net.mean_answer(
    *(jax.device_put(np.float32(array)) for array in (embedding, kernels, biases)), active
  )
  np.testing.assert_allclose(mean, answers[active].mean(0), rtol=1e-4)


def test_max_mig_rewards_agreement_on_one_example_and_not_across():
  random = np.random.RandomState(3)
  shares, prior = softmax(random.normal(size=(ROWS, CLASSES))), np.array([0.5, 0.3, 0.2])
  rows = np.flatnonzero(WEIGHT)
  agreement = np.einsum('ic,jc,c->ij', SHARES, shares, 1 / prior)
  same = np.mean([1 + np.log(agreement[i, i]) for i in rows])
  pairs = itertools.permutations(rows, 2)
  across = np.mean([agreement[pair] for pair in pairs])
  loss = max_mig.negative_gain(
    *(jax.device_put(np.float32(array)) for array in (SHARES, shares, prior, WEIGHT))
  )
  np.testing.assert_allclose(loss, across - same, rtol=1e-5)


def test_max_mig_starts_from_the_posterior_of_the_votes_matrices():
  images, truth = crowd_phases.blobs(40)
  setting = crowd_phases.setting(images, crowd_phases.crowd(truth))
  (phase,) = max_mig.method(setting).phases
  tables = setting.evidence.tables
  arguments = tables['annotators'], tables['given']
  output, _ = phase.game.parts['aggregator'].module.init_with_output(jax.random.key(0), *arguments)
  counts = np.zeros((3, crowd_phases.CLASSES, crowd_phases.CLASSES))
  for votes, annotators, given in zip(setting.evidence.soft, *arguments):
    for annotator, label in zip(annotators, given):
      counts[annotator, :, label] += votes
  confusions = counts / counts.sum(2, keepdims=True)
  for row in range(3):
    likelihood = np.prod(
      [confusions[r, :, a] + 1e-4 for r, a in zip(arguments[0][row], arguments[1][row])], axis=0
    )
    np.testing.assert_allclose(output['shares'][row], likelihood / likelihood.sum(), atol=1e-4)


@pytest.mark.parametrize('name', [*NAMES, 'crowd_layer'])
def test_no_step_has_an_array_of_all_annotators_for_every_example(name):
  annotators, batch = 40, 16
  images, truth = crowd_phases.blobs(64)
  many = crowd_phases.crowd(truth, np.full(annotators, 0.7))
  setting = crowd_phases.setting(images, many, batch=batch)
  (phase,) = methods.make(setting, {'name': name}).phases
  largest = crowd_phases.largest_array(crowd_phases.ready(setting, phase, 1))
  # CoNAL's layers on pixels are wider than this network: 128 units of 16 rows.
  assert largest < max(batch * annotators * crowd_phases.CLASSES, 128 * 20 + 1)


@pytest.mark.parametrize(
  'name',
  [name if name == 'doctor_net' else pytest.param(name, marks=pytest.mark.slow) for name in NAMES],
)
def test_a_method_learns_more_than_a_label_says(name):
  """Labels are right in 60 of 100 cases; the answers on new images more often."""
  images, truth = crowd_phases.blobs(128)
  setting = crowd_phases.setting(images, crowd_phases.crowd(truth), epochs=12)
  method = methods.make(setting, {'name': name})
  variables, losses = crowd_phases.run(setting, method.phases[0], 1)
  assert np.mean(losses[-8:]) < np.mean(losses[:8])
  fresh, expected = crowd_phases.blobs(200, seed=5)
  answers = crowd_phases.probabilities(method, variables, fresh)[0]
  np.testing.assert_allclose(answers.sum(1), 1, rtol=1e-5)
  assert (answers.argmax(1) == expected).mean() > 0.75


def test_the_aggregator_of_max_mig_learns_slower():
  images, truth = crowd_phases.blobs(32)
  setting = crowd_phases.setting(images, crowd_phases.crowd(truth), momentum=0.0)
  setting = dataclasses.replace(setting, make_optimizer=lambda *asked: optax.sgd(1.0))
  (phase,) = max_mig.method(setting, rate=0.25).phases
  (player,) = phase.game.players
  params = {'net': {'w': jnp.zeros(2)}, 'aggregator': {'w': jnp.zeros(2)}}
  slope = jax.tree.map(jnp.ones_like, params)
  updates, _ = player.optimizer.update(slope, player.optimizer.init(params), params)
  np.testing.assert_array_equal(updates['net']['w'], -1)
  np.testing.assert_array_equal(updates['aggregator']['w'], -0.25)


@pytest.mark.parametrize(
  'name, fields, sentence',
  [
    ('conal', dict(push=-1.0), 'push is -1.0'),
    ('conal', dict(embedding=0), 'embedding is 0'),
    ('max_mig', dict(prior='flat'), "no prior 'flat'"),
    ('max_mig', dict(rate=-0.1), 'rate is -0.1'),
    ('union_net', dict(epsilon=2.0), 'epsilon is 2.0; it must be from 0 to 1'),
  ],
)
def test_a_wrong_field_is_refused(name, fields, sentence):
  images, truth = crowd_phases.blobs(32)
  setting = crowd_phases.setting(images, crowd_phases.crowd(truth))
  with pytest.raises(UserError, match=sentence):
    methods.make(setting, {'name': name, **fields})

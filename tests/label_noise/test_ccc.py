"""CCC: its virtual step and its correction against numpy and finite differences, its beliefs by
hand, and what its phases do beside CrowdLayer's."""

import dataclasses
import functools

import crowd_phases
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data.crowds import Crowd
from jaxdistill.errors import UserError
from jaxdistill.label_noise import ccc, crowd_layer, meta_sets, methods
from jaxdistill.models.mlp import MLP
from jaxdistill.training import parallel
from jaxdistill.training.game import Standpoint

SMALL = dict(meta_size=16, groups=2, warmup=1, meta_batch=8)
RATE, RHO = 0.5, 0.5


@functools.cache
def small():
  images, truth = crowd_phases.blobs(64)
  return crowd_phases.setting(images, crowd_phases.crowd(truth))


@functools.cache
def crowd_layers():
  """Two CrowdLayers after their phase."""
  return crowd_phases.run(small(), crowd_layer.phase(small()), 2)


def test_a_perfect_classifier_is_not_quite_believed_at_first():
  """e / (e + C - 1) = .2320 for ten classes; the loss is 1.4611, for eight 1.2740."""
  for classes, loss in ((10, 1.4611), (8, 1.2740)):
    everybody = jnp.broadcast_to(jnp.eye(classes), (classes, 1, classes, classes))
    log_p = crowd_layer.log_observed(1e3 * jnp.eye(classes), everybody)
    np.testing.assert_allclose(-jnp.diagonal(log_p[:, 0]), loss, atol=1e-4)


@pytest.mark.usefixtures('programs_of_users')
def test_without_rho_it_is_two_crowd_layers_bit_for_bit():
  method = methods.make(small(), {'name': 'ccc', 'rho': 0.0})
  assert method.members == 2
  ours, theirs = crowd_phases.run(small(), *method.phases, 2), crowd_layers.__wrapped__()
  jax.tree.map(np.testing.assert_array_equal, ours[0], theirs[0])
  assert ours[1] == theirs[1]


def test_with_nothing_to_correct_its_program_gives_the_numbers_of_crowd_layer():
  """While it warms up: the examples of the meta sets weigh nothing."""
  given = dataclasses.replace(small(), epochs=10)
  (phase,) = ccc.method(given, **{**SMALL, 'warmup': 9}).phases
  phase = dataclasses.replace(phase, epochs=small().epochs)
  (ours, curve), (theirs, expected) = crowd_phases.run(small(), phase, 2), crowd_layers()
  np.testing.assert_allclose(curve, expected, rtol=1e-5)
  for collection in theirs:
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), ours[collection], theirs[collection]
    )


class Tiny(nn.Module):
  """tanh of one layer, and a classifier."""

  @nn.compact
  def __call__(self, x):
    x = jnp.tanh(nn.Dense(3, name='hidden', param_dtype=x.dtype)(x))
    return nn.Dense(2, name='classifier', param_dtype=x.dtype)(x)


def standpoint(numbers):
  """Six examples of two classes, three annotators in two groups, in double precision."""
  random = np.random.RandomState(numbers)
  x, images = (jnp.asarray(random.normal(size=(6, 4))) for _ in range(2))
  annotators = jnp.asarray(random.randint(3, size=(6, 2)))
  given = jnp.asarray(random.randint(2, size=(6, 2)))
  net = Tiny().init(jax.random.key(numbers), x)['params']
  matrices = jnp.asarray(np.eye(2) + 0.3 * random.normal(size=(3, 2, 2)))
  beliefs = {
    meta_sets.GROUPS: jnp.array([1, 0, 1]),
    meta_sets.IMAGES: images,
    meta_sets.LABELS: jnp.asarray(random.randint(2, size=6)),
    meta_sets.WEIGHTS: jnp.array([1.0, 1.0, 0.0, 1.0, 1.0, 1.0]),
  }

  def nll(params):
    logits = Tiny().apply({'params': params['net']}, x)
    log_p = crowd_layer.log_observed(logits, params['crowd']['matrices'][annotators])
    return -jnp.take_along_axis(log_p, given[..., None], axis=-1).mean()

  def answer(part, params, images):
    return {'logits': Tiny().apply({'params': params[part]}, images)}

  params = {'net': net, 'crowd': {'matrices': matrices}}
  return Standpoint(params, jax.grad(nll), answer, beliefs, 1, None)


OPTIONS = dict(rate=lambda step: RATE, batch=5)


@pytest.mark.parametrize('through', ['last', 'all'])
def test_the_slope_of_the_meta_loss_is_that_of_finite_differences(through):
  """With 'last' all gradients but the last layer's stay those of V = 0 in the difference too."""
  with jax.enable_x64(True):
    here = standpoint(3)
    nothing = jnp.zeros((2, 2, 2))
    loss = functools.partial(ccc.meta_loss, here, through=through, **OPTIONS)
    slope = np.asarray(jax.jit(jax.grad(loss))(nothing))
    frozen = here.gradient(here.params)['net']

    @jax.jit
    def moved(correction):
      """The same loss, written without any of the code under test."""
      matrices = here.params['crowd']['matrices'] + correction[jnp.array([1, 0, 1])]
      gradient = here.gradient({**here.params, 'crowd': {'matrices': matrices}})['net']
      if through == 'last':
        gradient = {'hidden': frozen['hidden'], 'classifier': gradient['classifier']}
      net = jax.tree.map(lambda w, g: w - RATE * g, here.params['net'], gradient)
      place = np.array([5, 0, 1, 2, 3])  # step 1 of batches of 5 from 6
      logits = here.answer('net', {'net': net}, here.beliefs['meta_images'][place])['logits']
      losses = (
        jax.nn.logsumexp(logits, axis=1) - logits[np.arange(5), here.beliefs['meta_labels'][place]]
      )
      return (losses * here.beliefs['meta_weights'][place]).sum() / 4

    assert float(jax.jit(loss)(nothing)) == pytest.approx(float(moved(nothing)), rel=1e-12)
    for place in np.ndindex(2, 2, 2):
      step = 1e-5 * np.asarray(np.eye(8)[np.ravel_multi_index(place, (2, 2, 2))].reshape(2, 2, 2))
      difference = float(moved(nothing + step) - moved(nothing - step)) / 2e-5
      assert slope[place] == pytest.approx(difference, rel=1e-5, abs=1e-9)


def test_the_correction_goes_against_the_slope_as_far_as_rho_says_and_is_one_of_a_group():
  with jax.enable_x64(True):
    here = standpoint(5)
    params = ccc.corrected(here, rho=RHO, groups=2, through='last', **OPTIONS)
    slope = jax.grad(functools.partial(ccc.meta_loss, here, through='last', **OPTIONS))(
      jnp.zeros((2, 2, 2))
    )
    old = here.params['crowd']['matrices']
    correction = np.asarray(params['crowd']['matrices'] - old)
    np.testing.assert_allclose(abs(correction).max(), RHO * old.max(), rtol=1e-12)
    np.testing.assert_allclose(correction[0], correction[2], atol=1e-15)
    scale = RHO * float(old.max()) / abs(np.asarray(slope)).max()
    np.testing.assert_allclose(correction[[1, 0]], -scale * np.asarray(slope), rtol=1e-9)
    jax.tree.map(np.testing.assert_array_equal, params['net'], here.params['net'])


def test_a_slope_of_zero_corrects_nothing_and_a_tiny_one_overflows_nothing():
  matrices = jnp.full((3, 2, 2), 2.0)
  np.testing.assert_array_equal(ccc.against(jnp.zeros((1, 2, 2)), matrices, RHO), 0)
  tiny = ccc.against(jnp.array([[[1e-25, -2e-25]]]), matrices, RHO)
  np.testing.assert_allclose(tiny, [[[-0.5, 1.0]]], rtol=1e-6)


def sets(duplicates=False):
  """Four images of two classes, three annotators; two networks that see opposite classes."""
  labels = Crowd.from_table([[0, 0, -1], [0, 1, -1], [1, -1, 1], [1, -1, 0]], classes=2)
  images = (np.arange(4) / 3).astype(np.float32).reshape(4, 1, 1, 1)
  setting = crowd_phases.setting(images, labels)
  chosen = meta_sets.Sets(setting, 1, 2, duplicates)
  confident = np.array([[3.0, 0], [1, 0], [0, 2], [0, 1]])
  logits = np.stack([confident, -confident])
  far = np.stack([np.eye(2), 1 - np.eye(2), np.eye(2)])
  variables = {'params': {'crowd': {'matrices': np.stack([far, far[[1, 0, 0]]])}}}
  return chosen, variables, lambda variables, part: {'logits': logits}


def test_members_exchange_their_meta_sets_and_keep_their_groups():
  chosen, variables, look = sets()
  beliefs = chosen.refresh(variables, look, 0)
  # Network 0 is sure of image 0 as class 0 and of 2 as 1. Network 1 is surest of image 3 as class 0
  # (of 2 nobody said so), and of 1 as class 1. Each has what the other chose.
  pairs = [
    sorted(zip(beliefs['meta_labels'][network], beliefs['meta_examples'][network]))
    for network in range(2)
  ]
  assert pairs == [[(0, 3), (1, 1)], [(0, 0), (1, 2)]]
  first = beliefs['groups'][0]
  assert first[0] == first[2] != first[1]
  second = beliefs['groups'][1]
  assert second[1] == second[2] != second[0]
  place = list(beliefs['meta_examples'][0]).index(3)
  # Image 3 is 1 everywhere: (1 - .5) / .25.
  np.testing.assert_allclose(beliefs['meta_images'][0][place], 2.0)
  forms = jax.eval_shape(lambda: {name: first(None) for name, first in chosen.first().items()})
  assert {name: form.shape for name, form in forms.items()} == {
    name: belief.shape[1:] for name, belief in beliefs.items()
  }
  believed = chosen.believe({**variables, 'beliefs': beliefs}, look)
  # The votes are 0, 0, 1, 0, ties to the lowest: only image 1 was chosen for another label.
  assert believed.confident.tolist() == [[True, False, True, True]]


def test_an_example_is_taken_once_for_every_annotator_if_asked():
  logits = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
  counts = np.array([[1, 0], [2, 1], [0, 1]])
  once = meta_sets.smallest_losses(logits, counts, 3)
  assert once.examples.tolist() == [1, 0, 0, 2, 1, 0]
  assert once.weights.tolist() == [1, 1, 0, 1, 1, 0]
  twice = meta_sets.smallest_losses(logits, counts, 3, duplicates=True)
  assert twice.examples[:3].tolist() == [1, 1, 0]
  assert twice.weights.tolist() == [1, 1, 1, 1, 1, 0]


def test_a_batch_goes_through_the_meta_set_again_and_again():
  seen = np.concatenate([meta_sets.rows(step, 10, 4) for step in range(5)])
  assert np.bincount(seen).tolist() == [2] * 10
  assert len(meta_sets.rows(3, 2, 4)) == 2


def test_no_step_has_an_array_of_all_annotators_for_every_example():
  annotators, batch, classes = 40, 16, crowd_phases.CLASSES
  images, truth = crowd_phases.blobs(64)
  many = crowd_phases.crowd(truth, np.full(annotators, 0.7))
  setting = crowd_phases.setting(images, many, batch=batch)
  phase = ccc.method(setting, **SMALL).phases[0]
  assert crowd_phases.largest_array(crowd_phases.ready(setting, phase, 2)) < (
    batch * annotators * classes**2 / 4
  )


def test_the_last_phase_learns_from_the_meta_set_alone():
  method = ccc.method(small(), **SMALL, finetune=1, finetune_rate=0.1)
  _, last = method.phases
  start = crowd_phases.ready(small(), crowd_layer.phase(small()), 2).state.variables
  start = jax.tree.map(np.asarray, start)
  end, _ = crowd_phases.run(small(), last, 2, {'ccc': start}, steps=1)
  jax.tree.map(np.testing.assert_array_equal, end['params']['crowd'], start['params']['crowd'])
  logits = crowd_phases.looking(small(), last)(start)['logits']
  examples, labels = (end['beliefs'][name][:, :8] for name in ('meta_examples', 'meta_labels'))
  chosen = np.take_along_axis(logits, examples[..., None], 1)
  slope = (jax.nn.softmax(chosen) - np.eye(crowd_phases.CLASSES)[labels]).mean(1)
  first, learned = (tree['params']['net']['classifier']['bias'] for tree in (start, end))
  np.testing.assert_allclose(learned, first - 0.1 * slope, atol=1e-6)


@pytest.mark.parametrize(
  'fields, sentence',
  [
    (dict(rho=-1.0), 'rho is -1.0; it must not be negative'),
    (dict(groups=0), 'groups is 0; it must be at least 1'),
    (dict(meta_size=3), 'at least one example of each of the 4 classes'),
    (dict(through='first'), "no through 'first'"),
    (
      dict(warmup=2),
      'warmup is 2, and there are 2 epochs; .* lower method.warmup, or raise learning',
    ),
    (dict(finetune_rate=0), 'finetune_rate is 0; it must be above 0'),
    (dict(finetune_rate=-0.1), 'finetune_rate is -0.1; it must be above 0'),
    (dict(rho=0, finetune=3), 'finetune is 3, and rho is 0'),
  ],
)
def test_a_wrong_field_is_refused(fields, sentence):
  with pytest.raises(UserError, match=sentence):
    methods.make(small(), {'name': 'ccc', **fields})


class Headless(nn.Module):
  """A network whose last layer has a name of its own."""

  @nn.compact
  def __call__(self, x, train=False):
    return nn.Dense(crowd_phases.CLASSES, name='head')(x.reshape(len(x), -1)), {}


def test_a_last_layer_of_another_name_is_refused_unless_all_take_part():
  setting = dataclasses.replace(small(), network=Headless())
  with pytest.raises(UserError, match='through=all'):
    ccc.method(setting, warmup=1)
  assert ccc.method(setting, through='all', meta_size=8, warmup=1).members == 2


@pytest.mark.slow
@pytest.mark.parametrize('spread', ['networks', 'batch'])
def test_four_devices_correct_as_one(spread):
  """Batches of 18 rows over four devices."""
  images, truth = crowd_phases.blobs(60)
  setting = crowd_phases.setting(images, crowd_phases.crowd(truth), batch=18)
  (phase,) = ccc.method(setting, **{**SMALL, 'warmup': 0}).phases
  alone, expected = crowd_phases.run(setting, phase, 2, steps=3)
  mesh = parallel.make_mesh(4)
  several, curve = crowd_phases.run(setting, phase, 2, steps=3, mesh=mesh, spread=spread)
  np.testing.assert_allclose(curve, expected, rtol=1e-4)
  for one, other in zip(jax.tree.leaves(alone['params']), jax.tree.leaves(several['params'])):
    np.testing.assert_allclose(other[:2], one, atol=1e-4)


@pytest.mark.slow
def test_it_leads_where_labels_are_sparse_and_annotators_rare():
  """One label an image, right in half of all cases; the meta sets are right far more often."""
  images, truth = crowd_phases.blobs(400)
  labels = crowd_phases.sparse_crowd(truth, per_example=1)
  setting = crowd_phases.setting(images, labels, network=MLP(4, width=32, depth=1), epochs=40)
  right = np.mean(labels.label == truth[labels.example])
  method = ccc.method(setting, meta_size=80, groups=6, warmup=10, meta_batch=32)
  fresh, expected = crowd_phases.blobs(1000, seed=5)
  accuracies = {}
  for phase in (crowd_layer.phase(setting), *method.phases):
    variables, _ = crowd_phases.run(setting, phase, 6)
    answers = crowd_phases.probabilities(method, variables, fresh)
    accuracies[phase.name] = (answers.argmax(-1) == expected).mean()
    if 'beliefs' in variables:
      beliefs = variables['beliefs']
      precision = np.mean(truth[beliefs['meta_examples']] == beliefs['meta_labels'])
  assert accuracies['ccc'] > accuracies['crowd_layer'] + 0.1
  assert right < 0.6
  assert precision > right + 0.2

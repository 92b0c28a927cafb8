"""DANCE and its experts, on digits at 8x8 with small networks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill import data, losses, models
from jaxdistill.condensation import dance, dm, drift, problem
from jaxdistill.condensation.problem import Condensing
from jaxdistill.data import samplers
from jaxdistill.errors import UserError
from jaxdistill.synthesis import engine
from jaxdistill.training import loop, pretrained
from jaxdistill.training.run import Run

SHAPE = (8, 8, 1)


@functools.cache
def digits():
  return data.load('digits', image_size=8)


@functools.cache
def model():
  return models.build({'name': 'convnet', 'width': 16, 'depth': 2}, 10, SHAPE)


@functools.cache
def tiny():
  """The network where what it knows does not matter."""
  return models.build({'name': 'convnet', 'width': 4, 'depth': 1, 'norm': 'none'}, 10, SHAPE)


@functools.cache
def pool():
  with Run(progress=False) as run:
    return pretrained.train(run, model(), digits()[0], pretrained.Wanted(2, steps=400))


@functools.cache
def untrained():
  """A pool of tiny networks, all four fresh."""
  wanted = pretrained.Wanted(2)
  start = pretrained.untrained(tiny(), SHAPE, wanted).initial
  return pretrained.Pool(start, jax.tree.map(lambda a: a[::-1] + 0.1, start))


@functools.cache
def accuracy_of():
  train, test = digits()
  images = (jnp.asarray(test.images, jnp.float32) / 255 - train.mean[0]) / train.std[0]
  return jax.jit(
    lambda variables: (
      model().apply(variables, images)[0].argmax(-1) == jnp.asarray(test.labels)
    ).mean()
  )


@pytest.mark.slow
def test_interpolation_ends_at_the_expert_and_at_its_start():
  start, end = (jax.tree.map(lambda a: a[0], part) for part in pool())
  for share, expected in ((0.0, end), (1.0, start)):
    for a, b in zip(
      jax.tree.leaves(dance.interpolate(start, end, share)), jax.tree.leaves(expected)
    ):
      np.testing.assert_allclose(a, b, atol=1e-7)


@pytest.mark.slow
def test_accuracy_of_middle_encoders_falls_from_the_expert_to_its_start():
  start, end = (jax.tree.map(lambda a: a[0], part) for part in pool())
  accuracy = [
    float(accuracy_of()(dance.interpolate(start, end, share))) for share in (0.0, 0.5, 1.0)
  ]
  assert accuracy[0] > 0.85 and accuracy[0] > accuracy[1] > accuracy[2] and accuracy[2] < 0.4, (
    accuracy
  )


def test_each_iteration_draws_one_expert_and_one_share():
  draw = jax.jit(dance.plugs(tiny(), SHAPE, experts=2).draw)
  start, end = (jax.tree.leaves(part)[0] for part in untrained())
  shares, numbers = [], []
  for step in range(12):
    drawn = draw(untrained(), jax.random.key(0), step)
    k = next(k for k in range(2) if np.array_equal(jax.tree.leaves(drawn.expert)[0], end[k]))
    shift = (np.asarray(jax.tree.leaves(drawn.matching)[0]) - end[k]) / np.where(
      start[k] == end[k], 1, start[k] - end[k]
    )
    moved = shift[np.abs(start[k] - end[k]) > 1e-3]
    np.testing.assert_allclose(moved, moved.mean(), atol=1e-2)
    shares.append(moved.mean())
    numbers.append(k)
  assert set(numbers) == {0, 1} and 0 <= min(shares) < 0.3 and 0.6 < max(shares) <= 1


@functools.cache
def matched(kind, steps=3):
  """Canvases and losses per class after a few iterations of the engine on digits, without
  calibration."""
  fresh = engine.fresh_networks(tiny(), SHAPE, 1)

  def at_share_one(pool, key, step):
    """The middle encoder at lambda = 1, between a fresh network and an expert."""
    expert = jax.tree.map(lambda a: a[0], pool.final)
    return engine.Networks(dance.interpolate(fresh((), key, step).matching, expert, 1.0))

  plugs = {
    'dance': dance.plugs(tiny(), SHAPE, experts=2, encoders='random', calibrate=False),
    'share one': engine.Plugs(at_share_one, losses.mean_discrepancy),
    'dm': dm.plugs(tiny(), SHAPE),
  }[kind]
  train, _ = digits()
  settings = engine.Settings(ipc=2, factor=2, batch_real=8, learning_rate=0.1)
  functions = engine.make(plugs, settings, tiny(), num_classes=10, mean=train.mean, std=train.std)
  images, counts = samplers.class_major(train)
  state = engine.start(
    functions, jax.random.key_data(jax.random.key(5)), np.full((10, 2, *SHAPE), 0.5, np.float32)
  )
  real = engine.real_data(images, counts, pool=untrained() if kind != 'dm' else ())

  @jax.jit
  def step(state, real):
    batch = functions.sample(real, jax.random.wrap_key_data(state.key), state.step)
    return functions.step(state, batch)

  losses_of_steps = []
  for _ in range(steps):
    state, metrics = step(state, real)
    losses_of_steps.append(metrics['class_loss'])
  return np.asarray(state.images), np.asarray(losses_of_steps)


@pytest.mark.parametrize('kind', [pytest.param('dance', marks=pytest.mark.slow), 'share one'])
def test_fresh_networks_without_calibration_are_dm(kind):
  (images, by_class), (expected, expected_by_class) = matched(kind), matched('dm')
  np.testing.assert_allclose(by_class, expected_by_class, rtol=1e-5)
  np.testing.assert_allclose(images, expected, atol=1e-6)


@functools.cache
def condensed(**changes):
  """A short condensation of digits: (the problem, the canvases at its end, its curve)."""
  config = configs.load('condensation/dance:digits')
  fields = {
    'data.image_size': 8,
    'model.width': 16,
    'model.depth': 2,
    'condensation.iterations': 150,
    'condensation.batch_real': 16,
    'method.experts': 2,
    'condensation.init': 'noise',
    'condensation.learning_rate': 0.05,
  }
  for key, value in (fields | changes).items():
    configs.override(config, key, str(value))
  ready = problem.setup(Condensing.of_config(config), digits()[0], pool=pool())
  with Run(progress=False) as run:
    state = loop.fit(run, 'condense', ready)
    curve = run.curve('condense')
  return ready, np.asarray(state.images), curve


def recognised(images):
  """Share of images, class by class, that the experts recognise, and their mean cross-entropy."""
  train, _ = digits()
  x = (np.clip(images, 0, 1).reshape(-1, *SHAPE) - train.mean[0]) / train.std[0]
  _, end = pool()
  logits = [
    model().apply(jax.tree.map(lambda a, k=k: a[k], end), jnp.asarray(x))[0] for k in range(2)
  ]
  labels = np.repeat(np.arange(10), len(x) // 10)
  share = np.mean([np.asarray(one).argmax(-1) == labels for one in logits])
  return share, np.mean([losses.cross_entropy(one, jnp.asarray(labels)) for one in logits])


@pytest.mark.slow
def test_calibration_makes_the_experts_recognise_the_images_and_leaves_the_experts_alone():
  before = jax.tree.map(np.copy, pool())
  with_calibration, without = condensed(), condensed(**{'method.calibrate': False})
  (share, loss), (_, loss_without) = recognised(with_calibration[1]), recognised(without[1])
  assert share == 1 and loss < 0.5 * loss_without
  assert (
    with_calibration[2][-1]['calibration_loss'] < 0.5 * with_calibration[2][0]['calibration_loss']
  )
  assert 'calibration_loss' not in without[2][0]
  for a, b in zip(
    jax.tree.leaves(before), jax.tree.leaves(with_calibration[0].source.data['pool'])
  ):
    np.testing.assert_array_equal(a, b)


@functools.cache
def four_cells(method, start=None, **changes):
  """The set that 200 iterations with a method's config for digits make, four cells a canvas.

  They begin at the set `start`() in place of mixed real images, where it is given.
  """
  config = configs.load(f'condensation/{method}:digits,ipc=4,factor=2')
  fields = {
    'data.image_size': 8,
    'model.width': 16,
    'model.depth': 2,
    'condensation.iterations': 200,
    **({'method.experts': 2} if method == 'dance' else {}),
  }
  for key, value in (fields | changes).items():
    configs.override(config, key, str(value))
  condensing, train = Condensing.of_config(config), digits()[0]
  ready = problem.setup(condensing, train, pool=pool() if method == 'dance' else ())
  if start:
    begun = ready.state.replace(images=jnp.asarray(start().images.reshape(10, 4, *SHAPE)))
    ready = dataclasses.replace(ready, state=begun)
  with Run(progress=False) as run:
    return problem.condense(condensing, train, ready, run)[0]


@pytest.mark.slow
def test_means_stay_near_all_along_an_independent_training_where_those_of_dm_drift_away():
  """The paper's Fig. 3a, under networks that took no part.

  In 400 steps on digits the features of any image set spread four times as far, and distances
  between means with them, so that a curve is flat here where it keeps its ratio to the spread of
  the real features about their class means.
  """
  found = drift.along_training(
    {method: four_cells(method) for method in ('dance', 'dm')},
    digits()[0],
    steps=400,
    model={'name': 'convnet', 'width': 16, 'depth': 2},
  )
  distance, relative = (
    found.distance,
    {name: values / values[0] for name, values in found.relative().items()},
  )
  assert distance['dm'][-1] > 5 * distance['dm'][0], found
  assert relative['dm'][-1] > 1.5, relative
  assert relative['dance'].max() < 1.3, relative
  assert (
    distance['dance'][0] > distance['dm'][0] and distance['dance'][-1] < 0.85 * distance['dm'][-1]
  ), found


@pytest.mark.slow
def test_experts_recognise_calibrated_images_and_lose_them_again_without_calibration():
  """The paper's Fig. 3c: images that are recognised stay so with the calibration and drift away
  without it, as DM's do."""
  start = functools.partial(four_cells, 'dance')
  fresh = {
    'method.calibrate': False,
    'method.encoders': 'random',
  }  # DM, with DANCE's learning rate and augmentation
  sets = [start(), four_cells('dance', start), four_cells('dance', start, **fresh)]
  made, further, drifted = (recognised(one.decode()[0])[0] for one in sets)
  assert made > 0.9 and further > 0.9 and drifted < 0.87, (made, further, drifted)


@pytest.mark.slow
def test_experts_are_found_again_by_what_made_them(tmp_path):
  train = digits()[0].take(range(40))
  small = models.build({'name': 'mlp', 'width': 8}, 10, SHAPE)

  def make(steps=3, seed=0):
    wanted = pretrained.Wanted(2, steps=steps)
    with Run(progress=False) as run:
      made = pretrained.train(run, small, train, wanted, seed=seed, directory=tmp_path)
      return made, run.timing('experts')

  first, timing = make()
  assert pretrained.are_kept(tmp_path, small, train, pretrained.Wanted(2, steps=3))
  assert not pretrained.are_kept(tmp_path, small, train, pretrained.Wanted(2, steps=4))
  again, nothing = make()
  assert timing['steps'] == 3 and not nothing
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again)):
    np.testing.assert_array_equal(a, b)
  assert make(seed=1)[1] and make(steps=4)[1] and len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
  'fields, message',
  [(dict(encoders='middel'), "did you mean 'middle'"), (dict(experts=0), 'at least one expert')],
)
def test_wrong_fields_are_refused(fields, message):
  with pytest.raises(UserError, match=message):
    dance.plugs(model(), SHAPE, **fields)

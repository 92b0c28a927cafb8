"""The engine: what an iteration does, against loops written out as the released codes run them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import losses, models
from jaxdistill.data import augment
from jaxdistill.errors import UserError
from jaxdistill.synthesis import decode, engine, portions
from jaxdistill.training import loop, parallel
from jaxdistill.training.run import Run

CLASSES, REAL, SHAPE = 5, 6, (8, 8, 1)
MEAN, STD = (0.4,), (0.3,)
KEY = jax.random.key_data(jax.random.key(3))
SETTINGS = engine.Settings(
  ipc=2, factor=2, batch_real=4, learning_rate=0.5, momentum=0.5, augmentation=''
)


@functools.cache
def model(norm='instance'):
  return models.build({'name': 'convnet', 'width': 4, 'depth': 1, 'norm': norm}, CLASSES, SHAPE)


@functools.cache
def data():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (CLASSES, REAL, *SHAPE)).astype(np.uint8)
  return (
    images,
    np.array([6, 5, 6, 4, 6], np.int32),
    (0.3 + 0.4 * rng.random((CLASSES, 2, *SHAPE))).astype(np.float32),
  )


@functools.cache
def plugs(every=2, kernel='gaussian'):
  return engine.Plugs(
    engine.fresh_networks(model(), SHAPE, every), functools.partial(losses.mmd, kernel=kernel)
  )


def build(settings=SETTINGS, mesh=None, chosen=None):
  images, counts, canvases = data()
  functions = engine.make(
    chosen or plugs(), settings, model(), num_classes=CLASSES, mean=MEAN, std=STD, mesh=mesh
  )
  return (
    functions,
    engine.real_data(images, counts, mesh),
    engine.start(functions, KEY, canvases, mesh),
  )


@functools.cache
def stepping(settings, mesh, chosen):
  """The compiled step, what it reads, and where it starts."""
  functions, real, state = build(settings, mesh, chosen)

  @jax.jit
  def step(state, real):
    return functions.step(
      state, functions.sample(real, jax.random.wrap_key_data(state.key), state.step)
    )

  return step, real, state


@functools.cache
def iterate(settings=SETTINGS, steps=3, mesh=None, chosen=None):
  step, real, state = stepping(settings, mesh, chosen)
  metrics = []
  for _ in range(steps):
    state, measured = step(state, real)
    metrics.append(measured)
  return state, metrics


def test_one_update_of_all_classes_equals_the_released_loop_over_classes():
  """The released loop: one tensor of all canvases, one optimiser with momentum, one step for each
  class in turn."""
  settings = dataclasses.replace(
    SETTINGS, learning_rate=1e-2, momentum=0.1
  )  # 0.1^4: the momentum is gone after five classes
  chosen = plugs(every=100, kernel='linear')
  functions, real, state = build(settings, chosen=chosen)
  variables = chosen.draw(
    (), jax.random.fold_in(jax.random.wrap_key_data(state.key), engine._NETWORKS), 0
  ).matching

  def class_gradient(canvases, batch, label):
    def loss(own):
      synthetic = augment.normalise(decode.decode(own, 2), MEAN, STD)
      features = [
        model().apply(variables, x)[1]['embedding']
        for x in (synthetic, augment.normalise(batch, MEAN, STD))
      ]
      return losses.mmd(*features, kernel='linear')

    return jnp.zeros_like(canvases).at[label].set(jax.grad(loss)(canvases[label]))

  gradient = jax.jit(class_gradient)
  sample = jax.jit(functions.sample)
  canvases, momentum = np.asarray(state.images), np.zeros(state.images.shape)
  for number in range(3):
    batch = sample(real, jax.random.wrap_key_data(state.key), number)['images']
    canvases = np.clip(canvases, 0, 1)
    for label in range(CLASSES):
      momentum = settings.momentum * momentum + np.asarray(
        gradient(jnp.asarray(canvases, jnp.float32), batch[label], label)
      )
      canvases = canvases - settings.learning_rate * momentum
  ours, _ = iterate(settings, steps=3, chosen=chosen)
  # The last classes' momentum has not run out yet when the loop ends; let it.
  for _ in range(CLASSES):
    momentum = settings.momentum * momentum
    canvases = canvases - settings.learning_rate * momentum
  moved = np.abs(canvases - data()[2]).max()
  assert moved > 1e-3
  np.testing.assert_allclose(ours.images, canvases, atol=2e-3 * moved)


def test_joint_update_is_one_momentum_step_for_all():
  settings = dataclasses.replace(SETTINGS, order='joint', space='normalised', learning_rate=0.1)
  functions, real, state = build(settings)
  np.testing.assert_allclose(state.images, (data()[2] - MEAN[0]) / STD[0], atol=1e-6)
  plain = dataclasses.replace(settings, momentum=0.0)
  start = np.asarray(state.images)
  with_momentum, _ = iterate(settings, 2)
  one, _ = iterate(settings, 1)
  first = np.asarray(one.images) - start
  np.testing.assert_allclose(iterate(plain, 1)[0].images - start, first, atol=1e-6)
  # Without the momentum the second step would differ by half of the first one.
  functions, real, _ = build(plain)
  batch = jax.jit(functions.sample)(real, jax.random.wrap_key_data(one.key), one.step)
  after, _ = jax.jit(functions.step)(one.replace(optimizer=build(plain)[2].optimizer), batch)
  np.testing.assert_allclose(with_momentum.images, after.images + 0.5 * first, atol=1e-5)


def test_linear_kernel_is_dm():
  linear = iterate(chosen=plugs(1, 'linear'))
  mean = iterate(
    chosen=engine.Plugs(engine.fresh_networks(model(), SHAPE, 1), losses.mean_discrepancy)
  )
  np.testing.assert_allclose(linear[0].images, mean[0].images, atol=1e-6)
  np.testing.assert_allclose(linear[1][-1]['class_loss'], mean[1][-1]['class_loss'], rtol=1e-5)


def test_canvases_are_clamped_once_at_the_start_of_an_iteration():
  settings = dataclasses.replace(SETTINGS, learning_rate=0.0)
  functions, real, state = build(settings)
  batch = jax.jit(functions.sample)(real, jax.random.wrap_key_data(state.key), 0)
  after, _ = jax.jit(functions.step)(state.replace(images=state.images * 3 - 1), batch)
  np.testing.assert_allclose(after.images, np.clip(np.asarray(state.images) * 3 - 1, 0, 1))


def test_portions_of_classes_change_nothing():
  whole = iterate(dataclasses.replace(SETTINGS, classes_at_once=5), 1)
  parts = iterate(dataclasses.replace(SETTINGS, classes_at_once=2), 1)
  np.testing.assert_allclose(whole[0].images, parts[0].images, atol=1e-5)
  np.testing.assert_allclose(whole[1][0]['class_loss'], parts[1][0]['class_loss'], rtol=1e-5)


@functools.cache
def condensed_alone(classes, numbers):
  """Three steps on some of the classes, whose random draws follow `numbers`."""
  images, counts, canvases = data()
  network = models.build({'name': 'convnet', 'width': 4, 'depth': 1}, len(classes), SHAPE)
  chosen = engine.Plugs(
    engine.fresh_networks(network, SHAPE, 2), functools.partial(losses.mmd, kernel='gaussian')
  )
  settings = dataclasses.replace(SETTINGS, augmentation='color_crop_cutout')
  functions = engine.make(chosen, settings, network, num_classes=len(classes), mean=MEAN, std=STD)
  classes = list(classes)
  real = engine.real_data(images[classes], counts[classes], numbers=numbers)
  state = engine.start(functions, KEY, canvases[classes])
  step = jax.jit(
    lambda s: functions.step(s, functions.sample(real, jax.random.wrap_key_data(s.key), s.step))
  )
  for _ in range(3):
    state, _ = step(state)
  return np.asarray(state.images)


@pytest.mark.slow
def test_a_class_that_keeps_its_number_is_condensed_the_same_among_others():
  whole = condensed_alone(tuple(range(CLASSES)), None)
  assert np.abs(whole - data()[2]).max() > 1e-2
  np.testing.assert_allclose(condensed_alone((1, 3), (1, 3)), whole[[1, 3]], atol=1e-5)
  assert np.abs(condensed_alone((1, 3), None) - whole[[1, 3]]).max() > 1e-2


def test_calibration_is_a_second_step_with_the_expert_and_without_real_images():
  """Plain SGD on the cross-entropy of the expert, from where the matching step has led."""

  def draw(pool, key, step):
    return engine.Networks(matching=pool[0], expert=pool[1])

  def cross_entropy(logits, label):
    return losses.cross_entropy(logits, jnp.full(len(logits), label))

  settings = dataclasses.replace(SETTINGS, learning_rate=0.01)
  images, counts, canvases = data()
  init = jax.jit(model().init)
  pool = tuple(init(jax.random.key(number), np.zeros((1, *SHAPE), np.float32)) for number in (0, 1))
  ends = []
  for calibration in (None, cross_entropy):
    chosen = engine.Plugs(draw, losses.mean_discrepancy, calibration)
    functions = engine.make(chosen, settings, model(), num_classes=CLASSES, mean=MEAN, std=STD)
    real = engine.real_data(images, counts, pool=pool)
    batch = jax.jit(functions.sample)(real, jax.random.key(0), 0)
    ends.append(jax.jit(functions.step)(engine.start(functions, KEY, canvases), batch))
  (matched, _), (calibrated, metrics) = ends

  def total(canvases):
    logits = [
      model().apply(pool[1], augment.normalise(decode.decode(own, 2), MEAN, STD))[0]
      for own in canvases
    ]
    return sum(cross_entropy(one, label) for label, one in enumerate(logits))

  value, gradient = jax.jit(jax.value_and_grad(total))(matched.images)
  np.testing.assert_allclose(metrics['calibration_loss'], value / CLASSES, rtol=1e-5)
  np.testing.assert_allclose(calibrated.images, matched.images - 0.02 * gradient, atol=1e-6)


@pytest.mark.parametrize(
  'order',
  [
    pytest.param(order, marks=[pytest.mark.slow] if order == 'joint' else [])
    for order in engine.ORDERS
  ],
)
def test_one_device_and_four_agree(order):
  settings = dataclasses.replace(
    SETTINGS, order=order, augmentation='color_crop_cutout', learning_rate=0.1
  )
  alone, metrics = iterate(settings, 2)
  spread, spread_metrics = iterate(settings, 2, parallel.make_mesh(4))
  assert spread.images.shape[0] == 8 and len(spread.images.sharding.device_set) == 4
  np.testing.assert_allclose(np.asarray(spread.images)[:CLASSES], alone.images, atol=1e-5)
  assert spread_metrics[-1]['class_loss'].shape == (CLASSES,)  # without the padding
  for name in ('loss', 'class_loss'):
    np.testing.assert_allclose(spread_metrics[-1][name], metrics[-1][name], rtol=1e-4)


def test_only_the_losses_cross_devices():
  mesh = parallel.make_mesh(4)
  functions, real, state = build(mesh=mesh)
  step = jax.jit(
    lambda s, r: functions.step(s, functions.sample(r, jax.random.wrap_key_data(s.key), s.step))
  )
  lines = step.lower(state, real).compile().as_text().splitlines()
  names = ('all-reduce', 'all-gather', 'all-to-all', 'collective-permute', 'reduce-scatter')
  collectives = [
    line for line in lines if any(f'{name}(' in line or f'{name}-start(' in line for name in names)
  ]
  assert len(collectives) == 1 and f'f32[{CLASSES}]' in collectives[0], collectives


@pytest.mark.slow
def test_a_condensation_goes_on_with_another_number_of_devices(tmp_path):
  """Five classes: alone, then padded to eight on four devices, then alone again."""
  settings = dataclasses.replace(SETTINGS, augmentation='color_crop_cutout', learning_rate=0.1)

  def advance(workdir, devices, steps):
    functions, real, state = build(settings, parallel.make_mesh(devices))
    with Run(workdir, progress=False, tensorboard=False) as run:
      return loop.fit(
        run,
        'condense',
        loop.Problem(
          functions.step, state, loop.ArraySource(real, functions.sample), steps, rows=CLASSES
        ),
      )

  for steps, devices in ((1, 1), (2, 4), (3, 1)):
    state = advance(tmp_path, devices, steps)
  np.testing.assert_allclose(state.images, advance(None, 1, 3).images, atol=1e-5)


def test_at_most_so_many_decoded_images_are_matched():
  seen = []

  def discrepancy(synthetic, real):
    seen.append(synthetic.shape[0])
    return losses.mean_discrepancy(synthetic, real)

  chosen = engine.Plugs(engine.fresh_networks(model(), SHAPE, 1), discrepancy)
  iterate(dataclasses.replace(SETTINGS, batch_syn_max=3), 1, chosen=chosen)
  iterate(SETTINGS, 1, chosen=chosen)
  assert set(seen) == {3, 8}
  seen.clear()
  bounded = dataclasses.replace(SETTINGS, batch_syn_max=7, decoding='bounded')
  _, _, before = data()
  after = iterate(bounded, 1, chosen=chosen)[0].images
  assert set(seen) == {5}  # one canvas at factor 2, one whole
  assert (np.abs(np.asarray(after) - before).max((2, 3, 4)) > 0).all()  # both are moved


def test_each_step_sees_new_real_images_and_a_new_augmentation():
  functions, real, state = build(
    dataclasses.replace(SETTINGS, augmentation='color', learning_rate=0.0), chosen=plugs(100)
  )
  step = jax.jit(functions.step)
  batch = jax.jit(functions.sample)(real, jax.random.wrap_key_data(state.key), 0)
  moved, first = step(state, batch)
  _, second = step(moved, batch)  # same images, same network: only the augmentation differs
  assert not np.allclose(first['class_loss'], second['class_loss'], rtol=1e-3)
  other = jax.jit(functions.sample)(real, jax.random.wrap_key_data(state.key), 1)
  assert not np.array_equal(batch['images'], other['images'])


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(order='each'), 'no update of the canvases'),
    (dict(space='log'), 'no space'),
    (dict(decoding='none'), 'no decoding'),
  ],
)
def test_unknown_choices_are_refused(changes, message):
  with pytest.raises(UserError, match=message):
    build(dataclasses.replace(SETTINGS, **changes))


def test_batch_norm_is_refused():
  with pytest.raises(UserError, match="use model.norm='instance'"):
    engine.make(plugs(), SETTINGS, model('batch'), num_classes=CLASSES, mean=MEAN, std=STD)


@pytest.mark.parametrize('backend', ['cpu', 'gpu'])
@pytest.mark.parametrize('at_once', [1, 2, 3, 5, 9])
def test_portions_need_not_divide_the_classes(monkeypatch, backend, at_once):
  """Unrolled, as on the CPU, and as a loop with a rest."""
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  rows = jnp.arange(10.0).reshape(5, 2)
  doubled, total = portions.by_portions(lambda a, b: (2 * a, (a * b).sum(1)), at_once, 1)(
    rows, rows
  )
  np.testing.assert_array_equal(doubled, 2 * rows)
  np.testing.assert_array_equal(total, (rows * rows).sum(1))


def test_portions_of_classes_save_memory():
  """What a step takes beside its arguments falls with the classes that it handles at once."""
  wide = models.build({'name': 'convnet', 'width': 32, 'depth': 1}, CLASSES, SHAPE)
  chosen = engine.Plugs(engine.fresh_networks(wide, SHAPE, 1), losses.mean_discrepancy)
  images, counts, canvases = data()
  taken = {}
  for at_once in (5, 2, 1):
    settings = dataclasses.replace(SETTINGS, batch_real=256, classes_at_once=at_once)
    functions = engine.make(chosen, settings, wide, num_classes=CLASSES, mean=MEAN, std=STD)
    state = engine.start(functions, KEY, canvases)
    batch = jax.eval_shape(functions.sample, engine.real_data(images, counts), jax.random.key(0), 0)
    taken[at_once] = (
      jax.jit(functions.step).lower(state, batch).compile().memory_analysis().temp_size_in_bytes
    )
  assert taken[1] < 0.8 * taken[2] < 0.8 * 0.8 * taken[5], taken


@pytest.mark.parametrize('feature', ['logits', 'block1'])
def test_any_feature_of_one_constant_network_can_be_matched_without_augmentation(feature):
  """One gradient step, written out: no augmentation, one network, the feature by name."""
  images, counts, canvases = data()
  variables = model().init(jax.random.key(5), jnp.zeros((1, *SHAPE)))
  chosen = engine.Plugs(engine.constant_network, losses.mean_discrepancy)
  settings = dataclasses.replace(SETTINGS, feature=feature, order='joint', momentum=0.0)
  functions = engine.make(chosen, settings, model(), num_classes=CLASSES, mean=MEAN, std=STD)
  real = engine.real_data(images, counts, pool=variables)
  state = engine.start(functions, KEY, canvases)
  batch = jax.jit(functions.sample)(real, jax.random.wrap_key_data(state.key), state.step)
  after, metrics = jax.jit(functions.step)(state, batch)

  def mean_feature(pixels):
    logits, features = model().apply(variables, augment.normalise(pixels, MEAN, STD))
    return {**features, 'logits': logits}[feature].reshape(len(pixels), -1).mean(0)

  @jax.jit
  @jax.value_and_grad
  def total(canvases):
    gaps = [
      mean_feature(decode.decode(of_class, 2)) - mean_feature(pixels)
      for of_class, pixels in zip(canvases, batch['images'])
    ]
    return sum(jnp.square(gap).sum() for gap in gaps)

  loss, gradient = total(jnp.asarray(canvases))
  np.testing.assert_allclose(after.images, canvases - 0.5 * gradient, atol=1e-5)
  np.testing.assert_allclose(metrics['loss'], loss / CLASSES, rtol=1e-5)


def test_a_feature_that_the_network_has_not_is_refused():
  settings = dataclasses.replace(SETTINGS, feature='block2')
  functions, real, state = build(settings)
  with pytest.raises(UserError, match="no feature of the network 'block2'; did you mean 'block1'"):
    jax.eval_shape(functions.step, state, functions.sample(real, jax.random.key(0), 0))

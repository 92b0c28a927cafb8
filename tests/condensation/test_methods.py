"""What M3D and DM put into the engine, and a battery over every registered method."""

import functools
import inspect
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill import data, losses, models
from jaxdistill.condensation import m3d, methods
from jaxdistill.data import augment, samplers
from jaxdistill.errors import UserError
from jaxdistill.synthesis import decode, engine
from jaxdistill.training import pretrained

SHAPE = (16, 16, 1)


@functools.cache
def digits():
  train, _ = data.load('digits')
  images, counts = samplers.class_major(train)
  return train, images, counts


@functools.cache
def model(width=32, depth=3):
  return models.build({'name': 'convnet', 'width': width, 'depth': depth}, 10, SHAPE)


@functools.cache
def features():
  """Embeddings of 90 real images of one class: 80 and 10 others, as real and as synthetic ones."""
  train, images, _ = digits()
  net = model()
  embed = jax.jit(lambda x: net.apply(net.init(jax.random.key(1), x[:1]), x)[1]['embedding'])
  found = embed(augment.normalise(images[3, :90], train.mean, train.std))
  return found[:80], found[80:]


def test_gaussian_gradient_is_that_of_dm_times_2_42_over_the_bandwidth_in_high_dimension():
  """All distances are nearly b there, where the bank's slope is -sum_q exp(-1/q)/q / b = -1.21 / b;
  that of u.v is -1/2."""
  rng = np.random.default_rng(0)
  real, synthetic = (jax.device_put(np.float32(rng.normal(size=(n, 4000)))) for n in (100, 20))
  gaussian, linear = (
    jax.jit(jax.grad(functools.partial(losses.mmd, kernel=k)))(synthetic, real)
    for k in ('gaussian', 'linear')
  )
  lengths = [float(jnp.linalg.norm(gradient)) for gradient in (gaussian, linear)]
  assert (gaussian * linear).sum() / (lengths[0] * lengths[1]) > 0.99
  assert 8000 * lengths[0] / lengths[1] == pytest.approx(2.42, rel=0.03)


def test_the_loss_of_two_samples_of_one_class_is_far_from_zero():
  real, synthetic = features()
  assert 0.1 < jax.jit(losses.mmd)(synthetic, real) < 1


@functools.cache
def ran(name):
  """Two iterations of a method on the digits at 8x8 with one-block networks."""
  train, _ = data.load('digits', image_size=8)
  images, counts = samplers.class_major(train)
  small = models.build({'name': 'convnet', 'width': 4, 'depth': 1, 'norm': 'none'}, 10, (8, 8, 1))
  settings = engine.Settings(ipc=1, batch_real=4, learning_rate=0.1)
  config = configs.load(f'condensation/{name}:digits')
  plugs = methods.plugs(config.method, small, (8, 8, 1))
  functions = engine.make(plugs, settings, small, num_classes=10, mean=train.mean, std=train.std)
  canvases = np.asarray(
    decode.first_canvases(
      jax.random.key(0),
      images,
      counts,
      ipc=1,
      factor=1,
      init='real',
      mean=train.mean,
      std=train.std,
    )
  )
  source = engine.real_data(
    images, counts, pool=pretrained.untrained(small, (8, 8, 1), methods.wants(config.method))
  )
  step = jax.jit(
    lambda s: functions.step(s, functions.sample(source, jax.random.wrap_key_data(s.key), s.step))
  )
  states, measured = [engine.start(functions, jax.random.key_data(jax.random.key(0)), canvases)], []
  for _ in range(2):
    state, metrics = step(states[-1])
    states.append(state)
    measured.append(metrics)
  return states, measured, step


@pytest.mark.parametrize('name', methods.METHODS)
class TestEveryMethod:
  def test_moves_every_class_and_stays_finite(self, name):
    states, metrics, _ = ran(name)
    moved = (
      np.abs(np.asarray(states[-1].images) - np.asarray(states[0].images)).reshape(10, -1).max(1)
    )
    assert (moved > 1e-5).all() and np.isfinite(moved).all()
    assert metrics[-1]['class_loss'].shape == (10,) and np.isfinite(metrics[-1]['class_loss']).all()

  def test_reports_the_mean_of_the_classes(self, name):
    metrics = ran(name)[1][0]
    np.testing.assert_allclose(metrics['loss'], metrics['class_loss'].mean(), rtol=1e-5)

  def test_same_state_same_future(self, name):
    states, _, step = ran(name)
    again, _ = step(states[1])
    np.testing.assert_array_equal(again.images, states[2].images)

  def test_counts_its_steps(self, name):
    assert [int(s.step) for s in ran(name)[0]] == [0, 1, 2]

  def test_is_labelled_and_refuses_unknown_fields(self, name):
    assert methods.LABELS[name]
    with pytest.raises(UserError, match=f'no field of method {name}'):
      methods.plugs({'name': name, 'no_such_field': 1}, model(), SHAPE)


def test_values_are_checked_by_the_signature_alone():
  methods.check({'name': 'm3d', 'kernel': 'polynomial', 'iterations_per_network': 1})
  with pytest.raises(UserError, match="no kernel 'poly'; did you mean 'polynomial'"):
    methods.check({'name': 'm3d', 'kernel': 'poly'})


def test_the_kernels_of_m3d_are_those_of_the_loss():
  kernel = inspect.signature(m3d.plugs).parameters['kernel']
  assert typing.get_args(kernel.annotation) == tuple(losses.KERNELS)


def test_unknown_method_names_the_nearest():
  with pytest.raises(UserError, match="no condensation method 'm3'; did you mean 'm3d'"):
    methods.find('m3')

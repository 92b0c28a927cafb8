"""Normalisation layers against numpy in float64, and which samples they couple."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxdistill import errors
from jaxdistill.models import normalisation
from jaxdistill.training import parallel


def apply(name, x, train=False, scale=None, bias=None, mutable=False):
  layer = normalisation.norm(name)()
  variables = layer.init(jax.random.key(0), x)
  if scale is not None:
    variables['params'] = {'scale': scale, 'bias': bias}
  return layer.apply(variables, x, train, mutable=mutable)


def sample(shape=(3, 4, 5, 8), offset=0.0):
  return jax.device_put(np.float32(np.random.default_rng(0).normal(size=shape) * 2 + offset))


def standardised(x, axes):
  x = np.asarray(x, np.float64)
  return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


def test_instance_norm_is_per_image_and_channel_with_scale_and_bias():
  x, scale, bias = sample(), jnp.linspace(-1, 2, 8), jnp.linspace(3, 4, 8)
  expected = standardised(x, (1, 2)) * np.asarray(scale) + np.asarray(bias)
  np.testing.assert_allclose(
    apply('instance', x, scale=scale, bias=bias), expected, rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize('name, axes', [('instance', (1, 2)), ('batch', (0, 1, 2))])
def test_a_large_mean_costs_no_more_digits_than_the_input_has(name, axes):
  # At 3,000 float32 resolves 2e-4, that is 1e-4 of the spread.
  x = sample(offset=3000.0)
  y = apply(name, x, train=True, mutable=['batch_stats'])[0]
  np.testing.assert_allclose(y, standardised(x, axes), atol=2e-3)


def test_a_first_pixel_far_off_does_no_harm():
  x = sample((2, 16, 16, 3)).at[:, 0, 0].set(1000.0)
  np.testing.assert_allclose(apply('instance', x), standardised(x, (1, 2)), rtol=1e-3, atol=1e-4)


def test_a_constant_map_normalises_to_the_bias():
  x = jnp.full((1, 3, 3, 2), 0.1)
  y, gradient = jax.value_and_grad(lambda x: apply('instance', x).sum())(x)
  assert y == pytest.approx(0, abs=1e-4) and np.isfinite(gradient).all()


def test_gradient_of_instance_norm():
  # dx = (g - mean g - y mean(g y)) / s, the textbook formula.
  x, g = sample((1, 3, 4, 2)), sample((1, 3, 4, 2), offset=0.5)
  gradient = jax.grad(lambda x: (apply('instance', x) * g).sum())(x)
  s = np.sqrt(np.asarray(x, np.float64).var((1, 2), keepdims=True) + 1e-5)
  y, g = standardised(x, (1, 2)), np.asarray(g, np.float64)
  expected = (g - g.mean((1, 2), keepdims=True) - y * (g * y).mean((1, 2), keepdims=True)) / s
  np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


def test_second_derivatives_go_through_the_statistics():
  # Gradient matching differentiates a gradient: compare with central differences of the first one.
  x, g, v = (sample((1, 2, 3, 1), offset=offset) for offset in (0.0, 1.0, 2.0))
  v = v * jnp.arange(6.0).reshape(v.shape)
  first = jax.jit(jax.grad(lambda x: (apply('instance', x) ** 3 * g).sum()))
  _, product = jax.jvp(first, (x,), (v,))
  numeric = (
    np.asarray(first(x + 1e-3 * v), np.float64) - np.asarray(first(x - 1e-3 * v), np.float64)
  ) / 2e-3
  np.testing.assert_allclose(product, numeric, rtol=0.02, atol=0.02 * np.abs(numeric).max())


def test_group_norm_takes_four_groups_of_neighbouring_channels():
  x = sample()
  expected = standardised(np.asarray(x).reshape(3, 4, 5, 4, 2), (1, 2, 4)).reshape(x.shape)
  np.testing.assert_allclose(apply('group', x), expected, rtol=1e-4, atol=1e-5)
  with pytest.raises(errors.UserError, match='divisible by 4; got 6'):
    apply('group', x[..., :6])


def test_batch_norm_in_training_and_in_evaluation():
  x = sample(offset=1.0)
  y, changed = apply('batch', x, train=True, mutable=['batch_stats'])
  np.testing.assert_allclose(y, standardised(x, (0, 1, 2)), rtol=1e-4, atol=1e-5)
  flat = np.asarray(x, np.float64).reshape(-1, 8)
  np.testing.assert_allclose(changed['batch_stats']['mean'], 0.1 * flat.mean(0), rtol=1e-5)
  np.testing.assert_allclose(
    changed['batch_stats']['var'], 0.9 + 0.1 * flat.var(0, ddof=1), rtol=1e-5
  )
  layer = normalisation.norm('batch')()
  statistics = {'mean': jnp.full(8, 2.0), 'var': jnp.full(8, 4.0)}
  variables = {'params': layer.init(jax.random.key(0), x)['params'], 'batch_stats': statistics}
  np.testing.assert_allclose(
    layer.apply(variables, x), (np.asarray(x) - 2) / np.sqrt(4 + 1e-5), rtol=1e-5, atol=1e-6
  )


def normalising(axis=None):
  """Returns (x, weight) -> output, running statistics and gradient of batch norm of 3 channels."""
  layer = normalisation.norm('batch')()
  variables = {
    'params': {'scale': np.ones(3, np.float32), 'bias': np.zeros(3, np.float32)},
    'batch_stats': {'mean': np.zeros(3, np.float32), 'var': np.ones(3, np.float32)},
  }

  def one(x, weight):
    def loss(x):
      with normalisation.synchronised(axis), normalisation.weighted(weight):
        y, moved = layer.apply(variables, x, train=True, mutable=['batch_stats'])
      return (jnp.where(weight > 0, 1.0, 0.0)[:, None, None, None] * jnp.sin(y)).sum(), (y, moved)

    gradient, (y, moved) = jax.grad(loss, has_aux=True)(x)
    return y, moved['batch_stats'], gradient

  return one


normalised = jax.jit(normalising())


def assert_same(found, expected, **tolerance):
  compare = functools.partial(np.testing.assert_allclose, **tolerance) if tolerance else None
  jax.tree.map(compare or np.testing.assert_array_equal, found, expected)


def test_rows_of_weight_0_are_as_if_they_were_not_there():
  x, weight = sample((6, 2, 2, 3), offset=1.0), np.array([0, 1, 1, 0, 1, 0], np.float32)
  real = np.flatnonzero(weight)
  found = normalised(x, weight)
  y, moved, gradient = normalised(x[real], np.ones(3, np.float32))
  assert_same((found[0][real], found[1], found[2][real]), (y, moved, gradient), atol=2e-6)
  np.testing.assert_allclose(y, standardised(x[real], (0, 1, 2)), rtol=1e-4, atol=1e-5)
  flat = np.asarray(x[real], np.float64).reshape(-1, 3)
  np.testing.assert_allclose(found[1]['mean'], 0.1 * flat.mean(0), rtol=1e-5)
  np.testing.assert_allclose(found[1]['var'], 0.9 + 0.1 * flat.var(0, ddof=1), rtol=1e-5)
  np.testing.assert_array_equal(found[2][weight == 0], 0)


@pytest.mark.parametrize('garbage', [7.0, -1e30, np.inf, np.nan])
def test_what_rows_of_weight_0_hold_changes_no_bit(garbage):
  x, weight = sample((4, 2, 2, 3)), np.array([0, 1, 1, 0], np.float32)
  found, expected = (normalised(value, weight) for value in (x.at[::3].set(garbage), x))
  assert_same((found[0][1:3], found[1]), (expected[0][1:3], expected[1]))
  if np.isfinite(garbage):
    assert_same(found[2], expected[2])


@pytest.mark.usefixtures('programs_of_users')
def test_a_full_batch_has_the_bits_that_it_has_without_weights():
  x, layer = sample((7, 3, 5, 8), offset=3.0), normalisation.norm('batch')()
  variables = layer.init(jax.random.key(0), x)

  @jax.jit
  def run(x, weight=None):
    with normalisation.weighted(weight):
      return layer.apply(variables, x, train=True, mutable=['batch_stats'])

  found, expected = run(x, jnp.ones(7)), run(x)
  assert_same(
    (found[0], found[1]['batch_stats']['mean']), (expected[0], expected[1]['batch_stats']['mean'])
  )
  assert_same(found[1], expected[1], rtol=1e-7)


def test_a_row_of_weight_2_counts_as_two():
  x = sample((3, 2, 2, 3))
  found = normalised(x, np.array([1, 2, 0], np.float32))
  expected = normalised(x[jnp.array([0, 1, 1])], np.ones(3, np.float32))
  assert_same((found[0][:2], found[1]), (expected[0][:2], expected[1]), atol=2e-6)


def test_every_network_has_weights_of_its_own_under_vmap():
  x = sample((3, 4, 2, 2, 3))
  weight = np.array([[1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 1, 1]], np.float32)
  found = jax.jit(jax.vmap(normalising()))(x, weight)
  for network in range(3):
    expected = normalised(x[network], weight[network])
    assert_same(jax.tree.map(lambda a, n=network: a[n], found), expected, atol=1e-6)


def test_weights_over_four_devices_are_those_of_one():
  """The second device has nothing but filling, and the others different numbers of rows."""
  x = sample((8, 2, 2, 3), offset=2.0).at[2:4].set(np.nan)
  weight = np.array([1, 1, 0, 0, 0, 1, 1, 1], np.float32)
  mesh, rows = parallel.make_mesh(4), P(parallel.AXIS)

  def per_device(x, weight):
    y, moved, _ = normalising(parallel.AXIS)(x, weight)
    return y, moved

  spread = parallel.per_device(per_device, mesh, (rows, rows), (rows, P()))
  found = spread(x, weight)
  y, moved, _ = normalised(x, weight)
  real = weight > 0
  assert_same((found[0][real], found[1]), (y[real], moved), atol=2e-6)
  ones = np.ones(4, np.float32)
  assert_same(spread(x[4:], ones)[1], normalised(x[4:], ones)[1], atol=2e-6)


def test_views_of_a_batch_go_through_together_one_behind_another():
  first, second = sample((3, 2, 2, 3)), sample((3, 2, 2, 3), offset=1.0)
  weight = np.array([1, 0, 1], np.float32)
  both = jnp.concatenate([first, second])
  layer = normalisation.norm('batch')()
  variables = layer.init(jax.random.key(0), both)
  with normalisation.weighted(weight):
    _, moved = layer.apply(variables, both, train=True, mutable=['batch_stats'])
    with pytest.raises(errors.UserError, match='got 4 rows where the batch has 3'):
      layer.apply(variables, both[:4], train=True, mutable=['batch_stats'])
    layer.apply(variables, both[:4])  # nothing to weigh where the statistics are the running ones
  real = np.asarray(both, np.float64)[[0, 2, 3, 5]].reshape(-1, 3)
  np.testing.assert_allclose(moved['batch_stats']['mean'], 0.1 * real.mean(0), rtol=1e-5)


class Foreign(nn.Module):
  """A network with flax's own batch normalisation."""

  @nn.compact
  def __call__(self, x, train=False):
    return nn.BatchNorm(use_running_average=not train, name='norm')(x)


@pytest.mark.parametrize(
  'around',
  [lambda: normalisation.weighted(jnp.ones(3)), lambda: normalisation.synchronised('data')],
)
def test_another_batch_norm_is_refused_where_it_would_count_other_rows(around):
  network, x = Foreign(), sample()
  variables = network.init(jax.random.key(0), x)
  with around():
    network.apply(variables, x, False)
    with pytest.raises(errors.UserError, match=r"layer norm is flax's BatchNorm.*normalisation"):
      network.apply(variables, x, True, mutable=['batch_stats'])
  with normalisation.weighted(None), normalisation.synchronised(None):
    network.apply(variables, x, True, mutable=['batch_stats'])


@pytest.mark.parametrize('name', ['instance', 'group', 'none'])
def test_weights_change_nothing_where_no_samples_are_coupled(name):
  x = sample()
  with normalisation.weighted(jnp.array([1.0, 0.0, 1.0])):
    weighted = apply(name, x, train=True)
  np.testing.assert_array_equal(weighted, apply(name, x, train=True))


@pytest.mark.parametrize(
  'name, couples', [('instance', False), ('group', False), ('none', False), ('batch', True)]
)
def test_which_layers_couple_samples(name, couples):
  x = sample()
  other = x.at[1:].add(sample()[1:] ** 2)
  first = lambda x: apply(name, x, train=True, mutable=['batch_stats'])[0][0]
  assert (not np.array_equal(first(x), first(other))) == couples


@pytest.mark.parametrize('name', normalisation.NAMES)
def test_bfloat16_maps_get_float32_statistics(name):
  # Half threes and half ones, 8,192 in all: a bfloat16 sum would stop counting at 512.
  x = jnp.concatenate([jnp.full((1, 64, 64, 4), 3.0), jnp.full((1, 64, 64, 4), 1.0)], 2).astype(
    jnp.bfloat16
  )
  y = apply(name, x, train=True, mutable=['batch_stats'])[0]
  assert y.dtype == jnp.bfloat16
  values = np.unique(np.asarray(y, np.float32))
  np.testing.assert_allclose(values, [1, 3] if name == 'none' else [-1, 1], rtol=1e-2)


def test_dtype_of_the_output_can_be_asked_for():
  layer = normalisation.norm('instance', jnp.bfloat16)()
  assert layer.init_with_output(jax.random.key(0), sample())[0].dtype == jnp.bfloat16


def test_unknown_normalisation():
  with pytest.raises(errors.UserError, match="did you mean 'instance'"):
    normalisation.norm('instnace')

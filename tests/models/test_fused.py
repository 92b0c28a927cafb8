"""Instance norm, ReLU and pooling in one function: the numbers and gradients of the layers one by
one, whatever accelerator is compiled for."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import backend, models
from jaxdistill.models import fused, normalisation, pooling

PLATFORMS = ('gpu', 'tpu')
# (height, width), window: with and without a rest at the edges.
CASES = [((6, 6), 2), ((5, 7), 2), ((7, 6), 3), ((4, 4), 1)]


def arrays(size, dtype=np.float32):
  rng = np.random.default_rng(0)
  x = rng.normal(0.5, 2, (3, *size, 4)).astype(np.float32)
  scale, bias = rng.normal(size=(2, 1, 1, 1, 4)).astype(np.float32)
  return jnp.asarray(x, dtype), jnp.asarray(scale), jnp.asarray(bias)


def by_hand(x, scale, bias, window):
  """In float64, from the formulas."""
  x, scale, bias = (np.asarray(one, np.float64) for one in (x, scale, bias))
  y = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
  y = np.maximum(y * scale + bias, 0)
  height, width = (side // window for side in x.shape[1:3])
  out = np.zeros((len(x), height, width, x.shape[3]))
  for i in range(height):
    for j in range(width):
      tile = y[:, i * window : (i + 1) * window, j * window : (j + 1) * window]
      out[:, i, j] = tile.mean((1, 2))
  return out


@pytest.mark.parametrize('platform', PLATFORMS)
@pytest.mark.parametrize('size, window', CASES)
def test_it_is_norm_then_relu_then_mean_over_windows(platform, size, window):
  x, scale, bias = arrays(size)
  with backend.compiling_for(platform):
    y = fused.instance_norm(x, scale, bias, relu=True, window=window)
  np.testing.assert_allclose(y, by_hand(x, scale, bias, window), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('platform', PLATFORMS)
@pytest.mark.parametrize('size, window', CASES)
def test_its_gradients_are_those_of_the_layers_one_by_one(platform, size, window):
  x, scale, bias = arrays(size)
  weights = jnp.asarray(np.random.default_rng(1).normal(size=by_hand(*arrays(size), window).shape))

  def plain(x, scale, bias):
    mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    y = nn.relu((x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias)
    return (pooling.average_pool(y, window) * weights).sum()

  def together(x, scale, bias):
    return (fused.instance_norm(x, scale, bias, relu=True, window=window) * weights).sum()

  expected = jax.jit(jax.grad(plain, argnums=(0, 1, 2)))(x, scale, bias)
  with backend.compiling_for(platform):
    gradients = jax.jit(jax.grad(together, argnums=(0, 1, 2)))(x, scale, bias)
  for ours, reference in zip(gradients, expected):
    np.testing.assert_allclose(ours, reference, rtol=1e-3, atol=1e-4)


def test_a_reference_keeps_the_digits_of_a_map_far_from_zero():
  x, scale, bias = arrays((6, 6))
  far = x + 10_000
  y = fused.instance_norm(far, scale, bias, far[:, :1, :1], relu=True, window=2)
  np.testing.assert_allclose(y, by_hand(far, scale, bias, 2), rtol=1e-2, atol=1e-2)
  gradient = jax.grad(lambda r: fused.instance_norm(far, scale, bias, r).sum())(far[:, :1, :1])
  assert not np.asarray(gradient).any()


def test_a_narrow_map_stays_narrow_and_its_sums_are_float32():
  x, scale, bias = arrays((16, 16), jnp.bfloat16)
  y = fused.instance_norm(x, scale, bias, relu=True, window=2)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    np.asarray(y, np.float64), by_hand(x, scale, bias, 2), rtol=0.01, atol=0.01
  )


@pytest.mark.parametrize('platform', PLATFORMS)
@pytest.mark.parametrize('window', [2, 3])
def test_average_pool_elsewhere_is_that_of_a_cpu(platform, window):
  x, _, _ = arrays((7, 8))
  total = lambda x: jnp.sin(pooling.average_pool(x, window)).sum()
  expected, slope = jax.value_and_grad(total)(x)
  with backend.compiling_for(platform):
    value, gradient = jax.value_and_grad(total)(x)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('platform', PLATFORMS)
@pytest.mark.parametrize('norm', normalisation.NAMES)
def test_a_network_is_the_same_whatever_it_is_compiled_for(platform, norm, random_variables):
  net = models.build({'name': 'convnet', 'width': 8, 'depth': 2, 'norm': norm}, 3, (8, 8, 3))
  x = jax.device_put(np.float32(np.random.default_rng(0).normal(size=(4, 8, 8, 3))))
  variables = random_variables(net, x)
  variables = jax.tree.map(jnp.abs, variables)  # a running variance is not negative

  def total(variables, x):
    logits, features = net.apply(variables, x)
    return jnp.sin(logits).sum() + features['block1'].sum()

  expected = jax.jit(jax.grad(total, argnums=(0, 1)))(variables, x)
  with backend.compiling_for(platform):
    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))(variables, x)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4), gradients, expected
  )

"""Pooling against numpy, with the gradient and the corner cases of PyTorch's layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.models import pooling

WINDOWS = [(2, 0, 0), (3, 2, 1), (3, 2, 0), (2, 1, 0), (1, 0, 0), (4, 3, 2)]


def sample(shape=(2, 9, 6, 3)):
  return jax.device_put(np.float32(np.random.default_rng(0).normal(size=shape)))


def largest_by_hand(x, window, stride, padding):
  """Every window's first largest number: (the number, its row and column in `x`), one window after
  another."""
  stride = stride or window
  n, height, width, channels = x.shape
  sizes = [(side + 2 * padding - window) // stride + 1 for side in (height, width)]
  for b, i, j, c in np.ndindex(n, *sizes, channels):
    top, left = i * stride - padding, j * stride - padding
    cells = [
      (x[b, k, m, c], k, m)
      for k in range(max(top, 0), min(top + window, height))
      for m in range(max(left, 0), min(left + window, width))
    ]
    yield (b, i, j, c), max(cells, key=lambda cell: cell[0])  # max returns the first of equals


@pytest.mark.parametrize('window, stride, padding', WINDOWS)
def test_max_pool_and_its_gradient(window, stride, padding):
  # Small whole numbers: most windows hold their largest number more than once.
  x = np.random.default_rng(1).integers(-3, 0, (2, 7, 6, 2)).astype(np.float32)
  pool = lambda x: pooling.max_pool(x, window, stride, padding)
  weights = np.random.default_rng(2).normal(size=jax.eval_shape(pool, x).shape).astype(np.float32)
  (_, y), pulled = jax.jit(
    jax.value_and_grad(lambda x: ((pool(x) * weights).sum(), pool(x)), has_aux=True)
  )(x)
  gradient = np.zeros_like(x)
  found = 0
  for (b, i, j, c), (value, k, m) in largest_by_hand(x, window, stride, padding):
    assert y[b, i, j, c] == value
    gradient[b, k, m, c] += weights[b, i, j, c]
    found += 1
  assert found == y.size
  np.testing.assert_allclose(pulled, gradient, rtol=1e-5, atol=1e-6)


def test_max_pool_hands_on_what_is_not_a_number():
  for cell in ((0, 0), (0, 1), (1, 1)):
    x = jnp.ones((1, 2, 2, 1)).at[0, cell[0], cell[1], 0].set(jnp.nan)
    assert jnp.isnan(pooling.max_pool(x)).all()


def test_max_pool_keeps_the_dtype_and_differentiates_twice():
  assert pooling.max_pool(sample().astype(jnp.bfloat16), 3, 2, 1).dtype == jnp.bfloat16
  x = sample((1, 2, 2, 1))
  hessian = jax.jit(jax.hessian(lambda x: (pooling.max_pool(x) ** 3).sum()))(x).reshape(4, 4)
  expected = np.zeros((4, 4))
  best = int(np.argmax(x))
  expected[best, best] = 6 * x.max()
  np.testing.assert_allclose(hessian, expected, rtol=1e-5)


@pytest.mark.parametrize('window', [1, 2, 4])
def test_average_pool_floors_odd_sizes(window):
  x = sample()
  h, w = 9 // window, 6 // window
  expected = (
    np.asarray(x)[:, : h * window, : w * window].reshape(2, h, window, w, window, 3).mean((2, 4))
  )
  np.testing.assert_allclose(pooling.average_pool(x, window), expected, rtol=1e-5, atol=1e-6)


def test_global_average():
  x = sample()
  np.testing.assert_allclose(
    pooling.global_average(x), np.asarray(x).mean((1, 2)), rtol=1e-5, atol=1e-6
  )

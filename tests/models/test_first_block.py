"""The first block as one kernel: simulated on a CPU, it gives the numbers and the gradient of the
layers one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import backend, models
from jaxdistill.models import first_block, normalisation

# Sides of the padded image, its channels, the features, the window, the rows of a group: with and
# without pooling, with a last group that is not full.
CASES = [((8, 10), 3, 32, 2, 16), ((7, 6), 1, 16, 1, 8)]


@functools.cache
def numbers(case):
  (height, width), channels, features, window, rows = case
  form = first_block.Form(height, width, channels, features, window, rows)
  rng = np.random.default_rng(0)
  x = np.zeros((2, height, width, channels), np.float32)
  x[:, 1:-1, 1:-1] = rng.normal(3, 1, (2, height - 2, width - 2, channels))
  kernel = rng.normal(0, 0.2, (3, 3, channels, features)).astype(np.float32)
  scale, bias = rng.normal((1, 0), 0.3, (features, 2)).T.astype(np.float32)
  dy = rng.normal(size=(2, *form.pooled_sides, features)).astype(np.float32)
  return form, (x, kernel, scale, bias), dy


def by_hand(x, kernel, scale, bias, window):
  """In float64, from the formulas."""
  x, kernel, scale, bias = (np.asarray(one, np.float64) for one in (x, kernel, scale, bias))
  height, width = x.shape[1] - 2, x.shape[2] - 2
  y = np.zeros((len(x), height, width, kernel.shape[-1]))
  for down in range(3):
    for right in range(3):
      y += x[:, down : down + height, right : right + width] @ kernel[down, right]
  z = (y - y.mean((1, 2), keepdims=True)) / np.sqrt(y.var((1, 2), keepdims=True) + 1e-5)
  z = np.maximum(z * scale + bias, 0)
  shape = (len(x), height // window, window, width // window, window, -1)
  return z.reshape(shape).mean((2, 4))


@pytest.mark.parametrize('case', CASES)
def test_the_kernels_give_the_block_and_its_gradient(case):
  form, values, dy = numbers(case)
  y, mean, spread = jax.jit(functools.partial(first_block.forward, form, interpret=True))(*values)
  np.testing.assert_allclose(y, by_hand(*values, form.window), rtol=1e-4, atol=1e-5)

  def layers(x):
    return normalisation._by_layers(x, *values[1:], form.window)

  (expected,) = jax.jit(lambda x, dy: jax.vjp(layers, x)[1](dy))(values[0], dy)
  gradient = jax.jit(functools.partial(first_block.backward, form, interpret=True))
  np.testing.assert_allclose(gradient(*values, mean, spread, dy), expected, rtol=1e-3, atol=1e-5)


def test_mean_patches_are_means_over_the_pixels():
  form, (x, *_), _ = numbers(CASES[0])
  shifted = [
    x[:, down : down + form.height - 2, right : right + form.width - 2].mean((1, 2))
    for down in range(3)
    for right in range(3)
  ]
  mean = first_block.mean_patches(form, jnp.asarray(x))
  np.testing.assert_allclose(mean[:, :27], np.concatenate(shifted, -1), rtol=1e-5, atol=1e-6)
  assert not np.asarray(mean[:, 27:]).any()


def gradients(platform):
  """Loss, gradient of the weights and gradient of the images of a network with such a block."""
  model = models.build({'name': 'convnet', 'width': 16, 'depth': 1}, 3, (8, 8, 3))
  x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3)) + 1
  variables = model.init(jax.random.key(1), x)

  def loss(variables, x):
    return (model.apply(variables, x, True)[0] ** 2).sum()

  with backend.compiling_for(platform):
    whole = jax.jit(jax.value_and_grad(loss, (0, 1)))(variables, x)
    return whole, jax.jit(jax.grad(loss, 1))(variables, x)


def test_a_network_traced_for_a_gpu_computes_what_it_computes_elsewhere():
  whole, of_images = gradients('gpu')
  expected, _ = gradients('tpu')
  for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(expected)):
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
  np.testing.assert_allclose(of_images, expected[1][1], rtol=1e-3, atol=1e-4)


def test_only_images_under_a_small_kernel_fit():
  assert first_block.fits((34, 34, 3), (3, 3, 3, 128), (1, 1), 2)
  for shape, kernel, strides, window in [
    ((34, 34, 8), (3, 3, 8, 128), (1, 1), 2),
    ((34, 34, 3), (5, 5, 3, 128), (1, 1), 2),
    ((34, 34, 3), (3, 3, 3, 128), (2, 2), 2),
    ((34, 34, 3), (3, 3, 3, 96), (1, 1), 2),
    ((35, 34, 3), (3, 3, 3, 128), (1, 1), 2),
  ]:
    assert not first_block.fits(shape, kernel, strides, window)

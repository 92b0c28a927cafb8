"""Every DiffAug operation against loops in float64, and its gradient against the transpose of the
operation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data import operations

SHAPE = (3, 8, 8, 3)
U = np.array([0.1, 0.55, 0.9])


def _images(shape=SHAPE, seed=0):
  return np.random.RandomState(seed).normal(size=shape).astype(np.float32)


def _loop(one_image):
  """Lifts a float64 function of (image, number of the image) to the batch."""
  return lambda images: np.stack(
    [one_image(image.astype(np.float64), n) for n, image in enumerate(images)]
  )


def _translated(image, down, right):
  out = np.zeros_like(image)
  for row in range(image.shape[0]):
    for column in range(image.shape[1]):
      if 0 <= row - down < image.shape[0] and 0 <= column - right < image.shape[1]:
        out[row, column] = image[row - down, column - right]
  return out


def _cut(image, row, column):
  out = image.copy()
  sides = [int(size * 0.5 + 0.5) for size in image.shape[:2]]
  top, left = row - sides[0] // 2, column - sides[1] // 2
  out[max(top, 0) : max(top + sides[0], 0), max(left, 0) : max(left + sides[1], 0)] = 0
  return out


def _sampled(image, matrix):
  """PyTorch's affine_grid and grid_sample for square images: bilinear, zero padding,
  align_corners=False.

  `matrix` acts on normalised (x, y); pixel i of n has its centre at (2 i + 1) / n - 1.
  """
  size = image.shape[0]
  out = np.zeros_like(image)
  for row in range(size):
    for column in range(size):
      x, y = matrix @ [(2 * column + 1) / size - 1, (2 * row + 1) / size - 1]
      source_column, source_row = ((x + 1) * size - 1) / 2, ((y + 1) * size - 1) / 2
      for r in range(size):
        for c in range(size):
          out[row, column] += (
            max(0, 1 - abs(source_row - r)) * max(0, 1 - abs(source_column - c))
          ) * image[r, c]
  return out


def _turned(image, angle):
  cosine, sine = np.cos(angle), np.sin(angle)
  return _sampled(image, np.array([[cosine, -sine], [sine, cosine]]))


def _one_part_of_color(images, part):
  """Brightness, saturation or contrast by `U` alone: one half changes nothing."""
  u = np.full((3, len(U)), 0.5)
  u[part] = U
  return operations.color(images, jnp.array(u))


DOWN, RIGHT = np.array([0, 1, -3]), np.array([2, -1, 9])
ROW, COLUMN = np.array([0, 4, 8]), np.array([8, 3, 1])
TALL, WIDE = np.array([1 / 1.2, 1.0, 1.2]), np.array([1.1, 0.9, 1 / 1.2])
ANGLE = np.deg2rad([-15.0, 3.0, 15.0])
CASES = {
  'flip': (
    lambda x: operations.flip(x, jnp.array([True, False, True])),
    _loop(lambda image, n: image if n == 1 else image[:, ::-1]),
  ),
  'brightness': (
    lambda x: operations.brightness(x, jnp.array(U)),
    _loop(lambda image, n: image + U[n] - 0.5),
  ),
  'saturation': (
    lambda x: _one_part_of_color(x, 1),
    _loop(lambda image, n: image * 2 * U[n] + image.mean(2, keepdims=True) * (1 - 2 * U[n])),
  ),
  'contrast': (
    lambda x: _one_part_of_color(x, 2),
    _loop(lambda image, n: (image - image.mean()) * (U[n] + 0.5) + image.mean()),
  ),
  'translate': (
    lambda x: operations.translate(x, jnp.array(DOWN), jnp.array(RIGHT)),
    _loop(lambda image, n: _translated(image, DOWN[n], RIGHT[n])),
  ),
  'cutout': (
    lambda x: operations.cutout(x, jnp.array(ROW), jnp.array(COLUMN)),
    _loop(lambda image, n: _cut(image, ROW[n], COLUMN[n])),
  ),
  'scale': (
    lambda x: operations.scale(x, jnp.array(TALL), jnp.array(WIDE)),
    _loop(lambda image, n: _sampled(image, np.diag([WIDE[n], TALL[n]]))),
  ),
  'rotate': (
    lambda x: operations.rotate(x, jnp.array(ANGLE)),
    _loop(lambda image, n: _turned(image, ANGLE[n])),
  ),
}


@pytest.mark.parametrize('name', CASES)
def test_equals_float64_reference(name):
  operation, reference = CASES[name]
  images = _images()
  np.testing.assert_allclose(jax.jit(operation)(images), reference(images), atol=2e-6)


@pytest.mark.parametrize('name', CASES)
def test_gradient_is_the_transpose(name):
  operation, reference = CASES[name]
  images, cotangent = _images(), _images(seed=1)
  gradient = jax.jit(lambda x, g: jax.vjp(operation, x)[1](g)[0])(images, cotangent)
  # The operations are affine, so the difference to the image of zero is the linear part.
  direction = _images(seed=2)
  moved = reference(direction) - reference(np.zeros_like(direction))
  np.testing.assert_allclose((gradient * direction).sum(), (cotangent * moved).sum(), rtol=1e-4)
  # One pixel at a time: entry by entry of the transposed matrix.
  for n, row, column, channel in [(0, 0, 0, 0), (1, 4, 3, 2), (2, 7, 6, 1), (2, 2, 5, 0)]:
    basis = np.zeros_like(direction)
    basis[n, row, column, channel] = 1
    expected = (cotangent * (reference(basis) - reference(np.zeros_like(basis)))).sum()
    np.testing.assert_allclose(gradient[n, row, column, channel], expected, atol=1e-5)


@pytest.mark.parametrize('name', CASES)
def test_gradient_is_zero_only_where_the_pixel_is_lost(name):
  operation, _ = CASES[name]
  gradient = jax.jit(jax.grad(lambda x: (operation(x) ** 2).sum()))(jnp.abs(_images()) + 1)
  share = (gradient != 0).mean(axis=(1, 2, 3))
  # The largest translation, 9 of 8 pixels, loses the third image.
  assert (share[:2] > 0.5).all() and (share[2] > 0.5 or name == 'translate')


def test_cutout_gradient_is_exactly_zero_in_the_box():
  gradient = jax.grad(lambda x: (3 * operations.cutout(x, 4, 6)).sum())(jnp.ones((1, 8, 8, 1)))
  expected = np.full((8, 8), 3.0)
  expected[2:6, 4:8] = 0
  np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


@pytest.mark.parametrize('shape', [(2, 8, 8, 1), (2, 8, 8, 3), (1, 6, 9, 4)])
def test_color_is_its_three_parts_in_order(shape):
  images, (brightness, saturation, contrast) = _images(shape), (0.9, 0.2, 0.7)
  parts = images + brightness - 0.5
  grey = parts.mean(3, keepdims=True)
  parts = (parts - grey) * 2 * saturation + grey
  mean = parts.mean((1, 2, 3), keepdims=True)
  parts = (parts - mean) * (contrast + 0.5) + mean
  u = jnp.array([brightness, saturation, contrast])
  np.testing.assert_allclose(operations.color(jnp.asarray(images), u), parts, atol=1e-6)


def test_scalar_serves_all_images():
  @jax.jit
  def both(images):
    pairs = []
    for operation, scalars in [
      (operations.brightness, (0.3,)),
      (operations.translate, (1, -2)),
      (operations.cutout, (3, 5)),
      (operations.scale, (0.9, 1.1)),
      (operations.rotate, (0.2,)),
    ]:
      vectors = [jnp.full(len(images), scalar) for scalar in scalars]
      pairs.append((operation(images, *scalars), operation(images, *vectors)))
    return pairs

  for once, each in both(_images()):
    np.testing.assert_allclose(once, each, atol=1e-6)


def test_other_than_square():
  images = jnp.asarray(_images((1, 9, 5, 1)))
  turned = jax.jit(jax.vmap(operations.rotate, (None, 0)))(images, jnp.array([0, np.pi]))
  np.testing.assert_allclose(turned[0], images, atol=1e-6)
  np.testing.assert_allclose(turned[1], images[:, ::-1, ::-1], atol=1e-5)
  np.testing.assert_array_equal(
    jax.jit(operations.translate)(images, 1, 2)[:, 1:, 2:], images[:, :-1, :-2]
  )
  np.testing.assert_array_equal(
    jax.jit(operations.cutout)(images, 0, 0)[0], _cut(np.asarray(images[0]), 0, 0)
  )


def test_warp_gradient_of_many_draws():
  """The nine pixels that the transpose looks at are enough over the whole range of DiffAug, also
  off the square."""
  image = jnp.asarray(_images((1, 6, 7, 1)))
  basis = jnp.eye(42).reshape(42, 6, 7, 1)

  @jax.jit
  @jax.vmap
  def difference(matrix):
    gradient = jax.vjp(lambda x: operations.warp(x, matrix), image)[1](image)[0]
    dense = operations.warp(basis, matrix).reshape(42, 42)
    return jnp.abs(dense @ image.reshape(42) - gradient.reshape(42)).max()

  angle = np.linspace(-np.deg2rad(15), np.deg2rad(15), 31)
  turns = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], -1).reshape(
    -1, 2, 2
  )
  factors = np.linspace(1 / 1.2, 1.2, 6)
  scales = np.array([np.diag([a, b]) for a in factors for b in factors])
  matrices = np.concatenate([turns, scales]).astype(np.float32)
  assert difference(matrices).max() < 1e-5

"""The image operations of DiffAug, each a pure function of the images and of the random numbers
handed to it.

All take float images [n, h, w, c]. A random number is a scalar for the whole call, or a vector [n]
with one an image. Shapes are static and nothing branches on values. Gradients flow into the pixels
only, and in reverse mode only: the transposes of the colour operations, of `translate` and of
`warp` are written by hand. They gather where differentiation would scatter, which is some ten times
as fast on a CPU, and adds in a fixed order on a GPU, so that runs repeat bit by bit.

The definitions are those of DSA (Zhao & Bilen, ICML 2021) and of IDC (Kim et al., ICML 2022).
"""

import itertools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxdistill.numerics import steady


@steady
def flip(images: jax.Array, mirrored: ArrayLike) -> jax.Array:
  """Mirrors left and right where `mirrored` (boolean) is true.

  >>> flip(jnp.arange(3.).reshape(1, 1, 3, 1), True)[0, 0, :, 0].tolist()
  [2.0, 1.0, 0.0]
  """
  return jnp.where(_per_image(mirrored), images[:, :, ::-1], images)


@steady
def brightness(images: jax.Array, u: ArrayLike) -> jax.Array:
  """Adds u - 1/2 to every pixel; u is uniform on [0, 1).

  >>> brightness(jnp.zeros((1, 1, 1, 1)), 0.75).item()
  0.25
  """
  return images + (_per_image(u) - 0.5)


@steady
def color(images: jax.Array, u: jax.Array) -> jax.Array:
  """Applies brightness with u[0], then saturation with u[1], then contrast with u[2]; `u` is [3] or
  [3, n].

  One pass instead of three: saturation keeps the mean of the image, and the brightness passes
    through both.

  >>> color(jnp.array([1., 3.]).reshape(1, 1, 2, 1), jnp.array([1., 0., 0.]))[0, 0, :, 0].tolist()
  [2.0, 3.0]
  """
  return brightness(_rescale(images, 2 * _per_image(u[1]), _per_image(u[2]) + 0.5), u[0])


@steady
def translate(images: jax.Array, down: ArrayLike, right: ArrayLike) -> jax.Array:
  """Moves the images by whole pixels and fills with 0 what comes in over the border.

  >>> translate(jnp.arange(1., 4.).reshape(1, 1, 3, 1), 0, 1)[0, 0, :, 0].tolist()
  [0.0, 1.0, 2.0]
  """
  return _for_each(_translate, images, down, right)


@steady
def cutout(images: jax.Array, row: ArrayLike, column: ArrayLike, share: float = 0.5) -> jax.Array:
  """Sets a box around pixel (row, column) to 0; its sides are `share` of the image's, clipped at
  the border.

  A side of s pixels covers row - s // 2 to row - s // 2 + s - 1.

  >>> cutout(jnp.ones((1, 1, 4, 1)), 0, 1)[0, 0, :, 0].tolist()
  [0.0, 0.0, 1.0, 1.0]
  """
  _, height, width, _ = images.shape
  rows = _covered(height, share, row).reshape(-1, height, 1, 1)
  columns = _covered(width, share, column).reshape(-1, 1, width, 1)
  return jnp.where(rows & columns, 0, images)


@steady
def scale(images: jax.Array, down: ArrayLike, right: ArrayLike) -> jax.Array:
  """Reads the image at coordinates multiplied by `down` (vertical) and `right`: above 1 it shrinks,
  below 1 it grows.

  >>> scale(jnp.ones((1, 2, 2, 1)), 1., 1.)[0, :, :, 0].tolist()
  [[1.0, 1.0], [1.0, 1.0]]
  """
  zero = jnp.zeros(jnp.broadcast_shapes(jnp.shape(down), jnp.shape(right)))
  return warp(images, _matrix(down + zero, zero, zero, right + zero))


@steady
def rotate(images: jax.Array, angle: ArrayLike) -> jax.Array:
  """Turns the images about their centre by `angle` radians, counter-clockwise.

  >>> rotate(jnp.arange(4.).reshape(1, 2, 2, 1), jnp.pi / 2)[0, :, :, 0].round(4).tolist()
  [[1.0, 3.0], [0.0, 2.0]]
  """
  sine, cosine = jnp.sin(angle), jnp.cos(angle)
  return warp(images, _matrix(cosine, sine, -sine, cosine))


@steady
def warp(images: jax.Array, matrix: jax.Array) -> jax.Array:
  """Resamples the images: out(p) = in(M p) with p = (down, right) in pixels from the centre,
  bilinear, 0 outside.

  `matrix` is M, [2, 2] or [n, 2, 2]. Pixel centres lie at half-integer coordinates
  (align_corners=False in PyTorch). For square images this is PyTorch's affine grid; for others the
  public codes distort a rotation by the ratio of the sides and we do not (our own choice). The
  gradient is exact while the rows of M^-1 have absolute sums up to 1.5, which holds for every draw
  of DiffAug; M itself gets none.

  >>> warp(jnp.arange(4.).reshape(1, 2, 2, 1), -jnp.eye(2))[0, :, :, 0].tolist()
  [[3.0, 2.0], [1.0, 0.0]]
  """
  return jax.vmap(_warp, in_axes=(0, 0 if matrix.ndim == 3 else None))(images, matrix)


def _per_image(value: ArrayLike) -> jax.Array:
  """Reshapes a scalar or [n] for broadcasting against [n, h, w, c]."""
  return jnp.reshape(value, (-1, 1, 1, 1))


@jax.custom_vjp
def _rescale(images, saturation, contrast):
  """Scales about the channel mean, then about the image mean, which the former leaves as it was."""
  channels = images.shape[-1]
  # On a CPU a sum of slices is ten times as fast as reducing so short an axis.
  pixel_mean = sum(images[..., i : i + 1] for i in range(channels)) / channels
  image_mean = images.mean(axis=(1, 2, 3), keepdims=True)
  both = saturation * contrast
  return images * both + pixel_mean * (contrast - both) + image_mean * (1 - contrast)


# Both scalings are symmetric matrices that commute, so the transpose is the operation itself.
_rescale.defvjp(
  lambda images, *factors: (_rescale(images, *factors), factors),
  lambda factors, cotangent: (_rescale(cotangent, *factors), None, None),
)


def _covered(size: int, share: float, centre: ArrayLike) -> jax.Array:
  side = cutout_side(size, share)
  first = jnp.reshape(centre, (-1, 1)) - side // 2
  position = jnp.arange(size)[None]
  return (position >= first) & (position < first + side)


def rounded(value: float) -> int:
  """Returns the nearest whole number of pixels, halves rounded up.

  >>> rounded(3.5), rounded(4.4)
  (4, 4)
  """
  return int(value + 0.5)


def cutout_side(size: int, share: float = 0.5) -> int:
  """Returns `share` of `size` pixels, rounded half up.

  >>> cutout_side(32), cutout_side(7)
  (16, 4)
  """
  return rounded(size * share)


def _for_each(operation, images, *values):
  """Applies an operation on one image to all: a scalar serves all of them, a vector has one value
  an image."""
  values = [jnp.asarray(value) for value in values]
  return jax.vmap(operation, in_axes=(0, *(0 if value.ndim else None for value in values)))(
    images, *values
  )


def _shift(image, down, right):
  height, width, _ = image.shape
  rows, columns = jnp.arange(height) - down, jnp.arange(width) - right
  inside = _inside(rows, height)[:, None, None] & _inside(columns, width)[None, :, None]
  moved = jnp.take(jnp.take(image, rows, axis=0, mode='clip'), columns, axis=1, mode='clip')
  return jnp.where(inside, moved, 0)


def _inside(position, size):
  return (position >= 0) & (position < size)


# Moving by the opposite is exactly the transpose of moving, because both fill with zeros.
_translate = jax.custom_vjp(_shift)
_translate.defvjp(
  lambda image, down, right: (_shift(image, down, right), (down, right)),
  lambda moved, cotangent: (_shift(cotangent, -moved[0], -moved[1]), None, None),
)


def _matrix(a, b, c, d):
  return jnp.stack([jnp.stack([a, b], axis=-1), jnp.stack([c, d], axis=-1)], axis=-2)


def _centred(size):
  return jnp.arange(size) - (size - 1) / 2


def _apply(matrix, down, right):
  return matrix[0, 0] * down + matrix[0, 1] * right, matrix[1, 0] * down + matrix[1, 1] * right


def _tent(distance):
  """Weight of a pixel at this distance in linear interpolation."""
  return jnp.maximum(1 - jnp.abs(distance), 0)


def _weighted(image, row, column, weight):
  """Returns weight * image[row, column] with 0 outside the image; the three are [h, w]."""
  height, width, channels = image.shape
  flat = row.clip(0, height - 1) * width + column.clip(0, width - 1)
  values = jnp.take(image.reshape(height * width, channels), flat, axis=0, mode='clip')
  return values * jnp.where(_inside(row, height) & _inside(column, width), weight, 0)[:, :, None]


def _sample(image, matrix):
  """out[i] = sum_j tent(M i - j) image[j]; only the four pixels around M i weigh anything."""
  height, width, _ = image.shape
  row, column = _apply(matrix, _centred(height)[:, None], _centred(width)[None])
  row, column = row + (height - 1) / 2, column + (width - 1) / 2
  top, left = jnp.floor(row).astype(jnp.int32), jnp.floor(column).astype(jnp.int32)
  return sum(
    _weighted(image, top + a, left + b, _tent(row - (top + a)) * _tent(column - (left + b)))
    for a, b in itertools.product((0, 1), repeat=2)
  )


def _transposed_sample(cotangent, matrix):
  """The transpose of `_sample`: out[j] = sum_i tent(M i - j) cotangent[i], over the nine i nearest
  to M^-1 j."""
  height, width, _ = cotangent.shape
  down, right = _centred(height)[:, None], _centred(width)[None]
  (a, b), (c, d) = matrix
  row, column = _apply(_matrix(d, -b, -c, a) / (a * d - b * c), down, right)
  row = jnp.round(row + (height - 1) / 2).astype(jnp.int32)
  column = jnp.round(column + (width - 1) / 2).astype(jnp.int32)
  total = jnp.zeros_like(cotangent)
  for i in (-1, 0, 1):
    for j in (-1, 0, 1):
      read = _apply(matrix, row + i - (height - 1) / 2, column + j - (width - 1) / 2)
      total += _weighted(
        cotangent, row + i, column + j, _tent(read[0] - down) * _tent(read[1] - right)
      )
  return total


_warp = jax.custom_vjp(_sample)
_warp.defvjp(
  lambda image, matrix: (_sample(image, matrix), matrix),
  lambda matrix, cotangent: (_transposed_sample(cotangent, matrix), None),
)

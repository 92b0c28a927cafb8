"""The image operations of AutoAugment on 8-bit values, as Pillow defines them.

All take int32 images [n, h, w, c] with values 0 to 255 and 1 or 3 channels, return such images, and
round as Pillow does at the end of each operation. A magnitude is one value an image, [n].
"""

import jax
import jax.numpy as jnp

from jaxdistill.errors import UserError
from jaxdistill.numerics import steady

_LEVELS = 256


@steady
def invert(images: jax.Array) -> jax.Array:
  """Returns 255 - x.

  >>> invert(jnp.full((1, 1, 1, 1), 5)).item()
  250
  """
  return 255 - images


@steady
def solarize(images: jax.Array, threshold: jax.Array) -> jax.Array:
  """Inverts the values from `threshold` on.

  >>> solarize(jnp.array([10, 200]).reshape(1, 1, 2, 1), jnp.array([128.])).ravel().tolist()
  [10, 55]
  """
  return jnp.where(images < _per_image(threshold), images, 255 - images)


@steady
def posterize(images: jax.Array, bits: jax.Array) -> jax.Array:
  """Keeps the upper `bits` of the eight bits.

  >>> posterize(jnp.full((1, 1, 1, 1), 255), jnp.array([4])).item()
  240
  """
  rest = 8 - _per_image(bits).astype(jnp.int32)
  return images >> rest << rest


@steady
def brightness(images: jax.Array, factor: jax.Array) -> jax.Array:
  """Returns factor x.

  >>> brightness(jnp.full((1, 1, 1, 1), 101), jnp.array([0.5])).item()
  50
  """
  return _blend(jnp.zeros_like(images), images, factor)


@steady
def contrast(images: jax.Array, factor: jax.Array) -> jax.Array:
  """Returns m + factor (x - m), m the rounded mean luminance of the image.

  >>> contrast(jnp.array([0, 100]).reshape(1, 1, 2, 1), jnp.array([0.5])).ravel().tolist()
  [25, 75]
  """
  grey = luminance(images)
  pixels = grey[0].size
  # Whole numbers: the mean is rounded half up exactly.
  mean = (2 * grey.sum(axis=(1, 2, 3), keepdims=True) + pixels) // (2 * pixels)
  return _blend(mean, images, factor)


@steady
def saturation(images: jax.Array, factor: jax.Array) -> jax.Array:
  """Returns l + factor (x - l), l the luminance of the pixel; with one channel nothing changes.

  >>> saturation(jnp.array([0, 0, 255]).reshape(1, 1, 1, 3), jnp.array([0.])).ravel().tolist()
  [29, 29, 29]
  """
  return _blend(luminance(images), images, factor)


@steady
def sharpness(images: jax.Array, factor: jax.Array) -> jax.Array:
  """Returns s + factor (x - s), s the mean of the 3 x 3 pixels around with weight 5 on the middle;
  the pixels at the border are their own s.

  >>> bright = jnp.full((1, 3, 3, 1), 9).at[0, 1, 1, 0].set(22)
  >>> sharpness(bright, jnp.array([0.]))[0, 1, 1, 0].item()
  14
  """
  _, height, width, _ = images.shape
  padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
  rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
  around = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * images
  row, column = jnp.arange(height).reshape(1, -1, 1, 1), jnp.arange(width).reshape(1, 1, -1, 1)
  inner = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
  # around / 13, rounded; an odd divisor leaves no halves.
  return _blend(jnp.where(inner, (2 * around + 13) // 26, images), images, factor)


@steady
def autocontrast(images: jax.Array) -> jax.Array:
  """Stretches the values of each channel linearly, so that they reach from 0 to 255.

  >>> autocontrast(jnp.array([10, 20, 30]).reshape(1, 1, 3, 1)).ravel().tolist()
  [0, 127, 255]
  """
  low = images.min(axis=(1, 2), keepdims=True)
  span = images.max(axis=(1, 2), keepdims=True) - low
  return jnp.where(span > 0, (images - low) * 255 // jnp.maximum(span, 1), images)


@steady
def equalize(images: jax.Array) -> jax.Array:
  """Maps the values of each channel so that they are spread evenly.

  With h the histogram, s = (number of pixels - h(largest value)) // 255: x becomes (s // 2 + number
  of pixels below x) // s, at most 255; where s is 0 the channel stays.

  >>> equalize(jnp.arange(512).reshape(1, 16, 32, 1) // 4).max().item()
  255
  """
  count, height, width, channels = images.shape
  flat = images.reshape(count, height * width, channels)
  image, channel = jnp.arange(count)[:, None, None], jnp.arange(channels)[None, None]
  # Whole numbers: the sum does not depend on its order.
  histogram = jnp.zeros((count, _LEVELS, channels), jnp.int32).at[image, flat, channel].add(1)
  below = jnp.cumsum(histogram, axis=1) - histogram
  # As many pixels lie below the largest value as are not of it.
  step = jnp.take_along_axis(below, flat.max(axis=1, keepdims=True), axis=1) // 255
  table = ((step // 2 + below) // jnp.maximum(step, 1)).clip(0, 255)
  table = jnp.where(step > 0, table, jnp.arange(_LEVELS)[None, :, None])
  return jnp.take_along_axis(table, flat, axis=1).reshape(images.shape)


@steady
def move(
  images: jax.Array,
  *,
  degrees: jax.Array,
  shear_x: jax.Array,
  shear_y: jax.Array,
  right: jax.Array,
  down: jax.Array,
) -> jax.Array:
  """Rotates about the centre, counter-clockwise, shears about the upper left corner or translates;
  the nearest pixel is read, and 0 outside of the image.

  With pixel centres at half-integers, (x, y) shows what was at R(-degrees) ((x, y) - centre) +
  centre + (shear_x y - right, shear_y x - down), rounded down. All are [n]; an image that is to be
  moved one way only has 0 for the others.

  >>> still = dict.fromkeys(('degrees', 'shear_x', 'shear_y', 'down'), jnp.zeros(1))
  >>> move(jnp.arange(1, 4).reshape(1, 1, 3, 1), right=jnp.ones(1), **still).ravel().tolist()
  [0, 1, 2]
  """
  count, height, width, channels = images.shape
  y = (jnp.arange(height) + 0.5).reshape(1, -1, 1)
  x = (jnp.arange(width) + 0.5).reshape(1, 1, -1)
  degrees, shear_x, shear_y, right, down = (
    value.reshape(-1, 1, 1) for value in (degrees, shear_x, shear_y, right, down)
  )
  sine, cosine = jnp.sin(jnp.deg2rad(degrees)), jnp.cos(jnp.deg2rad(degrees))
  off_x, off_y = x - width / 2, y - height / 2
  column = jnp.floor(cosine * off_x - sine * off_y + width / 2 + shear_x * y - right)
  row = jnp.floor(sine * off_x + cosine * off_y + height / 2 + shear_y * x - down)
  inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
  index = row.clip(0, height - 1) * width + column.clip(0, width - 1)
  flat = images.reshape(count, height * width, channels)
  index = index.astype(jnp.int32).reshape(count, height * width, 1)
  values = jnp.take_along_axis(flat, index, axis=1, mode='clip').reshape(images.shape)
  return jnp.where(inside[..., None], values, 0)


@steady
def luminance(images: jax.Array) -> jax.Array:
  """Returns 0.299 R + 0.587 G + 0.114 B, rounded, as [n, h, w, 1]; one channel is its own
  luminance.

  >>> luminance(jnp.array([255, 0, 0]).reshape(1, 1, 1, 3)).item()
  76
  """
  channels = images.shape[-1]
  if channels == 1:
    return images
  if channels != 3:
    raise UserError(f'Colours need images with 1 or 3 channels; these have {channels}.')
  # Sixteen binary digits after the point, as Pillow computes it.
  red, green, blue = (images[..., channel : channel + 1] for channel in range(3))
  return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def _per_image(value):
  return value.reshape(-1, 1, 1, 1)


def _blend(base, images, factor):
  """base + factor (images - base), cut to 0 ... 255 and rounded down."""
  mixed = base + _per_image(factor) * (images - base)
  return mixed.clip(0, 255).astype(jnp.int32)

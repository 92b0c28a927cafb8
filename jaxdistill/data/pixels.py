"""Pixels of arrays that a user brings: which shapes, types and ranges are images, which units."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdistill.data.stored import to_uint8 as as_bytes
from jaxdistill.errors import UserError

_ROUNDING = 1e-6  # by which floats may leave [0, 1]


def check_pixels(where: str, images: np.ndarray) -> np.ndarray:
  """Returns images as [n, h, w, c], uint8 or floats in [0, 1].

  Args:
    where: names the images in errors.
    images: [n, h, w] or [n, h, w, c], whole numbers from 0 to 255, or floats in [0, 1]; what lies
      less than 1e-6 outside is rounding, and clipped.

  Raises:
    UserError: another shape, channels first, another type, NaN, another range; whole numbers none
      of which is above 1, and floats none of which is above 1 / 255: they are in other units than
      they seem. Zeros alone are images.

  >>> check_pixels('images', np.ones((1, 2, 2))).shape
  (1, 2, 2, 1)
  """
  if images.dtype.kind not in 'iuf':
    advice = ': store floats in [0, 1], or multiply by 255' if images.dtype.kind == 'b' else ''
    raise UserError(f'{where} must be uint8 or floats in [0, 1]; they are {images.dtype}{advice}.')
  images = _with_channels(where, images)
  real = images.dtype.kind == 'f'
  if real and not np.isfinite(images).all():
    first = int(np.argwhere(~np.isfinite(images))[0, 0])
    raise UserError(
      f'{where} hold NaN or infinite pixels, the first in image {first}; pixels must be finite.'
    )
  low, high = images.min(), images.max()
  if not real:
    if low < 0 or high > 255:
      bits = '; divide 16 bits by 257' if low >= 0 and high < 2**16 else ''
      raise UserError(f'{where} range from {low} to {high}; integers must lie in [0, 255]{bits}.')
    if high == 1:
      raise UserError(
        f'{where} are whole numbers ({images.dtype}) of which none is above 1; store floats in '
        '[0, 1], or multiply by 255.'
      )
    return images.astype(np.uint8, copy=False)
  if low < -_ROUNDING or high > 1 + _ROUNDING:
    advice = 'divide by 255, or store uint8' if low >= 0 and high <= 255 else 'bring them there'
    raise UserError(f'{where} range from {low:g} to {high:g}; floats must lie in [0, 1]: {advice}.')
  if 0 < high < 1.5 / 255:
    raise UserError(
      f'{where} are floats of which none is above {high:g}, next to black; they must lie in '
      '[0, 1]: divide by 255 once, or store uint8.'
    )
  return np.clip(images, 0, 1) if low < 0 or high > 1 else images


def to_uint8(where: str, images: np.ndarray) -> np.ndarray:
  """Returns images that `check_pixels` takes as uint8 [n, h, w, c], floats rounded.

  >>> to_uint8('images', np.array([[[0.0, 0.5, 1.0]]])).ravel().tolist()
  [0, 128, 255]
  """
  images = check_pixels(where, images)
  if images.dtype == np.float16:  # has too few bits for the product
    images = images.astype(np.float32)
  return images if images.dtype == np.uint8 else as_bytes(images)


def checked_inputs(networks: str, images: ArrayLike, shape: Sequence[int]) -> np.ndarray:
  """Returns images that networks are asked about as an array [n, h, w, c], uint8 or floats in
  [0, 1]; other whole numbers are in no unit that can be known.

  Images of one pixel are vectors, see `vectors.Vectors.images`: any numbers.

  Args:
    networks: names them in errors, such as 'These networks'.
    images: [n, h, w, c].
    shape: (h, w, c) of the images that they have learned from.

  Raises:
    UserError: another shape, none, another type, NaN, or floats more than 1e-6 outside of [0, 1].

  >>> checked_inputs('They', np.full((1, 2, 2, 1), 7), (2, 2, 1))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: They take images [n, 2, 2, 1], uint8 or floats in [0, 1]; got ...
  """
  images, shape = np.asarray(images), tuple(shape)
  is_float = jnp.issubdtype(images.dtype, jnp.floating)  # bfloat16 is one
  is_number, are_vectors = is_float or images.dtype.kind in 'iu', shape[:2] == (1, 1)
  fits = is_number and images.ndim == 4 and images.shape[1:] == shape and len(images)
  if fits and not are_vectors and images.dtype != np.uint8:
    # Written so that NaN fails too.
    fits = is_float and images.min() >= -_ROUNDING and images.max() <= 1 + _ROUNDING
  if not fits:
    wanted = f'images [n, {", ".join(map(str, shape))}], uint8 or floats in [0, 1]'
    span = f' from {images.min()} to {images.max()}' if is_number and images.size else ''
    raise UserError(
      f'{networks} take {f"vectors of {shape[2]} numbers" if are_vectors else wanted}; got '
      f'{images.dtype} of shape {list(images.shape)}{span}.'
    )
  return images


def _with_channels(where, images):
  shape = list(images.shape)
  if images.ndim not in (3, 4) or not images.size:
    raise UserError(
      f'{where} must have the shape [n, height, width] or [n, height, width, channels] and '
      f'not be empty; the shape is {shape}.'
    )
  if images.ndim == 3:
    return images[..., None]
  if shape[1] in (1, 3, 4) and shape[3] not in (1, 3, 4):
    raise UserError(
      f'{where} seem to have their channels first, shape {shape}; channels must come last: '
      'images.transpose(0, 2, 3, 1).'
    )
  if shape[3] > 4:
    raise UserError(
      f'{where} have the shape {shape}; it must be [n, height, width, channels], with 1 to 4 '
      'channels.'
    )
  return images

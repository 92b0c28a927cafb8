"""What a reader of a data source hands over, and how images of any size become uint8 images of one
size."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxdistill import errors
from jaxdistill.data.streaming import Streamed
from jaxdistill.errors import UserError

# Pillow's mode for a number of channels.
MODES = {1: 'L', 3: 'RGB', 4: 'RGBA'}
# Length by width from which a picture is cut before it is resized.
_LONGEST = 64


class Stored(NamedTuple):
  """A data set as found: (uint8 images, integer labels) of the training and, unless it has none,
  the test split.

  Training images that are to stay on disk are `Streamed`. `flip` False: the source says that a
  mirrored image loses its class. `notices`: one line each for what was not read, or was read in a
  way that is to be known. `background`: the colour on which transparent images were laid, '' where
  there are none. `statistics`: mean and deviation per channel, where the source prescribes them.
  `validation`: images to choose by that the source sets apart from those of the test. `ids`: what
  the source calls the training images, see `dataset.Dataset`.
  """

  train: tuple[np.ndarray | Streamed, np.ndarray]
  test: tuple[np.ndarray, np.ndarray] | None
  class_names: tuple[str, ...] = ()
  flip: bool = True
  notices: tuple[str, ...] = ()
  background: str = ''
  statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
  validation: tuple[np.ndarray, np.ndarray] | None = None
  ids: Sequence[object] = ()


class Asked(NamedTuple):
  """What a caller of `sources.load_splits` has asked for, see there, as the makers of other kinds
  of sets take it."""

  data_dir: str = ''
  image_size: int = 0
  normalisation: str = 'idc'
  seed: int = 0
  flip: bool | None = None
  tell: Callable[[str], None] = print


def check_size(image_size: int, smallest: int = 1) -> None:
  """Raises `UserError` unless `image_size` is 0 (the default of the source) or at least `smallest`.

  >>> check_size(16, smallest=8)
  """
  errors.whole_numbers(image_size=image_size)
  if image_size != 0 and image_size < smallest:
    raise UserError(
      f'image_size must be at least {smallest}, or 0 for the default; it is {image_size}.'
    )


def memory_bytes() -> int:
  """Returns the memory of this machine.

  >>> memory_bytes() > 2**20
  True
  """
  return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def fit(picture, image_size: int) -> np.ndarray:
  """Returns a Pillow image as uint8 [size, size, channels]: its short side resized to `size`
  (bilinear), then the centre cut out; 0 keeps it as it is.

  The long side becomes floor(size long / short), and the cut begins at (long - size) / 2, rounded
  to the even number where it lies between two.

  Source: what the official codes do on ImageNet, Resize(size) and CenterCrop(size) of torchvision.
  Of a picture more than 64 times as long as wide (our choice) only the cut part is resized, to
  spare memory, which can change a value by one.

  >>> import PIL.Image
  >>> fit(PIL.Image.new('RGB', (40, 20)), 8).shape
  (8, 8, 3)
  """
  if image_size and picture.size != (image_size, image_size):
    picture = _short_side_then_centre(picture, image_size)
  pixels = np.asarray(picture, np.uint8)
  return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _short_side_then_centre(picture, image_size: int):
  from PIL.Image import Resampling

  short, long = min(picture.size), max(picture.size)
  length = int(image_size * long / short)
  start = round((length - image_size) / 2)
  wide = picture.width == long
  if length <= _LONGEST * image_size:
    size = (length, image_size) if wide else (image_size, length)
    picture = picture if picture.size == size else picture.resize(size, Resampling.BILINEAR)
    corner = (start, 0) if wide else (0, start)
    return picture.crop((*corner, corner[0] + image_size, corner[1] + image_size))
  first, last = start * long / length, min((start + image_size) * long / length, long)
  part = (first, 0, last, short) if wide else (0, first, short, last)
  return picture.resize((image_size, image_size), Resampling.BILINEAR, box=part)


def resize(images: np.ndarray, image_size: int) -> np.ndarray:
  """Returns uint8 images [n, h, w, c] as [n, size, size, c], each by `fit`; 0 keeps them.

  Raises `UserError` for a number of channels other than 1, 3 or 4, and for more bytes than this
  machine has.

  >>> resize(np.zeros((2, 8, 8, 1), np.uint8), 16).shape
  (2, 16, 16, 1)
  """
  from PIL import Image

  if not image_size or images.shape[1:3] == (image_size, image_size):
    return images
  channels = images.shape[-1]
  if channels not in MODES:
    raise UserError(
      f'Only images of 1, 3 or 4 channels can be resized, these have {channels}: leave '
      'image_size at 0.'
    )
  needed, memory = len(images) * image_size**2 * channels, memory_bytes()
  if needed > memory:
    raise UserError(
      f'{len(images):,} images of {image_size}x{image_size} need {needed / 2**30:,.1f} GiB, and '
      f'this machine has {memory / 2**30:,.1f} GiB of memory; give a smaller image_size.'
    )
  pictures = (Image.fromarray(image[:, :, 0] if channels == 1 else image) for image in images)
  return np.stack([fit(picture, image_size) for picture in pictures])


def to_uint8(images: np.ndarray) -> np.ndarray:
  """Returns images in units of [0, 1] as bytes, rounded; what lies outside becomes 0 or 255.

  >>> to_uint8(np.array([-0.5, 0.5, 2.0])).tolist()
  [0, 128, 255]
  """
  return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)

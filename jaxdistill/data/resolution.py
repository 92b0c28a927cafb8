"""The low view of an image: fewer pixels by area means or bicubic interpolation, degraded if one
likes, as they are or brought back to the old size."""

import dataclasses
from typing import Any, ClassVar

import jax

from jaxdistill import errors
from jaxdistill.data import resample
from jaxdistill.data.chain import unit_chain
from jaxdistill.data.transform import Transform
from jaxdistill.errors import UserError, unknown
from jaxdistill.numerics import steady

HOW = ('bicubic', 'area')
SHOWN = ('native', 'upsampled')
_LEAST = 2


@dataclasses.dataclass(frozen=True)
class Lower(Transform):
  """Brings images in [0, 1] to a low resolution, whose side divides theirs.

  With f = shorter side / `size`, 'area' makes a pixel of every f x f block, its mean; 'bicubic'
  interpolates with the kernel of Keys (1981), a = -1/2, widened f-fold (antialiasing), and clips to
  [0, 1]. What `degrade` lists happens to the low image, each with draws of its own. 'upsampled'
  then interpolates bicubically to the old size and clips.

  Attributes:
    size: the shorter side of the low image, at least 2.
    how: 'bicubic' or 'area'.
    shown: 'native', the low image itself, or 'upsampled'.
    degrade: operations on images in [0, 1], such as those of `degradations`.

  Source: both are Pillow's `Image.resize` (BICUBIC, BOX) without its rounding to 8 bits.

  >>> Lower(2, 'area')(None, jax.numpy.arange(16.).reshape(1, 4, 4, 1) / 16)[0, :, :, 0].tolist()
  [[0.15625, 0.28125], [0.65625, 0.78125]]
  """

  acts_on: ClassVar[str] = 'unit'
  size: int
  how: str = 'bicubic'
  shown: str = 'native'
  degrade: tuple[Transform, ...] = ()

  def __post_init__(self):
    errors.whole('size of a low view', self.size, at_least=_LEAST)
    if self.how not in HOW:
      raise unknown('way to lower a resolution', self.how, HOW)
    if self.shown not in SHOWN:
      raise unknown('way to show a low view', self.shown, SHOWN)
    unit_chain(self.degrade)

  @property
  def random(self) -> bool:
    return any(transform.random for transform in self.degrade)

  def draw(self, key: jax.Array) -> tuple:
    return unit_chain(self.degrade).draw(key)

  def unmirrored(self) -> 'Lower':
    kept = [transform.unmirrored() for transform in self.degrade]
    return dataclasses.replace(self, degrade=tuple(filter(None, kept)))

  @steady
  def __call__(self, key: jax.Array | None, images: jax.Array, choice: Any = ()) -> jax.Array:
    sides = images.shape[1:3]
    check_low(self.size, sides)
    low = self._lowered(images)
    if self.degrade:
      low = unit_chain(self.degrade)(key, low, choice or self.draw(key))
    return low if self.shown == 'native' else _bicubic(low, sides)

  def _lowered(self, images):
    count, height, width, channels = images.shape
    factor = min(height, width) // self.size
    shape = (height // factor, width // factor)
    if factor == 1:
      return images
    if self.how == 'bicubic':
      return _bicubic(images, shape)
    return images.reshape(count, shape[0], factor, shape[1], factor, channels).mean((2, 4))


def seen_shape(
  image_shape: tuple[int, int, int], low: int, shown: str = 'native'
) -> tuple[int, int, int]:
  """Returns height, width and channels of the low view of images; `low` 0: of the images.

  >>> seen_shape((12, 8, 1), 4), seen_shape((12, 8, 1), 4, 'upsampled'), seen_shape((12, 8, 1), 0)
  ((6, 4, 1), (12, 8, 1), (12, 8, 1))
  """
  height, width, channels = image_shape
  if not low or shown != 'native':
    return height, width, channels
  factor = min(height, width) // low
  return height // factor, width // factor, channels


def check_low(low: int, sides: tuple[int, int], name: str = 'the images') -> None:
  """Raises `UserError` unless images with these `sides` have a low view whose shorter side is
  `low`: a size of at least 2 that divides them, both by the same factor.

  Args:
    low: in pixels.
    sides: height and width of the images; more, such as channels, may follow.
    name: what the images are called in the sentence.

  >>> check_low(16, (32, 32))
  >>> check_low(12, (32, 32))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: A low size of 12 does not divide the images of 32 x 32; ...
  """
  errors.whole_numbers(low=low)
  height, width = sides[:2]
  shorter = min(height, width)
  sizes = [size for size in range(_LEAST, shorter + 1) if _divides(size, height, width)]
  if low in sizes:
    return
  problem = 'exceeds' if low > shorter else 'does not divide'
  fitting = f'sizes that fit: {", ".join(map(str, sizes))}' if sizes else 'no size fits them'
  raise UserError(f'A low size of {low} {problem} {name} of {height} x {width}; {fitting}.')


def _divides(size, height, width):
  shorter = min(height, width)
  factor = shorter // size
  return shorter % size == 0 and height % factor == 0 and width % factor == 0


def _bicubic(images, shape):
  box = (0, 0, *images.shape[1:3])
  return resample.resample(images, box, shape, 'bicubic').clip(0, 1)

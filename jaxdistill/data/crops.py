"""Operations of a view that move, mirror, turn, cut or resize: pad and crop with zeros or mirrors,
flip, rotation, random resized crop, centre crop, Cutout, two resolutions."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws, errors
from jaxdistill.data import operations, resample
from jaxdistill.data.transform import Transform, check_range
from jaxdistill.errors import UserError, unknown
from jaxdistill.numerics import steady

_TRIES = 10
_MOST = float('inf')


@dataclasses.dataclass(frozen=True)
class Crop(Transform):
  """Pads each side with `padding` pixels of 0 and cuts a box of the old size at a uniform place.

  On images in [0, 1] the border is black, on normalised ones of the mean colour. Source: He et al.
  (CVPR 2016) for CIFAR, with padding 4; the released codes pad before they normalise.

  >>> Crop(1)(jax.random.key(0), jnp.ones((2, 8, 8, 1))).shape
  (2, 8, 8, 1)
  """

  padding: int = 4

  def __post_init__(self):
    errors.whole_numbers(padding=self.padding)
    check_range(self, 0, _MOST, 'padding')

  def __call__(self, key: jax.Array, images: jax.Array, choice: Any = ()) -> jax.Array:
    padding = int(self.padding)
    shift = draws.integers(key, (2, len(images)), -padding, padding + 1)
    return operations.translate(images, shift[0], shift[1])


@dataclasses.dataclass(frozen=True)
class ReflectCrop(Crop):
  """The same with the mirrored image in place of zeros: pixel -k is pixel k, and pixel h - 1 + k is
  pixel h - 1 - k.

  Source: the padding of the public codes of adversarial training on CIFAR (Rice et al., ICML 2020;
    AWP, Wu et al., NeurIPS 2020).

  >>> row = jnp.arange(4.).reshape(1, 1, 4, 1)
  >>> seen = ReflectCrop(0)(jax.random.key(0), row).ravel().tolist()
  >>> seen, ReflectCrop(3)(jax.random.key(0), jnp.tile(row, (1, 4, 1, 1))).shape
  ([0.0, 1.0, 2.0, 3.0], (1, 4, 4, 1))
  """

  @steady
  def __call__(self, key: jax.Array, images: jax.Array, choice: Any = ()) -> jax.Array:
    count, height, width, _ = images.shape
    padding = int(self.padding)
    if padding >= min(height, width):
      raise UserError(
        f'ReflectCrop mirrors fewer pixels than a side of the images has; it has padding {padding} '
        f'for images of {height}x{width}.'
      )
    shift = draws.integers(key, (2, count, 1), -padding, padding + 1)
    rows, columns = (
      _mirrored(jnp.arange(side)[None] - moved, side) for side, moved in zip((height, width), shift)
    )
    images = jnp.take_along_axis(images, rows[:, :, None, None], axis=1)
    return jnp.take_along_axis(images, columns[:, None, :, None], axis=2)


@dataclasses.dataclass(frozen=True)
class Flip(Transform):
  """Mirrors left and right with `probability`; leaves a view whose data set forbids mirrors.

  >>> Flip(1.)(jax.random.key(0), jnp.arange(2.).reshape(1, 1, 2, 1)).ravel().tolist()
  [1.0, 0.0]
  """

  probability: float = 0.5

  def __post_init__(self):
    check_range(self, 0, 1, 'probability')

  def unmirrored(self) -> None:
    return None

  def __call__(self, key: jax.Array, images: jax.Array, choice: Any = ()) -> jax.Array:
    return operations.flip(images, draws.coins(key, self.probability, (len(images),)))


@dataclasses.dataclass(frozen=True)
class Rotate(Transform):
  """Turns each image about its centre by an angle uniform within [-degrees, degrees]; what comes
  in from outside is 0.

  Source: the augmentation of Tiny ImageNet in the public distillation codes, with 20 degrees and
    the nearest pixel; that pixels are interpolated bilinearly is our choice.

  >>> Rotate(20)(jax.random.key(0), jnp.ones((2, 8, 8, 1)))[:, 3, 3, 0].tolist()
  [1.0, 1.0]
  """

  degrees: float = 20.0

  def __post_init__(self):
    check_range(self, 0, 180, 'degrees')

  @steady
  def __call__(self, key: jax.Array, images: jax.Array, choice: Any = ()) -> jax.Array:
    limit = float(np.deg2rad(self.degrees))
    angle = draws.uniform(key, (len(images),), minval=-limit, maxval=limit)
    return operations.rotate(images, angle)


@dataclasses.dataclass(frozen=True)
class ResizedCrop(Transform):
  """Cuts a box of random area and ratio of sides and resizes it to `size` x `size`, or to the sides
  that the image had.

  A try draws an area, uniform within `scale` of the image's, and the logarithm of width / height,
  uniform within `ratio`; its sides are rounded to pixels, and it is valid if they fit into the
  image. The first valid one of ten is taken, at a uniform place; without any, the largest centred
  box whose ratio is within `ratio`. All ten are drawn, so that no shape depends on them.

  Attributes:
    size: of the result, in pixels; 0: the sides of the images.
    scale: least and largest share of the area.
    ratio: least and largest width / height.
    method: 'bilinear' or 'bicubic', with antialiasing; see `resample`.

  Source: the Inception crop (Szegedy et al., CVPR 2015) as `RandomResizedCrop` of torchvision draws
    it.

  >>> ResizedCrop(4)(jax.random.key(0), jnp.ones((2, 8, 8, 3))).shape
  (2, 4, 4, 3)
  """

  size: int
  scale: tuple[float, float] = (0.08, 1.0)
  ratio: tuple[float, float] = (3 / 4, 4 / 3)
  method: str = 'bilinear'

  def __post_init__(self):
    errors.whole_numbers(size=self.size)
    check_range(self, 0, _MOST, 'size')
    _check_method(self.method)
    for name in ('scale', 'ratio'):
      low, high = getattr(self, name)
      if not 0 < low <= high:
        raise UserError(
          f'ResizedCrop needs {name} as two numbers above 0, the smaller first; it is '
          f'{getattr(self, name)}.'
        )

  @property
  def overshoots(self) -> bool:
    return self.method == 'bicubic'

  @steady
  def box(self, key: jax.Array, count: int, shape: tuple[int, int]) -> tuple[jax.Array, ...]:
    """Returns top, left, height and width, int32 [count] each, within images of this shape."""
    key_area, key_ratio, key_top, key_left = draws.split(key, 4)
    tries = (count, _TRIES)
    area = np.prod(shape) * draws.uniform(
      key_area, tries, minval=self.scale[0], maxval=self.scale[1]
    )
    low, high = np.log(self.ratio)
    ratio = jnp.exp(draws.uniform(key_ratio, tries, minval=low, maxval=high))
    heights, widths = jnp.round(jnp.sqrt(area / ratio)), jnp.round(jnp.sqrt(area * ratio))
    valid = (0 < heights) & (heights <= shape[0]) & (0 < widths) & (widths <= shape[1])
    first = valid.argmax(1)[:, None]
    any_valid = valid.any(1)

    def chosen(sides, fallback):
      side = jnp.take_along_axis(sides, first, axis=1)[:, 0].astype(jnp.int32)
      return jnp.where(any_valid, side, fallback)

    def place(key, size, side):
      return jnp.where(
        any_valid, draws.integers(key, (count,), 0, size - side + 1), (size - side) // 2
      )

    fallback = self._fallback(*shape)
    height, width = chosen(heights, fallback[0]), chosen(widths, fallback[1])
    return place(key_top, shape[0], height), place(key_left, shape[1], width), height, width

  def _fallback(self, height, width):
    low, high = self.ratio
    return min(height, max(1, round(width / low))), min(width, max(1, round(height * high)))

  @steady
  def __call__(self, key: jax.Array, images: jax.Array, choice: Any = ()) -> jax.Array:
    sides = images.shape[1:3]
    result = (self.size, self.size) if self.size else sides
    return resample.resample(images, self.box(key, len(images), sides), result, self.method)


@dataclasses.dataclass(frozen=True)
class CentreCrop(Transform):
  """Scales the shorter side to `resize` pixels (0: not at all), then cuts `size` x `size` out of
  the middle.

  `CentreCrop(32, resize=36)` is the zoomed test crop of a 32-pixel image.

  Attributes:
    size: of the result, in pixels; at most the shorter side.
    resize: shorter side before the cut, the other keeps the ratio; 0 leaves the image as it is.
    method: 'bilinear' or 'bicubic', with antialiasing.

  >>> CentreCrop(2)(None, jnp.arange(16.).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
  [[5.0, 6.0], [9.0, 10.0]]
  """

  random: ClassVar[bool] = False
  size: int
  resize: int = 0
  method: str = 'bilinear'

  def __post_init__(self):
    errors.whole_numbers(size=self.size)
    check_range(self, 1, _MOST, 'size')
    errors.whole_numbers(resize=self.resize)
    check_range(self, 0, _MOST, 'resize')
    _check_method(self.method)

  @property
  def overshoots(self) -> bool:
    return bool(self.resize) and self.method == 'bicubic'

  def __call__(self, key: jax.Array | None, images: jax.Array, choice: Any = ()) -> jax.Array:
    if self.resize:
      images = _resized(images, self.resize, self.method, antialias=True)
    shape = images.shape[1:3]
    if self.size > min(shape):
      raise UserError(
        f'A centre crop of {self.size} pixels does not fit into images of {shape[0]} x {shape[1]}; '
        'use a smaller size or a larger resize.'
      )
    # Halves round to the even number, as in the codes that define the crop.
    top, left = (round((side - self.size) / 2) for side in shape)
    return images[:, top : top + self.size, left : left + self.size]


@dataclasses.dataclass(frozen=True)
class Resize(Transform):
  """Scales the shorter side to `size` pixels, and then, if given, to `back`: a low resolution seen
  at the size of a high one.

  Attributes:
    size: shorter side, the other keeps the ratio.
    back: shorter side at the end; None leaves the low resolution.
    method: 'bilinear' or 'bicubic'.
    antialias: whether the kernel widens when the image shrinks.

  >>> Resize(2, back=4)(None, jnp.ones((1, 4, 6, 1))).shape
  (1, 4, 6, 1)
  """

  random: ClassVar[bool] = False
  size: int
  back: int | None = None
  method: str = 'bicubic'
  antialias: bool = True

  def __post_init__(self):
    errors.whole_numbers(size=self.size)
    check_range(self, 1, _MOST, 'size')
    if self.back is not None:
      errors.whole_numbers(back=self.back)
      check_range(self, 1, _MOST, 'back')
    _check_method(self.method)

  @property
  def overshoots(self) -> bool:
    return self.method == 'bicubic'

  def __call__(self, key: jax.Array | None, images: jax.Array, choice: Any = ()) -> jax.Array:
    small = _resized(images, self.size, self.method, self.antialias)
    return small if self.back is None else _resized(small, self.back, self.method, self.antialias)


@dataclasses.dataclass(frozen=True)
class Cutout(Transform):
  """Sets a square of `side` pixels around a uniform pixel to 0, clipped at the border.

  On images in [0, 1] it is black, on normalised ones of the mean colour. A side of s pixels covers
  row - s // 2 to row - s // 2 + s - 1. Source: DeVries & Taylor (arXiv 1708.04552, 2017), whose
  side for CIFAR-10 is 16 and for CIFAR-100 is 8.

  >>> Cutout(64)(jax.random.key(0), jnp.ones((1, 8, 8, 1))).max().item()
  0.0
  """

  side: int

  def __post_init__(self):
    errors.whole_numbers(side=self.side)
    check_range(self, 1, _MOST, 'side')

  @steady
  def __call__(self, key: jax.Array, images: jax.Array, choice: Any = ()) -> jax.Array:
    count, height, width, _ = images.shape
    rows, columns = (
      self._covered(key, count, size) for key, size in zip(draws.split(key), (height, width))
    )
    inside = rows.reshape(count, height, 1, 1) & columns.reshape(count, 1, width, 1)
    return jnp.where(inside, 0, images)

  def _covered(self, key, count, size):
    first = draws.integers(key, (count, 1), 0, size) - self.side // 2
    position = jnp.arange(size)[None]
    return (position >= first) & (position < first + self.side)


def _mirrored(position, size):
  """Positions up to a side outside as those inside that a mirror at the border shows."""
  position = jnp.abs(position)
  return jnp.minimum(position, 2 * (size - 1) - position)


def _resized(images, size, method, antialias):
  height, width = images.shape[1:3]
  shorter = min(height, width)
  shape = (size * height // shorter, size * width // shorter)
  return resample.resample(images, (0, 0, height, width), shape, method, antialias)


def _check_method(method):
  if method not in resample.KERNELS:
    raise unknown('interpolation', method, resample.KERNELS)

"""Operations of a view that change colours: jitter of brightness, contrast, saturation and hue,
lighting, and grey.

The functions act on float images [n, h, w, c] in [0, 1] and return such images, unless they are
told not to clip; a factor is a scalar or [n]. With one channel saturation, hue, lighting and grey
change nothing; other numbers than 1 and 3 have no colour.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxdistill import draws
from jaxdistill.data.transform import Transform, check_range
from jaxdistill.errors import UserError
from jaxdistill.numerics import steady

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
# Principal components of the colours of ImageNet's training images: their standard deviations, and
# for red, green and blue the entries of the three directions.
_DEVIATIONS = (0.2175, 0.0188, 0.0045)
_DIRECTIONS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
_MOST = float('inf')


@steady
def brightness(images: jax.Array, factor: ArrayLike, clip: bool = True) -> jax.Array:
  """Returns clip(factor x).

  >>> brightness(jnp.full((1, 1, 1, 1), 0.25), 2.).item()
  0.5
  """
  return _blend(jnp.zeros_like(images), images, factor, clip)


@steady
def contrast(images: jax.Array, factor: ArrayLike, clip: bool = True) -> jax.Array:
  """Returns clip(m + factor (x - m)), m the mean luminance of the image.

  >>> contrast(jnp.array([0., 1.]).reshape(1, 1, 2, 1), 0.5).ravel().tolist()
  [0.25, 0.75]
  """
  mean = luminance(images).mean(axis=(1, 2, 3), keepdims=True)
  return _blend(mean, images, factor, clip)


@steady
def saturation(images: jax.Array, factor: ArrayLike, clip: bool = True) -> jax.Array:
  """Returns clip(l + factor (x - l)), l the luminance of the pixel.

  >>> saturation(jnp.array([0.5, 1., 0.5]).reshape(1, 1, 1, 3), 1.).ravel().tolist()
  [0.5, 1.0, 0.5]
  """
  return _blend(luminance(images), images, factor, clip)


@steady
def hue(images: jax.Array, turn: ArrayLike, clip: bool = True) -> jax.Array:
  """Turns the hue by `turn` of a full circle; value and saturation (HSV) stay, so that there is
  nothing to clip.

  With v and m the largest and smallest channel and H in [0, 6) the hue, channel c becomes
  v - (v - m) clip(min(k, 4 - k), 0, 1), k = (p + H) mod 6, p = 5, 3, 1 for red, green, blue.

  >>> hue(jnp.array([1., 0., 0.]).reshape(1, 1, 1, 3), 1 / 3).ravel().round(5).tolist()
  [0.0, 1.0, 0.0]
  """
  del clip
  if _channels(images) == 1:
    return images
  red, green, blue = (images[..., channel] for channel in range(3))
  value, least = images.max(-1), images.min(-1)
  chroma = value - least
  divisor = jnp.where(chroma > 0, chroma, 1)
  sector = jnp.where(
    value == red,
    (green - blue) / divisor,
    jnp.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
  )
  turned = sector + 6 * jnp.reshape(turn, (-1, 1, 1))

  def channel(place):
    k = (place + turned) % 6
    return value - chroma * jnp.minimum(k, 4 - k).clip(0, 1)

  return jnp.stack([channel(5), channel(3), channel(1)], axis=-1)


@steady
def luminance(images: jax.Array) -> jax.Array:
  """Returns 0.299 R + 0.587 G + 0.114 B as [n, h, w, 1]; one channel is its own luminance.

  Raises `UserError` for other numbers of channels.

  >>> luminance(jnp.ones((1, 1, 1, 3))).item()
  1.0
  """
  if _channels(images) == 1:
    return images
  return sum(weight * images[..., i : i + 1] for i, weight in enumerate(_LUMINANCE))


def _channels(images):
  channels = images.shape[-1]
  if channels not in (1, 3):
    raise UserError(f'Colours need images with 1 or 3 channels; these have {channels}.')
  return channels


def _blend(base, images, factor, clip):
  blended = base + jnp.reshape(factor, (-1, 1, 1, 1)) * (images - base)
  return blended.clip(0, 1) if clip else blended


@dataclasses.dataclass(frozen=True)
class Jitter(Transform):
  """Changes brightness, contrast, saturation and hue at random, in random order.

  A factor is uniform within [max(0, 1 - s), 1 + s] for each of the first three strengths s, the
  turn of the hue within [-s, s] of the circle. Every image has its own factors. The order is drawn
  once a step for all images (our choice: an order for each image would cost every operation four
  times over).

  Attributes:
    brightness, contrast, saturation: strengths, at least 0.
    hue: strength, at most 1/2.
    probability: with which an image is changed at all.

  Source: the ranges of `ColorJitter` of torchvision; with probability 0.8 a part of SimCLR (Chen et
    al., ICML 2020).

  >>> Jitter(brightness=0.4).draw(jax.random.key(0)).tolist()
  [0]
  """

  acts_on: ClassVar[str] = 'unit'
  clips: ClassVar[bool] = True
  brightness: float = 0.0
  contrast: float = 0.0
  saturation: float = 0.0
  hue: float = 0.0
  probability: float = 1.0

  def __post_init__(self):
    check_range(self, 0, _MOST, 'brightness', 'contrast', 'saturation')
    check_range(self, 0, 0.5, 'hue')
    check_range(self, 0, 1, 'probability')

  def _active(self):
    return [name for name in _OPERATIONS if getattr(self, name)]

  def draw(self, key: jax.Array) -> jax.Array:
    return draws.order(key, len(self._active()))

  @steady
  def __call__(self, key: jax.Array, images: jax.Array, choice: Any = None) -> jax.Array:
    key_factor, key_coin = draws.split(key)
    order = self.draw(key) if choice is None else choice
    count = len(images)

    def branch(name):
      strength = getattr(self, name)
      own = jax.random.fold_in(key_factor, list(_OPERATIONS).index(name))
      low, high = (-strength, strength) if name == 'hue' else (max(0, 1 - strength), 1 + strength)
      factor = draws.uniform(own, (count,), minval=low, maxval=high)
      return lambda images: _OPERATIONS[name](images, factor, self.clips)

    branches = [branch(name) for name in self._active()]
    changed = images
    for place in range(len(branches)):
      changed = jax.lax.switch(order[place], branches, changed)
    return _for_some(key_coin, self.probability, changed, images)


@dataclasses.dataclass(frozen=True)
class UnclippedJitter(Jitter):
  """`Jitter` whose results may leave [0, 1], as in the public code of IDC (Kim et al., ICML 2022).

  >>> bright = UnclippedJitter(brightness=0.4)(jax.random.key(0), jnp.ones((99, 1, 1, 3)))
  >>> bright.max().item() > 1.3
  True
  """

  clips: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True)
class Lighting(Transform):
  """Shifts the colours of an image along the principal components of ImageNet's colours.

  x + V (s * a) in every pixel, V [3, 3] the directions and s the deviations of the components, a of
  an image normal with `deviation`; nothing is clipped. Images of one channel stay as they are.

  Attributes:
    deviation: of a, at least 0.

  Source: Krizhevsky et al. (NeurIPS 2012), with the components and without the clipping of IDC's
    public code (Kim et al., ICML 2022).

  >>> lit = Lighting(0.1)(jax.random.key(0), jnp.zeros((2, 4, 4, 3)))
  >>> bool((lit == lit[:, :1, :1]).all())
  True
  """

  acts_on: ClassVar[str] = 'unit'
  deviation: float = 0.1

  def __post_init__(self):
    check_range(self, 0, _MOST, 'deviation')

  @steady
  def __call__(self, key: jax.Array, images: jax.Array, choice: Any = ()) -> jax.Array:
    if _channels(images) == 1:
      return images
    along = self.deviation * draws.normal(key, (len(images), 3))
    # Written out: accelerators round matrix products to fewer digits.
    directions = jnp.asarray(_DIRECTIONS, jnp.float32)[None] * jnp.asarray(_DEVIATIONS)[None, None]
    shift = (directions * along[:, None]).sum(-1)
    return images + shift[:, None, None, :]


@dataclasses.dataclass(frozen=True)
class Grey(Transform):
  """Replaces the colours of an image by its luminance with `probability`; the channels stay three.

  Source: SimCLR (Chen et al., ICML 2020) with probability 0.2.

  >>> red, green, blue = Grey(1.)(jax.random.key(0), jnp.eye(3).reshape(1, 1, 3, 3))[0, 0].T
  >>> bool((red == green).all() & (green == blue).all())
  True
  """

  acts_on: ClassVar[str] = 'unit'
  probability: float = 0.2

  def __post_init__(self):
    check_range(self, 0, 1, 'probability')

  @steady
  def __call__(self, key: jax.Array, images: jax.Array, choice: Any = ()) -> jax.Array:
    grey = jnp.broadcast_to(luminance(images), images.shape)
    return _for_some(key, self.probability, grey, images)


def _for_some(key, probability, changed, images):
  if probability == 1:
    return changed
  coin = draws.coins(key, probability, (len(images), 1, 1, 1))
  return jnp.where(coin, changed, images)


_OPERATIONS = dict(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)

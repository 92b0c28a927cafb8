"""AutoAugment: two image operations in a row, by a policy that was searched for on the data set."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws
from jaxdistill.data import eight_bit
from jaxdistill.data.transform import Transform
from jaxdistill.errors import unknown
from jaxdistill.numerics import steady

# Two operations of (name, probability, level of 0 to 9); what has no magnitude is at level 0.
_CIFAR10 = (
  (('invert', 0.1, 0), ('contrast', 0.2, 6)),
  (('rotate', 0.7, 2), ('translate_x', 0.3, 9)),
  (('sharpness', 0.8, 1), ('sharpness', 0.9, 3)),
  (('shear_y', 0.5, 8), ('translate_y', 0.7, 9)),
  (('autocontrast', 0.5, 0), ('equalize', 0.9, 0)),
  (('shear_y', 0.2, 7), ('posterize', 0.3, 7)),
  (('saturation', 0.4, 3), ('brightness', 0.6, 7)),
  (('sharpness', 0.3, 9), ('brightness', 0.7, 9)),
  (('equalize', 0.6, 0), ('equalize', 0.5, 0)),
  (('contrast', 0.6, 7), ('sharpness', 0.6, 5)),
  (('saturation', 0.7, 7), ('translate_x', 0.5, 8)),
  (('equalize', 0.3, 0), ('autocontrast', 0.4, 0)),
  (('translate_y', 0.4, 3), ('sharpness', 0.2, 6)),
  (('brightness', 0.9, 6), ('saturation', 0.2, 8)),
  (('solarize', 0.5, 2), ('invert', 0.0, 0)),
  (('equalize', 0.2, 0), ('autocontrast', 0.6, 0)),
  (('equalize', 0.2, 0), ('equalize', 0.6, 0)),
  (('saturation', 0.9, 9), ('equalize', 0.6, 0)),
  (('autocontrast', 0.8, 0), ('solarize', 0.2, 8)),
  (('brightness', 0.1, 3), ('saturation', 0.7, 0)),
  (('solarize', 0.4, 5), ('autocontrast', 0.9, 0)),
  (('translate_y', 0.9, 9), ('translate_y', 0.7, 9)),
  (('autocontrast', 0.9, 0), ('solarize', 0.8, 3)),
  (('equalize', 0.8, 0), ('invert', 0.1, 0)),
  (('translate_y', 0.7, 9), ('autocontrast', 0.9, 0)),
)
POLICIES = dict(cifar10=_CIFAR10)

# What moves pixels shares one reading of the image; the names of `eight_bit.move`'s arguments.
_MOVES = dict(
  rotate='degrees',
  shear_x='shear_x',
  shear_y='shear_y',
  translate_x='right',
  translate_y='down',
)
_COLOURS = dict(
  invert=lambda images, magnitude: eight_bit.invert(images),
  autocontrast=lambda images, magnitude: eight_bit.autocontrast(images),
  equalize=lambda images, magnitude: eight_bit.equalize(images),
  solarize=eight_bit.solarize,
  posterize=eight_bit.posterize,
  brightness=lambda images, magnitude: eight_bit.brightness(images, 1 + magnitude),
  contrast=lambda images, magnitude: eight_bit.contrast(images, 1 + magnitude),
  saturation=lambda images, magnitude: eight_bit.saturation(images, 1 + magnitude),
  sharpness=lambda images, magnitude: eight_bit.sharpness(images, 1 + magnitude),
)
NAMES = (*_MOVES, *_COLOURS)
_UNSIGNED = ('invert', 'autocontrast', 'equalize', 'solarize', 'posterize')
_LEVELS = 10


def magnitudes(name: str, height: int, width: int) -> np.ndarray:
  """Returns the magnitudes [10] of an operation at its ten levels, before a random sign.

  Angles up to 30 degrees, shears up to 0.3, translations up to 150/331 of the side in whole pixels,
  blends up to 1 +- 0.9; posterize keeps 8 to 4 bits, solarize inverts from 255 down to 0. What has
  no magnitude gets 0.

  >>> magnitudes('posterize', 32, 32).tolist()
  [8.0, 8.0, 7.0, 7.0, 6.0, 6.0, 5.0, 5.0, 4.0, 4.0]
  """
  share = np.arange(_LEVELS) / (_LEVELS - 1)
  if name == 'rotate':
    return 30 * share
  if name in ('shear_x', 'shear_y'):
    return 0.3 * share
  if name in ('translate_x', 'translate_y'):
    return np.floor(150 / 331 * (width if name == 'translate_x' else height) * share)
  if name == 'posterize':
    return 8 - np.round(4 * share)
  if name == 'solarize':
    return 255 * (_LEVELS - 1 - np.arange(_LEVELS)) / (_LEVELS - 1)
  return (0.0 if name in _UNSIGNED else 0.9) * share


@dataclasses.dataclass(frozen=True)
class AutoAugment(Transform):
  """Applies to each image one of the policy's 25 pairs of operations, each of the pair with its
  probability and a random sign.

  It works on 8-bit values, to which images in [0, 1] are rounded. All operations are computed for
  all images and one is kept for each, because a switch under `vmap` does the same. Those that move
  pixels share one gather, the others are element-wise but for the histograms of `equalize`: 50 ms
  for 128 images of 32 x 32 on two busy CPU cores, where `DiffAug` takes 1 ms.

  Source: Cubuk et al. (CVPR 2019). The policy and its magnitudes as torchvision publishes them; the
    random sign of the blends is theirs too (in the paper the level goes from 0.1 to 1.9). Nearest
    pixels and a black border.

  >>> AutoAugment()(jax.random.key(0), jnp.ones((2, 8, 8, 3))).shape
  (2, 8, 8, 3)
  """

  acts_on: ClassVar[str] = 'unit'
  policy: str = 'cifar10'

  def __post_init__(self):
    if self.policy not in POLICIES:
      raise unknown('AutoAugment policy', self.policy, POLICIES)

  @steady
  def __call__(self, key: jax.Array, images: jax.Array, choice: Any = ()) -> jax.Array:
    count, height, width, _ = images.shape
    key_pair, key_coin, key_sign = draws.split(key, 3)
    pair = draws.integers(key_pair, (count,), 0, len(POLICIES[self.policy]))
    coins = draws.uniform(key_coin, (2, count))
    signs = draws.signs(key_sign, (2, count))
    values = jnp.round(images.clip(0, 1) * 255).astype(jnp.int32)
    for place in range(2):
      steps = [operations[place] for operations in POLICIES[self.policy]]
      number = jnp.asarray([NAMES.index(name) for name, _, _ in steps])[pair]
      probability = jnp.asarray([probability for _, probability, _ in steps])[pair]
      magnitude = jnp.asarray(
        [magnitudes(name, height, width)[level] for name, _, level in steps], jnp.float32
      )[pair]
      signed = jnp.asarray([name not in _UNSIGNED for name, _, _ in steps])[pair]
      values = apply(
        values,
        jnp.where(coins[place] < probability, number, -1),
        jnp.where(signed, signs[place], 1) * magnitude,
        {name for name, probability, _ in steps if probability},
      )
    return values.astype(jnp.float32) / 255


@steady
def apply(images: jax.Array, number: jax.Array, magnitude: jax.Array, names=NAMES) -> jax.Array:
  """Applies to each 8-bit image the operation `NAMES[number]`, or none where it is -1.

  Args:
    images: int32 [n, h, w, c].
    number: int [n].
    magnitude: float [n].
    names: those that may occur; others are not computed.

  >>> apply(jnp.full((2, 1, 1, 1), 5), jnp.array([NAMES.index('invert'), -1]), jnp.zeros(2)).ravel(
  ...   ).tolist()
  [250, 5]
  """

  def is_asked(name):
    return number == NAMES.index(name)

  result = images
  if not _MOVES.keys().isdisjoint(names):
    # Exact where an image is not moved: its coordinates are halves.
    by = {_MOVES[name]: jnp.where(is_asked(name), magnitude, 0) for name in _MOVES}
    result = eight_bit.move(images, **by)
  for name in _COLOURS:
    if name in names:
      changed = _COLOURS[name](images, magnitude)
      result = jnp.where(is_asked(name).reshape(-1, 1, 1, 1), changed, result)
  return result

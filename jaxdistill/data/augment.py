"""Augmentation of batches inside compiled steps: DiffAug in both published compositions, CutMix,
crop and flip.

Everything is a pure function of a key and float images [n, h, w, c], with static shapes; nothing
branches on values.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdistill import draws
from jaxdistill.data import operations
from jaxdistill.errors import UserError, unknown
from jaxdistill.numerics import steady

OPERATIONS = ('color', 'crop', 'cutout', 'flip', 'scale', 'rotate')
COMPOSITIONS = ('idc', 'dm')

_FLIP_PROBABILITY = 0.5
_CROP_SHARE = 0.125
_SCALE_LIMIT = 1.2
_ROTATE_DEGREES = 15
# IDC draws one of these; they all move pixels.
_GEOMETRIC = ('crop', 'scale', 'rotate')


@steady
def normalise(images: ArrayLike, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
  """Returns (images - mean) / std per channel (the last axis) as float32; uint8 images are divided
  by 255 first.

  >>> normalise(np.array([[0, 255]], np.uint8).reshape(1, 1, 2, 1), (0.5,), (0.25,))[0, 0, :,
  ...   0].tolist()
  [-2.0, 2.0]
  """
  images = unit(images)
  return (images - _channels(mean, images.ndim)) / _channels(std, images.ndim)


@steady
def unit(images: ArrayLike) -> jax.Array:
  """Returns images as float32 in [0, 1]: uint8 divided by 255, others as they are.

  >>> unit(np.array([0, 255], np.uint8)).tolist()
  [0.0, 1.0]
  """
  images = jnp.asarray(images)
  return images.astype(jnp.float32) / (255 if images.dtype == jnp.uint8 else 1)


@steady
def denormalise(images: ArrayLike, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
  """Returns images * std + mean per channel: undoes `normalise`, to the unit range, without
  clipping.

  >>> denormalise(jnp.full((1, 1, 1, 1), 2.), (0.5,), (0.25,)).item()
  1.0
  """
  images = jnp.asarray(images, jnp.float32)
  return images * _channels(std, images.ndim) + _channels(mean, images.ndim)


def _channels(values, ndim):
  return jnp.asarray(values, jnp.float32).reshape((1,) * (ndim - 1) + (-1,))


def parse(strategy: str) -> tuple[str, ...]:
  """Returns the operations of a strategy: names of `OPERATIONS` joined by '_', each at most once;
  '' is none.

  Raises `UserError` for another name and for a repeated one.

  >>> parse('color_crop_cutout')
  ('color', 'crop', 'cutout')
  """
  names = tuple(strategy.split('_')) if strategy else ()
  for name in names:
    if name not in OPERATIONS:
      raise unknown('augmentation', name, OPERATIONS)
    if names.count(name) > 1:
      raise UserError(
        f'The augmentation {strategy!r} lists {name!r} twice; list each operation once.'
      )
  return names


def unmirrored(strategy: str) -> str:
  """Returns a strategy without 'flip', for images that lose their class when they are mirrored
  (`Dataset.flip`).

  >>> unmirrored('color_flip_crop')
  'color_crop'
  """
  return '_'.join(name for name in parse(strategy) if name != 'flip')


def branches(strategy: str, composition: str = 'idc') -> tuple[str, ...]:
  """Returns the operations of which one call draws a single one: all listed ('dm') or the geometric
  ones ('idc').

  >>> branches('color_crop_cutout_flip_scale_rotate', 'idc')
  ('crop', 'scale', 'rotate')
  """
  if composition not in COMPOSITIONS:
    raise unknown('composition', composition, COMPOSITIONS)
  names = parse(strategy)
  return names if composition == 'dm' else tuple(name for name in _GEOMETRIC if name in names)


@steady
def draw_choice(key: jax.Array, strategy: str, composition: str = 'idc') -> jax.Array:
  """Returns which of `branches` a call of `diffaugment` with this key applies, an int32 scalar.

  Draw it outside of `vmap`: a mapped choice makes XLA compute every branch for every element.

  >>> draw_choice(jax.random.key(0), 'color_crop').item()
  0
  """
  count = len(branches(strategy, composition))
  return draws.integers(_key(key, 'choice'), (), 0, max(count, 1))


@steady
def diffaugment(
  key: jax.Array,
  images: jax.Array,
  strategy: str,
  *,
  composition: str = 'idc',
  siamese: bool = True,
  choice: ArrayLike | None = None,
) -> jax.Array:
  """Applies differentiable siamese augmentation to normalised float images [n, h, w, c].

  The operations, with u uniform on [0, 1): flip with probability 1/2; color = brightness x + (u -
  1/2), saturation about the pixel's channel mean by 2u, contrast about the image mean by u + 1/2;
  crop = translation by whole pixels within an eighth of each side; cutout = a box of half the side
  around any pixel, clipped; scale = a factor within [1/1.2, 1.2] on each axis; rotate within 15
  degrees. What leaves the image or is cut is 0, the mean colour.

  `composition` 'idc': flip, color, one of {crop, scale, rotate}, cutout, in this order, each if
  listed. 'dm': one of the listed operations. `siamese` True makes one draw for all images, which
  matching real against synthetic images needs; False draws for each image, yet one branch for the
  call. `choice` picks the branch (from `draw_choice`, outside of `vmap`); without it the call draws
  what `draw_choice` returns for its key.

  Raises `UserError` for unknown names. Source: DSA (Zhao & Bilen, ICML 2021) and DM (Zhao & Bilen,
  WACV 2023) for 'dm', IDC (Kim et al., ICML 2022) for 'idc', with their released codes.

  >>> twins = jnp.ones((2, 8, 8, 3)) * jnp.linspace(0, 1, 8).reshape(1, 8, 1, 1)
  >>> first, second = diffaugment(jax.random.key(0), twins, 'color_crop_cutout')
  >>> bool((first == second).all())
  True
  """
  drawn = branches(strategy, composition)
  listed = parse(strategy)
  shape = () if siamese else images.shape[:1]
  if choice is None:
    choice = draw_choice(key, strategy, composition)

  def apply(name, images):
    return _APPLY[name](_key(key, name), images, shape)

  if composition == 'idc':
    for name in ('flip', 'color'):
      images = apply(name, images) if name in listed else images
  if len(drawn) > 1:
    images = jax.lax.switch(
      choice, [lambda images, name=name: apply(name, images) for name in drawn], images
    )
  elif drawn:
    images = apply(drawn[0], images)
  if composition == 'idc' and 'cutout' in listed:
    images = apply('cutout', images)
  return images


def _key(key, name):
  """A stream for each operation, so that a draw does not depend on what else is listed."""
  return jax.random.fold_in(key, (*OPERATIONS, 'choice').index(name))


def _flip(key, images, shape):
  return operations.flip(images, draws.uniform(key, shape) < _FLIP_PROBABILITY)


def _color(key, images, shape):
  return operations.color(images, draws.uniform(key, (3, *shape)))


def _crop(key, images, shape):
  limits = [operations.rounded(size * _CROP_SHARE) for size in images.shape[1:3]]
  down, right = (
    draws.integers(key, shape, -limit, limit + 1) for key, limit in zip(draws.split(key), limits)
  )
  return operations.translate(images, down, right)


def _cutout(key, images, shape):
  # One more position for even sides makes the box as often beyond the right border as beyond the
  # left one.
  row, column = (
    draws.integers(key, shape, 0, size + 1 - operations.cutout_side(size) % 2)
    for key, size in zip(draws.split(key), images.shape[1:3])
  )
  return operations.cutout(images, row, column)


def _scale(key, images, shape):
  factor = draws.uniform(key, (2, *shape), minval=1 / _SCALE_LIMIT, maxval=_SCALE_LIMIT)
  return operations.scale(images, factor[0], factor[1])


def _rotate(key, images, shape):
  limit = float(np.deg2rad(_ROTATE_DEGREES))
  return operations.rotate(images, draws.uniform(key, shape, minval=-limit, maxval=limit))


_APPLY = dict(flip=_flip, color=_color, crop=_crop, cutout=_cutout, scale=_scale, rotate=_rotate)


@steady
def cutmix(
  key: jax.Array,
  images: jax.Array,
  labels: jax.Array,
  probability: ArrayLike,
  weight: jax.Array | None = None,
  *,
  alpha: float = 1.0,
) -> tuple[jax.Array, jax.Array]:
  """With `probability`, pastes one box of other images of the batch into all, and mixes the labels
  by area.

  l ~ Beta(alpha, alpha), by default uniform; the box reaches floor(h sqrt(1-l)) // 2 pixels to
  either side of a uniform row, likewise for columns, and is clipped at the border; in all images
  [n, h, w, c] the same box is pasted from a permuted batch. With r the share of an image that
  stays, the labels [n, k] become r y + (1 - r) y_permuted, so that cross-entropy with them is
  r CE(y) + (1 - r) CE(y_permuted). Images with `weight` 0 (the padding of a short batch) neither
  give nor receive.

  Source: CutMix (Yun et al., ICCV 2019), as the public condensation codes use it: one draw for the
    whole batch.

  >>> labels = jnp.eye(2)
  >>> mixed, targets = cutmix(jax.random.key(0), jnp.ones((2, 8, 8, 1)), labels, 0.)
  >>> bool((targets == labels).all())
  True
  """
  coin, ratio, centre, order = draws.split(key, 4)
  height, width = images.shape[1:3]
  share = draws.uniform(ratio) if alpha == 1 else draws.beta(ratio, alpha, alpha)
  side = jnp.sqrt(1 - share) * (draws.uniform(coin) < probability)
  row, column = (
    draws.integers(key, (), 0, size) for key, size in zip(draws.split(centre), (height, width))
  )
  rows, columns = _box(height, side, row), _box(width, side, column)
  partner = permutation(order, len(images), weight)
  inside = rows.reshape(1, -1, 1, 1) & columns.reshape(1, 1, -1, 1)
  kept = 1 - rows.sum() * columns.sum() / (height * width)
  return (
    jnp.where(inside, images[partner], images),
    kept * labels + (1 - kept) * labels[partner],
  )


def _box(size, share, centre):
  """Which of `size` positions a side of floor(size * share) around `centre` covers."""
  half = (size * share).astype(jnp.int32) // 2
  position = jnp.arange(size)
  return (position >= centre - half) & (position < centre + half)


@steady
def permutation(key: jax.Array, size: int, weight: jax.Array | None = None) -> jax.Array:
  """Returns a uniform permutation of the positions with `weight`, int [size]; the others stay where
  they are.

  >>> permutation(jax.random.key(0), 4, jnp.array([0, 1, 0, 0])).tolist()
  [0, 1, 2, 3]
  """
  valid = jnp.ones(size, bool) if weight is None else weight > 0
  position = jnp.arange(size)
  # Sorted by these ranks come first the valid positions in random order, then the rest in their old
  # order.
  shuffled = jnp.lexsort((jnp.where(valid, draws.order(key, size), position), ~valid))
  rank = jnp.where(valid, jnp.cumsum(valid), valid.sum() + jnp.cumsum(~valid)) - 1
  return shuffled[rank]

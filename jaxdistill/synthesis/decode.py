"""Multi-formation: several small images stored in one canvas, and how canvases begin.

A canvas of a condensed set is cut in a factor x factor grid; every cell, enlarged to full size, is
one training image (Kim et al., Dataset Condensation via Efficient Synthetic-Data Parameterization,
ICML 2022; M3D and DANCE use it too).
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws, errors
from jaxdistill.data import samplers
from jaxdistill.numerics import settled, steady

INITS = ('mix', 'real', 'noise')


@steady
def decode(canvases: jax.Array, factor: int, fill: float | jax.Array = 0.5) -> jax.Array:
  """Cuts every canvas in its factor^2 cells and enlarges each to the canvas' size.

  out[k n + i] = resize(cell k of canvas i): cells in raster order, the canvases of one cell beside
  each other. Bilinear with half-pixel centres and edges repeated. Where factor does not divide the
  side, the canvas is first padded on the right and at the bottom with `fill`.

  Args:
    canvases: [n, h, w, c].
    factor: cells along a side, >= 1.
    fill: value of the padding, a number or one a channel [c].

  Returns:
    [factor^2 n, h, w, c]; for factor 1 the canvases themselves.

  Source: multi-formation of IDC, in the order of cells that M3D's public code uses.

  >>> import jax.numpy as jnp
  >>> decode(jnp.full((3, 8, 8, 1), 0.25), 2).shape
  (12, 8, 8, 1)
  """
  factor = errors.whole('factor', factor, at_least=1)
  if factor == 1:
    return canvases
  n, height, width, channels = canvases.shape
  side_h, side_w = -(-height // factor), -(-width // factor)
  padding = (factor * side_h - height, factor * side_w - width)
  if any(padding):
    inside = jnp.pad(
      jnp.ones((1, height, width, 1), bool), ((0, 0), (0, padding[0]), (0, padding[1]), (0, 0))
    )
    padded = jnp.pad(canvases, ((0, 0), (0, padding[0]), (0, padding[1]), (0, 0)))
    canvases = jnp.where(inside, padded, jnp.asarray(fill, canvases.dtype).reshape(1, 1, 1, -1))
  cells = canvases.reshape(n, factor, side_h, factor, side_w, channels).transpose(1, 3, 0, 2, 4, 5)
  cells = cells.reshape(factor * factor * n, side_h, side_w, channels)
  rows, columns = _enlarge(side_h, height), _enlarge(side_w, width)
  # Two small matrix products: faster than a gather on every backend, and the gradient is two
  # products as well.
  precise = jax.lax.Precision.HIGHEST
  tall = jnp.einsum('ph,nhwc->npwc', rows.astype(cells.dtype), cells, precision=precise)
  return jnp.einsum('qw,npwc->npqc', columns.astype(cells.dtype), tall, precision=precise)


def bounded(
  canvases: jax.Array, factor: int, most: int, fill: float | jax.Array = 0.5
) -> jax.Array:
  """Decodes canvases into at most `most` images: the first ones at `factor`, further ones at lower
  factors, the last ones whole, see `formations`.

  Args:
    canvases, factor, fill: see `decode`.
    most: images at most, or as many as there are canvases if those are more.

  Returns:
    [n', h, w, c], those of the first canvases first.

  Source: the bounded multi-formation of IDC's public code.

  >>> import jax.numpy as jnp
  >>> bounded(jnp.zeros((5, 6, 6, 1)), factor=3, most=20).shape
  (16, 6, 6, 1)
  """
  factor = errors.whole('factor', factor, at_least=1)
  most = errors.whole('most', most, at_least=1)
  images, begin = [], 0
  for count, lower in formations(len(canvases), factor, most):
    images.append(decode(canvases[begin : begin + count], lower, fill))
    begin += count
  return jnp.concatenate(images)


def formations(canvases: int, factor: int, most: int) -> tuple[tuple[int, int], ...]:
  """Returns how canvases are decoded into at most `most` images: (canvases, factor) in their order.

  From the highest factor down, each takes floor(room / factor^2) of the canvases that are left,
  where room is what they and those decoded before leave of `most` with one image a canvas.

  >>> formations(20, factor=3, most=128)
  ((12, 3), (3, 2), (5, 1))
  >>> formations(20, factor=3, most=200)
  ((20, 3),)
  """
  parts, left, room = [], canvases, most
  for lower in range(factor, 0, -1):
    count = left if lower == 1 else min(left, max(0, room - left) // lower**2)
    if count:
      parts.append((count, lower))
    left, room = left - count, room - count * lower**2
  return tuple(parts)


def _enlarge(small: int, large: int) -> jax.Array:
  """Returns the [large, small] matrix of bilinear interpolation with half-pixel centres."""
  centre = (jnp.arange(large) + 0.5) * (small / large) - 0.5
  centre = jnp.clip(centre, 0, small - 1)
  return jnp.maximum(0, 1 - jnp.abs(centre[:, None] - jnp.arange(small)[None, :]))


def fills(factor: int, side: int) -> bool:
  """Whether every cell of the grid holds a part of a canvas of this side. Cells are of one size, so
  that the last ones may lie in the padding alone, and decode to nothing but its value.

  >>> [factor for factor in range(1, 9) if fills(factor, side=8)]
  [1, 2, 3, 4, 8]
  """
  return (factor - 1) * -(-side // factor) < side


def nearest_filling(factor: int, height: int, width: int) -> tuple[int, ...]:
  """Returns the factors next to one, below and above, that fill canvases of this size, see `fills`;
  itself alone where it does.

  >>> nearest_filling(5, 8, 8), nearest_filling(4, 8, 8)
  ((4, 8), (4,))
  """
  filling = [
    number
    for number in range(1, min(height, width) + 1)
    if fills(number, height) and fills(number, width)
  ]
  if factor in filling:
    return (factor,)
  below = [number for number in filling if number < factor]
  above = [number for number in filling if number > factor]
  return (*below[-1:], *above[:1])


@steady
def mix(images: jax.Array, factor: int) -> jax.Array:
  """Shrinks factor^2 n real images into the cells of n canvases (nearest neighbour).

  Cell k (raster order) of canvas i receives image k n + i, so that `decode` gives the images back,
  blurred, in their order. Cells are h/factor high, the last ones smaller where factor does not
  divide h.

  Args:
    images: [factor^2 n, h, w, c].
    factor: cells along a side.

  Returns:
    [n, h, w, c].

  Source: M3D's and DANCE's public code. Its cells are of size s or s+1 when factor does not divide
  h; ours follow the grid of `decode`, so that a cell never straddles two images (our choice).

  >>> import jax.numpy as jnp
  >>> mix(jnp.arange(4.0).reshape(4, 1, 1, 1) * jnp.ones((4, 2, 2, 1)), 2)[0, :, :, 0].tolist()
  [[0.0, 1.0], [2.0, 3.0]]
  """
  factor = errors.whole('factor', factor, at_least=1)
  if factor == 1:
    return images
  count, height, width, channels = images.shape
  side_h, side_w = -(-height // factor), -(-width // factor)
  small = images[:, _nearest(side_h, height)][:, :, _nearest(side_w, width)]
  grid = small.reshape(factor, factor, count // factor**2, side_h, side_w, channels).transpose(
    2, 0, 3, 1, 4, 5
  )
  return grid.reshape(count // factor**2, factor * side_h, factor * side_w, channels)[
    :, :height, :width
  ]


def _nearest(small: int, large: int) -> jax.Array:
  return jnp.arange(small) * large // small


@settled()
def first_canvases(
  key: jax.Array,
  images: jax.Array,
  counts: jax.Array,
  *,
  ipc: int,
  factor: int,
  init: str,
  mean: tuple[float, ...],
  std: tuple[float, ...],
  numbers: Sequence[int] | None = None,
) -> jax.Array:
  """Returns the canvases from which condensation starts.

  mix: ipc factor^2 different random images of each class, shrunk into the cells; real: ipc
    different random images at full
  size; noise: normal noise with the set's mean and standard deviation, clipped to [0, 1].

  Args:
    key: of the random draw.
    images: uint8 [classes, n_max, h, w, c], class by class, see `data.samplers.class_major`.
    counts: [classes], valid images of each class.
    ipc: canvases a class.
    factor: cells along a side.
    init: 'mix', 'real' or 'noise'.
    mean, std: per channel, of images in [0, 1].
    numbers: of each class, on which its draw depends; None: 0, 1, ...

  Returns:
    float32 [classes, ipc, h, w, c] in [0, 1].

  Source: the sheet's codes take the first images of a class in data-set order; the random draw is
    our choice.
  """
  if init not in INITS:
    raise errors.unknown('initialisation', init, INITS)
  ipc = errors.whole('ipc', ipc, at_least=1)
  factor = errors.whole('factor', factor, at_least=1)
  classes, _, height, width, channels = images.shape
  numbers = jnp.asarray(range(classes) if numbers is None else numbers)
  keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
  if init == 'noise':
    noise = jax.vmap(lambda k: draws.normal(k, (ipc, height, width, channels)))(keys)
    shape = (1, 1, 1, 1, channels)
    return jnp.clip(
      jnp.asarray(mean).reshape(shape) + jnp.asarray(std).reshape(shape) * noise, 0, 1
    )
  picks = random_picks(keys, counts, ipc * (factor**2 if init == 'mix' else 1))
  # Plain indexing, which streamed images know too, and which leaves a large set where it is.
  chosen = (
    jnp.asarray(images[np.arange(classes)[:, None], np.asarray(picks)]).astype(jnp.float32) / 255
  )
  return jax.vmap(lambda x: mix(x, factor))(chosen) if init == 'mix' else chosen


@steady
@functools.partial(jax.jit, static_argnums=2)
def random_picks(keys: jax.Array, counts: jax.Array, number: int) -> jax.Array:
  """Draws `number` different positions in each class: int32 [classes, number]."""
  return jax.vmap(lambda key, count: samplers.shuffled_index(key, jnp.arange(number), count))(
    keys, counts
  )

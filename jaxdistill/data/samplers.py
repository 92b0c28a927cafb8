"""Which images a step sees: shuffled passes that are computed from a key and the step number, with
nothing to store.

A permutation here is a function, not an array: `shuffled_index` gives its value at a few positions
without sorting or keeping the rest. A sampler therefore has no state that a checkpoint would have
to hold, and it costs the batch only.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdistill import backend, draws, errors
from jaxdistill.data.dataset import Dataset
from jaxdistill.data.streaming import Streamed
from jaxdistill.errors import UserError
from jaxdistill.numerics import steady

# With eight the orders of four images are visibly not equally frequent; with twelve they nearly
# are.
_ROUNDS = 12
# Passes through the network after which a value is outside with a chance below 1e-15, whatever the
# size: at most one in eleven is outside from 100 positions on, and a smaller range has so few
# positions outside that fewer passes leave all of them.
_PASSES = 16


@steady
def shuffled_index(
  key: jax.Array, positions: ArrayLike, size: ArrayLike, epoch: ArrayLike = 0
) -> jax.Array:
  """Returns the entries at `positions` of a pseudo-random permutation of range(size), int32 of the
  positions' shape.

  Each `epoch` (a scalar, or one a position) has its own permutation; `size` may be traced.
  Positions are taken modulo `size`. Work and memory are those of `positions`, whatever the size.

  A Feistel network: position = (l, r) with l < a, r < b and a b just above `size`, and alternately
  l += hash(r) mod a and r += hash(l) mod b. Each round can be undone, so that together they permute
  range(a b); values that fall outside range(size) go through again until they are inside (cycle
  walking; Black & Rogaway, CT-RSA 2002), at most 15 times. Good for shuffling, not for secrets.

  >>> sorted(shuffled_index(jax.random.key(0), jnp.arange(5), 5).tolist())
  [0, 1, 2, 3, 4]
  """
  size = jnp.maximum(jnp.asarray(size, jnp.uint32), 1)
  positions, epoch = jnp.broadcast_arrays(
    jnp.asarray(positions, jnp.uint32), jnp.asarray(epoch, jnp.uint32)
  )
  round_keys = draws.bits(key, (_ROUNDS,))
  root = jnp.sqrt(size.astype(jnp.float32)).astype(jnp.uint32)
  # Backends round roots differently, and a permutation must be the same on the host and on every
  # device.
  root = root - (root * root > size)
  columns = root + ((root + 1) * (root + 1) <= size) + 1
  rows = (size + columns - 1) // columns
  salt = _hash(epoch)

  def permute(value):
    left, right = value // columns, value % columns
    for number in range(0, _ROUNDS, 2):
      left = (left + _hash(right ^ salt ^ round_keys[number])) % rows
      right = (right + _hash(left ^ salt ^ round_keys[number + 1])) % columns
    return left * columns + right

  def again(value):
    return jnp.where(value < size, value, permute(value))

  value = _repeated(again, lambda value: (value >= size).any(), permute(positions % size))
  return jnp.minimum(value, size - 1).astype(jnp.int32)


def _repeated(again, is_unfinished, value):
  """Applies `again`, which changes nothing any more once nothing is unfinished, to a value that has
  made its first pass."""
  if backend.platform() == 'gpu':
    # There the host decides whether a loop goes on: it would wait for the device in every step.
    return jax.lax.fori_loop(0, _PASSES - 1, lambda _, value: again(value), value, unroll=5)

  def is_open(state):
    return (state[0] < _PASSES) & is_unfinished(state[1])

  return jax.lax.while_loop(is_open, lambda state: (state[0] + 1, again(state[1])), (1, value))[1]


def _hash(value):
  """Mixes uint32 bits: the finaliser of MurmurHash3 (Appleby, public domain)."""
  value = (value ^ (value >> 16)) * jnp.uint32(0x85EBCA6B)
  value = (value ^ (value >> 13)) * jnp.uint32(0xC2B2AE35)
  return value ^ (value >> 16)


@steady
def epoch_batch(
  key: jax.Array,
  step: ArrayLike,
  size: ArrayLike,
  batch: int,
  drop_last: bool = False,
) -> tuple[jax.Array, jax.Array]:
  """Returns the indices [batch] of step number `step` through shuffled epochs, and their weights
  float32 [batch].

  Every epoch visits each of `size` images once in a new order. Its last batch is short when `batch`
  does not divide `size`: the places left over repeat some image with weight 0. `drop_last` skips
  that batch instead.

  Raises `UserError` when `drop_last` would leave no batch at all (for a size known beforehand).

  >>> index, weight = epoch_batch(jax.random.key(0), step=1, size=5, batch=3)
  >>> weight.tolist()
  [1.0, 1.0, 0.0]
  """
  batch = errors.whole('batch', batch, at_least=1)
  if drop_last and isinstance(size, (int, np.integer)) and size < batch:
    raise UserError(
      f'A batch of {batch} does not fit into {size} images, so dropping the incomplete one '
      'leaves none; '
      'use a smaller batch or keep the last one.'
    )
  size = jnp.asarray(size, jnp.uint32)
  steps = jnp.maximum(size // batch if drop_last else (size + batch - 1) // batch, 1)
  step = jnp.asarray(step, jnp.uint32)
  positions = step % steps * batch + jnp.arange(batch, dtype=jnp.uint32)
  index = shuffled_index(key, positions, size, step // steps)
  return index, (positions < size).astype(jnp.float32)


@steady
def halves_batch(
  key: jax.Array, step: ArrayLike, first: ArrayLike, second: ArrayLike, batch: int
) -> tuple[jax.Array, jax.Array]:
  """Returns the positions [batch] of step number `step`, and their weights float32 [batch], in two
  sets one behind another, of `first` and `second` images: half of the batch from each.

  Each half goes through shuffled epochs of its own set, see `epoch_batch`.

  Raises `UserError` for a batch that has no halves.

  >>> index, weight = halves_batch(jax.random.key(0), step=0, first=2, second=10, batch=4)
  >>> sorted(index[:2].tolist()), bool((index[2:] >= 2).all()), weight.tolist()
  ([0, 1], True, [1.0, 1.0, 1.0, 1.0])
  """
  batch = errors.whole('batch', batch, at_least=2)
  if batch % 2:
    raise UserError(f'A batch of {batch} has no halves; take an even number of images.')
  key_first, key_second = draws.split(key)
  index, weight = epoch_batch(key_first, step, first, batch // 2)
  other, other_weight = epoch_batch(key_second, step, second, batch // 2)
  behind = jnp.asarray(first, jnp.int32) + other
  return jnp.concatenate([index, behind]), jnp.concatenate([weight, other_weight])


@steady
def class_batch(
  key: jax.Array,
  step: ArrayLike,
  counts: ArrayLike,
  batch: int,
  classes: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Returns for each class positions int32 [c, batch] among its `counts` [c] images in step number
  `step`, and their weights float32 [c, batch].

  Each class passes through its images in shuffled order without replacement, with a new order every
  pass; at the end of a pass an incomplete batch is dropped. A class with fewer images than `batch`
  gives each of them once a step, in a new order; the places left over repeat them in that order
  with weight 0. A class without images gives position 0 of weight 0.

  `classes` [c] are the class numbers that the draws depend on (0, 1, ... by default): a device that
  holds some of the classes draws the same for them as one device does for all.

  >>> index, weight = class_batch(jax.random.key(0), step=0, counts=jnp.array([4, 2]), batch=4)
  >>> index.sum(1).tolist(), weight.tolist()
  ([6, 2], [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]])
  """
  batch = errors.whole('batch', batch, at_least=1)
  counts = jnp.asarray(counts, jnp.uint32)
  classes = jnp.arange(len(counts)) if classes is None else jnp.asarray(classes)
  step = jnp.asarray(step, jnp.uint32)

  places = jnp.arange(batch, dtype=jnp.uint32)

  def draw(label, count):
    # A class that fills no batch makes one pass a step.
    usable = jnp.where(count >= batch, count // batch * batch, batch)
    stream = step * batch + places
    index = shuffled_index(jax.random.fold_in(key, label), stream % usable, count, stream // usable)
    return index, (places < count).astype(jnp.float32)

  return jax.vmap(draw)(classes, counts)


def class_major(dataset: Dataset, most: int = 0) -> tuple[np.ndarray | Streamed, np.ndarray]:
  """Returns images uint8 [c, n_max, h, w, ch] sorted by class, smaller classes filled with zeros,
  and counts int32 [c].

  Position p of class k, as `class_batch` draws them, is `images[k, p]`: the p-th image of that
  class in the data set. n_max is the size of the largest class, or `most` if that is more: so parts
  of a set with unequal classes get one shape. Streamed images stay unread; there the places that
  are filled show the first image of the set.

  >>> images, counts = class_major(Dataset(np.ones((3, 8, 8, 1), np.uint8), np.array([1, 0, 1])))
  >>> images.shape, counts.tolist(), images[0, 1].max().item()
  ((2, 2, 8, 8, 1), [1, 2], 0)
  """
  most = errors.whole('most', most)
  counts = dataset.counts.astype(np.int32)
  if isinstance(dataset.images, Streamed):
    table = np.zeros((len(counts), max(most, counts.max())), np.int64)
    for label, count in enumerate(counts):
      table[label, :count] = dataset.of_class(label)
    return dataset.images.take(table), counts
  images = np.zeros((len(counts), max(most, counts.max()), *dataset.image_shape), np.uint8)
  for label, count in enumerate(counts):
    images[label, :count] = dataset.images[dataset.of_class(label)]
  return images, counts

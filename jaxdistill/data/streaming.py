"""Images that are read when they are asked for, and batches of them that threads make ready ahead
of the device.

A set that is too large to be loaded keeps the face of one that is: an array's shape, and its rows
by number. So nothing above this module asks which of the two it has, but for the two places where a
loop gets its batches.
"""

import concurrent.futures
import dataclasses
import functools
import hashlib
import math
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxdistill.errors import UserError

# Images that a thread reads in one go: enough to hide what handing over costs, few enough to share
# a batch among threads.
_CHUNK = 32
_BATCHES_AHEAD = 2
_MOST_THREADS = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Streamed:
  """Images that stay where they are, with the shape, length and rows of a uint8 array [..., h, w,
  c].

  Attributes:
    fetch: int positions [n] -> uint8 [n, h, w, c]; called from several threads at once.
    image_shape: (h, w, c).
    positions: of these images among those that `fetch` knows, an integer array of any shape, which
      comes before (h, w, c).
    origin: text that names the images and changes when they do.
    files: in which they lie; () where `fetch` reads from memory.

  >>> stored = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) * np.ones((1, 2, 2, 1), np.uint8)
  >>> images = Streamed.of_array(stored)
  >>> images.shape, images[[2, 0]][:, 0, 0, 0].tolist(), len(images.take([1]))
  ((3, 2, 2, 1), [2, 0], 1)
  """

  fetch: Callable[[np.ndarray], np.ndarray]
  image_shape: tuple[int, int, int]
  positions: np.ndarray
  origin: str = ''
  files: tuple[pathlib.Path, ...] = ()

  @classmethod
  def of_array(cls, images: np.ndarray) -> 'Streamed':
    """Wraps images in the memory of the host, for a device that cannot hold them."""
    return cls(
      images.__getitem__,
      images.shape[1:],
      np.arange(len(images)),
      hashlib.sha256(images.tobytes()).hexdigest(),
    )

  @property
  def shape(self) -> tuple[int, ...]:
    return *self.positions.shape, *self.image_shape

  @property
  def ndim(self) -> int:
    return len(self.shape)

  @property
  def size(self) -> int:
    return math.prod(self.shape)

  @property
  def dtype(self) -> np.dtype:
    return np.dtype(np.uint8)

  @property
  def nbytes(self) -> int:
    return self.size

  @property
  def fingerprint(self) -> np.ndarray:
    """The hash of what the images are, from their origin and positions, as uint8 [32]; none is
    read."""
    content = hashlib.sha256(f'{self.origin} {self.image_shape}'.encode())
    content.update(np.ascontiguousarray(self.positions, np.int64))
    return np.frombuffer(content.digest(), np.uint8)

  def __len__(self) -> int:
    return len(self.positions)

  def __getitem__(self, index: Any) -> np.ndarray:
    """Reads images into memory; `index` is what numpy takes for the leading axes."""
    chosen = self.positions[index]
    flat = np.ravel(chosen)
    parts = [flat[at : at + _CHUNK] for at in range(0, len(flat), _CHUNK)]
    if len(parts) > 1:
      with concurrent.futures.ThreadPoolExecutor(_threads()) as pool:
        read = np.concatenate(list(pool.map(self.fetch, parts)))
    else:
      read = self.fetch(flat) if len(flat) else np.zeros((0, *self.image_shape), np.uint8)
    return read.reshape(*np.shape(chosen), *self.image_shape)

  def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """Reads all of them."""
    del copy
    return np.asarray(self[:], dtype)

  def take(self, indices: np.ndarray) -> 'Streamed':
    """Returns the images at `indices`, an integer array of any shape, without reading them."""
    return dataclasses.replace(self, positions=self.positions[indices])


def select(images: np.ndarray | Streamed, indices: np.ndarray) -> np.ndarray | Streamed:
  """Returns the images at `indices`, an integer array; streamed ones are not read.

  >>> select(np.zeros((3, 2, 2, 1), np.uint8), np.array([2, 0])).shape
  (2, 2, 2, 1)
  """
  return images.take(indices) if isinstance(images, Streamed) else images[indices]


def batches(
  images: Streamed, draw: Callable[[int], tuple[np.ndarray, dict[str, np.ndarray]]], num_steps: int
) -> Iterator[dict[str, np.ndarray]]:
  """Returns an iterator over the batches of the steps 0, 1, ...: the images read by threads, in
  order, ahead of use.

  Args:
    images: to read from.
    draw: step -> (positions as `images.fetch` knows them, an array whose shape is the same for all
      steps; whatever else belongs to the batch).
    num_steps: length.

  Returns:
    A grain iterator over dict(images=uint8 [*positions.shape, h, w, c], **rest). Its `get_state`
    and `set_state` move it to any step.

  Raises:
    UserError: grain is not installed.

  >>> images = Streamed.of_array(np.zeros((5, 2, 2, 1), np.uint8))
  >>> next(batches(images, lambda step: (np.array([step, 3]), {'labels': np.array([0, 1])}),
  ...   4))['images'].shape
  (2, 2, 2, 1)
  """
  grain = require()
  # Threads work on several chunks, often of two steps; the draw of a step is made once for all of
  # them.
  draw = functools.lru_cache(maxsize=2 * _BATCHES_AHEAD + 2)(draw)
  shape = np.shape(draw(0)[0])
  size = math.prod(shape)
  chunks = -(-size // _CHUNK)
  length = -(-size // chunks)

  def read(number):
    step, part = divmod(number, chunks)
    # All chunks have one length: the last is filled up with the first images, which `join` cuts off
    # again.
    flat = np.resize(draw(step)[0], chunks * length)[part * length : (part + 1) * length]
    return {'step': step, 'images': images.fetch(flat)}

  def join(parts):
    read = (
      parts['images'].reshape(-1, *images.image_shape)[:size].reshape(*shape, *images.image_shape)
    )
    return {'images': read, **draw(int(parts['step'][0]))[1]}

  ahead = grain.ReadOptions(num_threads=_threads(), prefetch_buffer_size=_BATCHES_AHEAD * chunks)
  source = grain.MapDataset.range(num_steps * chunks).map(read)
  return iter(source.to_iter_dataset(ahead).batch(chunks, drop_remainder=True).map(join))


def _threads() -> int:
  return min(_MOST_THREADS, os.cpu_count() or 1)


def too_large(name: str) -> UserError:
  """Returns the error for images that do not fit into the memory of the host."""
  return UserError(
    f'{name}: the images do not fit into memory; leave them on disk (--config.data.stream=on, or '
    'stream_above=0 from Python), or give a smaller image_size.'
  )


def require():
  """Returns the package grain; raises `UserError` where it is not installed."""
  try:
    import grain
  except ImportError:
    raise UserError(
      'Images that stream from disk need the package grain: install jaxdistill[stream] '
      "(pip install 'grain>=0.2.12'), or load the set whole with --config.data.stream=off."
    ) from None
  return grain

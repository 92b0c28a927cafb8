"""Where the batches of a loop come from: arrays on the device, or an iterator of the host."""

import base64
import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdistill.data import streaming
from jaxdistill.errors import UserError
from jaxdistill.training import parallel, program


class Reached(NamedTuple):
  """How far a source has come.

  step: that the batch which is not used yet belongs to. position: of the iterator before that
    batch, fit for JSON; None: the step says it all.
  """

  step: int
  position: Any = None


@dataclasses.dataclass(frozen=True, eq=False)
class ArraySource:
  """Data that stays on the device; every batch is drawn inside the compiled step.

  Attributes:
    data: pytree of arrays, placed once (replicated, or as its shardings say).
    sample: pure function (data, key, step) -> batch. `key` is made from state.key for sampling
      alone and is as constant as that; `step` is state.step.

  >>> source = ArraySource({'x': np.arange(10.0)}, lambda data, key, step: data['x'][step])
  """

  data: Any
  sample: Callable[[Any, jax.Array, jax.Array], Any]

  def feed(
    self, place: Callable[[Any], Any], step: int, stop: int, position: Any = None
  ) -> '_ArrayFeed':
    del stop, position
    return _ArrayFeed(place(self.data), step)


class _ArrayFeed:
  """The same arrays for every call."""

  def __init__(self, data, step):
    self._data, self.reached = data, Reached(step)

  def take(self) -> Any:
    return self._data

  def prepare(self, step: int) -> None:
    self.reached = Reached(step)


@dataclasses.dataclass(frozen=True, eq=False)
class HostSource:
  """Batches from an iterator of the host, one step a call, the next batch on its way while the
  device computes.

  A grain iterator (anything with get_state and set_state) continues after a resume where it was. A
  plain generator is replayed: as many batches are drawn and thrown away as steps were done, so it
    must yield the same batches every time.

  Attributes:
    make_iterator: returns a fresh iterator (or iterable) of batches: pytrees of arrays that all
      have the same shapes.
    place: puts a batch on the devices, for example `lambda batch: parallel.shard(batch, mesh)`;
      None replicates it.

  >>> source = HostSource(lambda: iter([{'x': np.zeros(4)}] * 10))
  """

  make_iterator: Callable[[], Iterable[Any]]
  place: Callable[[Any], Any] | None = None
  sample = None

  def feed(
    self, place: Callable[[Any], Any], step: int, stop: int, position: Any = None
  ) -> '_HostFeed':
    return _HostFeed(self.make_iterator(), self.place or place, step, stop, position)


def streamed(
  data: Mapping[str, Any],
  sample: Callable[[Any, jax.Array, jax.Array], Any],
  key: jax.Array,
  num_steps: int,
  mesh: Mesh | None = None,
  spread: bool = True,
) -> HostSource:
  """Returns the batches of ArraySource(data, sample) where data['images'] are `Streamed`: read from
  disk, ahead of the device.

  The host calls `sample` on positions in place of images, so that one function of key and step says
  which images a batch takes, whether they are on the device or on disk. Of several processes all
  draw all positions, which costs little, and each reads its share of the images alone.

  Args:
    data: as for ArraySource, with numpy arrays beside the images.
    sample: as for ArraySource, for one device, giving 'images' that are picked and not computed
      with.
    key: that of the state.
    num_steps: length of the phase.
    mesh: the devices; None: the default one.
    spread: whether the leading axis of a batch goes over the devices; else each of them gets the
      whole batch.

  >>> images = streaming.Streamed.of_array(np.zeros((5, 2, 2, 1), np.uint8))
  >>> pick = lambda data, key, step: {'images': data['images'][step % 5][None]}
  >>> next(streamed({'images': images}, pick, jax.random.key(0), 3).make_iterator())['images'].shape
  (1, 2, 2, 1)
  """
  images = data['images']
  raw = np.asarray(
    jax.random.key_data(key) if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) else key
  )
  with _on_host():
    stand_in = jax.tree.map(
      jax.numpy.asarray, {**data, 'images': images.positions.astype(np.int32)}
    )
    drawn = jax.jit(
      lambda data, step: sample(data, program.sampling_key(jax.numpy.asarray(raw)), step)
    )

  def draw(step):
    with _on_host():
      batch = dict(jax.tree.map(np.asarray, drawn(stand_in, np.int32(step))))
    return batch.pop('images'), batch

  if mesh is None or mesh.size == 1:
    return HostSource(lambda: streaming.batches(images, draw, num_steps))
  shape = draw(0)[0].shape
  # What all devices get whole is read by parts of equal length, one a device, and joined on the
  # devices.
  count = shape[0] if spread else -(-math.prod(shape) // mesh.size) * mesh.size
  rows = parallel.own_rows(count, mesh)

  def draw_own(step):
    positions, rest = draw(step)
    return (positions if spread else np.resize(positions, count))[rows], rest

  @functools.partial(jax.jit, out_shardings=NamedSharding(mesh, PartitionSpec()))
  def join(pixels):
    return pixels[: math.prod(shape)].reshape(*shape, *images.image_shape)

  def place(batch):
    rest = {name: leaf for name, leaf in batch.items() if name != 'images'}
    pixels = parallel.shard_own(batch['images'], mesh, count)
    return (parallel.shard if spread else parallel.replicate)(rest, mesh) | {
      'images': pixels if spread else join(pixels)
    }

  return HostSource(lambda: streaming.batches(images, draw_own, num_steps), place)


def _on_host():
  """Keeps small programs away from the accelerator, which they would have to queue for, where JAX
  has a CPU beside it."""
  try:
    return jax.default_device(jax.local_devices(backend='cpu')[0])
  except RuntimeError:
    return contextlib.nullcontext()


class _HostFeed:
  """Draws one batch ahead; `reached` is that of the batch which is not used yet."""

  def __init__(self, iterable, place, step, stop, position):
    self._iterator = iterable if hasattr(iterable, '__next__') else iter(iterable)
    self._place, self._stop = place, stop
    self._stateful = hasattr(self._iterator, 'get_state') and hasattr(self._iterator, 'set_state')
    self._shapes = None
    self._batch = None
    if self._stateful and position is not None:
      self._iterator.set_state(_decode(position))
    else:
      for _ in range(step):
        self._draw(step)
    self.prepare(step)

  def prepare(self, step: int) -> None:
    """Draws the batch of `step` and sends it to the devices."""
    # Both at once: an interrupt may come anywhere, and what it saves must belong together.
    self.reached = Reached(step, _encode(self._iterator.get_state()) if self._stateful else None)
    if step < self._stop:
      batch = self._draw(step)
      shapes = jax.tree.map(np.shape, batch)
      if self._shapes not in (None, shapes):
        raise UserError(
          f'The batch of step {step} has the shapes {shapes}, the first one had {self._shapes}; '
          'drop or pad the last short batch.'
        )
      self._shapes = shapes
      self._batch = self._place(batch)

  def take(self) -> Any:
    return self._batch

  def _draw(self, step):
    try:
      return next(self._iterator)
    except StopIteration:
      raise UserError(
        f'The data ended before step {step} of {self._stop}; repeat them or do fewer steps.'
      ) from None


def _encode(position: Any) -> Any:
  """Makes a position fit for JSON: grain gives bytes or dicts."""
  if isinstance(position, bytes):
    return {'base64': base64.b64encode(position).decode()}
  return position


def _decode(position: Any) -> Any:
  if isinstance(position, dict) and position.keys() == {'base64'}:
    return base64.b64decode(position['base64'])
  return position

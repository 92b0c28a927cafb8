"""Ready for the loop: a problem's pure functions, spread over the devices, with its first state and
its batches.

Whatever is learned (the images of a condensed set, the weights of one network or of many) is
written as `Functions` for one device and a `Placement`, which says what each device of a mesh gets.
The rest is the same for all: `spread` makes the functions those of the mesh, `start` makes the
first state where its parts belong, `source` draws the batches from images on the devices or on
disk.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxdistill.data import streaming
from jaxdistill.numerics import settled, steady
from jaxdistill.training import batches, parallel
from jaxdistill.training.batches import ArraySource, HostSource

# What every device has whole, and what is shared out along its leading axis.
WHOLE, SHARE = PartitionSpec(), PartitionSpec(parallel.AXIS)


class Functions(NamedTuple):
  """The pure functions of a problem.

  init: (key, ...) -> state, for all devices at once.
  sample: (data, key, step) -> batch. step: (state, batch) -> (state, metrics).
  draw: `sample` as code for one device, by which the host draws the batches of streamed images.
  """

  init: Callable
  sample: Callable
  step: Callable
  draw: Callable


@dataclasses.dataclass(frozen=True, eq=False)
class Refresh:
  """What is thought of the whole data anew, now and then while a problem is trained: weights of
  examples, soft labels, neighbours, groups.

  Attributes:
    function: state -> state of the same form, made of the state alone, so that what it does at a
      step can be repeated after a restart. It must not keep or destroy arrays of the state.
    every: steps from one to the next; it comes before a step.
    first: number of the step before which it first comes, a multiple of `every`.

  Raises:
    ValueError: the numbers of steps are not such.

  >>> refresh = Refresh(lambda state: state, every=10, first=20)
  >>> [step for step in range(50) if refresh.is_due(step)]
  [20, 30, 40]
  """

  function: Callable[[Any], Any]
  every: int
  first: int = 0

  def __post_init__(self):
    if self.every < 1 or self.first < 0 or self.first % self.every:
      raise ValueError(
        'A refresh comes every so many steps, and first before a multiple of them; got '
        f'every={self.every} and first={self.first}.'
      )

  def is_due(self, step: int) -> bool:
    """Returns whether it comes before a step."""
    return step >= self.first and step % self.every == 0

  def __call__(self, state: Any) -> Any:
    """Returns the refreshed state.

    Raises:
      TypeError: it has another form.
    """
    refreshed = self.function(state)
    before, after = jax.eval_shape(lambda: state), jax.eval_shape(lambda: refreshed)
    if before != after:
      raise TypeError('A refresh gave a state of another form than it was given.')
    return refreshed


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
  """What `loop.fit` takes.

  Attributes:
    step: (state, batch) -> (state, metrics), see `loop.fit`.
    state: the first one; the loop works on a copy.
    source: of the batches.
    num_steps: length of the phase.
    rows: how many leading rows of those leaves of the state that are spread over the devices are
      real, the rest being padding to a multiple of the devices; None: all.
    epoch_steps: steps of one pass over the data, for what is to happen every so many passes; 0
      where there is no such thing.
    refresh: of the state, before some of the steps; None: none.
  """

  step: Callable
  state: Any
  source: ArraySource | HostSource
  num_steps: int
  rows: int | None = None
  epoch_steps: int = 0
  refresh: Refresh | None = None


@dataclasses.dataclass(frozen=True)
class Placement:
  """What each device of a mesh gets of a problem: `WHOLE` or `SHARE`, one for all leaves below it.

  Attributes:
    mesh: the devices; None, or a mesh of one device: nothing is spread.
    state: of the state, in its form.
    data: of the data, by entry.
    batch: of a batch: one for all of it, or by entry.
  """

  mesh: Mesh | None = None
  state: Any = WHOLE
  data: Mapping[str, PartitionSpec] = dataclasses.field(default_factory=dict)
  batch: Any = WHOLE

  @property
  def is_spread(self) -> bool:
    """Whether there are several devices."""
    return count_devices(self.mesh) > 1

  @property
  def shares_images(self) -> bool:
    """Whether every device gets other images of a batch."""
    return (self.batch['images'] if isinstance(self.batch, Mapping) else self.batch) == SHARE


def count_devices(mesh: Mesh | None) -> int:
  """Returns the number of devices of a mesh; None is the default device.

  >>> count_devices(None), count_devices(parallel.make_mesh(1))
  (1, 1)
  """
  return 1 if mesh is None else mesh.size


def padded_rows(count: int, mesh: Mesh | None) -> np.ndarray:
  """Returns which of `count` rows fill the devices evenly, see `parallel.padded_rows`.

  >>> padded_rows(3, None).tolist()
  [0, 1, 2]
  """
  return parallel.padded_rows(count, count_devices(mesh))


def spread(functions: Functions, placement: Placement) -> Functions:
  """Returns the functions of all devices: each works on what it gets, and may talk to the others.

  What `step` reports must be the same on all devices. They are the same under all settings of JAX,
  see `numerics.steady`.
  """
  if not placement.is_spread:
    return Functions(*map(steady, functions))
  mesh, state, batch = placement.mesh, placement.state, placement.batch
  sample = parallel.per_device(functions.sample, mesh, (dict(placement.data), WHOLE, WHOLE), batch)
  step = parallel.per_device(functions.step, mesh, (state, batch), (state, WHOLE))
  return Functions(*map(steady, functions._replace(sample=sample, step=step)))


@settled()
def start(functions: Functions, placement: Placement, *arguments: Any) -> Any:
  """Returns init(*arguments), every part of it made on the device that keeps it; for devices
  that are only compiled for, its form and place."""
  if parallel.is_remote(placement.mesh):
    return placed_forms(jax.eval_shape(functions.init, *arguments), placement.state, placement.mesh)
  if not placement.is_spread:
    return jax.jit(functions.init)(*arguments)
  return parallel.make_sharded(functions.init, placement.state, placement.mesh, *arguments)


@settled()
def place(data: Mapping[str, Any], placement: Placement) -> dict[str, Any]:
  """Returns the data as arrays on the devices, each entry whole or shared out as `placement` says.

  >>> place({'x': np.arange(2)}, Placement())['x'].tolist()
  [0, 1]
  """
  if parallel.is_remote(placement.mesh):
    specs = {name: placement.data.get(name, WHOLE) for name in data}
    return placed_forms(dict(data), specs, placement.mesh)
  if not placement.is_spread:
    return jax.tree.map(jnp.asarray, dict(data))
  put = {
    name: parallel.shard if placement.data[name] == SHARE else parallel.replicate for name in data
  }
  return {name: put[name](entry, placement.mesh) for name, entry in data.items()}


def placed_forms(tree: Any, specs: Any, mesh: Mesh) -> Any:
  """Returns the form of every array and where it would lie: `jax.ShapeDtypeStruct`s.

  Args:
    tree: arrays, their forms, or images that are streamed.
    specs: for the tree or parts of it, `WHOLE` or `SHARE`.
    mesh: the devices.
  """

  def form(spec, leaf):
    sharding = jax.sharding.NamedSharding(mesh, spec)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  is_spec = lambda node: isinstance(node, PartitionSpec)
  return jax.tree.map(
    lambda spec, part: jax.tree.map(lambda leaf: form(spec, leaf), part),
    specs,
    tree,
    is_leaf=is_spec,
  )


@settled()
def source(
  functions: Functions,
  placement: Placement,
  data: Mapping[str, Any],
  key: jax.Array,
  num_steps: int,
  resident: Collection[str] = (),
) -> ArraySource | HostSource:
  """Returns the batches of a problem: drawn on the devices from data that stay there, or read from
  disk where data['images'] are streamed.

  Args:
    functions: spread, see `spread`.
    placement: where the data go.
    data: entries by name, `images` among them.
    key: that of the state.
    num_steps: length of the phase.
    resident: entries that stay on the devices even where the images are streamed, and that `sample`
      hands on as they are (networks, for example).
  """
  if parallel.is_remote(placement.mesh) or not isinstance(data['images'], streaming.Streamed):
    return ArraySource(place(data, placement), functions.sample)
  kept = place({name: data[name] for name in resident}, placement)
  drawn = batches.streamed(
    {**data, **dict.fromkeys(resident, ())},
    functions.draw,
    key,
    num_steps,
    placement.mesh,
    placement.shares_images,
  )
  if not kept:
    return drawn
  put = drawn.place or functools.partial(jax.tree.map, jnp.asarray)
  return dataclasses.replace(drawn, place=lambda batch: put(batch) | kept)

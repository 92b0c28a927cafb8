"""The mesh of all devices, and how arrays and functions are spread over it.

The library's `pmap` is `per_device`: jax.jit of jax.shard_map over this mesh, which is what
jax.pmap itself has become. Code per device with collectives over a named axis, arrays without a
leading device axis, the same on one host and on many. Whatever is independent goes over the one
axis: classes when condensing, the batch when training, networks when evaluating. The number of
devices never changes a result beyond rounding: batch sizes and learning rates are those of the
whole.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.extend.backend
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxdistill import errors
from jaxdistill.errors import UserError
from jaxdistill.training import surroundings

AXIS = 'data'


def make_mesh(num_devices: int = 0) -> Mesh:
  """Returns the mesh over the first `num_devices` devices of all hosts (0: all), with the one axis
  'data'.

  Raises:
    UserError: there are not so many.

  >>> make_mesh(1).shape['data']
  1
  """
  errors.whole_numbers(num_devices=num_devices)
  devices = surroundings.devices()
  if not 0 <= num_devices <= len(devices):
    raise UserError(
      f'{num_devices} devices were asked for, more than the {len(devices)} here '
      f'({devices[0].platform}); '
      '0 takes all of them.'
    )
  devices = devices[: num_devices or len(devices)]
  idle = set(range(jax.process_count())) - {device.process_index for device in devices}
  if idle:
    raise UserError(
      f'{num_devices} devices leave process {min(idle)} of {jax.process_count()} without any; '
      'use 0 for all of them.'
    )
  # Explicit axes are the default of make_mesh; with Auto the compiler places what the program
  # leaves open.
  return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def is_remote(mesh: Mesh | None) -> bool:
  """Whether the devices of a mesh are only compiled for (see `targets`): nothing can lie there.

  >>> is_remote(make_mesh(1))
  False
  """
  if mesh is None:
    return False
  client = mesh.devices.flat[0].client
  return all(client is not one for one in jax.extend.backend.backends().values())


def replicate(tree: Any, mesh: Mesh) -> Any:
  """Puts a whole copy of every leaf on every device."""
  return jax.tree.map(lambda leaf: put(leaf, NamedSharding(mesh, PartitionSpec())), tree)


def shard(tree: Any, mesh: Mesh) -> Any:
  """Spreads the leading axis of every leaf over the devices.

  On several hosts every process passes the same whole arrays and keeps its devices' part.

  Raises:
    ValueError: a leading axis is no multiple of the number of devices; see `padded_rows`.
  """

  def spread(leaf):
    if not np.ndim(leaf) or np.shape(leaf)[0] % mesh.size:
      raise ValueError(
        f'An array of shape {np.shape(leaf)} cannot be spread over {mesh.size} devices: '
        'pad its leading axis to a multiple by padded_rows.'
      )
    return put(leaf, _spread_over(mesh))

  return jax.tree.map(spread, tree)


def own_rows(count: int, mesh: Mesh) -> np.ndarray:
  """Returns which of `count` rows, spread over the devices, lie on those of this process: ascending
  positions.

  Raises:
    ValueError: `count` is no multiple of the number of devices.

  >>> own_rows(3, make_mesh(1)).tolist()
  [0, 1, 2]
  """
  places = _spread_over(mesh).addressable_devices_indices_map((count,))
  return np.unique(np.concatenate([np.arange(count)[index] for index in places.values()]))


def shard_own(tree: Any, mesh: Mesh, count: int) -> Any:
  """Spreads `count` rows over the devices like `shard`, where every process passes its `own_rows`
  of every leaf alone.

  >>> shard_own(np.arange(2), make_mesh(1), 2).tolist()
  [0, 1]
  """
  rows = own_rows(count, mesh)

  def spread(leaf):
    def part(index):
      start, stop, _ = index[0].indices(count)
      at = np.searchsorted(rows, start)
      return leaf[at : at + stop - start]

    return jax.make_array_from_callback((count, *leaf.shape[1:]), _spread_over(mesh), part)

  return jax.tree.map(lambda leaf: spread(np.asarray(leaf)), tree)


def _spread_over(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))


def is_spread(leaf: Any) -> bool:
  """Whether the leading axis of an array is spread over several devices.

  >>> is_spread(shard(np.arange(2), make_mesh(1))), is_spread(np.arange(2))
  (False, False)
  """
  sharding = getattr(leaf, 'sharding', None)
  return (
    isinstance(sharding, NamedSharding)
    and sharding.mesh.size > 1
    and bool(sharding.spec)
    and sharding.spec[0] is not None
  )


def put(leaf: Any, sharding: jax.sharding.Sharding | None) -> jax.Array:
  """Puts an array where `sharding` says (None: the default device); a sharding over several hosts
  works too."""
  if (
    sharding is None
    or sharding.is_fully_addressable
    or isinstance(leaf, jax.Array)
    and not leaf.is_fully_addressable
  ):
    return jax.device_put(leaf, sharding)
  if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    return jax.random.wrap_key_data(
      put(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf)
    )
  # An array of this host alone and a mesh over several: each process cuts out what its devices
  # hold.
  array = np.asarray(leaf)
  return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def padded_rows(count: int, multiple: int) -> np.ndarray:
  """Returns which of `count` rows make up a multiple: all of them, then the first ones again.

  >>> padded_rows(3, 2).tolist()
  [0, 1, 2, 0]
  """
  return np.arange(-(-count // multiple) * multiple) % count


def per_device(fn: Callable, mesh: Mesh, in_specs: Any, out_specs: Any) -> Callable:
  """Returns `fn` as code per device: it sees its part of each argument and may use collectives over
  the axis 'data'.

  `in_specs` and `out_specs` are PartitionSpecs (or trees of them): P('data') for a leading axis
  that is spread, P() for what is the same on all devices. As in pmap, a gradient taken inside is
  that of the device's own part: combine with jax.lax.pmean, and give out as P() only what is equal
  on all devices.

  >>> from jax.sharding import PartitionSpec as P
  >>> total = per_device(lambda x: jax.lax.psum(x.sum(), 'data'), make_mesh(1), P('data'), P())
  >>> int(total(np.arange(4)))
  6
  """
  # check_vma tracks which values differ between devices; it makes every loop carry and constant be
  # annotated.
  return jax.jit(
    jax.shard_map(fn, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
  )


def make_sharded(fn: Callable, out_specs: Any, mesh: Mesh, *args: Any) -> Any:
  """Returns fn(*args), computed so that every part of the result arises on the device where
  `out_specs` wants it."""
  is_spec = lambda node: isinstance(node, PartitionSpec)
  shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), out_specs, is_leaf=is_spec)
  return jax.jit(fn, out_shardings=shardings)(*replicate(args, mesh))


def sum_over(tree: Any, axis: str) -> Any:
  """Returns the sum over the devices of every leaf (float32), inside per-device code, with one
  all-reduce for all of them.

  One message of all numbers, because each has a latency that no small one pays back.
  """
  leaves, structure = jax.tree.flatten(tree)
  total = jax.lax.psum(jnp.concatenate([jnp.ravel(leaf) for leaf in leaves]), axis)
  ends = np.cumsum([leaf.size for leaf in leaves])[:-1].tolist()
  return jax.tree.unflatten(
    structure, [part.reshape(leaf.shape) for part, leaf in zip(jnp.split(total, ends), leaves)]
  )


def gather(array: jax.Array) -> jax.Array:
  """Returns the whole array as every process can read it with np.asarray.

  >>> np.asarray(gather(shard(np.arange(3), make_mesh(1)))).tolist()
  [0, 1, 2]
  """
  if not isinstance(array.sharding, NamedSharding) or array.is_fully_replicated:
    return array
  return jax.device_put(array, NamedSharding(array.sharding.mesh, PartitionSpec()))


def on_host(tree: Any, rows: Any = slice(None)) -> Any:
  """Returns whole arrays as numpy arrays in every process.

  Args:
    tree: of arrays.
    rows: those of each that are wanted, an index of its first axis.

  >>> on_host({'bias': shard(np.arange(3), make_mesh(1))}, slice(2))['bias'].tolist()
  [0, 1]
  """
  return jax.tree.map(lambda leaf: np.asarray(gather(leaf))[rows], tree)


def local(array: jax.Array) -> jax.Array:
  """Returns the whole array on the first device of this process."""
  return gather(array).addressable_data(0)

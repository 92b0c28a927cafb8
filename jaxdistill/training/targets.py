"""Machines that are not here: their devices, as the compilers know them, and what a chip can do.

A program is compiled for a mesh of such devices as for any other, but nothing can be put on them or
run there: arrays are shapes with a place (`jax.ShapeDtypeStruct`).
"""

import contextlib
import importlib.util
import os
import re
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from jaxdistill import errors
from jaxdistill.training import cost, parallel


class Chip(NamedTuple):
  """What one device can do at most.

  Attributes:
    label: for people.
    memory: bytes.
    link: bytes a second that it sends to the other chips, all links together.
  """

  label: str
  memory: float
  link: float

  @property
  def bandwidth(self) -> float:
    """Bytes a second, from and to its memory."""
    return cost.peak_bandwidth(self.label)


class Target(NamedTuple):
  """A machine: how the compiler calls its devices, and what one of them is.

  Attributes:
    name: as asked for.
    topology: JAX's name of the slice; '': GPUs.
    devices: their number.
    chip: one of them.
  """

  name: str
  topology: str
  devices: int
  chip: Chip


_GIB = 2**30
# Makers' figures. TPUs: the pages of the versions in Google Cloud's documentation (HBM capacity a
# chip; interconnect bandwidth a chip, given in Gbit/s in both directions). H100 SXM5: NVIDIA's data
# sheet (80 GB, NVLink 900 GB/s in both directions). `cost` has the peaks and the bandwidths.
_CHIPS = {
  'v4': Chip('TPU v4', 32 * _GIB, 2400e9 / 8 / 2),
  'v5e': Chip('TPU v5e', 16 * _GIB, 1600e9 / 8 / 2),
  'v5p': Chip('TPU v5p', 95 * _GIB, 4800e9 / 8 / 2),
  'v6e': Chip('TPU v6e', 32 * _GIB, 3584e9 / 8 / 2),
  'h100': Chip('NVIDIA H100 SXM', 80e9, 450e9),
}
# The cloud's names of slices count cores for v4 and v5p, of which a chip has two, else chips.
_CORES = {'v4': 2, 'v5p': 2}
# Slices of one host, by chips; larger ones by the usual shape of a pod.
_SHAPES = {
  2: {1: '1x1', 4: '2x2', 8: '2x4', 16: '4x4', 32: '4x8', 64: '8x8', 128: '8x16', 256: '16x16'},
  3: {4: '2x2x1', 8: '2x2x2', 16: '2x2x4', 32: '2x4x4', 64: '4x4x4', 128: '4x4x8'},
}
_AXES = {'v4': 3, 'v5p': 3, 'v5e': 2, 'v6e': 2}
_SPELLINGS = {'v5litepod': 'v5e', 'v5lite': 'v5e', 'v5': 'v5p', 'v6': 'v6e', 'v6lite': 'v6e'}
NAMES = ('v4-8', 'v5e-1', 'v5e-4', 'v5e-16', 'v5p-8', 'v6e-4', 'h100', 'h100x8')
_MOST_GPUS = 8

# What XLA's compiler for GPUs has to know of a card that it cannot ask: NVIDIA's figures of the
# H100 SXM5 and of CUDA's compute capability 9.0.
_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584 cuda_compute_capability { major: 9 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 12 minor: 8 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
# Without a card nothing can be timed, and the compiler must not try.
_GPU_FLAGS = '--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false'
# libtpu asks the cloud's metadata server which slice it is on, unless it is told.
_TPU_ENVIRONMENT = {
  'TPU_SKIP_MDS_QUERY': '1',
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'TPU_WORKER_ID': '0',
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
}


def find(name: str) -> Target:
  """Returns the machine of a name: the cloud's ('v5e-4', 'v5litepod-4', 'v4-8'), JAX's ('v5e:2x2'),
  or GPUs ('h100', 'h100x8').

  Raises:
    UserError: there is none of this name.

  >>> find('v5e-4').topology, find('v4-8').devices, find('v6e:2x4').devices, find('h100x8').devices
  ('v5e:2x2', 4, 8, 8)
  """
  text = name.strip().lower()
  gpus = re.fullmatch(r'h100(?:x(\d+))?', text)
  if gpus and 1 <= int(gpus[1] or 1) <= _MOST_GPUS:
    return Target(name, '', int(gpus[1] or 1), _CHIPS['h100'])
  match = re.fullmatch(r'(\w+?)(?:-(\d+)|:(\d+(?:x\d+)+))', text)
  kind = match and _SPELLINGS.get(match[1], match[1])
  if kind not in _AXES:
    raise _unknown(name)
  shapes = _SHAPES[_AXES[kind]]
  if match[3]:
    sides = list(map(int, match[3].split('x')))
    shape, chips = match[3], int(np.prod(sides))
    if len(sides) != _AXES[kind] or not chips:
      raise _unknown(name)
  else:
    cores = _CORES.get(kind, 1)
    chips = int(match[2]) // cores
    if int(match[2]) % cores or chips not in shapes:
      raise _unknown(name)
    shape = shapes[chips]
  return Target(name, f'{kind}:{shape}', chips, _CHIPS[kind])


def _unknown(name: str) -> errors.UserError:
  return errors.UserError(
    f'There is no target {name!r}; known are {", ".join(NAMES)}, more slices of these by their '
    "number or by JAX's names, such as v5e:4x4, and h100x2 to h100x8."
  )


def prepare(target: Target) -> None:
  """Sets what the compiler for a machine wants to know before JAX starts here, on the CPU.

  Raises:
    UserError: its compiler is not installed.
  """
  module, extra = ('jax_cuda12_plugin', 'gpu') if not target.topology else ('libtpu', 'tpu')
  if importlib.util.find_spec(module) is None:
    raise errors.UserError(
      f'To compile for {target.name} its compiler is needed, which is not installed: '
      f"pip install 'jaxdistill[{extra}]'."
    )
  jax.config.update('jax_platforms', 'cpu')
  if target.topology:
    for variable, value in (_TPU_ENVIRONMENT | {'TPU_ACCELERATOR_TYPE': _slice(target)}).items():
      os.environ.setdefault(variable, value)
  else:
    os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {_GPU_FLAGS}'.strip()


def _slice(target: Target) -> str:
  """The cloud's name of a slice, in its longest spelling."""
  kind = target.topology.partition(':')[0]
  return f'{"v5litepod" if kind == "v5e" else kind}-{target.devices * _CORES.get(kind, 1)}'


def make_mesh(target: Target, num_devices: int = 0) -> Mesh:
  """Returns the mesh over the first `num_devices` devices of a machine (0: all), for `prepare`d
  compilers.

  Raises:
    UserError: there are not so many, or the compiler knows no such slice.
  """
  if num_devices > target.devices:
    raise errors.UserError(
      f'{num_devices} devices were asked for, and {target.name} has {target.devices}.'
    )
  devices = np.array(_devices(target))[: num_devices or None]
  return Mesh(devices, (parallel.AXIS,), axis_types=(AxisType.Auto,))


def _devices(target: Target) -> list[Any]:
  jax.devices()  # the CPU first: the compilers are guests
  if target.topology:
    options = {'chip_config_name': 'megacore'} if target.topology.startswith('v4') else {}
    if target.devices == 1:  # else the compiler counts on hosts of four
      options['chips_per_host_bounds'] = (1, 1, 1)
    devices = _described(target, target.topology, platform='tpu', **options).devices
    return sorted(devices, key=lambda device: device.id)
  _register_cuda()
  shape = f'1x1x{target.devices}'
  options = dict(platform='cuda', target_config=_H100, topology=shape)
  return _described(target, 'h100', **options).devices


def _described(target: Target, name: str, **options: Any) -> Any:
  from jax.experimental import topologies

  try:
    return topologies.get_topology_desc(name, **options)
  except Exception as error:  # a compiler's own words, of whatever type
    reason = str(error).splitlines()[0]
    raise errors.UserError(f'The compiler knows no {target.name}: {reason}') from error


def _register_cuda() -> None:
  import jax_plugins.xla_cuda12

  with contextlib.suppress(Exception):  # where JAX has looked for plugins, it knows this one
    jax_plugins.xla_cuda12.initialize()

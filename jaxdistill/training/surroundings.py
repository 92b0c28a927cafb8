"""What a process is started in: the devices that JAX has, and the settings outside of the library
that still change its numbers.

Most of JAX's settings change nothing here (`numerics`). What is left is how XLA compiles: such
settings stand in result.json and in environment.json of a work dir, which goes on under the same
ones alone, and in the names of what runs share.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from jaxdistill import files
from jaxdistill.errors import UserError

FILE = 'environment.json'
# Read by compilers and libraries below JAX, and by JAX with no way to ask for its default.
_VARIABLES = (
  'NVIDIA_TF32_OVERRIDE',
  'JAX_COMPILER_ENABLE_REMAT_PASS',
  'JAX_SOFTMAX_CUSTOM_JVP',
  'JAX_USE_DIRECT_LINEARIZE',
)
_FLAGS = ('XLA_FLAGS', 'LIBTPU_INIT_ARGS')
# Where output goes and how many devices there are: no number follows from these.
_HARMLESS = ('xla_force_host_platform_device_count', 'xla_dump_', 'xla_gpu_cuda_data_dir')
_DEFAULTS = dict(
  jax_disable_most_optimizations=False,
  jax_optimization_level='UNKNOWN',
  jax_exec_time_optimization_effort=0.0,
)
# Names that JAX has for one precision of matrix products; the default one is no setting.
_PRECISIONS = dict(
  default=None,
  fastest=None,
  bfloat16=None,
  bfloat16_3x='high',
  tensorfloat32='high',
  float32='highest',
)


def settings() -> dict[str, str]:
  """Returns the settings that still change numbers, by the name of their variable, whether they
  come from the environment or from `jax.config`; {} where there are none.

  >>> with jax.default_matmul_precision('float32'):
  ...   settings()['JAX_DEFAULT_MATMUL_PRECISION']
  'highest'
  """
  named = {name: _without_harmless(os.environ.get(name, '')) for name in _FLAGS}
  named |= {name: os.environ.get(name, '') for name in _VARIABLES}
  precision = jax.config.jax_default_matmul_precision
  named['JAX_DEFAULT_MATMUL_PRECISION'] = _PRECISIONS.get(precision, precision)
  for name, default in _DEFAULTS.items():
    value = jax.config.values.get(name, default)
    named[name.upper()] = '' if value == default else value
  return {name: str(value) for name, value in sorted(named.items()) if value}


def _without_harmless(flags: str) -> str:
  """Returns flags in the order of their names, the last value of each, as the compiler takes it."""
  values = {}
  for flag in flags.split():
    name, equals, value = flag.partition('=')
    if not name.lstrip('-').startswith(_HARMLESS):
      values[name] = f'{name}{equals}{value}'
  return ' '.join(values[name] for name in sorted(values))


def described() -> dict[str, Any]:
  """Returns what the settings add to the description of something that runs share: nothing, where
  there are none, so that it has the name that it always had.

  >>> with jax.default_matmul_precision('float32'):
  ...   described()['environment']['JAX_DEFAULT_MATMUL_PRECISION']
  'highest'
  """
  current = settings()
  return {'environment': current} if current else {}


def keep(run) -> None:
  """Keeps the settings in the work dir of a run, or sees that they are those that it was begun
  under; a work dir from before they were kept goes on under any.

  Raises:
    UserError: they are others.
  """
  current, kept = settings(), _kept(run.workdir / FILE)
  if kept is None:
    run.write_json(FILE, {'settings': current})
  elif kept != current:
    raise UserError(
      f'The work dir {run.place} was begun with {changes(kept, current)}, which changes its '
      'numbers. Use another work dir, or the same environment to continue.'
    )


def _kept(path: pathlib.Path) -> dict[str, str] | None:
  try:
    content = files.read_json(path.read_bytes())
    return {str(name): str(value) for name, value in content['settings'].items()}
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return None


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> str:
  """Returns what differs, for people.

  >>> changes({'XLA_FLAGS': '--xla_cpu_enable_fast_math=true'}, {})
  'XLA_FLAGS=--xla_cpu_enable_fast_math=true, and now XLA_FLAGS is not set'
  """

  def told(name, values, is_word):
    return f'{name}={values[name]}' if name in values else f'{name}{is_word} not set'

  names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
  before = ' and '.join(told(name, old, '') for name in names)
  return f'{before}, and now ' + ' and '.join(told(name, new, ' is') for name in names)


def devices() -> list[jax.Device]:
  """Returns the devices of all processes.

  Raises:
    UserError: JAX has none, or not the backend that was asked for.

  >>> devices()[0].platform
  'cpu'
  """
  try:
    return jax.devices()
  except (RuntimeError, AssertionError) as error:
    platforms = jax.config.jax_platforms
    if not platforms:
      raise
    reason = str(error).partition('. (set JAX_PLATFORMS')[0].strip()
    because = f' ({reason.splitlines()[0]})' if reason else ''
    raise UserError(
      f'JAX_PLATFORMS={platforms} asks for a backend that JAX does not have here{because}. Set '
      'JAX_PLATFORMS=cpu, or leave it unset for the best one there is.'
    ) from error

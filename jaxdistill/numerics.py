"""What JAX's own settings must not change: the types of numbers, random draws, compiled programs.

A flag such as JAX_ENABLE_X64, in the environment or set in Python, means something to the code
around the library. Inside it the flag would give other draws and other sums, in the middle of a
resumed run too. So whatever computes here does so under settings of its own: `settled` for a whole
job, `steady` for a pure function of arrays. Under JAX's defaults both do nothing. What no setting
can undo, such as XLA_FLAGS, is told by `training.machine.settings`.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np

# The settings of jax.config inside the library. Of those for debugging: the loop looks after every
# loss and every state itself, a class without images has no accuracy (NaN), and one key is folded
# with many numbers.
FIXED = dict(
  jax_threefry_partitionable=True,
  jax_default_prng_impl='threefry2x32',
  jax_legacy_prng_key='allow',
  jax_debug_key_reuse=False,
  jax_numpy_dtype_promotion='standard',
  jax_disable_jit=False,
  jax_debug_nans=False,
  jax_debug_infs=False,
  jax_no_tracing=False,
  jax_no_execution=False,
)
_GUARDS = ('', '_host_to_device', '_device_to_device', '_device_to_host')
_NARROW = {'float64': 'float32', 'complex128': 'complex64', 'int64': 'int32', 'uint64': 'uint32'}

_Function = TypeVar('_Function', bound=Callable)


@contextlib.contextmanager
def settled(x64: bool | None = False) -> Iterator[None]:
  """Computes the block, or as a decorator the function, under the library's own settings of JAX.

  Only settings that differ are touched, and in this thread alone, so that under JAX's defaults
  nothing is traced or compiled anew.

  Args:
    x64: whether numbers of 64 bits exist; None: as outside.

  >>> import jax.numpy as jnp
  >>> with jax.enable_x64(True), settled():
  ...   jnp.arange(2).dtype
  dtype('int32')
  """
  with contextlib.ExitStack() as stack:
    if x64 is not None and jax.config.jax_enable_x64 != x64:
      stack.enter_context(jax.enable_x64(x64))
    for name, value in FIXED.items():
      if getattr(jax.config, name, value) != value:
        stack.enter_context(getattr(jax, name.removeprefix('jax_'))(value))
    guards = [getattr(jax.config, f'jax_transfer_guard{way}', None) for way in _GUARDS]
    if any('disallow' in (guard or '') for guard in guards):
      stack.enter_context(jax.transfer_guard('allow'))
    yield


def steady(function: _Function) -> _Function:
  """Makes a pure function of arrays the same under all settings of JAX, as `settled` does.

  Arrays of 64-bit floats, which exist under JAX_ENABLE_X64 alone, are computed with as they are;
  without one among the arguments everything is 32 bits wide.

  >>> import jax.numpy as jnp
  >>> with jax.enable_x64(True):
  ...   steady(lambda x: x / jnp.arange(1, 3))(jnp.ones(2, jnp.float32)).dtype
  dtype('float32')
  """

  @functools.wraps(function)
  def wrapped(*args, **kwargs):
    if not jax.config.jax_enable_x64:
      with settled(None):
        return function(*args, **kwargs)
    leaves = jax.tree.leaves((args, kwargs))
    if any(map(_is_wide_float, leaves)):
      with settled(None):
        return function(*args, **kwargs)
    if any(map(_narrows, leaves)):
      args, kwargs = jax.tree.map(_narrowed, (args, kwargs))
    with settled():
      return function(*args, **kwargs)

  return wrapped


def _is_wide_float(leaf: Any) -> bool:
  """Whether an argument asks for 64 bits; a number of NumPy's among arrays does not."""
  is_array = isinstance(leaf, jax.Array | np.ndarray) and leaf.ndim
  return bool(is_array) and leaf.dtype in (np.float64, np.complex128)


def _narrows(leaf: Any) -> bool:
  return isinstance(leaf, jax.Array) and leaf.dtype.name in _NARROW


def _narrowed(leaf: Any) -> Any:
  return leaf.astype(_NARROW[leaf.dtype.name]) if _narrows(leaf) else leaf

"""For which platform code is being traced: that of the devices which it is compiled for.

What suits one platform is slow on another (a convolution's form, how networks share a program), so
such choices ask here and not for the default backend, which may be another one: a mesh of CPU
devices on a machine with GPUs, or a machine that is only compiled for.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_platform: contextvars.ContextVar[str | None] = contextvars.ContextVar('platform', default=None)


@contextlib.contextmanager
def compiling_for(platform: str) -> Iterator[None]:
  """Says that what is traced in this block is compiled for devices of this platform.

  >>> with compiling_for('tpu'):
  ...   platform()
  'tpu'
  """
  token = _platform.set(platform)
  try:
    yield
  finally:
    _platform.reset(token)


def platform() -> str:
  """Returns the platform that code is traced for: 'cpu', 'gpu', 'tpu'; unless it is said, the
  default backend.

  >>> platform() == jax.default_backend()
  True
  """
  return _platform.get() or jax.default_backend()

"""A process that this one starts: its environment, and its end."""

import contextlib
import math
import os
import pathlib
import subprocess
import time
from collections.abc import Iterator

from jaxdistill.training import interrupt

_LOOK_SECONDS = 0.1


def environment(devices: int = 0) -> dict[str, str]:
  """Returns the environment in which a Python process finds this very package, from whatever folder
  it is started.

  Args:
    devices: fake CPU devices that the process has; 0 leaves it those of the machine.

  >>> environment(2)['JAX_PLATFORMS']
  'cpu'
  """
  package = str(pathlib.Path(__file__).parents[2])
  path = os.pathsep.join(filter(None, [package, os.environ.get('PYTHONPATH')]))
  return os.environ | {'PYTHONPATH': path} | (fake_devices(devices) if devices else {})


@contextlib.contextmanager
def ended(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
  """Ends the process with the block, if it has not ended by itself."""
  try:
    yield process
  finally:
    if process.poll() is None:
      process.kill()
      process.wait()


def read(process: subprocess.Popen, seconds: float = math.inf) -> tuple[str, str]:
  """Returns what a process prints to its end, and stops waiting for it at a signal.

  One that takes longer than `seconds` is ended: its `returncode` is then negative, and what it has
  printed until then is returned.
  """
  until = time.monotonic() + seconds
  with ended(process):
    while True:
      try:
        return process.communicate(timeout=_LOOK_SECONDS)
      except subprocess.TimeoutExpired:
        interrupt.check()
        if time.monotonic() > until:
          process.kill()


def fake_devices(count: int) -> dict[str, str]:
  """Returns what an environment needs for a process to have so many fake CPU devices.

  >>> fake_devices(2)['XLA_FLAGS'].split()[-1]
  '--xla_force_host_platform_device_count=2'
  """
  return {
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} '
    f'--xla_force_host_platform_device_count={count}'.strip(),
  }

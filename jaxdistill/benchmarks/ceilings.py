"""What a device reaches at most: a large matrix product, and a large array read and written.

A command, `python -m jaxdistill.benchmarks.ceilings`; prints a line of JSON with the machine, and
then one with the ceilings as well.
"""

import argparse
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

import jaxdistill
from jaxdistill import config, files, terminal
from jaxdistill.benchmarks import timing
from jaxdistill.numerics import settled
from jaxdistill.training.machine import environment, memory_bytes

DTYPES = ('float32', 'bfloat16')
# Of the product, and of the array: enough to fill the device, little beside its memory.
_SIDES = {'cpu': 1024, '': 8192}
_MIB = {'cpu': 256, '': 1024}
_CALLS = 10  # of a function that are timed together


def machine() -> dict[str, Any]:
  """Returns where figures are from: the environment, the device's memory and a hash of the code,
  since a copy of a checkout has no commit.

  >>> len(machine()['code'])
  16
  """
  package = pathlib.Path(jaxdistill.__file__).parent
  texts = {}
  for folder in {package, config.root()}:
    for path in folder.rglob('*.py'):
      texts[f'{folder.name}/{path.relative_to(folder).as_posix()}'] = path.read_text('utf-8')
  return environment() | {'memory_bytes': memory_bytes(), 'code': files.content_hash([], texts)}


@settled()
def measure(side: int = 0, mib: int = 0) -> dict[str, Any]:
  """Returns flops_per_s by the type that is multiplied, and bytes_per_s.

  float32 is multiplied as XLA does unless told otherwise: in TensorFloat-32 where the device has
  it.

  Args:
    side: of the matrices; 0: by the platform.
    mib: of the array; 0: by the platform.

  >>> sorted(measure(side=8, mib=1))
  ['bytes_per_s', 'flops_per_s']
  """
  platform = jax.default_backend()
  side = side or _SIDES.get(platform, _SIDES[''])
  numbers = 2**18 * (mib or _MIB.get(platform, _MIB['']))
  product = jax.jit(lambda a: a @ a)
  flops_per_s = {}
  for dtype in DTYPES:
    matrix = jax.random.normal(jax.random.key(0), (side, side), jnp.float32).astype(dtype)
    flops_per_s[dtype] = 2 * side**3 / _seconds(product, matrix)
  moved = jax.jit(lambda x: x + 1)
  array = jnp.zeros(numbers, jnp.float32)
  return {'flops_per_s': flops_per_s, 'bytes_per_s': 2 * array.nbytes / _seconds(moved, array)}


def _seconds(function: Callable, argument: jax.Array) -> float:
  several = lambda x: [function(x) for _ in range(_CALLS)][-1]
  return timing.median_seconds(several, [argument]) / _CALLS


def main(argv: Sequence[str] | None = None) -> None:
  """Prints the machine and, but for --machine-only, what it reaches."""
  parser = argparse.ArgumentParser(description=main.__doc__)
  parser.add_argument('--machine-only', action='store_true')
  told = {'machine': machine()}
  terminal.line(json.dumps(told))
  if not parser.parse_args(argv).machine_only:
    terminal.line(json.dumps(told | measure()))


if __name__ == '__main__':
  main()

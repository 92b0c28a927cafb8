"""What a device reaches at most: a large matrix product, and a large array read and written.

A command, `python -m jaxdistill.benchmarks.ceilings`; prints a line of JSON with the machine, and
then one with the ceilings as well.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxdistill import terminal
from jaxdistill.benchmarks import timing
from jaxdistill.numerics import settled
from jaxdistill.training.machine import environment, memory_bytes

DTYPES = ('float32', 'bfloat16')
# Of the product, and of the array: enough to fill the device, little beside its memory.
_SIDES = {'cpu': 1024, '': 8192}
_MIB = {'cpu': 256, '': 1024}
_CALLS = 10  # of a function that are timed together


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
  machine = {'machine': environment() | {'memory_bytes': memory_bytes()}}
  terminal.line(json.dumps(machine))
  if not parser.parse_args(argv).machine_only:
    terminal.line(json.dumps(machine | measure()))


if __name__ == '__main__':
  main()

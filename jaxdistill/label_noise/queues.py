"""Queues of the last rows that a network gave, as memories of a loss: first in, first out."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws
from jaxdistill.errors import UserError
from jaxdistill.numerics import steady

# Where the next row goes, among the entries of a queue.
HEAD = 'head'
# The images that the rows are of; -1 where there is no row yet.
INDEX = 'index'


def empty(length: int, **widths: int) -> dict[str, jax.Array]:
  """Returns a queue without rows: 'index' int [length] of -1, 'head' 0, and float [length, width]
  of each name.

  >>> empty(2, vectors=3)['index'].tolist()
  [-1, -1]
  """
  rows = {name: jnp.zeros((length, width), jnp.float32) for name, width in widths.items()}
  return {**rows, INDEX: jnp.full(length, -1, jnp.int32), HEAD: jnp.int32(0)}


@steady
def random(key: jax.Array, length: int, width: int) -> dict[str, jax.Array]:
  """Returns a queue that is full of noise: 'vectors' [length, width] uniform in +-sqrt(3 / width),
  of length 1 in the mean.

  Source: the public code of MoCo's memory that Sel-CL uses.

  >>> random(jax.random.key(0), 4, 3)['vectors'].shape
  (4, 3)
  """
  most = float(np.sqrt(3 / width))
  return {'vectors': draws.uniform(key, (length, width), -most, most), HEAD: jnp.int32(0)}


@steady
def enter(
  queue: Mapping[str, jax.Array], rows: Mapping[str, jax.Array], weight: jax.Array
) -> tuple[dict[str, Any], jax.Array]:
  """Returns the queue with the rows in place of the oldest, and the place of each row: int [m], the
  queue's length for a row of weight 0, which does not enter.

  No gradient goes through the queue.

  Args:
    queue: arrays [length, ...] by name, and 'head'.
    rows: arrays [m, ...] by name, m at most the length.
    weight: [m].

  >>> queue, places = enter(empty(3), {'index': jnp.array([5, 6])}, jnp.array([1.0, 0.0]))
  >>> queue['index'].tolist(), int(queue['head']), places.tolist()
  ([5, -1, -1], 1, [0, 3])
  """
  length = next(len(rows) for name, rows in queue.items() if name != HEAD)
  order = jnp.cumsum(weight > 0)
  places = jnp.where(weight > 0, (queue[HEAD] + order - 1) % length, length)
  entered = {
    name: queue[name].at[places].set(jax.lax.stop_gradient(new), mode='drop')
    for name, new in rows.items()
  }
  head = ((queue[HEAD] + order[-1]) % length).astype(jnp.int32)
  return {**entered, HEAD: head}, places


def check(name: str, length: int, rows: int) -> None:
  """Raises `UserError` for a queue that one step would overrun.

  >>> check('queue', 3, 4)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: queue is 3; a step brings 4 rows, so it must be at least 4.
  """
  if length < rows:
    raise UserError(
      f'{name} is {length}; a step brings {rows} rows, so it must be at least {rows}.'
    )

"""A batch that is spread over devices: its rows for losses that compare them with each other, its
statistics for batch normalisation."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxdistill.models import normalisation
from jaxdistill.training import parallel

_axis = contextvars.ContextVar('axis of the batch', default=None)


def all_rows(rows: jax.Array) -> jax.Array:
  """Returns the rows of the whole batch inside an objective, whose own part [n, ...] may be one
  device's; for losses that compare the rows of a batch with each other.

  The gradient flows back to the device that each row is from.

  >>> all_rows(jnp.arange(2)).tolist()
  [0, 1]
  """
  axis = _axis.get()
  return rows if axis is None else jax.lax.all_gather(rows, axis, tiled=True)


def row_numbers(count: int) -> jax.Array:
  """Returns where `count` rows of this device's part of a batch stand in `all_rows`: int [count].

  >>> row_numbers(3).tolist()
  [0, 1, 2]
  """
  axis = _axis.get()
  first = 0 if axis is None else jax.lax.axis_index(axis) * count
  return first + jnp.arange(count)


def summed(tree: Any) -> Any:
  """Returns the sums over the devices that share the batch, of numbers that each has of its own
  part; as they are where it is not shared.

  >>> summed({'a': jnp.float32(2.0)})
  {'a': Array(2., dtype=float32)}
  """
  axis = _axis.get()
  return tree if axis is None else parallel.sum_over(tree, axis)


@contextlib.contextmanager
def sharing(axis: str | None) -> Iterator[None]:
  """Inside, while per-device code is traced, a batch is spread over the devices along an axis: of
  the whole of it are `all_rows` and the statistics of batch normalisation. None: it is not."""
  token = _axis.set(axis)
  try:
    with normalisation.synchronised(axis):
      yield
  finally:
    _axis.reset(token)

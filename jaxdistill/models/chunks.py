"""A few images at a time, in a compiled loop, so that a CPU's cache holds what is between."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def size(images: int, bytes_each: int, bytes_at_once: int) -> int:
  """Returns how many images are taken at a time: as many as fit, evenly shared out.

  >>> size(10, 100, 450), size(10, 100, 10_000), size(3, 100, 1)
  (4, 10, 1)
  """
  most = max(1, bytes_at_once // bytes_each)
  return max(1, -(-images // -(-images // most))) if images else 1


def over(function: Callable, x: jax.Array, size: int) -> jax.Array:
  """Returns function(x), a function of each image alone, taken `size` images at a time.

  >>> over(lambda x: 2 * x, jnp.arange(5.), 2).tolist()
  [0.0, 2.0, 4.0, 6.0, 8.0]
  """
  if size >= len(x):
    return function(x)
  y = jax.lax.map(function, _shared_out(x, size))
  return y.reshape(-1, *y.shape[2:])[: len(x)]


def total(function: Callable, arrays: Any, size: int) -> Any:
  """Returns function(*arrays), a sum over images that is 0 for images that are 0, taken `size` at a
  time.

  >>> total(lambda x, y: (x * y).sum(), (jnp.arange(5.), jnp.ones(5)), 2).tolist()
  10.0
  """
  images = len(jax.tree.leaves(arrays)[0])
  if size >= images:
    return function(*arrays)
  parts = jax.tree.map(lambda x: _shared_out(x, size), arrays)
  start = jax.tree.map(
    lambda like: jnp.zeros(like.shape, like.dtype),
    jax.eval_shape(function, *jax.tree.map(lambda x: x[0], parts)),
  )
  add = lambda sums, part: (jax.tree.map(jnp.add, sums, function(*part)), None)
  return jax.lax.scan(add, start, parts)[0]


def _shared_out(x, size):
  """[n, ...] -> [ceil(n / size), size, ...], filled up with 0."""
  rest = -len(x) % size
  x = jnp.pad(x, ((0, rest), *((0, 0) for _ in x.shape[1:]))) if rest else x
  return x.reshape(-1, size, *x.shape[1:])

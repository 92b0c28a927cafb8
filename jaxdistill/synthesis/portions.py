"""Classes taken in portions, where cache or memory ask for it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdistill import backend
from jaxdistill.models import convolution

# About two classes of CIFAR with 128 real and 40 synthetic images.
_PIXELS_AT_ONCE = 400_000


def by_portions(function: Callable, at_once: int, pixels: int) -> Callable:
  """Applies a function of leading axis `classes` to portions of `at_once` classes and joins the
  results.

  The portions are a loop, what is left over comes behind it. By default there is one portion, on
  the CPU as many as keep a portion's activations near the cache. `at_once` that is given, and not
  0, also bounds the memory. `pixels` counts those of a class.

  In a loop a CPU's own convolutions would crawl; those of `models.convolution` take a form that
  does not. A network with others gets portions that stand one after the other in the program.
  """

  def mapped(*args):
    classes = jax.tree.leaves(args)[0].shape[0]
    on_cpu = backend.platform() == 'cpu'
    fitting = max(1, _PIXELS_AT_ONCE // pixels) if on_cpu else classes
    size = min(at_once or fitting, classes)
    if size == classes:
      return function(*args)
    slow = on_cpu and _has_slow_convolutions(function, jax.tree.map(lambda a: a[:size], args))
    whole = 0 if slow else classes // size * size  # in a loop; the others one by one
    parts = []
    if whole:
      stacked = jax.tree.map(lambda a: a[:whole].reshape(whole // size, size, *a.shape[1:]), args)
      with convolution.inside_loop():
        results = jax.lax.map(lambda portion: function(*portion), stacked)
      parts.append(jax.tree.map(lambda a: a.reshape(whole, *a.shape[2:]), results))
    for start in range(whole, classes, size):
      portion = jax.tree.map(lambda a, start=start: a[start : start + size], args)
      parts.append(function(*(_after(portion, parts[-1]) if at_once and parts else portion)))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

  return mapped


def _has_slow_convolutions(function: Callable, args: Any) -> bool:
  with convolution.inside_loop():
    return 'conv_general_dilated' in str(jax.make_jaxpr(function)(*args))


def _after(args: Any, result: Any) -> Any:
  """Returns `args` as they are, but known to the compiler only after `result`.

  XLA's scheduler for CPUs starts all portions that do not depend on each other, and so holds the
  memory of all. An optimisation barrier is gone before it schedules; a zero that it cannot foresee
  is not.
  """
  zero = jnp.minimum(jnp.abs(jax.tree.leaves(result)[-1].ravel()[0]), 0)
  is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
  return jax.tree.map(lambda leaf: leaf if is_key(leaf) else leaf + zero.astype(leaf.dtype), args)

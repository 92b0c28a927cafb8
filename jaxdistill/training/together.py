"""How several networks of one form share a compiled program."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdistill import backend, errors
from jaxdistill.models import convolution

WAYS = ('vmap', 'unroll')


def choose_way(way: str) -> str:
  """Returns how several networks share one program: on the CPU 'unroll', elsewhere 'vmap'
  (BUILD_NOTES.md has the times)."""
  if way == 'auto':
    return 'unroll' if backend.platform() == 'cpu' else 'vmap'
  if way not in WAYS:
    raise errors.unknown('way to run several networks', way, (*WAYS, 'auto'))
  return way


def over_networks(function: Callable, way: str) -> Callable:
  """Maps a function of one network over the leading axis of its arguments, in one program. 'auto'
  is decided when it is traced.

  >>> import jax.numpy as jnp
  >>> over_networks(lambda a, b: a * b, 'unroll')(jnp.arange(3), jnp.arange(3)).tolist()
  [0, 1, 4]
  """

  def mapped(*args):
    if choose_way(way) == 'vmap':
      with convolution.inside_loop():
        return jax.vmap(function)(*args)
    networks = jax.tree.leaves(args)[0].shape[0]
    results = [function(*jax.tree.map(lambda a, i=i: a[i], args)) for i in range(networks)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

  return mapped

"""How several networks of one form share a compiled program."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdistill import backend, errors
from jaxdistill.models import convolution

WAYS = ('vmap', 'unroll', 'loop')
# More networks share a CPU's program in a loop: one after the other, each would be compiled anew.
MOST_UNROLLED = 5


def choose_way(way: str, networks: int = 1) -> str:
  """Returns how several networks share one program: on a TPU 'loop', elsewhere 'unroll', on a CPU
  up to `MOST_UNROLLED` of them.

  'vmap' makes convolutions in groups, whose gradients are slow on a CPU and on GPUs. 'unroll' and
  'loop' run one network after the other: in a loop wide networks lose up to a fifth of a CPU's
  speed, small ones nothing, and a GPU moves the weights once more for it, while on a TPU one
  network at a time stays on the chip. BUILD_NOTES.md has the figures.
  """
  if way == 'auto':
    many = backend.platform() == 'cpu' and networks > MOST_UNROLLED
    return 'loop' if many or backend.platform() == 'tpu' else 'unroll'
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
    chosen = choose_way(way, len(jax.tree.leaves(args)[0]))
    if chosen == 'unroll':
      return _one_by_one(function, args)
    with convolution.inside_loop():
      if chosen == 'vmap':
        return jax.vmap(function)(*args)
      return jax.lax.map(lambda one: function(*one), args)

  return mapped


def _one_by_one(function, args):
  networks = jax.tree.leaves(args)[0].shape[0]
  results = [function(*jax.tree.map(lambda a, i=i: a[i], args)) for i in range(networks)]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

"""The gradient of a part of a loss, cut to a norm before it is added to that of the rest."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdistill.training import whole_batch

_TINY = 1e-12


def clipped(params: Any, bound: float) -> Any:
  """Returns parameters as they are; what is computed from the result has a gradient into `params`
  whose global norm is at most `bound`.

      g <- g min(1, bound / ||g||),   ||g|| over all leaves and over the whole batch

  Losses of the parameters themselves, beside those of the result, have theirs uncut: so
  grad(f(p) + h(clipped(p, b))) is grad f + cut(grad h). Both are computed forwards from the same
  numbers, which a compiler does once.

  Args:
    params: a tree of arrays.
    bound: the norm, above 0.

  >>> loss = lambda p: p @ jnp.array([3.0, 4.0]) + clipped(p, 1.0) @ jnp.array([6.0, 8.0])
  >>> [round(float(slope), 4) for slope in jax.grad(loss)(jnp.zeros(2))]   # (3, 4) and (.6, .8)
  [3.6, 4.8]
  """

  @jax.custom_vjp
  def same(params):
    return params

  def forward(params):
    return params, None

  def backward(_, gradient):
    norm = optax.tree.norm(whole_batch.summed(gradient))
    factor = jnp.minimum(1, bound / jnp.maximum(norm, _TINY))
    return (jax.tree.map(lambda leaf: (factor * leaf).astype(leaf.dtype), gradient),)

  same.defvjp(forward, backward)
  return same(params)

"""Steps away from the weights of a network that raise a loss, as long as a fixed share of the
weights: pure functions of trees of arrays."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from jaxdistill.models import convolution

Norms = Literal['global', 'layer']
_TINY = 1e-20  # in place of a length of 0, as in the public codes


def kernels(params: Any) -> Any:
  """Returns which arrays are perturbed: those of two axes or more, the kernels of convolutions and
  linear layers; no bias, no scale of a normalisation.

  >>> kernels({'kernel': jnp.ones((2, 3)), 'bias': jnp.ones(3)})
  {'bias': False, 'kernel': True}
  """
  return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def ascended(
  gradient: Callable[[Any], Any],
  params: Any,
  *,
  gamma: float,
  steps: int = 1,
  rate: float = 1.0,
  norms: Norms = 'global',
) -> Any:
  """Returns w + v, where v is as long as gamma times w and raises a loss.

      u <- u + rate · gradient(w + v),   v <- gamma · ||w|| / ||u|| · u,   from u = v = 0

  u and v live on the `kernels` alone, elsewhere they are 0. Only the direction of u matters. Where
  every gradient is 0, v is 0.

  Args:
    gradient: of the loss, over the whole batch, at any parameters.
    params: w, a tree of arrays.
    gamma: share of the weights' length.
    steps: how often u grows.
    rate: of a step; of several it weighs all alike.
    norms: 'global': lengths are those of all kernels together; 'layer': each kernel has its own.

  >>> w = {'kernel': jnp.array([[3.0, 4.0]]), 'bias': jnp.array([7.0])}
  >>> slope = lambda w: {'kernel': jnp.array([[1.0, 0.0]]), 'bias': jnp.array([5.0])}
  >>> moved = ascended(slope, w, gamma=0.5)
  >>> moved['kernel'].tolist(), moved['bias'].tolist()   # 3 + .5 · 5
  ([[5.5, 4.0]], [7.0])
  """
  chosen = kernels(params)
  mine = lambda tree: jax.tree.map(
    lambda leaf, taken: leaf if taken else jnp.zeros_like(leaf), tree, chosen
  )
  weights = mine(params)

  def ascend(ascent, change):
    slope = mine(gradient(optax.tree.add(params, change)))
    ascent = jax.tree.map(lambda u, g: u + rate * g, ascent, slope)
    return ascent, scaled(ascent, weights, gamma, norms)

  nothing = optax.tree.zeros_like(params)
  if steps == 1:
    _, change = ascend(nothing, nothing)
  else:
    with convolution.inside_loop():
      (_, change), _ = jax.lax.scan(
        lambda carry, _: (ascend(*carry), None), (nothing, nothing), None, length=steps
      )
  return optax.tree.add(params, change)


def scaled(direction: Any, weights: Any, gamma: float, norms: Norms) -> Any:
  """Returns a direction with gamma times the length of the weights.

  >>> scaled({'a': jnp.array([2.0])}, {'a': jnp.array([4.0])}, 0.5, 'layer')['a'].tolist()
  [2.0]
  """
  if norms == 'global':
    factor = _factor(optax.tree.norm(direction), optax.tree.norm(weights), gamma)
    return jax.tree.map(lambda u: factor * u, direction)
  return jax.tree.map(
    lambda u, w: _factor(optax.tree.norm(u), optax.tree.norm(w), gamma) * u, direction, weights
  )


def _factor(length, weight_length, gamma):
  return gamma * weight_length / (length + _TINY)

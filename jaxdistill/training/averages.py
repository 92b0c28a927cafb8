"""The exponential average of a network's weights over its training, as pure functions.

`init` and `update` average one tree; `Average` says as a value how the collections of a network are
averaged. The average is float32 whatever the weights are, since in bfloat16 a share of 1e-3 is
lost.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.numerics import steady

STATISTICS = ('copied', 'averaged')


@steady
def init(params: Any) -> Any:
  """Returns the average before the first step: the weights themselves, in float32.

  >>> init({'w': jnp.ones(2, jnp.bfloat16)})['w'].dtype
  dtype('float32')
  """
  return jax.tree.map(_float32, params)


@steady
def update(
  average: Any, params: Any, step: jax.Array | int, decay: float, warmup: bool = False
) -> Any:
  """Returns the average after one more step.

      average ← average + (1 - d) · (params - average),   d = decay
      with warmup: d = min(decay, (1 + step) / (10 + step))

  In this form a weight that does not change keeps its average bit for bit. Leaves that are no
  floating-point numbers (counters) are copied.

  Args:
    average: of `init` or the step before.
    params: the weights behind the step, of the same form.
    step: the number of the step, from 0.
    decay: the share that is kept, from 0 to below 1.
    warmup: whether the first steps, which the start would dominate else, keep less.

  Source: Polyak and Juditsky, 1992, for averaging; the warm-up is that of TensorFlow's
  ExponentialMovingAverage with num_updates = step. That `step` is 0 at the first update is our own
  choice.

  >>> float(update(jnp.float32(1.0), jnp.float32(3.0), step=0, decay=0.75))
  1.5
  >>> round(float(update(jnp.float32(1.0), jnp.float32(3.0), 0, decay=0.75, warmup=True)), 3)
  2.8
  """
  _check_decay(decay)
  kept = jnp.float32(decay)
  if warmup:
    step = jnp.asarray(step, jnp.float32)
    kept = jnp.minimum(kept, (1 + step) / (10 + step))

  def move(mean, leaf):
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
      return jnp.asarray(leaf)
    return mean + (1 - kept) * (jnp.asarray(leaf, jnp.float32) - mean)

  return jax.tree.map(move, average, params)


@dataclasses.dataclass(frozen=True)
class Average:
  """How the variables of a network are averaged.

  >>> average = Average(decay=0.5)
  >>> first = {'params': {'w': jnp.float32(1.0)}, 'batch_stats': {'mean': jnp.float32(0.0)}}
  >>> later = {'params': {'w': jnp.float32(3.0)}, 'batch_stats': {'mean': jnp.float32(7.0)}}
  >>> jax.tree.map(float, average.update(average.init(first), later, step=0))
  {'batch_stats': {'mean': 7.0}, 'params': {'w': 2.0}}

  Attributes:
    decay: the share that a step keeps.
    warmup: whether the first steps keep less, see `update`.
    statistics: what becomes of the collections beside 'params' (running statistics, which are
      averages themselves): 'copied' as they stand, or 'averaged' like the weights. Papers do not
      say; the default is our own choice.
  """

  decay: float = 0.999
  warmup: bool = False
  statistics: str = 'copied'

  def __post_init__(self):
    _check_decay(self.decay)
    if self.statistics not in STATISTICS:
      raise errors.unknown('way with the statistics', self.statistics, STATISTICS)

  def init(self, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the average before the first step, with all collections of `variables`.

    >>> jax.tree.map(float, Average().init({'params': {'w': jnp.float32(1.0)}}))
    {'params': {'w': 1.0}}
    """
    return {
      name: init(tree) if self._is_averaged(name) else jax.tree.map(jnp.array, tree)
      for name, tree in variables.items()
    }

  def update(
    self, average: Mapping[str, Any], variables: Mapping[str, Any], step: jax.Array | int
  ) -> dict[str, Any]:
    """Returns the average behind step number `step`; as variables it goes where the network's own
    go.

    >>> ones = {'params': {'w': jnp.float32(1.0)}}
    >>> float(Average(0.5).update(ones, {'params': {'w': jnp.float32(2.0)}}, 0)['params']['w'])
    1.5
    """
    return {
      name: update(average[name], tree, step, self.decay, self.warmup)
      if self._is_averaged(name)
      else tree
      for name, tree in variables.items()
    }

  def _is_averaged(self, collection):
    return collection == 'params' or self.statistics == 'averaged'


def _float32(leaf):
  # A copy: a step may reuse the memory of the weights.
  is_float = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
  return jnp.array(leaf, jnp.float32 if is_float else None)


def _check_decay(decay):
  errors.real_numbers(decay=decay)
  if not (0 <= decay < 1 and math.isfinite(decay)):
    raise errors.UserError(f'The decay of an average must be at least 0 and below 1, not {decay}.')

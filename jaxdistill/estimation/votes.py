"""What a crowd says of each example when all annotators count alike."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdistill.data.crowds import Crowd
from jaxdistill.numerics import steady


@steady
@jax.jit
def counts(crowd: Crowd) -> jax.Array:
  """Returns how many annotators gave each label to each example, int32 [n, C].

  >>> counts(Crowd.from_table([[1, 1, 0], [2, -1, -1]], classes=3)).tolist()
  [[1, 2, 0], [0, 0, 1]]
  """
  cell = jnp.asarray(crowd.example) * crowd.num_classes + jnp.asarray(crowd.label)
  cells = crowd.num_examples * crowd.num_classes
  return jax.ops.segment_sum(jnp.ones_like(cell), cell, cells).reshape(
    crowd.num_examples, crowd.num_classes
  )


@steady
@jax.jit
def soft(crowd: Crowd) -> jax.Array:
  """Returns the share of an example's annotators who gave it each label, float32 [n, C]: the soft
  majority vote.

  >>> soft(Crowd.from_table([[1, 1, 0, 0], [2, -1, -1, 1]], classes=3)).tolist()
  [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
  """
  votes = counts(crowd).astype(jnp.float32)
  return votes / votes.sum(1, keepdims=True)


@steady
@jax.jit
def majority(crowd: Crowd) -> jax.Array:
  """Returns the label that most annotators gave, int32 [n]; a tie goes to the lowest.

  >>> majority(Crowd.from_table([[1, 1, 0], [2, -1, 1]], classes=3)).tolist()
  [1, 1]
  """
  return jnp.argmax(counts(crowd), axis=1).astype(jnp.int32)


@steady
def with_gold(beliefs: jax.Array, gold: ArrayLike | None) -> jax.Array:
  """Returns beliefs [n, C] with certainty in place of those whose label is known.

  Args:
    beliefs: rows that sum to 1.
    gold: int [n], -1 where the label is not known; None: nowhere.

  >>> with_gold(jnp.full((2, 2), 0.5), [-1, 1]).tolist()
  [[0.5, 0.5], [0.0, 1.0]]
  """
  if gold is None:
    return beliefs
  gold = jnp.asarray(np.asarray(gold, np.int32) if isinstance(gold, list) else gold)
  certain = jax.nn.one_hot(gold, beliefs.shape[1], dtype=beliefs.dtype)
  return jnp.where((gold >= 0)[:, None], certain, beliefs)

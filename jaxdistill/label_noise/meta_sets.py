"""Small sets of examples with labels that a network finds most plausible, as many of each class: on
plain arrays."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np


class MetaSet(NamedTuple):
  """M examples, the classes one after the other.

  examples: positions, int32 [M]. labels: int32 [M]. weights: float32 [M], 0 where a class has too
    few examples that somebody called so.
  """

  examples: np.ndarray
  labels: np.ndarray
  weights: np.ndarray


def smallest_losses(
  logits: np.ndarray, counts: np.ndarray, per_class: int, duplicates: bool = False
) -> MetaSet:
  """Returns, of every class c, the examples with the smallest cross-entropy to c among those that
  some annotator called c.

  Args:
    logits: [n, C].
    counts: how often each class was said of each example, int [n, C].
    per_class: examples of a class.
    duplicates: whether an example is taken once for every annotator who called it c, in place of
      once.

  Source: the meta set of CCC (Zhang et al., AAAI 2024), whose public code has the duplicates.

  >>> logits = np.array([[3.0, 0.0], [1.0, 0.0], [0.0, 9.0], [2.0, 0.0]])
  >>> counts = np.array([[1, 0], [2, 1], [0, 1], [1, 0]])
  >>> chosen = smallest_losses(logits, counts, per_class=2)
  >>> chosen.examples.tolist(), chosen.labels.tolist()
  ([0, 3, 2, 1], [0, 0, 1, 1])
  >>> smallest_losses(logits, counts, per_class=3, duplicates=True).weights.tolist()
  [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
  """
  logits = np.asarray(logits, np.float64)
  top = logits.max(1, keepdims=True)
  losses = np.log(np.exp(logits - top).sum(1, keepdims=True)) + top - logits
  classes = counts.shape[1]
  examples = np.zeros((classes, per_class), np.int32)
  weights = np.zeros((classes, per_class), np.float32)
  for label in range(classes):
    called = np.flatnonzero(counts[:, label])
    called = called[np.argsort(losses[called, label], kind='stable')]
    if duplicates:
      called = np.repeat(called, counts[called, label])
    taken = called[:per_class]
    examples[label, : len(taken)] = taken
    weights[label, : len(taken)] = 1
  labels = np.repeat(np.arange(classes, dtype=np.int32), per_class)
  return MetaSet(examples.ravel(), labels, weights.ravel())


def shuffled(chosen: MetaSet, seed: tuple[int, ...]) -> MetaSet:
  """Returns the same examples in a random order, by numpy's frozen `RandomState`.

  >>> order = shuffled(MetaSet(np.arange(9), np.arange(9), np.ones(9)), (0, 1)).examples
  >>> sorted(order.tolist()) == list(range(9)), order.tolist() == list(range(9))
  (True, False)
  """
  order = np.random.RandomState(seed).permutation(len(chosen.examples))
  return MetaSet(*(column[order] for column in chosen))


def rows(step, size: int, batch: int):
  """Returns the places of a step's batch in a set that is gone through again and again, int
  [batch], or [size] of a set that is smaller.

  >>> rows(1, size=5, batch=3).tolist()
  [3, 4, 0]
  """
  batch = min(batch, size)
  return (step * batch + jnp.arange(batch)) % size

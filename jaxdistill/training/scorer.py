"""Accuracy of several networks on a fixed set of real images."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import backend, errors
from jaxdistill.data import augment
from jaxdistill.data.examples import Examples
from jaxdistill.numerics import settled
from jaxdistill.training import interrupt, parallel, together

_ROUNDED = 100  # images; batches of a scored set are a multiple of them
# Images that are scored in one call: at most so many, and fewer of more than 32x32 pixels.
MOST_SCORED = 500
_PIXELS_SCORED = MOST_SCORED * 32 * 32


class Scorer:
  """Scores stacked networks on a fixed set: scorer(variables) -> accuracy [R] in [0, 1]."""

  @settled()
  def __init__(
    self,
    model: nn.Module,
    examples: Examples,
    *,
    way: str = 'auto',
    batch: int = 0,
  ):
    images, labels = examples.images, examples.labels
    height, width = images.shape[1:3]
    batch = errors.whole('batch', batch)
    batch = batch or max(1, min(MOST_SCORED, _PIXELS_SCORED // (height * width)))
    # Rounded, so that sets of nearly one size, such as the classes that one order or another has
    # shown, share a program.
    size = min(batch, -(-len(images) // _ROUNDED) * _ROUNDED)
    batches = -(-len(images) // size)
    index = np.arange(batches * size).reshape(batches, size)
    weight = (index < len(images)).astype(np.float32)
    index = np.minimum(index, len(images) - 1)
    self.batches = [
      (jnp.asarray(images[i]), jnp.asarray(labels[i], jnp.int32), jnp.asarray(w))
      for i, w in zip(index, weight)
    ]
    self.total = len(images)
    together.choose_way(way)  # refuses a name that does not exist
    statistics = tuple(examples.mean), tuple(examples.std)
    self.hits = _hits(model, *statistics, way, backend.platform())

  @settled()
  def __call__(self, variables: Any) -> np.ndarray:
    variables = jax.tree.map(parallel.local, variables)
    # All are under way before the first is waited for.
    hits = [self.hits(variables, *batch) for batch in self.batches]
    total = 0.0
    for count in hits:
      total += np.asarray(count, np.float64)
      interrupt.check()
    return total / self.total


def reported(accuracies: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Returns what a check of several networks reports of the accuracies [R] on each split: their
  mean and all of them, which `checked` reads back.

  >>> reported({'test': np.array([0.5, 1.0])})
  {'test_accuracy': 0.75, 'test_accuracies': [0.5, 1.0]}
  """
  means = {f'{split}_accuracy': float(values.mean()) for split, values in accuracies.items()}
  return means | {f'{split}_accuracies': values.tolist() for split, values in accuracies.items()}


def checked(history: Sequence[Mapping[str, Any]], splits: Iterable[str]) -> dict[str, np.ndarray]:
  """Returns what the k checks of a phase have reported, see `reported`: 'steps' [k], and the
  accuracies float64 [k, R] on each split.

  >>> checked([{'step': 4, 'test_accuracies': [0.5, 1.0]}], ['test'])['test'].tolist()
  [[0.5, 1.0]]
  """
  checks = {'steps': np.asarray([line['step'] for line in history], np.int64)}
  for split in splits:
    lines = [line[f'{split}_accuracies'] for line in history]
    checks[split] = np.asarray(lines, np.float64)
  return checks


@functools.lru_cache(maxsize=32)
def _hits(model, mean, std, way, platform):
  """Returns the compiled count of right answers in a batch, kept for the next set that networks of
  this form are scored on, on this platform."""
  del platform

  def one(variables, images, labels, weight):
    logits, _ = model.apply(variables, augment.normalise(images, mean, std), train=False)
    return ((logits.argmax(-1) == labels) * weight).sum()

  return jax.jit(
    lambda variables, images, labels, weight: together.over_networks(
      lambda v: one(v, images, labels, weight), way
    )(variables)
  )

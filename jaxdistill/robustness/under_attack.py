"""Accuracy of several networks on a fixed set, on the images as they are and after PGD: what is
looked at while networks train."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import backend, draws
from jaxdistill.data import augment
from jaxdistill.data.examples import Examples
from jaxdistill.models.pixels import OfPixels
from jaxdistill.numerics import settled
from jaxdistill.robustness import objectives, pgd, threat
from jaxdistill.robustness.threat import Ball
from jaxdistill.training import interrupt, parallel, together

_BATCH = 500  # images a call, fewer where they have more than 32x32 pixels
_PIXELS = _BATCH * 32 * 32


class Accuracies(NamedTuple):
  """Of R networks, [R] in [0, 1]: on the images as they are, and right on them and after the
  attack."""

  clean: np.ndarray
  robust: np.ndarray


class Attacked:
  """Scores stacked networks on a fixed set: attacked(variables) -> Accuracies.

  The attack is PGD on the cross-entropy from one uniform start, which is that of the image's place
  in the set, for every network and at every call; batch normalisation takes its running statistics.
  """

  @settled()
  def __init__(
    self,
    network: OfPixels,
    examples: Examples,
    ball: Ball,
    steps: int,
    *,
    seed: int = 0,
    way: str = 'auto',
  ):
    height, width = examples.image_shape[:2]
    size = min(len(examples), max(1, _PIXELS // (height * width)), _BATCH)
    keys = threat.image_keys(draws.key(seed), len(examples))
    self.batches, self.total, self.steps = [], len(examples), steps
    for first in range(0, len(examples), size):
      rows = np.arange(first, first + size)
      weight = jnp.asarray((rows < self.total).astype(np.float32))
      rows = np.minimum(rows, self.total - 1)
      images = augment.unit(jnp.asarray(examples.images[rows]))
      labels = jnp.asarray(examples.labels[rows], jnp.int32)
      start = jax.jit(ball.start)(images, keys[rows])
      self.batches.append((images, start, labels, weight))
    self.climb, self.hits = _compiled(network, ball, way, backend.platform())

  @settled()
  def __call__(self, variables) -> Accuracies:
    variables = jax.tree.map(parallel.local, jax.tree.map(jnp.asarray, variables))
    networks = len(jax.tree.leaves(variables)[0])
    hits = np.zeros((2, networks))
    for images, start, labels, weight in self.batches:
      points = jnp.broadcast_to(start, (networks, *start.shape))
      for _ in range(self.steps):
        points = self.climb(variables, points, images, labels)
      hits += np.asarray(self.hits(variables, points, images, labels, weight), np.float64).T
      interrupt.check()
    return Accuracies(*(hits / self.total))


@functools.lru_cache(maxsize=32)
def _compiled(network, ball, way, platform):
  """One step of all networks' attacks, and the count of right answers [R, 2]: one step a call, as a
  CPU computes convolutions best outside of loops."""
  del platform
  length = pgd.step_length(ball, None)

  def logits_of(variables, images):
    return network.apply(variables, images, train=False)[0].astype(jnp.float32)

  def climb(variables, points, images, labels):
    def loss(points):
      return objectives.cross_entropy(logits_of(variables, points), labels).sum()

    return pgd.moved(ball, length, points, jax.grad(loss)(points), images)

  def hits(variables, points, images, labels, weight):
    clean, robust = (
      ~objectives.wrong(logits_of(variables, seen), labels) for seen in (images, points)
    )
    return jnp.stack([(clean * weight).sum(), (clean & robust) @ weight])

  def side_by_side(function):
    def mapped(variables, points, *shared):
      one = lambda variables, points: function(variables, points, *shared)
      return together.over_networks(one, way)(variables, points)

    return jax.jit(mapped)

  return side_by_side(climb), side_by_side(hits)

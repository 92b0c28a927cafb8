"""Steps of one annotator each, in turn: his rows, his labels alone, and his layer alone that
moves."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdistill.data.crowds import Crowd
from jaxdistill.label_noise.distilled import by_annotator
from jaxdistill.label_noise.method import Setting
from jaxdistill.label_noise.observed import ANNOTATORS, GIVEN

# Beliefs, see `distilled.Asked`.
POSITIONS, COUNT = 'positions', 'count'


@dataclasses.dataclass(frozen=True, eq=False)
class AnnotatorSteps:
  """Step s is of annotator s mod R, `rounds` times each; what a phase has beyond that rests.

  Attributes:
    annotators: R.
    rounds: steps of each.
    rows: b, of a step.
    passes: over the examples, in batches of b, that have at least rounds R steps.
  """

  annotators: int
  rounds: int
  rows: int
  passes: int

  @property
  def beliefs(self) -> dict[str, Callable[[jax.Array], Any]]:
    """For the game: the rows of each annotator."""
    return {
      POSITIONS: lambda key: jnp.zeros((self.annotators, self.rows), jnp.int32),
      COUNT: lambda key: jnp.zeros(self.annotators, jnp.int32),
    }

  def draw(self, key: jax.Array, step: jax.Array, beliefs: Any) -> tuple[jax.Array, jax.Array]:
    """For the phase: the rows of a step. Where the annotator has none they are any, all with a
    weight, as batch normalisation needs some; the loss counts none of them."""
    number = step % self.annotators
    count = beliefs[COUNT][number]
    count = jnp.where(count > 0, count, self.rows)
    return beliefs[POSITIONS][number], (jnp.arange(self.rows) < count).astype(jnp.float32)

  def loss(self, loss: Callable[[Any], jax.Array]) -> Callable[[Any], jax.Array]:
    """Returns a loss of a scene in which the annotator of the step alone said something."""

    def of_one(scene):
      scene = scene.gathered()
      number = scene.step % self.annotators
      is_asked = (scene.beliefs[COUNT][number] > 0) & (scene.step < self.rounds * self.annotators)
      annotators = scene.batch[ANNOTATORS]
      said = is_asked & (annotators == number)
      batch = {name: scene.batch[name] for name in ('index', 'weight', GIVEN)}
      batch[ANNOTATORS] = jnp.where(said, annotators, -1)
      return loss(dataclasses.replace(scene, batch=batch))

    return of_one


def of(setting: Setting, rounds: int, most: int) -> AnnotatorSteps:
  """Returns the steps of a setting's annotators.

  Args:
    setting: with a crowd.
    rounds: steps of each.
    most: rows a step; fewer where no annotator gave so many labels.
  """
  crowd = setting.evidence.crowd
  rows = int(min(most, crowd.per_annotator.max()))
  of_a_pass = max(1, len(setting.evidence) // rows)
  passes = math.ceil(rounds * crowd.num_annotators / of_a_pass)
  return AnnotatorSteps(crowd.num_annotators, rounds, rows, passes)


def believed(crowd: Crowd, kept: np.ndarray, rows: int, least: int) -> dict[str, np.ndarray]:
  """Returns the beliefs of several networks, from the examples that each keeps, [networks, n]."""
  asked = [by_annotator(crowd, of_network, rows, least) for of_network in np.asarray(kept)]
  positions, count = map(np.stack, zip(*asked))
  return {POSITIONS: positions, COUNT: count}


def asked_alone(
  optimizer: optax.GradientTransformation, heads: str
) -> optax.GradientTransformation:
  """Returns an optimiser that moves of the leaves of part `heads` [R, ...] the rows with a gradient
  alone, and rests, with its state, where none of them has one.

  >>> optimizer = asked_alone(optax.sgd(1.0, momentum=0.5), 'heads')
  >>> params = {'heads': jnp.zeros((2, 1)), 'trunk': jnp.zeros(1)}
  >>> gradient = {'heads': jnp.array([[0.0], [1.0]]), 'trunk': jnp.ones(1)}
  >>> _, state = optimizer.update(gradient, optimizer.init(params), params)
  >>> gradient['heads'] = gradient['heads'][::-1]
  >>> updates, state = optimizer.update(gradient, state, params)
  >>> updates['heads'].tolist(), updates['trunk'].tolist()
  ([[-1.0], [0.0]], [-1.5])
  """

  def update(gradient, state, params=None):
    updates, moved = optimizer.update(gradient, state, params)
    leaves = jax.tree.leaves(gradient[heads])
    is_any = jnp.any(jnp.stack([jnp.any(leaf != 0) for leaf in leaves]))
    state = jax.tree.map(lambda new, old: jnp.where(is_any, new, old), moved, state)
    rested = jax.tree.map(lambda leaf: jnp.where(is_any, leaf, 0), updates)
    rows = jax.tree.map(_rows_with_gradient, updates[heads], gradient[heads])
    return {**rested, heads: rows}, state

  return optax.GradientTransformation(optimizer.init, update)


def _rows_with_gradient(update, gradient):
  axes = tuple(range(1, gradient.ndim))
  return jnp.where(jnp.any(gradient != 0, axis=axes, keepdims=True), update, 0)

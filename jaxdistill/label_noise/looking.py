"""What networks answer to a whole set, in eval mode and without augmentation."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.data import augment
from jaxdistill.data.examples import Examples
from jaxdistill.label_noise.method import NET
from jaxdistill.numerics import settled
from jaxdistill.training import features, outputs, parallel
from jaxdistill.training.game import Game

_BATCH = 500  # examples a call, fewer where they have more than 32x32 pixels
_PIXELS = _BATCH * 32 * 32
# Outputs with more axes, maps of a network, are not kept of a whole set.
_AXES = 3


class Looking:
  """Answers of the parts of a game to whole sets: a `method.Look`."""

  def __init__(self, game: Game, sets: Mapping[str, Examples]):
    self.game, self.sets = game, sets

  @settled()
  def __call__(
    self, variables: Mapping[str, Any], part: str = NET, of: str = 'train'
  ) -> dict[str, np.ndarray]:
    if part not in self.game.parts:
      raise errors.unknown('part', part, self.game.parts)
    if of not in self.sets:
      raise errors.unknown('set', of, self.sets)
    looked_at = self.game.parts[part]
    forward = answering(looked_at.module)
    of_part = outputs.part_variables(variables, looked_at.twin_of or part)
    return over_set(forward, of_part, self.sets[of])


def over_set(forward: Callable, variables: Any, examples: Examples) -> Any:
  """Returns what a compiled forward pass makes of every example, for R networks one after the
  other: a tree of [R, n, ...].

  Args:
    forward: (variables of one network, images, mean, std) -> a tree of [b, ...].
    variables: leading axis R.
    examples: n.
  """
  variables = jax.tree.map(parallel.local, jax.tree.map(jnp.asarray, variables))
  height, width = examples.image_shape[:2]
  size = max(1, min(_BATCH, _PIXELS // (height * width)))
  mean, std = (jnp.asarray(numbers, jnp.float32) for numbers in (examples.mean, examples.std))
  answers = []
  for number in range(len(jax.tree.leaves(variables)[0])):
    one = jax.tree.map(lambda leaf, number=number: leaf[number], variables)
    answer = lambda rows, one=one: forward(one, examples.images[rows], mean, std)
    answers.append(features.in_chunks(answer, len(examples), size))
  return jax.tree.map(lambda *leaves: np.stack(leaves), *answers)


@functools.lru_cache(maxsize=32)
def answering(module: Any) -> Callable:
  """Returns the compiled forward pass of a network in eval mode: its outputs by name, but for
  maps."""

  @jax.jit
  def forward(variables, images, mean, std):
    seen = augment.normalise(images, mean, std)
    named, _ = outputs.apply(module, variables, (seen,), train=False)
    return {name: array for name, array in named.items() if array.ndim <= _AXES}

  return forward

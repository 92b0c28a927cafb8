"""What the networks of a method answer together: the mean of the probabilities of a seed's
members."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxdistill.data import augment
from jaxdistill.data.examples import Examples
from jaxdistill.label_noise import looking
from jaxdistill.label_noise.method import NET, Method
from jaxdistill.numerics import settled
from jaxdistill.training import outputs
from jaxdistill.training.game import Game
from jaxdistill.training.learner import OF_NO_PART


def answer_of(
  method: Method, game: Game, multilabel: bool
) -> Callable[[Any, jax.Array], jax.Array]:
  """Returns (variables of one game, images) -> probabilities [n, C], see `Method.answer`."""
  if method.answer is not None:
    return method.answer
  module = game.parts[NET].module
  likely = jax.nn.sigmoid if multilabel else jax.nn.softmax

  def answer(variables, images):
    of_net = outputs.part_variables(variables, NET)
    named, _ = outputs.apply(module, of_net, (images,), train=False)
    return likely(named['logits'])

  return answer


class Answers:
  """Answers of the networks of a method to whole sets: answers(variables, examples) -> [seeds, n,
  C].

  One compiled program serves all sets whose examples have one form.
  """

  def __init__(self, answer: Callable[[Any, jax.Array], jax.Array], members: int, seeds: int):
    self.members, self.seeds = members, seeds

    @jax.jit
    def forward(variables, images, mean, std):
      return answer(variables, augment.normalise(images, mean, std))

    self.forward = forward

  @settled()
  def __call__(self, variables: Mapping[str, Any], examples: Examples) -> np.ndarray:
    of_parts = {name: tree for name, tree in variables.items() if name not in OF_NO_PART}
    probabilities = looking.over_set(self.forward, of_parts, examples)
    # Networks that only fill up the devices stand at the end.
    probabilities = probabilities[: self.seeds * self.members]
    return probabilities.reshape(self.seeds, self.members, *probabilities.shape[1:]).mean(1)

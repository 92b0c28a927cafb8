"""What a method of adversarial training is: whose losses are minimised on which images, and at
which weights.

A method's file has one function, (setting, *, fields with defaults) -> Method, which knows the
network and the ball of the attacker. What is trained how belongs to `training.players`.
"""

import dataclasses
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import optax

from jaxdistill.losses.classification import weighted_mean
from jaxdistill.robustness.threat import Ball
from jaxdistill.training.game import Game, Part, PerturbedView, PerturbedWeights, Player, Term
from jaxdistill.training.scene import Scene

# The network's part, and the view and the part of the images that attack it.
NET, ADVERSARIAL = 'net', 'adversarial'


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
  """All that a method is made for.

  Attributes:
    network: without weights; it reads images in [0, 1].
    ball: what the attacker may do to an image.
    optimizer: of the network.
    epoch_steps: steps of one pass over the images.
    steps: of the training.
  """

  network: nn.Module
  ball: Ball
  optimizer: optax.GradientTransformation
  epoch_steps: int
  steps: int


@dataclasses.dataclass(frozen=True, eq=False)
class Risk:
  """What is minimised: the mean of a loss of every image.

  Attributes:
    parts: the network on the views that the loss sees.
    losses: scene -> the loss of every row, [n].
    views: the adversarial ones among them.
  """

  parts: Mapping[str, Part]
  losses: Callable[[Scene], jax.Array]
  views: Mapping[str, PerturbedView] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
  """A way to train a network.

  Attributes:
    game: of one part `NET`, perhaps with twins, and one player.
    reconstruction: whether it follows a paper that could not be read whole, so that some of it is
      our choice.
  """

  game: Game
  reconstruction: bool = False


def minimised(
  risk: Risk,
  setting: Setting,
  perturb_weights: PerturbedWeights | None = None,
  reconstruction: bool = False,
) -> Method:
  """Returns the method that minimises a risk, with the gradient taken at perturbed weights where
  there are any."""
  player = Player('', (NET,), (mean(risk),), setting.optimizer, perturb_weights=perturb_weights)
  game = Game(risk.parts, (player,), perturb_inputs=risk.views)
  return Method(game, reconstruction)


def mean(risk: Risk) -> Term:
  """Returns the mean loss over the batch as a term of a player."""

  def loss(scene):
    return weighted_mean(risk.losses(scene), scene.batch['weight'])

  return Term('risk', loss)

"""The attacker inside a training step: PGD against the network as it stands, as a view of the
batch."""

import dataclasses
from typing import Literal

import jax

from jaxdistill import errors
from jaxdistill.robustness import example_losses, pgd
from jaxdistill.robustness.method import NET, Setting
from jaxdistill.robustness.threat import Ball
from jaxdistill.training.game import PerturbedView

BatchNorm = Literal['eval', 'train']
# Of a part under a perturbation: 'train' is by the statistics of the batch, which move nothing.
_MODES = {'eval': 'eval', 'train': 'batch'}


@dataclasses.dataclass(frozen=True)
class Adversary:
  """PGD inside a step, kept at its last points.

  Attributes:
    ball: what it may do.
    steps: of the ascent; 0: its start.
    step: length of one; None: the usual share of eps, see `pgd.step_length`.
    batch_norm: of the network meanwhile: 'eval', by its running statistics; 'train', by those of
      the attacked batch, which move no running ones.

  Raises:
    UserError: a number below 0, or batch normalisation of another name.
  """

  ball: Ball
  steps: int
  step: float | None
  batch_norm: str

  def __post_init__(self):
    errors.whole('attack_steps', self.steps)
    pgd.step_length(self.ball, self.step)
    if self.batch_norm not in _MODES:
      raise errors.unknown('attack_bn', self.batch_norm, _MODES)

  def of_labels(self) -> PerturbedView:
    """Returns the view that raises the cross-entropy, from a uniform start."""

    def change(respond, batch, keys):
      def losses(points):
        return example_losses.cross_entropy(respond(points)['logits'], batch['labels'])

      return self._climb(losses, batch['images'], keys, 'uniform')

    return PerturbedView(NET, change, mode=_MODES[self.batch_norm])

  def of_answers(self) -> PerturbedView:
    """Returns the view that raises KL(p(x) || p(x')), from near the image, where it is 0."""

    def change(respond, batch, keys):
      images = batch['images']
      clean = jax.lax.stop_gradient(respond(images)['logits'])

      def losses(points):
        return example_losses.divergence(clean, respond(points)['logits'])

      return self._climb(losses, images, keys, 'near')

    return PerturbedView(NET, change, mode=_MODES[self.batch_norm])

  def _climb(self, losses, images, keys, start):
    fields = dict(eps=self.ball.eps, norm=self.ball.norm, steps=self.steps, step=self.step)
    return pgd.perturb(losses, images, keys, **fields, start=start)


def of_fields(setting: Setting, attack_steps: int, step_size: float, attack_bn: str) -> Adversary:
  """Returns the adversary of a method's fields; a step size of 0 is the usual share of eps.

  Raises:
    UserError: see `Adversary`.
  """
  errors.real_numbers(step_size=step_size)
  if step_size < 0:
    raise errors.UserError(f'step_size is {step_size}; it must be at least 0.')
  return Adversary(setting.ball, attack_steps, step_size or None, attack_bn)

"""TRADES: a trade-off between accuracy and robustness (Zhang et al., ICML 2019)."""

from jaxdistill import errors
from jaxdistill.robustness import adversary, example_losses
from jaxdistill.robustness.adversary import Adversary, BatchNorm
from jaxdistill.robustness.method import ADVERSARIAL, NET, Method, Risk, Setting, minimised
from jaxdistill.training.game import Part


def method(
  setting: Setting,
  *,
  beta: float = 6.0,
  attack_steps: int = 10,
  step_size: float = 0.0,
  attack_bn: BatchNorm = 'eval',
) -> Method:
  """Returns TRADES.

      L = mean_i CE(f(x_i), y_i) + beta KL(p(x_i) || p(x'_i)),
      x'_i ascends KL(p(x_i) || p(.)) inside the ball, from x_i + .001 N(0, 1)

  The network sees clean and adversarial images one after the other, each under the statistics of
  its own batch; both move the running ones.

  Args:
    setting: what it is for.
    beta: how much an answer that the attacker changes weighs.
    attack_steps, step_size, attack_bn: see `at.method`.

  Raises:
    UserError: beta below 0.

  Source: Zhang et al. and their public code.
  """
  attacker = adversary.of_fields(setting, attack_steps, step_size, attack_bn)
  return minimised(risk(setting, attacker, beta), setting)


def risk(setting: Setting, attacker: Adversary, beta: float) -> Risk:
  """Returns the cross-entropy of clean images and the divergence of adversarial ones from them."""
  errors.real_numbers(beta=beta)
  if beta < 0:
    raise errors.UserError(f'beta is {beta}; it must be at least 0.')

  def losses(scene):
    clean, adversarial = scene[NET]['logits'], scene[ADVERSARIAL]['logits']
    natural = example_losses.cross_entropy(clean, scene.batch['labels'])
    return natural + beta * example_losses.divergence(clean, adversarial)

  network = setting.network
  parts = {NET: Part(network), ADVERSARIAL: Part(network, ADVERSARIAL, twin_of=NET)}
  return Risk(parts, losses, {ADVERSARIAL: attacker.of_answers()})

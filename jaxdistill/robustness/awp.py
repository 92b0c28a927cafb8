"""AWP: adversarial weight perturbation (Wu et al., NeurIPS 2020)."""

from jaxdistill.robustness import risks, weights
from jaxdistill.robustness.adversary import BatchNorm
from jaxdistill.robustness.method import Method, Setting, mean, minimised
from jaxdistill.robustness.risks import Over
from jaxdistill.training.game import PerturbedWeights


def method(
  setting: Setting,
  *,
  over: Over = 'at',
  gamma: float = 0.01,
  warmup: int = 0,
  beta: float = 6.0,
  attack_steps: int = 10,
  step_size: float = 0.0,
  attack_bn: BatchNorm = 'eval',
) -> Method:
  """Returns AWP over AT or TRADES.

      v_l = gamma · ||w_l|| / ||g_l|| · g_l   for every kernel l, g = grad_w L(w)
      w <- w - step of the optimiser at w + v

  Args:
    setting: what it is for.
    over: whose loss L is.
    gamma: share of a kernel's length; .01 with AT, .005 with TRADES.
    warmup: epochs before the first perturbation, fewer than there are.
    beta: of TRADES.
    attack_steps, step_size, attack_bn: see `at.method`.

  Raises:
    UserError: a number below 0, or a warm-up as long as the training.

  Source: Wu et al. and their public code.
  """
  risks.check_share(gamma, warmup)
  risk = risks.risk(over, setting, beta, attack_steps, step_size, attack_bn)
  if gamma == 0:
    return minimised(risk, setting)

  def move(standpoint):
    gradient, params = standpoint.gradient, standpoint.params
    return weights.ascended(gradient, params, gamma=gamma, norms='layer')

  climbed = risks.after(warmup, setting, mean(risk))
  return minimised(risk, setting, PerturbedWeights((climbed,), move))

"""RWP: robust weight perturbation for adversarial training (Yu et al., IJCAI 2022; arXiv
2205.14826). Reconstruction: the tables of the paper could not be read.

Weights are perturbed so that a flat minimum is found, but only for the sake of images that the
network still fits: the loss stationary condition.
"""

import jax

from jaxdistill import errors
from jaxdistill.losses.classification import weighted_mean
from jaxdistill.robustness import risks, weights
from jaxdistill.robustness.adversary import BatchNorm
from jaxdistill.robustness.method import Method, Risk, Setting, minimised
from jaxdistill.robustness.risks import Over
from jaxdistill.robustness.weights import Norms
from jaxdistill.training.game import PerturbedWeights, Term


def method(
  setting: Setting,
  *,
  over: Over = 'at',
  c_min: float = 1.7,
  gamma: float = 0.01,
  ascents: int = 10,
  rate: float = 0.01,
  norms: Norms = 'global',
  warmup: int = 0,
  beta: float = 6.0,
  attack_steps: int = 10,
  step_size: float = 0.0,
  attack_bn: BatchNorm = 'eval',
) -> Method:
  """Returns RWP over AT or TRADES.

  From u = v = 0, `ascents` times, with the losses l_i at w + v:

      u <- u + rate · grad_v (1/B) sum_i 1[l_i < c_min] l_i      B the whole batch
      v <- gamma · ||w|| / ||u|| · u                             lengths of all kernels together

  then w <- w - step of the optimiser at w + v. Where no image is left below c_min the gradient is
  0, and u stays: the paper stops there, which is the same.

  Args:
    setting: what it is for.
    over: whose losses l_i are.
    c_min: loss below which an image counts: 1.7, on CIFAR-100 4; at 0 or below nothing is
      perturbed.
    gamma: share of the weights' length; .01 with AT, .005 with TRADES.
    ascents: K2.
    rate: of an ascent: .01 with AT, .1 with TRADES. The length of v does not depend on it.
    norms: 'global' as in RWP, or 'layer' by layer as in AWP.
    warmup: epochs before the first perturbation, fewer than there are: 0, on SVHN 5, with TRADES
      10.
    beta: of TRADES.
    attack_steps, step_size, attack_bn: see `at.method`.

  Raises:
    UserError: a number out of range, or a warm-up as long as the training.

  Source: the public code of Yu et al. Ours: the divergence of TRADES is summed over the classes
    (the released sum of unlike shapes cannot run), the clean images go through the network once,
    the attack as `at.method` says, and `norms`.
  """
  risks.check_share(gamma, warmup)
  errors.real_numbers(c_min=c_min, rate=rate)
  errors.whole('ascents', ascents, at_least=1)
  if rate <= 0:
    raise errors.UserError(f'rate is {rate}; it must be above 0.')
  risk = risks.risk(over, setting, beta, attack_steps, step_size, attack_bn)
  if gamma == 0 or c_min <= 0:
    return minimised(risk, setting, reconstruction=True)

  def move(standpoint):
    gradient, params = standpoint.gradient, standpoint.params
    return weights.ascended(gradient, params, gamma=gamma, steps=ascents, rate=rate, norms=norms)

  climbed = risks.after(warmup, setting, fitted(risk, c_min))
  perturb = PerturbedWeights((climbed,), move)
  return minimised(risk, setting, perturb, reconstruction=True)


def fitted(risk: Risk, c_min: float) -> Term:
  """Returns the losses of the images below c_min, added up and divided by the whole batch."""

  def loss(scene):
    losses = risk.losses(scene)
    below = jax.lax.stop_gradient((losses < c_min).astype(losses.dtype))
    return weighted_mean(below * losses, scene.batch['weight'])

  return Term('fitted', loss)

"""AT: adversarial training (Madry et al., ICLR 2018)."""

from jaxdistill.robustness import adversary, example_losses
from jaxdistill.robustness.adversary import Adversary, BatchNorm
from jaxdistill.robustness.method import ADVERSARIAL, NET, Method, Risk, Setting, minimised
from jaxdistill.training.game import Part


def method(
  setting: Setting,
  *,
  attack_steps: int = 10,
  step_size: float = 0.0,
  attack_bn: BatchNorm = 'eval',
) -> Method:
  """Returns adversarial training.

      L = mean_i CE(f(x'_i), y_i),   x'_i = PGD(x_i, y_i) inside the ball

  Args:
    setting: what it is for.
    attack_steps: of PGD, from a uniform start.
    step_size: of one of them; 0: a quarter of eps in L-inf, 15/128 of it in L2.
    attack_bn: batch normalisation of the attacked network, see `adversary.Adversary`.

  Source: Madry et al.; ten steps of 2/255 at eps = 8/255 as in the public codes of AWP and RWP.
    Those attack in train mode and let it move the running statistics; 'eval' is our choice, and
    'train' moves none.
  """
  attacker = adversary.of_fields(setting, attack_steps, step_size, attack_bn)
  return minimised(risk(setting, attacker), setting)


def risk(setting: Setting, attacker: Adversary) -> Risk:
  """Returns the cross-entropy of adversarial images."""

  def losses(scene):
    return example_losses.cross_entropy(scene[NET]['logits'], scene.batch['labels'])

  return Risk(
    {NET: Part(setting.network, ADVERSARIAL)}, losses, {ADVERSARIAL: attacker.of_labels()}
  )

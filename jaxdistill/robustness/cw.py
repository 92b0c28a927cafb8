"""C&W inside a ball: PGD on the margin between logits.

Source: Carlini and Wagner, Towards evaluating the robustness of neural networks (S&P 2017), with
the ascent of Madry et al. (ICLR 2018) in place of a penalty for the distance.
"""

import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.robustness import iteration, objectives, pgd, threat


def attack(
  classes: int,
  *,
  eps: float = 8 / 255,
  norm: threat.Norm = 'linf',
  steps: int = 100,
  step: float | None = None,
  restarts: int = 1,
  confidence: float = 10.0,
) -> iteration.Attack:
  """PGD on -max(z_y - max_{j != y} z_j + confidence, 0): it rises until another class leads by
  `confidence`. Other fields as in `pgd.perturb`.

  Raises:
    UserError: a confidence below 0, or what `pgd.perturb` refuses.

  >>> attack(10).phases[0].steps
  101
  """
  ball = threat.ball(eps, norm)
  errors.real_numbers(confidence=confidence)
  if not 0 <= confidence < float('inf'):
    raise errors.UserError(f'confidence is {confidence}; it must be at least 0.')

  def objective(logits, labels):
    return -jnp.maximum(objectives.margin(logits, labels) + confidence, 0.0)

  return pgd.climb(objective, ball, steps, pgd.step_length(ball, step), restarts)

"""FGSM: one step to the edge of the ball.

Source: Goodfellow, Shlens and Szegedy, Explaining and harnessing adversarial examples (ICLR 2015).
"""

from jaxdistill.robustness import iteration, objectives, pgd, threat


def attack(
  classes: int,
  *,
  eps: float = 8 / 255,
  norm: threat.Norm = 'linf',
  start: pgd.Start = 'image',
) -> iteration.Attack:
  """One step of 2 eps along the sign of the gradient of the cross-entropy (in L2, the gradient over
  its length), cut back to the ball.

  From the image this is the paper's step of eps; with start='uniform' it is the form with a random
  start, which the step of 2 eps takes to the edge from anywhere.

  >>> attack(10).phases[0].steps
  2
  """
  ball = threat.ball(eps, norm)
  return pgd.climb(objectives.cross_entropy, ball, steps=1, length=2 * eps, start=start)

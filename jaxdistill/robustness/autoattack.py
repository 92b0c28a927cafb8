"""AutoAttack: four attacks without a number to choose, each on the images that those before it left
right.

Source: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks (ICML 2020), the version 'standard'.
"""

from jaxdistill.robustness import apgd, fab, iteration, square, threat


def attack(
  classes: int,
  *,
  eps: float = 8 / 255,
  norm: threat.Norm = 'linf',
  steps: int = 100,
  targets: int = 9,
  queries: int = 5000,
) -> tuple[iteration.Attack, ...]:
  """APGD on the cross-entropy, targeted APGD and targeted FAB (`steps` each, towards `targets`
  classes), and Square; the defaults are the published ones.

  Raises:
    UserError: fewer than four classes.

  >>> len(attack(10))
  4
  """
  ball = dict(eps=eps, norm=norm)
  return (
    apgd.ce(classes, **ball, steps=steps),
    apgd.targeted(classes, **ball, steps=steps, targets=targets),
    fab.targeted(classes, **ball, steps=steps, targets=targets),
    square.attack(classes, **ball, queries=queries),
  )

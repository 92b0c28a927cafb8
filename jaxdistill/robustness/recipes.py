"""How networks are trained, by name: the recipes of adversarial training, and short ones of our
own. The loss is the method's."""

import dataclasses

from jaxdistill.data.crops import Crop, Flip, ReflectCrop
from jaxdistill.errors import unknown
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.schedules import Schedule, by_tenths

_SGD = Optimizer('sgd', momentum=0.9, weight_decay=5e-4)
# CIFAR-10 in the public codes of AWP (Wu et al., NeurIPS 2020) and RWP (Yu et al., IJCAI 2022),
# after Rice et al. (ICML 2020).
_CIFAR = Recipe(
  'at200',
  batch=128,
  epochs=200,
  schedule=by_tenths(0.1, 200, 100, 150),
  optimizer=_SGD,
  transforms=(ReflectCrop(4), Flip()),
  drop_at_epochs=True,
)
_ROWS = (
  _CIFAR,
  # The same codes on CIFAR-100 and for TRADES pad with black.
  dataclasses.replace(_CIFAR, name='black200', transforms=(Crop(4), Flip())),
  # The same codes on SVHN.
  dataclasses.replace(
    _CIFAR, name='svhn200', schedule=by_tenths(0.01, 200, 100, 150), transforms=()
  ),
  # Batches of RST (Carmon et al., NeurIPS 2019) and its schedule; its length here is our choice.
  dataclasses.replace(
    _CIFAR,
    name='rst200',
    batch=256,
    schedule=Schedule('cosine', 0.1),
    optimizer=dataclasses.replace(_SGD, nesterov=True),
    transforms=(Crop(4), Flip()),
    drop_at_epochs=False,
  ),
  # Our choice, for a look: the drops at the same shares, too short for robust over-fitting to show
  # as it does in the papers.
  dataclasses.replace(_CIFAR, name='short', epochs=30, schedule=by_tenths(0.1, 30, 15, 22)),
  # Our choice, for a few hundred small images that must not be mirrored: seconds on two cores.
  Recipe(
    'digits',
    batch=64,
    epochs=40,
    schedule=by_tenths(0.1, 40, 20, 30),
    optimizer=_SGD,
    drop_at_epochs=True,
  ),
)
RECIPES = {row.name: row for row in _ROWS}


def find(name: str, *, epochs: int = 0, batch: int = 0, learning_rate: float = 0.0) -> Recipe:
  """Returns a recipe, with another length, batch or learning rate where they are not 0; the rate
  drops at the same shares of another length.

  Raises:
    UserError: there is no such recipe, or a number is negative.

  >>> find('at200').boundaries(50_000), find('at200', epochs=10).boundaries(50_000)
  ((39100, 58650), (1955, 2737))
  """
  if name not in RECIPES:
    raise unknown('recipe of adversarial training', name, RECIPES)
  return RECIPES[name].changed(epochs, batch, learning_rate)

"""How teachers and students are trained, by name: the recipes of the field, and short ones of our
own. The loss beside the cross-entropy is the method's."""

import dataclasses

from jaxdistill.data.crops import Crop, Flip, ResizedCrop, Rotate
from jaxdistill.errors import unknown
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.schedules import Schedule, by_tenths

_SGD = Optimizer('sgd', momentum=0.9, weight_decay=5e-4)
# CIFAR-100 in the public code of CRD (Tian et al., ICLR 2020), which the field has kept, with a
# learning rate of 0.01 for some students (`learning_rate_for`). The crop is padded before images
# are normalised: its border is black. That the short last batch is left out is our choice.
_CRD = Recipe(
  'crd240',
  batch=64,
  epochs=240,
  schedule=by_tenths(0.05, 240, 150, 180, 210),
  optimizer=_SGD,
  transforms=(Crop(4), Flip()),
  drop_last=True,
  drop_at_epochs=True,
)
_ROWS = (
  _CRD,
  # Our choice, the same in an eighth of the time: for smoke runs, no table of a paper has it. Its
  # drops fall on steps, for at whole epochs those of one or two epochs would fall together.
  dataclasses.replace(
    _CRD,
    name='short',
    epochs=30,
    schedule=by_tenths(0.05, 30, 18, 24, 28),
    drop_at_epochs=False,
  ),
  # ImageNet as the public codes train it; KD beside it is 0.5 CE + 0.9 KD, see `sum.classical`.
  Recipe(
    'imagenet',
    batch=256,
    epochs=100,
    schedule=by_tenths(0.1, 100, 30, 60, 90),
    optimizer=dataclasses.replace(_SGD, weight_decay=1e-4),
    transforms=(ResizedCrop(0), Flip()),
    drop_at_epochs=True,
  ),
  # Tiny ImageNet in the public code of DKD (Zhao et al., CVPR 2022).
  Recipe(
    'tiny',
    batch=256,
    epochs=200,
    schedule=by_tenths(0.2, 200, 60, 120, 160),
    optimizer=_SGD,
    transforms=(Rotate(20), Flip()),
    drop_at_epochs=True,
  ),
  # Our choice, for small images that must not be mirrored: seconds on two cores.
  Recipe(
    'digits',
    batch=64,
    epochs=40,
    schedule=Schedule('cosine', 0.1, warmup_share=0.05),
    optimizer=_SGD,
    transforms=(Crop(1),),
    drop_last=True,
  ),
)
RECIPES = {row.name: row for row in _ROWS}
# What the public codes start these students at, and how their names begin.
_LIGHT, _LIGHT_RATE = ('mobilenet', 'shufflenet'), 0.01


def find(name: str, *, epochs: int = 0, batch: int = 0, learning_rate: float = 0.0) -> Recipe:
  """Returns a recipe, with another length, batch or learning rate where they are not 0; the rate
  drops at the same shares of another length.

  Raises:
    UserError: there is no such recipe, or a number is negative.

  >>> find('crd240').steps(50_000), find('crd240', epochs=10).steps(50_000)
  (187440, 7810)
  """
  if name not in RECIPES:
    raise unknown('recipe of distillation', name, RECIPES)
  return RECIPES[name].changed(epochs, batch, learning_rate)


def learning_rate_for(recipe: str, network: str) -> float:
  """Returns the learning rate at which a network starts under the recipes of CIFAR-100 if that is
  not the recipe's own: 0.01 for MobileNets and ShuffleNets; 0 for the recipe's own.

  >>> learning_rate_for('crd240', 'shufflenet_v1'), learning_rate_for('crd240', 'resnet20')
  (0.01, 0.0)
  """
  of_cifar = recipe in (_CRD.name, 'short')
  return _LIGHT_RATE if of_cifar and network.startswith(_LIGHT) else 0.0

"""How networks are trained, by name: the recipes of the literature on wrong labels, and short ones
of our own. The loss is the method's."""

import dataclasses

from jaxdistill.data.crops import Crop, Flip
from jaxdistill.errors import unknown
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.schedules import Schedule, by_tenths

_ROWS = (
  # Crowds in the public code of CCC (Zhang et al., AAAI 2024): ten epochs of warm-up and fifty
  # more, of which the rate drops after thirty; no augmentation.
  Recipe(
    'ccc60',
    batch=128,
    epochs=60,
    schedule=by_tenths(0.01, 60, 40),
    optimizer=Optimizer('sgd', momentum=0.9, weight_decay=5e-4),
    drop_at_epochs=True,
  ),
  # ELR (Liu et al., NeurIPS 2020) on CIFAR-10; its schedule here is ours.
  Recipe(
    'elr150',
    batch=128,
    epochs=150,
    schedule=by_tenths(0.02, 150, 40, 80),
    optimizer=Optimizer('sgd', momentum=0.9, weight_decay=1e-3),
    transforms=(Crop(4), Flip()),
    drop_at_epochs=True,
  ),
  # Sel-CL's first stage (Li et al., CVPR 2022).
  Recipe(
    'selcl250',
    batch=128,
    epochs=250,
    schedule=dataclasses.replace(by_tenths(0.1, 250, 125, 200), warmup_share=5 / 250),
    optimizer=Optimizer('sgd', momentum=0.9, weight_decay=1e-4),
    transforms=(Crop(4), Flip()),
    drop_at_epochs=True,
  ),
  # DivideMix (Li et al., ICLR 2020).
  Recipe(
    'dividemix300',
    batch=64,
    epochs=300,
    schedule=by_tenths(0.02, 300, 150),
    optimizer=Optimizer('sgd', momentum=0.9, weight_decay=5e-4),
    transforms=(Crop(4), Flip()),
    drop_at_epochs=True,
  ),
  # TAIDTM (Li et al., TPAMI 2024): its joint stages.
  Recipe(
    'taidtm60',
    batch=128,
    epochs=60,
    schedule=by_tenths(0.01, 60, 35, 50),
    optimizer=Optimizer('sgd', momentum=0.9, weight_decay=1e-4),
    drop_at_epochs=True,
  ),
  # MLNTM (Li et al., NeurIPS 2022) fine-tunes an ImageNet network so.
  Recipe(
    'mlntm20',
    batch=128,
    epochs=20,
    schedule=Schedule('constant', 5e-5),
    optimizer=Optimizer('adam', weight_decay=0.0),
  ),
  # TCL (Li et al., TMM 2022) on the features of LabelMe.
  Recipe(
    'tcl30',
    batch=128,
    epochs=30,
    schedule=Schedule('constant', 1e-4),
    optimizer=Optimizer('adam', weight_decay=0.0),
  ),
  # Ours, for a look at small colour images.
  Recipe(
    'short',
    batch=128,
    epochs=40,
    schedule=Schedule('cosine', 0.05),
    optimizer=Optimizer('sgd', momentum=0.9, weight_decay=5e-4),
    transforms=(Crop(4), Flip()),
  ),
  # Ours, for features that were computed beforehand, and several labels an example.
  Recipe(
    'vectors',
    batch=128,
    epochs=30,
    schedule=Schedule('constant', 1e-3),
    optimizer=Optimizer('adam', weight_decay=0.0),
  ),
  # Ours, for some hundred small images that must not be mirrored: seconds on two cores.
  Recipe(
    'digits',
    batch=64,
    epochs=60,
    schedule=by_tenths(0.02, 60, 40),
    optimizer=Optimizer('sgd', momentum=0.9, weight_decay=5e-4),
    drop_at_epochs=True,
  ),
)
RECIPES = {row.name: row for row in _ROWS}


def find(name: str, *, epochs: int = 0, batch: int = 0, learning_rate: float = 0.0) -> Recipe:
  """Returns a recipe, with another length, batch or learning rate where they are not 0; the rate
  drops at the same shares of another length.

  Raises:
    UserError: there is no such recipe, or a number is negative.

  >>> find('ccc60').boundaries(12_800), find('ccc60', epochs=6).boundaries(12_800)
  ((4000,), (400,))
  """
  if name not in RECIPES:
    raise unknown('recipe of learning from wrong labels', name, RECIPES)
  return RECIPES[name].changed(epochs, batch, learning_rate)

"""How base networks are trained, by name: the recipes of public code, and short ones of our own."""

import dataclasses

from jaxdistill.data.autoaugment import AutoAugment
from jaxdistill.data.crops import Crop, Cutout, Flip, ResizedCrop
from jaxdistill.data.mixing import CutMix, Mixup, OneOf
from jaxdistill.data.photometric import Jitter
from jaxdistill.errors import unknown
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.schedules import Schedule

_SGD = Optimizer('sgd', momentum=0.9, weight_decay=5e-4)
_NESTEROV = dataclasses.replace(_SGD, nesterov=True)
_CEC = Recipe(
  'cec',
  batch=128,
  epochs=100,
  schedule=Schedule('multistep', 0.1, drops=(0.6, 0.7), drop=0.1),
  optimizer=_NESTEROV,
  transforms=(Crop(4), Flip()),
)
_MIXING = OneOf((Mixup(0.8), CutMix(1.0)), (0.4, 0.4))
_NC = Recipe(
  'nc_fscil',
  batch=512,
  epochs=200,
  schedule=Schedule('cosine', 0.25, warmup_steps=100),
  optimizer=_SGD,
  transforms=(
    ResizedCrop(0, scale=(0.6, 1.0), method='bicubic'),
    Flip(),
    Jitter(0.4, 0.4, 0.4),
  ),
  mixing=_MIXING,
)
_NC_LARGE = dataclasses.replace(_NC, transforms=(ResizedCrop(0), Flip(), Jitter(0.4, 0.4, 0.4)))
# MAE's pre-training and fine-tuning (He et al., CVPR 2022): rates of its public code, 1.5e-4 and
# 5e-4 for 256 images a step; the lengths, and fine-tuning without RandAugment and mixing, are ours.
_MAE = Recipe(
  'mae',
  batch=256,
  epochs=200,
  schedule=Schedule('cosine', 1.5e-4, warmup_share=0.05),
  optimizer=Optimizer('adamw', beta2=0.95, weight_decay=0.05),
  transforms=(ResizedCrop(0, scale=(0.2, 1.0), method='bicubic'), Flip()),
)
_MAE_FINE = Recipe(
  'mae_fine',
  batch=256,
  epochs=30,
  schedule=Schedule('cosine', 5e-4, warmup_share=1 / 6),
  optimizer=Optimizer('adamw', weight_decay=0.05),
  transforms=(ResizedCrop(0, scale=(0.6, 1.0), method='bicubic'), Flip()),
)
# What is cited as code was read in the public code of CEC, TEEN and NC-FSCIL.
_ROWS = (
  # CEC's pretraining of a ResNet-20 for CIFAR-100.
  _CEC,
  # The same for larger images.
  dataclasses.replace(_CEC, name='cec_large', transforms=(ResizedCrop(0), Flip())),
  # TEEN's and FACT's long training with AutoAugment and Cutout.
  dataclasses.replace(
    _CEC,
    name='teen',
    batch=256,
    epochs=600,
    schedule=Schedule('cosine', 0.1),
    transforms=(Crop(4), Flip(), AutoAugment('cifar10'), Cutout(16)),
  ),
  # NC-FSCIL's for CIFAR-100, and evidently that of PKI, SDC and CD2.
  _NC,
  # For miniImageNet: 500 passes, x 0.25 at the epochs 20 ... 45 of its 50.
  dataclasses.replace(
    _NC_LARGE,
    name='nc_fscil_mini',
    epochs=500,
    schedule=Schedule(
      'multistep', 0.25, drops=(0.4, 0.6, 0.7, 0.8, 0.9), drop=0.25, warmup_steps=100
    ),
  ),
  # For CUB-200, from a network that knows ImageNet.
  dataclasses.replace(
    _NC_LARGE,
    name='nc_fscil_cub',
    epochs=80,
    schedule=Schedule('cosine', 0.025, warmup_steps=100),
  ),
  # Our choice, for small images that must not be mirrored: a minute on two cores.
  Recipe(
    'digits',
    batch=64,
    epochs=40,
    schedule=Schedule('cosine', 0.1, warmup_share=0.05),
    optimizer=_SGD,
    transforms=(Crop(1),),
  ),
  _MAE,
  _MAE_FINE,
  # Our choice: the same for a small transformer on the digits.
  dataclasses.replace(
    _MAE,
    name='mae_digits',
    batch=64,
    epochs=60,
    schedule=Schedule('cosine', 2e-3, warmup_share=0.1),
    transforms=(Crop(1),),
  ),
  dataclasses.replace(
    _MAE_FINE,
    name='mae_fine_digits',
    batch=64,
    epochs=40,
    schedule=Schedule('cosine', 3e-3, warmup_share=1 / 6),
    transforms=(Crop(1),),
  ),
  # Our choice, for a network of some twenty passes.
  Recipe(
    'short',
    batch=128,
    epochs=20,
    schedule=Schedule('cosine', 0.1, warmup_share=0.05),
    optimizer=_NESTEROV,
    transforms=(Crop(4), Flip()),
  ),
)
RECIPES = {row.name: row for row in _ROWS}


def find(name: str, *, epochs: int = 0, batch: int = 0, learning_rate: float = 0.0) -> Recipe:
  """Returns a recipe of base training, with another length, batch or learning rate where they are
  not 0.

  Raises:
    UserError: there is no such recipe, or a number is negative.

  >>> find('cec').epochs, find('cec', epochs=20).epochs
  (100, 20)
  """
  if name not in RECIPES:
    raise unknown('recipe of base training', name, RECIPES)
  return RECIPES[name].changed(epochs, batch, learning_rate)

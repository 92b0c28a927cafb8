"""Teacher, student and recipe of a data set, where the literature or this library for its small
default has settled them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxdistill.data import presets as data_presets

OFFERED = data_presets.NAMES


@dataclasses.dataclass(frozen=True)
class Preset:
  """What is usual on a data set.

  Attributes:
    teacher, student: what `models.build` takes.
    recipe: one of `recipes.RECIPES`, of both.
    low: side of the students' images; 0: native.
    seeds: students side by side.
    batch, epochs: of the students' recipe; 0: its own.
  """

  teacher: Mapping[str, Any]
  student: Mapping[str, Any]
  recipe: str
  low: int = 0
  seeds: int = 5
  batch: int = 0
  epochs: int = 0


# The first pair of the field's tables on the field's recipe.
_CIFAR = Preset({'name': 'resnet56'}, {'name': 'resnet20'}, 'crd240')
_LARGE = Preset(
  {'name': 'torchvision_resnet', 'depth': 34}, {'name': 'torchvision_resnet'}, 'imagenet', seeds=1
)
_BY_NAME = {
  # Our choice: small enough for ten students at once. Relations of order 3 cost the cube of a batch
  # times the numbers of an embedding.
  'digits': Preset(
    {'name': 'convnet', 'width': 32, 'depth': 3, 'norm': 'batch'},
    {'name': 'convnet', 'width': 8, 'depth': 2, 'norm': 'batch'},
    'digits',
    low=4,
    batch=32,
    epochs=20,
  ),
  'tiny_imagenet': dataclasses.replace(_CIFAR, recipe='tiny'),
  'imagenet': _LARGE,
  'imagenet224': _LARGE,
}


# The same with networks that give their maps before the ReLU.
_STAGED_DIGITS = dataclasses.replace(
  _BY_NAME['digits'],
  teacher={'name': 'resnet8', 'width': 16},
  student={'name': 'resnet8', 'width': 4},
)


def find(name: str, staged: bool = False) -> Preset:
  """Returns what is usual on a preset of the data table, whatever path its name has; `staged` asks
  for networks that give their maps before the ReLU.

  >>> find('digits').low, find('cifar100').recipe, find('digits', staged=True).student['name']
  (4, 'crd240', 'resnet8')
  """
  usual = _BY_NAME.get(data_presets.find(name).name.rstrip(':'), _CIFAR)
  return _STAGED_DIGITS if staged and usual is _BY_NAME['digits'] else usual

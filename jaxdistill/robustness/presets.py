"""Network, recipe and attacker of a data set, where the literature or this library for its small
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
    model: what `models.build` takes.
    recipe: one of `recipes.RECIPES`.
    size: side of the images; 0: that of the data set.
    eps: radius of the L-inf ball.
    eps_l2: of the L2 ball.
    first_layer: how networks normalise their images, one of `sections.FIRST_LAYERS`.
    train_images: so many of the training images; 0: all.
    seeds: networks side by side.
    attacks: of the final networks.
    attack_images: test images that these attack; 0: all.
    attack_steps, step_size: of the attack in training, see `at.method`.
    warmup: epochs before weights are perturbed.
    c_min: of RWP.
  """

  model: Mapping[str, Any]
  recipe: str
  size: int = 0
  eps: float = 8 / 255
  eps_l2: float = 128 / 255
  first_layer: str = 'statistics'
  train_images: int = 0
  seeds: int = 3
  attacks: tuple[str, ...] = ('pgd20', 'autoattack')
  attack_images: int = 0
  attack_steps: int = 10
  step_size: float = 0.0
  warmup: int = 0
  c_min: float = 1.7


# The tables of AWP and RWP.
_CIFAR10 = Preset({'name': 'preact_resnet'}, 'at200')
_BY_NAME = {
  # Our choice: robust over-fitting in half a minute.
  'digits': Preset(
    {'name': 'convnet', 'width': 8, 'depth': 2, 'norm': 'batch'},
    'digits',
    size=8,
    eps=0.2,
    eps_l2=1.0,
    train_images=512,
    seeds=5,
    attacks=('apgd_ce',),
    attack_steps=5,
  ),
  'cifar100': dataclasses.replace(_CIFAR10, recipe='black200', c_min=4.0),
  'svhn_cropped': dataclasses.replace(
    _CIFAR10, recipe='svhn200', first_layer='half', step_size=1 / 255, warmup=5
  ),
}
# With the loss of TRADES, alone or under a perturbation of the weights: the network of the public
# codes, which see images in [0, 1] as they are, and their numbers.
_TRADES = dict(model={'name': 'wrn_34_10'}, recipe='black200', first_layer='none', warmup=10)
# RST: half of every batch is pseudo-labelled.
_RST = dict(_TRADES, model={'name': 'wrn_28_10'}, recipe='rst200')


def find(name: str, over: str = 'at') -> Preset:
  """Returns what is usual on a preset of the data table, whatever path its name has.

  Args:
    name: of the data set.
    over: whose loss is minimised, 'at', 'trades' or 'rst'.

  >>> find('digits').eps, find('cifar100').c_min, find('cifar10', 'trades').model['name']
  (0.2, 4.0, 'wrn_34_10')
  """
  row = data_presets.find(name).name.rstrip(':')
  usual = _BY_NAME.get(row, _CIFAR10)
  if over == 'at' or row == 'digits':
    return usual
  return dataclasses.replace(usual, **(_TRADES if over == 'trades' else _RST))

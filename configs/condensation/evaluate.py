"""Evaluation: condensed sets, yours or ours, scored beside baselines under one fixed recipe, on one
network or several.

Command:   python -m launch.run --config=configs/condensation/evaluate.py:digits
Run time:  1 minute on two CPU cores
Expected:  random images 78.1 +- 1.3 %, the whole training set 98.3 +- 0.2 % (last epoch, 5
  networks)

The command scores the baselines alone; a set is named behind the data set that it stands for:
  evaluate.py:digits,set=runs/m3d-digits-ipc1-seed0/condensed.npz

After the colon stand the data set (digits, mnist, fashion_mnist, svhn_cropped, cifar10, cifar100,
imagenette, npz:PATH, folder:PATH, tiny_imagenet:PATH, imagenet:PATH or imagenet224:PATH) and,
behind commas:
  ipc=10        stored images a class of the baselines (those of the first set, or 1)
  factor=2      cells along the side of their images (those of the first set, or 1)
  classes=woof  the class folders to take, a subset of ImageNet's: nette, woof, meow, squawk, fruit,
                yellow, idc10, idc100
  quick         a smoke run: every phase, no meaningful number
  set=PATH      a condensed set, ours or any .npz with images and labels; several are joined by +
  recipe=dm     the protocol: idc (IDC, M3D, DANCE) with the exceptions of its code (idc_svhn,
                idc_mnist, idc_imagenet, idc_imagenet100), dm (DC, DSA, DM), ddranking (searched
                learning rate, LRS) (idc, or its exception for the data set and what the first set
                stores)
  models=A+B    networks, the others being a test of transfer from the first (the first set's own
                network, or ConvNet-3): ConvNet-3, ConvNet-3-BN, ResNet-10, ResNet-18, ResNet-18-BN,
                VGG-11, VGG-11-BN, AlexNet, AlexNet-BN, DenseNet, MLP, LeNet, ViT
  epochs=1500   passes over a set (the recipe's 1000; DANCE evaluates with 1500)
Any other TFDS set of images and labels: a preset of like size, then --config.data.name=NAME.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill.condensation import protocols, settings
from jaxdistill.experiment import arguments, schema
from jaxdistill.models import architectures


@dataclasses.dataclass(frozen=True)
class Arguments(settings.Arguments):
  """Behind the file name."""

  ipc: int = schema.field(
    0, example=10, help='stored images a class of the baselines (those of the first set, or 1)'
  )
  factor: int = schema.field(
    0, example=2, help='cells along the side of their images (those of the first set, or 1)'
  )
  set: str = schema.field(
    '',
    example='PATH',
    help='a condensed set, ours or any .npz with images and labels; several are joined by +',
  )
  recipe: str = schema.field(
    '',
    choices=tuple(protocols.RECIPES),
    example='dm',
    help='the protocol: idc (IDC, M3D, DANCE) with the exceptions of its code (idc_svhn, '
    'idc_mnist, idc_imagenet, idc_imagenet100), dm (DC, DSA, DM), ddranking (searched learning '
    'rate, LRS) (idc, or its exception for the data set and what the first set stores)',
  )
  models: str = schema.field(
    '',
    example='A+B',
    help="networks, the others being a test of transfer from the first (the first set's own "
    'network, or ConvNet-3): ' + ', '.join(architectures.ARCHITECTURES),
  )
  epochs: int = schema.field(
    0,
    example=1500,
    help="passes over a set (the recipe's 1000; DANCE evaluates with 1500)",
  )


def get_config(arg: str | Mapping[str, Any] = '') -> ConfigDict:
  args = arguments.read(Arguments, arg)
  result = settings.scoreboard(
    args.data,
    sets=[path for path in args.set.split('+') if path],
    networks=[name for name in args.models.split('+') if name],
    recipe=args.recipe,
    ipc=args.ipc,
    factor=args.factor,
    classes=args.classes,
    quick=args.quick,
  )
  result.evaluation.epochs = args.epochs
  return result

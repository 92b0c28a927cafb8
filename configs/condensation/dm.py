"""DM: match the mean features of real and synthetic images of a class in random networks (Zhao &
Bilen, WACV 2023).

Command:   python -m launch.run --config=configs/condensation/dm.py:digits
Run time:  1.6 minutes on two CPU cores
Expected:  92.6 +- 0.9 % (last epoch, 5 networks), random images 75.8 +- 0.9 %

The paper's setting is `dm.py:cifar10,ipc=10` (48.9 +- 0.6 % there, ConvNet-3, last epoch).

After the colon stand the data set (digits, mnist, fashion_mnist, svhn_cropped, cifar10, cifar100,
imagenette, npz:PATH, folder:PATH, tiny_imagenet:PATH, imagenet:PATH or imagenet224:PATH) and,
behind commas:
  ipc=10           stored images a class (1)
  factor=2         cells along the side of a stored image; 2 gives DM with multi-formation (1)
  classes=woof     the class folders to take, a subset of ImageNet's: nette, woof, meow, squawk,
                   fruit, yellow, idc10, idc100
  quick            a smoke run: every phase, no meaningful number
  model=resnet_ap  the network that condenses and evaluates (convnet; at 224 pixels resnet_ap)
Any other TFDS set of images and labels: a preset of like size, then --config.data.name=NAME.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill.condensation import settings
from jaxdistill.experiment import arguments, schema


@dataclasses.dataclass(frozen=True)
class Arguments(settings.CondensingArguments):
  """Behind the file name."""

  factor: int = schema.field(
    1,
    example=2,
    help='cells along the side of a stored image; 2 gives DM with multi-formation',
  )


def get_config(arg: str | Mapping[str, Any] = '') -> ConfigDict:
  args = arguments.read(Arguments, arg)
  digits = args.data == 'digits'
  return settings.defaults(
    args.data,
    quick=args.quick,
    model=args.model,
    classes=args.classes,
    recipe='dm',
    # Nothing of its own to set: a fresh network every iteration, and the mean features.
    method=dict(name='dm'),
    ipc=args.ipc,
    factor=args.factor,
    init='real' if args.factor == 1 else 'mix',
    iterations=500 if digits else 20_000,
    batch_real=64 if digits else 256,
    # DM uses every synthetic image in each step; no IPC in use comes near this.
    batch_syn_max=1_000_000,
    # The authors' note to their code: 10 from IPC 100 on for CIFAR-10, 1 for CIFAR-100 up to 125.
    learning_rate=10.0 if args.data == 'cifar10' and args.ipc >= 100 else 1.0,
    momentum=0.5,
    update='joint',
    # The pixels that are learned are normalised ones, never clipped.
    space='normalised',
    augmentation='color_crop_cutout_flip_scale_rotate',
    composition='dm',
  )

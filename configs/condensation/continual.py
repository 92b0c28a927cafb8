"""Class-incremental learning: fresh networks learn from condensed memories after every step (GDumb
style; Zhao & Bilen).

Command:   python -m launch.run --config=configs/condensation/continual.py:digits,ipc=1,orders=2
           --config.model.width=32 --config.condensation.iterations=200
Run time:  1.5 minutes on two shared CPU cores
Expected:  91.9 +- 0.3 % on all ten classes after the last step, 94.8 % on average over the steps

The setting of the papers is `continual.py:cifar100,steps=5,ipc=20,method=dm`, and steps=10.

After the colon stand the data set (digits, mnist, fashion_mnist, svhn_cropped, cifar10, cifar100,
imagenette, npz:PATH, folder:PATH, tiny_imagenet:PATH, imagenet:PATH or imagenet224:PATH) and,
behind commas:
  ipc=50           stored images a class (20)
  factor=2         cells along the side of a stored image (the method's own)
  classes=woof     the class folders to take, a subset of ImageNet's: nette, woof, meow, squawk,
                   fruit, yellow, idc10, idc100
  quick            a smoke run: every phase, no meaningful number
  model=resnet_ap  the network that condenses and learns (convnet; at 224 pixels resnet_ap)
  steps=10         steps in which the classes arrive; must divide the number of classes (5)
  method=m3d       what condenses the classes of each step: dm, m3d or dance, with the numbers of
                   its own config; or random, herding, kcenter or kmeans: real images are selected,
                   for comparison (dm)
  orders=2         orders of the classes: numpy's permutations of the seeds 0, 1, ... (5)
  networks=5       fresh networks after every step of every order (3)
  recipe=idc       how they are trained; idc with the exceptions of its code (dm)
Any other TFDS set of images and labels: a preset of like size, then --config.data.name=NAME.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill import config
from jaxdistill.condensation import settings
from jaxdistill.experiment import arguments, schema


@dataclasses.dataclass(frozen=True)
class Arguments(settings.CondensingArguments):
  """Behind the file name."""

  ipc: int = schema.field(20, example=50, help='stored images a class')
  factor: int = schema.field(
    0, example=2, help="cells along the side of a stored image (the method's own)"
  )
  model: str = schema.field(
    '',
    choices=settings.MODELS,
    example='resnet_ap',
    help='the network that condenses and learns (convnet; at 224 pixels resnet_ap)',
  )
  steps: int = schema.field(
    5,
    example=10,
    help='steps in which the classes arrive; must divide the number of classes',
  )
  method: str = schema.field(
    'dm',
    choices=('dm', 'm3d', 'dance', *settings.MEMORIES[1:]),
    example='m3d',
    help='what condenses the classes of each step: dm, m3d or dance, with the numbers of its own '
    'config; or random, herding, kcenter or kmeans: real images are selected, for comparison',
  )
  orders: int = schema.field(
    5, example=2, help="orders of the classes: numpy's permutations of the seeds 0, 1, ..."
  )
  networks: int = schema.field(3, example=5, help='fresh networks after every step of every order')
  recipe: str = schema.field(
    'dm',
    choices=('dm', 'idc'),
    example='idc',
    help='how they are trained; idc with the exceptions of its code',
  )


def get_config(arg: str | Mapping[str, Any] = '') -> ConfigDict:
  args = arguments.read(Arguments, arg)
  # The method's own config gives all that concerns condensing; selected images take DM's network
  # and statistics.
  selected = args.method in settings.MEMORIES
  method = 'dm' if selected else args.method
  chosen = dict(
    data=args.data, ipc=args.ipc, classes=args.classes, model=args.model, quick=args.quick
  )
  if args.factor:
    chosen['factor'] = args.factor
  return settings.continual(
    config.load(f'condensation/{method}', chosen),
    steps=args.steps,
    memory=args.method if selected else settings.MEMORIES[0],
    orders=min(args.orders, 2) if args.quick else args.orders,
    networks=min(args.networks, 2) if args.quick else args.networks,
    recipe=args.recipe,
  )

"""Class-incremental learning: fresh networks learn from condensed memories after every step (GDumb
style; Zhao & Bilen).

Command:   python -m launch.run --config=configs/condensation/continual.py:digits,ipc=1,orders=2
           --config.model.width=32 --config.condensation.iterations=200
Run time:  1.5 minutes on two shared CPU cores
Expected:  91.9 +- 0.3 % on all ten classes after the last step, 94.8 % on average over the steps

The setting of the papers is `continual.py:cifar100,steps=5,ipc=20,method=dm`, and steps=10.

After the colon stand the data set (digits, mnist, fashion_mnist, svhn_cropped, cifar10, cifar100,
imagenette, npz:PATH, folder:PATH, tiny_imagenet:PATH or imagenet:PATH) and, behind commas:
  steps=10        steps in which the classes arrive (5); must divide the number of classes
  method=m3d      what condenses the classes of each step: dm, m3d or dance, with the numbers of its
  own config (dm); or random,
                  herding, kcenter or kmeans: real images are selected, for comparison
  ipc=50          stored images a class (20)
  factor=2        cells along the side of a stored image (the method's own)
  orders=2        orders of the classes: numpy's permutations of the seeds 0, 1, ... (5)
  networks=5      fresh networks after every step of every order (3)
  recipe=idc      how they are trained (dm)
  classes=idc100  the class folders to take, a subset of ImageNet's (as for m3d.py)
  model=resnet_ap the network that condenses and learns (convnet)
  quick           a smoke run: every phase, no meaningful number
Any other TFDS set of images and labels: a preset of like size, then --config.data.name=NAME.
"""

from ml_collections import ConfigDict

from jaxdistill import config
from jaxdistill.condensation import settings


def get_config(arg: str = '') -> ConfigDict:
  args = config.parse_argument(
    arg,
    settings.PRESETS,
    steps=5,
    method=('dm', 'm3d', 'dance', *settings.MEMORIES[1:]),
    ipc=20,
    factor=0,
    orders=5,
    networks=3,
    recipe=('dm', 'idc'),
    classes='',
    model=settings.MODELS,
    quick=False,
  )
  # The method's own config gives all that concerns condensing; selected images take DM's network
  # and statistics.
  selected = args.method in settings.MEMORIES
  method = 'dm' if selected else args.method
  arguments = [
    args.data,
    f'ipc={args.ipc}',
    f'model={args.model}',
    *([f'factor={args.factor}'] if args.factor else []),
    *([f'classes={args.classes}'] if args.classes else []),
    *(['quick'] if args.quick else []),
  ]
  return settings.continual(
    config.load(f'condensation/{method}:{",".join(arguments)}'),
    steps=args.steps,
    memory=args.method if selected else settings.MEMORIES[0],
    orders=min(args.orders, 2) if args.quick else args.orders,
    networks=min(args.networks, 2) if args.quick else args.networks,
    recipe=args.recipe,
  )

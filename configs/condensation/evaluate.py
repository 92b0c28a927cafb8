"""Evaluation: condensed sets, yours or ours, scored beside baselines under one fixed recipe, on one
network or several.

Command:   python -m launch.run --config=configs/condensation/evaluate.py:digits
Run time:  1 minute on two CPU cores
Expected:  random images 78.1 +- 1.3 %, the whole training set 98.3 +- 0.2 % (last epoch, 5
  networks)

The command scores the baselines alone; a set is named behind the data set that it stands for:
  evaluate.py:digits,set=runs/m3d-digits-ipc1-seed0/condensed.npz

After the colon stand the data set (digits, mnist, fashion_mnist, svhn_cropped, cifar10, cifar100,
imagenette, npz:PATH, folder:PATH, tiny_imagenet:PATH or imagenet:PATH) and, behind commas:
  set=PATH           a condensed set, ours or any .npz with images and labels; several are joined by
  + recipe=dm          the protocol (idc): idc (IDC, M3D, DANCE), dm (DC, DSA, DM), ddranking
  (searched learning rate, LRS) models=A+B         networks: ConvNet-3, ConvNet-3-BN, ResNet-10,
  ResNet-18, VGG-11, AlexNet, DenseNet, MLP, LeNet, ViT;
                     the others are a test of transfer from the first (the first set's own network,
                     or ConvNet-3)
  ipc=10, factor=2   of the baselines (those of the first set, or 1)
  classes=woof       the class folders to take, a subset of ImageNet's (as for m3d.py)
  epochs=1500        passes over a set (the recipe's 1000; DANCE evaluates with 1500)
  quick              a smoke run: every phase, no meaningful number
Any other TFDS set of images and labels: a preset of like size, then --config.data.name=NAME.
"""

from ml_collections import ConfigDict

from jaxdistill import config
from jaxdistill.condensation import evaluation, settings


def get_config(arg: str = '') -> ConfigDict:
  args = config.parse_argument(
    arg,
    settings.PRESETS,
    set='',
    recipe=tuple(evaluation.RECIPES),
    models='',
    ipc=0,
    factor=0,
    epochs=0,
    classes='',
    quick=False,
  )
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

"""NCM: class means of a frozen network and cosines, nothing trained in the sessions (CEC, CVPR
2021).

Command:   python -m launch.run --config=configs/fscil/ncm.py:digits
Run time:  half a minute on two CPU cores
Expected:  82.7 +- 2.3 % on all ten classes after the last session (5 draws), 92.1 % on average

The setting of the papers is `ncm.py:cifar100,indices=cec,recipe=cec,model=resnet` (74.6 to 47.7 %
there).

After the colon stand the data set (digits, mnist, fashion_mnist, svhn_cropped, cifar10, cifar100,
imagenette, npz:PATH, folder:PATH, tiny_imagenet:PATH, imagenet:PATH, imagenet224:PATH, mini:PATH,
cub:PATH or caltech_birds2011) and, behind commas:
  base_classes=60  classes of the base session (60 of CIFAR-100, 4 of ten)
  way=5            new classes a session (5; 2 of ten)
  shot=1           images of a new class (5)
  draws=10         draws of these images (5; 1 of a fixed list)
  indices=cec      a fixed list of these images: cec (CIFAR-100's), or a file
  order=1          of the classes: a seed, or a file
  networks=2       base networks, each with a seed of its own (1)
  model=resnet     the encoder (the data set's own)
  base=runs/ncm    a work dir whose base networks are taken, or a file of weights of the encoder
  recipe=cec       of base training
  epochs=20        passes over the base images (the recipe's)
  rates=.1+1       factors of the learner's rate in the sessions, each a row (1)
  memory=m3d       what is remembered of every class: means, none, exemplars, random, cd2, m3d,
                   dance or dm (the learner's own)
  ipc=2            images a class of such a memory, but for means (1; of cd2 2)
  quick            a smoke run: every phase, no meaningful number
Any other TFDS set of images and labels: a preset of like size, then --config.data.name=NAME.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill.experiment import arguments
from jaxdistill.fscil import settings

Arguments = settings.Arguments


def get_config(arg: str | Mapping[str, Any] = '') -> ConfigDict:
  return settings.defaults(arguments.read(Arguments, arg), 'ncm')

"""PKI: every session adds a projector to those before, which stay frozen (Neural Networks 2025).

Command:   python -m launch.run --config=configs/fscil/pki.py:digits
Run time:  half a minute on two CPU cores
Expected:  73.4 +- 2.0 % on all ten classes after the last session (5 draws), 87.5 % on average

The setting of the paper is `pki.py:cifar100,indices=cec`; its variants are `keep=pkiv1` and
`keep=pkiv2`. A reconstruction, see the sheet of its fields.

After the colon stand the data set (digits, mnist, fashion_mnist, svhn_cropped, cifar10, cifar100,
imagenette, npz:PATH, folder:PATH, tiny_imagenet:PATH, imagenet:PATH, imagenet224:PATH, mini:PATH,
cub:PATH or caltech_birds2011) and, behind commas:
  base_classes=60     classes of the base session (60 of CIFAR-100, 4 of ten)
  way=5               new classes a session (5; 2 of ten)
  shot=1              images of a new class (5)
  draws=10            draws of these images (5; 1 of a fixed list)
  indices=cec         a fixed list of these images: cec (CIFAR-100's), or a file
  order=1             of the classes: a seed, or a file
  networks=2          base networks, each with a seed of its own (1)
  model=resnet        the encoder (the data set's own)
  base=runs/ncm       a work dir whose base networks are taken, or a file of weights of the encoder
  recipe=cec          of base training
  epochs=20           passes over the base images (the recipe's)
  rates=.1+1          factors of the learner's rate in the sessions, each a row (1)
  memory=m3d          what is remembered of every class: means, none, exemplars, random, cd2, m3d,
                      dance or dm (the learner's own)
  ipc=2               images a class of such a memory, but for means (1; of cd2 2)
  quick               a smoke run: every phase, no meaningful number
  keep=pkiv1          which projectors stay: pki: all; pkiv1: the first and the last; pkiv2: the
                      first; single: none (pki)
  learning_rate=0.05  of the sessions (0.25; CUB 0.001)
  steps=50            of every session (100)
Any other TFDS set of images and labels: a preset of like size, then --config.data.name=NAME.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill.experiment import arguments, schema
from jaxdistill.fscil import presets, settings


@dataclasses.dataclass(frozen=True)
class Arguments(settings.Arguments):
  """Behind the file name."""

  keep: str = schema.field(
    'pki',
    choices=('pki', 'pkiv1', 'pkiv2', 'single'),
    example='pkiv1',
    help='which projectors stay: pki: all; pkiv1: the first and the last; pkiv2: the first; '
    'single: none',
  )
  learning_rate: float = schema.field(0.0, example=0.05, help='of the sessions (0.25; CUB 0.001)')
  steps: int = schema.field(0, example=50, help='of every session (100)')


def get_config(arg: str | Mapping[str, Any] = '') -> ConfigDict:
  args = arguments.read(Arguments, arg)
  cub = presets.known_as(args.data) == 'cub'
  return settings.defaults(
    args,
    'pki',
    keep=args.keep,
    steps=args.steps or 100,
    learning_rate=args.learning_rate or (0.001 if cub else 0.25),
  )

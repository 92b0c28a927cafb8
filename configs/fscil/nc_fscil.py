"""NC-FSCIL: a projector pulls features onto fixed, evenly spread directions of all classes (ICLR
2023).

Command:   python -m launch.run --config=configs/fscil/nc_fscil.py:digits
Run time:  1 minute on two CPU cores
Expected:  87.4 +- 1.0 % on all ten classes after the last session (5 draws), 93.7 % on average

The setting of the paper is `nc_fscil.py:cifar100,indices=cec` (82.5 to 56.1 % there).

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
  learning_rate=0.05  of the sessions (of its code; else 0.1)
  steps=50            of every session (of its code; else 100)
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

  learning_rate: float = schema.field(
    0.0, example=0.05, help='of the sessions (of its code; else 0.1)'
  )
  steps: int = schema.field(0, example=50, help='of every session (of its code; else 100)')


def get_config(arg: str | Mapping[str, Any] = '') -> ConfigDict:
  args = arguments.read(Arguments, arg)
  row = presets.NC_FSCIL.get(presets.known_as(args.data), presets.NcFscil())
  if not presets.is_usual(args.data, args.base_classes, args.way):
    # The lists are those of the published sessions.
    row = dataclasses.replace(row, steps=100, copies=1)
  return settings.defaults(
    args,
    'nc_fscil',
    steps=args.steps or row.steps,
    learning_rate=args.learning_rate or row.learning_rate,
    copies=row.copies,
    lengths=row.lengths,
    mixing=row.mixing,
  )

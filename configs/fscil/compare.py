"""Comparison: several learners on the same base networks and the same few images, run by run.

Command:   python -m launch.run --config=configs/fscil/compare.py:digits
Run time:  1 minute on two CPU cores
Expected:  NCM 81.8 +- 3.4 %, PKI 73.4 +- 2.0 %, SDC 74.0 +- 3.9 % and CD² 75.4 +- 2.0 % after the
  last session (5 draws)

The papers' setting is `compare.py:cifar100,methods=ncm+pki+sdc+cd2`.

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
  methods=ncm+pki  the learners, joined by +: configs of this folder, and pkiv1, pkiv2; each with
                   the fields of its own config (ncm+pki+sdc+cd2)
Any other TFDS set of images and labels: a preset of like size, then --config.data.name=NAME.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill.experiment import arguments, schema
from jaxdistill.fscil import settings


@dataclasses.dataclass(frozen=True)
class Arguments(settings.Arguments):
  """Behind the file name."""

  methods: str = schema.field(
    '+'.join(settings.COMPARED),
    example='ncm+pki',
    help='the learners, joined by +: configs of this folder, and pkiv1, pkiv2; each with the '
    'fields of its own config',
  )


def get_config(arg: str | Mapping[str, Any] = '') -> ConfigDict:
  args = arguments.read(Arguments, arg)
  return settings.comparison(args, [name for name in args.methods.split('+') if name])

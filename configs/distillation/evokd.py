"""EvoKD: a live teacher and students that evolve together, with guided modules (TCSVT 2021).

Command:   python -m launch.run --config=configs/distillation/evokd.py:digits
Run time:  2 minutes on one CPU core
Expected:  93.9 +- 0.3 % (5 students), alone 93.1 +- 0.7 %

A reconstruction: what the paper leaves open is a field. Its teacher learns beside the students,
from the images that they see; the other teacher lends its form, and is compared with.

After the colon stand the data set (digits, mnist, fashion_mnist, svhn_cropped, cifar10, cifar100,
imagenette, npz:PATH, folder:PATH, tiny_imagenet:PATH, imagenet:PATH or imagenet224:PATH) and,
behind commas:
  teacher=resnet56          the teacher's network (the data set's usual one), or a work dir whose
                            teacher is taken
  weights=mine.safetensors  a file of its weights; else it is trained
  student=resnet20          the students' network (the data set's usual one)
  assistant=resnet32        network of an assistant, where the method has one (the student's)
  low=16                    side of the students' images, 0 for native (digits 4, else 0)
  shown=upsampled           such images stay small, or are brought back (native)
  degrade=blur+darken       what these small images suffer: blur, darken, noise
  seeds=10                  students in one program (5; of ImageNet 1)
  batches=own               all students see the same batches, or each has its own (shared)
  share=0.1                 of the images of a class that the students see; the teacher saw all
                            (1.0)
  public=40                 classes that only the students learn: the teacher has those before
  cache=flip                teacher outputs that are kept: none, flip or a number of draws
  recipe=short              of teacher and students
  epochs=30                 passes over the images (the recipe's)
  val=0.1                   share of the images held out to choose by (0.1; of a known set 0)
  verify=20                 classes that nobody is trained on, whose pairs are verified
  quick                     a smoke run: every phase, no meaningful number
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill.distillation.settings import Arguments, defaults
from jaxdistill.experiment import arguments


def get_config(arg: str | Mapping[str, Any] = '') -> ConfigDict:
  return defaults(arguments.read(Arguments, arg), 'evokd')

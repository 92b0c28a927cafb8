"""Sup-CL: contrast of all images of equal labels (Khosla et al., NeurIPS 2020).

Command:   python -m launch.run --config=configs/label_noise/sup_cl.py:digits
Run time:  55 s on two cores, which other work shared
Expected:  92.8 ± 1.4 % of clean test images (five networks)

After the colon stand the data set (digits, mnist, fashion_mnist, svhn_cropped, cifar10, cifar100,
imagenette, npz:PATH, folder:PATH, tiny_imagenet:PATH, imagenet:PATH, imagenet224:PATH, idx:PATH,
vectors:PATH, multilabel:PATH, mosaic:PATH, patches:PATH, yeast or yeast:PATH) and, behind commas:
  model=resnet18       the network (the data set's usual one)
  noise=asymmetric     law by which labels are made wrong, or none: they are as the data set has
                       them (of a known set symmetric_inclusive where the method reads one label an
                       example)
  rate=0.4             of wrong labels; of a matrix 0 -> 1 and 1 -> 0, as in 0+0.6 (0.4; of a matrix
                       of your own none)
  crowd=cifar10n:PATH  annotators: ind, by_image, or those of cifar10n:PATH or csv:PATH (of a known
                       set ind where the method reads a crowd)
  labels=2             labels an example of a simulated crowd (3; by_image 2), or which of cifar10n:
                       aggregate, random1 to random3, worst or crowd (crowd)
  trusted=10           examples of each class with true labels (0; tcl 10)
  seeds=5              networks in one program (3; of digits 5)
  recipe=short         of the training (the data set's)
  epochs=30            passes over the examples (the recipe's)
  images=10000         training examples, drawn by a fixed seed (all; of digits 500)
  val=0.2              share of the examples held out, with their observed labels (0.1)
  quick                a smoke run: every phase, no meaningful number

The network of Sel-CL's tables on CIFAR is the usual one with --config.model.stem_norm=True
--config.model.last_norm=False; a comparison has one network for all its methods.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill.experiment import arguments
from jaxdistill.label_noise.settings import Arguments, defaults


def get_config(arg: str | Mapping[str, Any] = '') -> ConfigDict:
  return defaults(arguments.read(Arguments, arg), 'sup_cl')

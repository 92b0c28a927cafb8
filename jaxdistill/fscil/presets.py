"""How data sets are divided into sessions where the literature, or this library for its small
default, has settled it, and how base networks are trained on them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxdistill.data import presets as data_presets
from jaxdistill.fscil.generative import Generative
from jaxdistill.models import architectures

# The benchmarks of this family are offered by its configs alone.
OFFERED = (*data_presets.NAMES, 'mini:', 'cub:', 'caltech_birds2011')
# Name in TensorFlow Datasets -> that of the same set in the tables below.
_ALIASES = {'caltech_birds2011': 'cub'}


@dataclasses.dataclass(frozen=True)
class Preset:
  """A division of a data set's classes.

  Attributes:
    base_classes: of session 0.
    way: new classes a session.
    shot: training images of a new class.
    sessions: later sessions.
    indices: the published choice of the images where the library has it, see `lists.PUBLISHED`; '':
      they are drawn by seed, or a file lists them.

  >>> find('cifar100').num_classes
  100
  """

  base_classes: int
  way: int
  shot: int
  sessions: int
  indices: str = ''

  @property
  def num_classes(self) -> int:
    """Of all sessions together."""
    return self.base_classes + self.sessions * self.way


@dataclasses.dataclass(frozen=True)
class Training:
  """How base networks are trained on a data set; our choice where no paper says.

  Attributes:
    model: what `models.build` takes.
    recipe: one of `recipes.RECIPES`.
    zoom: side to which test images are scaled before the centre crop; 0: none.
    size: of the images; None: the data set's own.
    head_width: of a projector; 0: its own.
    generative: pre-training and fine-tuning of a transformer.
  """

  model: Mapping[str, Any]
  recipe: str
  zoom: int = 0
  size: int | None = None
  head_width: int = 0
  generative: Generative = Generative()


# CEC's ResNet-20, which stands for `resnet` on every set.
RESNET = architectures.find('ResNet-20', architectures.ENCODERS)
_SMALL = Training(RESNET, 'short')
_TRAININGS = {
  'digits': Training({'name': 'convnet', 'width': 32, 'depth': 2}, 'digits', size=8, head_width=64),
  'mnist': dataclasses.replace(_SMALL, recipe='digits'),
  # NC-FSCIL's network, training and zoomed test crop.
  'cifar100': Training({'name': 'resnet12'}, 'nc_fscil', zoom=36, size=32),
  'mini': Training({'name': 'resnet12'}, 'nc_fscil_mini', zoom=96),
  'cub': Training({'name': 'imagenet_resnet', 'depth': 18}, 'nc_fscil_cub', zoom=256),
}
# The same for the transformer of masked autoencoders, which is pre-trained on the base images:
# Co-Memory's network is a ViT-B/16, the small ones are ours.
_SMALL_VIT = Training(
  {'name': 'mae_vit'}, 'mae_fine', generative=Generative(layer_decay=0.65, pretrain_epochs=200)
)
# The decoder is MAE's, 8 blocks of 512 numbers in 16 heads.
_LARGE_VIT = Training(
  architectures.find('ViT-B16', architectures.ENCODERS),
  'mae_fine',
  size=224,
  generative=dataclasses.replace(_SMALL_VIT.generative, decoder_width=512, decoder_depth=8),
)
_VITS = {
  'digits': Training(
    {'name': 'mae_vit', 'width': 48, 'depth': 2, 'heads': 4, 'patch': 2},
    'mae_fine_digits',
    size=8,
    generative=Generative(
      decoder_width=32,
      decoder_depth=1,
      layer_decay=0.65,
      pretrain_recipe='mae_digits',
      pretrain_epochs=60,
    ),
  ),
  'mini': _LARGE_VIT,
  'cub': _LARGE_VIT,
}
# Sets of ten classes are divided as the digits are (our choice).
_TEN = ('mnist', 'fashion_mnist', 'svhn_cropped', 'cifar10', 'imagenette')


@dataclasses.dataclass(frozen=True)
class NcFscil:
  """Numbers of NC-FSCIL's sessions; the defaults are our choice for other sets.

  Attributes:
    learning_rate: of every session.
    steps, copies: of a session, copies of a row of memory in it; a number for all, or one each.
    lengths: whether rare classes weigh more; without it the few base means of a small set are lost
      (our scan).
    mixing: probability that features are mixed.
  """

  learning_rate: float = 0.1
  steps: int | tuple[int, ...] = 100
  copies: int | tuple[int, ...] = 1
  lengths: bool = True
  mixing: float = 0.0


# The public code's; it weighs classes and mixes features on CIFAR-100 alone.
NC_FSCIL = {
  'cifar100': NcFscil(0.25, (50, 75, 100, 120, 140, 160, 200, 200), mixing=0.75),
  'mini': NcFscil(0.025, tuple(range(100, 180, 10)), tuple(range(1, 9)), lengths=False),
  'cub': NcFscil(0.05, tuple(range(105, 155, 5)), tuple(range(1, 11)), lengths=False),
}
# Tao et al., CVPR 2020 (TOPIC), whose divisions all later papers keep; digits: our choice.
PRESETS = {
  'digits': Preset(base_classes=4, way=2, shot=5, sessions=3),
  'cifar100': Preset(base_classes=60, way=5, shot=5, sessions=8, indices='cec'),
  'mini': Preset(base_classes=60, way=5, shot=5, sessions=8),
  'cub': Preset(base_classes=100, way=10, shot=5, sessions=10),
}


def known_as(name: str) -> str:
  """Returns by which name the tables of this module have a data set, whatever path or version its
  own name has, and whether it lies in a folder or is one of TensorFlow Datasets.

  >>> known_as('cub:/data/cub'), known_as('caltech_birds2011:0.1.1'), known_as('folder:photos')
  ('cub', 'cub', 'folder')
  """
  base = data_presets.find(name).name.rstrip(':')
  return _ALIASES.get(base, base)


def find(name: str) -> Preset | None:
  """Returns how a data set is divided, whatever path or version its name has; None where nothing is
  settled.

  >>> find('mini:/data/mini').sessions, find('folder:photos')
  (8, None)
  """
  return PRESETS.get(known_as(name))


def is_usual(name: str, base_classes: int, way: int) -> bool:
  """Returns whether so many base classes and so many a session are what is settled for a data set,
  for which 0 stands too.

  >>> is_usual('cifar100', 60, 5), is_usual('cifar100', 0, 10), is_usual('npz:mine.npz', 0, 0)
  (True, False, False)
  """
  known = find(name)
  if known is None:
    return False
  usual = known.base_classes, known.way
  return (base_classes or usual[0], way or usual[1]) == usual


def has_numbers(name: str) -> bool:
  """Returns whether a set of this name, as `data.load` gives it, is one that the tables of this
  module know.

  >>> has_numbers('cub:/data/cub'), has_numbers('cifar10:3.0.2'), has_numbers('npz:mine.npz')
  (True, True, False)
  >>> has_numbers('cub')  # some set in memory: that of the table has a path
  False
  """
  row = data_presets.find(name)
  return name.startswith(row.name) and find_like(known_as(name)) is not None


def find_like(name: str) -> Preset | None:
  """Returns how a preset of the data table is divided, as `find`; ten classes as the digits.

  >>> find_like('cifar10').way, find_like('tiny_imagenet')
  (2, None)
  """
  return find('digits' if name in _TEN else name)


def training(name: str, model: str = '') -> Training:
  """Returns how base networks are trained on a preset of the data table.

  Args:
    name: of the preset.
    model: the network that is asked for; '': any.

  >>> training('cifar100').model, training('cifar100', 'mae_vit').recipe
  ({'name': 'resnet12'}, 'mae_fine')
  """
  if model == _SMALL_VIT.model['name']:
    return _VITS.get(name, _SMALL_VIT)
  return _TRAININGS.get(name, _SMALL)

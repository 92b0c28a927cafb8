"""Network, recipe and fields of methods on a data set, where the literature or this library for its
small default has settled them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxdistill.data import presets as data_presets

# Of these sets, too, this family reads the labels.
OFFERED = (
  *data_presets.NAMES,
  'idx:',
  'vectors:',
  'multilabel:',
  'mosaic:',
  'patches:',
  'yeast',
  'yeast:',
)


_MATRICES = ('multilabel', 'mosaic', 'yeast')
# Known wherever their files lie, though no table of a paper here has them.
_PUBLIC = ('yeast',)


@dataclasses.dataclass(frozen=True)
class Preset:
  """What is usual on a data set.

  Attributes:
    model: what `models.build` takes.
    recipe: one of `recipes.RECIPES`.
    size: side of the images; 0: that of the data set.
    seeds: networks side by side.
    train_images: so many of the training examples; 0: all.
    annotators: of a crowd whose mistakes depend on the image.
    fields: of methods, by their names, where they are not the defaults.
  """

  model: Mapping[str, Any]
  recipe: str
  size: int = 0
  seeds: int = 3
  train_images: int = 0
  annotators: int = 300
  fields: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


_PREACT = {'name': 'preact_resnet'}
_SMALL = {'name': 'convnet', 'width': 32, 'depth': 2, 'norm': 'batch'}
# Queues shorter than the hundreds of examples, which would else be their own negatives, a copy that
# follows within some hundred steps, and a second stage of fewer steps that are larger.
_TUNED = {'finetune': 30, 'finetune_learning_rate': 0.01, 'bootstrap_from': 20}
_COPIED = {'momentum': 0.99, 'queue': 256}
_VECTORS = Preset(
  {'name': 'mlp', 'width': 256, 'depth': 1},
  'vectors',  # of 30 epochs, which MOIT's usual warm-up would fill
  fields={'moit': dict(warmup_epochs=15)},
)
# What takes hundreds of epochs or thousands of rows on CIFAR-10, for a thousand digits.
_DIGITS = {
  'ccc': dict(meta_size=100, meta_batch=32, groups=5),
  'co_teaching': dict(tau=0.3, warmup=20),
  'moco': {**_TUNED, **_COPIED},
  'moit': dict(pair_queue=256, neighbours=25, warmup_epochs=20),
  'sel_cl': {**_TUNED, **_COPIED, 'pair_queue': 256, 'neighbours': 25},
  'sup_cl': _TUNED,
  'taidtm': dict(least=5, joint_epochs=20),
  'tcl': dict(rounds=15, retrain=15, finetune=5, learning_rate=0.001),
}
# Those of the papers; on asymmetric noise Sel-CL has alpha .25 and beta 0.
_CIFAR100 = {
  'divide_mix': dict(warmup=30),
  'elr': dict(lam=7.0, beta=0.9),
  'sel_cl': dict(alpha=0.75, beta=0.35),
}
_USUAL = Preset(_PREACT, 'short')
_BY_NAME = {
  # Ours: every method in half a minute, and so few that wrong labels are learned by heart.
  'digits': Preset(
    _SMALL, 'digits', size=8, seeds=5, train_images=500, annotators=60, fields=_DIGITS
  ),
  'cifar10': _USUAL,
  'cifar100': dataclasses.replace(_USUAL, fields=_CIFAR100),
  'vectors': _VECTORS,
  'patches': _VECTORS,
  'multilabel': _VECTORS,
  'yeast': _VECTORS,
  'mosaic': Preset({'name': 'convnet', 'width': 16, 'depth': 3, 'norm': 'batch'}, 'vectors'),
  'mnist': Preset(_SMALL, 'short'),
  'fashion_mnist': Preset(_SMALL, 'short'),
  'idx': Preset(_SMALL, 'short'),
}


def find(name: str) -> Preset:
  """Returns what is usual on a preset of the data table, whatever path its name has.

  >>> find('digits').recipe, find('vectors:mine.npz').model['name']
  ('digits', 'mlp')
  """
  row = data_presets.find(name).name.rstrip(':')
  return _BY_NAME.get(row, _USUAL)


def is_matrix(name: str) -> bool:
  """Returns whether the examples of a data set have any number of classes.

  >>> is_matrix('mosaic:digits'), is_matrix('digits')
  (True, False)
  """
  return data_presets.find(name).name.rstrip(':') in _MATRICES


def is_known(name: str) -> bool:
  """Returns whether the labels of a data set are the true ones; those of data of one's own are the
  observed ones. Mosaics are what their images are.

  >>> is_known('mosaic:80:digits'), is_known('mosaic:npz:mine.npz'), is_known('multilabel:x.npz')
  (True, False, False)
  """
  base = data_presets.mosaic_of(name)[1]
  row = data_presets.find(base)
  return row.published or row.ships(base) or row.name in _PUBLIC

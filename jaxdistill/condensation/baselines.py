"""Baselines: training sets of real images that a condensed set has to beat.

  random, herding, kcenter, kmeans: ipc real images a class at full size, as the tables of the
    papers have them
  ..._mix: ipc factor^2 images a class, shrunk into the cells of ipc canvases
  whole: the whole training set

A method with factor > 1 trains on factor^2 images a canvas. Its fair opponent is the '_mix' form,
which has the same storage, the same decoding and the same number of training steps; 'mix' alone is
the random one, 'random_mix'.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from jaxdistill import draws, errors
from jaxdistill.data import Dataset, selection
from jaxdistill.synthesis import decode
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training.run import environment

# Name -> label of the row, in the order of a table.
LABELS = {
  'random': 'Random real images',
  'herding': 'Herding',
  'kcenter': 'K-Center',
  'kmeans': 'K-means, nearest images',
  'mix': 'Mix-init, not optimised',
  'random_mix': 'Random images, shrunk',
  'herding_mix': 'Herding, shrunk',
  'kcenter_mix': 'K-Center, shrunk',
  'kmeans_mix': 'K-means, nearest images, shrunk',
  'whole': 'Whole training set',
}


@dataclasses.dataclass(frozen=True)
class Storage:
  """What a set stores of each class.

  Attributes:
    ipc: stored images.
    factor: cells along the side of one.
    init: what a condensation starts them from, 'mix', 'real' or 'noise'.
  """

  ipc: int
  factor: int = 1
  init: str = 'real'

  def needed(self, names: Sequence[str]) -> int:
    """Returns the real images of a class that the start, or a baseline of these names, takes; that
    of the whole set takes what there is.

    >>> Storage(ipc=2, factor=2).needed(['random']), Storage(ipc=2, factor=2).needed(['mix'])
    (2, 8)
    >>> Storage(ipc=2, factor=2, init='noise').needed(['whole'])
    0
    """
    if self.init == 'mix' or any(map(is_mix, names)):
      return self.ipc * self.factor**2
    return self.ipc if self.init == 'real' or any(name != 'whole' for name in names) else 0


@dataclasses.dataclass(frozen=True)
class Draws:
  """Sets of one form, one a network: random real images that are drawn anew for each.

  What it says of itself is what all of them have in common, and the images of the first.

  Attributes:
    sets: one a network of the evaluation.

  Raises:
    UserError: no set, or sets of different form.
  """

  sets: tuple[Condensed, ...]

  def __post_init__(self):
    if len({(one.images.shape, one.factor, one.class_names) for one in self.sets}) != 1:
      raise errors.UserError(
        'Draws are sets of one form, one a network: as many images of one size, with one factor '
        f'and the same classes; these {len(self.sets)} are not.'
      )

  @property
  def images(self) -> np.ndarray:
    return self.sets[0].images

  @property
  def factor(self) -> int:
    return self.sets[0].factor

  @property
  def flip(self) -> bool:
    return self.sets[0].flip

  @property
  def mean(self) -> tuple[float, ...]:
    return self.sets[0].mean

  @property
  def std(self) -> tuple[float, ...]:
    return self.sets[0].std

  @property
  def class_names(self) -> tuple[str, ...]:
    return self.sets[0].class_names

  @property
  def num_classes(self) -> int:
    return self.sets[0].num_classes

  def decode(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns the training images and labels of all sets, one set behind another."""
    images, labels = zip(*(one.decode() for one in self.sets), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def make(
  name: str,
  train: Dataset,
  *,
  ipc: int,
  factor: int = 1,
  seed: int = 0,
  features: np.ndarray | None = None,
  recipe: str = 'idc',
) -> Condensed | Dataset:
  """Makes the training set of a baseline.

  Args:
    name: one of `LABELS`.
    train: the real training set.
    ipc: stored images a class.
    factor: cells along the side of a stored image, for the '_mix' forms; the others store images at
      full size.
    seed: of the draw.
    features: float [n, d] of all images, which herding, kcenter and kmeans compare
      (`training.features.embed`).
    recipe: name of the evaluation recipe that goes with the set.

  Returns:
    Condensed; the training set itself for 'whole'.

  Raises:
    UserError: for an unknown name, a class with too few images, or features that are needed and
      missing.

  >>> from jaxdistill import data
  >>> train, _ = data.load('digits', image_size=8)
  >>> mixed = make('random_mix', train, ipc=2, factor=2)
  >>> len(mixed.images), len(mixed.decode()[0])
  (20, 80)
  """
  if name == 'whole':
    return train
  return build(
    name,
    train,
    pick(name, train, ipc=ipc, factor=factor, seed=seed, features=features),
    factor=factor,
    recipe=recipe,
  )


def pick(
  name: str,
  train: Dataset,
  *,
  ipc: int,
  factor: int = 1,
  seed: int = 0,
  features: np.ndarray | None = None,
  draw: int = 0,
) -> np.ndarray:
  """Returns which images a baseline takes: int [classes, ipc or ipc factor^2] positions in `train`;
  arguments as in `make`, and the number of a random draw."""
  ipc = errors.whole('ipc', ipc, at_least=1)
  factor = errors.whole('factor', factor, at_least=1)
  number = ipc * factor**2 if is_mix(name) else ipc
  key = jax.random.fold_in(draws.key(seed), 1)
  key = jax.random.fold_in(key, draw) if draw else key
  return selection.select(selected_by(name), features, train.labels, number, key, train.class_names)


def build(
  name: str, train: Dataset, picks: np.ndarray, *, factor: int = 1, recipe: str = 'idc'
) -> Condensed:
  """Makes the set of the images at `picks`; arguments as in `make`."""
  factor = factor if is_mix(name) else 1
  canvases = [
    np.asarray(decode.mix(train.images[of_class].astype(np.float32) / 255, factor))
    for of_class in picks
  ]
  return Condensed(
    np.concatenate(canvases),
    np.repeat(np.arange(len(picks)), len(canvases[0])),
    train.class_names,
    train.mean,
    train.std,
    factor=factor,
    flip=train.flip,
    dataset=train.name,
    method=name,
    recipe=recipe,
    versions=environment()['versions'],
  )


def is_mix(name: str) -> bool:
  """Whether a baseline shrinks its images into cells.

  >>> is_mix('mix'), is_mix('herding_mix'), is_mix('herding')
  (True, True, False)
  """
  return name.endswith('mix')


def selected_by(name: str) -> str:
  """Returns the selection method of a baseline.

  >>> selected_by('herding_mix'), selected_by('mix')
  ('herding', 'random')
  """
  if name not in LABELS or name == 'whole':
    raise errors.unknown('baseline', name, LABELS)
  return 'random' if name == 'mix' else name.removesuffix('_mix')


def needs_features(name: str) -> bool:
  """Whether the features of all images are needed to make a baseline.

  >>> needs_features('kmeans_mix'), needs_features('mix'), needs_features('whole')
  (True, False, False)
  """
  return name != 'whole' and selected_by(name) in selection.NEED_FEATURES

"""Classes that are taken for one another, of sets that are known by the names of their classes."""

import numpy as np

from jaxdistill.data.dataset import Dataset
from jaxdistill.errors import UserError

CIFAR10 = (
  *('airplane', 'automobile', 'bird', 'cat', 'deer'),
  *('dog', 'frog', 'horse', 'ship', 'truck'),
)
# What becomes what in asymmetric noise, and the five pairs that are hard to tell apart.
_CIFAR10_FLIPS = {
  'truck': 'automobile',
  'bird': 'airplane',
  'cat': 'dog',
  'dog': 'cat',
  'deer': 'horse',
}
_CIFAR10_PAIRS = (
  ('cat', 'dog'),
  ('deer', 'horse'),
  ('airplane', 'bird'),
  ('automobile', 'truck'),
  ('frog', 'ship'),
)
# The 20 superclasses of CIFAR-100, each in the order of the fine labels.
# Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
_CIFAR100 = """
  beaver dolphin otter seal whale
  aquarium_fish flatfish ray shark trout
  orchid poppy rose sunflower tulip
  bottle bowl can cup plate
  apple mushroom orange pear sweet_pepper
  clock keyboard lamp telephone television
  bed chair couch table wardrobe
  bee beetle butterfly caterpillar cockroach
  bear leopard lion tiger wolf
  bridge castle house road skyscraper
  cloud forest mountain plain sea
  camel cattle chimpanzee elephant kangaroo
  fox porcupine possum raccoon skunk
  crab lobster snail spider worm
  baby boy girl man woman
  crocodile dinosaur lizard snake turtle
  hamster mouse rabbit shrew squirrel
  maple_tree oak_tree palm_tree pine_tree willow_tree
  bicycle bus motorcycle pickup_truck train
  lawn_mower rocket streetcar tank tractor
"""
SUPERCLASSES = tuple(tuple(line.split()) for line in _CIFAR100.split('\n') if line.strip())


def taken_for(dataset: Dataset) -> np.ndarray:
  """Returns for each class the one that it becomes in asymmetric noise, int [C]; itself where it
  stays.

  Raises:
    UserError: the classes are neither those of CIFAR-10 nor those of CIFAR-100.

  >>> images = np.zeros((10, 8, 8, 1), np.uint8)
  >>> taken_for(Dataset(images, np.arange(10), CIFAR10)).tolist()
  [0, 1, 0, 5, 7, 3, 6, 7, 8, 1]
  """
  place = {name: label for label, name in enumerate(dataset.class_names)}
  partner = np.arange(dataset.num_classes)
  if set(place) == set(CIFAR10):
    flips = _CIFAR10_FLIPS
  elif set(place) == set(_CIFAR100.split()):
    flips = {}
    for superclass in SUPERCLASSES:
      flips.update(zip(superclass, (*superclass[1:], superclass[0])))
  else:
    raise UserError(
      f'{dataset.name}: asymmetric noise is known of CIFAR-10 and CIFAR-100, by the names of their '
      'classes, which are others here; take pair_flip, symmetric or instance noise.'
    )
  for name, other in flips.items():
    partner[place[name]] = place[other]
  return partner


def hard_pairs(class_names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
  """Returns pairs of classes that are hard to tell apart: the five of CIFAR-10, of other sets the
  classes 0 and 1, 2 and 3, and so on, where nothing is known (our choice).

  >>> hard_pairs(CIFAR10)
  ((3, 5), (4, 7), (0, 2), (1, 9), (6, 8))
  >>> hard_pairs(('a', 'b', 'c'))
  ((0, 1),)
  """
  if set(class_names) != set(CIFAR10):
    return tuple((first, first + 1) for first in range(0, len(class_names) - 1, 2))
  place = {name: label for label, name in enumerate(class_names)}
  return tuple((place[one], place[other]) for one, other in _CIFAR10_PAIRS)

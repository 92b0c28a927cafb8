"""Mosaics of four images, whose classes are drawn from topics: a set with a matrix of labels that
go together, made of any set of labelled images."""

import zlib

import numpy as np

from jaxdistill import errors
from jaxdistill.data.dataset import Dataset
from jaxdistill.data.multilabelled import MultiLabelled
from jaxdistill.data.streaming import Streamed
from jaxdistill.errors import UserError

_TILES = 4
# Classes of a topic, on average, where nobody says how many topics there are.
_CLASSES_A_TOPIC = 3


def topics(num_classes: int, count: int = 0, focus: float = 0.9, seed: int = 0) -> np.ndarray:
  """Returns what classes the topics are about: float64 [topics, classes], every row a distribution.

  The classes, in random order, are divided among the topics; a topic gives the share `focus` to its
  own, alike, and the rest to all classes, alike.

  Args:
    num_classes: at least 2.
    count: of topics; 0: one for three classes, but at least two.
    focus: from 0, where all topics are the same, to 1, where no two share a class.
    seed: of the division.

  Raises:
    UserError: fewer than two classes, more topics than classes, a focus outside of [0, 1].

  >>> topics(4, 2, focus=0.5).sum(0).tolist(), topics(10).shape
  ([0.5, 0.5, 0.5, 0.5], (3, 10))
  """
  num_classes = errors.whole('num_classes', num_classes, at_least=2)
  errors.real_numbers(focus=focus)
  if not 0 <= focus <= 1:
    raise UserError(f'The focus of topics is a share from 0 to 1; it is {focus}.')
  count = errors.whole('topics', count) or max(2, round(num_classes / _CLASSES_A_TOPIC))
  if count > num_classes:
    raise UserError(f'{count} topics need as many classes; there are {num_classes}.')
  order = np.random.RandomState(errors.seed(seed)).permutation(num_classes)
  rows = np.full((count, num_classes), (1 - focus) / num_classes)
  for row, classes in zip(rows, np.array_split(order, count)):
    row[classes] += focus / len(classes)
  return rows


def mosaics(
  dataset: Dataset, count: int = 0, *, seed: int = 0, num_topics: int = 0, focus: float = 0.9
) -> MultiLabelled:
  """Returns 2x2 mosaics of a set's images with the classes that are in them.

  A mosaic has a topic, each as likely; its four tiles have classes drawn from the topic one by one,
  and each is an image of its class, all as likely. So it has one to four of the classes, and those
  of a topic go together:

      P(class c) = mean over topics of 1 - (1 - p_c)^4.

  The topics depend on `seed` and the number of classes, the mosaics on the name of the split too:
  training and test mosaics of one seed have the same topics and draws of their own. The draws are
  those of numpy's frozen `RandomState`.

  Args:
    dataset: images in memory, some of every class.
    count: mosaics; 0: as many as there are images.
    seed: of topics and mosaics.
    num_topics, focus: see `topics`.

  Returns:
    Images [count, 2 h, 2 w, c], with the statistics and class names of the set.

  Raises:
    UserError: streamed images, a class without images, or what `topics` refuses.

  Source: the composites of MLNTM's checks in our own form; topics and numbers are our choice.

  >>> pair = Dataset(np.arange(2, dtype=np.uint8).repeat(16).reshape(2, 4, 4, 1), [0, 1], mean=(0,),
  ...   std=(1,))
  >>> four = mosaics(pair, 4)
  >>> four.image_shape, np.array_equal(four.images.max((1, 2, 3)), four.labels[:, 1])
  ((8, 8, 1), True)
  """
  if isinstance(dataset.images, Streamed):
    raise UserError(f'{dataset.name}: mosaics are made of images in memory; these are streamed.')
  if dataset.counts.min() == 0:
    empty = dataset.class_names[dataset.counts.argmin()]
    raise UserError(
      f'{dataset.name} ({dataset.split}): class {errors.brief(repr(empty))} has no image, and '
      'mosaics need some of each.'
    )
  count = errors.whole('count', count) or len(dataset)
  shares = topics(dataset.num_classes, num_topics, focus, seed)
  random = np.random.RandomState([errors.seed(seed), zlib.crc32(dataset.split.encode())])
  labels = _classes(random, shares, count)
  images = dataset.images[_images_of(random, dataset, labels)]
  matrix = np.zeros((count, dataset.num_classes), np.int32)
  matrix[np.arange(count)[:, None], labels] = 1
  return MultiLabelled(
    _tiled(images),
    matrix,
    dataset.class_names,
    name=f'mosaic:{dataset.name}',
    split=dataset.split,
    mean=dataset.mean,
    std=dataset.std,
    flip=dataset.flip,
    notices=dataset.notices,
  )


def _classes(random, shares, count):
  """The classes of the tiles, int [count, 4], each mosaic's from a topic of its own."""
  ends = shares.cumsum(1)
  ends[:, -1] = 1.0  # whatever the rounding
  of_mosaic = random.randint(len(shares), size=count)
  draws = random.random_sample((count, _TILES))
  labels = np.empty((count, _TILES), np.int64)
  for topic, upper in enumerate(ends):
    rows = of_mosaic == topic
    labels[rows] = np.searchsorted(upper, draws[rows], side='right')
  return labels


def _images_of(random, dataset, labels):
  """The position of an image of each class of `labels`."""
  by_class = np.argsort(dataset.labels, kind='stable')
  first = dataset.counts.cumsum() - dataset.counts
  within = (random.random_sample(labels.shape) * dataset.counts[labels]).astype(np.int64)
  return by_class[first[labels] + within]


def _tiled(images):
  """[n, 4, h, w, c] -> [n, 2 h, 2 w, c], row by row."""
  n, _, height, width, channels = images.shape
  grid = images.reshape(n, 2, 2, height, width, channels).transpose(0, 1, 3, 2, 4, 5)
  return grid.reshape(n, 2 * height, 2 * width, channels)

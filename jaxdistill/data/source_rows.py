"""Which row each image had in its source, whatever the order of the data set: what published lists
and labels refer to."""

import re
from collections.abc import Sequence

import numpy as np

from jaxdistill.data.dataset import Dataset

# As TensorFlow Datasets tells of CIFAR.
_ROW = re.compile(r'train_(\d+)')


def are_numbers(ids: Sequence[object]) -> bool:
  """Returns whether ids are rows of the source themselves: those of a set that was divided on its
  way in and that calls its images nothing.

  >>> are_numbers(np.array([7, 2], object)), are_numbers(['7', '2']), are_numbers(())
  (True, False, False)
  """
  return len(ids) > 0 and all(isinstance(entry, (int, np.integer)) for entry in ids)


def rows_of(train: Dataset) -> np.ndarray | None:
  """Returns the row of each image in the original training file, int64 [n], by `Dataset.ids`; None
  where these do not tell.

  >>> pair = Dataset(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]), ids=['train_7', 'train_2'])
  >>> rows_of(pair)
  array([7, 2])
  """
  if are_numbers(train.ids):
    return np.array(train.ids, np.int64)
  matches = [_ROW.fullmatch(str(entry)) for entry in train.ids]
  if not matches or None in matches:
    return None
  return np.array([int(match[1]) for match in matches])

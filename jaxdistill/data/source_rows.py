"""Which row each image had in its source, whatever the order of the data set: what published lists
and labels refer to."""

import re

import numpy as np

from jaxdistill.data.dataset import Dataset

# As TensorFlow Datasets tells of CIFAR.
_ROW = re.compile(r'train_(\d+)')


def rows_of(train: Dataset) -> np.ndarray | None:
  """Returns the row of each image in the original training file, int64 [n], by `Dataset.ids`; None
  where these do not tell.

  >>> pair = Dataset(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]), ids=['train_7', 'train_2'])
  >>> rows_of(pair)
  array([7, 2])
  """
  matches = [_ROW.fullmatch(str(entry)) for entry in train.ids]
  if not matches or None in matches:
    return None
  return np.array([int(match[1]) for match in matches])

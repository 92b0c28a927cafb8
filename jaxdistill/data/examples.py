"""Images with their labels and statistics, of whatever origin: what a network is trained or scored
on."""

import dataclasses
from typing import Any

import numpy as np

from jaxdistill.data.dataset import Dataset
from jaxdistill.data.streaming import Streamed


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
  """Labelled images as a trainer or a scorer takes them.

  Attributes:
    images: [n, h, w, c], uint8 or float in [0, 1], or uint8 that is streamed from disk.
    labels: int [n] or soft [n, classes].
    num_classes: of the labels.
    mean, std: per channel, of images in [0, 1].
    flip: whether a mirrored image keeps its label.

  >>> Examples(np.zeros((2, 8, 8, 1)), np.array([0, 1]), 2, (0.5,), (0.25,)).image_shape
  (8, 8, 1)
  """

  images: np.ndarray | Streamed | Any
  labels: np.ndarray | Any
  num_classes: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  flip: bool = True

  @classmethod
  def of(cls, dataset: Dataset) -> 'Examples':
    """Returns the examples of a data set.

    >>> pair = Dataset(np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]))
    >>> len(Examples.of(pair))
    2
    """
    return cls(
      dataset.images, dataset.labels, dataset.num_classes, dataset.mean, dataset.std, dataset.flip
    )

  def normalised_as(self, others: Any) -> 'Examples':
    """Returns the examples with the statistics of others (anything with mean and std): a network is
    scored on images that are normalised as those it was trained on."""
    return dataclasses.replace(self, mean=tuple(others.mean), std=tuple(others.std))

  def __len__(self) -> int:
    return len(self.images)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and number of channels."""
    return self.images.shape[1:]

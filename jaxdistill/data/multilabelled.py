"""A set of images or vectors of which each has any number of classes: a matrix of zeros and
ones."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxdistill import errors
from jaxdistill.data.dataset import (
  as_array,
  boolean,
  channel_statistics,
  check_images,
  checked_ids,
  known_classes,
  positions,
)
from jaxdistill.data.vectors import as_images, checked_features, feature_statistics
from jaxdistill.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class MultiLabelled:
  """Inputs of one split with a matrix of labels, and what is needed to preprocess them.

  `inputs` is uint8 [n, h, w, c], images, or numbers [n, d], vectors, which become float32. `labels`
  is int32 [n, q] of 0 and 1: whether an input has the class of the column. The rest is as in
  `dataset.Dataset` for images and in `vectors.Vectors` for vectors.

  Raises `UserError` where the fields contradict each other.

  >>> two = MultiLabelled(np.zeros((2, 8, 8, 3), np.uint8), [[0, 1, 1], [0, 0, 0]])
  >>> two.num_classes, two.is_vectors, two.counts
  (3, False, array([0, 1, 1]))
  """

  inputs: np.ndarray
  labels: np.ndarray
  class_names: tuple[str, ...] = ()
  name: str = 'arrays'
  split: str = 'train'
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  flip: bool = True
  notices: tuple[str, ...] = ()
  ids: np.ndarray | Sequence[object] = ()

  def __post_init__(self):
    where = f'{self.name} ({self.split})'
    inputs = as_array(where, 'inputs', self.inputs)
    vectors = inputs.ndim == 2
    if vectors:
      inputs = checked_features(where, inputs)
      mean, std = feature_statistics(where, self.mean, self.std, inputs)
    else:
      check_images(where, inputs)
      mean, std = channel_statistics(where, self.mean, self.std, inputs)
    labels = checked_matrix(where, self.labels, len(inputs))
    names = known_classes(where, self.class_names, labels.shape[1] - 1)
    if len(names) != labels.shape[1]:
      raise UserError(
        f'{where}: {labels.shape[1]} columns of labels need as many class names; there are '
        f'{len(names)}.'
      )
    fields = dict(
      inputs=inputs,
      labels=labels,
      class_names=names,
      mean=mean,
      std=std,
      flip=boolean(where, self.flip) and not vectors,
      ids=checked_ids(where, self.ids, len(inputs), 'inputs'),
    )
    for field, value in fields.items():
      object.__setattr__(self, field, value)

  def __len__(self) -> int:
    return len(self.labels)

  @property
  def num_classes(self) -> int:
    """q, the columns of the matrix."""
    return len(self.class_names)

  @property
  def is_vectors(self) -> bool:
    """Whether the inputs are vectors."""
    return self.inputs.ndim == 2

  @property
  def images(self) -> np.ndarray:
    """The images; vectors as images of one pixel, see `vectors.Vectors`."""
    return as_images(self.inputs) if self.is_vectors else self.inputs

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and number of channels of `images`."""
    return self.images.shape[1:]

  @property
  def counts(self) -> np.ndarray:
    """Number of inputs that have each class, int64 [q]."""
    return self.labels.sum(0, dtype=np.int64)

  def take(self, indices: Sequence[int] | np.ndarray, split: str | None = None) -> 'MultiLabelled':
    """Returns the inputs at `indices`, in that order, with the same statistics; `split` renames
    them.

    Raises `UserError` for what is neither positions nor a true or false for each input.

    >>> MultiLabelled([[0.], [2.]], [[0, 1], [1, 1]]).take([1]).labels
    array([[1, 1]], dtype=int32)
    """
    indices = positions(self.name, indices, len(self), 'inputs')
    return dataclasses.replace(
      self,
      inputs=self.inputs[indices],
      labels=self.labels[indices],
      split=split or self.split,
      ids=self.ids[indices] if len(self.ids) else self.ids,
    )

  def describe(self) -> str:
    """Returns the set in one line.

    >>> MultiLabelled([[0.], [2.]], [[0, 1], [1, 1]]).describe()
    'arrays (train): 2 vectors of 1 numbers, 2 labels, 1.5 each on average'
    """
    height, width, channels = self.image_shape
    kind = 'vectors' if self.is_vectors else 'images'
    size = f'{channels} numbers' if self.is_vectors else f'{height}x{width}x{channels}'
    return (
      f'{self.name} ({self.split}): {len(self):,} {kind} of {size}, {self.num_classes} labels, '
      f'{self.labels.sum(1).mean():.1f} each on average'
    )


def checked_matrix(where: str, labels: object, count: int) -> np.ndarray:
  """Returns a matrix of labels of `count` inputs as int32 [n, q].

  Raises `UserError` for another shape and for values other than 0 and 1.

  >>> checked_matrix('mine', [[True, False]], 1)
  array([[1, 0]], dtype=int32)
  """
  labels = as_array(where, 'labels', labels)
  if labels.ndim != 2 or not labels.shape[1] or labels.dtype.kind not in 'iufb':
    raise UserError(
      f'{where}: labels must be a matrix of zeros and ones of shape [n, q], a column a class; they '
      f'are {labels.dtype} of shape {list(labels.shape)}.'
    )
  if len(labels) != count:
    raise UserError(
      f'{where}: {count} inputs but {len(labels)} rows of labels; there must be a row an input.'
    )
  other = (labels != 0) & (labels != 1)  # NaN is one
  if other.any():
    row, column = np.argwhere(other)[0]
    raise UserError(
      f'{where}: labels must be 0 or 1; that of input {row} for class {column} is '
      f'{labels[row, column]}.'
    )
  return labels.astype(np.int32)


def divided(
  whole: MultiLabelled, share: float, seed: int = 0
) -> tuple[MultiLabelled, MultiLabelled]:
  """Returns (train, test): round(share n) inputs drawn at random are those of the test, both in
  their order in the set; without names of its own an input is called by its row in the whole.

  The order is numpy's frozen `RandomState`, so a seed means the same with every version.

  Raises `UserError` for a share that leaves one of the parts empty.

  >>> whole = MultiLabelled(np.arange(10.)[:, None], np.tile([[0, 1]], (10, 1)))
  >>> [len(part.ids) for part in divided(whole, 0.2)]
  [8, 2]
  """
  errors.real_numbers(share=share)
  count = round(share * len(whole))
  if not 0 < count < len(whole):
    raise UserError(
      f'{whole.name}: of {len(whole)} inputs a share of {share} for the test leaves one of the '
      'parts empty.'
    )
  held = np.zeros(len(whole), bool)
  held[np.random.RandomState(errors.seed(seed)).permutation(len(whole))[:count]] = True
  if not len(whole.ids):
    whole = dataclasses.replace(whole, ids=np.arange(len(whole)))
  return whole.take(~held), whole.take(held, 'test')

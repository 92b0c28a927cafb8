"""A set of labelled vectors of numbers: features that were computed or measured beforehand."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxdistill.data.dataset import (
  as_array,
  check_labels,
  checked_ids,
  known_classes,
  positions,
)
from jaxdistill.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Vectors:
  """Feature vectors of one split with their labels, and what standardises them.

  `features` is float32 [n, d] without NaN and infinity, `labels` int32 [n] in [0, number of
  classes). `mean` and `std` are a number a feature: a network is given (features - mean) / std.
  Left out, they are measured on the features, see `standard`, and the class names are the numbers
  0, 1, ... `ids`, `notices` as those of `dataset.Dataset`.

  Where networks and trainers read images, `images` gives the vectors as images of one pixel, whose
  channels are the features: `Examples.of(vectors)` are examples like others, and (1, 1, d) is the
  image shape of `models.build`.

  Raises `UserError` where the fields contradict each other.

  >>> pair = Vectors([[0., 3.], [2., 3.]], [0, 1], class_names=('low', 'high'))
  >>> pair.num_features, pair.mean, pair.std, pair.images.shape
  (2, (1.0, 3.0), (1.0, 1.0), (2, 1, 1, 2))
  """

  features: np.ndarray
  labels: np.ndarray
  class_names: tuple[str, ...] = ()
  name: str = 'arrays'
  split: str = 'train'
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  notices: tuple[str, ...] = ()
  ids: np.ndarray | Sequence[object] = ()

  def __post_init__(self):
    where = f'{self.name} ({self.split})'
    features = checked_features(where, self.features)
    labels = as_array(where, 'labels', self.labels)
    check_labels(where, labels, len(features), 'a vector', 'vectors')
    mean, std = feature_statistics(where, self.mean, self.std, features)
    fields = dict(
      features=features,
      labels=labels.astype(np.int32),
      class_names=known_classes(where, self.class_names, int(labels.max())),
      mean=mean,
      std=std,
      ids=checked_ids(where, self.ids, len(features), 'vectors'),
    )
    for field, value in fields.items():
      object.__setattr__(self, field, value)

  def __len__(self) -> int:
    return len(self.labels)

  @property
  def num_classes(self) -> int:
    """Number of classes that the set knows."""
    return len(self.class_names)

  @property
  def num_features(self) -> int:
    """d, the numbers of a vector."""
    return self.features.shape[1]

  @property
  def counts(self) -> np.ndarray:
    """Number of vectors of each class, int64 [classes]."""
    return np.bincount(self.labels, minlength=self.num_classes)

  @property
  def images(self) -> np.ndarray:
    """The vectors as images of one pixel, float32 [n, 1, 1, d]."""
    return as_images(self.features)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """That of `images`, (1, 1, d)."""
    return 1, 1, self.num_features

  @property
  def flip(self) -> bool:
    """False: a vector has no mirror."""
    return False

  def take(self, indices: Sequence[int] | np.ndarray, split: str | None = None) -> 'Vectors':
    """Returns the vectors at `indices`, in that order, with the same statistics; `split` renames
    them.

    Raises `UserError` for what is neither positions nor a true or false for each vector.

    >>> Vectors([[0.], [2.], [5.]], [0, 1, 0]).take([2, 1]).labels
    array([0, 1], dtype=int32)
    """
    indices = positions(self.name, indices, len(self), 'vectors')
    return dataclasses.replace(
      self,
      features=self.features[indices],
      labels=self.labels[indices],
      split=split or self.split,
      ids=self.ids[indices] if len(self.ids) else self.ids,
    )

  def describe(self) -> str:
    """Returns the set in one line.

    >>> Vectors([[0.], [2.], [5.]], [0, 1, 0]).describe()
    'arrays (train): 3 vectors of 1 numbers, 2 classes of 1 to 2 vectors'
    """
    low, high = self.counts.min(), self.counts.max()
    each = f'{low:,}' if low == high else f'{low:,} to {high:,}'
    return (
      f'{self.name} ({self.split}): {len(self):,} vectors of {self.num_features} numbers, '
      f'{self.num_classes} classes of {each} vectors'
    )


def standard(features: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns the mean and the standard deviation (of n, not n - 1) of every feature [n, d], taken in
  float64; a feature that is constant gets the deviation 1: there is nothing to scale.

  >>> standard(np.array([[0., 3.], [2., 3.]]))
  ((1.0, 3.0), (1.0, 1.0))
  """
  wide = np.asarray(features, np.float64)
  # A constant feature, of which rounding may leave a deviation.
  constant = (wide == wide[:1]).all(0)
  std = np.where(constant, 1.0, wide.std(0))
  return tuple(wide.mean(0).tolist()), tuple(std.tolist())


def checked_features(where: str, features: object) -> np.ndarray:
  """Returns features as float32 [n, d].

  Raises `UserError` for another shape or kind, for none, and for NaN and infinity.

  >>> checked_features('mine', [[1, 2]]).dtype
  dtype('float32')
  """
  features = as_array(where, 'features', features)
  if features.ndim != 2 or features.dtype.kind not in 'iufb':
    raise UserError(
      f'{where}: features must be numbers of shape [n, d], a row a vector; '
      f'they are {features.dtype} of shape {list(features.shape)}.'
    )
  if not features.size:
    raise UserError(f'{where}: there are no features (the shape is {list(features.shape)}).')
  with np.errstate(over='ignore'):  # what overflows is told
    features = features.astype(np.float32)
  finite = np.isfinite(features)
  if not finite.all():
    row, column = np.argwhere(~finite)[0]
    raise UserError(
      f'{where}: feature {column} of vector {row} is {features[row, column]}, no finite float32 '
      f'({(~finite).sum():,} such numbers in all); fill them in or leave those vectors out.'
    )
  return features


def feature_statistics(
  where: str, mean: Sequence[float], std: Sequence[float], features: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns mean and deviation of every feature, measured where both are left out.

  Raises `UserError` for others than a number a feature, every deviation above 0.

  >>> feature_statistics('mine', [0, 0], [1, 2], np.zeros((1, 2)))
  ((0.0, 0.0), (1.0, 2.0))
  """
  mean, std = np.asarray(mean), np.asarray(std)
  if not mean.size and not std.size:
    return standard(features)
  # Written so that NaN fails too.
  if (
    any(part.shape != features.shape[1:] or part.dtype.kind not in 'iuf' for part in (mean, std))
    or not np.isfinite(mean).all()
    or not ((std > 0) & (std < np.inf)).all()
  ):
    raise UserError(
      f'{where}: mean and std need {features.shape[1]} finite values each, one a feature, every '
      f'std above 0; they have the shapes {list(mean.shape)} and {list(std.shape)}.'
    )
  return tuple(map(float, mean)), tuple(map(float, std))


def as_images(features: np.ndarray) -> np.ndarray:
  """Returns vectors [n, d] as images of one pixel [n, 1, 1, d].

  >>> as_images(np.zeros((2, 5))).shape
  (2, 1, 1, 5)
  """
  return features[:, None, None]

"""A set of labelled images, and its division into parts that keep the share of every class."""

import dataclasses
import numbers
from collections.abc import Iterable, Sequence

import numpy as np

from jaxdistill import errors
from jaxdistill.data import statistics
from jaxdistill.data.streaming import Streamed, select
from jaxdistill.errors import UserError, brief

# More than any set has (our choice); a larger label is none.
_MOST_CLASSES = 10**6
# Classes that a line on what is missing lists.
_LISTED = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """Images of one split with their labels, and what is needed to preprocess them.

  `images` is uint8 [n, h, w, c], a numpy array on the host or `streaming.Streamed` for a set too
  large to be loaded, and `labels` a numpy array int32 [n] in [0, number of classes). `mean` and
  `std` are per channel and refer to `images / 255`. `flip` says whether a mirrored image still
  belongs to its class. `notices` are lines of what was passed over or changed in reading,
  and `background` is the colour on which transparent images were laid, '' where there are none.
  `ids` is what the source calls its images, one an image: the paths of their files, or text; where
  it has no such names, their rows in it if it was divided on its way in, else empty.
  Left out, the class names are the numbers 0, 1, ..., and the statistics are measured on the images
  (see `statistics.measure`); images that are measured and hold zeros and ones alone are refused, as
  floats in [0, 1] that were cut to whole numbers.

  Raises `UserError` where the fields contradict each other.

  >>> pair = Dataset(np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]))
  >>> pair.num_classes, pair.image_shape
  (2, (8, 8, 3))
  """

  images: np.ndarray | Streamed
  labels: np.ndarray
  class_names: tuple[str, ...] = ()
  name: str = 'arrays'
  split: str = 'train'
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  flip: bool = True
  notices: tuple[str, ...] = ()
  background: str = ''
  ids: np.ndarray | Sequence[object] = ()

  def __post_init__(self):
    where = f'{self.name} ({self.split})'
    images = self.images
    if not isinstance(images, Streamed):
      images = as_array(where, 'images', images)
    labels = as_array(where, 'labels', self.labels)
    check_images(where, images)
    check_labels(where, labels, len(images))
    names = known_classes(where, self.class_names, int(labels.max()))
    ids = checked_ids(where, self.ids, len(labels))
    mean, std = channel_statistics(where, self.mean, self.std, images)
    fields = dict(
      images=images,
      labels=labels.astype(np.int32),
      class_names=names,
      mean=mean,
      std=std,
      flip=boolean(where, self.flip),
      ids=ids,
    )
    for field, value in fields.items():
      object.__setattr__(self, field, value)

  def __len__(self) -> int:
    return len(self.labels)

  @property
  def num_classes(self) -> int:
    """Number of classes that the set knows, whether or not this split holds images of each."""
    return len(self.class_names)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and number of channels."""
    return self.images.shape[1:]

  @property
  def counts(self) -> np.ndarray:
    """Number of images of each class, int64 [classes]."""
    return np.bincount(self.labels, minlength=self.num_classes)

  def take(self, indices: Sequence[int] | np.ndarray, split: str | None = None) -> 'Dataset':
    """Returns the images at `indices`, in that order, with the same statistics; `split` renames
    them.

    Raises `UserError` for what is neither positions nor a true or false for each image.

    >>> pair = Dataset(np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]))
    >>> pair.take([1], 'last').labels
    array([1], dtype=int32)
    """
    indices = positions(self.name, indices, len(self))
    return dataclasses.replace(
      self,
      images=select(self.images, indices),
      labels=self.labels[indices],
      split=split or self.split,
      ids=self._ids_of(indices),
    )

  def of_class(self, label: int) -> np.ndarray:
    """Returns the positions of the images of one class, ascending.

    >>> Dataset(np.zeros((3, 8, 8, 1), np.uint8), np.array([1, 0, 1])).of_class(1)
    array([0, 2])
    """
    return np.flatnonzero(self.labels == label)

  def take_classes(self, classes: Sequence[int], split: str | None = None) -> 'Dataset':
    """Returns the images of some classes, in their order in the set; classes[k] becomes class k.
    The statistics stay.

    Raises `UserError` for what is no number of a class of the set, a class that is named twice, and
    where no image is left.

    >>> three = Dataset(np.zeros((3, 8, 8, 1), np.uint8), np.array([0, 1, 2]), class_names=('ant',
    ...   'bee', 'cat'))
    >>> two = three.take_classes([2, 0])
    >>> two.labels, two.class_names
    (array([1, 0], dtype=int32), ('cat', 'ant'))
    """
    classes = as_array(self.name, 'classes', classes)
    if (
      not classes.size
      or classes.ndim != 1
      or classes.dtype.kind not in 'iu'
      or len(np.unique(classes)) < classes.size
      or not 0 <= classes.min() <= classes.max() < self.num_classes
    ):
      raise UserError(
        f'{self.name}: some classes are different numbers from 0 to {self.num_classes - 1}; '
        f'got {classes.tolist()}.'
      )
    place = np.full(self.num_classes, -1, np.int32)
    place[classes] = np.arange(len(classes))
    kept = np.flatnonzero(place[self.labels] >= 0)
    return dataclasses.replace(
      self,
      images=select(self.images, kept),
      labels=place[self.labels[kept]],
      split=split or self.split,
      class_names=tuple(self.class_names[label] for label in classes),
      ids=self._ids_of(kept),
    )

  def _ids_of(self, indices):
    return self.ids[indices] if len(self.ids) else self.ids

  def describe(self) -> str:
    """Returns the set in one line.

    >>> Dataset(np.zeros((3, 8, 8, 1), np.uint8), np.array([1, 0, 1])).describe()
    'arrays (train): 3 images of 8x8x1, 2 classes of 1 to 2 images'
    """
    low, high = self.counts.min(), self.counts.max()
    images = f'{low:,}' if low == high else f'{low:,} to {high:,}'
    height, width, channels = self.image_shape
    return (
      f'{self.name} ({self.split}): {len(self):,} images of {height}x{width}x{channels}, '
      f'{self.num_classes} classes of {images} images'
      + (f', transparent ones on {self.background}' if self.background else '')
      + (', streamed' if isinstance(self.images, Streamed) else '')
    )


def stratified(
  labels: np.ndarray, share: float, seed: int, least_kept: int = 1
) -> tuple[np.ndarray, np.ndarray]:
  """Returns ascending positions (kept, held out) with close to `share` of every class held out.

  Of a class with n images round(share n) are held out, but at least one and at most n -
  `least_kept`; by default a class with one image keeps it. The order is numpy's frozen
  `RandomState`, so a seed means the same split with every version, and what is held out of a
  smaller share is held out of a larger one.

  >>> stratified(np.array([0, 0, 0, 0, 1, 1]), 0.25, seed=0)[1].size
  2
  """
  random = np.random.RandomState(errors.seed(seed))
  held = np.zeros(len(labels), bool)
  for label in np.unique(labels):
    members = np.flatnonzero(labels == label)
    count = min(max(round(share * len(members)), 1), len(members) - least_kept)
    held[random.permutation(members)[:count]] = True
  return np.flatnonzero(~held), np.flatnonzero(held)


def hold_out(train: Dataset, share: float, seed: int = 0) -> tuple[Dataset, Dataset]:
  """Returns (train, validation): close to `share` of every class held out, the same for the same
  seed.

  Every class keeps at least one training image, and one with two or more gives at least one away;
  the last of `notices` of the second says which classes gave none. The statistics stay those of the
  whole training set.

  Raises `UserError` when the share is not between 0 and 1, a class has no image, or no class has
  two.

  >>> pairs = Dataset(np.zeros((20, 8, 8, 1), np.uint8), np.repeat([0, 1], 10))
  >>> rest, validation = hold_out(pairs, 0.2)
  >>> validation.counts
  array([2, 2])
  """
  errors.seed(seed)
  errors.real_numbers(share=share)
  if not 0 < share < 1:
    raise UserError(
      f'The share held out for validation must lie between 0 and 1, both excluded; it is {share}.'
    )
  if train.counts.min() == 0:
    empty = train.class_names[train.counts.argmin()]
    raise UserError(
      f'{train.name}: class {brief(repr(empty))} has no training image, '
      'so no part of it can be held out for validation.'
    )
  kept, held = stratified(train.labels, share, seed)
  if not held.size:
    raise UserError(
      f'{train.name}: every class has a single image, so none can be held out for validation.'
    )
  validation = train.take(held, 'validation')
  lines = without_images(train.name, 'validation', validation.labels, train.num_classes)
  return train.take(kept), dataclasses.replace(validation, notices=(*train.notices, *lines))


def without_images(where: str, role: str, labels: np.ndarray, classes: int) -> tuple[str, ...]:
  """Returns a line on the classes of which a split has no image; none where each has some.

  >>> without_images('mine', 'test', np.array([0, 2]), 4)
  ('mine: classes without test images: 2 (1, 3).',)
  """
  absent = np.setdiff1d(np.arange(classes), labels)
  if not absent.size:
    return ()
  listed = ', '.join(map(str, absent[:_LISTED])) + (', ...' if absent.size > _LISTED else '')
  return (f'{where}: classes without {role} images: {absent.size} ({listed}).',)


def positions(where: str, indices: object, count: int, many: str = 'images') -> np.ndarray:
  """Returns what picks some of `count` images, or of what `many` names: positions [n], or booleans
  [count].

  Raises `UserError` for anything else.

  >>> positions('mine', [1, -1], 3)
  array([ 1, -1])
  """
  indices = as_array(where, 'indices', indices)
  if not indices.size:
    indices = indices.astype(np.int64)
  mask = indices.dtype == bool and indices.shape == (count,)
  whole = indices.ndim == 1 and indices.dtype.kind in 'iu'
  if not mask and not (whole and ((indices >= -count) & (indices < count)).all()):
    raise UserError(
      f'{where}: {many} are taken by positions from 0 to {count - 1}, or by a true or false for '
      f'each; got {indices.dtype} of shape {list(indices.shape)}.'
    )
  return indices


def known_classes(where: str, names: Iterable[str | bytes], last: int) -> tuple[str, ...]:
  """Returns the names of the classes 0 to at least `last`, their numbers where there are none.

  Raises `UserError` for too few names, and for names that cannot be written.

  >>> known_classes('mine', (), 2), known_classes('mine', ['cat', 'dog'], 0)
  (('0', '1', '2'), ('cat', 'dog'))
  """
  names = texts(where, names) or tuple(map(str, range(_count(where, last))))
  if last >= len(names):
    raise UserError(
      f'{where}: label {last} needs at least {last + 1} class names; there are {len(names)}.'
    )
  _check_names(where, names)
  return names


def checked_ids(
  where: str, ids: np.ndarray | Sequence[object], count: int, many: str = 'images'
) -> np.ndarray:
  """Returns what a source calls its images, or what `many` names: an array of objects [count] or
  [0].

  Raises `UserError` for another number of them.

  >>> checked_ids('mine', ['a', 'b'], 2).tolist()
  ['a', 'b']
  """
  ids = np.asarray(ids, object)
  if ids.shape not in ((0,), (count,)):
    raise UserError(f'{where}: {count} {many} need as many ids, or none; got {len(ids)}.')
  return ids


def texts(where: str, names: Iterable[str | bytes]) -> tuple[str, ...]:
  """Returns names of classes as text; bytes are UTF-8.

  Raises `UserError` for other bytes, and where `names` is a single text.

  >>> texts('mine', np.array(['cat', 'dog'], 'S'))
  ('cat', 'dog')
  """
  if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
    raise UserError(f'{where}: class_names is a list of names, one a class; it is {names!r}.')
  try:
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)
  except UnicodeDecodeError as error:
    raise UserError(
      f'{where}: class_names are bytes that are no UTF-8 ({error.object!r}); store text.'
    ) from error


def boolean(where: str, flip: object) -> bool:
  """Returns `flip` as a bool; of numbers, 0 and 1 are ones.

  >>> boolean('mine', np.bool_(True))
  True
  """
  if not isinstance(flip, (bool, np.bool_, numbers.Integral)) or flip not in (0, 1):
    raise UserError(f'{where}: flip is true or false; it is {flip!r}.')
  return bool(flip)


def as_array(where: str, field: str, values: object) -> np.ndarray:
  """Returns values as one array.

  Raises `UserError` for lists of different lengths.

  >>> as_array('mine', 'labels', [0, 1])
  array([0, 1])
  """
  try:
    return np.asarray(values)
  except ValueError as error:  # lists of different lengths
    raise UserError(
      f'{where}: {field} cannot be made one array ({error}); give all one shape.'
    ) from error


def _count(where: str, last: int) -> int:
  """Returns how many classes there are by the last label, where there are no names."""
  if last >= _MOST_CLASSES:
    raise UserError(
      f'{where}: the label {last} would make {last + 1:,} classes; labels are the numbers of the '
      'classes, 0, 1, ...'
    )
  return last + 1


def channel_statistics(
  where: str, mean: Sequence[float], std: Sequence[float], images: np.ndarray | Streamed
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns mean and deviation per channel, measured where both are left out.

  Raises `UserError` for others than a number a channel, every deviation above 0.

  >>> channel_statistics('mine', (), (), np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))
  ((0.5,), (0.5,))
  """
  channels = images.shape[-1]
  mean, std = np.asarray(mean), np.asarray(std)
  if not mean.size and not std.size:
    if isinstance(images, np.ndarray) and images.max() == 1 and images.min() == 0:
      raise UserError(
        f'{where}: no value of the images is above 1, and white is 255; multiply floats in [0, 1] '
        'by 255 before they become whole numbers.'
      )
    return statistics.measure(images)
  # Written so that NaN fails too.
  if (
    any(part.shape != (channels,) or part.dtype.kind not in 'iuf' for part in (mean, std))
    or not np.isfinite(mean).all()
    or not ((std > 0) & (std < np.inf)).all()
  ):
    raise UserError(
      f'{where}: mean and std need {channels} values each, one a channel, every std above 0; '
      f'they are {tuple(mean.ravel().tolist())} and {tuple(std.ravel().tolist())}.'
    )
  return tuple(map(float, mean)), tuple(map(float, std))


def check_images(where: str, images: np.ndarray) -> None:
  """Raises `UserError` unless these are uint8 images [n, h, w, c].

  >>> check_images('mine', np.zeros((1, 2, 2, 1), np.uint8))
  """
  if images.ndim != 4 or images.dtype != np.uint8:
    raise UserError(
      f'{where}: images must be uint8 of shape [n, height, width, channels]; '
      f'they are {images.dtype} of shape {list(images.shape)}.'
    )
  if not images.size:
    raise UserError(f'{where}: there are no images (the shape is {list(images.shape)}).')


def _check_names(where: str, names: tuple[str, ...]) -> None:
  for label, name in enumerate(names):
    try:
      name.encode('utf-8')
    except UnicodeEncodeError:
      raise UserError(
        f'{where}: the name of class {label} is no text that can be written: {brief(repr(name))}.'
      ) from None


def check_labels(
  where: str, labels: np.ndarray, count: int, one: str = 'an image', many: str = 'images'
) -> None:
  """Raises `UserError` unless these are whole numbers from 0, one each of `count` images, or of
  what `one` and `many` name.

  >>> check_labels('mine', np.array([0, 1]), 2)
  """
  if labels.ndim != 1 or labels.dtype.kind not in 'iu':
    raise UserError(
      f'{where}: labels must be integers of shape [n], one {one}; '
      f'they are {labels.dtype} of shape {list(labels.shape)}.'
    )
  if len(labels) != count:
    raise UserError(
      f'{where}: {count} {many} but {len(labels)} labels; there must be one label {one}.'
    )
  if labels.min() < 0:
    raise UserError(f'{where}: labels must be 0 or more; the smallest is {labels.min()}.')

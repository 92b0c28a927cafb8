"""A condensed set from arrays of a user's own."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxdistill.data import statistics
from jaxdistill.data.entries import (
  ELSEWHERE,
  PAIRS,
  check_counts,
  check_named,
  first_absent,
  flip_of,
  names_of,
  whole_labels,
)
from jaxdistill.data.pixels import check_pixels, to_uint8
from jaxdistill.errors import UserError, unknown

_WHERE = 'a plain condensed set'
_OF_DATA_SETS = {*PAIRS, *PAIRS.values()} - {'images', 'labels'}
_NAMES = ('images', 'labels', 'class_names', 'mean', 'std', 'factor', 'flip')


def fields(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Returns the fields of a `Condensed`.

  Args:
    arrays: images as `pixels.check_pixels` takes them; labels, whole numbers [n] or [n, 1], or soft
      ones [n, classes]; and any of class_names, mean and std (a pair, of images in [0, 1]), factor
      and flip.

  Raises:
    UserError: an array is not known, or is not as it should be.

  >>> made = fields(dict(images=np.full((2, 8, 8), 255), labels=np.array([0, 1])))
  >>> made['images'].shape, made['class_names']
  ((2, 8, 8, 1), ('0', '1'))
  """
  check_names(arrays)
  images = check_pixels('images', arrays['images'])
  labels = _labels(arrays['labels'])
  check_counts(_WHERE, 'images', images, 'labels', labels)
  mean, std = _statistics(arrays, images)
  return dict(
    images=images.astype(np.float32) / 255 if images.dtype == np.uint8 else images,
    labels=labels,
    class_names=_class_names(arrays, labels),
    mean=mean,
    std=std,
    factor=_factor(arrays),
    flip=flip_of(_WHERE, arrays),
  )


def check_names(names: Iterable[str]) -> None:
  """Raises `UserError` for an array that a plain condensed set has not.

  >>> check_names(['train_images', 'train_labels'])
  Traceback (most recent call last):
  jaxdistill.errors.UserError: the entry 'train_images' belongs to a data set, ...
  """
  for name in names:
    if ELSEWHERE.get(name.lower(), name) in _OF_DATA_SETS:
      raise UserError(
        f'the entry {name!r} belongs to a data set, which is given as npz:PATH where data are '
        f'asked for; {_WHERE} has images and labels.'
      )
    if name not in _NAMES:
      raise unknown('array of a plain condensed set', name, _NAMES)


def _labels(labels: np.ndarray) -> np.ndarray:
  """Returns labels [n], or soft ones [n, classes], which `Condensed` checks."""
  soft = labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind in 'iuf'
  return labels if soft else whole_labels('labels', labels)


def _class_names(arrays: Mapping[str, np.ndarray], labels: np.ndarray) -> tuple[str, ...]:
  names = names_of(_WHERE, arrays)
  if labels.ndim == 1:
    check_named(_WHERE, int(labels.max()), names)
  return names or tuple(map(str, range(_count_classes(labels))))


def _count_classes(labels: np.ndarray) -> int:
  """Returns the number of classes of labels without names, before anything is built from it."""
  if labels.ndim == 2:
    return labels.shape[1]
  present = np.unique(labels)
  if len(present) <= int(present[-1]):
    missing = first_absent(present)
    raise UserError(
      f'class {missing} has no image, and the last label is {present[-1]}; labels count from 0 '
      'without a gap, or class_names says which classes there are.'
    )
  return len(present)


def _statistics(
  arrays: Mapping[str, np.ndarray], images: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  given = [arrays[name] for name in ('mean', 'std') if name in arrays]
  if not given:
    return statistics.measure(to_uint8('images', images))
  if len(given) == 1:
    raise UserError('mean and std come as a pair; the file holds one of them.')
  if any(part.dtype.kind not in 'iuf' for part in given):
    raise UserError(f'mean and std are numbers; they are {given[0].dtype} and {given[1].dtype}.')
  if any((part > 1).any() for part in given):
    raise UserError('mean and std are of images in [0, 1]; divide by 255 those of whole numbers.')
  mean, std = (tuple(map(float, part.ravel())) for part in given)
  return mean, std


def _factor(arrays: Mapping[str, np.ndarray]) -> int:
  factor = arrays.get('factor', np.array(1))
  if factor.size != 1 or factor.dtype.kind not in 'iu':
    raise UserError(
      f'factor is one whole number; it is {factor.dtype} of shape {list(factor.shape)}.'
    )
  return int(factor.item())

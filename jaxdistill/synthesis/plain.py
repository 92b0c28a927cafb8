"""A condensed set from arrays of a user's own."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdistill.data import statistics
from jaxdistill.data.dataset import texts
from jaxdistill.data.entries import column, first_absent, flip_of
from jaxdistill.data.pixels import check_pixels, to_uint8
from jaxdistill.errors import UserError, unknown

_WHERE = 'a plain condensed set'
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
  for name in arrays:
    if name not in _NAMES:
      raise unknown('array of a plain condensed set', name, _NAMES)
  images = check_pixels('images', arrays['images'])
  labels = column(arrays['labels'])
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


def _class_names(arrays: Mapping[str, np.ndarray], labels: np.ndarray) -> tuple[str, ...]:
  if 'class_names' not in arrays:
    return tuple(map(str, range(_count_classes(labels))))
  names = texts(_WHERE, arrays['class_names'].ravel().tolist())
  for label, name in enumerate(names):
    if (first := names.index(name)) != label:
      raise UserError(
        f'classes {first} and {label} have the same name, {name!r}; give each its own.'
      )
  return names


def _count_classes(labels: np.ndarray) -> int:
  """Returns the number of classes of labels without names, before anything is built from it."""
  if labels.ndim == 2:
    return labels.shape[1]
  if labels.ndim != 1 or labels.dtype.kind not in 'iu' or not labels.size:
    return 0  # which `Condensed` refuses
  present = np.unique(labels)
  if present[0] < 0:
    raise UserError(f'labels must be 0 or more; the smallest is {present[0]}.')
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

"""Entries that npz data and plain condensed sets have in common."""

from collections.abc import Mapping

import numpy as np

from jaxdistill.data.dataset import boolean, texts
from jaxdistill.errors import UserError

# What may stand in front of `images` and `labels`, and the split that it means.
SPLITS = {
  '': 'train',
  'train_': 'train',
  'test_': 'test',
  'val_': 'validation',
  'valid_': 'validation',
  'validation_': 'validation',
}
PAIRS = {f'{prefix}images': f'{prefix}labels' for prefix in SPLITS}
# What other files call them.
ELSEWHERE = {
  'x_train': 'train_images',
  'y_train': 'train_labels',
  'x_test': 'test_images',
  'y_test': 'test_labels',
  'x_val': 'val_images',
  'y_val': 'val_labels',
  'x': 'images',
  'y': 'labels',
}


def column(labels: np.ndarray) -> np.ndarray:
  """Returns labels [n, 1] as [n], all others as they are.

  >>> column(np.zeros((3, 1), int)).shape, column(np.zeros((3, 2))).shape
  ((3,), (3, 2))
  """
  return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def whole_labels(where: str, labels: np.ndarray, one: str = 'an image') -> np.ndarray:
  """Returns labels [n], of [n, 1] too, which are whole numbers from 0, one each of what `one`
  names.

  Raises `UserError` for others, with how to make numbers of them.

  >>> whole_labels('labels', np.array([[0], [1]])).tolist()
  [0, 1]
  """
  labels = column(labels)
  if labels.ndim != 1 or labels.dtype.kind not in 'iu':
    advice = ''
    if labels.ndim == 2 and labels.dtype.kind in 'iufb':
      advice = '; of one-hot labels or shares, labels.argmax(1) gives them'
    elif labels.ndim == 1 and labels.dtype.kind in 'US':
      advice = '; class_names, labels = numpy.unique(labels, return_inverse=True) gives them'
    elif labels.ndim == 1 and labels.dtype.kind in 'fb':
      advice = '; labels.astype(int) gives them, if these are'
    raise UserError(
      f'{where} must be whole numbers of an integer type, one {one}, shape [n]; '
      f'they are {labels.dtype} of shape {list(labels.shape)}{advice}.'
    )
  if labels.size and labels.min() < 0:
    raise UserError(f'{where} must be 0 or more; the smallest is {labels.min()}.')
  return labels


def check_counts(
  where: str, images_key: str, images: np.ndarray, labels_key: str, labels: np.ndarray
) -> None:
  """Raises `UserError` where there is not one label an image."""
  if len(images) != len(labels):
    raise UserError(
      f'{where}: {images_key} holds {len(images)} images but {labels_key} {len(labels)} labels; '
      'there must be one label an image.'
    )


def names_of(where: str, entries: Mapping[str, np.ndarray]) -> tuple[str, ...]:
  """Returns the entry `class_names` as text, () where there is none.

  Raises `UserError` for one that is no list of names, and for names that are empty or the same.

  >>> names_of('mine', {'class_names': np.array([7, 9])})
  ('7', '9')
  """
  if 'class_names' not in entries:
    return ()
  names = entries['class_names']
  if names.ndim != 1 or not names.size or names.dtype.kind not in 'USiu':
    raise UserError(
      f'{where}: class_names must be text, one a class, shape [classes]; they are {names.dtype} of '
      f'shape {list(names.shape)}.'
    )
  names = texts(where, names.tolist())
  for label, name in enumerate(names):
    if not name.strip():
      raise UserError(f'{where}: the name of class {label} is empty; each class needs one.')
    if (first := names.index(name)) != label:
      raise UserError(
        f'{where}: classes {first} and {label} have the same name, {name!r}; give each its own.'
      )
  return names


def check_named(where: str, last: int, names: tuple[str, ...]) -> None:
  """Raises `UserError` where there are names, and none for the last label."""
  if names and last >= len(names):
    raise UserError(
      f'{where}: label {last} needs at least {last + 1} class names; there are {len(names)}.'
    )


def first_absent(present: np.ndarray) -> int:
  """Returns the least whole number from 0 that is not among ascending, different ones.

  >>> first_absent(np.array([0, 1, 3])), first_absent(np.array([0, 1]))
  (2, 2)
  """
  # What is behind the last one is never its own place.
  return int(np.argmax(np.append(present, -1) != np.arange(len(present) + 1)))


def flip_of(where: str, entries: Mapping[str, np.ndarray]) -> bool:
  """Returns the entry `flip`, true where there is none, see `dataset.boolean`.

  >>> flip_of('mine', {'flip': np.array([False])}), flip_of('mine', {})
  (False, True)
  """
  flip = entries.get('flip', np.array(True))
  return boolean(where, flip.item() if flip.size == 1 else flip.tolist())

"""Labels and probabilities as people give them, checked and in one form. On the host, in numpy."""

from collections.abc import Sequence

import numpy as np

from jaxdistill import errors

_SUM = 0.01  # how far from 1 a row of probabilities may sum: half precision reaches some of it


def is_multilabel(labels: object) -> bool:
  """Whether labels are several an example: a matrix [n, q], or lists of classes.

  >>> is_multilabel([0, 2, 1]), is_multilabel([[0, 2], [], [1]]), is_multilabel(np.eye(3))
  (False, True, True)
  """
  if _is_lists(labels):
    return True
  return np.ndim(labels) == 2


def class_labels(labels: np.ndarray, classes: int | None = None) -> np.ndarray:
  """Returns labels, one an example, as int64 [n].

  Args:
    labels: whole numbers from 0.
    classes: which they are below; None: any number.

  Raises:
    UserError: for another shape, no labels, or numbers that are no class.

  >>> class_labels(np.array([0, 3]), 3)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: Labels must be whole numbers from 0 to 2; these go from 0 to 3.
  """
  labels = np.asarray(labels)
  if labels.ndim != 1 or not len(labels):
    raise errors.UserError(f'Labels are one an example, [n], n at least 1; got {labels.shape}.')
  valid = f'whole numbers from 0{f" to {classes - 1}" if classes else ""}'
  if labels.dtype.kind not in 'iu':
    raise errors.UserError(f'Labels must be {valid}; these are of type {labels.dtype}.')
  if labels.min() < 0 or classes and labels.max() >= classes:
    raise errors.UserError(
      f'Labels must be {valid}; these go from {labels.min()} to {labels.max()}.'
    )
  return labels.astype(np.int64)


def single(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns labels as int64 [n] and the probabilities of the classes as float64 [n, C], rows with
  sum 1 up to 0.01.

  Raises:
    UserError: for shapes that do not fit, fewer than two classes, labels out of range, or rows that
      are no probabilities.

  >>> single([0], [[0.5, 0.2]])
  Traceback (most recent call last):
  jaxdistill.errors.UserError: Each example's probabilities must sum to 1; row 0 sums to 0.7.
  """
  probabilities = _probabilities(probabilities, '[n, C]')
  if probabilities.shape[1] < 2:
    raise errors.UserError(
      'The probabilities are of one class; a label is right or wrong among at least two.'
    )
  labels = class_labels(labels, probabilities.shape[1])
  _check_number(labels, probabilities)
  sums = probabilities.sum(1)
  wrong = np.flatnonzero(np.abs(sums - 1) > _SUM)
  if len(wrong):
    raise errors.UserError(
      f"Each example's probabilities must sum to 1; row {wrong[0]} sums to {sums[wrong[0]]:.4g}."
    )
  return labels, probabilities


def multi(
  labels: np.ndarray | Sequence[Sequence[int]], probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns labels as bool [n, q] and the probability of each as float64 [n, q].

  Args:
    labels: a matrix of 0 and 1, or a list with the list of every example's classes.
    probabilities: [n, q], each from 0 to 1.

  Raises:
    UserError: for shapes that do not fit, or numbers out of range.

  >>> multi([[1], [], [0, 1]], np.full((3, 2), 0.5))[0].tolist()
  [[False, True], [False, False], [True, True]]
  """
  probabilities = _probabilities(probabilities, '[n, q]')
  labels = label_matrix(labels, probabilities.shape[1])
  _check_number(labels, probabilities)
  return labels, probabilities


def label_matrix(
  labels: np.ndarray | Sequence[Sequence[int]], classes: int | None = None
) -> np.ndarray:
  """Returns several labels an example as bool [n, q], see `multi`.

  Args:
    labels: a matrix; or lists of classes, where `classes` is known.
    classes: q; None: nested lists are a matrix.

  Raises:
    UserError: as `multi`.

  >>> label_matrix(np.array([[0, 2]]))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: A label matrix holds 0 and 1; this one goes from 0 to 2.
  """
  if _is_lists(labels) and classes is not None:
    return _matrix_of_lists(labels, classes)
  try:
    matrix = np.asarray(labels)
  except ValueError as error:  # lists of different lengths
    raise errors.UserError(
      'Labels are a matrix of 0 and 1 here, [n, q]; lists of classes do not say how many there are.'
    ) from error
  if matrix.ndim != 2 or not matrix.size or classes is not None and matrix.shape[1] != classes:
    columns = 'q' if classes is None else classes
    raise errors.UserError(
      f'A label matrix has a row an example and a column a label, [n, {columns}]; got '
      f'{matrix.shape}.'
    )
  if not np.isin(matrix, (0, 1)).all():
    raise errors.UserError(
      f'A label matrix holds 0 and 1; this one goes from {matrix.min()} to {matrix.max()}.'
    )
  return matrix.astype(bool)


def unit_interval(**values: float) -> None:
  """Raises `UserError` for the first of the values, by name, that is outside [0, 1].

  >>> unit_interval(alpha=0.5, beta=1.5)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: beta is 1.5; it must be from 0 to 1.
  """
  errors.real_numbers(**values)
  for name, value in values.items():
    if not 0 <= value <= 1:
      raise errors.UserError(f'{name} is {value}; it must be from 0 to 1.')


def _is_lists(labels):
  if not isinstance(labels, (list, tuple)) or not len(labels):
    return False
  return isinstance(labels[0], (list, tuple, set, frozenset, np.ndarray))


def _matrix_of_lists(labels, classes):
  matrix = np.zeros((len(labels), classes), bool)
  for row, chosen in enumerate(labels):
    chosen = list(chosen)
    for label in chosen:
      errors.whole(f'a label of example {row}', label, below=classes)
    if len(set(chosen)) < len(chosen):
      raise errors.UserError(
        f'Example {row} lists a class twice; a matrix of 0 and 1 is given as one array.'
      )
    matrix[row, chosen] = True
  return matrix


def _probabilities(probabilities, form):
  probabilities = np.asarray(probabilities, np.float64)
  if probabilities.ndim != 2 or not probabilities.size:
    raise errors.UserError(f'Probabilities have the shape {form}; got {probabilities.shape}.')
  if not (probabilities.min() >= 0 and probabilities.max() <= 1 + 1e-6):  # nan is neither
    raise errors.UserError(
      f'Probabilities must be from 0 to 1; these go from {probabilities.min():.4g} to '
      f'{probabilities.max():.4g}.'
    )
  return probabilities


def _check_number(labels, probabilities):
  if len(labels) != len(probabilities):
    raise errors.UserError(
      f'There are {len(labels)} examples with labels and {len(probabilities)} with probabilities; '
      'the numbers must be equal.'
    )

"""Which classes are taken for which. For reports: numpy arrays on the host, in float64."""

import numpy as np

from jaxdistill import errors


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
  """Returns int64 [classes, classes]: row the label, column the answer, entry a number.

  Args:
    labels, predictions: int [n], each from 0 to classes - 1.
    classes: number of classes.

  Raises:
    UserError: for no examples, different lengths, or a number that is no class.

  >>> import numpy as np
  >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
  [[1, 1], [0, 1]]
  """
  labels, predictions = np.asarray(labels), np.asarray(predictions)
  if labels.ndim != 1 or labels.shape != predictions.shape:
    raise errors.UserError(
      f'A confusion matrix takes as many labels as answers, [n] and [n]; got {labels.shape} and '
      f'{predictions.shape}.'
    )
  errors.whole('classes', classes, at_least=1)
  if not len(labels):
    raise errors.UserError('A confusion matrix needs at least one example; got none.')
  for name, numbers in (('labels', labels), ('answers', predictions)):
    if numbers.dtype.kind not in 'iu' or numbers.min() < 0 or numbers.max() >= classes:
      raise errors.UserError(
        f'The {name} must be whole numbers from 0 to {classes - 1}, the classes; these are not.'
      )
  cells = labels.astype(np.int64) * classes + predictions.astype(np.int64)
  return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def row_normalised(matrix: np.ndarray) -> np.ndarray:
  """Returns a confusion matrix as shares of each label's examples; a row without examples is nan.

  Args:
    matrix: [k, k] counts.

  Raises:
    UserError: where it is not square, or holds no example.

  >>> import numpy as np
  >>> row_normalised(np.array([[3, 1], [0, 0]])).tolist()
  [[0.75, 0.25], [nan, nan]]
  """
  matrix = np.asarray(matrix, np.float64)
  if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
    raise errors.UserError(f'A confusion matrix is square; got shape {matrix.shape}.')
  totals = matrix.sum(1, keepdims=True)
  if not totals.sum() > 0:
    raise errors.UserError('The confusion matrix holds no example.')
  return matrix / np.where(totals > 0, totals, np.nan)


def balanced_accuracy(matrix: np.ndarray) -> float:
  """Mean over the classes that have examples of the share of right answers among them.

  Args, Raises: see `row_normalised`.

  Source: Brodersen et al., ICPR 2010.

  >>> import numpy as np
  >>> balanced_accuracy(np.array([[9, 1], [1, 1]]))  # (0.9 + 0.5) / 2
  0.7
  """
  return float(np.nanmean(np.diagonal(row_normalised(matrix))))

"""How close estimates of label noise come to the truth. For reports: numpy, in float64."""

from typing import NamedTuple

import numpy as np

from jaxdistill import errors


class Retrieval(NamedTuple):
  """What a choice of examples is worth; nan where nothing is chosen, or nothing was to be."""

  precision: float
  recall: float
  f1: float


def retrieval(chosen: np.ndarray, correct: np.ndarray) -> Retrieval:
  """Returns precision, recall and F1 of chosen examples: of confident ones, or of found errors.

  Args:
    chosen, correct: bool, of one shape: what was chosen, and what should have been.

  Raises:
    UserError: for different shapes, or numbers other than 0 and 1.

  >>> retrieval(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]))
  Retrieval(precision=0.5, recall=0.5, f1=0.5)
  """
  chosen, correct = np.asarray(chosen), np.asarray(correct)
  if chosen.shape != correct.shape:
    raise errors.UserError(
      f'What is chosen and what is correct have one shape; got {chosen.shape} and {correct.shape}.'
    )
  if not np.isin(chosen, (0, 1)).all() or not np.isin(correct, (0, 1)).all():
    raise errors.UserError('What is chosen, and what is correct, is marked by 0 and 1.')
  hits = np.float64(np.logical_and(chosen, correct).sum())
  with np.errstate(divide='ignore', invalid='ignore'):
    precision, recall = hits / chosen.astype(bool).sum(), hits / correct.astype(bool).sum()
    f1 = 2 * hits / (chosen.astype(bool).sum() + correct.astype(bool).sum())
  return Retrieval(float(precision), float(recall), float(f1))


def transition_error(truth: np.ndarray, estimate: np.ndarray) -> float:
  """Returns sum |T - T'| / sum |T|, of several matrices the sum of their errors.

  The error of one matrix with rows that sum to 1 is from 0 to 2. MLNTM's tables hold the sum over
  the labels' matrices 2 x 2, not their mean.

  Args:
    truth, estimate: [C, C], or [q, C, C].

  Raises:
    UserError: for other or different shapes.

  >>> transition_error(np.eye(2), np.array([[0.75, 0.25], [0.0, 1.0]]))
  0.25
  """
  return float(np.sum(transition_errors(truth, estimate)))


def transition_errors(truth: np.ndarray, estimate: np.ndarray) -> np.ndarray:
  """Returns the error of each matrix, [] or [q], see `transition_error`.

  >>> transition_errors(np.stack([np.eye(2)] * 2), np.stack([np.eye(2), 1 - np.eye(2)])).tolist()
  [0.0, 2.0]
  """
  truth, estimate = np.asarray(truth, np.float64), np.asarray(estimate, np.float64)
  if truth.shape != estimate.shape or truth.ndim not in (2, 3) or not truth.size:
    raise errors.UserError(
      'Transition matrices are compared as [C, C] and [C, C], or [q, C, C] and [q, C, C]; got '
      f'{truth.shape} and {estimate.shape}.'
    )
  return np.abs(truth - estimate).sum((-2, -1)) / np.abs(truth).sum((-2, -1))


def confusion_error(truth: np.ndarray, estimate: np.ndarray, weights: np.ndarray) -> float:
  """Returns the mean over annotators, by weight, of the mean absolute error of their confusions.

  Args:
    truth, estimate: [R, C, C].
    weights: [R], such as the number of each annotator's labels.

  Raises:
    UserError: for shapes that do not fit, negative weights, or none above 0.

  >>> wrong = np.array([[0.5, 0.5], [0.5, 0.5]])
  >>> confusion_error(np.stack([np.eye(2)] * 2), np.stack([np.eye(2), wrong]), np.array([3, 1]))
  0.125
  """
  truth, estimate, weights = (np.asarray(x, np.float64) for x in (truth, estimate, weights))
  if truth.ndim != 3 or truth.shape != estimate.shape or weights.shape != truth.shape[:1]:
    raise errors.UserError(
      'Confusions are compared as [R, C, C] and [R, C, C] with weights [R]; got '
      f'{truth.shape}, {estimate.shape} and {weights.shape}.'
    )
  if not (weights >= 0).all() or not weights.sum() > 0:
    raise errors.UserError("Annotators' weights are at least 0, and one is above.")
  return float(np.average(np.abs(truth - estimate).mean((1, 2)), weights=weights))

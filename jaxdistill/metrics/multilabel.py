"""Several labels an example: mean average precision, overall and class F1. For reports, float64."""

from typing import NamedTuple

import numpy as np

from jaxdistill import errors
from jaxdistill.metrics.ranking import average_precision


class LabelF1(NamedTuple):
  """F1 of all answers together, and of the classes' mean precision and recall."""

  overall: float  # OF1
  by_class: float  # CF1


def mean_average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
  """Returns the mean over the labels of the average precision (without interpolation) of each.

  A label that no example has is left out; one that all have counts 1.

  Args:
    labels: a matrix of 0 and 1 [n, q].
    scores: [n, q], higher for what is more likely there.

  Raises:
    UserError: for shapes that do not fit, labels other than 0 and 1, none that any example has, or
      a score that is nan.

  >>> labels = np.array([[1, 0], [0, 1], [1, 1]])
  >>> scores = np.array([[0.9, 0.8], [0.5, 0.4], [0.1, 0.9]])
  >>> round(mean_average_precision(labels, scores), 4)  # ((1 + 2/3) / 2 + (1 + 2/3) / 2) / 2
  0.8333
  """
  labels, scores = _checked(labels, scores)
  if not labels.any():
    raise errors.UserError('No example has any label; mean average precision needs one.')
  columns = np.flatnonzero(labels.any(0))
  precisions = [
    1.0 if labels[:, column].all() else average_precision(labels[:, column], scores[:, column])
    for column in columns
  ]
  return float(np.mean(precisions))


def label_f1(labels: np.ndarray, probabilities: np.ndarray, threshold: float = 0.5) -> LabelF1:
  """Returns OF1 and CF1 of the answers `probabilities > threshold`.

  OF1 is the F1 of all n q answers counted together. CF1 = 2 P R / (P + R) with P and R the means of
  the classes' precision and recall; 0 / 0 counts 0 everywhere.

  Args:
    labels: a matrix of 0 and 1 [n, q].
    probabilities: [n, q].
    threshold: see above.

  Raises:
    UserError: for shapes that do not fit, labels other than 0 and 1, or a probability that is nan.

  Source: Wu and Zhou, ICML 2017, discuss such averages; CF1 of mean precision and mean recall is
    the form of multi-label recognition's tables, as in Chen et al. (ML-GCN), CVPR 2019, and MLNTM.

  >>> labels = np.array([[1, 0], [1, 1]])
  >>> [round(value, 4) for value in label_f1(labels, np.array([[0.9, 0.9], [0.2, 0.9]]))]
  [0.6667, 0.75]
  """
  labels, probabilities = _checked(labels, probabilities)
  answers = probabilities > threshold
  hits = (answers & labels).sum(0)
  precision, recall = _ratio(hits, answers.sum(0)).mean(), _ratio(hits, labels.sum(0)).mean()
  overall = _ratio(2 * hits.sum(), answers.sum() + labels.sum())
  return LabelF1(float(overall), float(_ratio(2 * precision * recall, precision + recall)))


def label_scores(
  labels: np.ndarray, probabilities: np.ndarray, threshold: float = 0.5
) -> dict[str, np.ndarray]:
  """Returns {'map': mean average precision, 'of1': OF1, 'cf1': CF1} of R networks, [R] each; see
  `mean_average_precision` and `label_f1`.

  Args:
    labels: a matrix of 0 and 1 [n, q].
    probabilities: [R, n, q].
    threshold: of OF1 and CF1.

  >>> two = np.array([[[0.9, 0.2], [0.2, 0.9]], [[0.9, 0.9], [0.9, 0.9]]])
  >>> {name: values.round(2).tolist() for name, values in label_scores(np.eye(2), two).items()}
  {'map': [1.0, 0.5], 'of1': [1.0, 0.67], 'cf1': [1.0, 0.67]}
  """
  f1 = [label_f1(labels, network, threshold) for network in probabilities]
  return {
    'map': np.array([mean_average_precision(labels, network) for network in probabilities]),
    'of1': np.array([network.overall for network in f1]),
    'cf1': np.array([network.by_class for network in f1]),
  }


def _ratio(part, whole):
  return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0)


def _checked(labels, scores):
  labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
  if labels.ndim != 2 or labels.shape != scores.shape or not labels.size:
    raise errors.UserError(
      f'Labels and scores have one shape, [n, q]; got {labels.shape} and {scores.shape}.'
    )
  if not np.isin(labels, (0, 1)).all():
    raise errors.UserError('A label matrix holds 0 and 1; this one holds other numbers.')
  if np.isnan(scores).any():
    raise errors.UserError('Scores must be numbers; some are nan.')
  return labels.astype(bool), scores

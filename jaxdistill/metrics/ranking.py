"""How well scores tell two kinds of examples apart: ROC curve, AUC, average precision, EER.

Examples of equal score are one step of every curve, so that no result depends on their order.
For reports: numpy arrays on the host, in float64.
"""

from typing import NamedTuple

import numpy as np

from jaxdistill import errors


class RocCurve(NamedTuple):
  """Corners of a ROC curve from (0, 0) to (1, 1), float64 [m + 1] for m different scores."""

  false_positive_rate: np.ndarray
  true_positive_rate: np.ndarray
  threshold: np.ndarray  # positive is what scores at least this; the first is inf


def roc_curve(labels: np.ndarray, scores: np.ndarray) -> RocCurve:
  """Returns the rates of false and true positives at every threshold, highest first.

  Args:
    labels: [n], 1 or True for positive examples, 0 or False for the others.
    scores: [n], higher for what is more likely positive; infinite ones are fine.

  Raises:
    UserError: for no examples, different lengths, labels other than 0 and 1, only one kind of
      them, or a score that is nan.

  >>> import numpy as np
  >>> curve = roc_curve(np.array([1, 0, 1]), np.array([0.9, 0.5, 0.5]))
  >>> curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist()
  ([0.0, 0.0, 1.0], [0.0, 0.5, 1.0])
  """
  threshold, positives, negatives = _steps(labels, scores)
  return RocCurve(
    np.append(0.0, negatives.cumsum() / negatives.sum()),
    np.append(0.0, positives.cumsum() / positives.sum()),
    np.append(np.inf, threshold),
  )


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
  """Area under the ROC curve: the share of pairs of a positive and a negative example in which the
  positive one scores higher, equal scores as half a pair (Mann-Whitney's U / (n+ n-)).

  Args, Raises: see `roc_curve`.

  Source: Hanley and McNeil, Radiology 1982.

  >>> import numpy as np
  >>> roc_auc(np.array([1, 0, 1]), np.array([0.9, 0.5, 0.5]))  # one pair right, one equal
  0.75
  """
  _, positives, negatives = _steps(labels, scores)
  below = negatives.sum() - negatives.cumsum()
  return float((positives * (below + negatives / 2)).sum() / (positives.sum() * negatives.sum()))


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
  """AP = sum over thresholds of (recall_i - recall_(i-1)) precision_i, without interpolation.

  Equal scores are one threshold. The AP of random scores is near the share of positive examples.

  Args, Raises: see `roc_curve`.

  >>> import numpy as np
  >>> average_precision(np.array([1, 0, 1, 0]), np.array([4.0, 3.0, 2.0, 1.0]))  # (1 + 2/3) / 2
  0.8333333333333333
  """
  _, positives, negatives = _steps(labels, scores)
  precision = positives.cumsum() / (positives + negatives).cumsum()
  return float((positives * precision).sum() / positives.sum())


def equal_error_rate(labels: np.ndarray, scores: np.ndarray) -> float:
  """Where the ROC curve, its corners joined by straight lines, has as many false positives as false
  negatives, in rates.

  A point on a line between corners is reached by choosing between two thresholds at random. (Other
  codes take the corner nearest to equality, or the convex hull, which give other numbers for few
  examples.)

  Args, Raises: see `roc_curve`.

  >>> import numpy as np
  >>> equal_error_rate(np.array([1, 1, 0, 0]), np.array([4.0, 2.0, 3.0, 1.0]))
  0.5
  """
  curve = roc_curve(labels, scores)
  false_negative_rate = 1 - curve.true_positive_rate
  # Grows along the curve from -1 to 1, at every corner.
  surplus = curve.false_positive_rate - false_negative_rate
  after = int(np.argmax(surplus >= 0))
  before = after - 1
  share = -surplus[before] / (surplus[after] - surplus[before])
  low, high = curve.false_positive_rate[[before, after]]
  return float(low + share * (high - low))


def _steps(labels, scores):
  """Returns the different scores, highest first, and the numbers of positive and of negative
  examples that have each, all [m]."""
  labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
  if labels.ndim != 1 or labels.shape != scores.shape:
    raise errors.UserError(
      f'A ranking takes as many labels as scores, [n] and [n]; got {labels.shape} and '
      f'{scores.shape}.'
    )
  if not np.isin(labels, (0, 1)).all():
    raise errors.UserError('The labels of a ranking are 1 (positive) and 0; some are others.')
  positive = labels.astype(bool)
  if positive.all() or not positive.any():
    raise errors.UserError(
      f'A ranking needs positive and negative examples; got {positive.sum()} positive of '
      f'{len(labels)}.'
    )
  if np.isnan(scores).any():
    raise errors.UserError('The scores of a ranking must be numbers; some are nan.')
  threshold, index = np.unique(scores, return_inverse=True)
  positives, negatives = (
    np.bincount(index[chosen], minlength=len(threshold)).astype(np.float64)
    for chosen in (positive, ~positive)
  )
  return threshold[::-1], positives[::-1], negatives[::-1]

"""What a network's probabilities are worth: calibration errors, Brier score, log-likelihood.

For reports: numpy arrays on the host, in float64.
"""

from typing import NamedTuple

import numpy as np

from jaxdistill import errors

BINNINGS = ('equal_width', 'equal_mass')
# How far from 1 the probabilities of an example may sum, as those of float32 networks do.
_TOLERANCE = 1e-3


class Bins(NamedTuple):
  """A reliability diagram: float64 [b], or int64 [b] for `number`; nan where a bin is empty."""

  confidence: np.ndarray  # mean of the largest probability
  accuracy: np.ndarray  # share of right answers
  number: np.ndarray  # of examples


def calibration_bins(
  probabilities: np.ndarray, labels: np.ndarray, bins: int = 15, binning: str = 'equal_width'
) -> Bins:
  """Sorts examples into bins by their confidence, the largest probability.

  Args:
    probabilities: [n, k]; every row sums to 1. Of equal ones the first class is the answer.
    labels: int [n].
    bins: b.
    binning: 'equal_width': bin i is (i / b, (i + 1) / b]. 'equal_mass': bins of n / b examples in
      the order of confidence; examples of one confidence stay together, in the bin of the first of
      them, so that the result does not depend on their order (our choice).

  Raises:
    UserError: for no examples, shapes or values that do not fit, fewer than one bin, or an unknown
      binning.

  >>> import numpy as np
  >>> diagram = calibration_bins(np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]),
  ...                            np.array([0, 0, 0]), bins=2)
  >>> diagram.number.tolist(), diagram.accuracy.round(3).tolist()
  ([0, 3], [nan, 0.667])
  """
  probabilities, labels = _checked(probabilities, labels)
  errors.whole_numbers(bins=bins)
  if bins < 1:
    raise errors.UserError(f'Calibration needs bins >= 1; got {bins}.')
  if binning not in BINNINGS:
    raise errors.unknown('binning', binning, BINNINGS)
  confidence = probabilities.max(1)
  right = probabilities.argmax(1) == labels
  if binning == 'equal_width':
    index = np.searchsorted(np.arange(1, bins) / bins, confidence)
  else:
    ordered = np.sort(confidence)
    first = np.searchsorted(ordered, confidence)  # the rank of the first of the equal ones
    index = first * bins // len(ordered)
  number = np.bincount(index, minlength=bins)
  divisor = np.where(number > 0, number, np.nan)
  sums = (np.bincount(index, weights, minlength=bins) for weights in (confidence, right))
  return Bins(*(total / divisor for total in sums), number)


def expected_calibration_error(
  probabilities: np.ndarray, labels: np.ndarray, bins: int = 15, binning: str = 'equal_width'
) -> float:
  """ECE = sum over bins of (n_b / n) |accuracy_b - confidence_b|, in [0, 1].

  Args, Raises: see `calibration_bins`.

  Source: Naeini et al., AAAI 2015; 15 bins of equal width as in Guo et al., ICML 2017; equal mass
  as in Nguyen and O'Connor, EMNLP 2015.

  >>> import numpy as np
  >>> probabilities = np.array([[0.9, 0.1], [0.3, 0.7]])
  >>> round(expected_calibration_error(probabilities, np.array([0, 0])), 3)  # (0.1 + 0.7) / 2
  0.4
  """
  diagram = calibration_bins(probabilities, labels, bins, binning)
  gaps = np.abs(diagram.accuracy - diagram.confidence)
  return float(np.nansum(gaps * diagram.number) / diagram.number.sum())


def maximum_calibration_error(
  probabilities: np.ndarray, labels: np.ndarray, bins: int = 15, binning: str = 'equal_width'
) -> float:
  """MCE = max over the bins that hold examples of |accuracy_b - confidence_b|, in [0, 1].

  Args, Raises: see `calibration_bins`.

  Source: Naeini et al., AAAI 2015.

  >>> import numpy as np
  >>> probabilities = np.array([[0.9, 0.1], [0.3, 0.7]])
  >>> round(maximum_calibration_error(probabilities, np.array([0, 0])), 3)
  0.7
  """
  diagram = calibration_bins(probabilities, labels, bins, binning)
  return float(np.nanmax(np.abs(diagram.accuracy - diagram.confidence)))


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
  """Mean over examples of sum_c (p_c - y_c)^2, with y the one-hot label, in [0, 2].

  With two classes this is twice the squared error of the one probability, which is also called so.

  Args, Raises: see `calibration_bins`.

  Source: Brier, Monthly Weather Review 1950.

  >>> import numpy as np
  >>> round(brier_score(np.array([[0.9, 0.1]]), np.array([1])), 2)
  1.62
  """
  probabilities, labels = _checked(probabilities, labels)
  of_label = probabilities[np.arange(len(labels)), labels]
  return float((np.square(probabilities).sum(1) - 2 * of_label + 1).mean())


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
  """Mean over examples of -log softmax(logits) at the label, in nats.

  From logits, since the probability of a confident network's wrong answer rounds to 0. Logarithms
  of probabilities do as well: they are their own log-softmax.

  Args:
    logits: [n, k], finite.
    labels: int [n].

  Raises:
    UserError: for no examples, or shapes or values that do not fit.

  >>> import numpy as np
  >>> round(negative_log_likelihood(np.array([[0.0, 0.0], [1000.0, 0.0]]), np.array([0, 1])), 4)
  500.3466
  """
  logits, labels = _fitting(logits, labels)
  if not np.isfinite(logits).all():
    raise errors.UserError('The logits of a log-likelihood must be finite; some are not.')
  largest = logits.max(1)
  log_sum = largest + np.log(np.exp(logits - largest[:, None]).sum(1))
  return float((log_sum - logits[np.arange(len(labels)), labels]).mean())


def _checked(probabilities, labels):
  probabilities, labels = _fitting(probabilities, labels)
  sums = probabilities.sum(1)
  # Negated, so that nan is refused as well.
  if not ((probabilities >= 0).all() and (np.abs(sums - 1) <= _TOLERANCE).all()):
    raise errors.UserError(
      'Calibration takes probabilities, of which none is negative and each row sums to 1; these do '
      'not (give softmax(logits)).'
    )
  return probabilities, labels


def _fitting(values, labels):
  values, labels = np.asarray(values, np.float64), np.asarray(labels)
  if values.ndim != 2 or labels.shape != values.shape[:1]:
    raise errors.UserError(
      f'Calibration takes values [n, k] and labels [n]; got {values.shape} and {labels.shape}.'
    )
  if not values.size:
    raise errors.UserError('Calibration needs at least one example and one class; got none.')
  classes = values.shape[1]
  if labels.dtype.kind not in 'iu' or labels.min() < 0 or labels.max() >= classes:
    raise errors.UserError(
      f'The labels must be whole numbers from 0 to {classes - 1}, one for each of the {classes} '
      'columns; these are not.'
    )
  return values, labels

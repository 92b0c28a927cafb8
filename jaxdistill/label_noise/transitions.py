"""Transition matrices from a classifier's probabilities of the noisy label: T-max and Dual-T.

T[i, j] = P(noisy label j | true label i), rows sum to 1. On the host, in float64.
"""

import numpy as np

from jaxdistill import errors
from jaxdistill.label_noise import evidence
from jaxdistill.label_noise.scores import two_columns

ESTIMATORS = ('dual', 'max')


def transition(
  labels: np.ndarray,
  probabilities: np.ndarray,
  estimator: str = 'dual',
  percentile: float | None = None,
) -> np.ndarray:
  """Estimates the transition matrix from noisy labels and the probabilities of noisy labels.

  'max': row c is the row of probabilities with the largest probability of c: that example is taken
  for an anchor, certainly of class c. With `percentile` those rows are left aside whose probability
  of c reaches that percentile over all examples, as the largest ones may be outliers.
  'dual': T = T-max S, with S[a, b] the share of label b among the examples whose most likely label
  is a; it needs no exact probabilities, only right anchors. A class that is never the most likely
  one has no such share: its row of S is that of the identity (our choice).

  Args:
    labels: noisy, int [n]; several labels an example, a matrix of 0 and 1 [n, q] or lists of
      classes, are q questions of two classes.
    probabilities: [n, C] with sum 1; [n, q] for several labels.
    estimator: see above.
    percentile: such as 97, see above; None: the largest counts.

  Returns:
    float64 [C, C]; [q, 2, 2] for several labels.

  Raises:
    UserError: for an unknown estimator, a percentile outside (0, 100), shapes that do not fit,
      labels out of range or numbers that are no probabilities.

  Source: T-max and its 97th percentile: Patrini et al., CVPR 2017. Dual-T: Yao et al., NeurIPS
    2020.

  >>> probabilities = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]
  >>> transition([0, 1, 1, 0], probabilities, 'max').tolist()
  [[0.9, 0.1], [0.2, 0.8]]
  >>> transition([0, 1, 1, 0], probabilities, 'dual').round(2).tolist()
  [[0.6, 0.4], [0.13, 0.87]]
  """
  if estimator not in ESTIMATORS:
    raise errors.unknown('estimator', estimator, ESTIMATORS)
  if percentile is not None:
    errors.real_numbers(percentile=percentile)
    if not 0 < percentile < 100:
      raise errors.UserError(f'percentile is {percentile}; it must be between 0 and 100.')
  if not evidence.is_multilabel(labels):
    return _estimated(*evidence.single(labels, probabilities), estimator, percentile)
  labels, probabilities = evidence.multi(labels, probabilities)
  return np.stack(
    [
      _estimated(
        labels[:, number].astype(np.int64),
        two_columns(probabilities[:, number]),
        estimator,
        percentile,
      )
      for number in range(labels.shape[1])
    ]
  )


def _estimated(labels, probabilities, estimator, percentile):
  anchors = _anchor_rows(probabilities, percentile)
  if estimator == 'max':
    return anchors
  classes = probabilities.shape[1]
  cells = probabilities.argmax(1) * classes + labels
  counts = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
  shares = np.where(
    counts.sum(1, keepdims=True) > 0,
    counts / np.maximum(counts.sum(1, keepdims=True), 1),
    np.eye(classes),
  )
  return anchors @ shares


def _anchor_rows(probabilities, percentile):
  """The rows of probabilities of the anchors, with sum 1; of equally good anchors the first."""
  likely = probabilities
  if percentile is not None:
    bound = np.percentile(probabilities, percentile, axis=0, method='higher', keepdims=True)
    # Where all reach the bound, as for equal probabilities, none is left aside.
    below = probabilities < bound
    likely = np.where(below | ~below.any(0, keepdims=True), probabilities, -np.inf)
  rows = probabilities[likely.argmax(0)]
  return rows / rows.sum(1, keepdims=True)

"""ROC, AUC, AP and EER against pairs counted one by one, scikit-learn and hand-computed numbers."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from jaxdistill import metrics
from jaxdistill.errors import UserError

MEASURES = (
  metrics.roc_curve,
  metrics.roc_auc,
  metrics.average_precision,
  metrics.equal_error_rate,
)


def random_case(seed, examples=60, levels=8):
  """Labels and scores of which many are equal."""
  rng = np.random.default_rng(seed)
  labels = np.append([0, 1], rng.integers(0, 2, examples))
  return labels, rng.integers(0, levels, examples + 2) + labels * 1.5


def pairs_won(labels, scores):
  won = 0.0
  for positive in scores[labels == 1]:
    for negative in scores[labels == 0]:
      won += 1.0 if positive > negative else 0.5 if positive == negative else 0.0
  return won / ((labels == 1).sum() * (labels == 0).sum())


def error_rate_by_bisection(labels, scores):
  """Where np.interp of the ROC curve, as a function of arc length along it, crosses FPR = FNR."""
  false_positive, true_positive, _ = sklearn_metrics.roc_curve(
    labels, scores, drop_intermediate=False
  )
  length = false_positive + true_positive  # grows along the curve
  low, high = 0.0, 2.0
  for _ in range(60):
    middle = (low + high) / 2
    rates = [np.interp(middle, length, rate) for rate in (false_positive, true_positive)]
    low, high = (middle, high) if rates[0] < 1 - rates[1] else (low, middle)
  return np.interp(low, length, false_positive)


@pytest.mark.parametrize('seed', range(5))
def test_auc_counts_pairs_and_half_of_equal_ones(seed):
  labels, scores = random_case(seed)
  assert metrics.roc_auc(labels, scores) == pytest.approx(pairs_won(labels, scores))
  curve = metrics.roc_curve(labels, scores)
  area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
  assert metrics.roc_auc(labels, scores) == pytest.approx(area)


@pytest.mark.parametrize('seed', range(5))
def test_curve_and_average_precision_are_those_of_scikit_learn(seed):
  labels, scores = random_case(seed)
  reference = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
  for ours, theirs in zip(metrics.roc_curve(labels, scores), reference, strict=True):
    np.testing.assert_allclose(ours, theirs)
  assert metrics.average_precision(labels, scores) == pytest.approx(
    sklearn_metrics.average_precision_score(labels, scores)
  )


@pytest.mark.parametrize('seed', range(5))
def test_equal_error_rate_is_where_the_curve_crosses(seed):
  labels, scores = random_case(seed)
  assert metrics.equal_error_rate(labels, scores) == pytest.approx(
    error_rate_by_bisection(labels, scores)
  )


def test_hand_computed():
  labels, scores = np.array([1, 1, 0, 1, 0]), np.array([5.0, 4.0, 3.0, 2.0, 2.0])
  # Pairs: 2 + 2 won by the first two, the third has 0 and a half.
  assert metrics.roc_auc(labels, scores) == pytest.approx(4.5 / 6)
  # Steps at 5, 4, 3 and 2: 1/3 * 1 + 1/3 * 1 + 0 + 1/3 * 3/5.
  assert metrics.average_precision(labels, scores) == pytest.approx(2 / 3 + 1 / 5)
  # Corners (0, 2/3), (1/2, 2/3): FPR = FNR = 1/3 between them.
  assert metrics.equal_error_rate(labels, scores) == pytest.approx(1 / 3)


def test_perfect_useless_and_inverted_scores():
  labels = np.array([True, True, False, False])
  for scores, auc, error in (
    (np.array([3, np.inf, -np.inf, 1]), 1, 0),
    (np.zeros(4), 0.5, 0.5),
    (np.array([0, 1, 2, 3]), 0, 1),
  ):
    assert metrics.roc_auc(labels, scores) == auc
    assert metrics.equal_error_rate(labels, scores) == error
  assert metrics.average_precision(labels, np.zeros(4)) == 0.5


@pytest.mark.parametrize('measure', MEASURES)
def test_the_order_of_the_examples_and_a_monotone_map_change_nothing(measure):
  labels, scores = random_case(7)
  order = np.random.default_rng(0).permutation(len(labels))
  values = [
    measure(labels, scores),
    measure(labels[order], scores[order]),
    measure(labels, np.exp(scores)),
  ]
  if measure is metrics.roc_curve:
    values = [curve[:2] for curve in values]
  for other in values[1:]:
    np.testing.assert_allclose(other, values[0], rtol=1e-12)


@pytest.mark.parametrize('measure', MEASURES)
def test_misfits_are_told_in_one_sentence(measure):
  with pytest.raises(UserError, match='got 2 positive of 2'):
    measure(np.array([1, 1]), np.array([0.1, 0.2]))
  with pytest.raises(UserError, match='got 0 positive of 0'):
    measure(np.array([]), np.array([]))
  with pytest.raises(UserError, match=r'got \(2,\) and \(3,\)'):
    measure(np.array([0, 1]), np.zeros(3))
  with pytest.raises(UserError, match='some are others'):
    measure(np.array([0, 2]), np.zeros(2))
  with pytest.raises(UserError, match='some are nan'):
    measure(np.array([0, 1]), np.array([0, np.nan]))

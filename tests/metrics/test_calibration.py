"""Calibration against a reference that walks through the bins one by one, and hand-computed
numbers."""

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from jaxdistill import metrics
from jaxdistill.errors import UserError


def random_case(seed, examples=400, classes=4):
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(examples, classes)) * 2
  probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  return logits, probabilities, rng.integers(0, classes, examples)


def gaps_of_equal_width(probabilities, labels, bins):
  """(gap, number) of every bin that holds an example."""
  gaps = []
  for number in range(bins):
    inside = [
      (max(row), row.index(max(row)) == label)
      for row, label in zip(probabilities.tolist(), labels.tolist())
      if number / bins < max(row) <= (number + 1) / bins
    ]
    if inside:
      confidence, right = (math.fsum(column) / len(inside) for column in zip(*inside))
      gaps.append((abs(right - confidence), len(inside)))
  return gaps


@pytest.mark.parametrize('bins', [1, 7, 15])
def test_equal_width_is_that_of_the_bins_one_by_one(bins):
  _, probabilities, labels = random_case(bins)
  gaps = gaps_of_equal_width(probabilities, labels, bins)
  expected = sum(gap * number for gap, number in gaps) / len(labels)
  assert metrics.expected_calibration_error(probabilities, labels, bins) == pytest.approx(expected)
  maximum = metrics.maximum_calibration_error(probabilities, labels, bins)
  assert maximum == pytest.approx(max(gap for gap, _ in gaps))


def test_equal_mass_splits_the_order_of_confidence():
  _, probabilities, labels = random_case(1)
  order = np.argsort(probabilities.max(1))
  expected, largest = 0, 0
  for part in np.split(order, 10):  # 400 different confidences: ten bins of 40
    right = (probabilities[part].argmax(1) == labels[part]).mean()
    gap = abs(right - probabilities[part].max(1).mean())
    expected, largest = expected + gap / 10, max(largest, gap)
  options = dict(bins=10, binning='equal_mass')
  value = metrics.expected_calibration_error(probabilities, labels, **options)
  assert value == pytest.approx(expected)
  assert metrics.maximum_calibration_error(probabilities, labels, **options) == pytest.approx(
    largest
  )


def test_a_confidence_on_an_edge_lies_in_the_lower_bin():
  probabilities = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
  diagram = metrics.calibration_bins(probabilities, np.zeros(3, int), bins=4)
  assert diagram.number.tolist() == [0, 1, 1, 1]
  np.testing.assert_array_equal(diagram.confidence, [np.nan, 0.5, 0.75, 1])


def test_equal_confidences_share_a_bin_in_any_order():
  probabilities = np.array([[0.6, 0.4]] * 3 + [[0.9, 0.1]] * 3)
  labels = np.array([0, 1, 1, 0, 0, 1])
  diagram = metrics.calibration_bins(probabilities, labels, bins=4, binning='equal_mass')
  # Ranks 0 to 2 and 3 to 5, each group by its first: bins 0 * 4 / 6 = 0 and 3 * 4 / 6 = 2.
  assert diagram.number.tolist() == [3, 0, 3, 0]
  np.testing.assert_allclose(diagram.accuracy, [1 / 3, np.nan, 2 / 3, np.nan])
  for order in ([5, 0, 4, 1, 3, 2], [2, 1, 0, 5, 4, 3]):
    moved = metrics.calibration_bins(
      probabilities[order], labels[order], bins=4, binning='equal_mass'
    )
    np.testing.assert_allclose(moved.accuracy, diagram.accuracy)


def test_perfect_calibration_is_zero_and_confident_error_is_one():
  probabilities = np.array([[0.75, 0.25]] * 4)
  assert metrics.expected_calibration_error(probabilities, np.array([0, 0, 0, 1])) == 0
  sure = np.array([[1.0, 0.0]])
  assert metrics.expected_calibration_error(sure, np.array([1])) == 1
  assert metrics.maximum_calibration_error(sure, np.array([1])) == 1
  assert metrics.brier_score(sure, np.array([1])) == 2
  assert metrics.brier_score(sure, np.array([0])) == 0


def test_brier_score_is_the_squared_distance_to_the_one_hot_label():
  _, probabilities, labels = random_case(2)
  one_hot = np.eye(4)[labels]
  expected = ((probabilities - one_hot) ** 2).sum(1).mean()
  assert metrics.brier_score(probabilities, labels) == pytest.approx(expected)


def test_log_likelihood_is_that_of_scikit_learn():
  logits, probabilities, labels = random_case(3)
  expected = sklearn_metrics.log_loss(labels, probabilities)
  assert metrics.negative_log_likelihood(logits, labels) == pytest.approx(expected)
  # Logarithms of probabilities are logits, and a constant changes nothing.
  assert metrics.negative_log_likelihood(np.log(probabilities) + 5, labels) == pytest.approx(
    expected
  )


def test_log_likelihood_of_a_confident_error_is_finite():
  assert metrics.negative_log_likelihood(np.array([[1e4, 0.0]]), np.array([1])) == 1e4


def test_misfits_are_told_in_one_sentence():
  good, labels = np.full((2, 2), 0.5), np.array([0, 1])
  with pytest.raises(UserError, match='each row sums to 1'):
    metrics.brier_score(np.array([[2.0, -1.0]]), np.array([0]))
  with pytest.raises(UserError, match='each row sums to 1'):
    metrics.expected_calibration_error(np.array([[np.nan, 1.0]]), np.array([0]))
  with pytest.raises(UserError, match=r'got \(2, 2\) and \(1,\)'):
    metrics.brier_score(good, labels[:1])
  with pytest.raises(UserError, match='at least one example'):
    metrics.brier_score(np.zeros((0, 2)), labels[:0])
  with pytest.raises(UserError, match='from 0 to 1'):
    metrics.negative_log_likelihood(good, np.array([0, 2]))
  with pytest.raises(UserError, match='must be finite'):
    metrics.negative_log_likelihood(np.array([[np.inf, 0.0]]), labels[:1])
  with pytest.raises(UserError, match='bins >= 1; got 0'):
    metrics.expected_calibration_error(good, labels, bins=0)
  with pytest.raises(UserError, match="no binning 'equal'"):
    metrics.expected_calibration_error(good, labels, binning='equal')

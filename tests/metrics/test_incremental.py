"""Metrics of class-incremental learning on counts that are worked out by hand, against loops in
plain Python, and what must not change them."""

import numpy as np
import pytest
from scipy import integrate

from jaxdistill import metrics
from jaxdistill.errors import UserError
from jaxdistill.metrics import incremental

# Base classes 0 and 1 of 10 images each, class 2 arrives in session 1 and class 3 in session 2 with
# 5 and 20 images.
SIZES = (2, 1, 1)
HAND_MADE = np.array(
  [
    [[9, 1, 0, 0], [3, 7, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    [[8, 1, 1, 0], [2, 6, 2, 0], [1, 0, 4, 0], [0, 0, 0, 0]],
    [[6, 1, 1, 2], [2, 5, 2, 1], [1, 1, 2, 1], [5, 5, 0, 10]],
  ]
)
NAN = np.nan
# R[t, i]: the base has 20 images, of which 16, 14 and 11 are right.
MATRIX = np.array([[0.8, NAN, NAN], [0.7, 0.8, NAN], [0.55, 0.4, 0.5]])


def random_counts(seed, sizes, runs=()):
  """Confusion counts of an imagined learner: only classes that have arrived are tested, and only
  these are answered."""
  generator = np.random.default_rng(seed)
  classes = sum(sizes)
  counts = generator.integers(1, 9, (*runs, len(sizes), classes, classes))
  for session, end in enumerate(np.cumsum(sizes)):
    counts[..., session, end:, :] = 0
    counts[..., session, :, end:] = 0
  return counts


def test_hand_made_counts():
  accuracies = metrics.session_accuracies(HAND_MADE, SIZES)
  np.testing.assert_allclose(accuracies.seen, [16 / 20, 18 / 25, 23 / 45])
  np.testing.assert_allclose(accuracies.base, [16 / 20, 14 / 20, 11 / 20])
  np.testing.assert_allclose(accuracies.novel, [NAN, 4 / 5, 12 / 25])
  np.testing.assert_allclose(accuracies.old, [NAN, NAN, 2 / 5])
  np.testing.assert_allclose(accuracies.last, [NAN, 4 / 5, 10 / 20])
  np.testing.assert_allclose(metrics.accuracy_matrix(HAND_MADE, SIZES), MATRIX)
  assert all(part.dtype == np.float64 for part in accuracies)


def test_hand_made_means_over_classes():
  """As in the CEC family, the accuracy of a group is the mean of its classes' own."""
  accuracies = metrics.session_accuracies(metrics.class_shares(HAND_MADE), SIZES)
  np.testing.assert_allclose(accuracies.seen, [0.8, (0.8 + 0.6 + 0.8) / 3, 2.0 / 4])
  np.testing.assert_allclose(accuracies.novel, [NAN, 0.8, (0.4 + 0.5) / 2])


def test_hand_made_run():
  numbers = metrics.run_metrics(HAND_MADE, SIZES)
  novel = 12 / 25
  expected = {
    'average': (0.8 + 0.72 + 23 / 45) / 3,
    'last': 23 / 45,
    'pd': 0.8 - 23 / 45,
    'base': 0.55,
    'novel': novel,
    'hm': 2 * 0.55 * novel / (0.55 + novel),
    # The best before the last session: 0.8 of the base, 0.8 of class 2.
    'forgetting': ((0.8 - 0.55) + (0.8 - 0.4)) / 2,
    'bwt': ((0.55 - 0.8) + (0.4 - 0.8)) / 2,
  }
  gacc = numbers.pop('gacc')
  assert {name: float(value) for name, value in numbers.items()} == pytest.approx(expected)
  at_0 = (0 + 0.8 / 1 + (0.4 + 0.5) / 2) / 3
  at_1 = (0.8 + (0.7 + 0.8) / 2 + (0.55 + 0.4 + 0.5) / 3) / 3
  at_2 = (0.8 + (1.4 + 0.8) / 3 + (1.1 + 0.4 + 0.5) / 4) / 3
  values, area = metrics.generalised_accuracy(MATRIX, ratio=2)
  np.testing.assert_allclose(values, [at_0, at_1, at_2])
  assert gacc == pytest.approx(area) == pytest.approx((at_0 / 2 + at_1 + at_2 / 2) / 2)


def test_forgetting_takes_the_best_session_and_bwt_the_first():
  matrix = np.array([[0.5, NAN, NAN], [0.9, 0.4, NAN], [0.7, 0.6, 0.3]])
  np.testing.assert_allclose(metrics.forgetting(matrix), [NAN, -0.4, (0.2 - 0.2) / 2], atol=1e-12)
  np.testing.assert_allclose(metrics.backward_transfer(matrix), [NAN, 0.4, (0.2 + 0.2) / 2])


def test_groups_are_those_of_a_plain_loop():
  sizes = (3, 2, 1, 2)
  counts = random_counts(0, sizes)
  accuracies = metrics.session_accuracies(counts, sizes)
  ends = np.cumsum(sizes).tolist()
  for session, end in enumerate(ends):
    begin = ends[session - 1] if session else 3
    groups = dict(seen=(0, end), base=(0, 3), novel=(3, end), old=(3, begin), last=(begin, end))
    for name, (first, stop) in groups.items():
      right = total = 0
      for label in range(first, stop):
        right += counts[session, label, label]
        total += counts[session, label].sum()
      value = getattr(accuracies, name)[session]
      assert np.isnan(value) if total == 0 else value == pytest.approx(right / total)


def test_runs_pass_through_unchanged():
  sizes = (3, 2, 2)
  counts = random_counts(1, sizes, runs=(2, 3))
  together = metrics.run_metrics(counts, sizes)
  for place in np.ndindex(2, 3):
    alone = metrics.run_metrics(counts[place], sizes)
    for name, value in alone.items():
      assert together[name].shape == (2, 3) and together[name][place] == value


def test_the_order_of_classes_within_a_session_changes_nothing():
  sizes = (3, 2, 2)
  counts = random_counts(2, sizes)
  order = np.array([2, 0, 1, 4, 3, 6, 5])
  permuted = counts[:, order][:, :, order]
  for name, value in metrics.run_metrics(counts, sizes).items():
    assert metrics.run_metrics(permuted, sizes)[name] == pytest.approx(value), name


def test_any_order_of_classes_leaves_the_accuracy_over_all():
  counts = random_counts(3, (7,))
  order = np.random.default_rng(0).permutation(7)
  np.testing.assert_array_equal(
    metrics.session_accuracies(counts, (7,)).seen,
    metrics.session_accuracies(counts[:, order][:, :, order], (7,)).seen,
  )


def test_without_later_sessions_average_is_last_and_nothing_drops():
  numbers = metrics.run_metrics(random_counts(4, (5,), runs=(3,)), (5,))
  np.testing.assert_array_equal(numbers['average'], numbers['last'])
  np.testing.assert_array_equal(numbers['pd'], 0)
  assert sorted(numbers) == ['average', 'base', 'last', 'pd']


def test_rows_of_classes_to_come_are_not_read():
  counts = random_counts(5, (3, 2))
  asked = counts.copy()
  asked[0, 3:] = 7  # test images of session 1's classes, answered by the base network
  for name, value in metrics.run_metrics(counts, (3, 2)).items():
    assert metrics.run_metrics(asked, (3, 2))[name] == value


def test_gacc_is_between_the_novel_and_the_base():
  """With one accuracy of the base and one of all later classes, g moves from the one to the other,
  as the weight of the base grows."""
  matrix = np.where(np.tri(4, dtype=bool), 0.2, NAN)
  matrix[:, 0] = 0.9
  values, area = metrics.generalised_accuracy(matrix, ratio=50)
  assert values[0] == pytest.approx(3 * 0.2 / 4)
  assert (np.diff(values) > 0).all() and values[-1] < 0.9 and values[0] < area < values[-1]
  np.testing.assert_allclose(area, integrate.trapezoid(values, np.arange(51)) / 50)


def test_harmonic_mean_of_nothing_right():
  np.testing.assert_allclose(
    metrics.harmonic_mean([0.5, 0.0, 0.0, NAN], [0.5, 0.0, 0.4, 0.4]), [0.5, 0, 0, NAN]
  )


def test_batch_mean_counts_a_short_batch_as_a_whole_one():
  labels = np.zeros(250, int)
  predictions = np.zeros((2, 250), int)
  predictions[0, 200:] = 1  # all wrong in the last, half batch
  predictions[1, :50] = 1  # as many, in the first
  np.testing.assert_allclose(metrics.batch_mean_accuracy(labels, predictions), [2 / 3, 2.5 / 3])
  share = (predictions == labels).mean(-1)
  np.testing.assert_allclose(metrics.batch_mean_accuracy(labels, predictions, batch=125), share)


def test_summary_and_paired_differences():
  better, worse = {'last': np.array([[0.6, 0.8]])}, {'last': np.array([[0.5, 0.6]]), 'pd': [1, 2]}
  assert metrics.summary_over_runs(better)['last'] == metrics.mean_std([0.6, 0.8])
  differences = metrics.differences_over_runs(better, worse)
  assert differences == {'last': metrics.paired_difference([0.6, 0.8], [0.5, 0.6])}


@pytest.mark.parametrize(
  'call, message',
  [
    (lambda: metrics.session_accuracies(HAND_MADE, (2, 1)), r'need confusion counts \[..., 2, 3'),
    (lambda: metrics.session_accuracies(HAND_MADE, (2, 2, 0)), 'each session at least one class'),
    (lambda: metrics.session_accuracies(HAND_MADE, (2, 1, 1.0)), r'sizes\[2\] is 1.0; it must be'),
    (lambda: metrics.generalised_accuracy(MATRIX, 0), 'ratio is 0; it must be at least 1'),
    (lambda: metrics.batch_mean_accuracy(np.zeros(3), np.zeros((2, 4))), 'takes labels'),
    (lambda: metrics.batch_mean_accuracy(np.zeros(3), np.zeros(3), 0), 'batch is 0'),
    (lambda: incremental.run_metrics(HAND_MADE, ()), 'Sessions of'),
  ],
)
def test_bad_input(call, message):
  with pytest.raises(UserError, match=message):
    call()

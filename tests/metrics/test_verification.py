"""Cosines, TAR at FAR and accuracies by folds against hand-computed numbers, scikit-learn and plain
loops over every threshold."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from jaxdistill import metrics
from jaxdistill.errors import UserError
from jaxdistill.metrics import verification


def random_pairs(seed, number=200, levels=15):
  """Genuine or not, and scores of which many are equal."""
  rng = np.random.default_rng(seed)
  same = rng.permutation(np.arange(number) % 2 == 0)
  return same, rng.integers(0, levels, number) / levels + 0.3 * same


def test_cosines_by_hand_and_without_the_length():
  left = np.array([[1.0, 0.0], [3.0, 4.0], [1.0, 1.0], [0.0, 0.0]])
  right = np.array([[0.0, 2.0], [6.0, 8.0], [-2.0, -2.0], [1.0, 0.0]])
  np.testing.assert_allclose(metrics.cosine_scores(left, right), [0, 1, -1, 0], atol=1e-15)
  rng = np.random.default_rng(0)
  left, right = rng.normal(size=(2, 30, 5)).astype(np.float32)
  scores = metrics.cosine_scores(left, right)
  reference = np.diag(sklearn_metrics.pairwise.cosine_similarity(left, right))
  np.testing.assert_allclose(scores, reference, atol=1e-6)
  np.testing.assert_allclose(metrics.cosine_scores(3 * left, right / 7), scores, atol=1e-6)
  assert metrics.cosine_scores(left, left).max() <= 1.0


@pytest.mark.parametrize('seed', range(3))
def test_auc_and_rates_are_those_of_scikit_learn(seed):
  same, scores = random_pairs(seed)
  assert metrics.roc_auc(same, scores) == pytest.approx(
    sklearn_metrics.roc_auc_score(same, scores), abs=1e-12
  )
  false, true, _ = sklearn_metrics.roc_curve(same, scores, drop_intermediate=False)
  rates = [0.01, 0.05, 0.1, 0.37, 1.0]
  reference = [true[false <= rate + 1e-12].max() for rate in rates]
  np.testing.assert_allclose(metrics.true_accept_rates(same, scores, rates), reference)


def test_rates_by_hand():
  same = np.array([1, 0, 1, 1, 0, 1, 0, 0], bool)
  scores = np.array([9, 8, 7, 6, 5, 4, 3, 2], float)
  # Before the first impostor one of four is accepted, before the second three, before the third 4.
  np.testing.assert_allclose(
    metrics.true_accept_rates(same, scores, [0.25, 0.49, 0.5, 1.0]), [0.75, 0.75, 1.0, 1.0]
  )
  # A genuine pair that ties with an impostor is accepted with it, or not at all.
  tied = np.array([8, 8, 7, 6, 5, 4, 3, 2], float)
  np.testing.assert_allclose(metrics.true_accept_rates(same, tied, [0.25]), [0.75])
  np.testing.assert_allclose(
    metrics.true_accept_rates(np.array([1, 0], bool), np.array([1.0, 1.0]), [1.0]), [1.0]
  )


def test_a_rate_of_just_one_impostor_is_measured_and_less_is_refused():
  same = np.arange(2000) % 2 == 0
  scores = np.where(same, 1.0, 0.0)
  np.testing.assert_array_equal(metrics.true_accept_rates(same, scores, [0.001]), [1.0])
  with pytest.raises(UserError, match=r'0\.0009 is below one in the 1,000 impostor pairs; give at'):
    metrics.true_accept_rates(same, scores, [0.1, 0.0009])
  for rate in (0, -0.1, 1.5):
    with pytest.raises(UserError, match='lies above 0 and is at most 1'):
      verification.check_rates(same, [rate])
  with pytest.raises(UserError, match='must be a number'):
    verification.check_rates(same, ['few'])


def accuracy_by_trying(same, scores, fold):
  """Each fold's accuracy at the middle one of the best thresholds, all tried one by one."""
  accuracies = []
  for number in sorted(set(fold)):
    other = fold != number
    levels = sorted(set(scores[other]))
    between = [(low + high) / 2 for low, high in zip(levels, levels[1:])]
    thresholds = [-np.inf, *between, np.inf]
    right = [((scores >= level) == same)[other].sum() for level in thresholds]
    best = [level for level, count in zip(thresholds, right) if count == max(right)]
    threshold = best[(len(best) - 1) // 2]
    accuracies.append(((scores >= threshold) == same)[~other].mean())
  return accuracies


@pytest.mark.parametrize('seed', range(3))
def test_folds_are_those_of_every_threshold_tried(seed):
  same, scores = random_pairs(seed)
  fold = np.random.default_rng(seed).integers(0, 10, len(same))
  np.testing.assert_allclose(
    metrics.fold_accuracies(same, scores, fold), accuracy_by_trying(same, scores, fold)
  )


def test_the_threshold_comes_from_the_other_folds():
  same = np.array([1, 0, 1, 0], bool)
  fold = np.array([0, 0, 5, 5])
  # Fold 5 separates at 0.3 and fold 0 at 0.5: with the other's threshold fold 0 is right on both,
  # fold 5 calls its genuine pair of 0.4 an impostor.
  scores = np.array([0.9, 0.1, 0.4, 0.2])
  np.testing.assert_array_equal(metrics.fold_accuracies(same, scores, fold), [1.0, 0.5])
  assert metrics.fold_accuracies(same, np.array([1.0, 0.0, 1.0, 0.0]), fold).mean() == 1.0


def test_a_threshold_beyond_all_scores_counts():
  assert verification.best_threshold(np.array([True, True]), np.array([0.1, 0.2])) == -np.inf
  assert verification.best_threshold(np.array([False, False]), np.array([0.1, 0.2])) == np.inf


def test_misfits_are_told():
  two = np.array([True, False])
  with pytest.raises(UserError, match=r'got \(2, 3\) and \(2, 4\)'):
    metrics.cosine_scores(np.zeros((2, 3)), np.zeros((2, 4)))
  with pytest.raises(UserError, match='must be finite numbers'):
    metrics.cosine_scores(np.full((1, 2), np.nan), np.zeros((1, 2)))
  with pytest.raises(UserError, match=r'\[n, d\]; got \(2,\)'):
    metrics.cosine_scores(np.zeros(2), np.zeros(2))
  with pytest.raises(UserError, match='at least 2 folds are needed; got 1'):
    metrics.fold_accuracies(two, np.zeros(2), np.zeros(2, int))
  with pytest.raises(UserError, match='got shapes'):
    metrics.fold_accuracies(two, np.zeros(3), np.zeros(2, int))
  with pytest.raises(UserError, match='must be finite'):
    metrics.fold_accuracies(two, np.array([0, np.inf]), np.array([0, 1]))

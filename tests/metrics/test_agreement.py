"""Agreement against coincidences counted one by one, scikit-learn and published examples."""

import itertools

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from jaxdistill import metrics
from jaxdistill.errors import UserError

# Fleiss' own kind of table, 10 items and 14 raters, in the widely copied worked example: 0.210.
FLEISS = (
  (0, 0, 0, 0, 14),
  (0, 2, 6, 4, 2),
  (0, 0, 3, 5, 6),
  (0, 3, 9, 2, 0),
  (2, 2, 8, 1, 1),
  (7, 7, 0, 0, 0),
  (3, 2, 6, 3, 0),
  (2, 5, 3, 2, 2),
  (6, 5, 2, 1, 0),
  (0, 2, 2, 3, 7),
)


def random_ratings(seed, items=50, raters=4, categories=3):
  rng = np.random.default_rng(seed)
  truth = rng.integers(0, categories, (items, 1))
  noise = rng.integers(0, categories, (items, raters))
  return np.where(rng.random((items, raters)) < 0.6, truth, noise)


def alpha_of_coincidences(ratings):
  """The coincidence matrix, pair by pair."""
  size = ratings.max() + 1
  coincidences = np.zeros((size, size))
  for item in ratings.tolist():
    given = [rating for rating in item if rating >= 0]
    for first, second in itertools.permutations(given, 2):
      coincidences[first, second] += 1 / (len(given) - 1)
  totals = coincidences.sum(1)
  expected = (np.outer(totals, totals) - np.diag(totals)) / (totals.sum() - 1)
  off = ~np.eye(size, dtype=bool)
  return 1 - coincidences[off].sum() / expected[off].sum()


@pytest.mark.parametrize('seed', range(3))
def test_percent_agreement_counts_pairs_of_raters(seed):
  ratings = random_ratings(seed)
  pairs = itertools.combinations(range(4), 2)
  expected = np.mean([ratings[:, first] == ratings[:, second] for first, second in pairs])
  assert metrics.percent_agreement(ratings) == pytest.approx(expected)


@pytest.mark.parametrize('seed', range(3))
def test_cohen_kappa_is_that_of_scikit_learn(seed):
  first, second = random_ratings(seed, raters=2).T
  expected = sklearn_metrics.cohen_kappa_score(first, second)
  assert metrics.cohen_kappa(first, second) == pytest.approx(expected)


def test_fleiss_kappa_of_the_worked_example():
  ratings = np.array([np.repeat(range(5), counts) for counts in FLEISS])
  assert metrics.fleiss_kappa(ratings) == pytest.approx(0.210, abs=5e-4)
  shuffled = np.random.default_rng(0).permuted(ratings, axis=1)  # who of them rated what
  assert metrics.fleiss_kappa(shuffled) == pytest.approx(metrics.fleiss_kappa(ratings))


@pytest.mark.parametrize('seed', range(3))
def test_fleiss_kappa_of_two_raters_is_scotts_pi(seed):
  ratings = random_ratings(seed, raters=2)
  share = np.bincount(ratings.ravel()) / ratings.size
  observed = (ratings[:, 0] == ratings[:, 1]).mean()
  expected = (observed - (share**2).sum()) / (1 - (share**2).sum())
  assert metrics.fleiss_kappa(ratings) == pytest.approx(expected)


@pytest.mark.parametrize('seed', range(3))
def test_krippendorff_alpha_is_that_of_the_coincidences(seed):
  ratings = random_ratings(seed)
  ratings[np.random.default_rng(seed).random(ratings.shape) < 0.3] = -1
  assert metrics.krippendorff_alpha(ratings) == pytest.approx(alpha_of_coincidences(ratings))


def test_krippendorff_alpha_of_the_published_example():
  # Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011, section C: 0.743 nominal.
  ratings = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, -1, -1, -1],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, -1, 3],
    [-1, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, -1],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, -1],
  ]
  assert metrics.krippendorff_alpha(np.array(ratings).T) == pytest.approx(0.743, abs=5e-4)


def test_alpha_without_missing_ratings_is_fleiss_kappa_corrected_for_its_size():
  ratings = random_ratings(5)
  kappa, size = metrics.fleiss_kappa(ratings), ratings.size
  assert metrics.krippendorff_alpha(ratings) == pytest.approx(1 - (1 - kappa) * (size - 1) / size)


def test_perfect_agreement_is_one_and_names_do_as_well_as_numbers():
  names = np.array([['cat', 'cat'], ['dog', 'dog']])
  assert metrics.percent_agreement(names) == 1
  assert metrics.fleiss_kappa(names) == 1
  assert metrics.cohen_kappa(*names.T) == 1
  assert metrics.krippendorff_alpha(np.array([[0, 0, -1], [1, -1, 1]])) == 1


def test_misfits_are_told_in_one_sentence():
  same = np.zeros((3, 2), int)
  for measure in (metrics.fleiss_kappa, metrics.krippendorff_alpha):
    with pytest.raises(UserError, match='not defined where all ratings are of one category'):
      measure(same)
  with pytest.raises(UserError, match='not defined'):
    metrics.cohen_kappa(*same.T)
  with pytest.raises(UserError, match=r'got \(3,\) and \(2,\)'):
    metrics.cohen_kappa(same[:, 0], same[:2, 0])
  for measure in (metrics.percent_agreement, metrics.fleiss_kappa, metrics.krippendorff_alpha):
    with pytest.raises(UserError, match='at least one item'):
      measure(same[:0])
    with pytest.raises(UserError, match='at least two raters'):
      measure(same[:, :1])
  with pytest.raises(UserError, match='an item with at least two ratings'):
    metrics.krippendorff_alpha(np.array([[0, -1], [-1, 1]]))
  with pytest.raises(UserError, match='whole numbers, negative where missing; got float64'):
    metrics.krippendorff_alpha(np.array([[0, np.nan]]))

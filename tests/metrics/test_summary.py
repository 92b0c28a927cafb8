"""Means with their uncertainty against scipy.stats, and the bootstrap against all its possible
draws."""

import itertools

import numpy as np
import pytest
from scipy import stats

from jaxdistill import metrics
from jaxdistill.errors import UserError
from jaxdistill.metrics import summary


def test_mean_and_sample_standard_deviation():
  assert metrics.mean_std([0.5, 0.7, 0.6]) == {
    'mean': 0.6,
    'std': 0.1,
    'n': 3,
    'values': [0.5, 0.7, 0.6],
  }
  assert metrics.mean_std([0.5])['std'] == 0


def test_mean_and_std_are_rounded_to_six_digits_and_the_values_are_not():
  values = np.array([1 / 3, 2 / 3, 1.0])
  rounded = metrics.mean_std(values)
  assert (rounded['mean'], rounded['std']) == (0.666667, 0.333333)
  assert rounded['values'] == values.tolist()


@pytest.mark.parametrize('level', [0.5, 0.95, 0.99])
def test_t_interval_is_that_of_scipy(level):
  values = np.random.default_rng(0).normal(size=6)
  interval = metrics.t_interval(values, level)
  low, high = stats.t.interval(level, 5, loc=values.mean(), scale=stats.sem(values))
  assert interval == pytest.approx((values.mean(), stats.sem(values), low, high, 6))


def test_paired_difference_is_the_paired_t_test():
  rng = np.random.default_rng(1)
  values = rng.normal(size=8)
  others = values + 0.3 + 0.1 * rng.normal(size=8)
  interval = metrics.paired_difference(values, others)
  test = stats.ttest_rel(values, others)
  reference = test.confidence_interval(0.95)
  assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high))
  assert interval.mean / interval.standard_error == pytest.approx(test.statistic)
  # What a pair shares cancels: far narrower than from two independent lists.
  assert interval.standard_error < 0.2 * np.hypot(stats.sem(values), stats.sem(others))


VALUES = np.array([1.0, 0.0, 1.0, 1.0, 0.5, 0.25, 0.0])
GROUPS = np.array(['c', 'a', 'c', 'b', 'd', 'b', 'b'])


def every_bootstrap_mean():
  """The means of all 4^4 equally probable draws of four groups."""
  members = [VALUES[GROUPS == group] for group in 'abcd']
  draws = itertools.product(range(4), repeat=4)
  return np.array([np.concatenate([members[i] for i in draw]).mean() for draw in draws])


def test_bootstrap_over_groups_is_the_distribution_of_all_draws():
  exact = every_bootstrap_mean()
  interval = metrics.bootstrap_interval(VALUES, GROUPS, samples=200_000)
  assert interval.n == 4 and interval.mean == VALUES.mean()
  assert interval.standard_error == pytest.approx(exact.std(), rel=0.01)
  assert interval.low == pytest.approx(np.quantile(exact, 0.025), abs=0.02)
  assert interval.high == pytest.approx(np.quantile(exact, 0.975), abs=0.02)


def test_numbers_of_one_group_are_no_more_than_one():
  values = np.random.default_rng(2).normal(size=40)
  alone = metrics.bootstrap_interval(values, samples=4000)
  repeated = metrics.bootstrap_interval(np.repeat(values, 5), np.repeat(range(40), 5), samples=4000)
  assert repeated == pytest.approx(alone) and repeated.n == 40
  ignored = metrics.bootstrap_interval(np.repeat(values, 5), samples=4000)
  assert ignored.standard_error == pytest.approx(alone.standard_error / 5**0.5, rel=0.1)
  assert alone.standard_error == pytest.approx(values.std() / 40**0.5, rel=0.05)


def test_a_seed_gives_one_interval_whatever_the_blocks(monkeypatch):
  first = metrics.bootstrap_interval(VALUES, GROUPS, samples=500, seed=3)
  assert metrics.bootstrap_interval(VALUES, GROUPS, samples=500, seed=4) != first
  monkeypatch.setattr(summary, '_BLOCK', 28)  # seven draws of four groups
  assert metrics.bootstrap_interval(VALUES, GROUPS, samples=500, seed=3) == first


def test_misfits_are_told_in_one_sentence():
  with pytest.raises(UserError, match='at least one number'):
    metrics.mean_std([])
  with pytest.raises(UserError, match='at least 2 numbers'):
    metrics.t_interval([1.0])
  with pytest.raises(UserError, match='finite numbers'):
    metrics.t_interval([1.0, np.nan])
  for level in (0, 1, 95):
    with pytest.raises(UserError, match=f'between 0 and 1; got {level}'):
      metrics.t_interval([1.0, 2.0], level)
  with pytest.raises(UserError, match='one length; got 2 and 3'):
    metrics.paired_difference([1, 2], [1, 2, 3])
  with pytest.raises(UserError, match='at least 1 number'):
    metrics.bootstrap_interval([])
  with pytest.raises(UserError, match=r'one group a number, here shape \(2,\); got \(3,\)'):
    metrics.bootstrap_interval([1, 2], [0, 0, 1])
  with pytest.raises(UserError, match='at least two groups'):
    metrics.bootstrap_interval([1, 2], [0, 0])
  with pytest.raises(UserError, match='samples >= 1; got 0'):
    metrics.bootstrap_interval([1, 2], samples=0)

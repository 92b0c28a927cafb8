"""Several runs, or examples that come in groups, as one number with its uncertainty.

For reports: numpy arrays on the host, in float64.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdistill import errors

# Numbers of one block of bootstrap draws: 32 MB.
_BLOCK = 4_000_000


class Interval(NamedTuple):
  """A mean with its uncertainty."""

  mean: float
  standard_error: float
  low: float
  high: float
  n: int  # what was independent: runs, pairs or groups


def mean_std(values: Sequence[float] | np.ndarray) -> dict[str, Any]:
  """Returns dict(mean, std, n, values) of a list of numbers; std is that of the sample (n - 1), 0
  for a single number.

  mean and std are rounded to six digits, the values are as they came.

  Raises:
    UserError: for an empty list.

  >>> mean_std([0.5, 0.7])['mean']
  0.6
  """
  values = np.asarray(values, np.float64)
  if not values.size:
    raise errors.UserError('A mean needs at least one number; got none.')
  std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
  return {
    'mean': round(float(values.mean()), 6),
    'std': round(std, 6),
    'n': len(values),
    'values': values.tolist(),
  }


def t_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Interval:
  """Confidence interval of the mean of independent numbers: mean +- t s / sqrt(n).

  s is the sample's standard deviation (n - 1) and t the quantile (1 + level) / 2 of Student's
  distribution with n - 1 degrees of freedom: exact for normal numbers, and for a few seeds much
  wider than with the normal's 1.96.

  Args:
    values: [n], n >= 2.
    level: in (0, 1).

  Returns:
    Interval with standard_error = s / sqrt(n).

  Raises:
    UserError: for fewer than two numbers, one that is not finite, or a level out of range.

  Source: Student, Biometrika 1908.

  >>> interval = t_interval([1.0, 2.0, 3.0])
  >>> round(interval.low, 3), round(interval.high, 3)  # 2 -+ 4.303 / sqrt(3)
  (-0.484, 4.484)
  """
  values = _finite(values, least=2)
  _check_level(level)
  from scipy import special  # imported late: it is needed nowhere else

  standard_error = float(values.std(ddof=1)) / len(values) ** 0.5
  reach = float(special.stdtrit(len(values) - 1, (1 + level) / 2)) * standard_error
  mean = float(values.mean())
  return Interval(mean, standard_error, mean - reach, mean + reach, len(values))


def paired_difference(
  values: Sequence[float] | np.ndarray,
  others: Sequence[float] | np.ndarray,
  level: float = 0.95,
) -> Interval:
  """Mean of values - others where number i of both shares what both depend on, such as the seed.

  What a pair shares cancels, so that the standard error is that of the differences, often far less
  than the two standard deviations suggest.

  Args:
    values, others: [n], n >= 2.
    level: of the t-interval.

  Returns:
    Interval of the difference, n the number of pairs; 0 outside of it is a significant difference
    at 1 - level (the paired t-test).

  Raises:
    UserError: for different lengths, fewer than two pairs, or a number that is not finite.

  >>> difference = paired_difference([0.93, 0.81, 0.88], [0.91, 0.80, 0.85])
  >>> round(difference.mean, 4), round(difference.standard_error, 4)
  (0.02, 0.0058)
  """
  values, others = _finite(values, least=2), _finite(others, least=2)
  if len(values) != len(others):
    raise errors.UserError(
      f'Paired differences need two lists of one length; got {len(values)} and {len(others)}.'
    )
  return t_interval(values - others, level)


def bootstrap_interval(
  values: Sequence[float] | np.ndarray,
  groups: Sequence[Any] | np.ndarray | None = None,
  *,
  level: float = 0.95,
  samples: int = 10_000,
  seed: int = 0,
) -> Interval:
  """Percentile bootstrap interval of the mean of numbers that are dependent within groups.

  Every sample draws as many whole groups as there are, with replacement, and takes the mean over
  all numbers of the groups drawn; a group drawn twice counts twice. The interval runs between the
  (1 -+ level) / 2 quantiles of those means. For a paired comparison give the differences.

  Args:
    values: [n], such as 1 or 0 for every answer.
    groups: [n], the group of each number (a person, a video, a site); None: each is its own.
    level: in (0, 1).
    samples: number of bootstrap means.
    seed: of the draws; one seed gives one result.

  Returns:
    Interval: the mean of all numbers, the standard deviation of the bootstrap means as standard
    error, and n, the number of groups, which is what the width depends on.

  Raises:
    UserError: for no numbers, one that is not finite, groups of another length, fewer than two
      groups, or a level or number of samples out of range.

  Source: Efron, Annals of Statistics 1979; whole groups as in Davison and Hinkley, Bootstrap
  Methods and their Application, 1997, section 3.8.

  >>> answers, persons = [1, 1, 1, 0, 0, 1], ['a', 'a', 'b', 'b', 'c', 'c']
  >>> interval = bootstrap_interval(answers, persons, samples=1000)
  >>> interval.n, round(interval.mean, 3), interval.low, interval.high
  (3, 0.667, 0.5, 1.0)
  """
  values = _finite(values, least=1)
  groups = np.arange(len(values)) if groups is None else np.asarray(groups)
  if groups.shape != values.shape:
    raise errors.UserError(
      f'A bootstrap takes one group a number, here shape {values.shape}; got {groups.shape}.'
    )
  _check_level(level)
  errors.whole_numbers(samples=samples)
  errors.seed(seed)
  if samples < 1:
    raise errors.UserError(f'A bootstrap needs samples >= 1; got {samples}.')
  names, index = np.unique(groups, return_inverse=True)
  if len(names) < 2:
    raise errors.UserError('A bootstrap over groups needs at least two groups; all are one.')
  sums, numbers = np.bincount(index, values), np.bincount(index)
  means = _bootstrap_means(sums, numbers, samples, np.random.default_rng(seed))
  low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
  return Interval(float(values.mean()), float(means.std()), float(low), float(high), len(names))


def _bootstrap_means(sums, numbers, samples, generator):
  """Returns [samples] means. How often each group is drawn is multinomial; blocks bound the
  memory and change no draw."""
  groups = len(sums)
  share = np.full(groups, 1 / groups)
  rows = max(1, _BLOCK // groups)
  means = np.empty(samples)
  for start in range(0, samples, rows):
    stop = min(start + rows, samples)
    drawn = generator.multinomial(groups, share, size=stop - start)
    means[start:stop] = (drawn @ sums) / (drawn @ numbers)
  return means


def _finite(values, least):
  values = np.asarray(values, np.float64)
  if values.ndim != 1 or len(values) < least:
    raise errors.UserError(
      f'An interval needs a list of at least {least} number{"s" if least > 1 else ""}; got shape '
      f'{values.shape}.'
    )
  if not np.isfinite(values).all():
    raise errors.UserError('An interval needs finite numbers; some are not.')
  return values


def _check_level(level):
  errors.real_numbers(level=level)
  if not 0 < level < 1:
    raise errors.UserError(f'The level of an interval lies between 0 and 1; got {level}.')

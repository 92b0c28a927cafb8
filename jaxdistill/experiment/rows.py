"""Rows of networks that were trained side by side: curves of their checks, what one method has more
than another network by network."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill import errors, metrics
from jaxdistill.experiment.results import Row


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
  """Networks of several methods.

  Attributes:
    results: by the name of the method.
    rows: of the table, see `experiment.results.Row`.
    reference: the method that others are compared with where nothing is said.
  """

  results: Mapping[str, Any]
  rows: Sequence[Row]
  reference: str

  @property
  def accuracy(self) -> dict[str, np.ndarray]:
    """At the end of the training by method, [seeds] each: the column 'last'."""
    return {name: columns['last'] for name, columns in self._columns.items()}

  def difference(self, method: str, other: str = '', column: str = 'last') -> Any:
    """Returns what a method has more than another seed by seed, see `metrics.paired_difference`.

    Args:
      method: its name.
      other: that of the other one; '': the reference.
      column: of the table.

    Raises:
      UserError: a method or column that is not there, or a single seed.
    """
    return difference(self._columns, method, other or self.reference, column)

  @property
  def _columns(self):
    return {name: result.numbers.columns for name, result in self.results.items()}


def curve(steps: Sequence[int] | np.ndarray, values: np.ndarray) -> dict[str, list]:
  """Returns the mean and the standard deviation over R networks of values [k, R] at k checks, as
  `Row.curve` has them.

  >>> curve([4], np.array([[0.25, 0.75]]))['mean']
  [0.5]
  """
  spread = values.std(1, ddof=1) if values.shape[1] > 1 else np.zeros(len(values))
  return {
    'steps': np.asarray(steps).tolist(),
    'mean': values.mean(1).tolist(),
    'std': spread.tolist(),
  }


def differences(
  columns: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
  """Returns what networks have more than others with the same seeds: mean, standard error and 95 %
  interval of the paired differences, by column that both have as often and all of whose numbers are
  finite (a method that chooses nothing has no share of it that is right).

  >>> differences({'last': np.array([0.5, 0.7])}, {'last': np.array([0.4, 0.6])})['last']['n']
  2
  """
  return {
    name: metrics.paired_difference(values, others[name])._asdict()
    for name, values in columns.items()
    if name in others
    and len(values) == len(others[name])
    and np.isfinite([values, others[name]]).all()
  }


def difference(
  columns: Mapping[str, Mapping[str, np.ndarray]], method: str, other: str, column: str
) -> Any:
  """Returns what a method has more than another seed by seed in one column, see
  `metrics.paired_difference`.

  Args:
    columns: of the methods of a comparison, by their names.
    method, other, column: names.

  Raises:
    UserError: a method or column that is not there, or a single seed.

  >>> columns = {'kd': {'last': np.array([0.5, 0.75])}, 'alone': {'last': np.array([0.25, 0.5])}}
  >>> float(difference(columns, 'kd', 'alone', 'last').mean)
  0.25
  """
  for name in (method, other):
    if name not in columns:
      raise errors.unknown('method of this comparison', name, columns)
  if column not in columns[method]:
    raise errors.unknown('column', column, columns[method])
  return metrics.paired_difference(columns[method][column], columns[other][column])


def flat(row: Row) -> dict[str, Any]:
  """Returns a row as tables show it: its `differences` as columns 'gain_NAME'.

  >>> flat(Row('kd', 'KD', 1.0, extras={'differences': {'last': {'mean': 0.1}}}))['gain_last']
  {'mean': 0.1}
  """
  content = row.to_json()
  gains = content.get('differences', {})
  return {**content, **{f'gain_{name}': gain for name, gain in gains.items()}}

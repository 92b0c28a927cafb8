"""Curves and paired differences of networks that were trained side by side."""

import types

import numpy as np
import pytest

from jaxdistill.errors import UserError
from jaxdistill.experiment import rows
from jaxdistill.experiment.results import Row


def test_a_curve_has_mean_and_deviation_at_every_check():
  curve = rows.curve([2, 4], np.array([[0.2, 0.4], [0.5, 0.5]]))
  assert curve['steps'] == [2, 4] and curve['mean'] == pytest.approx([0.3, 0.5])
  assert curve['std'] == pytest.approx([0.02**0.5, 0.0])
  assert rows.curve([2], np.array([[0.2]]))['std'] == [0.0]


def test_differences_are_paired_and_of_common_columns():
  mine = {'last': np.array([0.5, 0.8]), 'only': np.ones(2), 'short': np.ones(2)}
  found = rows.differences(mine, {'last': np.array([0.4, 0.6]), 'short': np.ones(3)})
  assert set(found) == {'last'}
  assert found['last']['mean'] == pytest.approx(0.15)
  assert found['last']['standard_error'] == pytest.approx(0.05)


def test_a_column_that_is_not_finite_on_either_side_has_no_difference():
  chosen, whole = np.array([np.nan, np.nan]), np.array([0.5, 0.7])
  for one, other in ((chosen, whole), (whole, chosen)):
    assert not rows.differences({'precision': one}, {'precision': other})


def test_a_flat_row_has_its_differences_as_columns():
  row = Row('kd', 'KD', 1.0, extras={'differences': {'last': {'mean': 0.1}}})
  assert rows.flat(row)['gain_last'] == {'mean': 0.1}
  assert rows.flat(Row('kd', 'KD', 1.0))['name'] == 'kd'


def test_a_comparison_is_with_the_reference_where_nothing_is_said():
  def result(*last):
    return types.SimpleNamespace(numbers=types.SimpleNamespace(columns={'last': np.array(last)}))

  results = {'kd': result(0.5, 0.75), 'fitnet': result(0.5, 0.5), 'alone': result(0.25, 0.5)}
  compared = rows.Comparison(results, [], 'alone')
  np.testing.assert_array_equal(compared.accuracy['kd'], [0.5, 0.75])
  assert compared.difference('kd') == compared.difference('kd', 'alone')
  assert compared.difference('kd').mean == 0.25
  assert compared.difference('kd', other='fitnet').mean == 0.125
  with pytest.raises(UserError, match="no column 'lost'; did you mean 'last'"):
    compared.difference('kd', column='lost')
  with pytest.raises(UserError, match="no method of this comparison 'vote'"):
    rows.Comparison(results, [], 'vote').difference('kd')

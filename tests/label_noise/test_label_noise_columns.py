"""The charts of this family's sweeps."""

import pathlib

import pytest

from jaxdistill import config as configs
from jaxdistill.experiment import aggregate
from jaxdistill.experiment.aggregate import Finished
from jaxdistill.experiment.results import Result, Row
from jaxdistill.label_noise import columns


def finished(axis, value, wrong, labels):
  """A run of one method at a point of a sweep."""
  config = configs.load('label_noise/ccc:digits')
  configs.override(config, axis, str(value))
  scores = {'last': {'mean': 0.5, 'std': 0.0, 'n': 1, 'values': [0.5]}}
  key, extras = f'{axis}{value}', {'wrong': wrong, 'labels': labels}
  row = Row('ccc', 'CCC', 1.0, scores, None, False, key, extras)
  content = dict(title='', family='label_noise', dataset='digits', seed=0, rows=(), seconds={})
  content |= dict(config=config.to_dict(), peak_memory_bytes=1, peak_memory_of='process')
  content |= dict(versions={}, device={}, git_commit=None, date='', method='ccc')
  result = Result.from_json({**content, 'rows': [row.to_json()]})
  return Finished('label_noise/ccc:digits', {axis: str(value)}, result, pathlib.Path('nowhere'))


@pytest.mark.parametrize(
  'axis, points, x_title',
  [
    ('evidence.rate', [(0.2, 0.19, 1.0), (0.4, 0.38, 1.0)], 'share of wrong labels'),
    ('evidence.per_example', [(2.0, 0.3, 2.0), (4.0, 0.3, 4.0)], 'labels an example'),
  ],
)
def test_a_swept_field_is_the_x_axis_of_one_line_a_method(axis, points, x_title):
  runs = [finished(axis, value, wrong, labels) for value, wrong, labels in points]
  groups = aggregate.groups(runs, columns.GROUPING)
  name = axis.partition('.')[2]
  assert [group.setting for group in groups] == [f'{name}={value}' for value, *_ in points]
  (chart,) = columns.charts(groups)
  ((label, x, mean, _),) = chart['series']
  expected = [wrong if name == 'rate' else labels for _, wrong, labels in points]
  assert (chart['x_title'], label, x, mean) == (x_title, 'CCC', expected, [0.5, 0.5])


def test_another_field_tells_lines_apart_and_draws_no_chart():
  runs = [finished('evidence.noise', kind, 0.3, 1.0) for kind in ('pair', 'symmetric')]
  assert columns.charts(aggregate.groups(runs, columns.GROUPING)) == []

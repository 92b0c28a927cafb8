"""What tables and charts of this family say."""

import json
import pathlib

import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill import files
from jaxdistill.experiment import aggregate, kept
from jaxdistill.experiment.aggregate import Finished
from jaxdistill.experiment.results import Result
from jaxdistill.robustness import columns, scoring


def numbers_of(*worst):
  curves = {'train': np.full((2, 2), 0.75), 'test': np.full((2, 2), 0.5)}
  attacked = {'clean': np.full(2, 0.5), 'worst': np.array(worst)}
  return scoring.Numbers(np.array([1, 2]), curves, curves, attacked, (), {}, 1.0)


def finished(eps, width=8, spec='robustness/at:digits'):
  """A run of one method at a point of a sweep."""
  config = configs.load(spec)
  configs.override(config, 'robustness.eps', str(eps))
  configs.override(config, 'model.width', str(width))
  row = scoring.row('at', 'AT', numbers_of(0.5, 0.5), key=f'{eps} {width}', eps=eps, images=10)
  content = dict(title='', family='robustness', dataset='digits', seed=0, seconds={})
  content |= dict(config=config.to_dict(), peak_memory_bytes=1, peak_memory_of='process')
  content |= dict(versions={}, device={}, git_commit=None, date='', method='at')
  result = Result.from_json({**content, 'rows': [row.to_json()]})
  point = {'robustness.eps': str(eps), 'model.width': str(width)}
  return Finished(spec, point, result, pathlib.Path('nowhere'))


def test_the_radius_is_the_x_axis_of_one_line_a_method():
  groups = aggregate.groups([finished(0.2), finished(0.1)], columns.GROUPING)
  assert [group.setting for group in groups] == ['eps=0.2', 'eps=0.1']
  (chart,) = columns.charts(groups)
  ((label, x, mean, _),) = chart['series']
  assert (label, x, mean) == ('AT', [0.1, 0.2], [0.5, 0.5])
  assert columns.charts(groups[:1]) == []


def test_what_else_differs_tells_lines_apart():
  runs = [finished(eps, width) for width in (8, 16) for eps in (0.1, 0.2)]
  (chart,) = columns.charts(aggregate.groups(runs, columns.GROUPING))
  lines = [(label, x) for label, x, *_ in chart['series']]
  assert lines == [('AT, width=8', [0.1, 0.2]), ('AT, width=16', [0.1, 0.2])]


@pytest.mark.parametrize(
  'spec, width, last',
  [
    ('robustness/at:cifar10', 64, 0.4375),
    ('robustness/at:cifar10', 8, None),
    ('robustness/at:cifar10,pseudo=npz:made.npz', 64, None),
  ],
)
def test_published_numbers_stand_beside_the_same_protocol_alone(spec, width, last):
  (group,) = aggregate.groups([finished(8 / 255, width, spec)], columns.GROUPING)
  known = columns.table_row(group)['published']
  assert (known and known['mean']) == last


@pytest.mark.parametrize('worst', [(0.25, 0.5), (0.25, np.nan)])
def test_a_number_that_is_not_there_has_a_dash_and_no_difference(worst):
  there, numbers = (
    scoring.Numbers.from_json(kept.from_json(kept.to_json(one.to_json())))
    for one in (numbers_of(0.25, 0.25), numbers_of(*worst))
  )
  row = scoring.row('trades', 'TRADES', numbers, there)
  shown = json.loads(json.dumps(files.jsonable(row.to_json())))
  finite = np.isfinite(worst).all()
  assert ('worst' in shown['differences']) == finite and 'last' in shown['differences']
  assert columns.points(shown['worst']) == ('+37.5 ± 17.7' if finite else '–')

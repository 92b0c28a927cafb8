"""The arithmetic of many networks against one; the figures themselves are no test's business."""

import types

import pytest

from jaxdistill import benchmarks
from jaxdistill.benchmarks import Settings, timing
from jaxdistill.benchmarks import networks as networks_benchmark
from jaxdistill.models import convolution
from jaxdistill.training import together


@pytest.fixture
def steps(monkeypatch):
  """Steps of .5 s for all at once and .2 s for one, made up."""

  def setup(*args, networks, **options):
    return types.SimpleNamespace(step=networks)

  def time_steps(problem, count):
    return types.SimpleNamespace(seconds=7.0), [0.5 if problem.step == 4 else 0.2] * count

  monkeypatch.setattr(networks_benchmark.classifier, 'setup', setup)
  monkeypatch.setattr(timing, 'time_steps', time_steps)


@pytest.mark.parametrize('part', ['evaluate', 'experts'])
def test_networks_at_once_are_compared_with_as_many_alone(steps, part):
  lines = []
  figures = benchmarks.measure(part, Settings(networks=4), lines.append)
  assert (figures['step_together_s'], figures['step_alone_s'], figures['networks']) == (0.5, 0.2, 4)
  assert figures['step_ratio'] == pytest.approx(1.6) and figures['way'] == 'unroll'
  assert figures['whole_together_s'] > 0 and figures['whole_one_by_one_s'] > 0
  assert 'a step of 4 networks 0.500 s, of one 0.200 s: 1.60 times as fast' in lines[0]


def test_every_way_is_timed_with_one_and_with_four(steps):
  lines = []
  rows = benchmarks.measure('networks', Settings(), lines.append)
  assert [row['way'] for row in rows[::2]] == list(together.WAYS)
  assert [(row['networks'], row['s_per_step']) for row in rows[:2]] == [(1, 0.2), (4, 0.5)]
  assert rows[0]['compile_s'] == 7.0 and len(lines) == len(rows)


def test_every_form_of_a_convolution_is_timed_in_every_place(monkeypatch):
  monkeypatch.setattr(networks_benchmark, '_INPUTS', ((1, 4, 2),))
  monkeypatch.setattr(timing, 'median_seconds', lambda function, arguments: 0.002)
  lines = []
  rows = benchmarks.measure('convolution', Settings(), lines.append)
  assert [row['form'] for row in rows] == list(convolution.FORMS)
  places = ('forward', 'gradient', 'gradient in a loop, 2 steps', 'gradient, vmap over 4')
  for row in rows:
    assert row['input'] == '1x4x4x2' and tuple(row)[2:] == places
    assert [row[place] for place in places] == [2.0] * 4
  assert lines[0].startswith(f'1x4x4x2, {rows[0]["form"]}, forward 2.0 ms, gradient 2.0 ms, ')

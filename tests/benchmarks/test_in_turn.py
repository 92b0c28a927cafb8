"""Parts of the benchmark that time steps in turn, on the smallest problems."""

import pytest

from jaxdistill import benchmarks


@pytest.mark.slow
@pytest.mark.parametrize('part, first', [('robust', 'at'), ('crowds', 'crowd_layer')])
def test_steps_are_timed_in_turn(part, first):
  lines = []
  settings = benchmarks.Settings(rounds=2, iters=1, width=4, batch=4)
  figures = benchmarks.measure(part, settings, lines.append)
  assert list(figures)[0] == first and figures[first]['ratio'] == 1
  for of_method in figures.values():
    assert len(of_method['seconds']) == 2 and min(of_method['seconds']) > 0
  assert len(lines) == 2 + len(figures) - 1

"""The arithmetic of what the loop costs; the figures themselves are no test's business."""

from jaxdistill import benchmarks
from jaxdistill.benchmarks import loop as loop_benchmark


def test_overheads_are_medians_of_the_rounds_ratios_and_every_way_begins_a_round(monkeypatch):
  order = []
  clocks = {
    'bare': [1.0, 2.0, 4.0],
    'without checkpoints': [1.1, 2.0, 4.8],
    'with checkpoints': [1.5, 3.0, 4.0],
  }

  def timed(way, steps):
    order.append(way)
    wall = clocks[way][(len(order) - 1) // 3]
    return {'wall': wall * steps, 'cpu': 2 * wall * steps}

  monkeypatch.setattr(loop_benchmark, '_timed', timed)
  monkeypatch.setattr(loop_benchmark, '_problem', lambda seconds, steps: steps)
  lines = []
  figures = loop_benchmark.measure(steps=4, rounds=3, tell=lines.append)
  assert order[::3] == list(loop_benchmark.WAYS) and all(
    set(order[i : i + 3]) == set(loop_benchmark.WAYS) for i in (0, 3, 6)
  )
  assert figures['step_seconds'] == 2.0 and figures['bare']['cpu'] == [2.0, 4.0, 8.0]
  assert abs(figures['overhead']['without checkpoints']['wall'] - 0.1) < 1e-9
  assert abs(figures['overhead']['with checkpoints']['cpu'] - 0.5) < 1e-9
  assert figures['extra_seconds']['with checkpoints']['wall'] == 2.0 and figures['steps'] == 4
  assert (
    lines[0] == 'round 1: bare 1000.00 ms a step, without checkpoints 1100.00 ms a step, with '
    'checkpoints 1500.00 ms a step'
  )


def test_the_three_ways_do_the_same_steps(capsys):
  figures = loop_benchmark.measure(step_seconds=0.001, steps=5, rounds=1)
  assert all(
    len(figures[way]['wall']) == 1 and figures[way]['wall'][0] > 0 for way in loop_benchmark.WAYS
  )
  assert 'round 1: bare' in capsys.readouterr().out


def test_short_and_longer_steps_are_measured(monkeypatch):
  def measure(seconds, steps, rounds, tell):
    extra = {'wall': 0.2, 'cpu': 0.4}
    share = {clock: spent / (seconds * steps) for clock, spent in extra.items()}
    return {
      'step_seconds': seconds,
      'steps': steps,
      'extra_seconds': {'with checkpoints': extra},
      'overhead': {'with checkpoints': share},
    }

  monkeypatch.setattr(loop_benchmark, 'measure', measure)
  lines = []
  results = benchmarks.measure('loop', benchmarks.Settings(), lines.append)
  assert [(result['step_seconds'], result['steps']) for result in results] == [
    (0.0005, 2000),
    (0.005, 1000),
    (0.05, 500),
  ]
  assert lines[-1] == (
    '500 steps of 50 ms, with checkpoints: +0.20 s in all, +0.8% of the time, '
    '+1.6% of the work of the processors'
  )

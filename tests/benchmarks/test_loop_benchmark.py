"""The arithmetic of what the loop costs; the figures themselves are no test's business."""

from jaxdistill.benchmarks import loop as loop_benchmark


def test_overheads_are_medians_of_the_rounds_ratios_and_every_way_begins_a_round(monkeypatch):
  order = []
  clocks = {
    'bare': [1.0, 2.0, 4.0],
    'without checkpoints': [1.1, 2.0, 4.8],
    'with checkpoints': [1.5, 3.0, 4.0],
  }

  def timed(way, state, source, steps):
    order.append(way)
    wall = clocks[way][(len(order) - 1) // 3]
    return {'wall': wall * steps, 'cpu': 2 * wall * steps}

  monkeypatch.setattr(loop_benchmark, '_timed', timed)
  monkeypatch.setattr(loop_benchmark, '_calibrated', lambda source, seconds: None)
  told = []
  found = loop_benchmark.measure(steps=4, rounds=3, tell=told.append)
  assert order[::3] == list(loop_benchmark.WAYS) and all(
    set(order[i : i + 3]) == set(loop_benchmark.WAYS) for i in (0, 3, 6)
  )
  assert found['step_seconds'] == 2.0 and found['bare']['cpu'] == [2.0, 4.0, 8.0]
  assert abs(found['overhead']['without checkpoints']['wall'] - 0.1) < 1e-9
  assert abs(found['overhead']['with checkpoints']['cpu'] - 0.5) < 1e-9
  assert found['extra_seconds']['with checkpoints']['wall'] == 2.0 and found['steps'] == 4
  assert (
    told[0] == 'round 1: bare 1000.00 ms a step, without checkpoints 1100.00 ms a step, with '
    'checkpoints 1500.00 ms a step'
  )


def test_the_three_ways_do_the_same_steps(capsys):
  found = loop_benchmark.measure(step_seconds=0.001, steps=5, rounds=1)
  assert all(
    len(found[way]['wall']) == 1 and found[way]['wall'][0] > 0 for way in loop_benchmark.WAYS
  )
  assert 'round 1: bare' in capsys.readouterr().out

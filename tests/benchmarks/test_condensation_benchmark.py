"""The arithmetic of the condensation benchmark and its way with other programs; the figures
themselves are no test's business."""

import json
import os
import subprocess
import sys

import pytest

from jaxdistill import benchmarks
from jaxdistill.benchmarks import Settings, growth, process
from jaxdistill.benchmarks import condensation as condensation_benchmark
from jaxdistill.errors import UserError

YARDSTICK = (
  f"{sys.executable} -c \"import sys, json; print('warming up'); "
  'print(json.dumps(dict(s_per_iter=6.0, arguments=sys.argv[1:])))"'
)


@pytest.fixture
def figures(monkeypatch):
  """A list of seconds that stand for our own processes (a minute each); the yardstick stays a real
  process."""
  seconds, real = [], process.figures

  def run(command, *environment):
    if command[:3] == [*condensation_benchmark._COMMAND]:
      return {'s_per_iter': seconds.pop(0), 'peak_bytes': 7}
    return real(command, *environment)

  monkeypatch.setattr(process, 'figures', run)
  return seconds


@pytest.fixture
def commands(monkeypatch):
  """Replaces our own processes by a formula of their size; returns what was asked of them: the
  flags, and the environment."""
  calls = []

  def run(command, environment):
    words = iter(command[3:])
    flags = dict(zip(words, words))
    calls.append((flags, environment))
    return {'s_per_iter': formula(**{name.strip('-'): flags[name] for name in SIZES})}

  def formula(classes, devices, ipc, factor):
    return (0.5 + 0.1 * classes * (1 + 0.01 * ipc * factor**2)) / devices

  SIZES = ('--classes', '--devices', '--ipc', '--factor')
  monkeypatch.setattr(process, 'figures', run)
  return calls


def test_the_ratio_is_that_of_the_medians_of_alternate_rounds(figures):
  figures += [1.0, 9.0, 2.0]
  lines = []
  settings = Settings(methods=('m3d',), yardstick=YARDSTICK)
  measured = benchmarks.measure('condense', settings, lines.append)['m3d']
  assert measured['ours_s'] == [1.0, 9.0, 2.0] and measured['yardstick_s'] == [6.0] * 3
  assert measured['ratio'] == 3.0 and measured['peak_bytes'] == 7
  assert measured['yardstick']['arguments'] == [
    *('--method', 'm3d'),
    *('--ipc', '10'),
    *('--factor', '2'),
    *('--iters', '5'),
    *('--batch-real', '128'),
  ]
  assert lines[0] == 'm3d, round 1: 1.000 s an iteration, 7 B, yardstick 6.000 s'
  assert lines[-1] == 'm3d: 3.00 times as fast as the yardstick'


def test_without_a_yardstick_the_methods_stand_alone(figures):
  figures += [1.0, 2.0]
  settings = Settings(methods=('m3d', 'dm'), rounds=1)
  measured = benchmarks.measure('condense', settings, lambda text: None)
  assert measured == {
    'm3d': {'ours_s': [1.0], 'peak_bytes': 7},
    'dm': {'ours_s': [2.0], 'peak_bytes': 7},
  }


@pytest.mark.parametrize(
  'command, message',
  [('no-such-program', 'gave no JSON line'), ('false', 'failed'), ('echo hello', 'no JSON line')],
)
def test_a_yardstick_that_does_not_work_is_told(figures, command, message):
  figures += [1.0] * 3
  with pytest.raises(UserError, match=message):
    settings = Settings(methods=('m3d',), yardstick=command)
    benchmarks.measure('condense', settings, lambda text: None)


def test_unknown_names_are_refused_before_any_work():
  with pytest.raises(UserError, match="no part of the benchmark 'condens'; did you mean 'condens"):
    benchmarks.check(['loop', 'condens'], Settings())
  with pytest.raises(UserError, match="no condensation method 'm3'; did you mean 'm3d'"):
    benchmarks.check(['loop', 'condense'], Settings(methods=('m3',)))
  benchmarks.check(benchmarks.PARTS, Settings())


def test_the_growth_is_measured_along_both_axes_and_drawn(commands):
  """A cost that is linear in both, made up."""
  lines = []
  settings = Settings(methods=('dance',), dtype='bfloat16', batch_real=3, iters=2)
  result = benchmarks.measure('scaling', settings, lines.append)
  measured = result['dance']
  assert measured['classes']['x'] == [5, 10, 20] and measured['synthetic']['x'] == [4, 20, 40, 80]
  assert measured['classes']['slope'] == pytest.approx(0.14)
  assert measured['classes']['intercept'] == pytest.approx(0.5)
  assert measured['synthetic']['slope'] == pytest.approx(0.01)
  assert measured['synthetic']['deviation'] < 1e-9
  assert '0% off a straight line' in lines[0]
  assert 'dance' in growth.html(result, 'here')
  flags, environment = commands[0]
  assert flags['--method'] == 'dance' and flags['--dtype'] == 'bfloat16'
  assert flags['--batch-real'] == 3 and flags['--iters'] == 2
  assert environment['PYTHONPATH'] and environment.get('XLA_FLAGS') == os.environ['XLA_FLAGS']


def test_classes_grow_with_the_devices_and_are_also_taken_by_one(commands):
  settings = Settings(methods=('dm',), ipc=1, factor=1)
  rows = benchmarks.measure('devices', settings, lambda text: None)['dm']
  seconds = lambda classes: 0.5 + 0.1 * classes * 1.01
  assert [(row['devices'], row['classes']) for row in rows] == [(1, 5), (2, 10), (4, 20)]
  for row in rows:
    alone = seconds(row['classes'])
    assert row['one_device_s'] == pytest.approx(alone)
    assert row['spread_s'] == pytest.approx(alone / row['devices'])
    assert row['rounds'] == [[row['spread_s'], row['one_device_s']]] * (
      3 if row['devices'] > 1 else 1
    )
  asked = []
  for flags, environment in commands:
    fake = int(environment['XLA_FLAGS'].rpartition('device_count=')[2])
    asked.append((flags['--classes'], flags['--devices'], fake))
  assert asked == [(5, 1, 1)] * 2 + [(10, 2, 2), (10, 1, 2)] * 3 + [(20, 4, 4), (20, 1, 4)] * 3


def test_the_flags_of_a_measurement_reach_it_from_anywhere(tmp_path):
  names = ('method', 'dtype', 'classes', 'devices', 'ipc', 'factor', 'iters', 'batch-real', 'width')
  code = (
    'import sys, dataclasses, json; from jaxdistill.benchmarks import condensation\n'
    'condensation.measure = lambda method, settings, devices: '
    'dict(vars(settings), method=method, devices=devices)\n'
    'condensation.main(sys.argv[1:])'
  )
  values = ('m3d', 'bfloat16', '3', '4', '5', '6', '7', '8', '9')
  flags = [f'--{name}={value}' for name, value in zip(names, values)]
  done = subprocess.run(
    [sys.executable, '-c', code, *flags],
    cwd=tmp_path,
    env=condensation_benchmark.child.environment(),
    capture_output=True,
    text=True,
    check=True,
  )
  measured = json.loads(done.stdout)
  for name, value in zip(names, values):
    assert str(measured[name.replace('-', '_')]) == value

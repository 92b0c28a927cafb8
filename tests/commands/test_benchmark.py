"""The benchmark's arithmetic and its way with other programs; the figures themselves are no test's
business."""

import json
import sys
import types

import pytest

from jaxdistill.commands import benchmark

YARDSTICK = (
  f"{sys.executable} -c \"import sys, json; print('warming up'); "
  'print(json.dumps(dict(s_per_iter=6.0, told=sys.argv[1:])))"'
)


def fake_measure(monkeypatch, figures):
  """Replaces our own processes (a minute each) by given figures; the yardstick stays a real
  process."""
  figures, real = iter(figures), benchmark._run
  monkeypatch.setattr(
    benchmark,
    '_run',
    lambda command: (
      {'s_per_iter': next(figures), 'peak_bytes': 7} if '--measure' in command else real(command)
    ),
  )


def test_the_ratio_is_that_of_the_medians_of_alternate_rounds(monkeypatch, tmp_path, capsys):
  fake_measure(monkeypatch, [1.0, 9.0, 2.0])
  out = tmp_path / 'bench.json'
  assert (
    benchmark.main(['--only=condense', '--methods=m3d', f'--out={out}', f'--yardstick={YARDSTICK}'])
    == 0
  )
  figures = json.loads(out.read_text())['condense']['m3d']
  assert figures['ours_s'] == [1.0, 9.0, 2.0] and figures['yardstick_s'] == [6.0] * 3
  assert figures['ratio'] == 3.0 and figures['peak_bytes'] == 7
  told = figures['yardstick']['told']
  assert told == [
    '--method',
    'm3d',
    '--ipc',
    '10',
    '--factor',
    '2',
    '--iters',
    '5',
    '--batch-real',
    '128',
  ]
  assert 'm3d: 3.00 times as fast as the yardstick' in capsys.readouterr().out


def test_a_comparison_needs_three_rounds(capsys):
  assert benchmark.main(['--only=condense', '--rounds=2', '--yardstick=true']) == 2
  assert 'at least three rounds' in capsys.readouterr().err


@pytest.mark.parametrize(
  'command, message',
  [('no-such-program', 'gave no JSON line'), ('false', 'failed'), ('echo hello', 'no JSON line')],
)
def test_a_yardstick_that_does_not_work_is_told(monkeypatch, capsys, command, message):
  fake_measure(monkeypatch, [1.0] * 3)
  assert benchmark.main(['--only=condense', '--methods=m3d', f'--yardstick={command}']) == 2
  assert message in capsys.readouterr().err


@pytest.mark.parametrize(
  'flag, message',
  [
    ('--only=condens', "no part of the benchmark 'condens'; did you mean 'condense'"),
    ('--methods=m3', "no condensation method 'm3'; did you mean 'm3d'"),
  ],
)
def test_unknown_names_are_refused_before_any_work(capsys, flag, message):
  assert benchmark.main(['--only=condense', flag]) == 2
  assert message in capsys.readouterr().err


def test_the_growth_is_measured_along_both_axes_and_drawn(monkeypatch, tmp_path, capsys):
  """A cost that is linear in both, made up."""

  def run(command):
    at = lambda flag: int(command[command.index(flag) + 1])
    return {
      's_per_iter': 0.5 + 0.1 * at('--classes') * (1 + 0.01 * at('--ipc') * at('--factor') ** 2)
    }

  monkeypatch.setattr(benchmark, '_run', run)
  out = tmp_path / 'bench.json'
  assert benchmark.main(['--only=scaling', '--methods=dance', '--factor=2', f'--out={out}']) == 0
  measured = json.loads(out.read_text())['scaling']['dance']
  assert measured['classes']['x'] == [5, 10, 20] and measured['synthetic']['x'] == [4, 20, 40, 80]
  assert measured['classes']['slope'] == pytest.approx(0.14) and measured['classes'][
    'intercept'
  ] == pytest.approx(0.5)
  assert (
    measured['synthetic']['slope'] == pytest.approx(0.01)
    and measured['synthetic']['deviation'] < 1e-9
  )
  assert '0% off a straight line' in capsys.readouterr().out
  assert 'dance' in (tmp_path / 'bench.html').read_text()


def test_classes_grow_with_the_devices_and_are_also_taken_by_one(monkeypatch, tmp_path):
  calls = []

  def run(command, fake_devices=0):
    at = lambda flag: int(command[command.index(flag) + 1])
    calls.append((at('--classes'), at('--devices'), fake_devices))
    return {'s_per_iter': at('--classes') / at('--devices')}

  monkeypatch.setattr(benchmark, '_run', run)
  out = tmp_path / 'bench.json'
  assert benchmark.main(['--only=devices', '--methods=dm', '--rounds=3', f'--out={out}']) == 0
  rows = json.loads(out.read_text())['devices']['dm']
  assert [
    (row['devices'], row['classes'], row['spread_s'], row['one_device_s']) for row in rows
  ] == [(1, 5, 5, 5), (2, 10, 5, 10), (4, 20, 5, 20)]
  assert calls == [(5, 1, 1)] * 2 + [(10, 2, 2), (10, 1, 2)] * 3 + [(20, 4, 4), (20, 1, 4)] * 3


@pytest.mark.parametrize('part', ['evaluate', 'experts'])
def test_networks_at_once_are_compared_with_as_many_alone(monkeypatch, tmp_path, part):
  """Steps of .5 s for all at once and .2 s for one, made up."""
  monkeypatch.setattr(
    benchmark.classifier,
    'setup',
    lambda *args, networks, **options: types.SimpleNamespace(
      step=networks, state=None, source=None
    ),
  )
  monkeypatch.setattr(
    benchmark, 'time_steps', lambda networks, *rest: (None, [0.5 if networks == 4 else 0.2])
  )
  out = tmp_path / 'bench.json'
  assert benchmark.main([f'--only={part}', '--networks=4', f'--out={out}']) == 0
  figures = json.loads(out.read_text())[part]
  assert (figures['step_together_s'], figures['step_alone_s'], figures['networks']) == (0.5, 0.2, 4)
  assert figures['step_ratio'] == pytest.approx(1.6) and figures['way'] == 'unroll'


def test_the_loop_is_measured_on_short_and_longer_steps(monkeypatch, tmp_path, capsys):
  def measure(seconds, steps, rounds, tell):
    one = {'wall': 0.2, 'cpu': 0.4}
    return {
      'step_seconds': seconds,
      'steps': steps,
      'extra_seconds': {'with checkpoints': one},
      'overhead': {
        'with checkpoints': {clock: each / (seconds * steps) for clock, each in one.items()}
      },
    }

  monkeypatch.setattr(benchmark.loop_benchmark, 'measure', measure)
  out = tmp_path / 'bench.json'
  assert benchmark.main(['--only=loop', f'--out={out}']) == 0
  found = json.loads(out.read_text())['loop']
  assert [(each['step_seconds'], each['steps']) for each in found] == [
    (0.0005, 2000),
    (0.005, 1000),
    (0.05, 500),
  ]
  assert (
    '500 steps of 50 ms, with checkpoints: +0.20 s in all, +0.8% of the time, +1.6% of the work'
    in capsys.readouterr().out
  )

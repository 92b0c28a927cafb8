"""`jaxdistill benchmark`: which parts it asks for and what it leaves; the figures themselves are no
test's business."""

import json
from types import SimpleNamespace

import pytest

from jaxdistill import benchmarks
from jaxdistill.benchmarks import device, process
from jaxdistill.commands import benchmark
from jaxdistill.training import interrupt

GROWTH = {'x': [1, 2], 'seconds': [3.0, 4.0], 'slope': 1.0, 'intercept': 2.0, 'deviation': 0.0}


@pytest.fixture
def calls(monkeypatch):
  """Replaces the measuring by a note of what was asked for; returns the notes."""
  notes = []

  def measure(part, settings, tell):
    notes.append((part, settings))
    tell(f'{part} is fast')
    return {'dm': {'classes': GROWTH, 'synthetic': GROWTH}} if part == 'scaling' else {'part': part}

  monkeypatch.setattr(benchmarks, 'measure', measure)
  return notes


def test_every_part_is_measured_in_order_and_written(calls, tmp_path, capsys):
  out = tmp_path / 'bench.json'
  assert benchmark.main([f'--out={out}', '--batch-real=7', '--methods=dm,m3d']) == 0
  settings = benchmarks.Settings(batch_real=7, methods=('dm', 'm3d'))
  assert calls == [(part, settings) for part in benchmarks.PARTS]
  figures = json.loads(out.read_text())
  assert {'date', 'device', 'versions', 'git_commit'} < figures.keys()
  assert figures['loop'] == {'part': 'loop'}
  assert figures['settings'] == dict(
    ipc=10,
    factor=2,
    batch_real=7,
    iters=5,
    width=128,
    dtype='float32',
    teacher=20,
    student=8,
    low=16,
    batch=64,
  )
  assert list(figures)[-len(benchmarks.PARTS) :] == list(benchmarks.PARTS)
  printed = capsys.readouterr().out
  assert 'condense:\n  condense is fast\nevaluate:\n' in printed and f'written to {out}' in printed
  assert 'Seconds against' in (tmp_path / 'bench.html').read_text()


def test_the_growth_alone_has_a_page(calls, tmp_path):
  out = tmp_path / 'bench.json'
  assert benchmark.main([f'--out={out}', '--only=loop,devices']) == 0
  assert [part for part, _ in calls] == ['loop', 'devices']
  assert out.is_file() and not (tmp_path / 'bench.html').exists()


def test_a_comparison_needs_three_rounds(calls, capsys):
  arguments = ['--only=condense', '--yardstick=true']
  assert benchmark.main([*arguments, '--rounds=2']) == 2 and calls == []
  assert 'at least three rounds' in capsys.readouterr().err
  assert benchmark.main(arguments) == 0 and calls[0][1].yardstick == 'true'


@pytest.fixture
def plans(monkeypatch):
  """Replaces the plan by a note of what was asked for; returns the notes."""
  notes = []

  def run(settings, out, seconds, tell, parts):
    notes.append((settings, out, seconds, parts))
    tell('m3d is fast')
    return SimpleNamespace(path=out, page=out.with_suffix('.html'))

  monkeypatch.setattr(device, 'run', run)
  return notes


def test_the_plan_is_run_within_its_time(plans, calls, tmp_path, capsys):
  out = tmp_path / 'device.json'
  assert benchmark.main(['--plan=device', f'--out={out}', '--seconds=60', '--methods=dm']) == 0
  settings = benchmarks.Settings(methods=('dm',))
  assert plans == [(settings, out, 60, benchmarks.PLAN_PARTS)] and calls == []
  assert capsys.readouterr().out.splitlines() == [
    'm3d is fast',
    f'written to {out}, page in {tmp_path / "device.html"}',
  ]
  assert benchmark.main(['--plan=device', f'--out={out}', '--only=steps,methods']) == 0
  assert plans[1][2:] == (480, ('steps', 'methods'))


def test_a_plan_that_is_stopped_says_how_it_goes_on(monkeypatch, tmp_path, capsys):
  """As a signal does it, while a process measures."""
  out = tmp_path / 'device.json'
  machine = {'machine': {'device': {'kind': 'cpu', 'count': 1, 'platform': 'cpu'}}}

  def run(command, *_):
    if '--machine-only' in command:
      return process.Ended(machine)
    raise interrupt.Terminated

  monkeypatch.setattr(process, 'run', run)
  assert benchmark.main(['--plan=device', f'--out={out}']) == 75
  error = capsys.readouterr().err
  assert (
    error == f'Stopped by SIGTERM; {out} keeps what was measured, and the same command goes on.\n'
  )


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--plan=devise', '--out=a.json'], "There is no plan 'devise'; did you mean 'device'?"),
    (['--plan=device'], 'A plan keeps its figures in a file: --out=device.json.'),
    (['--plan=device', '--out=.'], '--out=. cannot be written (Is a directory)'),
    (['--plan=device', '--out=a.html'], 'name a file that is no .html.'),
    (
      ['--plan=device', '--out=a.json', '--only=loop'],
      "There is no part of the plan 'loop'. Valid: methods, networks, steps.",
    ),
    (['--plan=device', '--out=a.json', '--dtype=float32'], '--dtype does not go with --plan'),
    (['--plan=device', '--out=a.json', '--methods=m3'], "There is no condensation method 'm3'"),
    (['--plan=device', '--out=a.json', '--yardstick=pyton a.py'], "no program 'pyton' to run"),
    (['--plan=device', '--seconds=0'], "--seconds needs a whole number from 1 up, not '0'."),
    (['--seconds=10'], '--seconds is the time of a plan: --plan=device.'),
    (['--only=condens'], "no part of the benchmark 'condens'; did you mean 'condense'"),
    (
      ['--only=condense', '--methods=m3'],
      "no condensation method 'm3'; did you mean 'm3d'",
    ),
    (
      ['--only=distil', '--distillations=kd,kdd'],
      "no distillation term 'kdd'; did you mean 'kd'",
    ),
    (['--only=distil', '--student=9'], 'The depth of a resnet is 6 k + 2'),
    (['--dtype=float23'], "There is no dtype 'float23'; did you mean 'float32'?"),
    (['--rounds=none'], "--rounds needs a whole number from 1 up, not 'none'."),
    (['--config.seed=1'], "There is no flag '--config.seed'"),
    (['loop'], "The argument 'loop' belongs to no flag.\n"),
  ],
)
def test_a_mistake_is_one_sentence_before_any_work(calls, plans, capsys, flags, message):
  assert benchmark.main(flags) == 2 and calls == [] and plans == []
  error = capsys.readouterr().err
  assert error.startswith('error: ') and message in error and error.count('\n') == 1


@pytest.mark.parametrize(
  'out, message',
  [
    ('nowhere/bench.json', 'bench.json cannot be written (No such file or directory); name a file'),
    ('.', 'cannot be written (Is a directory)'),
    ('bench.html', 'is for the figures, as JSON; name a file that is no .html'),
    ('taken/bench.json', 'cannot be written (Not a directory)'),
    ('page.json', 'page.html cannot be written (Is a directory)'),
    ('b' * 300, 'cannot be written (File name too long)'),
    ('no\0name', 'cannot be written (embedded null byte)'),
  ],
)
def test_a_place_for_the_figures_is_tried_before_any_work(calls, capsys, tmp_path, out, message):
  (tmp_path / 'taken').touch()
  (tmp_path / 'page.html').mkdir()
  before = sorted(tmp_path.iterdir())
  assert benchmark.main([f'--out={tmp_path}/{out}']) == 2 and calls == []
  error = capsys.readouterr().err
  assert message in error and error.count('\n') == 1
  assert sorted(tmp_path.iterdir()) == before


def test_the_current_folder_is_no_place_for_the_figures(calls, capsys):
  assert benchmark.main(['--out=.']) == 2 and calls == []
  assert '--out=. cannot be written (Is a directory)' in capsys.readouterr().err


def test_what_lies_at_the_place_stays_until_all_is_measured(calls, monkeypatch, tmp_path):
  out = tmp_path / 'bench.json'
  out.write_text('earlier')

  def fail(part, settings, tell):
    raise OSError('of a device')

  monkeypatch.setattr(benchmarks, 'measure', fail)
  with pytest.raises(OSError):
    benchmark.main([f'--out={out}', '--only=loop'])
  assert out.read_text() == 'earlier'

"""`jaxdistill benchmark`: which parts it asks for and what it leaves; the figures themselves are no
test's business."""

import json

import pytest

from jaxdistill import benchmarks
from jaxdistill.commands import benchmark

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
  assert figures['settings'] == dict(ipc=10, factor=2, batch_real=7, iters=5, dtype='float32')
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


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--only=condens'], "no part of the benchmark 'condens'; did you mean 'condense'"),
    (
      ['--only=condense', '--methods=m3'],
      "no condensation method 'm3'; did you mean 'm3d'",
    ),
    (['--dtype=float23'], "There is no dtype 'float23'; did you mean 'float32'?"),
    (['--rounds=none'], "--rounds needs a whole number from 1 up, not 'none'."),
    (['--config.seed=1'], "There is no flag '--config.seed'"),
    (['loop'], "The argument 'loop' belongs to no flag.\n"),
  ],
)
def test_a_mistake_is_one_sentence_before_any_work(calls, capsys, flags, message):
  assert benchmark.main(flags) == 2 and calls == []
  error = capsys.readouterr().err
  assert error.startswith('error: ') and message in error and error.count('\n') == 1

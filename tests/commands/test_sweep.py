"""Grids over real configs with a flow that computes nothing: what runs, in which order, what a
second start does."""

import itertools
import json
import re
import signal
import types

import pytest

from jaxdistill.commands import flags as command_flags
from jaxdistill.commands import sweep
from jaxdistill.condensation.tasks import condense as flow
from jaxdistill.errors import UserError
from jaxdistill.training import hosts

ACCURACY = {
  ('m3d', 0): [0.5, 0.7],
  ('m3d', 1): [0.6, 0.8],
  ('dm', 0): [0.4, 0.4],
  ('dm', 1): [0.5, 0.3],
}


@pytest.fixture
def started(tmp_path, monkeypatch):
  """Replaces the flow of a condensation by one that invents its result; returns the runs that were
  started, in order."""
  runs = []

  def invent(config, run):
    method, ipc, seed = config.method.name, config.condensation.ipc, config.seed
    runs.append((method, ipc, seed))
    if (method, ipc, seed) in trouble:
      trouble[method, ipc, seed]()
    rows = [
      invented_row(method, ACCURACY.get((method, seed), [0.5, 0.5]), ipc, f'{method}-{ipc}-{seed}'),
      invented_row('random', [0.1, 0.2], ipc, f'random-{ipc}-{seed}'),
    ]
    result = dict(
      title=method,
      family='condensation',
      method=method,
      dataset='digits',
      seed=seed,
      rows=rows,
      seconds=dict(condense=8.0 + seed, total=10.0 * ipc),
      steps_per_second=4.0,
      program_bytes=2048,
      device=dict(kind='cpu', count=1, platform='cpu'),
      versions={},
      git_commit=None,
      date='2026-01-01',
      peak_memory_bytes=1,
      peak_memory_of='process',
      config=config.to_dict(),
    )
    run.write_json('result.json', result)
    run.write_bytes('report.html', b'a page')
    return result

  trouble = {}
  monkeypatch.setattr(flow, 'run', invent)
  monkeypatch.chdir(tmp_path)
  return types.SimpleNamespace(runs=runs, trouble=trouble)


def invented_row(name, values, ipc, key):
  spread = dict(mean=sum(values) / 2, std=0.1, n=2, values=values)
  return dict(
    name=name,
    label=name.upper(),
    images_per_class=float(ipc),
    factor=1,
    reference=False,
    key=key,
    last=spread,
    best_test=spread,
    training_images=10 * ipc,
    steps=5,
    seconds=1.0,
  )


def start(*arguments):
  return sweep.main(
    [
      '--config=m3d:digits',
      '--config=dm:digits',
      '--workdir=here',
      '--no-progress',
      '--no-tensorboard',
      *arguments,
    ]
  )


def page(tmp_path):
  return json.loads((tmp_path / 'here' / 'sweep.json').read_text())


def test_a_grid_runs_every_cell_and_seeds_follow_each_other(started, tmp_path, capsys):
  assert start('--grid.seed=0,1', '--grid.ipc=1,2', '--config.data.normalisation=idc') == 0
  order = itertools.product((1, 2), ('m3d', 'dm'), (0, 1))
  assert started.runs == [(method, ipc, seed) for ipc, method, seed in order]
  out = capsys.readouterr().out
  assert 'run 1 of 8: m3d:digits, ipc=1, seed=0\n' in out and '8 of 8 runs are done' in out
  # Three of ipc 1 are left after the first; those of ipc 2 are taken to be as long as the only one
  # that is done.
  assert 'run 2 of 8: m3d:digits, ipc=1, seed=1; about 1 min 10 s left for all' in out
  assert [run['status'] for run in page(tmp_path)['runs']] == ['done'] * 8


def test_numbers_are_pooled_over_networks_and_seeds(started, tmp_path):
  assert start('--grid.seed=0,1', '--config.evaluation.recipe=idc') == 0
  rows = {row['name']: row for row in page(tmp_path)['rows']}
  assert rows['m3d']['last']['n'] == 4 and rows['m3d']['seeds'] == 2
  assert rows['m3d']['last']['mean'] == pytest.approx(0.65)
  # Deviations -.15, .05, -.05, .15: their squares add up to .05.
  assert rows['m3d']['last']['std'] == pytest.approx((0.05 / 3) ** 0.5, abs=1e-6)
  # The seeds' means are .6 and .7.
  assert rows['m3d']['between_seeds'] == pytest.approx(0.1 / 2**0.5)
  assert rows['m3d']['best_test']['values'] == [0.5, 0.7, 0.6, 0.8]
  assert (
    rows['m3d']['seconds'] == 8.5
    and rows['m3d']['seconds_per_iteration'] == 0.25
    and rows['m3d']['program_bytes'] == 2048
  )
  # One row beside both methods, once for each seed.
  assert (
    len(page(tmp_path)['rows']) == 3
    and rows['random']['last']['n'] == 4
    and rows['random']['seconds'] is None
  )


def test_what_is_done_is_skipped_and_a_larger_grid_keeps_it(started, tmp_path, capsys):
  assert start('--grid.seed=0,1') == 0
  assert start('--grid.seed=0,1') == 0
  assert (
    len(started.runs) == 4
    and 'run 4 of 4: dm:digits, seed=1 is done already' in capsys.readouterr().out
  )
  assert start('--grid.seed=0,1,2', '--grid.ipc=1') == 0
  assert started.runs[4:] == [('m3d', 1, 2), ('dm', 1, 2)]
  assert start('--grid.seed=0', '--config.condensation.iterations=7') == 0
  assert len(started.runs) == 8


def test_a_failed_run_is_told_and_the_others_go_on(started, tmp_path, capsys):
  def fail():
    raise ZeroDivisionError('no luck')

  def refuse():
    raise UserError('the loss is not finite.')

  started.trouble |= {('m3d', 1, 0): fail, ('dm', 1, 1): refuse}
  assert start('--grid.seed=0,1') == 1
  out = capsys.readouterr().out
  assert (
    'failed:  m3d:digits, seed=0: ZeroDivisionError: no luck' in out
    and '2 of 4 runs are done, 2 failed' in out
  )
  assert len(started.runs) == 4
  runs = page(tmp_path)['runs']
  assert [run['status'] for run in runs] == ['failed', 'done', 'done', 'failed']
  assert runs[3]['error'] == 'the loss is not finite.'
  trace = tmp_path / 'here' / runs[0]['workdir'] / 'error.txt'
  assert 'line' in trace.read_text() and 'no luck' in trace.read_text()
  for name in ('sweep.html', 'sweep.md'):
    assert 'no luck' in (tmp_path / 'here' / name).read_text()
  started.trouble.clear()
  assert start('--grid.seed=0,1') == 0
  assert started.runs[4:] == [('m3d', 1, 0), ('dm', 1, 1)] and not trace.exists()
  assert 'no luck' not in (tmp_path / 'here' / 'sweep.html').read_text()


@pytest.mark.parametrize('number, name', [(signal.SIGTERM, 'SIGTERM'), (signal.SIGINT, 'Ctrl-C')])
def test_a_stopped_sweep_says_how_to_continue(started, tmp_path, capsys, number, name):
  started.trouble['m3d', 1, 1] = lambda: signal.raise_signal(number)
  assert start('--grid.seed=0,1') == 75
  error = capsys.readouterr().err
  for words in (
    f'Stopped by {name}',
    'Start the same command again to continue.',
    '1 of 4 runs are done',
  ):
    assert words in error
  assert [run['status'] for run in page(tmp_path)['runs']] == ['done', 'to do', 'to do', 'to do']
  started.trouble.clear()
  assert start('--grid.seed=0,1') == 0
  assert started.runs[2:] == [('m3d', 1, 1), ('dm', 1, 0), ('dm', 1, 1)]


@pytest.mark.parametrize(
  'arguments, words',
  [
    (
      ['--grid.icp=1'],
      "m3d:digits, icp=1: There is no data set or argument 'icp='; did you mean 'ipc='?",
    ),
    (['--grid.sede=1'], "Or did you mean the field 'seed'?"),
    (['--grid.ipc=1,two'], "m3d:digits, ipc=two: ipc needs a whole number, not 'two'."),
    (['--grid.ipc=1,1000'], 'm3d:digits, ipc=1000: ipc=1000 is more than class'),
    (['--grid.seed=0,0'], '--grid.seed=0,0 holds a value twice.'),
    (['--grid.seed='], "--grid.seed needs values divided by commas, not ''."),
    (['--grid.seed=1', '--grid.seed=2'], 'The axis --grid.seed is given twice'),
    (
      ['--grid.seed=1', '--config.seed=2'],
      'seed is an axis of the grid and fixed by --config.seed',
    ),
    (['--grid.condensation.iteratons=1'], "did you mean 'condensation.iterations'?"),
    (
      ['--grid.kernel=linear'],
      "dm:digits, kernel=linear: There is no data set or argument 'kernel='",
    ),
    (
      ['--grid.evaluation.baselines=random,mix'],
      'evaluation.baselines cannot be an axis of the grid',
    ),
    (['--config.evaluation.recipe=icd'], "did you mean 'idc'?"),
    (['--config.model.widht=4'], "did you mean 'model.width'?"),
    (
      ['--config=dm:digits,ipc=1'],
      'The grid has one run twice: dm:digits and dm:digits,ipc=1 have the same settings.',
    ),
    (['--config=danse:digits'], "did you mean 'dance'?"),
    (['--config=dance:digit'], "did you mean 'digits'?"),
    (['--gird.ipc=1'], "There is no flag '--gird.ipc'; did you mean '--grid.KEY'?"),
    (['--devices=99'], 'more than the 4 here'),
  ],
)
def test_a_mistake_anywhere_in_the_grid_starts_nothing(started, tmp_path, capsys, arguments, words):
  assert start(*arguments) == 2
  captured = capsys.readouterr()
  assert (
    captured.err.startswith('error: ') and words in captured.err and captured.err.count('\n') == 1
  )
  assert started.runs == [] and not (tmp_path / 'here').exists()


@pytest.mark.parametrize(
  'change, words',
  [
    ('del config.run', 'The config lacks run.'),
    ('del config.data', 'The config lacks data.'),
    ('del config.condensation', 'The config lacks condensation.'),
    ('del config.data.name', 'The config lacks data.name.'),
    ('del config.seed', 'The config lacks seed.'),
    ('del config.run; config.run = 3', 'run is 3; it must be a section of fields.'),
  ],
)
def test_a_config_that_lacks_a_part_is_refused_in_the_words_of_a_run(
  started, tmp_path, capsys, change, words
):
  lines = ['from jaxdistill import config as configs', 'def get_config():']
  lines += ["  config = configs.load('m3d:digits').unlock()", f'  {change}', '  return config']
  (tmp_path / 'mine.py').write_text('\n'.join(lines))
  assert sweep.main(['--config=mine.py', '--workdir=here']) == 2
  assert capsys.readouterr().err == f'error: mine.py: {words}\n'
  assert not (tmp_path / 'here').exists()


def test_a_second_start_of_several_processes_knows_what_is_done(started, monkeypatch, capsys):
  """What the first process knows goes to the others as JSON."""
  first, through = hosts.first, []

  def first_of_several(what, fn):
    through.append(what)
    return json.loads(json.dumps(first(what, fn)))

  monkeypatch.setattr(hosts, 'first', first_of_several)
  assert start('--grid.seed=0') == start('--grid.seed=0') == 0
  assert len(started.runs) == 2 and through.count('finished run') == 4
  assert capsys.readouterr().out.count('is done already') == 2


def test_a_sweep_without_configs_is_a_mistake(capsys):
  assert sweep.main([]) == 2
  assert 'Name the configs with --config=NAME' in capsys.readouterr().err


def test_dry_run_lists_the_cells_and_one_estimate_a_group(started, tmp_path, capsys, monkeypatch):
  assert start('--grid.seed=0') == 0
  monkeypatch.setattr(
    flow, 'dry_run', lambda config: f'estimate of {config.method.name} {config.condensation.ipc}'
  )
  capsys.readouterr()
  assert start('--grid.seed=0,1,2', '--grid.ipc=1,2', '--dry-run') == 0
  out = capsys.readouterr().out
  assert len(re.findall(r'^m3d:digits, ipc=\d, seed=\d +(done|to do) ', out, re.MULTILINE)) == 6
  assert [out.count(f'estimate of {name}') for name in ('m3d 1', 'm3d 2', 'dm 1', 'dm 2')] == [
    1
  ] * 4
  assert len(started.runs) == 2


def test_help_names_the_flags_of_a_sweep(capsys):
  assert sweep.main(['--help']) == 0
  out = capsys.readouterr().out
  for flag in (
    '--config=',
    '--grid.KEY=VALUE',
    '--config.KEY=VALUE',
    '--workdir=',
    '--dry_run',
    '--devices=',
    '--[no]progress',
  ):
    assert flag in out


def test_work_dirs_are_named_by_their_config(tmp_path):
  def names(*arguments):
    values, overrides, axes = command_flags.parse(
      ['--config=m3d:digits', *arguments], sweep._flags(), ('config', 'grid')
    )
    return [cell.workdir.name for cell in sweep.grid(values, overrides, axes)]

  one, two = names('--grid.factor=1,2')
  assert one.startswith('m3d-digits-ipc1-seed0-') and one != two
  assert names('--config.condensation.factor=2') == [two]
  assert names('--config.run.keep=7') == [one]

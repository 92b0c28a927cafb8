"""The command line over a tiny family: what is printed, the exit status, and that a mistake starts
nothing."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import types

import pytest
from ml_collections import ConfigDict

import jaxdistill
from jaxdistill import config
from jaxdistill.commands import flags as command_flags
from jaxdistill.commands import run as launcher
from jaxdistill.errors import UserError

CONFIG = '''"""Tiny: counts to ten.

Command:   python -m launch.run --config=configs/counting/tiny.py
Run time:  a second
Expected:  10
"""
from ml_collections import ConfigDict
from jaxdistill import config


def get_config(arg=''):
  args = config.parse_argument(arg, ('digits', 'npz:'), ipc=1, quick=False)
  return ConfigDict(dict(
      family='counting', task='count', seed=0, data=dict(name=args.data),
      condensation=dict(ipc=args.ipc, rate=0.5),
      run=dict(devices=0, steps_per_call=0, checkpoint_every=500, keep=2, log_every=10)))
'''
ROWS = [
  dict(
    name='m3d',
    label='M3D',
    last=dict(mean=0.907, std=0.004, n=5),
    best_test=dict(mean=0.91, std=0.003, n=5),
  ),
  dict(name='random', label='random images', last=dict(mean=0.75, std=0.02, n=5), best_test=None),
]


@pytest.fixture
def family(tmp_path, monkeypatch):
  """Installs a family `counting` and its config `counting/tiny`; returns what was called, in
  order."""
  calls = []
  shelf = tmp_path / 'shelf'
  (shelf / 'counting').mkdir(parents=True)
  (shelf / 'counting' / 'tiny.py').write_text(CONFIG)
  settings, run = types.ModuleType('settings'), types.ModuleType('run')

  def check(config):
    calls.append('check')
    if config.condensation.ipc > 100:
      raise UserError('ipc is larger than the smallest class.')

  def start(config, run):
    calls.append('run')
    return dict(rows=run.once('count', lambda: calls.append('work') or ROWS))

  settings.TASKS = {'count': 'run'}
  settings.explain = lambda config: {'condensation.rate': 'how fast it counts'}
  settings.workdir_parts = lambda config: [f'ipc{config.condensation.ipc}']
  run.check, run.run = check, start
  run.dry_run = lambda config: calls.append('dry_run') or 'estimate: one second'
  monkeypatch.setattr(config, 'root', lambda: shelf)
  monkeypatch.setattr(jaxdistill, 'FAMILIES', ('counting',))
  for name, module in dict(settings=settings, run=run).items():
    monkeypatch.setitem(sys.modules, f'jaxdistill.counting.{name}', module)
  monkeypatch.chdir(tmp_path)
  return types.SimpleNamespace(calls=calls, run=run, settings=settings)


def start(*arguments):
  return launcher.main(['--config=tiny', '--no-progress', '--no-tensorboard', *arguments])


def test_a_run_prints_its_work_dir_the_table_and_the_paths(family, tmp_path, capsys):
  assert start('--config.seed=3') == 0
  out = capsys.readouterr().out
  assert family.calls == ['check', 'run', 'work']
  assert 'runs/tiny-digits-ipc1-seed3' in out.splitlines()[0]
  assert '90.7' in out and '75.0' in out and 'random images' in out
  assert (
    'runs/tiny-digits-ipc1-seed3/report.html' in out
    and 'runs/tiny-digits-ipc1-seed3/result.json' in out
  )
  saved = json.loads((tmp_path / 'runs/tiny-digits-ipc1-seed3/config.json').read_text())
  assert saved['seed'] == 3


def test_a_family_may_name_its_columns(family, tmp_path, monkeypatch, capsys):
  columns = types.ModuleType('columns')
  columns.RESULT = (('label', 'Counted by'), ('best_test', 'At best', 'accuracy'))
  monkeypatch.setitem(sys.modules, 'jaxdistill.counting.columns', columns)
  family.run.run = lambda config, run: dict(family='counting', rows=ROWS)
  assert start('--workdir=here') == 0
  out = capsys.readouterr().out
  assert re.search(r'Counted by +At best', out) and 'Last (%)' not in out and '91.0' in out


def test_a_family_without_columns_has_those_of_all(family, capsys):
  family.run.run = lambda config, run: dict(family='counting', rows=ROWS)
  assert start('--workdir=here') == 0
  assert re.search(r'Training set +Last \(%\) +Best on test', capsys.readouterr().out)


def test_a_second_start_resumes_and_another_config_is_refused(family, tmp_path, capsys):
  assert start('--workdir=here') == 0
  first = capsys.readouterr().out
  assert start('--workdir=here') == 0
  assert family.calls.count('work') == 1
  assert capsys.readouterr().out.splitlines()[-1] == first.splitlines()[-1]
  assert start('--workdir=here', '--config.seed=4') == 2
  assert family.calls.count('run') == 2
  error = capsys.readouterr().err
  assert 'seed' in error and '0' in error and '4' in error and 'Traceback' not in error


def test_a_work_dir_may_be_an_address(family, tmp_path, capsys):
  place = f'file://{tmp_path}/there'
  assert start(f'--workdir={place}') == start(f'--workdir={place}') == 0
  out = capsys.readouterr().out.splitlines()
  assert (
    family.calls.count('work') == 1
    and f'work dir: {place}' in out
    and out[-1].endswith(f'{place}/result.json')
  )
  assert (tmp_path / 'there' / 'results' / 'count.json').exists()


@pytest.mark.parametrize(
  'arguments, words',
  [
    (['--confg=tiny'], "There is no flag '--confg'; did you mean '--config'?"),
    (['--config=tiny', '--workdri=x'], "There is no flag '--workdri'; did you mean '--workdir'?"),
    (['--config=tiny', '--dry-rnu'], "did you mean '--dry_run'?"),
    (['--config=tiny', '--config.sede=1'], "There is no config key 'sede'; did you mean 'seed'?"),
    (['--config=tiny', '--config.condensation.icp=1'], "did you mean 'condensation.ipc'?"),
    (
      ['--config=tiny', '--config.condensation.ipc=ten'],
      "condensation.ipc needs a whole number, not 'ten'.",
    ),
    (['--config=tiny', '--config.seed'], '--config.seed needs a value'),
    (
      ['--config=tiny', '--workdir=nowhere://bucket/run'],
      'nowhere://bucket/run is no address that can be written to',
    ),
    (
      ['--config=tiny', '--config.ipc=3'],
      "There is no config key 'ipc'; did you mean 'condensation.ipc'?",
    ),
    (['--config=tiny', '--devices=0'], "--devices needs a whole number from 1 up, not '0'."),
    (['--config=tiny', '--devices=two'], "--devices needs a whole number from 1 up, not 'two'."),
    (
      ['--config=tiny', '--tensorboard=perhaps'],
      "--tensorboard needs true or false, not 'perhaps'.",
    ),
    (
      ['--config=tiny', '--compilation_cache=of'],
      "no value of --compilation_cache 'of'; did you mean 'off'?",
    ),
    (['--config=tiny:npz:'], "'npz:' needs a path behind it: npz:PATH."),
    (['--config=tiny', '--devices=99'], 'more than the 4 here'),
    (['--config'], 'config'),
    (['--config=tniy'], "There is no config 'tniy'; did you mean 'tiny'?"),
    (['--config=tiny:digit'], "did you mean 'digits'?"),
    (['--config=tiny:icp=3'], "did you mean 'ipc='?"),
    (
      ['--config=tiny', '--config.family=countng'],
      "There is no family 'countng'; did you mean 'counting'?",
    ),
    (
      ['--config=tiny', '--config.task=cuont'],
      "There is no task of the family counting 'cuont'; did you mean 'count'?",
    ),
    (['--config=tiny', 'digits'], "The argument 'digits' belongs to no flag"),
    ([], 'Name a config with --config=NAME'),
  ],
)
def test_a_mistake_ends_in_one_sentence_and_starts_nothing(
  family, tmp_path, capsys, arguments, words
):
  assert launcher.main(arguments) == 2
  captured = capsys.readouterr()
  assert captured.err.startswith('error: ') and words in captured.err
  assert captured.err.count('\n') == 1 and captured.out == ''
  assert 'run' not in family.calls and not (tmp_path / 'runs').exists()


def test_a_refused_data_set_leaves_no_work_dir(family, tmp_path, capsys):
  assert start('--config.condensation.ipc=1000', '--workdir=here') == 2
  assert capsys.readouterr().err == 'error: ipc is larger than the smallest class.\n'
  assert not (tmp_path / 'here').exists()


def test_a_work_dir_that_cannot_be_written_is_a_mistake_of_the_user(family, tmp_path, capsys):
  (tmp_path / 'file').write_text('')
  assert start('--workdir=file') == 2
  assert 'file' in capsys.readouterr().err and 'run' not in family.calls


def test_dry_run_prints_settings_and_estimate_and_starts_nothing(family, tmp_path, capsys):
  assert start('--dry_run', '--config.condensation.rate=0.25') == 0
  out = capsys.readouterr().out
  assert family.calls == ['check', 'dry_run']
  assert 'condensation.rate    = 0.25' in out and out.rstrip().endswith('estimate: one second')
  (line,) = [line for line in out.splitlines() if line.startswith('condensation.rate ')]
  assert line.endswith('  how fast it counts')
  assert not (tmp_path / 'runs').exists()


def test_list_shows_every_config(family, capsys):
  assert launcher.main(['--list']) == 0
  out = capsys.readouterr().out
  for text in ('counting/tiny', 'Tiny: counts to ten.', 'a second', '10'):
    assert text in out
  assert out.startswith('counting\n========\n\ncounting/tiny\n')
  assert family.calls == []


def test_help_names_every_flag(capsys):
  assert launcher.main(['--help']) == 0
  out = capsys.readouterr().out
  for flag in (
    '--config=',
    '--config.KEY=VALUE',
    '--workdir=',
    '--list',
    '--dry_run',
    '--devices=',
    '--[no]progress',
    '--compilation_cache=',
    '--help',
  ):
    assert flag in out
  assert launcher.main(['-h']) == 0


def test_flags_do_not_leak_into_the_next_call(family):
  arguments = ['--config=tiny', '--dry-run', '--config.seed', '4', '--config.data.name=a=b']
  values, overrides = command_flags.parse(arguments, launcher._flags())
  assert values.dry_run and overrides == [('seed', '4'), ('data.name', 'a=b')]
  values, overrides = command_flags.parse(['--config=tiny'], launcher._flags())
  assert not values.dry_run and overrides == []


@pytest.mark.parametrize(
  'spelling', ['--noprogress', '--no-progress', '--no_progress', '--progress=false', '-noprogress']
)
def test_spellings_of_a_switch(spelling):
  assert command_flags.parse([spelling], launcher._flags())[0].progress is False


def test_devices_flag_reaches_the_config(family):
  assert (
    launcher.resolve(
      *command_flags.parse(['--config=tiny', '--devices=2'], launcher._flags())
    ).run.devices
    == 2
  )


def test_an_interrupted_run_ends_with_status_75_and_its_message(family, capsys):
  from jaxdistill.training.loop import Interrupted

  def stop(config, run):
    raise Interrupted('The state is saved; the same command continues.')

  family.run.run = stop
  assert start('--workdir=here') == 75
  assert 'The state is saved; the same command continues.' in capsys.readouterr().err


@pytest.mark.parametrize('number, name', [(signal.SIGTERM, 'SIGTERM'), (signal.SIGINT, 'Ctrl-C')])
def test_a_signal_between_two_phases_says_how_to_continue(family, capsys, number, name):
  before = signal.getsignal(number)
  family.run.run = lambda config, run: signal.raise_signal(number)
  assert start('--workdir=here') == 75
  error = capsys.readouterr().err
  assert error == (
    f'Stopped by {name}; what was finished or saved is kept in here. '
    'Start the same command again to continue.\n'
  )
  assert signal.getsignal(number) == before


@pytest.mark.parametrize('number, status', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_before_the_run_leaves_nothing(family, tmp_path, capsys, number, status):
  family.run.dry_run = lambda config: signal.raise_signal(number)
  assert start('--workdir=here', '--dry_run') == status
  assert 'before the run began; nothing was written.' in capsys.readouterr().err
  assert not (tmp_path / 'here').exists()


def test_a_bug_keeps_its_traceback(family):
  def fail(config, run):
    raise ZeroDivisionError('a bug')

  family.run.run = fail
  with pytest.raises(ZeroDivisionError):
    start('--workdir=here')


@pytest.mark.parametrize(
  'spec, name',
  [
    ('tiny', 'tiny-digits-ipc1-seed0'),
    ('configs/counting/tiny.py:ipc=5', 'tiny-digits-ipc5-seed0'),
    ('tiny:digits,quick', 'tiny-digits-ipc1-seed0-quick'),
    ('tiny:npz:/data/my set.npz', 'tiny-my_set-ipc1-seed0'),
  ],
)
def test_default_work_dir(family, spec, name):
  assert launcher.default_workdir(spec, config.load(spec)).as_posix() == f'runs/{name}'


def test_default_work_dir_of_a_family_without_ipc(family):
  family.settings.workdir_parts = lambda config: []
  other = ConfigDict(dict(family='counting', seed=1, data=dict(name='folder:photos/')))
  assert launcher.default_workdir('pki', other).as_posix() == 'runs/pki-photos-seed1'


def test_the_compilation_cache_is_filled(family, tmp_path, monkeypatch):
  import jax
  import jax.numpy as jnp

  names = (
    'compilation_cache_dir',
    'persistent_cache_min_entry_size_bytes',
    'persistent_cache_min_compile_time_secs',
  )
  before = {f'jax_{name}': getattr(jax.config, f'jax_{name}') for name in names}
  family.run.run = lambda config, run: dict(value=float(jax.jit(lambda x: jnp.sin(x) * 3.25)(1.0)))
  # What was compiled before, without this folder, has settled for the process whether there is one.
  jax.experimental.compilation_cache.compilation_cache.reset_cache()
  try:
    assert start('--workdir=here', f'--compilation_cache={tmp_path / "cache"}') == 0
  finally:
    for name, value in before.items():
      jax.config.update(name, value)
    jax.experimental.compilation_cache.compilation_cache.reset_cache()
  assert any((tmp_path / 'cache').iterdir())


def test_the_checkout_entry_point_runs():
  command = [sys.executable, '-m', 'launch.run', '--config=m3d', '--config.x=1']
  done = subprocess.run(
    command, cwd=pathlib.Path(__file__).parents[2], capture_output=True, text=True
  )
  assert done.returncode == 2 and done.stderr.startswith("error: There is no config key 'x'.")


def test_a_directory_that_is_gone_is_told(tmp_path, monkeypatch, capsys):
  gone = tmp_path / 'gone'
  gone.mkdir()
  monkeypatch.chdir(gone)
  gone.rmdir()
  assert launcher.main(['--config=m3d:digits', '--dry_run']) == 2
  assert 'The directory that this was started in is gone' in capsys.readouterr().err

"""The command `jaxdistill`: its first word chooses, the old spellings stay, a mistake is one
sentence, and none of it waits for JAX."""

import importlib
import pathlib
import subprocess
import sys

import pytest

import jaxdistill
from jaxdistill.commands import listing
from jaxdistill.commands import main as door
from jaxdistill.training import exits

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize('kind', ['device', 'machine'])
def test_memory_that_does_not_suffice_is_a_sentence(capsys, kind):
  import jax.numpy as jnp
  import numpy as np

  def start(arguments):
    (jnp if kind == 'device' else np).zeros((10**6, 10**9), np.float32)

  assert exits.exit_status(start, []) == 2
  error = capsys.readouterr().err
  assert error.startswith('error: The memory does not suffice (') and error.count('\n') == 1
  assert ('4000000000000000 bytes' if kind == 'device' else '3.55 PiB') in error


@pytest.fixture
def calls(monkeypatch):
  """Replaces every command by one that notes its arguments and ends with a status of its own."""
  noted = []
  for status, (name, command) in enumerate(door.COMMANDS.items(), 60):
    module = importlib.import_module(f'jaxdistill.commands.{command.module}')
    main = lambda argv, name=name, status=status: noted.append((name, list(argv))) or status
    monkeypatch.setattr(module, 'main', main)
  return noted


@pytest.mark.parametrize('name', door.COMMANDS)
def test_the_first_word_chooses_and_the_rest_goes_to_the_command(calls, name):
  status = door.main([name, '--config=m3d:digits', '--', 'sweep', '--help'])
  assert status == 60 + list(door.COMMANDS).index(name)
  assert calls == [(name, ['--config=m3d:digits', '--', 'sweep', '--help'])]


@pytest.mark.parametrize(
  'argv', [[], ['--config=m3d:digits', '--help'], ['--config', 'sweep'], ['--list'], ['-list']]
)
def test_without_a_word_it_is_run(calls, argv):
  assert door.main(argv) == 60 and calls == [('run', argv)]


def test_the_arguments_are_those_of_the_process_by_default(calls, monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['jaxdistill', 'cluster', '--processes=3'])
  door.main()
  assert calls == [('cluster', ['--processes=3'])]


@pytest.mark.parametrize('flag', ['--help', '-h'])
def test_help_names_every_command_with_what_it_does(calls, capsys, flag):
  assert door.main([flag]) == 0 and calls == []
  lines = capsys.readouterr().out.splitlines()
  for name, command in door.COMMANDS.items():
    assert any(line.split(maxsplit=1) == [name, command.summary] for line in lines)


@pytest.mark.parametrize(
  'word, sentence',
  [
    ('swep', "There is no command 'swep'; did you mean 'sweep'?"),
    ('Evaluate', "There is no command 'Evaluate'; did you mean 'evaluate'?"),
    ('benchmarks', "did you mean 'benchmark'?"),
    ('m3d:digits,ipc=2', 'start it with jaxdistill run --config=m3d:digits,ipc=2.'),
    ('configs/condensation/dm.py', 'is a config; start it with jaxdistill run --config='),
    ('xyz', "There is no command 'xyz'. Valid: benchmark, cluster, evaluate, faults, run, sweep."),
  ],
)
def test_a_mistyped_command_is_one_sentence(calls, capsys, word, sentence):
  assert door.main([word, '--workdir=x']) == 2 and calls == []
  captured = capsys.readouterr()
  assert captured.err.startswith('error: ') and sentence in captured.err
  assert captured.err.count('\n') == 1 and captured.out == ''


@pytest.mark.parametrize('name', door.COMMANDS)
def test_every_command_has_a_help_with_an_example_of_itself(capsys, name):
  assert door.main([name, '--help']) == 0
  out = capsys.readouterr().out
  assert f'jaxdistill {name} ' in out and '--help' in out


def test_every_family_has_its_heading_in_both_lists():
  assert list(listing.families()) == sorted(jaxdistill.FAMILIES)
  for family, entries in listing.families().items():
    assert all(entry.name.startswith(f'{family}/') for entry in entries)
    assert f'### {family}\n\n| Config |' in listing.markdown()
    assert listing.text().count(f'\n{entries[0].name}\n') == 1


def test_the_lists_keep_families_apart(monkeypatch):
  entry = lambda name: listing.configs.Entry(name, 'does it', '', 'a second', '1')
  entries = [entry('counting/one'), entry('counting/two'), entry('guessing/one')]
  monkeypatch.setattr(listing.configs, 'list_configs', lambda: entries)
  headings = [line for line in listing.text().splitlines() if line and '  ' not in line]
  assert headings[:5] == ['counting', '========', 'counting/one', 'counting/two', 'guessing']
  first, second = listing.markdown().split('\n\n### guessing\n\n')
  assert '`counting/two`' in first and '`guessing/one`' not in first and 'counting' not in second


@pytest.mark.parametrize(
  'arguments, status',
  [
    (['swep'], 2),
    (['--help'], 0),
    (['--list'], 0),
    (['--confg=m3d'], 2),
    (['sweep', '--gird.ipc=1'], 2),
    (['benchmark', '--only=condens'], 2),
    (['cluster'], 2),
    (['faults', '--kills=some'], 2),
    (['evaluate', '--data=digits'], 2),
    *(([name, '--help'], 0) for name in door.COMMANDS),
  ],
)
def test_an_answer_about_flags_does_not_wait_for_jax(arguments, status):
  code = (
    'import sys; from jaxdistill.commands import main; '
    'status = main.main(sys.argv[1:]); sys.exit(99 if "jax" in sys.modules else status)'
  )
  done = subprocess.run([sys.executable, '-c', code, *arguments], cwd=ROOT, capture_output=True)
  assert done.returncode == status, done.stderr


@pytest.mark.parametrize('module', ['run', 'sweep', 'benchmark', 'faults', 'local_cluster'])
def test_the_old_spellings_stay(module):
  command = [sys.executable, '-m', f'launch.{module}', '--hepl']
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 2 and "There is no flag '--hepl'; did you mean '--help'?" in done.stderr


def test_the_package_itself_is_the_command():
  command = [sys.executable, '-m', 'jaxdistill', 'swep']
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 2 and "did you mean 'sweep'?" in done.stderr

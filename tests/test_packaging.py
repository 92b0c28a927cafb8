"""What an installation holds: one top-level package, every folder of code, the configs, the console
script."""

import configparser
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope='module')
def setup():
  parser = configparser.ConfigParser()
  parser.read(ROOT / 'setup.cfg')
  return parser


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
  """Builds what a wheel holds (its files and its metadata) in a copy of the sources, which stay as
  they are."""
  folder = tmp_path_factory.mktemp('build')
  source = folder / 'source'
  source.mkdir()
  files = ('setup.cfg', 'pyproject.toml', 'requirements.txt', 'README.md', 'LICENSE')
  for name in (*files, 'jaxdistill', 'configs', 'tests', 'launch'):
    (source / name).symlink_to(ROOT / name)
  out = folder / 'out'
  out.mkdir()
  subprocess.run(
    [
      sys.executable,
      '-c',
      'import setuptools; setuptools.setup()',
      '--quiet',
      'egg_info',
      f'--egg-base={out}',
      'build_py',
      f'--build-lib={out}',
    ],
    cwd=source,
    check=True,
    capture_output=True,
    text=True,
  )
  return out


def folders_of_code(name):
  parents = {file.parent for file in (ROOT / name).rglob('*.py')}
  return {'.'.join(parent.relative_to(ROOT).parts) for parent in parents}


def test_packages_list_every_folder_of_code(setup):
  listed = set(setup['options']['packages'].split())
  expected = folders_of_code('jaxdistill') | {
    f'jaxdistill.{name}' for name in folders_of_code('configs')
  }
  assert expected <= listed <= expected | {'jaxdistill.configs'}


def test_an_installation_holds_the_package_alone(installed):
  assert {path.name for path in installed.iterdir()} == {'jaxdistill', 'jaxdistill.egg-info'}
  shipped = {path.relative_to(installed).as_posix() for path in installed.rglob('*.py')}
  sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'jaxdistill').rglob('*.py')}
  configs = {
    f'jaxdistill/{path.relative_to(ROOT).as_posix()}' for path in (ROOT / 'configs').rglob('*.py')
  }
  assert shipped == sources | configs


def test_metadata_takes_every_requirement(installed, setup):
  lines = (ROOT / 'requirements.txt').read_text().splitlines()
  wanted = [line for line in lines if line and not line.startswith('#')]
  recorded = (installed / 'jaxdistill.egg-info' / 'requires.txt').read_text()
  required, *extras = re.split(r'\n\[', recorded)
  assert [line.replace(' ', '') for line in wanted] == required.split()
  assert {extra.split(']')[0] for extra in extras} == {'test', 'gpu', 'tpu', 'stream', 'gcs'}
  metadata = (installed / 'jaxdistill.egg-info' / 'PKG-INFO').read_text()
  assert 'Name: jaxdistill\n' in metadata and 'Requires-Python: >=3.11\n' in metadata
  assert (
    'jaxdistill = jaxdistill.commands.console:main'
    in (installed / 'jaxdistill.egg-info' / 'entry_points.txt').read_text()
  )


def test_requirements_are_lower_bounds_each_with_a_reason():
  lines = (ROOT / 'requirements.txt').read_text().splitlines()
  for above, line in zip(lines, lines[1:]):
    if not line.startswith('#'):
      assert re.fullmatch(r'[A-Za-z][\w-]* >= [\d.]+', line), line
      assert above.startswith('# '), f'{line} has no reason above it'


def test_the_installed_command_finds_its_configs_anywhere(installed, tmp_path):
  code = (
    f'import sys; sys.path.insert(0, {str(installed)!r}); from jaxdistill import config; '
    'from jaxdistill.commands import main; print(config.root()); sys.exit(main.main(["--list"]))'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=True
  )
  assert done.stdout.startswith(str(installed / 'jaxdistill' / 'configs'))
  assert 'condensation/m3d' in done.stdout and 'condensation/dm' in done.stdout


def test_readme_opens_with_the_two_commands():
  text = (ROOT / 'README.md').read_text()
  blocks = re.findall(r'^```bash\n(.*?)\n```', text, re.MULTILINE | re.DOTALL)
  for command in blocks[:2]:
    assert '\n' not in command
    assert command.startswith('python3 -m venv .venv && . .venv/bin/activate && pip install -e ')
  assert '--config=configs/condensation/m3d.py:digits' in blocks[0]
  assert blocks[1].endswith('python -m pytest') and '[test]' in blocks[1]
  assert text.index('```bash') < text.index('\n## ')


def test_slow_tests_have_a_command_that_ci_runs_too(setup):
  assert '-m "not slow"' in setup['tool:pytest']['addopts']
  assert '`python -m pytest -m slow`' in (ROOT / 'README.md').read_text()
  assert 'python -m pytest -m slow </dev/null' in (ROOT / '.ci' / 'run').read_text()

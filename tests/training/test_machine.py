"""Where a result was made, and the private cache of compiled programs."""

import json
import os
import subprocess

import jax
import numpy as np
import pytest

import jaxdistill
from jaxdistill.errors import UserError
from jaxdistill.training import machine


def test_the_environment_goes_into_json():
  found = json.loads(json.dumps(machine.environment()))
  assert found['device'] == {'kind': 'cpu', 'count': 4, 'platform': 'cpu'}
  assert (
    found['versions']['jaxdistill'] == jaxdistill.__version__
    and found['versions']['jax'] == jax.__version__
  )
  assert set(found['versions']) == {
    'jaxdistill',
    'python',
    'jax',
    'jaxlib',
    'flax',
    'optax',
    'orbax',
    'numpy',
  }
  assert found['date'].endswith('+00:00')


def test_the_commit_is_that_of_the_source_and_of_no_other_repository(tmp_path):
  def git(*arguments):
    command = ['git', '-c', 'user.name=a', '-c', 'user.email=a@b', *arguments]
    return subprocess.run(
      command, cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout.strip()

  source, installed = tmp_path / 'source', tmp_path / 'venv'
  for directory in (source, installed):
    directory.mkdir()
    (directory / 'file.py').write_text('1')
  assert machine.git_commit(source) is None
  git('init')
  git('add', 'source')
  git('commit', '-m', 'first')
  assert machine.git_commit(source) == git('rev-parse', 'HEAD')
  assert machine.git_commit(installed) is None
  (source / 'file.py').write_text('2')
  assert machine.git_commit(source) == git('rev-parse', 'HEAD') + '-dirty'


def test_peak_memory_never_falls():
  before = machine.peak_memory_bytes()
  np.ones(2**23).sum()
  after = machine.peak_memory_bytes()
  assert before.of == after.of == 'process' and 2**25 < before.bytes <= after.bytes


@pytest.fixture
def untouched_cache():
  names = (
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_entry_size_bytes',
    'jax_persistent_cache_min_compile_time_secs',
  )
  before = {name: getattr(jax.config, name) for name in names}
  jax.config.update('jax_compilation_cache_dir', None)
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def test_the_cache_is_private(tmp_path, monkeypatch, untouched_cache):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  path = machine.enable_compilation_cache()
  assert path == tmp_path / 'jaxdistill' / 'xla' and path.stat().st_mode & 0o777 == 0o700
  assert jax.config.jax_compilation_cache_dir == str(path)
  opened = tmp_path / 'opened'
  opened.mkdir(mode=0o777)
  assert machine.enable_compilation_cache(opened).stat().st_mode & 0o777 == 0o700


def test_without_a_place_there_is_no_cache(tmp_path, monkeypatch, untouched_cache):
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
  assert machine.enable_compilation_cache() is None
  with pytest.raises(UserError, match='yours alone'):
    machine.enable_compilation_cache(tmp_path / 'file')
  monkeypatch.setattr(os, 'getuid', lambda: 12345)
  with pytest.raises(UserError, match='another user'):
    machine.enable_compilation_cache(tmp_path / 'mine')

"""`--target`: what is refused in a sentence, and, where the compiler for TPUs can be had, what it
counts."""

import importlib.metadata
import json
import os
import pathlib
import re
import subprocess
import sys
import types

import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill.commands import run as launcher
from jaxdistill.commands import target
from jaxdistill.errors import UserError
from jaxdistill.training import targets

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
  'arguments, words',
  [
    (['--target=v5e-4'], 'give --dry_run too'),
    (['--json=figures.json', '--dry_run'], '--json keeps what --target counts: give both'),
    (['--target=v9-4', '--dry_run'], "There is no target 'v9-4'; known are v4-8"),
  ],
)
def test_flags_that_do_not_go_together_are_refused(arguments, words, capsys):
  assert launcher.main(['--config=m3d:digits', *arguments]) == 2
  error = capsys.readouterr().err
  assert words in error and error.count('\n') == 1


def test_a_task_without_phases_has_nothing_to_compile():
  config = configs.load('m3d:digits')
  values = types.SimpleNamespace(target='v5e-4', json='')
  with pytest.raises(UserError, match="the task 'condense' compiles nothing"):
    target.dry_run(values, types.ModuleType('flow'), config)


def test_more_devices_than_the_target_has_are_refused(monkeypatch, capsys):
  monkeypatch.setattr(targets, 'prepare', lambda target: None)
  arguments = ['--config=m3d:digits', '--dry_run', '--target=v5e-4', '--devices=5']
  assert launcher.main(arguments) == 2
  assert '5 devices were asked for, and v5e-4 has 4' in capsys.readouterr().err


@pytest.fixture(scope='module')
def compiler(tmp_path_factory):
  """A Python with the compiler for TPUs that goes with this JAX beside the packages of this one."""
  pinned = [
    requirement.partition(';')[0].strip()
    for requirement in importlib.metadata.requires('jax')
    if re.match(r'libtpu\b.*extra == .tpu.', requirement)
  ]
  place = tmp_path_factory.mktemp('compiler')
  command = [sys.executable, '-m', 'pip', 'install', '--no-deps', '--target', place, *pinned]
  installed = subprocess.run(command, capture_output=True, text=True)
  if installed.returncode:
    pytest.skip(f'the compiler for TPUs cannot be had here: {installed.stderr.strip()[-200:]}')
  return place


def counted(compiler, figures, *arguments):
  """(what the command prints, what it writes to `figures`) for four v5e chips."""
  command = [sys.executable, '-m', 'launch.run', '--dry_run', '--target=v5e-4', f'--json={figures}']
  path = os.pathsep.join([str(ROOT), str(compiler)])
  environment = os.environ | {'PYTHONPATH': path, 'XLA_FLAGS': ''}
  options = dict(cwd=ROOT, capture_output=True, text=True, env=environment)
  done = subprocess.run([*command, *arguments], **options)
  assert done.returncode == 0, done.stderr
  return done.stdout, json.loads(figures.read_text())


@pytest.mark.slow
def test_phases_are_compiled_for_four_chips_with_one_message_each(compiler, tmp_path):
  printed, phases = counted(
    compiler,
    tmp_path / 'figures.json',
    '--config=m3d:digits,ipc=10,quick',
    '--config.evaluation.baselines=()',
  )
  assert printed.count(': compiles; ') == 2 and '4 x TPU v5e' in printed
  assert list(phases) == ['condense', 'evaluate-m3d']
  condense, evaluate = phases.values()
  # 37.36 MFLOP of matrix products and convolutions a chip: three of twelve classes (ten and two
  # that fill up), counted once and kept.
  assert condense['flops'] == pytest.approx(37.36e6, rel=0.1)
  for phase in (condense, evaluate):
    assert phase['compiles'] and phase['grouped_convolutions'] == 0
    assert phase['messages'] == {'all-reduce': 1} and 0 < phase['memory_share'] < 0.01
    assert phase['bound'] in ('compute', 'memory', 'links') and phase['seconds_at_least'] > 0
  # Ten losses in float32.
  assert condense['collectives'] == {'all-reduce': 40}


# Counted once (BUILD_NOTES.md, "Bytes a step") and kept, so that no later change fattens the
# programs unseen: megabytes a step and chip, from and to its memory, and with what stays within it.
KEPT = {'condense': (56.8, 865), 'evaluate-m3d': (60.1, 537)}
ROOM = 1.1


@pytest.mark.slow
def test_the_programs_of_a_set_of_cifars_shape_stay_as_lean_as_they_are(compiler, tmp_path):
  rng = np.random.default_rng(0)
  arrays = {}
  for split, number in (('train', 2000), ('test', 100)):
    arrays[f'{split}_images'] = rng.integers(0, 256, (number, 32, 32, 3), np.uint8)
    arrays[f'{split}_labels'] = np.arange(number) % 10
  np.savez(tmp_path / 'images.npz', **arrays)
  _, phases = counted(
    compiler,
    tmp_path / 'figures.json',
    f'--config=m3d:npz:{tmp_path}/images.npz,ipc=10,factor=2',
    '--config.dtype=bfloat16',
    '--config.evaluation.baselines=()',
  )
  assert list(phases) == list(KEPT)
  for name, (moved, everywhere) in KEPT.items():
    phase = phases[name]
    assert (
      phase['bytes'] <= ROOM * moved * 1e6 and phase['bytes_everywhere'] <= ROOM * everywhere * 1e6
    )
    assert phase['messages'] == {'all-reduce': 1} and phase['grouped_convolutions'] == 0

"""Data and code that are replaced between two starts in one work dir: refused before any work,
whether the run had finished or was stopped; what only looks different goes on."""

import contextlib
import json
import os
import shutil
import signal

import numpy as np
import pytest

from jaxdistill.commands import run as launcher
from jaxdistill.commands import sweep
from jaxdistill.condensation import Condensed, api, condense, methods, sections
from jaxdistill.condensation.tasks import condense as condense_task
from jaxdistill.data import load
from jaxdistill.errors import UserError
from jaxdistill.experiment import datasets
from jaxdistill.training.run import Run

RANDOM = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], 12)
TRAIN, TEST = (RANDOM.integers(0, 256, (36, 8, 8, 1), np.uint8) for _ in range(2))
ENTRIES = dict(
  train_images=TRAIN,
  train_labels=LABELS,
  test_images=TEST,
  test_labels=LABELS,
  class_names=np.array(['ant', 'bee', 'cat']),
)
FLAGS = [
  '--config.model.width=8',
  '--config.model.depth=1',
  '--config.condensation.augmentation=crop',
  '--config.condensation.iterations=4',
  '--config.condensation.batch_real=4',
  '--config.evaluation.networks=1',
  '--config.evaluation.steps=2',
  '--config.evaluation.every=2',
  '--config.evaluation.baselines=()',
  '--config.run.log_every=1',
  '--config.run.steps_per_call=1',
]
COMMON = ['--no-progress', '--no-tensorboard', '--compilation_cache=off', '--devices=1']


def start(folder, workdir, *flags, config='dm'):
  return launcher.main(
    [
      f'--config={config}:npz:{folder}/mine.npz,ipc=1,factor=1,model=mlp',
      *FLAGS,
      *COMMON,
      f'--workdir={workdir}',
      *flags,
    ]
  )


def write(folder, **changes):
  np.savez(folder / 'mine.npz', **ENTRIES | changes)


@contextlib.contextmanager
def stopped_after(iterations):
  """SIGTERM comes while so many iterations are logged."""
  log = Run.log

  def log_and_stop(run, phase, step, metrics, kind='train'):
    log(run, phase, step, metrics, kind)
    if step == iterations:
      signal.raise_signal(signal.SIGTERM)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Run, 'log', log_and_stop)
    yield


@pytest.fixture(scope='module')
def begun(tmp_path_factory):
  """A data set, and two work dirs begun with it: `finished`, and `stopped` while condensing."""
  folder = tmp_path_factory.mktemp('begun')
  write(folder)
  assert start(folder, folder / 'finished') == 0
  with stopped_after(1):
    assert start(folder, folder / 'stopped') == 75
  assert not (folder / 'stopped' / 'condensed.npz').exists()
  return folder


@pytest.fixture(params=['finished', 'stopped'])
def work(request, begun):
  """One of the work dirs, whose data are put back in the end."""
  kept = (begun / 'mine.npz').read_bytes()
  yield begun / request.param
  (begun / 'mine.npz').write_bytes(kept)


def changed(images, *index):
  images = images.copy()
  images[index] ^= 1
  return images


@pytest.mark.parametrize(
  'changes, words',
  [
    (dict(train_images=RANDOM.permutation(TRAIN)), 'other pixels of the training images'),
    (dict(train_images=changed(TRAIN, 5, 3, 2, 0)), 'other pixels of the training images'),
    (dict(test_images=changed(TEST, 0, 0, 0, 0)), 'other pixels of the test images'),
    (dict(train_labels=np.roll(LABELS, 1)), 'other labels of the training images'),
    (dict(test_labels=LABELS[::-1]), 'other labels of the test images'),
    (dict(class_names=np.array(['ant', 'bee', 'cow'])), "name of class 2: 'cat' -> 'cow'"),
    (dict(flip=np.array(False)), 'flip: True -> False'),
    (dict(test_images=TEST[:30], test_labels=LABELS[:30]), 'test images: 36 -> 30'),
    (
      dict(train_images=TRAIN[1:], train_labels=LABELS[1:]),
      'training images: 36 -> 35; ',
    ),
  ],
)
def test_replaced_data_are_refused_before_any_work(work, changes, words, capsys):
  before = {path: path.read_bytes() for path in work.rglob('*') if path.is_file()}
  write(work.parent, **changes)
  assert start(work.parent, work) == 2
  said = capsys.readouterr()
  assert said.err.startswith(f'error: The work dir {work} was begun with other data: ')
  assert words.strip('; ') in said.err
  assert said.err.endswith('Use another work dir, or the old data to continue.\n')
  assert said.err.count('\n') == 1 and said.out == f'work dir: {work}\n'
  assert {path: path.read_bytes() for path in work.rglob('*') if path.is_file()} == before


def test_the_same_content_written_anew_goes_on_to_the_same_end(begun, tmp_path, capsys):
  finished = np.load(begun / 'finished' / 'condensed.npz')['images']
  for name in ('finished', 'stopped'):
    shutil.copytree(begun / name, tmp_path / name)
  kept = (begun / 'mine.npz').read_bytes()
  try:
    entries = dict(reversed(ENTRIES.items())) | {'train_labels': LABELS.astype(np.uint8)}
    np.savez_compressed(begun / 'mine.npz', **entries)
    os.utime(begun / 'mine.npz', (1, 1))
    assert (begun / 'mine.npz').read_bytes() != kept
    assert start(begun, tmp_path / 'finished') == 0
    assert 'This run is finished' in capsys.readouterr().out
    assert start(begun, tmp_path / 'stopped') == 0
    assert 'condense: continues after step' in capsys.readouterr().out
  finally:
    (begun / 'mine.npz').write_bytes(kept)
  np.testing.assert_array_equal(Condensed.load(tmp_path / 'stopped/condensed.npz').images, finished)


def test_another_share_is_another_config(begun, capsys):
  assert start(begun, begun / 'stopped', '--config.data.validation_share=0.2') == 2
  assert 'belongs to another config: data.validation_share: 0.1 -> 0.2' in capsys.readouterr().err


def test_a_dry_run_tells_that_it_would_be_refused(work, monkeypatch, capsys):
  monkeypatch.setattr(condense_task, 'dry_run', lambda config: 'an estimate')
  assert start(work.parent, work, '--dry_run') == 0
  assert capsys.readouterr().out.endswith('an estimate\n')
  write(work.parent, train_images=TEST)
  assert start(work.parent, work, '--dry_run') == 0
  assert f'It would not start: The work dir {work} was begun with' in capsys.readouterr().out


def test_an_old_work_dir_is_filled_in(begun, tmp_path, capsys):
  shutil.copytree(begun / 'finished', tmp_path / 'old')
  (tmp_path / 'old' / 'data.json').unlink()
  assert start(begun, tmp_path / 'old') == 0
  assert 'does not say which data it was begun with' in capsys.readouterr().out
  records = [
    (folder / 'data.json').read_bytes() for folder in (begun / 'finished', tmp_path / 'old')
  ]
  assert records[0] == records[1]


def test_cells_of_a_sweep_refuse_and_the_page_tells(work, tmp_path, monkeypatch, capsys):
  result = json.loads((work.parent / 'finished' / 'result.json').read_text())

  def load_alone(config, run):
    datasets.load(sections.of_config(config).data, run)
    run.write_json('result.json', {**result, 'config': config.to_dict(), 'seed': config.seed})
    run.write_bytes('report.html', b'a page')
    return result

  monkeypatch.setattr(condense_task, 'run', load_alone)
  flags = [f'--config=dm:npz:{work.parent}/mine.npz,ipc=1,factor=1', *FLAGS, *COMMON]
  flags += ['--grid.seed=0,1', f'--workdir={tmp_path}']
  assert sweep.main(flags) == sweep.main(flags) == 0
  assert capsys.readouterr().out.count('is done already') == 2
  write(work.parent, train_images=changed(TRAIN, 5, 3, 2, 0))
  assert sweep.main(flags) == 1
  assert '0 of 2 runs are done, 2 failed' in capsys.readouterr().out
  for cell in json.loads((tmp_path / 'sweep.json').read_text())['runs']:
    assert 'other pixels of the training images' in cell['error']
  write(work.parent)
  assert sweep.main(flags) == 0
  assert capsys.readouterr().out.count('is done already') == 2


METHOD = '''"""Means, under a name of its own."""
from jaxdistill import config, losses
from jaxdistill.condensation import engine, methods

def plugs(model, image_shape):
  return engine.Plugs(engine.fresh_networks(model, image_shape, 1), discrepancy)

def discrepancy(synthetic, real):
  return {scale} * losses.mean_discrepancy(synthetic, real)  # {comment}

methods.register('means', plugs)

def get_config(arg=''):
  result = config.load('dm', arg)
  result.method = dict(name='means')
  return result
'''


@pytest.fixture
def register_for_now():
  yield
  methods.METHODS.pop('means', None)


@pytest.mark.usefixtures('register_for_now')
def test_a_method_of_the_users_that_changes_is_refused(tmp_path, capsys):
  write(tmp_path)
  method = tmp_path / 'means.py'

  def go_on(scale, comment):
    method.write_text(METHOD.format(scale=scale, comment=comment))
    return start(tmp_path, tmp_path / 'run', config=method)

  with stopped_after(1):
    assert go_on(1.0, 'as it is') == 75
  assert go_on(2.0, 'as it is') == 2
  assert (
    f'The work dir {tmp_path}/run was begun with other code: the code of the condensation method '
    "'means' has changed. Use another work dir, or the old code to continue."
  ) in capsys.readouterr().err
  assert go_on(1.0, 'as it was') == 0
  assert go_on(2.0, 'as it was') == 2  # of a finished one, too


def test_condensing_in_python_refuses_other_images(tmp_path, monkeypatch):
  monkeypatch.setattr(api.problem, 'setup', lambda *arguments: None)
  monkeypatch.setattr(api.problem, 'condense', lambda *arguments: ('condensed', None))
  write(tmp_path)
  train, _ = load(f'npz:{tmp_path}/mine.npz')
  options = dict(method='dm', ipc=1, quick=True, workdir=tmp_path / 'run')
  assert condense(train, **options) == condense(train, **options) == 'condensed'
  write(tmp_path, train_images=changed(TRAIN, 5, 3, 2, 0))
  other, _ = load(f'npz:{tmp_path}/mine.npz')
  with pytest.raises(UserError, match='other pixels of the training images'):
    condense(other, **options)
  assert condense(other, **options | {'workdir': None}) == 'condensed'

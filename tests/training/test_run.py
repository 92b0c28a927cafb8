"""The work directory: config, metrics, results."""

import json
import os
import pathlib
import shutil
import time

import numpy as np
import pytest
from flax import serialization
from ml_collections import ConfigDict

from jaxdistill.errors import UserError
from jaxdistill.training.run import Run

CONFIG = {
  'seed': 0,
  'model': {'width': 8, 'name': 'convnet'},
  'run': {'devices': 0},
  'baselines': ('random', 'mix'),
}


def quiet(workdir=None, config=None, **options):
  return Run(workdir, config, **{'progress': False, 'tensorboard': False, **options})


def lines(workdir):
  return [
    json.loads(line) for line in (pathlib.Path(workdir) / 'metrics.jsonl').read_text().splitlines()
  ]


def test_metrics_are_in_the_file_at_once(tmp_path):
  run = quiet(tmp_path / 'new' / 'dir')
  run.log('train', 10, {'loss': np.float32(0.5), 'per_class': np.arange(2.0), 'odd': float('nan')})
  (line,) = lines(run.workdir)
  assert line.pop('seconds') >= 0
  assert line == {
    'phase': 'train',
    'step': 10,
    'kind': 'train',
    'loss': 0.5,
    'per_class': [0.0, 1.0],
    'odd': None,
  }
  run.close()


def test_a_metric_cannot_take_the_name_of_a_field():
  with quiet() as run, pytest.raises(ValueError, match="'step'"):
    run.log('train', 1, {'step': 2})


def test_a_torn_last_line_is_forgotten(tmp_path):
  with quiet(tmp_path) as run:
    run.log('train', 1, {'loss': 1.0})
  with open(tmp_path / 'metrics.jsonl', 'a') as file:
    file.write('{"phase": "train", "st')
  with quiet(tmp_path) as run:
    run.log('train', 2, {'loss': 2.0})
    assert [line['step'] for line in run.curve('train')] == [1, 2]
  assert [line['step'] for line in lines(tmp_path)] == [1, 2]


def test_lines_after_a_restored_step_are_dropped_for_that_phase_alone(tmp_path):
  with quiet(tmp_path) as run:
    for phase in ('a', 'b'):
      for step in (1, 2, 3):
        run.log(phase, step, {'loss': 1.0})
    run.log('b', 2, {'accuracy': 0.5}, kind='evaluate')
    run.records.restore('b', 1, [])
    run.log('b', 2, {'loss': 2.0})
  kept = [(line['phase'], line['step']) for line in lines(tmp_path)]
  assert kept == [('a', 1), ('a', 2), ('a', 3), ('b', 1), ('b', 2)]


def test_evaluations_of_a_checkpoint_return_to_a_file_that_lost_them(tmp_path):
  evaluation = {'phase': 'a', 'step': 1, 'kind': 'evaluate', 'seconds': 1.0, 'accuracy': 0.5}
  with quiet(tmp_path) as run:
    run.records.restore('a', 1, [evaluation])
    assert run.history('a') == [evaluation]
  assert lines(tmp_path) == [evaluation]


def test_a_directory_of_another_config_is_refused_with_the_keys(tmp_path):
  quiet(tmp_path, ConfigDict(CONFIG)).close()
  quiet(tmp_path, ConfigDict(CONFIG)).close()  # the same: goes on
  other = {**CONFIG, 'seed': 1, 'model': {'width': 16, 'name': 'convnet'}}
  with pytest.raises(
    UserError, match='(?s)model.width: 8 -> 16; seed: 0 -> 1.*[Uu]se another work dir'
  ):
    quiet(tmp_path, other)
  assert json.loads((tmp_path / 'config.json').read_text())['seed'] == 0


def test_how_to_compute_may_change(tmp_path):
  quiet(tmp_path, CONFIG).close()
  quiet(tmp_path, {**CONFIG, 'run': {'devices': 4}}).close()
  assert json.loads((tmp_path / 'config.json').read_text())['run'] == {'devices': 4}


@pytest.mark.parametrize('place', ['file', 'below a file', '/proc/jaxdistill'])
def test_a_work_dir_that_cannot_be_written_is_refused(tmp_path, place):
  (tmp_path / 'file').write_text('')
  path = {'file': tmp_path / 'file', 'below a file': tmp_path / 'file' / 'dir'}.get(place, place)
  with pytest.raises(UserError, match='cannot be written.*choose another'):
    quiet(path)


def test_once_computes_once_and_returns_what_a_restart_returns(tmp_path):
  calls = []

  def compute():
    calls.append(1)
    return {'mean': np.float64(0.5), 'values': (1, 2), 'none': None}

  values = []
  for _ in range(2):
    with quiet(tmp_path) as run:
      values += [run.once('evaluate/m3d', compute), run.once('evaluate/m3d', compute)]
  assert len(calls) == 1 and values == [{'mean': 0.5, 'values': [1, 2], 'none': None}] * 4
  assert (tmp_path / 'results' / 'evaluate' / 'm3d.json').exists()
  with quiet() as run:
    assert run.once('none', lambda: calls.append(1)) is None and run.once('none', compute) is None
  assert len(calls) == 2


def test_a_failed_computation_leaves_nothing(tmp_path):
  with quiet(tmp_path) as run:
    with pytest.raises(ZeroDivisionError):
      run.once('a', lambda: 1 / 0)
    assert run.once('a', lambda: 2) == 2


@pytest.mark.parametrize('name', ['../up', '/abs', 'a//b', '', '.hidden', 'a/../b'])
def test_names_stay_inside_the_work_dir(tmp_path, name):
  with quiet(tmp_path) as run, pytest.raises(UserError, match='cannot name'):
    run.once(name, lambda: 1)


def test_phases_do_not_share_checkpoints(tmp_path):
  with quiet(tmp_path) as run:
    run.checkpoints('kd/a')
    with pytest.raises(UserError, match="The phases 'kd/a' and 'kd.a' of one run would share"):
      run.checkpoints('kd.a')
    run.discard('kd/a')
    assert run.checkpoints('kd.a') is not None


def test_files_are_replaced_whole(tmp_path, monkeypatch):
  with quiet(tmp_path) as run:
    path = run.write_bytes('report.html', b'old')
    monkeypatch.setattr(
      os, 'replace', lambda *names: (_ for _ in ()).throw(OSError(28, 'No space left on device'))
    )
    with pytest.raises(UserError, match='No space left'):
      run.write_bytes('report.html', b'new')
    assert path.read_bytes() == b'old' and sorted(os.listdir(tmp_path)) == [
      'config.json',
      'environment.json',
      'report.html',
      'run.lock',
    ]


def test_in_memory_nothing_is_written(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with quiet(config=CONFIG) as run:
    run.log('a', 1, {'loss': 1.0}, kind='evaluate')
    assert (
      run.workdir is None and run.checkpoints('a') is None and run.write_json('a.json', {}) is None
    )
    assert run.history('a')[0]['loss'] == 1.0
    run.discard('a')
  assert os.listdir(tmp_path) == []


def test_the_clock_goes_on_over_restarts(tmp_path):
  with quiet(tmp_path) as run:
    run.set_seconds(100.0)
    run.log('a', 1, {})
  with quiet(tmp_path) as run:
    assert 100.0 <= run.seconds < 110.0
  with quiet(tmp_path / 'other') as run:
    assert run.seconds < 10.0


def test_events_go_to_tensorboard_if_it_is_there(tmp_path, monkeypatch):
  with quiet(tmp_path / 'with', tensorboard=True) as run:
    run.log('train', 1, {'loss': 0.5, 'per_class': [1.0, 2.0]})
  (file,) = (tmp_path / 'with' / 'tensorboard' / 'train').iterdir()
  assert b'per_class/1' in file.read_bytes() and b'loss' in file.read_bytes()
  monkeypatch.setitem(__import__('sys').modules, 'tensorboardX', None)
  with quiet(tmp_path / 'without', tensorboard=True) as run:
    run.log('train', 1, {'loss': 0.5})
  assert not (tmp_path / 'without' / 'tensorboard').exists()


@pytest.mark.parametrize(
  'wrong', [{'keep': 0}, {'log_every': 0}, {'checkpoint_every': -1}, {'checkpoint_seconds': 0}]
)
def test_senseless_settings_are_refused(wrong):
  with pytest.raises(UserError):
    quiet(**wrong)


def test_a_work_dir_that_disappears_is_told_and_not_made_again(tmp_path):
  run = quiet(tmp_path / 'dir', CONFIG)
  run.log('a', 1, {'loss': 1.0})
  shutil.rmtree(tmp_path / 'dir')
  for write in (lambda: run.log('a', 2, {'loss': 1.0}), lambda: run.write_json('result.json', {})):
    with pytest.raises(UserError, match='The work dir .* has disappeared'):
      write()
  run.close()
  assert not (tmp_path / 'dir').exists()


def test_a_disk_full_of_events_is_told_in_a_sentence(tmp_path, monkeypatch):
  record_writer = pytest.importorskip('tensorboardX.record_writer')
  monkeypatch.setattr(record_writer, 'open_file', lambda path: open('/dev/full', 'wb'))
  with quiet(tmp_path, tensorboard=True) as run:
    for step in range(2):
      with pytest.raises(
        UserError,
        match='tensorboard could not be written .No space left on device.; free some space',
      ):
        run.log('train', step, {'loss': 1.0})
  assert [line['step'] for line in lines(tmp_path)] == [0, 1]


def test_a_full_disk_is_told_in_a_sentence(tmp_path):
  with quiet(tmp_path) as run:
    (tmp_path / 'metrics.jsonl').symlink_to('/dev/full')
    with pytest.raises(
      UserError,
      match='metrics.jsonl could not be written .No space left on device.; free some space',
    ):
      run.log('a', 1, {'loss': 1.0})


def test_time_never_runs_backwards(tmp_path, monkeypatch):
  """Neither with the clock on the wall, nor where a checkpoint is older than the lines of another
  phase."""
  with quiet(tmp_path) as run:
    run.set_seconds(100.0)
    run.log('a', 1, {'loss': 1.0})
  monkeypatch.setattr(time, 'time', lambda: 0.0)
  with quiet(tmp_path) as run:
    run.log('a', 2, {'loss': 1.0})
    run.set_seconds(50.0)
    run.log('b', 1, {'loss': 1.0})
  seconds = [line['seconds'] for line in lines(tmp_path)]
  assert seconds == sorted(seconds) and 100 <= seconds[0] and seconds[-1] < 110


def test_what_several_runs_share_is_computed_once(tmp_path, capsys):
  computed = []

  def compute():
    computed.append(1)
    return {'w': np.arange(3.0)}

  path = tmp_path / 'shared' / 'pool.msgpack'
  coding = (
    serialization.to_bytes,
    lambda content: serialization.from_bytes({'w': np.zeros(3)}, content),
  )
  for name in ('one', 'two'):
    with quiet(tmp_path / name) as run:
      assert run.kept(path, compute, *coding)['w'].tolist() == [0, 1, 2]
  assert len(computed) == 1 and str(path) in capsys.readouterr().out
  with quiet() as run:
    assert run.kept(None, compute, *coding)['w'].tolist() == [0, 1, 2]

"""A work dir in a bucket: what is up there after a run, a kill, a second start and a fault; with
the file systems of fsspec."""

import json
import os
import sys
import time

import flax
import fsspec
import jax
import jax.numpy as jnp
import pytest

from jaxdistill.errors import UserError
from jaxdistill.training import bucket, loop
from jaxdistill.training.run import Run


def held(address, said=None, seconds=0.05):
  return bucket.Bucket(address, (said if said is not None else []).append, seconds)


def wait_until(condition):
  deadline = time.monotonic() + 60
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.01)


@pytest.fixture(params=['file', 'memory'])
def address(request, tmp_path):
  return f'file://{tmp_path}/up/run' if request.param == 'file' else f'memory://{tmp_path.name}/run'


def test_what_changes_goes_up_and_comes_down_again(address):
  files, root = fsspec.core.url_to_fs(address)
  first = held(address)
  (first.folder / 'a' / 'b').mkdir(parents=True)
  (first.folder / 'a' / 'b' / 'old').write_text('1')
  (first.folder / '.half.tmp').write_text('half')
  (first.folder / 'a' / '7.orbax-checkpoint-tmp').mkdir()
  (first.folder / 'a' / '7.orbax-checkpoint-tmp' / 'part').write_text('part')
  wait_until(lambda: files.exists(f'{root}/manifest.json'))
  assert files.cat_file(f'{root}/a/b/old') == b'1'
  (first.folder / 'a' / 'b' / 'old').unlink()
  (first.folder / 'a' / 'new').write_text('2')
  first.close()
  assert not first.folder.exists()
  found = sorted(
    name[len(root) :]
    for name in files.find(root)
    if not name.endswith(('manifest.json', 'run.lock'))
  )
  assert [name.lstrip('/') for name in found] == ['a/new'] and not files.exists(f'{root}/run.lock')
  second = held(address)
  assert [path.name for path in second.folder.rglob('*') if path.is_file()] == ['new']
  assert (second.folder / 'a' / 'new').read_text() == '2'
  second.close()


def test_a_copy_that_was_cut_off_is_as_if_it_had_not_begun(address):
  files, root = fsspec.core.url_to_fs(address)
  first = held(address)
  (first.folder / 'whole').write_text('1')
  first.close()
  files.pipe_file(f'{root}/later', b'sent before the manifest was')
  second = held(address)
  assert [path.name for path in second.folder.iterdir()] == ['whole']
  second.close()


def test_a_second_run_is_refused_and_a_dead_one_replaced(address):
  files, root = fsspec.core.url_to_fs(address)
  holder = held(address)
  said = []
  # The holder is another run of this process; it renews its lock.
  with pytest.raises(UserError, match=rf'in use by process {os.getpid()} on'):
    held(address, said, 0.3)
  assert 'was left locked by process' in said[0]
  holder.close()
  files.pipe_file(
    f'{root}/run.lock', json.dumps({'pid': 1, 'host': 'gone', 'token': 'x', 'beat': 7}).encode()
  )
  taken = held(address, said)
  assert len(said) == 2 and 'on gone' in said[1]
  files.pipe_file(f'{root}/run.lock', json.dumps({'pid': 2, 'host': 'new', 'token': 'y'}).encode())
  wait_until(lambda: not taken._thread.is_alive())
  with pytest.raises(UserError, match='was taken over by process 2 on new'):
    taken.check()
  with pytest.raises(UserError, match='The local copy stays in'):
    taken.close()
  assert json.loads(files.cat_file(f'{root}/run.lock'))['host'] == 'new' and taken.folder.exists()


def test_a_bucket_that_fails_for_a_while_is_tried_again(address, monkeypatch):
  said = []
  first = held(address, said)
  files = type(first._files)
  whole = files.pipe_file

  def broken(*arguments, **options):
    raise OSError('the network is down')

  monkeypatch.setattr(files, 'pipe_file', broken)
  (first.folder / 'numbers').write_text('1')
  wait_until(lambda: said)
  assert 'cannot be written at the moment (the network is down)' in said[0]
  time.sleep(0.2)
  assert len(said) == 1
  monkeypatch.setattr(files, 'pipe_file', whole)
  first.close()
  assert first._files.cat_file(f'{first._root}/numbers') == b'1'


def test_a_long_copy_keeps_the_lock_alive(address, monkeypatch):
  first = held(address)
  beats, whole = [], type(first._files).pipe_file

  def slow(files, path, content, **options):
    if path.endswith('large'):
      before = first._beat
      wait_until(lambda: first._beat > before + 2)
      beats.append(first._beat - before)
    return whole(files, path, content, **options)

  monkeypatch.setattr(type(first._files), 'pipe_file', slow)
  (first.folder / 'large').write_text('1')
  wait_until(lambda: beats)
  first.close()
  assert first._files.cat_file(f'{first._root}/large') == b'1'


def test_a_run_that_ends_leaves_the_lock_of_another_alone(address):
  files, root = fsspec.core.url_to_fs(address)
  first = held(address, seconds=60)  # so that the end is the first to look
  files.pipe_file(f'{root}/run.lock', json.dumps({'pid': 2, 'host': 'new', 'token': 'y'}).encode())
  (first.folder / 'late').write_text('1')
  with pytest.raises(
    UserError, match='was taken over by process 2 on new .* The local copy stays in'
  ):
    first.close()
  assert (
    files.exists(f'{root}/run.lock')
    and not files.exists(f'{root}/late')
    and (first.folder / 'late').exists()
  )


def test_a_bucket_that_is_gone_is_told(tmp_path):
  said = []
  first = held(f'file://{tmp_path}/up/run', said)
  (tmp_path / 'up').rename(tmp_path / 'elsewhere')
  wait_until(lambda: not first._thread.is_alive())
  with pytest.raises(
    UserError, match='was deleted, alone or with the folder; .* The local copy stays in'
  ):
    first.close()
  assert not (tmp_path / 'up').exists() and not said


@pytest.mark.parametrize(
  'place, message',
  [
    ('nowhere://bucket/run', 'no address that can be written to'),
    ('memory://', 'names no folder in the bucket'),
    ('file:///proc/run', 'could not be opened'),
  ],
)
def test_addresses_that_cannot_be(place, message):
  with pytest.raises(UserError, match=message):
    held(place)


def test_a_package_that_is_missing_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'gcsfs', None)
  with pytest.raises(UserError, match=r'needs a package .*pip install "jaxdistill\[gcs\]"'):
    held('gs://bucket/run')


def test_a_run_keeps_to_its_address(tmp_path):
  place = f'file://{tmp_path}/run'
  with Run(place, {'seed': 1}, progress=False) as run:
    run.log('train', 1, {'loss': 0.5})
    run.once('numbers/answer', lambda: 42)
    assert run.shared == run.workdir and run.place == place
  kept = json.loads((tmp_path / 'run' / 'results' / 'numbers' / 'answer.json').read_text())
  assert kept['result'] == 42
  with pytest.raises(UserError, match=f'The work dir {place} belongs to another config: seed'):
    Run(place, {'seed': 2}, progress=False)
  with Run(place, {'seed': 1}, progress=False) as run:
    assert run.curve('train')[0]['loss'] == 0.5 and run.once('numbers/answer', lambda: 0) == 42


@flax.struct.dataclass
class State:
  step: jax.Array
  key: jax.Array
  total: jax.Array


def train(run, measure=lambda state: {}):
  def step(state, batch):
    return state.replace(step=state.step + 1, total=state.total + batch), {'loss': batch}

  source = loop.ArraySource(
    (), lambda data, key, step: jax.random.normal(jax.random.fold_in(key, step))
  )
  return loop.fit(
    run,
    'add',
    loop.Problem(step, State(jnp.int32(0), jax.random.key(0), jnp.float32(0)), source, 20),
    evaluate=loop.Evaluation(measure, 10),
  )


def test_a_machine_that_is_lost_goes_on_elsewhere_from_what_was_up(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(bucket, 'SECONDS', 0.05)
  manifest = tmp_path / 'run' / 'manifest.json'
  whole = train(Run(progress=False))

  class Lost(Exception):
    pass

  def lose(state):
    if int(state.step) < 20:
      return {'total': float(state.total)}
    wait_until(lambda: manifest.exists() and 'checkpoints/add/15/' in manifest.read_text())
    # A machine that is gone sends no more; its lock and its copy stay as they are.
    run._bucket._over.set()
    raise Lost

  run = Run(f'file://{tmp_path}/run', progress=False, checkpoint_every=5, tensorboard=False)
  with pytest.raises(Lost):
    train(run, lose)
  with Run(
    f'file://{tmp_path}/run', progress=False, checkpoint_every=5, tensorboard=False
  ) as again:
    end = train(again, lambda state: {'total': float(state.total)})
    assert [line['step'] for line in again.history('add')] == [10, 20]
  assert end.total == whole.total
  told = capsys.readouterr().out
  assert 'was left locked by process' in told and 'add: continues after step 15 of 20' in told
  assert not (tmp_path / 'run' / 'run.lock').exists()


@pytest.mark.parametrize(
  'place, words',
  [
    ('gs:/bucket/run', "'gs:/bucket/run' is neither a folder nor an address; an address is gs://B"),
    ('s3:bucket', "'s3:bucket' is neither a folder nor an address"),
    ('gs://', "'gs://' names no bucket; an address is gs://BUCKET/FOLDER"),
    ('gs:', 'names no bucket'),
  ],
)
def test_an_address_with_a_slip_makes_no_folder(tmp_path, monkeypatch, place, words):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError, match=words):
    Run(place)
  assert list(tmp_path.iterdir()) == []
  Run('c:odd', progress=False, tensorboard=False).close()
  assert [path.name for path in tmp_path.iterdir()] == ['c:odd']

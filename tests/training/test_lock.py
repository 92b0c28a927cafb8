"""One run on one work dir at a time; what is left by the dead is taken over."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from jaxdistill.errors import UserError
from jaxdistill.training import lock
from jaxdistill.training.run import Run

HOLDER = (
  'import sys, time, pathlib; from jaxdistill.training.lock import Lock; held = '
  'Lock(pathlib.Path(sys.argv[1])); '
  'print("held", flush=True); time.sleep(60)'
)


def quiet(workdir):
  return Run(workdir, progress=False, tensorboard=False)


def test_a_second_run_is_refused_with_the_holder_and_leaves_the_first_alone(tmp_path):
  with quiet(tmp_path):
    with pytest.raises(
      UserError,
      match=f'in use by process {os.getpid()} on {socket.gethostname()}; .*another work dir',
    ):
      quiet(tmp_path)
    assert json.loads((tmp_path / lock.NAME).read_text()) == {
      'pid': os.getpid(),
      'host': socket.gethostname(),
    }
  assert not (tmp_path / lock.NAME).exists()
  quiet(tmp_path).close()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
  holder = subprocess.Popen(
    [sys.executable, '-c', HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
  )
  assert holder.stdout.readline() == 'held\n'
  with pytest.raises(UserError, match=f'in use by process {holder.pid}'):
    quiet(tmp_path)
  holder.send_signal(signal.SIGKILL)
  holder.wait()
  assert (tmp_path / lock.NAME).exists()
  with quiet(tmp_path):
    assert json.loads((tmp_path / lock.NAME).read_text())['pid'] == os.getpid()


def test_the_lock_of_another_host_names_the_file_to_delete(tmp_path):
  (tmp_path / lock.NAME).write_text('{"pid": 7, "host": "elsewhere"}')
  with pytest.raises(
    UserError, match=f'process 7 on the host elsewhere.*delete {tmp_path / lock.NAME}'
  ):
    quiet(tmp_path)
  (tmp_path / lock.NAME).unlink()
  quiet(tmp_path).close()


def test_a_half_written_lock_is_nobodys(tmp_path):
  (tmp_path / lock.NAME).write_text('{"pi')
  quiet(tmp_path).close()


def test_a_refused_config_leaves_no_lock(tmp_path):
  Run(tmp_path, {'seed': 0}, progress=False, tensorboard=False).close()
  with pytest.raises(UserError, match='another config'):
    Run(tmp_path, {'seed': 1}, progress=False, tensorboard=False)
  assert not (tmp_path / lock.NAME).exists()


def test_without_locks_of_the_file_system_the_process_number_counts(tmp_path, monkeypatch):
  monkeypatch.setattr(lock, '_lock', lambda file: None)
  held = {'pid': os.getppid(), 'host': socket.gethostname()}
  (tmp_path / lock.NAME).write_text(json.dumps(held))
  with pytest.raises(UserError, match=f'in use by process {os.getppid()}'):
    quiet(tmp_path)
  dead = subprocess.Popen([sys.executable, '-c', ''])
  dead.wait()
  (tmp_path / lock.NAME).write_text(json.dumps(held | {'pid': dead.pid}))
  quiet(tmp_path).close()


@pytest.mark.parametrize('content', ['[]', '1', '"text"', '[' * 5000])
def test_a_lock_of_another_form_is_taken_over(tmp_path, content):
  (tmp_path / lock.NAME).write_text(content)
  lock.Lock(tmp_path).release()


def test_a_lock_that_is_a_folder_is_told(tmp_path):
  (tmp_path / lock.NAME).mkdir()
  with pytest.raises(UserError, match='cannot be opened .*; remove it, or use another work dir'):
    lock.Lock(tmp_path)

"""The processes of one job: how they find each other, and how one that cannot go on leaves the
others."""

import atexit
import contextlib
import importlib.util
import json
import os
import socket
import sys
import threading
import time

import jax

from jaxdistill import terminal
from jaxdistill.errors import UserError
from jaxdistill.training import hosts, interrupt

JOIN_SECONDS = 300
# Until a process that has vanished without a word counts as dead, which ends the others.
_HEARTBEAT_SECONDS = 30
_SHUTDOWN_SECONDS = 15
# Once one has failed: until another that has not ended by itself is ended, as it waits in vain.
_LEAVE_SECONDS = 10
_LOOK_SECONDS = 1
_FAILED, _LEFT = f'{hosts.PREFIX}/failed', f'{hosts.PREFIX}/left'


def join(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
  seconds: int = JOIN_SECONDS,
) -> None:
  """Joins this process to the others of its job, before anything is computed; alone where there are
  none.

  Without arguments the others are found on Slurm (a step of several tasks) and on Cloud TPU; else
  the three arguments tell.

  Args:
    coordinator: HOST:PORT of process 0, where all others can reach it.
    num_processes: of the job.
    process_id: of this one, from 0.
    seconds: how long to wait for the others.

  Raises:
    UserError: some but not all three were given, or they cannot be right.
  """
  given = (coordinator, num_processes, process_id)
  if jax.distributed.is_initialized():
    return
  if any(value is not None for value in given):
    _check(*given)
  elif not _in_slurm() and not _on_tpu():
    return
  with contextlib.suppress(AttributeError):  # it would take SIGTERM for itself
    jax.config.update('jax_enable_preemption_service', False)
  with _Patience(given, seconds):
    try:
      jax.distributed.initialize(
        coordinator,
        num_processes,
        process_id,
        initialization_timeout=seconds + 60,
        heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        cluster_detection_method='slurm' if coordinator is None and _in_slurm() else None,
      )
    except ValueError:
      if coordinator is not None or _in_slurm():
        raise
      # A TPU machine without others: jax found no coordinator.
  if hosts.count() > 1:
    interrupt.join()
    over = threading.Event()
    threading.Thread(target=_look_after_others, args=(over,), daemon=True).start()
    atexit.register(over.set)


def _check(coordinator, num_processes, process_id):
  if None in (coordinator, num_processes, process_id):
    raise UserError(
      'Several processes need all three of --coordinator=HOST:PORT, --num_processes and '
      '--process_id; '
      'on Cloud TPU and Slurm none of them.'
    )
  if not 0 <= process_id < num_processes:
    raise UserError(
      f'--process_id={process_id} must be from 0 to {num_processes - 1}, with '
      f'--num_processes={num_processes}.'
    )
  host, colon, port = coordinator.rpartition(':')
  if not host or not colon or not port.isdigit():
    raise UserError(f'--coordinator={coordinator} must be HOST:PORT, for example 10.0.0.1:1234.')


def _in_slurm() -> bool:
  """Whether this is one of several tasks of a Slurm step."""
  needed = ('SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_PROCID', 'SLURM_LOCALID')
  tasks = os.environ.get('SLURM_NTASKS', '1')
  return all(name in os.environ for name in needed) and tasks.isdigit() and int(tasks) > 1


def _on_tpu() -> bool:
  """Whether this is a TPU machine that may have others beside it; jax knows the rest."""
  platforms = os.environ.get('JAX_PLATFORMS', '')
  if importlib.util.find_spec('libtpu') is None or platforms and 'tpu' not in platforms:
    return False
  hosts = os.environ.get('TPU_WORKER_HOSTNAMES')
  return ',' in hosts if hosts else any(map(os.path.exists, ('/dev/accel0', '/dev/vfio/0')))


class _Patience:
  """Ends the process with a sentence when the others do not come; jax itself would end it with a
  stack trace."""

  def __init__(self, given, seconds):
    self._given, self._seconds = given, seconds
    self._joined = threading.Event()

  def __enter__(self):
    threading.Thread(target=self._watch, daemon=True).start()

  def __exit__(self, *error):
    self._joined.set()

  def _watch(self):
    if not self._joined.wait(self._seconds):
      terminal.complain(f'error: {missing_text(*self._given, self._seconds)}')
      os._exit(2)


def missing_text(
  coordinator: str | None, num_processes: int | None, process_id: int | None, seconds: float
) -> str:
  """Returns the sentence about processes that did not come.

  >>> missing_text('localhost:1', 4, 0, 60)
  'After 60 s not all of the 4 processes are here; process 0 waits at ...
  """
  if coordinator is None:
    return (
      f'After {seconds:g} s not all processes of this job have found each other. See that '
      'each of its tasks or hosts '
      'runs this command, and that they reach each other over the network.'
    )
  text = f'After {seconds:g} s not all of the {num_processes} processes are here; '
  host, _, port = coordinator.rpartition(':')
  if process_id == 0:
    text += f'process 0 waits at {coordinator}.'
  elif _answers(host, int(port)):
    text += f'process 0 answers at {coordinator}, another is missing.'
  else:
    text += f'nothing answers at {coordinator}, where process 0 should be.'
  return (
    f'{text} Start every one of them, with the same --coordinator and --num_processes '
    'and its own --process_id.'
  )


def _answers(host, port) -> bool:
  try:
    with socket.create_connection((host.strip('[]'), port), timeout=5):
      return True
  except OSError:
    return False


def leave(status: int, reason: str) -> None:
  """Ends this process, which cannot go on, with a word to the others, which would wait for it; a
  process alone stays.

  Left to itself, jax would have all of them abort, each with a stack trace of its own.
  """
  if hosts.count() == 1:
    return
  with contextlib.suppress(Exception):  # another one was first, or process 0 is gone
    hosts.client().key_value_set(_FAILED, json.dumps([hosts.number(), reason]))
  whose, reason = json.loads(hosts.posted(_FAILED) or json.dumps([hosts.number(), reason]))
  if whose != hosts.number():  # what went wrong here came of that
    _tell_of(whose, reason)
  _end(status)


def _look_after_others(over: threading.Event) -> None:
  """Ends this process some time after another has failed."""
  while not over.wait(_LOOK_SECONDS):
    failed = hosts.posted(_FAILED)
    if failed is None:
      continue
    whose, reason = json.loads(failed)
    if whose == hosts.number() or over.wait(_LEAVE_SECONDS):
      return
    _tell_of(whose, reason)
    _end(1)


def _tell_of(whose, reason):
  terminal.complain(
    f'Process {hosts.number()} ends because process {whose} has failed ({reason}). Start all '
    'of them again to continue.'
  )


def _end(status: int) -> None:
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(Exception):  # closed, full or absent
      stream.flush()
  with contextlib.suppress(Exception):
    if hosts.is_first():  # it keeps what all of them say, so it goes last
      for other in range(1, hosts.count()):
        hosts.client().blocking_key_value_get(f'{_LEFT}/{other}', (_LEAVE_SECONDS + 5) * 1000)
      time.sleep(_LOOK_SECONDS)  # between its word and its end no process may find the store gone
    else:
      hosts.client().key_value_set(f'{_LEFT}/{hosts.number()}', '', allow_overwrite=True)
  os._exit(status)

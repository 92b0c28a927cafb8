"""Several processes, one a host or one an accelerator: joining them, and what they must tell each other.

All of them run the same program on the same mesh. Only the first one, process 0, touches the work dir and speaks; what it read
or decided and what the others need to know for doing the same goes through the key-value store that jax.distributed keeps for its
own purposes. No method, family or flow knows of this module. In a single process every function here is trivial.
"""

import atexit
import contextlib
import importlib.util
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxdistill.errors import UserError

JOIN_SECONDS = 300
# Until a process that has vanished without a word counts as dead, which ends the others.
_HEARTBEAT_SECONDS = 30
_SHUTDOWN_SECONDS = 15
# What one process may need longer than another (to read data, to compile) before the others give it up.
_WAIT_SECONDS = 1800
# Once one has failed: until another that has not ended by itself is ended, as it waits in vain.
_LEAVE_SECONDS = 10
_LOOK_SECONDS = 1
# How often the processes settle whether to stop or to save: seldom, because it costs a message, and soon enough for who waits.
_SETTLE_SECONDS = 0.25
_BLOCK = 256
_PREFIX = 'jaxdistill'
_STOP = f'{_PREFIX}/stop'
_FAILED, _LEFT = f'{_PREFIX}/failed', f'{_PREFIX}/left'

_number = 0  # of messages so far; the same in all processes, as they run the same program


def join(coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None,
         seconds: int = JOIN_SECONDS) -> None:
  """Joins this process to the others of its job, before anything is computed; alone where there are none.

  Without arguments the others are found on Slurm (a step of several tasks) and on Cloud TPU; else the three arguments tell.

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
  with _Patience(given, seconds):
    try:
      jax.distributed.initialize(
          coordinator, num_processes, process_id, initialization_timeout=seconds + 60,
          heartbeat_timeout_seconds=_HEARTBEAT_SECONDS, shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
          cluster_detection_method='slurm' if coordinator is None and _in_slurm() else None)
    except ValueError:
      if coordinator is not None or _in_slurm():
        raise
      # A TPU machine without others: jax found no coordinator.
  if count() > 1:
    over = threading.Event()
    threading.Thread(target=_look_after_others, args=(over,), daemon=True).start()
    atexit.register(over.set)


def _check(coordinator, num_processes, process_id):
  if None in (coordinator, num_processes, process_id):
    raise UserError('Several processes need all three of --coordinator=HOST:PORT, --num_processes and --process_id; '
                    'on Cloud TPU and Slurm none of them.')
  if not 0 <= process_id < num_processes:
    raise UserError(f'--process_id={process_id} must be from 0 to {num_processes - 1}, with --num_processes={num_processes}.')
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
  """Ends the process with a sentence when the others do not come; jax itself would end it with a stack trace."""

  def __init__(self, given, seconds):
    self._given, self._seconds = given, seconds
    self._joined = threading.Event()

  def __enter__(self):
    threading.Thread(target=self._watch, daemon=True).start()

  def __exit__(self, *error):
    self._joined.set()

  def _watch(self):
    if not self._joined.wait(self._seconds):
      print(f'error: {missing_text(*self._given, self._seconds)}', file=sys.stderr, flush=True)
      os._exit(2)


def missing_text(coordinator: str | None, num_processes: int | None, process_id: int | None, seconds: float) -> str:
  """Returns the sentence about processes that did not come.

  >>> missing_text('localhost:1', 4, 0, 60)
  'After 60 s not all of the 4 processes are here; process 0 waits at localhost:1. Start every one of them, with the same ...
  """
  if coordinator is None:
    return (f'After {seconds:g} s not all processes of this job have found each other. See that each of its tasks or hosts '
            'runs this command, and that they reach each other over the network.')
  told = f'After {seconds:g} s not all of the {num_processes} processes are here; '
  host, _, port = coordinator.rpartition(':')
  if process_id == 0:
    told += f'process 0 waits at {coordinator}.'
  elif _answers(host, int(port)):
    told += f'process 0 answers at {coordinator}, another is missing.'
  else:
    told += f'nothing answers at {coordinator}, where process 0 should be.'
  return f'{told} Start every one of them, with the same --coordinator and --num_processes and its own --process_id.'


def _answers(host, port) -> bool:
  try:
    with socket.create_connection((host.strip('[]'), port), timeout=5):
      return True
  except OSError:
    return False


def leave(status: int, reason: str) -> None:
  """Ends this process, which cannot go on, with a word to the others, which would wait for it; a process alone stays.

  Left to itself, jax would have all of them abort, each with a stack trace of its own.
  """
  if count() == 1:
    return
  with contextlib.suppress(Exception):  # another one was first, or process 0 is gone
    _client().key_value_set(_FAILED, json.dumps([number(), reason]))
  whose, reason = json.loads(_posted(_FAILED) or json.dumps([number(), reason]))
  if whose != number():  # what went wrong here came of that
    _tell_of(whose, reason)
  _end(status)


def _look_after_others(over: threading.Event) -> None:
  """Ends this process some time after another has failed."""
  while not over.wait(_LOOK_SECONDS):
    failed = _posted(_FAILED)
    if failed is None:
      continue
    whose, reason = json.loads(failed)
    if whose == number() or over.wait(_LEAVE_SECONDS):
      return
    _tell_of(whose, reason)
    _end(1)


def _tell_of(whose, reason):
  print(f'Process {number()} ends because process {whose} has failed ({reason}). Start all of them again to continue.',
        file=sys.stderr)


def _end(status: int) -> None:
  sys.stdout.flush()
  sys.stderr.flush()
  with contextlib.suppress(Exception):
    if is_first():  # it keeps what all of them say, so it goes last
      for other in range(1, count()):
        _client().blocking_key_value_get(f'{_LEFT}/{other}', (_LEAVE_SECONDS + 5) * 1000)
    else:
      _client().key_value_set(f'{_LEFT}/{number()}', '', allow_overwrite=True)
  os._exit(status)


def count() -> int:
  """Returns the number of processes.

  >>> count(), number(), is_first()
  (1, 0, True)
  """
  return jax.process_count() if jax.distributed.is_initialized() else 1


def number() -> int:
  """Returns which process this is, from 0."""
  return jax.process_index() if jax.distributed.is_initialized() else 0


def is_first() -> bool:
  """Whether this is the process that writes and speaks."""
  return number() == 0


def first(what: str, fn: Callable[[], Any]) -> Any:
  """Returns fn() of the first process in all of them; a UserError that it raises there is raised in all.

  All processes must come here in the same order. `what` names the place, for the message when they do not; the value must fit
  into JSON.

  >>> first('answer', lambda: 42)
  42
  """
  if count() == 1:
    return fn()
  key = _next_key()
  if is_first():
    try:
      value, error = fn(), None
    except UserError as caught:
      value, error = None, caught
    _client().key_value_set(key, json.dumps([what, value, error and str(error)]))
    if error:
      raise error
    return value
  told, value, error = json.loads(_get(key, what, 0))
  if told != what:
    raise RuntimeError(f'The processes are at different places: process {number()} at {what!r}, process 0 at {told!r}.')
  if error:
    raise UserError(error)
  return value


def collect(what: str, value: Any) -> list[Any]:
  """Returns the values that all processes give, in their order, in all of them.

  >>> collect('answer', 42)
  [42]
  """
  if count() == 1:
    return [value]
  key = _next_key()
  _client().key_value_set(f'{key}/{number()}', json.dumps(value))
  return [json.loads(_get(f'{key}/{i}', what, i)) for i in range(count())]


def arrays(tree: Any) -> Any:
  """Returns the arrays (numpy) of the first process in all of them; the others pass arrays of the same shapes and types."""
  if count() == 1:
    return tree
  from jax.experimental import multihost_utils
  # As bytes, because float64 and int64 do not survive jax's default types.
  packed = jax.tree.map(lambda leaf: np.ascontiguousarray(leaf).reshape(-1).view(np.uint8), tree)
  sent = multihost_utils.broadcast_one_to_all(packed)
  return jax.tree.map(lambda new, old: np.asarray(new).view(np.asarray(old).dtype).reshape(np.shape(old)), sent, tree)


def content(what: str, read: Callable[[], bytes | None]) -> bytes | None:
  """Returns the bytes that the first process reads (None: there are none) in all of them; errors and order as for `first`.

  >>> content('file', lambda: b'abc')
  b'abc'
  """
  if count() == 1:
    return read()
  found = []

  def measure():
    found.append(read())
    return None if found[0] is None else len(found[0])

  size = first(what, measure)
  if size is None:
    return None
  return arrays(np.frombuffer(found[0], np.uint8) if is_first() else np.zeros(size, np.uint8)).tobytes()


def _client():
  # jax has no public way to its own key-value store; orbax takes this one too.
  from jax._src import distributed
  return distributed.global_state.client


def _next_key() -> str:
  """Returns the name of the next message; now and then waits for all, so that old messages can go."""
  global _number
  block, _number = divmod(_number, _BLOCK)[0], _number + 1
  if block and _number % _BLOCK == 1:
    _wait(f'{_PREFIX}/block{block}')
    if is_first():
      _client().key_value_delete(f'{_PREFIX}/{block - 1}/')
  return f'{_PREFIX}/{block}/{_number}'


def _wait(name):
  try:
    _client().wait_at_barrier(name, _WAIT_SECONDS * 1000)
  except Exception as error:
    raise RuntimeError(f'Process {number()} waited {_WAIT_SECONDS} s for the others ({error}).') from error


def _get(key, what, whose):
  try:
    return _client().blocking_key_value_get(key, _WAIT_SECONDS * 1000)
  except Exception as error:  # whatever jaxlib raises for a time limit or a lost connection
    raise RuntimeError(f'Process {number()} waited in vain for process {whose} at {what!r} ({error}).') from error


class Settling:
  """Whether to stop and whether to save, settled between the processes such that all do it after the same call.

  Any process may have got a signal, and clocks differ: the first process decides, about four times a second, and tells the
  others how many calls later it decides again; in between nothing is exchanged. A single process does what it wants at once.

  >>> Settling().settle(0, 'SIGTERM', False)
  ('SIGTERM', False)
  """

  def __init__(self):
    self._at, self._every, self._since = 0, 1, time.monotonic()

  def settle(self, call: int, stop: str | None, save: bool) -> tuple[str | None, bool]:
    """Returns what holds for all, from what this process wants: the name of a signal (or None), and whether to save.

    `call` counts the compiled calls of the phase in this process.
    """
    if count() == 1:
      return stop, save
    if call < self._at:
      return None, False
    if stop and not is_first():
      _client().key_value_set(_STOP, stop, allow_overwrite=True)
    stop, save, self._every = first('settling', lambda: self._decide(stop, save))
    self._at = call + self._every
    return stop, save

  def _decide(self, stop, save):
    now = time.monotonic()
    fitting = int(self._every * _SETTLE_SECONDS / max(now - self._since, 1e-6))
    self._since = now
    return [stop or _posted(_STOP), save, min(max(fitting, 1), 2 * self._every)]


def _posted(key) -> str | None:
  try:
    return _client().key_value_try_get(key)
  except Exception:  # jaxlib's own type for a key that is not there
    return None

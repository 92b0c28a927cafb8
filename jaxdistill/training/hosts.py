"""Several processes, one a host or one an accelerator: what they must tell each other (see `job`
for how they join).

All of them run the same program on the same mesh. Only the first one, process 0, touches the work
dir and speaks; what it read or decided and what the others need to know for doing the same goes
through the key-value store that jax.distributed keeps for its own purposes. No method, family or
flow knows of this module. In a single process every function here is trivial.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxdistill.errors import UserError

# What one process may need longer than another (to read data, to compile) before the others give it
# up.
_WAIT_SECONDS = 1800
# How often the processes settle whether to stop or to save: seldom, because it costs a message, and
# soon enough for who waits.
_SETTLE_SECONDS = 0.25
_BLOCK = 256
PREFIX = 'jaxdistill'
_STOP = f'{PREFIX}/stop'

_number = 0  # of messages so far; the same in all processes, as they run the same program


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
  """Returns fn() of the first process in all of them; a UserError that it raises there is raised in
  all.

  All processes must come here in the same order. `what` names the place, for the message when they
  do not; the value must fit into JSON.

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
    client().key_value_set(key, json.dumps([what, value, error and str(error)]))
    if error:
      raise error
    return value
  told, value, error = json.loads(_get(key, what, 0))
  if told != what:
    raise RuntimeError(
      f'The processes are at different places: process {number()} at {what!r}, process 0 at '
      f'{told!r}.'
    )
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
  client().key_value_set(f'{key}/{number()}', json.dumps(value))
  return [json.loads(_get(f'{key}/{i}', what, i)) for i in range(count())]


def arrays(tree: Any) -> Any:
  """Returns the arrays (numpy) of the first process in all of them; the others pass arrays of the
  same shapes and types."""
  if count() == 1:
    return tree
  from jax.experimental import multihost_utils

  # As bytes, because float64 and int64 do not survive jax's default types.
  packed = jax.tree.map(lambda leaf: np.ascontiguousarray(leaf).reshape(-1).view(np.uint8), tree)
  sent = multihost_utils.broadcast_one_to_all(packed)
  return jax.tree.map(
    lambda new, old: np.asarray(new).view(np.asarray(old).dtype).reshape(np.shape(old)), sent, tree
  )


def content(what: str, read: Callable[[], bytes | None]) -> bytes | None:
  """Returns the bytes that the first process reads (None: there are none) in all of them; errors
  and order as for `first`.

  >>> content('file', lambda: b'abc')
  b'abc'
  """
  if count() == 1:
    return read()
  contents = []

  def measure():
    contents.append(read())
    return None if contents[0] is None else len(contents[0])

  size = first(what, measure)
  if size is None:
    return None
  return arrays(
    np.frombuffer(contents[0], np.uint8) if is_first() else np.zeros(size, np.uint8)
  ).tobytes()


def client() -> Any:
  """Returns jax's key-value store, which all processes share."""
  # jax has no public way to its own key-value store; orbax takes this one too.
  from jax._src import distributed

  return distributed.global_state.client


def _next_key() -> str:
  """Returns the name of the next message; now and then waits for all, so that old messages can
  go."""
  global _number
  block, _number = divmod(_number, _BLOCK)[0], _number + 1
  if block and _number % _BLOCK == 1:
    _wait(f'{PREFIX}/block{block}')
    if is_first():
      client().key_value_delete(f'{PREFIX}/{block - 1}/')
  return f'{PREFIX}/{block}/{_number}'


def _wait(name):
  try:
    client().wait_at_barrier(name, _WAIT_SECONDS * 1000)
  except Exception as error:
    raise RuntimeError(
      f'Process {number()} waited {_WAIT_SECONDS} s for the others ({error}).'
    ) from error


def _get(key, what, whose):
  try:
    return client().blocking_key_value_get(key, _WAIT_SECONDS * 1000)
  except Exception as error:  # whatever jaxlib raises for a time limit or a lost connection
    raise RuntimeError(
      f'Process {number()} waited in vain for process {whose} at {what!r} ({error}).'
    ) from error


class Settling:
  """Whether to stop and whether to save, settled between the processes such that all do it after
  the same call.

  Any process may have got a signal, and clocks differ: the first process decides, about four times
  a second, and tells the others how many calls later it decides again; in between nothing is
  exchanged. A single process does what it wants at once.

  >>> Settling().settle(0, 'SIGTERM', False)
  ('SIGTERM', False)
  """

  def __init__(self):
    self._at, self._every, self._since = 0, 1, time.monotonic()

  def settle(self, call: int, stop: str | None, save: bool) -> tuple[str | None, bool]:
    """Returns what holds for all, from what this process wants: the name of a signal (or None), and
    whether to save.

    `call` counts the compiled calls of the phase in this process.
    """
    if count() == 1:
      return stop, save
    if call < self._at:
      return None, False
    if stop and not is_first():
      client().key_value_set(_STOP, stop, allow_overwrite=True)
    stop, save, self._every = first('settling', lambda: self._decide(stop, save))
    self._at = call + self._every
    return stop, save

  def _decide(self, stop, save):
    now = time.monotonic()
    fitting = int(self._every * _SETTLE_SECONDS / max(now - self._since, 1e-6))
    self._since = now
    return [stop or posted(_STOP), save, min(max(fitting, 1), 2 * self._every)]


def posted(key: str) -> str | None:
  """Returns the text that some process has put under a key, None where none has yet."""
  try:
    return client().key_value_try_get(key)
  except Exception:  # jaxlib's own type for a key that is not there
    return None

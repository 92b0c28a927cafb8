"""The guard of a command's process: a thread that ends it after a signal which the main thread does
not come to answer.

While the main thread is in compiled code, for minutes where XLA compiles, Python runs no handler;
code that waits for something may never look. The system wakes this thread at the signal itself. It
gives the main thread a moment to save and unwind, which is the better end; then it ends the process
by os._exit, which touches nothing that other threads compute with. Such an end loses what SIGKILL
would lose: every file is whole or absent, and the next start goes on from the last checkpoint. So
it waits where that would lose work, and it leaves a job of several processes alone, since they stop
together.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time

from jaxdistill import terminal
from jaxdistill.training import interrupt

# For the main thread to look, from the signal on (our choice, as the next one).
SECONDS = 2.0
# The same where work is unsaved, from the return of the call on that was under way: an evaluation
# looks after each of its calls. And for the way out, but for what it saves on that.
UNSAVED_SECONDS = 20.0
# `timeout` and some schedulers send a signal to a process and to its group: one Ctrl-C, not two.
_TWICE_SECONDS = 0.3
_LOOK_SECONDS = 0.1
FLUSH_SECONDS = 1.0


def start() -> None:
  """Remembers signals to the end of the process, and starts the thread."""
  if threading.current_thread() is not threading.main_thread():
    return
  read, write = os.pipe()
  os.set_blocking(write, False)
  signal.set_wakeup_fd(write, warn_on_full_buffer=False)
  interrupt.install()
  threading.Thread(target=_watch, args=(read,), name='signals', daemon=True).start()


def _watch(pipe: int) -> None:
  since = None
  while True:
    wait = None if since is None else _LOOK_SECONDS
    ready, _, _ = select.select([pipe], [], [], wait)
    for number in os.read(pipe, 4096) if ready else b'':
      if number == getattr(signal, 'SIGHUP', None):
        _let_go_of_terminal()
      if interrupt.state.handed is not None or not interrupt.is_ours(number):
        continue
      now = time.monotonic()
      if since is None:
        since = now
        interrupt.remember(number)
        if number == signal.SIGINT:
          interrupt.announce()
      elif number == signal.SIGINT and now - since > _TWICE_SECONDS:
        leave(number)
    if since is not None and overdue(interrupt.state, since, time.monotonic()):
      leave(interrupt.state.number)


def overdue(state: interrupt.State, since: float, now: float) -> bool:
  """Whether the main thread has had its time.

  Args:
    state: of the signals of this process.
    since: when the signal came, on the clock of time.monotonic().
    now: on the same clock.

  >>> state = interrupt.State()
  >>> overdue(state, 10.0, 11.0), overdue(state, 10.0, 13.0)
  (False, True)
  """
  if state.handed is not None or state.joined or state.saving:
    return False
  if state.answered is not None:
    return now - state.answered > UNSAVED_SECONDS
  if any(map(_loses, list(state.unsaved))):
    return state.returned is not None and now - state.returned > UNSAVED_SECONDS
  return now - since > SECONDS


def _loses(unsaved) -> bool:
  try:
    return unsaved()
  except Exception:  # the main thread is just changing what it looks at
    return True


def leave(number: int) -> None:
  """Ends the process now, with the status and the last sentence of a signal."""
  status, sentence = interrupt.ending(number)
  flush(FLUSH_SECONDS)
  interrupt.tell(sentence)
  os._exit(status)


def _let_go_of_terminal():
  """Sends what is still printed nowhere if the terminal is closed, where every print would fail and
  be an error of its own on the way to a save."""
  for file in (1, 2):
    try:
      os.write(file, b'')
    except OSError:
      terminal.let_go(file)


def flush(seconds: float | None = None) -> None:
  """Writes out what was printed, in at most so many seconds: the reader of a pipe may not read."""
  thread = threading.Thread(target=_flush, daemon=True)
  thread.start()
  thread.join(seconds)


def _flush():
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(Exception):  # closed, gone, or inside a print of its own
      stream.flush()

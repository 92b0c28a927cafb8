"""SIGTERM and Ctrl-C: remembered while a step runs, acted on between two steps."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: a scheduler may start the same command again.


class Interrupted(SystemExit):
  """Raised after a signal, when the state has been saved; ends the program with exit code 75.

  >>> error = Interrupted('Stopped at step 10.')
  >>> error.code, str(error)
  (75, 'Stopped at step 10.')
  """

  def __init__(self, message: str):
    super().__init__(message)
    self.code = EXIT_CODE
    self.message = message

  def __str__(self) -> str:
    return self.message


class Terminated(KeyboardInterrupt):
  """SIGTERM where no phase is under way; it unwinds the program as Ctrl-C does.

  >>> issubclass(Terminated, KeyboardInterrupt)
  True
  """


def name_of(stop: KeyboardInterrupt) -> str:
  """Returns what stopped the program, for people.

  >>> name_of(Terminated()), name_of(KeyboardInterrupt())
  ('SIGTERM', 'Ctrl-C')
  """
  return 'SIGTERM' if isinstance(stop, Terminated) else 'Ctrl-C'


@contextlib.contextmanager
def termination_unwinds() -> Iterator[None]:
  """Makes SIGTERM raise `Terminated` inside the block, but for phases, which save first
  (`Watch`)."""
  came = []

  def stop(number, frame):
    del frame
    came.append(number)
    raise Terminated

  with _handlers((signal.SIGTERM,), stop):
    try:
      yield
    except Exception as error:
      # Compiled code, such as a module that is just being imported, makes an error of its own of
      # what is raised in it.
      if came:
        raise Terminated from error
      raise


@contextlib.contextmanager
def _handlers(numbers, handler) -> Iterator[None]:
  """Installs a handler for some signals; outside the main thread Python allows none, and they keep
  their effect."""
  before = {}
  try:
    if threading.current_thread() is threading.main_thread():
      for number in numbers:
        before[number] = signal.signal(number, handler)
    yield
  finally:
    for number, old in before.items():
      signal.signal(number, old)


class Watch:
  """Remembers a stop signal instead of letting it tear a step apart.

  `requested` is the name of the signal that has arrived, or None. A second Ctrl-C raises
  KeyboardInterrupt at once. Blocks may be nested (a phase may train networks of its own while it
  evaluates): the outermost one installs and removes the handlers. Outside the main thread Python
  allows no handlers, and signals keep their usual effect.
  """

  def __init__(self):
    self.requested: str | None = None
    self._depth = 0

  @contextlib.contextmanager
  def watching(self, enabled: bool = True) -> Iterator[None]:
    """Catches SIGTERM and SIGINT inside the block."""
    install = enabled and self._depth == 0
    self._depth += 1
    try:
      with _handlers((signal.SIGTERM, signal.SIGINT) if install else (), self._remember):
        yield
    finally:
      self._depth -= 1

  def _remember(self, number, frame):
    del frame
    if number == signal.SIGINT and self.requested is not None:
      raise KeyboardInterrupt
    if number == signal.SIGINT:
      # Straight to the terminal: a print could be inside another print.
      os.write(2, b'\nStopping after the step under way, to save; Ctrl-C again stops at once.\n')
    self.requested = 'Ctrl-C' if number == signal.SIGINT else signal.Signals(number).name

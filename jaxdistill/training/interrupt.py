"""SIGINT, SIGTERM and SIGHUP: remembered when they come, answered where a call has returned.

Python runs a handler between any two instructions of the main thread, also of those that compiled
code calls back. What is raised there goes through that code, XLA's while it compiles or that of a
module which is just being imported, and ends as a segmentation fault or as another error. So a
handler here remembers the signal and does nothing else. The main thread looks (`check`, and the
loop before each of its calls), saves what there is to save and unwinds. In a process that is a
command's alone the thread of `guard` looks too, for when the main thread does not come to it.

Who calls the library from a program of his own keeps his handlers: Ctrl-C is a KeyboardInterrupt.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: a scheduler may start the same command again.
_NUMBERS = tuple(
  getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name)
)
BEFORE = 'before the run began; nothing was written'


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
  """SIGTERM or SIGHUP where no phase is under way; it unwinds the program as Ctrl-C does.

  >>> issubclass(Terminated, KeyboardInterrupt)
  True
  """

  def __init__(self, number: int = signal.SIGTERM):
    super().__init__()
    self.number = number


class AtOnce(KeyboardInterrupt):
  """The second Ctrl-C: nothing more is saved."""


class State:
  """What this process knows of its signals.

  Attributes:
    number: of the first signal that is not answered yet.
    returned: when the handler ran, which the call then under way must have returned for.
    answered: when the main thread has seen it and went on its way out, or has last saved something
      on that.
    active: whether the handlers are installed.
    for_good: whether the process is a command's alone, which a second Ctrl-C ends at once.
    joined: whether this is one of several processes, none of which may leave the others.
    together: whether they settle among themselves where they stop.
    saving: how many saves are under way, which take as long as they take.
    handed: collects the signals that a command hands on to its children, None elsewhere.
    ending: exit status (None: 128 + the signal) and what the last sentence says after the signal.
    unsaved: tell whether there is something that an end without saving loses.
  """

  def __init__(self):
    self.number: int | None = None
    self.returned: float | None = None
    self.answered: float | None = None
    self.active = self.for_good = self.joined = self.together = False
    self.saving = 0
    self.handed: list[int] | None = None
    self.ending: tuple[int | None, Callable[[], str]] = (None, lambda: f' {BEFORE}')
    self.unsaved: list[Callable[[], bool]] = []

  def forget(self) -> int | None:
    """Forgets the signal; returns it if it was not answered."""
    number = self.number if self.answered is None else None
    self.number = self.returned = self.answered = None
    return number


state = State()


# What is remembered.


@contextlib.contextmanager
def remembering(enabled: bool = True) -> Iterator[None]:
  """Remembers signals inside the block, which its end answers: `Interrupted` and KeyboardInterrupt
  answer a signal; one that none has come of goes to the handler of before.

  The outermost block installs the handlers. Outside the main thread Python allows none, and signals
  keep their usual effect; so they do without `enabled`.
  """
  main = threading.current_thread() is threading.main_thread()
  if state.active or not enabled or not main:
    yield
    return
  before, late = {}, None
  state.active = True
  try:
    before.update(_install())
    yield
    late = state.forget()
  except BaseException as error:
    late = state.forget()
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
      late = None
    raise
  finally:
    state.active = False
    for number, handler in before.items():
      signal.signal(number, handler)
    if late is not None:
      signal.raise_signal(late)


def install() -> None:
  """Remembers signals from now to the end of the process, which is a command's alone."""
  state.active = state.for_good = True
  _install()
  if hasattr(signal, 'pthread_sigmask'):  # what `blocked` has kept back until now
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NUMBERS)


@contextlib.contextmanager
def blocked() -> Iterator[None]:
  """Blocks signals for a command's process that is started inside the block, until it remembers
  them.

  While Python itself starts, for less than a tenth of a second, it answers a signal by -2, -15 or,
  where it loads its modules, 1.
  """
  if not hasattr(signal, 'pthread_sigmask'):
    yield
    return
  before = signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def join() -> None:
  """Says that this is now one of several processes; puts the handlers back, whose place a library
  may have taken for it."""
  state.joined = True
  if state.active and threading.current_thread() is threading.main_thread():
    _install()


def _install() -> dict[int, object]:
  """Installs the handlers; returns those of before."""
  before = {}
  for number in _NUMBERS:
    # nohup ignores SIGHUP, and means it. A shell ignores SIGINT for what it starts in the
    # background, where nobody can press Ctrl-C: a SIGINT that comes there was sent on purpose.
    if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) != signal.SIG_IGN:
      before[number] = signal.signal(number, _handle)
  return {number: handler for number, handler in before.items() if handler is not None}


def _handle(number, frame):
  del frame
  if state.handed is not None:
    state.handed.append(number)
    return
  again = number == signal.SIGINT and state.number is not None
  remember(number)
  if state.returned is None:
    state.returned = time.monotonic()
  if state.for_good:
    return  # the guard speaks, and ends the process at the second Ctrl-C
  if again:
    raise AtOnce
  if number == signal.SIGINT:
    announce()


def is_ours(number: int) -> bool:
  """Whether a signal is one that is remembered here."""
  return number in _NUMBERS and signal.getsignal(number) is _handle


def remember(number: int) -> None:
  """Remembers a signal, unless an earlier one is under way."""
  if state.number is None:
    state.number = number


def announce() -> None:
  """Says that Ctrl-C has arrived."""
  tell('Stopping as soon as all is saved; Ctrl-C again stops at once.')


def tell(sentence: str) -> None:
  """Writes a line straight to the terminal, as a print could be inside another print; nothing where
  that would have to wait for a reader."""
  with contextlib.suppress(OSError):
    if select.select([], [2], [], 0)[1]:
      os.write(2, f'\n{sentence}\n'.encode(errors='replace'))


# What is done about it.


def requested() -> str | None:
  """Returns the name of the signal that has arrived and waits for an answer, or None.

  >>> requested() is None
  True
  """
  return None if state.number is None else _name(state.number)


def check() -> None:
  """Raises KeyboardInterrupt or `Terminated` if a signal has arrived.

  For places where nothing compiled is under way, after calls that take long. Of several processes
  none may leave the others: inside `together` this does nothing.
  """
  if state.number is not None and not state.together:
    answer()
    raise KeyboardInterrupt if state.number == signal.SIGINT else Terminated(state.number)


def answer() -> None:
  """Says that the main thread has seen the signal and is on its way out."""
  state.answered = time.monotonic()


@contextlib.contextmanager
def together(enabled: bool = True) -> Iterator[None]:
  """Inside the block the phases of several processes settle where all stop, and `check` is
  silent."""
  before, state.together = state.together, state.together or enabled
  try:
    yield
  finally:
    state.together = before


@contextlib.contextmanager
def handed_on() -> Iterator[list[int]]:
  """Collects the signals of the block in a list, for a command that hands them on to its
  children."""
  with remembering():
    check()
    state.handed = []
    try:
      yield state.handed
    finally:
      state.handed = None


@contextlib.contextmanager
def holding(unsaved: Callable[[], bool]) -> Iterator[None]:
  """Inside the block an end without saving may lose something: `unsaved` tells whether."""
  state.unsaved.append(unsaved)
  try:
    yield
  finally:
    state.unsaved.remove(unsaved)


@contextlib.contextmanager
def saving() -> Iterator[None]:
  """Inside the block something is saved, whose end is worth waiting for."""
  state.saving += 1
  try:
    yield
  finally:
    state.saving -= 1
    if state.answered is not None:
      answer()


# What the end says.


@contextlib.contextmanager
def command(stopped: str) -> Iterator[None]:
  """Inside the block a stop ends with 128 + the signal and 'Stopped by SIGNAL {stopped}.', until
  `begun`."""
  before, state.ending = state.ending, (None, lambda: f' {stopped}')
  try:
    yield
  finally:
    if not state.for_good:  # else it holds for what comes after the command, to the process's end
      state.ending = before


def begun(what: str | Callable[[], str]) -> None:
  """From here on a stop ends with status 75 and 'Stopped by SIGNAL{what}.', until the end of the
  command."""
  state.ending = (EXIT_CODE, what if callable(what) else lambda: what)


def ending(number: int) -> tuple[int, str]:
  """Returns the exit status and the last sentence of a process that a signal stops now.

  >>> with command('before it began'):
  ...   ending(signal.SIGTERM)
  (143, 'Stopped by SIGTERM before it began.')
  """
  status, what = state.ending
  return 128 + number if status is None else status, f'Stopped by {_name(number)}{what()}.'


def number_of(stop: KeyboardInterrupt) -> int:
  """Returns the signal that an exception stands for.

  >>> number_of(Terminated()), number_of(KeyboardInterrupt())
  (15, 2)
  """
  return int(stop.number if isinstance(stop, Terminated) else signal.SIGINT)


def name_of(stop: KeyboardInterrupt) -> str:
  """Returns what stopped the program, for people.

  >>> name_of(Terminated()), name_of(KeyboardInterrupt())
  ('SIGTERM', 'Ctrl-C')
  """
  return _name(number_of(stop))


def _name(number: int) -> str:
  return 'Ctrl-C' if number == signal.SIGINT else signal.Signals(number).name


def _after_fork():
  """A forked child is not the command: signals have their usual effect on it."""
  if state.active:
    state.__init__()
    signal.set_wakeup_fd(-1)
    for number in _NUMBERS:
      if signal.getsignal(number) is _handle:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual)


if hasattr(os, 'register_at_fork'):
  os.register_at_fork(after_in_child=_after_fork)

"""One progress bar a phase: steps, rate, time left, loss. Lines instead of a bar where nobody
watches a terminal."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping

from jaxdistill import terminal
from jaxdistill.report import numbers

REFRESH_SECONDS = 0.2
LINE_SECONDS = 30.0
# tqdm's own rate would count what `Bar` leaves out.
_BAR = '{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]'


def _sizeless() -> bool:
  """Whether the terminal does not tell its size, as in some containers; tqdm would draw empty lines
  there."""
  try:
    return os.get_terminal_size(sys.stderr.fileno()).columns == 0
  except (OSError, ValueError, AttributeError):  # not a terminal: a notebook
    return False


class Job:
  """Time left of a job of several parts: what they were expected to take, corrected by how long the
  finished ones took, both without compiling, which is not the same for every part.

  >>> job = Job({'first': 10.0, 'second': 20.0, 'third': 20.0})
  >>> job.finish('first', 20.0)
  >>> job.left, job.line()
  (80.0, '1 of 3 parts done, about 1 min 20 s left')
  """

  def __init__(self, expected: Mapping[str, float]):
    self.expected = dict(expected)
    self.taken: dict[str, float | None] = {}

  def finish(self, name: str, seconds: float | None) -> None:
    """Tells that a part is done and what it took; None for one that an earlier start has done."""
    self.taken[name] = seconds

  @property
  def left(self) -> float:
    """Seconds."""
    timed = {name: seconds for name, seconds in self.taken.items() if seconds is not None}
    finished = sum(self.expected[name] for name in timed)
    pace = sum(timed.values()) / finished if finished else 1.0
    return pace * sum(seconds for name, seconds in self.expected.items() if name not in self.taken)

  def line(self) -> str:
    """Returns the state as one line of text."""
    done, total = len(self.taken), len(self.expected)
    return f'{done} of {total} parts done' + (
      f', about {numbers.seconds(self.left)} left' if done < total else ''
    )


class Bar:
  """Progress of one phase from `done` to `total` steps.

  The rate is that of the steps after the first update, which tells that the first call has come to
  its end: before it lie reading, compiling and the call itself, of which the steps to come need
  nothing. `leave_out` takes out more of this kind.

  >>> bar = Bar('condense', 1000, enabled=False)
  >>> bar.update(10, 0.5)
  >>> bar.close()
  """

  def __init__(
    self,
    name: str,
    total: int,
    done: int = 0,
    *,
    enabled: bool = True,
    say: Callable[[str], None] = terminal.line,
    clock: Callable[[], float] = time.monotonic,
  ):
    self.name, self.total, self.first, self.done = name, total, done, done
    self._say, self._clock = say, clock
    self._shown = clock()
    self._started: float | None = None  # the rate counts from this time and from `first`
    self._enabled = enabled
    self._bar = None
    if enabled and terminal.watched():
      from tqdm import auto

      size = {'ncols': 80, 'nrows': 24} if _sizeless() else {'dynamic_ncols': True}
      with contextlib.suppress(OSError, ValueError):  # the terminal is gone
        self._bar = auto.tqdm(
          total=total, initial=done, desc=name, mininterval=0, bar_format=_BAR, **size
        )

  def update(self, done: int, loss: float | None = None) -> None:
    """Tells that `done` steps are finished; draws only now and then."""
    self.done = done
    if not self._enabled:
      return
    now = self._clock()
    if self._started is None:
      self.first, self._started = done, now
    if now - self._shown >= (REFRESH_SECONDS if self._bar is not None else LINE_SECONDS):
      self._shown = now
      self._draw(loss, now)

  def _draw(self, loss, now):
    if self._bar is None:
      self._say(self.line(loss, now))
      return
    with contextlib.suppress(OSError, ValueError):
      self._bar.set_postfix_str(self._pace(loss, now), refresh=False)
      self._bar.update(self.done - self._bar.n)

  def line(self, loss: float | None, now: float) -> str:
    """Returns the state as one line of text."""
    return f'{self.name}: {self.done:,} of {self.total:,} steps, {self._pace(loss, now)}'

  def _pace(self, loss, now) -> str:
    """The rate, the time left and the loss, as far as they are known."""
    rate = 0.0
    if self._started is not None:
      rate = (self.done - self.first) / max(now - self._started, 1e-9)
    text = f'{rate:.3g} steps/s'
    if rate > 0 and self.done < self.total:
      text += f', {numbers.seconds((self.total - self.done) / rate)} left'
    return text if loss is None else text + f', loss {loss:.4g}'

  def leave_out(self, seconds: float) -> None:
    """Takes time out of the rate that will not come again, such as compiling on the way."""
    if self._started is not None:
      self._started += seconds

  def close(self) -> None:
    """Draws the last state and leaves the screen in order."""
    if self._bar is not None:
      with contextlib.suppress(OSError, ValueError):
        self._bar.update(self.done - self._bar.n)
        self._bar.close()
      self._bar = None

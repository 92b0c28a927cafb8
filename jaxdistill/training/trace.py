"""Where the time of a phase goes: a trace of a few calls after the warm-up, and a table of its
operations."""

import collections
import pathlib
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax

from jaxdistill import files
from jaxdistill.report import numbers, tables

# The first calls compile, fill caches and come from a cold start.
_FIRST_CALL, _CALLS = 3, 5
_LISTED = 15

# The profiler knows one trace at a time; a phase within another one's evaluation goes without.
_under_way = False


class Operation(NamedTuple):
  """Operations of one kind: their name without numbers, how often they ran, and the seconds they
  took themselves."""

  name: str
  count: int
  seconds: float


class Trace:
  """Traces a few calls of a phase after the warm-up into DIRECTORY/NAME, for TensorBoard, XProf or
  Perfetto."""

  def __init__(self, directory: pathlib.Path, name: str):
    self.directory, self.name = directory / name, name
    self.calls, self.seconds, self._started = 0, 0.0, None

  def before_call(self, call: int, wait: Callable[[], Any]) -> None:
    """Starts or ends the trace when it is time; `wait` returns when the device has done all calls
    before."""
    global _under_way
    if call == _FIRST_CALL and not _under_way:
      wait()
      options = jax.profiler.ProfileOptions()
      options.python_tracer_level = 0
      jax.profiler.start_trace(str(self.directory), profiler_options=options)
      _under_way, self._started = True, time.perf_counter()
    elif self._started is not None:
      self.calls += 1
      if self.calls == _CALLS:
        wait()
        self._stop()

  def _stop(self):
    global _under_way
    self.seconds = time.perf_counter() - self._started
    jax.profiler.stop_trace()
    _under_way, self._started = False, None

  def close(self, run: Any) -> None:
    """Ends the trace if it is still open, prints the table and keeps it beside the trace as
    NAME.txt."""
    if self._started is not None:
      self.calls += 1
      self._stop()
    if self.calls:
      text = self.text()
      run.say(text)
      # Without a look for signals: the one that ended the phase would come once more, in the place
      # of what the phase says of it.
      run.write_bytes(f'profile/{self.name}.txt', files.encoded(f'{text}\n'), look=False)
      self.calls = 0

  def text(self) -> str:
    """Returns the table as text."""
    files = sorted(self.directory.rglob('*.xplane.pb'), key=lambda path: path.stat().st_mtime)
    timed = operations(jax.profiler.ProfileData.from_file(str(files[-1])).planes) if files else []
    return summary(self.name, timed, self.calls, self.seconds)


def summary(name: str, timed: list[Operation], calls: int, seconds: float) -> str:
  """Returns what a person reads: how long a call takes, and the operations that take most of it.

  >>> print(summary('train', [Operation('dot', 10, 0.75), Operation('tanh', 10, 0.25)], 5, 0.5))
  train: where the time goes. 5 calls took 0.50 s, 0.10 s each; their operations, over all ...
  Operation  Times   Total  Share
  ---------  -----  ------  -----
  dot           10  0.75 s  75.0%
  tanh          10  0.25 s  25.0%
  """
  total = sum(operation.seconds for operation in timed)
  head = (
    f'{name}: where the time goes. {calls} calls took {numbers.seconds(seconds)}, '
    f'{numbers.seconds(seconds / calls)} each; '
    f'their operations, over all devices and threads, {numbers.seconds(total)}.'
  )
  shown, rest = timed[:_LISTED], timed[_LISTED:]
  if rest:
    shown = [
      *shown,
      Operation(f'{len(rest)} others', sum(o.count for o in rest), sum(o.seconds for o in rest)),
    ]
  rows = [
    {**operation._asdict(), 'share': operation.seconds / max(total, 1e-12)} for operation in shown
  ]
  columns = [
    ('name', 'Operation'),
    ('count', 'Times', 'count'),
    ('seconds', 'Total', 'seconds'),
    ('share', 'Share', '.1%'),
  ]
  return (
    f'{head}\n{tables.text(rows, columns)}' if rows else f'{head} The backend names none of them.'
  )


def operations(planes: Iterable[Any], numbered: bool = False) -> list[Operation]:
  """Returns the compiled operations in the planes of a trace, the longest first; nested ones count
  for themselves alone.

  Args:
    planes: of a `jax.profiler.ProfileData`.
    numbered: whether operations keep the numbers in their names, as the program's text has them;
      else those of a kind count together.
  """
  counts, spent = collections.Counter(), collections.Counter()
  planes = list(planes)
  # What the host did for a GPU or TPU is no operation of theirs.
  for plane in [plane for plane in planes if _is_of(plane, 'GPU', 'TPU')] or planes:
    lines = list(plane.lines)
    listed = [
      line for line in lines if line.name == 'XLA Ops'
    ]  # TPU: by name; the lines beside it tell of the same time
    # What a GPU does outside of an operation that it knows, such as in a graph of kernels, has the
    # kernel's name.
    everything = bool(listed) or _is_of(plane, 'GPU')
    for line in listed or lines:
      for name, own in _own_times(_events(line, everything)):
        name = name if numbered else re.sub(r'([.]\d+|[.](clone|remat\d*))+$', '', name)
        counts[name] += 1
        spent[name] += own
  return [
    Operation(name, counts[name], nanoseconds / 1e9) for name, nanoseconds in spent.most_common()
  ]


def _is_of(plane, *kinds: str) -> bool:
  name = str(getattr(plane, 'name', ''))
  return name.startswith(tuple(f'/device:{kind}' for kind in kinds))


def _events(line, everything):
  """Yields (start, end, name) of the events of a line that are operations of a compiled program."""
  for event in line.events:
    name = dict(event.stats).get('hlo_op') or (event.name if everything else None)
    if str(name).startswith('command_buffer'):  # a graph of kernels: they have names of their own
      name = event.name
    if name and not event.name.startswith('end: '):
      yield event.start_ns, event.start_ns + event.duration_ns, _plain(str(name))


def _plain(name: str) -> str:
  """The name of an operation out of its line in a program, '%name = shape ...'."""
  return name.partition(' = ')[0].lstrip('%')


def _own_times(events):
  """Returns (name, nanoseconds without the events inside) of events on one line of time.

  An event that ends after another one does is not inside it: a GPU begins a kernel before the one
  ahead has quite ended.
  """
  own, open_ones = [], []
  for start, end, name in sorted(events, key=lambda event: (event[0], -event[1])):
    while open_ones and (open_ones[-1][0] <= start or open_ones[-1][0] < end):
      open_ones.pop()
    if open_ones:
      own[open_ones[-1][1]][1] -= end - start
    open_ones.append((end, len(own)))
    own.append([name, end - start])
  return own

"""metrics.jsonl and TensorBoard events: one line per logged interval, one per evaluation."""

import contextlib
import errno
import json
import math
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdistill import files

RESERVED = ('phase', 'step', 'kind', 'seconds')
_FLUSH_SECONDS = 30.0  # between two writes of TensorBoard events


class Records:
  """The lines of metrics.jsonl, in memory and (with a `path`) on disk.

  A line is a flat dict: phase, step, kind ('train' or 'evaluate'), seconds of the whole run, and
    the metrics.
  """

  def __init__(self, path: pathlib.Path | None):
    self.path = path
    self.lines: list[dict[str, Any]] = []
    self.damaged = 0  # lines that could not be read, but for one that was never finished
    self._file = None
    if path is not None and path.exists():
      self._read()

  def _read(self):
    *texts, rest = self.path.read_bytes().split(b'\n')
    for text in texts:
      if not self._take(text):
        self.damaged += 1
    # A process killed in the middle of a write leaves a part of a line.
    if rest:
      self._take(rest)
    if self.damaged or rest:
      self._rewrite()

  def _take(self, text: bytes) -> bool:
    """Adds the line of a text, if it is one."""
    try:
      line = files.read_json(text)
    except ValueError:
      return False
    if not _is_line(line):
      return False
    self.lines.append(line)
    return True

  def append(self, line: dict[str, Any]) -> None:
    """Adds a line; it is in the file (not only in a buffer) when this returns."""
    self.lines.append(line)
    if self.path is None:
      return
    if self._file is None:
      # Without a buffer, which a full disk would leave for the closing of the file to fail again
      # on.
      self._file = open(self.path, 'ab', buffering=0)
    if not os.fstat(
      self._file.fileno()
    ).st_nlink:  # deleted under our hands: what is written now is lost
      raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    encoded = _encode(line)
    if self._file.write(encoded) < len(encoded):
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  def drop(self, phase: str, after: int) -> None:
    """Removes the lines of a phase whose step is later than `after`."""
    kept = [line for line in self.lines if line['phase'] != phase or line['step'] <= after]
    if len(kept) != len(self.lines):
      self.lines = kept
      self._rewrite()

  def restore(self, phase: str, step: int, evaluations: list[dict[str, Any]]) -> None:
    """Brings the lines of a phase to what they were at `step`; its evaluations are those that the
    checkpoint holds."""
    self.drop(phase, step)
    if self.of(phase, 'evaluate') != evaluations:
      self.lines = [
        line for line in self.lines if line['phase'] != phase or line['kind'] != 'evaluate'
      ] + evaluations
      self._rewrite()

  def seconds(self) -> float:
    """Returns the latest time that a line tells."""
    return max((line['seconds'] for line in self.lines), default=0.0)

  def of(self, phase: str, kind: str) -> list[dict[str, Any]]:
    """Returns the lines of one phase and kind, oldest first."""
    return [line for line in self.lines if line['phase'] == phase and line['kind'] == kind]

  def _rewrite(self):
    if self.path is not None:
      self.close()
      files.write_atomic(self.path, b''.join(map(_encode, self.lines)))

  def close(self) -> None:
    if self._file is not None:
      self._file.close()
      self._file = None


def _is_line(line: Any) -> bool:
  """Whether a value has what every line has."""
  if not isinstance(line, dict) or not all(name in line for name in RESERVED):
    return False
  return (
    isinstance(line['phase'], str)
    and type(line['step']) is int
    and isinstance(line['kind'], str)
    and type(line['seconds']) in (int, float)
  )


def _encode(line) -> bytes:
  return (json.dumps(line, allow_nan=False) + '\n').encode()


class Interval:
  """The mean of every metric over the steps since the last line; a checkpoint holds it bit for bit.

  >>> interval = Interval()
  >>> for loss in (1.0, 2.0):
  ...   interval.add(np.array([loss]))
  >>> interval.means((('loss', ()),))
  {'loss': 1.5}
  """

  def __init__(self, saved: Mapping[str, Any] | None = None):
    self.count = saved['count'] if saved else 0
    self._sum = np.array(saved['sum'], np.float64) if saved and saved['sum'] is not None else None

  def add(self, row: np.ndarray) -> None:
    """Adds the metrics of one step [m]."""
    self._sum = row.astype(np.float64) if self._sum is None else self._sum + row
    self.count += 1

  def means(self, layout: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, Any]:
    """Returns the means under their names, and begins again."""
    metrics = unpack(self._sum / self.count, layout)
    self.__init__()
    return metrics

  def saved(self) -> dict[str, Any]:
    """Returns what a checkpoint must hold."""
    return {'count': self.count, 'sum': None if self._sum is None else self._sum.tolist()}


def column(
  rows: np.ndarray, layout: tuple[tuple[str, tuple[int, ...]], ...], name: str
) -> list[float] | None:
  """Returns one metric of rows [n, m] (the mean of a vector) as n floats, or None if there is none
  of that name."""
  start = 0
  for each, shape in layout:
    stop = start + math.prod(shape)
    if each == name:
      return rows[:, start:stop].mean(axis=1).tolist()
    start = stop
  return None


def unpack(row: np.ndarray, layout: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, Any]:
  """Returns the metrics of one row [m] under their names: floats, and lists for vectors."""
  metrics, start = {}, 0
  for name, shape in layout:
    stop = start + math.prod(shape)
    metrics[name] = row[start:stop].reshape(shape).tolist()
    start = stop
  return metrics


class Events:
  """TensorBoard events, one event directory a phase. Without the package tensorboardX nothing is
  written.

  A directory a phase, because TensorBoard can only forget (after a resume) the later events of a
  whole directory. The package's file writer is called directly: its queue waits for ever once its
  thread has died of a full disk.
  """

  def __init__(self, directory: pathlib.Path):
    self.directory = directory
    self._writers: dict[str, Any] = {}
    self._flushed: dict[str, float] = {}
    self._available = True

  def write(self, phase: str, step: int, metrics: Mapping[str, Any]) -> None:
    """Adds scalars, and vectors as one scalar an element."""
    writer = self._writers.get(phase) or self._open(phase, step)
    if writer is None:
      return
    for name, value in metrics.items():
      for label, item in (
        [(f'{name}/{i}', item) for i, item in enumerate(value)]
        if isinstance(value, list)
        else [(name, value)]
      ):
        if isinstance(item, (int, float)):
          writer.write_event(_scalar(label, item, step))
    if time.monotonic() - self._flushed[phase] > _FLUSH_SECONDS:
      writer.flush()
      self._flushed[phase] = time.monotonic()

  def _open(self, phase, step):
    if not self._available:
      return None
    try:
      from tensorboardX import event_file_writer
      from tensorboardX.proto import event_pb2
    except ImportError:
      self._available = False
      return None
    directory = self.directory / phase
    directory.mkdir(parents=True, exist_ok=True)
    writer = self._writers[phase] = event_file_writer.EventsWriter(str(directory / 'events'))
    self._flushed[phase] = -math.inf
    # A start of a session: events of this phase from here on were written by a process that did not
    # live to save them.
    begin = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    writer.write_event(event_pb2.Event(wall_time=time.time(), step=step, session_log=begin))
    return writer

  def close(self) -> None:
    for writer in self._writers.values():
      with contextlib.suppress(OSError):  # all that they tell is in metrics.jsonl
        writer.close()
    self._writers.clear()


def _scalar(name, value, step):
  from tensorboardX import summary
  from tensorboardX.proto import event_pb2

  return event_pb2.Event(wall_time=time.time(), step=step, summary=summary.scalar(name, value))

"""The standard streams of a command's process: nothing that becomes of a terminal, a pipe or a log
ends a run.

A reader may go away (`| head`), a terminal be closed, the disk of a log be full, a stream be closed
from the start (`2>&-`). What cannot be written then is left out, and the command goes on.
"""

import contextlib
import errno
import io
import os
import select
import sys

from jaxdistill import terminal
from jaxdistill.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)


class _Patient(io.FileIO):
  """A file to write to that never fails: it keeps why the last write did, '' for a reader that
  went away."""

  failure: str | None = None

  def write(self, data) -> int:
    left = memoryview(data).cast('B')
    size = len(left)
    while left:
      try:
        count = super().write(left)
      except OSError as error:
        self._note(error)
        break
      if count is None:  # it is in a mode in which the system does not wait
        select.select([], [self], [])
      else:
        left = left[count:]
    return size

  def _note(self, error: OSError) -> None:
    gone = error.errno in (errno.EPIPE, errno.EIO)
    self.failure = '' if gone else error.strerror or str(error)
    if error.errno in _FULL:
      return  # there may be space again
    # What libraries and processes that are started write goes nowhere too.
    with contextlib.suppress(OSError):
      terminal.let_go(self.fileno())


def settle() -> None:
  """Makes the standard streams such that writing to them cannot fail; to be called before any file
  is opened, which would else take the number of a closed stream and get what is written to that."""
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      terminal.let_go(number)
  for name, number in (('stdout', 1), ('stderr', 2)):
    setattr(sys, name, _settled(getattr(sys, name), number, name))
  if sys.stdin is None:
    sys.stdin = open(0, closefd=False)


def show(text: str) -> None:
  """Prints what a command was asked for, and what is its only result.

  Raises:
    UserError: it could not be written; a reader who went away has had enough.

  >>> show('usage')
  usage
  """
  try:
    terminal.write(text)
  except BrokenPipeError:
    return
  except OSError as error:
    raise UserError(f'The output cannot be written: {error.strerror}.') from error
  if reason := lost():
    raise UserError(f'The output cannot be written: {reason}.')


def lost() -> str:
  """Returns why something that was to be printed is lost; '' where nothing is, or nobody reads.

  >>> lost()
  ''
  """
  raw = _raw(sys.stdout)
  return (raw.failure or '') if isinstance(raw, _Patient) else ''


def _raw(stream):
  """What is below a stream and its buffer; Python has none where PYTHONUNBUFFERED is set."""
  buffer = getattr(stream, 'buffer', None)
  return getattr(buffer, 'raw', buffer)


def _settled(stream, number: int, name: str):
  """The stream of a number such that it never fails; another one as it is, with its letters
  replaced that cannot be written."""
  raw = _raw(stream)
  # Consoles of Windows and streams that a program has put in place of these are left alone.
  if stream is not None and not (isinstance(raw, io.FileIO) and raw.fileno() == number):
    with contextlib.suppress(AttributeError, OSError, ValueError):
      stream.reconfigure(errors='backslashreplace')
    return stream
  patient = _Patient(number, 'wb', closefd=False)
  patient.name = f'<{name}>'
  if stream is None:
    return io.TextIOWrapper(io.BufferedWriter(patient), 'utf-8', 'backslashreplace')
  stream.flush()
  return io.TextIOWrapper(
    patient if stream.buffer is raw else io.BufferedWriter(patient),
    stream.encoding,
    'backslashreplace',
    line_buffering=stream.line_buffering,
    write_through=stream.write_through,
  )

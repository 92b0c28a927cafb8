"""One run on one work dir: a lock file that says who holds it and that goes with its holder,
however that ends."""

import errno
import json
import os
import pathlib
import socket
from typing import Any

from jaxdistill import files
from jaxdistill.errors import UserError

try:
  import fcntl
except ImportError:  # not on Windows
  fcntl = None

NAME = 'run.lock'


class Lock:
  """Holds WORKDIR/run.lock with the process id and the host of its holder until `release`, or until
  the process ends.

  The file alone would outlive a killed process, and its number may be another's by now: what counts
  on one host is the lock of the operating system on the file. Other hosts see the file only.

  Raises:
    UserError: another run holds the work dir.

  >>> import tempfile
  >>> with tempfile.TemporaryDirectory() as directory:
  ...   Lock(pathlib.Path(directory)).release()
  ...   Lock(pathlib.Path(directory)).release()
  """

  def __init__(self, workdir: pathlib.Path):
    self.path = workdir / NAME
    while True:
      try:
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
      except OSError as error:
        raise UserError(
          f'The work dir cannot be taken: {self.path} cannot be opened '
          f'({error.strerror or error}); '
          'remove it, or use another work dir.'
        ) from error
      try:
        self._take()
        if self._is_current():
          break
      except BaseException:
        os.close(self._file)
        raise
      os.close(self._file)  # its holder ended and removed it in between
    os.ftruncate(self._file, 0)
    os.pwrite(
      self._file, json.dumps({'pid': os.getpid(), 'host': socket.gethostname()}).encode(), 0
    )

  def _take(self):
    locked = _lock(self._file)
    holder = self._holder()
    host, pid = holder.get('host'), holder.get('pid')
    if locked is False or locked is None and host == socket.gethostname() and alive(pid):
      raise UserError(
        f'The work dir {self.path.parent} is in use by process {pid} on {host}; wait for it '
        'to end, stop it, '
        'or use another work dir.'
      )
    if host not in (None, socket.gethostname()):
      raise UserError(
        f'The work dir {self.path.parent} is in use by process {pid} on the host {host}, or '
        'was when that process '
        f'was killed. If it runs no more, delete {self.path} and start again.'
      )

  def _holder(self) -> dict[str, Any]:
    try:
      holder = files.read_json(os.pread(self._file, 10_000, 0) or b'{}')
      return {'host': str(holder['host']), 'pid': int(holder['pid'])}
    except (ValueError, TypeError, KeyError):  # killed while it wrote, or damaged
      return {}

  def _is_current(self) -> bool:
    try:
      return os.path.samestat(os.fstat(self._file), os.stat(self.path))
    except FileNotFoundError:
      return False

  def release(self) -> None:
    """Removes the file."""
    if self._file is not None:
      if self._is_current():
        self.path.unlink(missing_ok=True)
      os.close(self._file)
      self._file = None


def _lock(file: int) -> bool | None:
  """Whether the lock could be had; None where the file system has none."""
  if fcntl is None:
    return None
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
  return True


def alive(pid: int | None) -> bool:
  """Whether a process of this number, other than this one, runs on this host.

  >>> alive(None)
  False
  """
  if not pid or pid == os.getpid():
    return False
  try:
    os.kill(pid, 0)
  except (ProcessLookupError, OverflowError):  # OverflowError: no process has such a number
    return False
  except OSError:  # it is another user's
    return True
  return True

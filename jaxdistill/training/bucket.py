"""A work dir in a bucket, gs://, s3:// or whatever fsspec knows: a local copy, and a thread that
keeps the two alike.

A bucket has no appending, renaming or locking, on which files of a run rely. So the run works in a
local folder, and what changes there goes up every few seconds and at the end; a start on a fresh
machine first brings down what is up there. A process that is killed loses the work since the last
copy, not more.
"""

import concurrent.futures
import contextlib
import json
import logging
import os
import pathlib
import shutil
import socket
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from jaxdistill.errors import UserError
from jaxdistill.training import lock

SECONDS = 15.0  # between two copies
# What belongs to the copy as a whole: the file names; written after all new files and before old
# ones go, so that a start after a kill in the middle finds a complete state.
_MANIFEST = 'manifest.json'
_THREADS = 8
# They have no folders, and asking for one could make a bucket. A listing that fsspec remembers
# would hide what others write.
_BUCKETS = ('gs', 'gcs', 's3', 's3a', 'az', 'abfs', 'abfss', 'oci', 'oss')
# A holder that lives renews its lock about as often, also while a long copy is under way; one that
# has not for so many times is dead.
_BEATS = 3


class Bucket:
  """The local copy, in `folder`, of the work dir at `address`, held against other runs until
  `close`.

  Args:
    address: of a folder, such as gs://bucket/runs/m3d; nothing need be there yet.
    say: receives one sentence when a copy fails or a run that left its lock behind is waited for.
    seconds: between two copies; 0: `SECONDS`.

  Raises:
    UserError: the address is of no known kind, needs a package that is not installed, cannot be
      read or written, or is in use.

  >>> with tempfile.TemporaryDirectory() as place:
  ...   bucket = Bucket(f'file://{place}/run', print)
  ...   _ = (bucket.folder / 'notes.txt').write_text('as good as in the bucket')
  ...   bucket.close()
  ...   (pathlib.Path(place) / 'run' / 'notes.txt').read_text()
  'as good as in the bucket'
  """

  def __init__(self, address: str, say: Callable[[str], None], seconds: float = 0.0):
    self.address, self._say, self._seconds = address, say, seconds or SECONDS
    self._files, self._root = _connect(self.address)
    self._token = {'pid': os.getpid(), 'host': socket.gethostname(), 'token': uuid.uuid4().hex}
    self._beat = 0
    self._known: dict[
      str, Any
    ] = {}  # what is up there: name -> size and time of the local file that was copied
    self._lost, self._failing = '', False
    self.folder = pathlib.Path(tempfile.mkdtemp(prefix='jaxdistill-')) / (
      self._root.rpartition('/')[2] or 'run'
    )
    self.folder.mkdir()
    try:
      self._guarded('opened', self._open)
    except BaseException:
      shutil.rmtree(self.folder.parent)
      raise
    self._over = threading.Event()
    self._thread = threading.Thread(target=self._keep_alike, daemon=True)
    self._thread.start()

  def check(self) -> None:
    """Raises UserError once another run has taken the work dir, which it may when this one has not
    answered for long."""
    if self._lost:
      raise UserError(self._lost)

  def close(self) -> None:
    """Copies what has changed, lets go of the work dir and removes the local copy.

    Raises:
      UserError: that failed; the local copy stays.
    """
    self._over.set()
    self._thread.join()
    try:
      self.check()
      self._guarded('written', self._finish)
    except UserError as error:
      raise UserError(f'{error} The local copy stays in {self.folder}.') from error
    shutil.rmtree(self.folder.parent)

  def _make_folder(self, path: str) -> None:
    if _kind(self.address) not in _BUCKETS:
      self._files.makedirs(path, exist_ok=True)

  def _at(self, name: str) -> str:
    return f'{self._root}/{name}'

  def _guarded(self, done: str, call: Callable[[], Any]) -> Any:
    """Runs a call on the bucket; whatever its many packages raise becomes one sentence."""
    try:
      return call()
    except UserError:
      raise
    except Exception as error:
      text = ' '.join(str(error).split()) or type(error).__name__
      raise UserError(
        f'{self.address} could not be {done} ({text[:200]}); see that the bucket is there and '
        'that you may write '
        'to it, and start the same command again.'
      ) from error

  # The lock.

  def _open(self) -> None:
    self._make_folder(self._root)
    holder = self._holder()
    if holder and not self._is_dead(holder):
      self._say(
        f'{self.address} was left locked by process {holder.get("pid")} on {holder.get("host")}; '
        f'waiting {_BEATS * self._seconds:g} s to see whether that one still runs.'
      )
      threading.Event().wait(_BEATS * self._seconds)
      if self._holder() != holder:
        raise UserError(
          f'The work dir {self.address} is in use by process {holder.get("pid")} on '
          f'{holder.get("host")}; wait for '
          'it to end, stop it, or use another work dir.'
        )
    self._take()
    self._pull()

  def _finish(self) -> None:
    self._renew()
    self._push()
    self._files.rm_file(self._at(lock.NAME))

  def _is_dead(self, holder: Mapping[str, Any]) -> bool:
    """Whether the holder is known to be dead: on this host, and not another Run of this process."""
    pid = holder.get('pid')
    return holder.get('host') == socket.gethostname() and pid != os.getpid() and not lock.alive(pid)

  def _holder(self) -> dict[str, Any] | None:
    return self._json(lock.NAME)

  def _renew(self) -> None:
    """Shows that this holder lives; raises UserError, now and in `check`, if the lock is
    another's."""
    holder = self._holder()
    if holder is None:
      self._lost = (
        f'The lock of the work dir {self.address} was deleted, alone or with the '
        'folder; this run has let go of it.'
      )
    elif holder.get('token') != self._token['token']:
      self._lost = (
        f'The work dir {self.address} was taken over by process {holder.get("pid")} on '
        f'{holder.get("host")} while '
        'this one did not answer; it goes on there.'
      )
    if self._lost:
      raise UserError(self._lost)
    self._take()

  def _take(self) -> None:
    self._beat += 1
    self._files.pipe_file(
      self._at(lock.NAME), json.dumps(self._token | {'beat': self._beat}).encode()
    )

  # Copies.

  def _pull(self) -> None:
    names = (self._json(_MANIFEST) or {}).get('files', [])

    def fetch(name):
      path = self.folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      self._files.get_file(self._at(name), str(path))

    self._for_each(fetch, names)
    self._known = {name: state for name, state in self._local().items() if name in names}

  def _push(self) -> None:
    """Brings the bucket to what the folder holds."""
    states = self._local()
    changed = [name for name, state in states.items() if self._known.get(name) != state]
    gone = sorted(self._known.keys() - states.keys())
    if not changed and not gone:
      return
    self._for_each(self._send, changed)
    self._files.pipe_file(self._at(_MANIFEST), json.dumps({'files': sorted(states)}).encode())
    self._known = states
    for name in gone:
      self._files.rm_file(self._at(name))

  def _for_each(self, call: Callable[[str], None], names: list[str]) -> None:
    """Calls with every name, several at once, and renews the lock as long as that takes."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
      under_way = {pool.submit(call, name) for name in names}
      while under_way:
        done, under_way = concurrent.futures.wait(under_way, self._seconds)
        for future in done:
          future.result()
        if under_way:
          self._renew()

  def _send(self, name: str) -> None:
    target = self._at(name)
    with _still_there():  # read first: a file that is appended to must not grow while it is sent
      content = (self.folder / name).read_bytes()
    self._make_folder(target.rpartition('/')[0])
    self._files.pipe_file(target, content)

  def _local(self) -> dict[str, Any]:
    """Returns size and time of change of every file that is whole; what is being written has a name
    of its own."""
    states = {}
    for directory, folders, names in os.walk(self.folder):
      folders[:] = [name for name in folders if '.orbax-checkpoint-tmp' not in name]
      for name in names:
        if not name.endswith('.tmp') and name != lock.NAME:
          path = pathlib.Path(directory, name)
          with _still_there():
            stat = path.stat()
          states[path.relative_to(self.folder).as_posix()] = (stat.st_size, stat.st_mtime_ns)
    return states

  def _json(self, name: str) -> dict[str, Any] | None:
    try:
      return json.loads(self._files.cat_file(self._at(name)))
    except FileNotFoundError:
      return None
    except ValueError:
      return {}

  def _keep_alike(self) -> None:
    while not self._over.wait(self._seconds):
      try:
        self._renew()
        self._push()
        self._failing = False
      except _Vanished:
        pass  # the next copy is whole
      except Exception as error:
        if self._lost:
          return
        if not self._failing:
          self._say(
            f'{self.address} cannot be written at the moment ({error}); the run goes on, and '
            'the copy is tried again.'
          )
        self._failing = True


class _Vanished(Exception):
  """A local file went while it was copied, as an old checkpoint does."""


@contextlib.contextmanager
def _still_there():
  try:
    yield
  except FileNotFoundError as error:
    raise _Vanished from error


def is_address(workdir: Any) -> bool:
  """Whether a work dir is an address rather than a folder of this machine.

  >>> is_address('gs://bucket/run'), is_address('runs/m3d'), is_address(None)
  (True, False, False)
  """
  return isinstance(workdir, str) and '://' in workdir


def check_place(workdir: Any) -> None:
  """Raises `UserError` for an address with a slip, which would be a folder of a strange name.

  >>> check_place('gs:/bucket/run')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: 'gs:/bucket/run' is neither a folder nor an address; an address ...
  """
  kind, colon, rest = str(workdir).partition(':')
  if colon and kind in _BUCKETS and not rest.removeprefix('//').strip('/'):
    raise UserError(f'{str(workdir)!r} names no bucket; an address is {kind}://BUCKET/FOLDER.')
  if colon and kind in _BUCKETS and not rest.startswith('//'):
    raise UserError(
      f'{str(workdir)!r} is neither a folder nor an address; an address is {kind}://BUCKET/FOLDER.'
    )


def _kind(address: str) -> str:
  return address.partition('://')[0]


def _connect(address: str) -> tuple[Any, str]:
  # Where gcsfs fails it prints stack traces, and raises too.
  logging.getLogger('gcsfs').setLevel(logging.CRITICAL)
  try:
    import fsspec

    options = {'use_listings_cache': False} if _kind(address) in _BUCKETS else {}
    files, root = fsspec.core.url_to_fs(address, **options)
  except ImportError as error:
    raise UserError(
      f'The work dir {address} needs a package ({error}); for gs:// it comes with pip install '
      '"jaxdistill[gcs]".'
    ) from None
  except ValueError as error:
    raise UserError(
      f'The work dir {address} is no address that can be written to ({error}); use a folder, '
      'or gs://BUCKET/FOLDER.'
    ) from None
  if not root.strip('/'):
    raise UserError(
      f'The work dir {address} names no folder in the bucket; add one, as in gs://BUCKET/FOLDER.'
    )
  return files, root.rstrip('/')

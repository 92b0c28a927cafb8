"""A run: one work directory with its config, metrics, checkpoints and results, or the same in
memory."""

import contextlib
import json
import os
import pathlib
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from jaxdistill import errors, files, terminal
from jaxdistill.errors import UserError
from jaxdistill.files import expanded
from jaxdistill.training import bucket, hosts, interrupt, provenance, records, surroundings
from jaxdistill.training.checkpoint import Checkpoints
from jaxdistill.training.lock import Lock
from jaxdistill.training.machine import (
  PeakMemory,
  enable_compilation_cache,
  environment,
  peak_memory_bytes,
)

__all__ = [
  'PeakMemory',
  'Run',
  'check_name',
  'enable_compilation_cache',
  'environment',
  'peak_memory_bytes',
]

_NAME = re.compile(r'[\w+&=,-][\w.+&=,-]*(/[\w+&=,-][\w.+&=,-]*)*')
_FREE = 'run'


def check_name(name: str) -> str:
  """Returns the name of a phase or a result as it is, which files are called by.

  Raises:
    UserError: it has other letters than such a name may have.

  >>> check_name('kd&crd/student')
  'kd&crd/student'
  >>> check_name('my method')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: 'my method' cannot name a phase or a result: use letters, ...
  """
  if not _NAME.fullmatch(name):
    raise UserError(
      f'{name!r} cannot name a phase or a result: '
      'use letters, digits and any of "_-+&=,." in parts divided by "/".'
    )
  return name


class Run:
  """Everything that a job leaves behind, and what it needs to go on after it was stopped.

  A work directory holds config.json, metrics.jsonl, tensorboard/, checkpoints/PHASE/,
  results/NAME.json, and run.lock while the run is open: one run at a time. With `workdir=None`
  nothing is written and nothing can be resumed (notebooks, tests).

  Where several processes work together, all make the same Run and call the same methods in the same
  order. The first one alone has a `workdir`, writes and speaks; the attribute is None in the
  others, and what it read reaches them. A work dir in a bucket is kept by `training.bucket`; the
  attribute is its local copy.

  Args:
    workdir: made if missing; a folder, or an address such as gs://BUCKET/FOLDER. A directory of
      another config is refused; the section `run` of a config may differ, as it says how to compute
      and not what, and so may the devices.
    config: ConfigDict or dict that JSON can hold.
    progress: draw progress bars.
    tensorboard: write TensorBoard events, if tensorboardX is installed.
    keep: number of checkpoints that a phase keeps.
    checkpoint_every: steps between two checkpoints of a phase; 0 for none.
    checkpoint_seconds: save at the latest after this time.
    log_every: steps whose mean makes one line of metrics.jsonl.
    steps_per_call: steps that one compiled call does where a phase does not say; 0: what suits the
      backend.
    handle_signals: SIGTERM and Ctrl-C save the state and end the program with code 75 (for
      launchers).
    profile: trace some steps of every phase into profile/PHASE/ and say where their time went in
      profile/PHASE.txt.

  Raises:
    UserError: the directory cannot be written, is in use, or belongs to another config; or the
      processes disagree on it.

  >>> with Run(progress=False) as run:
  ...   run.log('train', 10, {'loss': 0.5})
  ...   run.once('numbers/answer', lambda: 42)
  42
  """

  def __init__(
    self,
    workdir: str | os.PathLike | None = None,
    config: Mapping | None = None,
    *,
    progress: bool = True,
    tensorboard: bool = True,
    keep: int = 2,
    checkpoint_every: int = 500,
    checkpoint_seconds: float = 600.0,
    log_every: int = 10,
    steps_per_call: int = 0,
    handle_signals: bool = False,
    profile: bool = False,
  ):
    errors.whole_numbers(
      keep=keep,
      checkpoint_every=checkpoint_every,
      log_every=log_every,
      steps_per_call=steps_per_call,
    )
    errors.real_numbers(checkpoint_seconds=checkpoint_seconds)
    if min(keep, log_every) < 1 or min(checkpoint_every, steps_per_call) < 0:
      raise UserError(
        'A run needs keep >= 1, log_every >= 1, checkpoint_every >= 0 and steps_per_call >= 0; got '
        f'{keep}, {log_every}, {checkpoint_every} and {steps_per_call}.'
      )
    if checkpoint_seconds <= 0:
      raise UserError(f'A run needs checkpoint_seconds > 0; got {checkpoint_seconds}.')
    self.opened = time.monotonic()
    self.is_settled = False  # whether it has said what it works on
    # Of the first phase that computes; until then a run loads data, estimates and compiles, all of
    # which someone waits for.
    self.first_step_seconds: float | None = None
    self._bucket, self._lock = None, None
    bucket.check_place(workdir)
    directory = None if workdir is None else expanded(workdir).absolute()
    self.place = workdir if bucket.is_address(workdir) else directory  # for people
    self._directory = directory  # in a bucket that of the local copy, once it is open
    self.workdir = directory if hosts.is_first() else None
    self.config = files.jsonable(
      config.to_dict() if hasattr(config, 'to_dict') else dict(config or {})
    )
    self.keep, self.log_every, self.steps_per_call = keep, log_every, steps_per_call
    self.progress = progress and hosts.is_first()
    self.checkpoint_every, self.checkpoint_seconds = checkpoint_every, checkpoint_seconds
    self.handle_signals = handle_signals
    self.profile = profile and self.workdir is not None
    _check_agreement(self.config, self.place)
    self.records = records.Records(None)
    try:
      evaluations = hosts.first('work dir', self._opened)
    except BaseException:
      self._unlock()
      raise
    if not hosts.is_first():
      self.records.lines = evaluations
    self._events = (
      records.Events(self.workdir / 'tensorboard') if tensorboard and self.workdir else None
    )
    self._results: dict[str, Any] = {}
    self._timings: dict[str, dict[str, float]] = {}
    self._checkpoints: dict[str, Checkpoints] = {}
    self._started = time.monotonic() - self.records.seconds()

  def _opened(self) -> list[dict[str, Any]]:
    """Does what `_open` does; what the file system refuses becomes one sentence."""
    try:
      return self._open()
    except OSError as error:
      file = error.filename or self.place
      raise UserError(
        f'The work dir {self.place} cannot be used: {file}: {error.strerror or error}. See to '
        'it, or use another work dir.'
      ) from error

  def _open(self) -> list[dict[str, Any]]:
    """Takes the work dir, and returns the evaluations that are in it: what the others need to
    know."""
    if self.workdir is None:
      return []
    if bucket.is_address(self.place):
      self._bucket = bucket.Bucket(self.place, self.say)
      self.workdir = self._directory = self._bucket.folder
    _make_writable(self.workdir)
    self._lock = Lock(self.workdir)
    self._settle_config()
    surroundings.keep(self)
    self.records = records.Records(self.workdir / 'metrics.jsonl')
    if self.records.damaged:
      self.say(
        f'{self.records.path}: lines that cannot be read, left out: {self.records.damaged:,}.'
      )
    return [line for line in self.records.lines if line['kind'] == 'evaluate']

  def _unlock(self):
    if self._lock is not None:
      self._lock.release()
      self._lock = None
    if self._bucket is not None:
      self._bucket, held = None, self._bucket
      held.close()

  def __enter__(self) -> 'Run':
    return self

  def __exit__(self, *error) -> None:
    self.close()

  def close(self) -> None:
    """Waits for checkpoints under way and closes the files."""
    with interrupt.saving(), contextlib.ExitStack() as stack:
      stack.callback(self._unlock)
      for closable in (self.records, self._events, *self._checkpoints.values()):
        if closable is not None:
          stack.callback(closable.close)
    self._checkpoints.clear()

  def works_on(self, **things: Any) -> None:
    """Says, once and for all of it, what the run works on. A work dir keeps what tells it from
    others, and is refused where it was begun with something else.

    The flows of the library say it themselves; a loop of your own does here.

    Args:
      **things: by names of yours, each a set as `data.load` gives it, an array, or a function or
        class, whose code counts.

    Raises:
      UserError: the work dir was begun with other data or other code.

    >>> with Run(progress=False) as run:
    ...   run.works_on(scans=[[0.5]], objective=lambda x: x)
    """
    provenance.settle(self, provenance.of_things(things))

  def warn_unsettled(self) -> None:
    """Says, once, where work of an earlier start is taken up and nothing tells that its data are
    the same."""
    if not self.is_settled:
      self.is_settled = True
      self.say(
        f'{self.place} does not say which data it was begun with; run.works_on(training=...) '
        'keeps them and notices others.'
      )

  @property
  def seconds(self) -> float:
    """Seconds of work so far, over all restarts; work that a restart had to repeat counts once."""
    return time.monotonic() - self._started

  def set_seconds(self, seconds: float) -> None:
    """Sets the clock to that of a restored checkpoint, though never to before a line that stays."""
    self._started = time.monotonic() - max(seconds, self.records.seconds())

  @property
  def shared(self) -> pathlib.Path | None:
    """The folder for what other runs may use too, beside the work dir; in a bucket the work dir, as
    nothing else is copied."""
    return (
      self.workdir if self.workdir is None or bucket.is_address(self.place) else self.workdir.parent
    )

  def say(self, text: str) -> None:
    """Prints one line for the person who watches."""
    if hosts.is_first():
      terminal.line(text)

  # Metrics.

  def log(self, phase: str, step: int, metrics: Mapping[str, Any], kind: str = 'train') -> None:
    """Writes one line of metrics (floats or short lists) of a phase."""
    values = files.jsonable(metrics)
    taken = [name for name in values if name in records.RESERVED]
    if taken:
      raise ValueError(
        f'A metric cannot be called {taken[0]!r}: every line has a field of that name already.'
      )
    if self._bucket is not None:
      self._bucket.check()
    line = {
      'phase': check_name(phase),
      'step': int(step),
      'kind': kind,
      'seconds': round(self.seconds, 3),
      **values,
    }
    try:
      self.records.append(line)
    except OSError as error:
      raise self._unwritten(self.records.path, error) from error
    if self._events is not None:
      try:
        self._events.write(phase, int(step), values)
      except OSError as error:
        raise self._unwritten(self._events.directory, error) from error

  def history(self, phase: str) -> list[dict[str, Any]]:
    """Returns the evaluations of a phase, oldest first; the same after a resume as without one (but
    for `seconds`)."""
    return self.records.of(phase, 'evaluate')

  def curve(self, phase: str) -> list[dict[str, Any]]:
    """Returns the logged intervals of a phase, oldest first: the mean of every metric."""
    return self.records.of(phase, 'train')

  def timing(self, phase: str) -> dict[str, float]:
    """Returns the times of a phase over all restarts, in seconds, or {} before it has run.

    Keys: steps, seconds (all), compile_seconds, evaluate_seconds, save_seconds, first_step_seconds
    (start of the phase to the end of its first call, in the process that last computed some),
    steps_per_second (of training alone).
    """
    return dict(self._timings.get(phase, {}))

  def set_timing(self, phase: str, timing: Mapping[str, float]) -> None:
    """Keeps the times of a phase (called by the loop)."""
    self._timings[phase] = dict(timing)

  def profiles(self) -> dict[str, str]:
    """Returns where the time of each traced phase went, as text by phase; {} where nothing was
    traced, or in memory."""
    folder = self.workdir and self.workdir / 'profile'
    tables = sorted(folder.rglob('*.txt'), key=lambda path: path.stat().st_mtime) if folder else []
    return {
      path.relative_to(folder).with_suffix('').as_posix(): path.read_text() for path in tables
    }

  # Files.

  def once(self, name: str, fn: Callable[[], Any]) -> Any:
    """Returns fn(), computed once in the life of the run and kept as results/NAME.json; `name` may
    contain '/'.

    Of several processes all compute it, since it may need all their devices, and all return what
    the first one got.
    """
    check_name(name)
    if name not in self._results:
      path = self.workdir and self.workdir / 'results' / f'{name}.json'
      value = hosts.first(f'result {name}', lambda: _read_result(path, self.say))
      if value is None:
        interrupt.check()
        computed = files.jsonable(fn())
        # Through JSON even when it is fresh, so that a restart sees exactly the same value.
        value = hosts.first(
          f'new result {name}', lambda: {'result': json.loads(json.dumps(computed))}
        )
        if path:
          self._write(path, _json_bytes(files.with_checksum('result', value['result'])))
      self._results[name] = value['result']
    return self._results[name]

  def has(self, name: str) -> bool:
    """Whether `once` has a result of this name (in the first process; False in memory until it is
    computed)."""
    return (
      name in self._results
      or self.workdir is not None
      and (self.workdir / 'results' / f'{name}.json').exists()
    )

  def kept(
    self,
    path: pathlib.Path | None,
    compute: Callable[[], Any],
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
  ) -> Any:
    """Returns what a file holds for later starts or other runs, else compute(), which is then kept
    there.

    Of several processes the first one alone reads and writes, and what it read or made reaches all.

    Args:
      path: counts in the first process; None: nothing is kept.
      compute: makes the value, in all processes, since it may need all their devices.
      encode: from the value to the content of the file.
      decode: the way back; an error says that the content is damaged, and the value is computed
        again.
    """
    content = hosts.content('kept file', lambda: _content(path, self.say))
    if content is not None:
      try:
        value = decode(content)
      except MemoryError:
        raise
      except Exception:  # a damaged file can raise anything in the packages that decode it
        self.say(f'{path} is damaged and is written again.')
      else:
        self.say(f'read from {path}')
        return value
    value = compute()
    if hosts.count() > 1:
      value = decode(hosts.content('new file', lambda: encode(value)))
    if path and hosts.is_first():
      self._write(path, encode(value))
    return value

  def write_json(self, name: str, value: Any) -> pathlib.Path | None:
    """Writes a file of the work dir atomically; returns its path, or None in memory."""
    return self.write_bytes(name, _json_bytes(value))

  def write_bytes(self, name: str, content: bytes, look: bool = True) -> pathlib.Path | None:
    """Writes a file of the work dir atomically; returns its path, or None in memory.

    Args:
      name: with '/' between folders.
      content: of the file.
      look: whether a signal that has come is answered first; not on the way out after one.

    Raises:
      UserError: the file cannot be written.
    """
    if look:
      interrupt.check()
    if self.workdir is None:
      return None
    return self._write(self.workdir / name, content)

  def _write(self, path, content):
    try:
      if self._is_gone():
        raise FileNotFoundError
      files.write_atomic(path, content)
    except OSError as error:
      raise self._unwritten(path, error) from error
    return path

  def _is_gone(self) -> bool:
    return self.workdir is not None and not self.workdir.is_dir()

  def _unwritten(self, path, error: OSError) -> UserError:
    if self._is_gone():
      return UserError(
        f'The work dir {self.place} has disappeared while the run was writing to it. Bring it '
        'back and start '
        'the same command again to continue, or start anew in another one.'
      )
    return UserError(
      f'{path} could not be written ({error.strerror or error}); free some space and start '
      'the same command again '
      'to continue, or use another work dir.'
    )

  def checkpoints(self, phase: str) -> Checkpoints | None:
    """Returns the checkpoints of a phase, or None in memory."""
    if self._directory is None:
      return None
    if phase not in self._checkpoints:
      name = check_name(phase).replace('/', '.')
      for other in self._checkpoints:
        if other.replace('/', '.') == name:
          raise UserError(
            f'The phases {other!r} and {phase!r} of one run would share a folder of checkpoints, '
            f'{name}; name one of them otherwise.'
          )
      directory = self._directory / 'checkpoints' / name
      self._checkpoints[phase] = Checkpoints(directory, keep=self.keep, say=self.say)
    return self._checkpoints[phase]

  def discard(self, phase: str) -> None:
    """Deletes the checkpoints of a phase whose result is safe elsewhere."""
    checkpoints = self.checkpoints(phase)
    if checkpoints is not None:
      checkpoints.delete()
      checkpoints.close()
      del self._checkpoints[phase]

  def _settle_config(self):
    path = self.workdir / 'config.json'
    old = _read(path, self.say, _mapping)
    if old is not None:
      from jaxdistill.config import differences, listed

      changed = [
        text for key, text in differences(old, self.config).items() if key.split('.')[0] != _FREE
      ]
      if changed:
        raise UserError(
          f'The work dir {self.place} belongs to another config: {listed(changed)}. '
          'Use another work dir, or the same config to continue.'
        )
    if old != self.config:
      self.write_json('config.json', self.config)


def _check_agreement(config: dict, place: str | pathlib.Path | None) -> None:
  """Raises UserError, in all processes, where they were not started with the same config and work
  dir."""
  from jaxdistill.config import differences, listed

  all_of_them = hosts.collect('config', [config, place and str(place), surroundings.settings()])
  first, first_place, first_settings = all_of_them[0]
  for number, (other, there, settings) in enumerate(all_of_them):
    changed = list(differences(first, other).values())
    if there != first_place:
      changed.append(f'work dir: {first_place} -> {there}')
    changed += differences(first_settings, settings).values()
    if changed:
      raise UserError(
        f'Process {number} was started with another config than process 0: {listed(changed)}. '
        'Start all of them with the same command.'
      )


def _json_bytes(value: Any) -> bytes:
  return (json.dumps(files.jsonable(value), indent=2) + '\n').encode()


def _content(path, say):
  """The bytes of a file; None where there is none, or it cannot be read."""
  try:
    return path.read_bytes() if path and path.is_file() else None
  except OSError as error:
    say(f'{path} cannot be read ({error.strerror or error}) and is written again.')
    return None


def _read_result(path, say):
  return _read(path, say, _result)


def _result(content: Any) -> dict[str, Any]:
  """What a file of `Run.once` holds; those of earlier versions have no checksum."""
  if isinstance(content, dict) and content.keys() == {'result'}:
    return content
  return {'result': files.under_checksum('result', content)}


def _mapping(content: Any) -> dict[str, Any]:
  if not isinstance(content, dict):
    raise ValueError
  return content


def _read(path, say, checked):
  """What `checked` makes of the JSON of a file; None where there is none, or it is damaged."""
  if path is None or not path.exists():
    return None
  try:
    return checked(files.read_json(path.read_bytes()))
  except ValueError:
    say(f'{path} is damaged and is written again.')
    return None


def _make_writable(workdir: pathlib.Path) -> None:
  """Makes the directory and proves that files can be made in it (permission bits do not tell for
  every file system)."""
  try:
    str(workdir).encode()
  except UnicodeError:  # which the checkpoints' package cannot open
    named = errors.shown(workdir)
    wrong = 'is no UTF-8'
    if named == os.fsencode(workdir).decode('utf-8', 'replace'):
      wrong = f'has letters that the locale here lacks ({sys.getfilesystemencoding()})'
    raise UserError(f'The name of the work dir {named} {wrong}; choose another one.') from None
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=workdir):
      pass
  except (OSError, ValueError) as error:  # ValueError: a name that the system does not allow
    reason = getattr(error, 'strerror', None) or error
    raise UserError(
      f'The work dir {workdir} cannot be written ({reason}); choose another one.'
    ) from error

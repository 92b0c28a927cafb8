"""The machine a run is on: versions, device, source revision, peak memory, and the private cache of
programs."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any, NamedTuple

import jax

import jaxdistill
from jaxdistill.errors import UserError
from jaxdistill.training import surroundings

_PACKAGES = {
  'jax': 'jax',
  'jaxlib': 'jaxlib',
  'flax': 'flax',
  'optax': 'optax',
  'orbax': 'orbax-checkpoint',
  'numpy': 'numpy',
}
_THRESHOLDS = dict(
  jax_persistent_cache_min_entry_size_bytes=-1, jax_persistent_cache_min_compile_time_secs=0
)
_ours: set[str] = set()  # folders of compiled programs that JAX was told by us


class PeakMemory(NamedTuple):
  """The largest memory in use so far: `bytes`, and whether it is that of the 'device' or of the
  whole 'process'."""

  bytes: int
  of: str


def environment() -> dict[str, Any]:
  """Returns what a result needs to be believed later: versions, device, git commit, date; and the
  `surroundings.settings` under which it was computed, where there are any.

  >>> sorted(environment().keys() - {'environment'})
  ['date', 'device', 'git_commit', 'versions']
  >>> sorted(environment()['device'])
  ['count', 'kind', 'platform']
  """
  devices = jax.devices()
  return dict(
    versions=_versions(),
    device=dict(kind=devices[0].device_kind, count=len(devices), platform=devices[0].platform),
    git_commit=git_commit(),
    date=datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
    **surroundings.described(),
  )


def _versions() -> dict[str, str | None]:
  versions: dict[str, str | None] = {
    'jaxdistill': jaxdistill.__version__,
    'python': platform.python_version(),
  }
  for name, package in _PACKAGES.items():
    try:
      versions[name] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      versions[name] = None
  return versions


def git_commit(directory: str | os.PathLike | None = None) -> str | None:
  """Returns the commit of the source tree, with '-dirty' after it when tracked files differ, or
  None without one.

  `directory` is the package by default. An installed package that merely lies inside somebody's
  repository has no commit.
  """
  directory = pathlib.Path(directory or pathlib.Path(jaxdistill.__file__).parent)
  if _git(directory, 'ls-files', '--error-unmatch', '.') is None:
    return None
  commit = _git(directory, 'rev-parse', 'HEAD')
  changes = _git(directory, 'status', '--porcelain', '--untracked-files=no')
  return commit and commit + ('-dirty' if changes else '')


def _git(directory, *arguments) -> str | None:
  try:
    command = ['git', '-C', str(directory), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
  except (OSError, subprocess.SubprocessError):
    return None
  return done.stdout.strip()


def peak_memory_bytes() -> PeakMemory:
  """Returns the peak of the fullest device where the backend counts it (GPU, TPU), else that of the
  process (resident).

  >>> peak = peak_memory_bytes()
  >>> peak.bytes > 0, peak.of in ('device', 'process')
  (True, True)
  """
  peaks = [
    (device.memory_stats() or {}).get('peak_bytes_in_use', 0) for device in jax.local_devices()
  ]
  if max(peaks) > 0:
    return PeakMemory(int(max(peaks)), 'device')
  try:
    import resource
  except ImportError:  # not on Windows
    return PeakMemory(0, 'unknown')
  unit = 1 if sys.platform == 'darwin' else 1024  # macOS counts bytes, Linux kibibytes
  return PeakMemory(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, 'process')


def memory_bytes() -> int:
  """Returns the memory of the smallest device where the backend tells (GPU, TPU), else that of the
  machine.

  >>> memory_bytes() > 0
  True
  """
  limits = [(device.memory_stats() or {}).get('bytes_limit', 0) for device in jax.local_devices()]
  return min(limits) or os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def enable_compilation_cache(directory: str | os.PathLike | None = None) -> pathlib.Path | None:
  """Keeps compiled programs on disk, so that a second start of the same job compiles nothing.

  Without a `directory` they go where JAX has been told to keep them (JAX_COMPILATION_CACHE_DIR),
  else to jaxdistill/xla under $XDG_CACHE_HOME (or ~/.cache). Whoever can write there can run code
  as you: a folder of ours is made for you alone (mode 0700), JAX's own is left as it is. Returns
  the directory, or None where the default one cannot be had, which costs only the time to compile.

  Raises:
    UserError: the `directory` that was asked for cannot be made private and writable.
  """
  if not directory and (theirs := _cache_of_jax()):
    return theirs
  path = pathlib.Path(directory) if directory else _default_cache()
  if path is None:
    return None
  trouble = _make_private(path)
  if trouble:
    if directory:
      raise UserError(
        f'The compilation cache cannot be kept in {path}: {trouble}; '
        'name a directory that is yours alone.'
      )
    return None
  jax.config.update('jax_compilation_cache_dir', str(path))
  _ours.add(str(path))
  _keep_all()
  return path


def _cache_of_jax() -> pathlib.Path | None:
  """The folder that the user has told JAX; None where there is none, or one of ours."""
  named = jax.config.jax_compilation_cache_dir
  if not named or named in _ours:
    return None
  _keep_all()
  return pathlib.Path(named)


def _default_cache() -> pathlib.Path | None:
  """The folder under the user's caches; None where there is no home, which '~' then stands for."""
  base = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
  return pathlib.Path(base) / 'jaxdistill' / 'xla' if os.path.isabs(base) else None


def _keep_all() -> None:
  """Small and quick programs are kept as well, where the environment does not say otherwise."""
  for name, value in _THRESHOLDS.items():
    if name.upper() not in os.environ:
      jax.config.update(name, value)


def _make_private(path: pathlib.Path) -> str | None:
  """Makes the directory with mode 0700; returns why it cannot serve, or None."""
  try:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, 'getuid') and path.stat().st_uid != os.getuid():
      return 'it belongs to another user'
    path.chmod(0o700)
  except OSError as error:
    return error.strerror or str(error)
  return None if os.access(path, os.W_OK) else 'it is not writable'

"""Checkpoints of one phase: complete or absent, checked before they are believed.

Orbax writes them (in the background, under a temporary name that is renamed at the end). On top of
it: every leaf under its name, a SHA-256 over all leaves and the notes beside them, and the way back
  to the checkpoint before a damaged one.

Of several processes the first one writes and reads, and the others get what it read: a checkpoint
holds whole arrays and knows neither of devices nor of processes.
"""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxdistill.errors import UserError, brief
from jaxdistill.training import hosts, parallel

_FORMAT = 1


class NonFinite(ArithmeticError):
  """A state with NaN or infinity was to be saved."""


class Checkpoints:
  """The newest `keep` checkpoints of one phase in one directory.

  Args:
    directory: made at the first save. Of several processes only the first one looks into it.
    keep: number of checkpoints that stay; an older one goes when its successor is complete.
    say: receives one sentence when a damaged checkpoint is passed over.

  >>> import tempfile, jax.numpy as jnp
  >>> with tempfile.TemporaryDirectory() as directory:
  ...   checkpoints = Checkpoints(directory)
  ...   checkpoints.save(10, {'w': jnp.ones(3)}, {'seconds': 1.5})
  ...   state, meta = checkpoints.restore({'w': jnp.zeros(3)})
  ...   checkpoints.close()
  >>> state['w'].tolist(), meta
  ([1.0, 1.0, 1.0], {'seconds': 1.5})
  """

  def __init__(
    self, directory: str | os.PathLike, keep: int = 2, say: Callable[[str], None] = print
  ):
    self.directory = pathlib.Path(directory).absolute()
    self._keep, self._say = keep, say
    self._opened = None

  def save(self, step: int, state: Any, meta: dict[str, Any], rows: int | None = None) -> None:
    """Saves a state with its notes; returns when the state may be overwritten, and writes on in the
    background.

    `rows`: how many leading rows of the leaves that are spread over devices are real; the others
    are padding, which belongs to a number of devices, and are not saved.

    Raises:
      NonFinite: some floating-point leaf holds NaN or infinity; nothing is written.
      UserError: this save, or the one before it, could not be written.
    """
    leaves = _to_host(state, rows)
    for name, leaf in leaves.items():
      if jax.numpy.issubdtype(leaf.dtype, np.inexact) and not np.isfinite(leaf).all():
        raise NonFinite(name)
    hosts.first(f'checkpoint {step}', lambda: self._write(step, leaves, meta))

  def _write(self, step, leaves, meta):
    specs = {name: [str(leaf.dtype), list(leaf.shape)] for name, leaf in leaves.items()}
    content = json.loads(json.dumps({'format': _FORMAT, 'meta': meta, 'leaves': specs}))
    content['sha256'] = _digest(leaves, content)
    stored = {
      name: leaf for name, leaf in leaves.items() if leaf.size
    }  # orbax refuses arrays without elements
    arguments = _orbax().args
    items = arguments.Composite(
      state=arguments.StandardSave(stored), meta=arguments.JsonSave(content)
    )
    self._guarded(lambda: self._manager().save(step, force=True, args=items))

  def wait(self) -> None:
    """Waits until all saves are complete. Raises UserError if one could not be written."""
    if self._opened is not None:
      self._guarded(self._opened.wait_until_finished)

  @property
  def is_saving(self) -> bool:
    """Whether a save is under way in the background."""
    return self._opened is not None and self._opened.is_saving_in_progress()

  def restore(self, template: Any, rows: int | None = None) -> tuple[Any, dict[str, Any]] | None:
    """Returns (state, notes) of the newest good checkpoint, or None where there is none yet.

    The leaves get the shardings of the `template`, whatever number of devices wrote them; padding
    beyond `rows` (see `save`) stays that of the template.

    Raises:
      UserError: every checkpoint is damaged, or they hold another state than the template.
    """
    leaves, damaged = {}, {}

    def read():
      step, found, content = self._newest(damaged)
      leaves.update(found)
      return [step, content]

    step, content = hosts.first('newest checkpoint', read)
    if content is None:
      return None
    leaves = hosts.arrays(
      leaves or {name: np.zeros(shape, dtype) for name, (dtype, shape) in content['leaves'].items()}
    )
    state = _from_host(leaves, content['leaves'], template, rows, self.directory)
    for bad, reason in damaged.items():
      self._say(
        f'The checkpoint of step {bad} in {self.directory} is damaged ({reason}); '
        f'the one of step {step} is used.'
      )
      self._remove(bad)
    return state, content['meta']

  def _newest(
    self, damaged: dict[int, str]
  ) -> tuple[int, dict[str, np.ndarray], dict[str, Any] | None]:
    """Returns step, leaves and content of the newest good checkpoint; enters into `damaged` why
    those after it are no good."""
    for step in reversed(self.steps()):
      try:
        return step, *self._read(step)
      except MemoryError:
        raise
      # Whatever orbax, the file system or the decoder raise: this checkpoint is no good.
      except Exception as error:
        damaged[step] = brief(error)
    if damaged:
      reasons = '; '.join(f'step {step}: {reason}' for step, reason in damaged.items())
      raise UserError(
        f'No checkpoint in {self.directory} can be read ({reasons}). '
        'Delete that directory to begin the phase again.'
      )
    return 0, {}, None

  def steps(self) -> list[int]:
    """Returns the steps that have a complete checkpoint, oldest first."""
    self.wait()
    if not hosts.is_first():
      return []
    return (
      sorted(self._manager().all_steps())
      if self._opened is not None or self.directory.exists()
      else []
    )

  def delete(self) -> None:
    """Deletes all of them."""
    self.close()
    if hosts.is_first():
      shutil.rmtree(self.directory, ignore_errors=True)

  def close(self) -> None:
    """Waits for saves under way and lets go of the directory."""
    if self._opened is not None:
      try:
        self.wait()
      finally:
        manager, self._opened = self._opened, None
        manager.close()

  def _manager(self):
    if self._opened is None:
      orbax = _orbax()
      alone = (
        orbax.options.MultiprocessingOptions(primary_host=0, active_processes={0})
        if hosts.count() > 1
        else (orbax.options.MultiprocessingOptions())
      )
      # Made here, because orbax refuses to when it does not work with all processes.
      self._guarded(lambda: self.directory.mkdir(parents=True, exist_ok=True))
      options = orbax.CheckpointManagerOptions(
        max_to_keep=self._keep,
        create=False,
        cleanup_tmp_directories=True,
        multiprocessing_options=alone,
      )
      self._opened = self._guarded(lambda: orbax.CheckpointManager(self.directory, options=options))
    return self._opened

  def _read(self, step):
    arguments = _orbax().args
    wanted = arguments.Composite(state=arguments.StandardRestore(), meta=arguments.JsonRestore())
    with _without_late_answers():
      stored = self._manager().restore(step, args=wanted)
    content, leaves = dict(stored.meta), dict(stored.state)
    for name, (dtype, shape) in content['leaves'].items():
      if name not in leaves:
        leaves[name] = np.zeros(shape, dtype)
    if _digest(leaves, content) != content['sha256']:
      raise ValueError('its content does not match its checksum')
    return leaves, content

  def _remove(self, step):
    try:
      self._manager().delete(step)
    except FileNotFoundError:
      pass
    shutil.rmtree(self.directory / str(step), ignore_errors=True)

  def _guarded(self, call):
    """Runs a call of orbax; what goes wrong on the disk becomes one sentence."""
    try:
      return call()
    except (OSError, ValueError, RuntimeError) as error:
      raise UserError(
        f'A checkpoint could not be written to {self.directory} ({brief(error)}); '
        'free some space or use another work dir. Checkpoints before it are untouched.'
      ) from error


def _orbax():
  """Imports orbax, whose log stays out of the user's terminal: what matters in it comes as an
  exception too."""
  import orbax.checkpoint as orbax

  for name in ('absl', 'asyncio'):
    logger = logging.getLogger(name)
    if not any(isinstance(old, _Quiet) for old in logger.filters):
      logger.addFilter(_Quiet())
  return orbax


class _Quiet(logging.Filter):
  def filter(self, record):
    # Where one file is damaged, the reads of the others fail for nobody, which asyncio tells later.
    unheard = 'never retrieved' in record.msg and '_wrap_awaitable' in record.getMessage()
    return record.levelno >= logging.CRITICAL or not (unheard or 'orbax' in record.pathname)


@contextlib.contextmanager
def _without_late_answers():
  """Where one file is damaged, the reads of the others answer to nobody, and would print a
  traceback each."""
  hook = sys.unraisablehook
  sys.unraisablehook = lambda event: (
    None if 'Event loop is closed' in str(event.exc_value) else hook(event)
  )
  try:
    yield
  except BaseException:
    time.sleep(0.1)
    raise
  finally:
    sys.unraisablehook = hook


def _named(tree) -> dict[str, Any]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  named = {
    jax.tree_util.keystr(path, simple=True, separator='.') or 'state': leaf for path, leaf in leaves
  }
  if len(named) != len(leaves):
    raise ValueError('Two leaves of the state have the same name; no key may contain a dot.')
  return named


def _is_key(leaf) -> bool:
  return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_host(state, rows) -> dict[str, np.ndarray]:
  """Returns all leaves as arrays of the host that share no memory with the device: the next step
  overwrites that."""
  named = {
    name: jax.random.key_data(leaf) if _is_key(leaf) else leaf
    for name, leaf in _named(state).items()
  }
  spread = {name for name, leaf in named.items() if parallel.is_spread(leaf)}
  whole = {
    name: leaf if getattr(leaf, 'is_fully_addressable', True) else parallel.gather(leaf)
    for name, leaf in named.items()
  }
  return {
    name: np.array(leaf[:rows] if name in spread else leaf, copy=True, order='C')
    for name, leaf in jax.device_get(whole).items()
  }


def _from_host(leaves, specs, template, rows, directory) -> Any:
  """Returns the leaves in the structure and on the devices of the template."""
  named = _named(template)
  wanted = {
    name: jax.random.key_data(leaf) if _is_key(leaf) else leaf for name, leaf in named.items()
  }
  padded = {name for name, leaf in wanted.items() if rows is not None and parallel.is_spread(leaf)}
  for name in sorted(wanted.keys() | specs.keys()):
    here = None if name not in wanted else _spec(wanted[name], rows if name in padded else None)
    if here != specs.get(name):
      raise UserError(
        f'The checkpoints in {directory} hold another state: {name!r} is '
        f'{_told(specs.get(name))} there '
        f'and {_told(here)} here. Use another work dir.'
      )
  restored = []
  for name, old in named.items():
    leaf = leaves[name]
    if name in padded:
      leaf = np.concatenate([leaf, np.asarray(parallel.gather(wanted[name]))[rows:]])
    new = parallel.put(leaf, getattr(wanted[name], 'sharding', None))
    restored.append(
      jax.random.wrap_key_data(new, impl=jax.random.key_impl(old)) if _is_key(old) else new
    )
  return jax.tree.unflatten(jax.tree.structure(template), restored)


def _spec(leaf, rows) -> list:
  shape = list(leaf.shape)
  return [str(leaf.dtype), shape if rows is None else [rows, *shape[1:]]]


def _told(spec) -> str:
  return 'missing' if spec is None else f'{spec[0]}{spec[1]}'


def _digest(leaves, content) -> str:
  """SHA-256 over the notes and, in the order of their names, type, shape and bytes of all
  leaves."""
  notes = {key: content[key] for key in ('format', 'meta', 'leaves')}
  digest = hashlib.sha256(json.dumps(notes, sort_keys=True).encode())
  for name in sorted(leaves):
    leaf = np.ascontiguousarray(leaves[name])
    digest.update(f'{name} {leaf.dtype} {leaf.shape} '.encode())
    digest.update(leaf.reshape(-1).view(np.uint8))
  return digest.hexdigest()

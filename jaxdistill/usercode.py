"""The code of what a user adds (methods, networks, kernels): a hash that follows what it calls."""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import pathlib
import sys
import sysconfig
import types
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

_PACKAGE = pathlib.Path(__file__).resolve().parent
_LIBRARIES = tuple(
  pathlib.Path(sysconfig.get_path(name)).resolve()
  for name in ('stdlib', 'platstdlib', 'purelib', 'platlib')
)
# What Python calls the file of code that someone types.
_TYPED = ('<stdin', '<ipython', '<doctest')
_CONSTANTS = (int, float, complex, str, bytes, bool, type(None), np.generic)


def code_hash(thing: Any) -> str:
  """Returns the SHA-256 of the code of functions and classes of the user, and of all code and
  constants of theirs that it reaches; '' of what is none of the user's.

  Arrays that the code reaches are constants of it, such as the weights that a function closes over,
  and so is what an object of the user's holds.
  Compiled code is compared: comments, docstrings, line numbers and file names do not count, nor
  does what lies in the same file and is not called. Another version of Python compiles to other
  code.

  >>> code_hash(lambda x: x + 1) == code_hash(lambda x: x + 1) != code_hash(lambda x: x + 2)
  True
  >>> code_hash(hashlib.sha256)
  ''
  """
  parts = list(_Reader().parts(thing))
  return hashlib.sha256(repr(parts).encode()).hexdigest() if parts else ''


def python() -> str:
  """Returns the version of Python whose hashes compare.

  >>> python().count('.')
  1
  """
  return '.'.join(map(str, sys.version_info[:2]))


class _Reader:
  """Goes through code and what it names, each thing once."""

  def __init__(self):
    self._seen: dict[Any, Any] = {}  # values too, so that no number is given twice

  def parts(self, thing: Any) -> Iterator[Any]:
    """Yields what the code of a thing consists of."""
    if id(thing) in self._seen:
      return
    self._seen[id(thing)] = thing
    if isinstance(thing, functools.partial):
      yield from self._all([thing.func, thing.args, thing.keywords])
    elif isinstance(thing, tuple | list):
      yield from self._all(thing)
    elif isinstance(thing, dict):
      for key, value in sorted(thing.items(), key=lambda item: repr(item[0])):
        yield from self._all([repr(key), value])
    elif isinstance(thing, type):
      yield from self._class(thing)
    elif isinstance(thing, property):
      yield from self._all([thing.fget, thing.fset])
    elif isinstance(thing, staticmethod | classmethod | types.MethodType):
      yield from self.parts(thing.__func__)
    elif isinstance(thing, np.ndarray | jax.Array):
      yield _numbers(thing)
    elif isinstance(thing, set | frozenset):  # whose order is another one in every process
      yield sorted(repr(list(self._all([item]))) for item in thing)
    elif _is_users_class(type(thing)):
      yield from self._instance(thing)
    elif callable(thing):
      yield from self._function(thing)

  def _all(self, things):
    for thing in things:
      if isinstance(thing, _CONSTANTS):
        yield repr(thing)
      else:
        yield from self.parts(thing)

  def _instance(self, thing):
    yield from self.parts(type(thing))
    if dataclasses.is_dataclass(thing):  # what else lies there is of the library that made it one
      held = {item.name: getattr(thing, item.name, None) for item in dataclasses.fields(thing)}
    else:
      held = getattr(thing, '__dict__', {})
    for name, value in sorted(held.items()):
      yield name
      yield from self._all([value])

  def _class(self, thing):
    if not _is_users_class(thing):
      return
    yield thing.__qualname__
    yield from self._all(thing.__bases__)
    for name, value in sorted(vars(thing).items()):
      if not isinstance(value, _CONSTANTS):
        yield from self.parts(value)
      elif not name.startswith('__'):
        yield name, repr(value)

  def _function(self, thing):
    function = inspect.unwrap(thing)
    if not isinstance(function, types.FunctionType):
      return
    if not _is_users(function.__code__.co_filename):
      return
    yield _content(function.__code__, function.__doc__)
    closure = _filled(function.__closure__ or ())
    yield from self._all([function.__defaults__, function.__kwdefaults__, *closure])
    yield from self._named(function.__globals__, tuple(sorted(_names(function.__code__))))

  def _named(self, namespace, names):
    """Yields what the names that some code says stand for, in its module and in modules of the
    user's that it names."""
    for name in names:
      value = namespace.get(name)
      if isinstance(value, types.ModuleType):
        if _is_users(getattr(value, '__file__', None)) and (id(value), names) not in self._seen:
          self._seen[id(value), names] = value
          yield from self._named(vars(value), names)
      elif not isinstance(value, _CONSTANTS):
        yield from self.parts(value)
      elif value is not None:
        yield name, repr(value)


def _is_users_class(thing: type) -> bool:
  # A class from a config file is in no module that sys.modules has.
  module = sys.modules.get(thing.__module__)
  return module is None or _is_users(getattr(module, '__file__', None))


def _numbers(array: np.ndarray | jax.Array) -> tuple | None:
  """Returns what tells an array from others; None where its numbers are not at hand."""
  if isinstance(array, jax.Array):
    if isinstance(array, jax.core.Tracer) or not array.is_fully_addressable:
      return None
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
      array = jax.random.key_data(array)
  array = np.ascontiguousarray(array)
  if array.dtype.hasobject:
    return None
  return str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest()


def _filled(cells) -> list[Any]:
  """Returns the contents of those cells of a closure that have some yet."""
  contents = []
  for cell in cells:
    with contextlib.suppress(ValueError):
      contents.append(cell.cell_contents)
  return contents


def _content(code: types.CodeType, doc: str | None = None) -> tuple:
  constants = [None if doc and value == doc else _constant(value) for value in code.co_consts]
  return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars


def _constant(value: Any) -> Any:
  if isinstance(value, types.CodeType):
    return _content(value)
  if isinstance(value, frozenset):  # its order is another one in every process
    return sorted(map(repr, value))
  return [_constant(item) for item in value] if isinstance(value, tuple) else repr(value)


def _names(code: types.CodeType) -> set[str]:
  names = set(code.co_names)
  for value in code.co_consts:
    if isinstance(value, types.CodeType):
      names |= _names(value)
  return names


@functools.cache
def _is_users(file: str | None) -> bool:
  """Whether a file is neither jaxdistill's nor that of an installed package."""
  if not file or file.startswith('<') and not file.startswith(_TYPED):
    return False
  path = pathlib.Path(file).resolve()
  return not any(path.is_relative_to(folder) for folder in (_PACKAGE, *_LIBRARIES))

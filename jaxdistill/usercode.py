"""The code of what a user adds (methods, networks, kernels): a hash that follows what it calls."""

import contextlib
import dataclasses
import enum
import functools
import hashlib
import inspect
import pathlib
import re
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.core import FrozenDict
from ml_collections import ConfigDict

# Of what the hashes tell apart: those of another number do not compare.
FORM = 2
_PACKAGE = pathlib.Path(__file__).resolve().parent
_LIBRARIES = tuple(
  pathlib.Path(sysconfig.get_path(name)).resolve()
  for name in ('stdlib', 'platstdlib', 'purelib', 'platlib')
)
# What Python calls the file of code that someone types.
_TYPED = ('<stdin', '<ipython', '<doctest')
_CONSTANTS = (int, float, complex, str, bytes, bool, type(None), np.generic, np.dtype)
_CONSTANTS += (enum.Enum, range, slice, pathlib.PurePath, re.Pattern)


def code_hash(thing: Any) -> str:
  """Returns the SHA-256 of the code of functions and classes of the user, and of all code and
  constants of theirs that it reaches; '' of what is none of the user's.

  Arrays that the code reaches are constants of it, such as the weights that a function closes over,
  and so is what an object holds. Of a library's functions and classes that it reaches the names
  count, and what they close over, such as the rate of an optimiser.
  Compiled code is compared: comments, docstrings, line numbers and file names do not count, nor
  does what lies in the same file and is not called. Another version of Python compiles to other
  code.

  >>> code_hash(lambda x: x + 1) == code_hash(lambda x: x + 1) != code_hash(lambda x: x + 2)
  True
  >>> code_hash(hashlib.sha256)
  ''
  """
  parts = list(_Reader().parts(thing))
  if all(isinstance(part, _OfLibrary | _Mark) for part in parts):
    return ''
  return hashlib.sha256(repr(parts).encode()).hexdigest()


def python() -> str:
  """Returns the version of Python whose hashes compare.

  >>> python().count('.')
  1
  """
  return '.'.join(map(str, sys.version_info[:2]))


class _OfLibrary(NamedTuple):
  """What is known of a thing of a library's: code of its own does not count."""

  module: str | None
  name: str


class _Mark(NamedTuple):
  """How the parts beside it belong together."""

  kind: str
  number: int


class _Reader:
  """Goes through code and what it names; of a thing that comes again its number is told."""

  def __init__(self, seen: Mapping[Any, Any] = types.MappingProxyType({})):
    self._seen = dict(seen)  # values too, so that Python gives no id twice

  def parts(self, thing: Any) -> Iterator[Any]:
    """Yields what the code of a thing consists of."""
    if id(thing) in self._seen:
      yield _Mark('again', self._seen[id(thing)][0])
      return
    self._seen[id(thing)] = len(self._seen), thing
    if isinstance(thing, functools.partial):
      yield from self._all([thing.func, thing.args, thing.keywords])
    elif isinstance(thing, tuple | list):
      yield _Mark('sequence', len(thing))
      yield from self._all(thing)
    elif isinstance(thing, dict | types.MappingProxyType | FrozenDict | ConfigDict):
      yield from self._mapping(thing)
    elif isinstance(thing, type):
      yield from self._class(thing)
    elif isinstance(thing, property):
      yield from self._all([thing.fget, thing.fset])
    elif isinstance(thing, types.MethodType):
      yield from self._all([thing.__func__, thing.__self__])
    elif isinstance(thing, staticmethod | classmethod):
      yield from self.parts(thing.__func__)
    elif isinstance(thing, np.ndarray | jax.Array):
      yield _numbers(thing)
    elif isinstance(thing, set | frozenset):  # whose order is another one in every process
      yield sorted(map(self._apart, thing))
    elif dataclasses.is_dataclass(thing) or _is_users_class(type(thing)):
      yield from self._instance(thing)
    elif callable(thing):
      yield from self._function(thing)
    else:
      yield from self.parts(type(thing))

  def _all(self, things):
    for thing in things:
      if isinstance(thing, _CONSTANTS):
        yield repr(thing)
      else:
        yield from self.parts(thing)

  def _mapping(self, thing):
    items = [(self._apart(key), value) for key, value in thing.items()]
    for key, value in sorted(items, key=lambda item: item[0]):
      yield key
      yield from self._all([value])

  def _apart(self, thing):
    """What a thing consists of as a text that does not depend on what stands beside it."""
    if isinstance(thing, _CONSTANTS):
      return repr(thing)
    return repr(list(_Reader(self._seen)._all([thing])))

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
      yield _OfLibrary(thing.__module__, thing.__qualname__)
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
    if isinstance(function, types.FunctionType) and _is_users(function.__code__.co_filename):
      yield _content(function.__code__, function.__doc__)
      closure = _filled(function.__closure__ or ())
      yield from self._all([function.__defaults__, function.__kwdefaults__, *closure])
      yield from self._named(function.__globals__, tuple(sorted(_names(function.__code__))))
    elif hasattr(function, '__name__'):
      name = getattr(function, '__qualname__', function.__name__)
      yield _OfLibrary(getattr(function, '__module__', None), name)
      yield from self._all(_filled(getattr(function, '__closure__', None) or ()))
    else:
      yield from self.parts(type(function))

  def _named(self, namespace, names):
    """Yields what the names that some code says stand for, in its module and in modules of the
    user's that it names."""
    for name in names:
      value = namespace.get(name)
      if isinstance(value, types.ModuleType):
        if _is_users(getattr(value, '__file__', None)) and (id(value), names) not in self._seen:
          self._seen[id(value), names] = len(self._seen), value
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

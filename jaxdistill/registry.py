"""Things by name: methods, networks, losses, views, data sets; and what fields a thing made by name
takes."""

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from jaxdistill.errors import UserError, unknown

_registries: list['Registry'] = []


class Registry(MutableMapping):
  """A table from names to things, to which users may add their own.

  An entry is the thing itself, or the text 'module:attribute' ('module' for the whole module),
  which is imported when it is first asked for. What jaxdistill brings cannot be replaced.

  Args:
    kind: what the things are called in messages.
    entries: those that jaxdistill brings.
    labels: how tables and reports call them; the others go by their names.

  >>> shapes = Registry('shape', {'square': 'math:sqrt'}, labels={'square': 'Square'})
  >>> shapes['dot'] = 0
  >>> shapes.find('square')(4), shapes.find('dot'), list(shapes), shapes.labels['dot']
  (2.0, 0, ['square', 'dot'], 'dot')
  >>> shapes.find('squere')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no shape 'squere'; did you mean 'square'? Valid: ...
  """

  def __init__(
    self, kind: str, entries: Mapping[str, Any], labels: Mapping[str, str] | None = None
  ):
    self.kind = kind
    self._entries = dict(entries)
    self._shipped = frozenset(entries)
    self._labels = {name: name for name in entries} | dict(labels or {})
    _registries.append(self)

  @property
  def labels(self) -> Mapping[str, str]:
    """The label of every name, as the table is at the moment."""
    return types.MappingProxyType(self._labels)

  @property
  def added(self) -> list[str]:
    """The names that users have added."""
    return [name for name in self._entries if name not in self._shipped]

  def register(self, name: str, entry: Any, label: str = '') -> None:
    """Adds a thing of the user's; under a name given before, it takes the place of that one.

    Args:
      name: its name.
      entry: the thing, or the text 'module:attribute'.
      label: how tables and reports call it; '': the name.

    Raises:
      UserError: for a name that jaxdistill brings.
    """
    if name in self._shipped:
      raise UserError(
        f'The name {name!r} belongs to a {self.kind} of jaxdistill; give yours another one.'
      )
    self._entries[name], self._labels[name] = entry, label or name

  def find(self, name: str) -> Any:
    """Returns the thing of this name, imported if need be.

    Raises:
      UserError: there is none.
    """
    if name not in self._entries:
      raise unknown(self.kind, name, self._entries)
    entry = self._entries[name]
    return load(entry) if isinstance(entry, str) else entry

  def __getitem__(self, name: str) -> Any:
    return self._entries[name]

  def __setitem__(self, name: str, entry: Any) -> None:
    self.register(name, entry)

  def __delitem__(self, name: str) -> None:
    if name in self._shipped:
      raise UserError(f'The {self.kind} {name!r} belongs to jaxdistill; it cannot be removed.')
    del self._entries[name], self._labels[name]

  def __iter__(self) -> Iterator[str]:
    return iter(self._entries)

  def __len__(self) -> int:
    return len(self._entries)


def of_users(names: Container[str]) -> dict[str, Any]:
  """Returns the things that users have added under some names, whatever their kind, imported.

  >>> colours = Registry('colour', {'red': 0})
  >>> colours['puce'] = 1
  >>> of_users(['red', 'puce'])
  {"colour 'puce'": 1}
  """
  things = {}
  for registry in _registries:
    for name in registry.added:
      if name in names:
        things[f'{registry.kind} {name!r}'] = registry.find(name)
  return things


def load(text: str) -> Any:
  """Returns what 'module:attribute' names, or the module where no attribute is.

  >>> load('math:tau') == 2 * load('math').pi
  True
  """
  module, _, attribute = text.partition(':')
  imported = importlib.import_module(module)
  return getattr(imported, attribute) if attribute else imported


def fields(factory: Callable) -> dict[str, tuple[Any, ...]]:
  """Returns the fields that a factory takes, which are its keyword-only arguments, and the only
  values of each: those of a typing.Literal, else () for any.

  >>> def draw(canvas, *, colour: typing.Literal['red', 'blue'] = 'red', size=1):
  ...   return f'{size} {colour}'
  >>> fields(draw)
  {'colour': ('red', 'blue'), 'size': ()}
  """
  return {
    parameter.name: _choices(parameter.annotation)
    for parameter in inspect.signature(factory).parameters.values()
    if parameter.kind == parameter.KEYWORD_ONLY
  }


def defaults(factory: Callable) -> dict[str, Any]:
  """Returns the fields that a factory takes with their defaults.

  >>> defaults(lambda canvas, *, colour='red', size=1: canvas)
  {'colour': 'red', 'size': 1}
  """
  parameters = inspect.signature(factory).parameters
  return {name: parameters[name].default for name in fields(factory)}


def _choices(annotation: Any) -> tuple[Any, ...]:
  return typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()


def check(
  factories: Iterable[Callable], given: Mapping[str, Any], owner: str, hint: str = ''
) -> None:
  """Raises `UserError` for a field that none of the factories takes, or a value that is none of its
  choices.

  Args:
    factories: what is made from the fields together.
    given: the fields.
    owner: whose fields they are, for the message.
    hint: what to do where there is nothing to set.

  >>> check([lambda *, width=1: width], {'widht': 2}, 'method mine')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no field of method mine 'widht'; did you mean 'width'? ...
  """
  valid = {}
  for factory in factories:
    valid |= fields(factory)
  for name, value in given.items():
    if not valid:
      instead = f'; {hint}' if hint else ''
      raise UserError(f'There is no field of {owner} {name!r}, it has none of its own{instead}.')
    if name not in valid:
      raise unknown(f'field of {owner}', name, valid)
    if valid[name] and value not in valid[name]:
      raise unknown(name, value, valid[name])


def call(factory: Callable, *arguments: Any, given: Mapping[str, Any]) -> Any:
  """Calls a factory with arguments and with those of the given fields that it takes; what no
  factory takes, `check` tells.

  >>> call(lambda x, *, times=1: x * times, 2, given={'times': 3, 'colour': 'red'})
  6
  """
  taken = fields(factory)
  return factory(*arguments, **{name: value for name, value in given.items() if name in taken})

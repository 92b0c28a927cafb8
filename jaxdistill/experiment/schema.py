"""What a section of a config holds, declared once as a frozen dataclass: types, least values,
choices, a line of help.

  @dataclasses.dataclass(frozen=True)
  class Storage:
    ipc: int = schema.field(help='stored images a class', at_least=1)

From it come the checks of any config (`check_fields`, `check_values`), the frozen value that a flow
hands on (`read`), the section of a config with the defaults (`section`), what people are told of
each field (`experiment.explain`), and the arguments behind a config's file name with their list in
its header (`experiment.arguments`). A field whose type is such a dataclass is a section; one whose
type is Mapping is a section that others check (a network's or a method's own fields).
"""

import dataclasses
import functools
import math
import numbers
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxdistill.errors import UserError, unknown

# What a value has to be, by its declared type, and the words for it.
TYPES = {
  bool: ('true or false', lambda value: isinstance(value, bool)),
  int: (
    'a whole number',
    lambda value: isinstance(value, numbers.Integral) and not isinstance(value, bool),
  ),
  float: (
    'a number',
    lambda value: isinstance(value, numbers.Real) and not isinstance(value, bool),
  ),
  str: ('a text', lambda value: isinstance(value, str)),
  tuple: ('a list of texts', lambda value: isinstance(value, tuple | list)),
}


@dataclasses.dataclass(frozen=True)
class _Rule:
  """What `field` says of a field beside its type and default."""

  help: str
  at_least: float | None
  below: float | None
  choices: Sequence[Any]
  separator: str
  kind: str
  key: str
  example: str
  optional: bool


class Field(NamedTuple):
  """A declared field: its dotted key, the names in the config and in the dataclass, type, default
  (`dataclasses.MISSING` for none) and rule."""

  key: str
  name: str
  attribute: str
  type: Any
  default: Any
  rule: _Rule

  def is_missing(self, config: Mapping[str, Any]) -> bool:
    """Whether a config lacks the field, and must not."""
    return self.name not in config and not self.rule.optional

  @property
  def is_section(self) -> bool:
    """Whether the field is a section of declared fields."""
    return dataclasses.is_dataclass(self.type)

  @property
  def is_open(self) -> bool:
    """Whether the field is a section whose fields are checked elsewhere."""
    return typing.get_origin(self.type) is not None and issubclass(
      typing.get_origin(self.type), Mapping
    )


def field(
  default: Any = dataclasses.MISSING,
  *,
  help: str = '',
  at_least: float | None = None,
  below: float | None = None,
  choices: Sequence[Any] = (),
  separator: str = '',
  kind: str = '',
  key: str = '',
  example: Any = '',
  optional: bool = False,
) -> Any:
  """Declares a field of a section.

  Args:
    default: its value where a config is made; none: whoever makes one must say it.
    help: one line for people.
    at_least: the least value that makes sense.
    below: the first value too large.
    choices: the only values; of a tuple, those of its items.
    separator: of a text that lists several choices, such as '_' in 'color_crop'.
    kind: how a message calls the choices; '': by the dotted key.
    key: the name in a config where it is not the attribute's own.
    example: a value for the list of arguments in a config's header.
    optional: whether a config may lack it, and then has the default.

  Returns:
    What `dataclasses.field` does.

  >>> @dataclasses.dataclass(frozen=True)
  ... class Storage:
  ...   ipc: int = field(help='stored images a class', at_least=1)
  ...   factor: int = field(1, at_least=1)
  >>> section(Storage(ipc=10)).to_dict()
  {'factor': 1, 'ipc': 10}
  >>> check_values(Storage, ConfigDict(dict(ipc=0, factor=1)))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: ipc is 0; it must be at least 1.
  """
  rule = _Rule(help, at_least, below, choices, separator, kind, key, str(example), optional)
  return dataclasses.field(default=default, metadata={'rule': rule})


@functools.cache
def declared(cls: type, prefix: str = '') -> tuple[Field, ...]:
  """Returns the fields that a dataclass declares, sections among them, not those inside them.

  `prefix` stands before their keys: the dotted key of the section, with a dot.
  """
  hints = typing.get_type_hints(cls)
  fields = []
  for item in dataclasses.fields(cls):
    rule = item.metadata.get('rule') or field().metadata['rule']
    name = rule.key or item.name
    fields.append(Field(f'{prefix}{name}', name, item.name, hints[item.name], item.default, rule))
  return tuple(fields)


def flat(cls: type, prefix: str = '') -> Iterator[Field]:
  """Yields every declared field, those of sections in their place."""
  for item in declared(cls, prefix):
    if item.is_section:
      yield from flat(item.type, f'{item.key}.')
    elif not item.is_open:
      yield item


def check_fields(cls: type, config: ConfigDict, prefix: str = '') -> None:
  """Raises `UserError` for a field that a config has too much (with the nearest one) or lacks.

  >>> @dataclasses.dataclass(frozen=True)
  ... class Data:
  ...   name: str = field('digits')
  >>> check_fields(Data, ConfigDict(dict(nam='digits')))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no config key 'nam'; did you mean 'name'? Valid: name.
  """
  if not isinstance(config, ConfigDict):
    raise UserError(f'{prefix.rstrip(".")} is {config!r}; it must be a section of fields.')
  fields = declared(cls, prefix)
  names = {item.name for item in fields}
  for name in config:
    if name not in names:
      raise unknown('config key', f'{prefix}{name}', [item.key for item in fields])
  missing = sorted(item.key for item in fields if item.is_missing(config))
  if missing:
    raise UserError(f'The config lacks {", ".join(missing)}.')
  for item in fields:
    if item.is_section:
      check_fields(item.type, config[item.name], f'{item.key}.')


def check_values(cls: type, config: ConfigDict) -> None:
  """Raises `UserError` for a value of the wrong type, out of range or none of the choices; of the
  fields that are there.
  """
  for item, value in _values(cls, config):
    _check(item, value)


def _values(cls: type, config: ConfigDict, prefix: str = '') -> Iterator[tuple[Field, Any]]:
  """Yields every declared field that a config has, those of its sections too, with its value."""
  for item in declared(cls, prefix):
    if item.name not in config or item.is_open:
      continue
    if item.is_section:
      yield from _values(item.type, config[item.name], f'{item.key}.')
    else:
      yield item, config[item.name]


def _check(item: Field, value: Any) -> None:
  rule, kind = item.rule, typing.get_origin(item.type) or item.type
  words, fits = TYPES[kind]
  if not fits(value):
    raise UserError(f'{item.key} is {value!r}; it must be {words}.')
  if kind is float and not math.isfinite(value):
    raise UserError(f'{item.key} is {value}; it must be a finite number.')
  chosen = list(value) if kind is tuple else [value]
  if rule.separator:
    chosen = [part for part in value.split(rule.separator) if part]
  for choice in chosen if rule.choices else ():
    if choice not in rule.choices:
      raise unknown(rule.kind or item.key, choice, rule.choices)
  twice = [part for part in chosen if chosen.count(part) > 1] if kind is tuple else []
  if twice:
    raise UserError(f'{item.key} names {twice[0]!r} twice.')
  if rule.at_least is not None and value < rule.at_least:
    raise UserError(f'{item.key} is {value}; it must be at least {rule.at_least}.')
  if rule.below is not None and value >= rule.below:
    raise UserError(f'{item.key} is {value}; it must be below {rule.below}.')


def read(cls: type, config: Mapping[str, Any]) -> Any:
  """Returns a section of a config, or a whole config, as the frozen value that it declares.

  Fields that `cls` does not declare are left out, as one section may serve two readers; what is
  wrong with a config is told by `check_fields` and `check_values`.

  Raises:
    UserError: for a field that is missing.

  >>> @dataclasses.dataclass(frozen=True)
  ... class Data:
  ...   name: str = field('digits')
  ...   size: int = field(0, key='image_size')
  >>> read(Data, ConfigDict(dict(name='cifar10', image_size=32)))
  Data(name='cifar10', size=32)
  """
  return _read(cls, config, '')


def _read(cls: type, config: Mapping[str, Any], prefix: str) -> Any:
  fields = declared(cls, prefix)
  missing = sorted(item.key for item in fields if item.is_missing(config))
  if missing:
    raise UserError(f'The config lacks {", ".join(missing)}.')
  values = {}
  for item in fields:
    if item.name not in config:
      continue
    value = config[item.name]
    if item.is_section:
      value = _read(item.type, value, f'{item.key}.')
    elif item.is_open:
      value = types.MappingProxyType(ConfigDict(value).to_dict())
    elif isinstance(value, list):
      value = tuple(value)
    values[item.attribute] = value
  return cls(**values)


def recorded(cls: type, config: Mapping[str, Any]) -> ConfigDict:
  """Returns a config, or a section of one, as work dirs and hashes hold it: without the optional
  fields that have their default, which those of before such a field was there lack as well.

  >>> @dataclasses.dataclass(frozen=True)
  ... class Storage:
  ...   ipc: int = field(help='stored images a class')
  ...   space: str = field('pixels', optional=True)
  >>> recorded(Storage, dict(ipc=1, space='pixels')).to_dict(), recorded(
  ...   Storage, dict(ipc=1, space='unit')).to_dict()
  ({'ipc': 1}, {'ipc': 1, 'space': 'unit'})
  """
  content = ConfigDict(config)
  for item in declared(cls):
    if item.name not in content:
      continue
    value = content[item.name]
    if item.is_section and isinstance(value, ConfigDict):
      content[item.name] = recorded(item.type, value)
    elif item.rule.optional:
      # A list of JSON equals the tuple that it was.
      if (tuple(value) if isinstance(value, list) else value) == item.default:
        del content[item.name]
  return content


def optional(cls: type) -> dict[str, Any]:
  """Returns the defaults of the optional fields, those of sections too, by dotted key.

  >>> @dataclasses.dataclass(frozen=True)
  ... class Storage:
  ...   ipc: int = field(help='stored images a class')
  ...   space: str = field('pixels', optional=True)
  >>> optional(Storage)
  {'space': 'pixels'}
  """
  return {item.key: item.default for item in flat(cls) if item.rule.optional}


def section(value: Any) -> ConfigDict:
  """Returns a declared value as a config or a section of one; `read` gives an equal value back."""
  config = ConfigDict()
  for item in declared(type(value)):
    content = getattr(value, item.attribute)
    if item.is_section:
      content = section(content)
    elif item.is_open:
      content = dict(content)
    config[item.name] = content
  return config

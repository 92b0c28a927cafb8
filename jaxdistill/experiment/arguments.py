"""The arguments behind a config's file name, declared as a dataclass of `experiment.schema` fields.

  @dataclasses.dataclass(frozen=True)
  class Arguments:
    data: str = schema.field('digits', choices=('digits', 'npz:'), help='the data set')
    ipc: int = schema.field(1, example=10, help='stored images a class')

`get_config` reads them from the text that it is given, or from values; the header of the config
lists them, and a test compares it with `listing`.
"""

import dataclasses
import fractions
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill import config as configs
from jaxdistill import models
from jaxdistill.errors import UserError, brief
from jaxdistill.experiment import checking

_WIDTH = 100
# What a text has to be, by what reads it.
_NUMBERS = {
  int: 'whole number',
  float: 'number',
  fractions.Fraction: 'number or a fraction such as 8/255',
}


def read(cls: type, given: str | Mapping[str, Any] = '') -> Any:
  """Returns what stands behind a config's file name as the value that `cls` declares.

  Args:
    cls: the arguments; the choices of its field `data`, if it has one, are the bare words.
    given: the text, 'cifar10,ipc=10,quick', or values by name, see `config.parse_argument`.

  Raises:
    UserError: for an unknown name or value, with the nearest valid one.

  >>> from jaxdistill.experiment import schema
  >>> @dataclasses.dataclass(frozen=True)
  ... class Arguments:
  ...   data: str = schema.field('digits', choices=('digits', 'npz:'))
  ...   ipc: int = schema.field(1)
  >>> read(Arguments, 'npz:mine.npz,ipc=5') == read(
  ...   Arguments, dict(data='npz:mine.npz', ipc=5))
  True
  """
  presets, defaults = (), {}
  for item in dataclasses.fields(cls):
    choices = item.metadata['rule'].choices
    if item.name == 'data':
      presets = choices
    elif choices:
      defaults[item.name] = (item.default, *(word for word in choices if word != item.default))
    else:
      defaults[item.name] = item.default
  return cls(**configs.parse_argument(given, presets, **defaults))


def network(asked: str, usual: Mapping[str, Any]) -> dict[str, Any]:
  """Returns all fields of the network that is asked for, else of the usual one; where both have one
  name, with the usual fields.

  >>> network('', {'name': 'mlp', 'width': 4})['width'], network('mlp', {'name': 'lenet'})['name']
  (4, 'mlp')
  """
  chosen = dict(usual) if asked in ('', usual['name']) else {'name': asked}
  fields = models.defaults(chosen['name'])
  del fields['dtype']  # which is one for the whole run
  chosen.pop('dtype', None)
  return {**fields, **chosen}


def narrowed(network: Mapping[str, Any], most: int) -> dict[str, Any]:
  """Returns the fields of a network for a smoke run: at most so wide, where it has a width, whether
  that is said (0: the network chooses) or not.

  >>> narrowed({'name': 'mlp', 'width': 4}, 8)['width'], narrowed({'name': 'mlp'}, 8)['width']
  (4, 8)
  """
  return models.of_width(network, min(network.get('width') or most, most))


def config_of(
  method: str, folder: str, given: Mapping[str, Any], other: Callable[[str], Any]
) -> Any:
  """Returns the config of a method: of a .py file of the user's, or a shipped one.

  Args:
    method: its name, or the path of the file.
    folder: of the shipped configs.
    given: arguments of the config, by name.
    other: makes the config of a name that no file has, or refuses it.

  Raises:
    UserError: it is no text, or a file with another config than that of one method.
  """
  if not isinstance(method, str):
    raise UserError(f'method is the name of a method, or a .py file; it is {method!r}.')
  if method.endswith('.py'):
    config = configs.load(method, given)
    checking.check_single(config, folder, method)
    return config
  if method != 'compare' and f'{folder}/{method}' in configs.names():
    return configs.load(f'{folder}/{method}', given)
  return other(method)


def names(
  what: str, given: Iterable[str], example: str, at_least: int = 0, sums: str = ''
) -> tuple[str, ...]:
  """Returns the names that a list holds.

  Args:
    what: the list is of.
    given: the list.
    example: of one, for people.
    at_least: how many it must hold.
    sums: how a name that is a sum is written, for people.

  Raises:
    UserError: it is a text or no list, holds too few names, one twice, or what is no name, such as
      several joined by +.

  >>> names('methods', ['at', 'rwp'], "['at', 'rwp']")
  ('at', 'rwp')
  >>> names('methods', 'at', "['at', 'rwp']")
  Traceback (most recent call last):
  jaxdistill.errors.UserError: methods is a list of names, such as ['at', 'rwp']; got 'at'.
  """
  is_list = isinstance(given, Iterable) and not isinstance(given, str)
  listed = tuple(given) if is_list else ()
  are_names = is_list and all(isinstance(name, str) for name in listed)
  if not are_names or len(listed) < at_least:
    raise UserError(f'{what} is a list of names, such as {example}; got {brief(repr(given))}.')
  for name in listed:
    if '+' in name:
      instead = f', and a sum {sums}' if sums else ''
      raise UserError(f'{what} holds {name!r}; give each name by itself{instead}.')
    if listed.count(name) > 1:
      raise UserError(f'{what} holds {name!r} twice; name it once.')
  return tuple(map(str, listed))


def overrides(fixed: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
  """Returns what fields of a config become whose images were handed over, by dotted name.

  Args:
    fixed: what the call says.
    given: what its user says beside, which counts where both say something; None: nothing.

  Raises:
    UserError: that is no mapping of names, or says which images are loaded.

  >>> overrides({'seed': 1}, {'run.devices': 1})
  {'seed': 1, 'run.devices': 1}
  >>> overrides({'seed': 1}, {'data.image_size': 16})
  Traceback (most recent call last):
  jaxdistill.errors.UserError: data.image_size says how images are loaded, and here they are ...
  """
  given = {} if given is None else given
  if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
    raise UserError(
      "overrides are values by the dotted names of fields, such as {'run.devices': 1}; got "
      f'{brief(repr(given))}.'
    )
  for key in given:
    if key.partition('.')[0] == 'data':
      raise UserError(
        f'{key} says how images are loaded, and here they are handed over: leave it out, and hand '
        'over other ones.'
      )
  return {**fixed, **given}


def number(name: str, text: str, kind: type = float, usual: float | None = None) -> float:
  """Returns the number that a text says.

  Args:
    name: of the argument.
    text: '' stands for the usual one, where there is one.
    kind: int, float or Fraction: what it may say; a fraction becomes a float.
    usual: number.

  Raises:
    UserError: it says none.

  >>> number('eps', '1/4', fractions.Fraction), number('low', '', int, 4)
  (0.25, 4)
  >>> number('val', 'much')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: val=much behind the data set must be a number.
  """
  if not text and usual is not None:
    return usual
  try:
    value = kind(str(text))
  except (ValueError, ZeroDivisionError):
    raise UserError(f'{name}={text} behind the data set must be a {_NUMBERS[kind]}.') from None
  return float(value) if kind is fractions.Fraction else value


def network_of(model: str | Mapping[str, Any]) -> dict[str, Any]:
  """Returns all fields of a network that is given by its name, or by some of its fields.

  Raises:
    UserError: it is neither, the fields lack the name, or have a precision, which is the run's.

  >>> network_of('mlp')['name'], network_of({'name': 'mlp', 'width': 4})['width']
  ('mlp', 4)
  """
  fields = fields_of(model)
  if not fields.get('name'):
    raise _no_network(model)
  if (dtype := fields.get('dtype', 'float32')) != 'float32':
    raise UserError(
      f'The fields of {fields["name"]} say dtype={dtype!r}; all networks of a run compute in one '
      "precision, which overrides={'dtype': ...} chooses. Leave it out of the fields."
    )
  return network('', fields)


def fields_of(model: str | Mapping[str, Any]) -> dict[str, Any]:
  """Returns the fields that are given of a network, as `models.build` takes them: a name alone is
  one.

  Raises:
    UserError: it is neither a name nor fields by name.

  >>> fields_of('mlp'), fields_of({'name': 'mlp', 'width': 4})
  ({'name': 'mlp'}, {'name': 'mlp', 'width': 4})
  """
  if isinstance(model, str):
    return {'name': model}
  if isinstance(model, Mapping | ConfigDict):
    return dict(model)
  raise _no_network(model)


def _no_network(model):
  return UserError(
    "A network is given by its name, or by fields such as {'name': 'mlp', 'width': 8}; got "
    f'{brief(repr(model))}.'
  )


def listing(cls: type) -> str:
  """Returns the list of arguments as the header of a config shows it: the bare words, then a line
  an argument with an example, its help and its default.

  >>> from jaxdistill.experiment import schema
  >>> @dataclasses.dataclass(frozen=True)
  ... class Arguments:
  ...   data: str = schema.field('digits', choices=('digits', 'npz:'), help='the data set')
  ...   ipc: int = schema.field(1, example=10, help='stored images a class')
  ...   quick: bool = schema.field(False, help='a smoke run')
  >>> print(listing(Arguments))
  After the colon stand the data set (digits or npz:PATH) and, behind commas:
    ipc=10  stored images a class (1)
    quick   a smoke run
  """
  fields = {item.name: item.metadata['rule'] for item in dataclasses.fields(cls)}
  defaults = {item.name: item.default for item in dataclasses.fields(cls)}
  data = fields.pop('data', None)
  names = {
    name: name if defaults[name] is False else f'{name}={rule.example}'
    for name, rule in fields.items()
  }
  column = max(map(len, names.values())) + 4
  lines = []
  if data:
    *words, last = [f'{word}PATH' if word.endswith(':') else word for word in data.choices]
    opening = (
      f'After the colon stand {data.help} ({", ".join(words)} or {last}) and, behind commas:'
    )
    lines += textwrap.wrap(opening, _WIDTH, break_long_words=False, break_on_hyphens=False)
  for name, rule in fields.items():
    default = f' ({defaults[name]})' if defaults[name] else ''
    lines += textwrap.wrap(
      f'{rule.help}{default}',
      _WIDTH,
      initial_indent=f'  {names[name]}'.ljust(column),
      subsequent_indent=' ' * column,
      break_long_words=False,
      break_on_hyphens=False,
    )
  return '\n'.join(lines)

"""Configs: Python files that return an `ml_collections.ConfigDict`, found by name, with typed
arguments and overrides.

A config file holds `get_config(arg)`. What stands after the file name reaches it as `arg`, for
example `condensation/m3d.py:cifar10,ipc=10`; `parse_argument` reads that text. Single fields are
changed afterwards with `override`. Every mistake is refused with the nearest valid name.
"""

import ast
import contextlib
import importlib.util
import json
import math
import numbers
import os
import pathlib
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxdistill.errors import UserError, brief, shown, unknown
from jaxdistill.files import expanded

_PACKAGE = pathlib.Path(__file__).resolve().parent
_HEADER_KEYS = ('Command', 'Run time', 'Expected')
# Columns for the values of a printed config; a longer value pushes its help aside.
_VALUES = 40
# Of the differences of two configs so many are told.
_CHANGES = 8


class Entry(NamedTuple):
  """What the header of a shipped config says: its name and the texts of its docstring ('' where it
  is silent)."""

  name: str
  description: str
  command: str
  run_time: str
  expected: str


def root() -> pathlib.Path:
  """Returns the folder of the shipped configs: inside an installed package, or beside it in a
  checkout.

  >>> root().name
  'configs'
  """
  inside = _PACKAGE / 'configs'
  return inside if inside.is_dir() else _PACKAGE.parent / 'configs'


def names() -> list[str]:
  """Returns the names of the shipped configs, `family/method`.

  >>> 'condensation/m3d' in names()
  True
  """
  folder = root()
  files = (path.relative_to(folder).with_suffix('') for path in folder.rglob('*.py'))
  return sorted(name.as_posix() for name in files if not name.name.startswith('_'))


def find(path: str) -> pathlib.Path:
  """Returns the file of a config: a path to a `.py` file of yours, or the name of a shipped config.

  A shipped config answers to its path in the repository (`configs/condensation/m3d.py`), to the
  same without `configs/` or `.py`, and to the last part alone (`m3d`) while no other family has a
  config of that name.

  Raises `UserError`, with the nearest shipped name, for anything else.

  >>> find('m3d') == find('configs/condensation/m3d.py') == find('condensation/m3d')
  True
  """
  file = expanded(path)
  if file.suffix == '.py' and os.path.isfile(file):
    return file.resolve()
  name = re.sub(r'\.py$', '', re.sub(r'^(\./)?(configs/)?', '', path))
  shipped = {full: full.split('/')[-1] for full in names()}
  matches = [name] if name in shipped else [full for full, bare in shipped.items() if bare == name]
  if len(matches) > 1:
    raise UserError(f'The config name {path!r} is ambiguous; write one of: {", ".join(matches)}.')
  if not matches:
    if os.path.isdir(file):
      raise UserError(f'The config {path!r} is a folder; name a .py file, or a shipped config.')
    # A bare method name is compared with bare names, else the family's name would drown the
    # likeness.
    raise unknown('config', path, shipped if '/' in path else set(shipped.values()))
  return root() / f'{matches[0]}.py'


def split(spec: str) -> tuple[str, str]:
  """Splits `PATH[:ARG]` at the first colon; the argument may hold further ones.

  >>> split('m3d:npz:mine.npz,ipc=5')
  ('m3d', 'npz:mine.npz,ipc=5')
  """
  path, _, arg = spec.partition(':')
  return path, arg


def load(spec: str, arguments: Mapping[str, Any] | None = None) -> ConfigDict:
  """Loads `PATH[:ARG]`: runs the file's `get_config(ARG)`, or `get_config()` when there is no
  argument.

  `arguments` are values by name in place of the text ARG; `get_config` hands on to
  `parse_argument` whichever it is given.

  Raises `UserError` for a config that does not exist, is no config, fails, or refuses the argument.

  >>> load('m3d:digits,ipc=2').condensation.ipc
  2
  >>> load('m3d', dict(data='digits', ipc=2)) == load('m3d:digits,ipc=2')
  True
  """
  path, arg = split(spec) if arguments is None else (spec, arguments)
  file = find(path)
  module_spec = importlib.util.spec_from_file_location(f'_jaxdistill_config_{file.stem}', file)
  module = importlib.util.module_from_spec(module_spec)
  with _failing_in(file, path):
    # Without Python's own kept copy, which does not notice a file that was replaced within a
    # second.
    exec(compile(file.read_bytes(), file, 'exec'), module.__dict__)
    if not callable(getattr(module, 'get_config', None)):
      raise UserError(f'{path} is not a config: it has no function get_config(arg).')
    config = module.get_config(arg) if arg else module.get_config()
  if not isinstance(config, ConfigDict):
    kind = type(config).__name__
    raise UserError(
      f'get_config of {path} returned {kind}; it must return an ml_collections.ConfigDict.'
    )
  return config


@contextlib.contextmanager
def _failing_in(file: pathlib.Path, path: str) -> Iterator[None]:
  """Makes one sentence, with the line, of whatever the code of a user's config raises; a config
  that ships with the library has no excuse."""
  try:
    yield
  except (Exception, SystemExit) as error:
    if isinstance(error, UserError) or file.is_relative_to(root().resolve()):
      raise
    reason = getattr(error, 'msg', None) or error
    raise UserError(
      f'The config {path} fails{_line(file, error)} ({type(error).__name__}: {brief(reason)}); '
      'correct it.'
    ) from error


def _line(file: pathlib.Path, error: BaseException) -> str:
  """Where in a file an error has come up, as far as it is known."""
  if isinstance(error, SyntaxError) and error.lineno:
    return f' in line {error.lineno}'
  frames = traceback.extract_tb(error.__traceback__)
  lines = [frame.lineno for frame in frames if frame.filename == str(file)]
  return f' in line {lines[-1]}' if lines else ''


def parse_argument(
  arg: str | Mapping[str, Any], presets: Iterable[str] = (), **defaults: Any
) -> ConfigDict:
  """Reads the text after a config's file name, `'cifar10,ipc=10,quick'`, into a ConfigDict with the
  field `data`.

  A bare word is the data set: one of `presets` (a preset that ends with a colon takes a path:
  `npz:mine.npz`), the first preset when there is none. All else is `name=value` with the names,
  types and fall-back values of `defaults`; a yes-or-no argument may stand alone (`quick`), and a
  tuple as default lists the only values allowed, the first being the fall-back. The manner of
  giving arguments follows big_vision's configs.

  From Python the same comes as values by name, `{'data': 'cifar10', 'ipc': 10}`; there `data` may
  be any name, or '' for images that are in memory.

  Raises `UserError` for an unknown name or value, with the nearest valid one.

  >>> parse_argument('npz:mine.npz,ipc=5', presets=('digits', 'npz:'), ipc=1, quick=False).to_dict()
  {'data': 'npz:mine.npz', 'ipc': 5, 'quick': False}
  >>> parse_argument('quik', presets=('digits', 'npz:'), ipc=1, quick=False)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no data set or argument 'quik'; did you mean 'quick'? ...
  """
  presets = tuple(presets)
  given = arg if isinstance(arg, Mapping) else _split_argument(arg, presets, defaults)
  values = {
    name: default[0] if isinstance(default, tuple) else default
    for name, default in defaults.items()
  }
  if presets:
    values['data'] = presets[0]
  for name, value in given.items():
    if name not in values:
      raise unknown('argument', name, values)
    if name not in defaults:
      values[name] = str(value)
    elif isinstance(defaults[name], tuple):
      values[name] = _choice(name, value, defaults[name])
    else:
      values[name] = _typed(name, value, defaults[name])
  return ConfigDict(values)


def _split_argument(
  arg: str, presets: tuple[str, ...], defaults: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns the texts of an argument by name, the bare word as `data`; a flag alone is True."""
  given = {}
  for item in filter(None, (part.strip() for part in arg.split(','))):
    name, equals, text = item.partition('=')
    if _is_preset(item, presets):
      if 'data' in given:
        raise UserError(
          f'The argument names two data sets, {given["data"]!r} and {item!r}; give one.'
        )
      given['data'] = item
      continue
    if item.endswith(':') and item in presets:
      raise UserError(f'{item!r} needs a path behind it: {item}PATH.')
    bare_flag = not equals and isinstance(defaults.get(name), bool)
    if name not in defaults or not (equals or bare_flag):
      words = [
        word if isinstance(default, bool) else f'{word}=' for word, default in defaults.items()
      ]
      raise unknown('data set or argument', name + equals, [*presets, *words])
    if name in given:
      raise UserError(f'The argument {name!r} is given twice.')
    given[name] = True if bare_flag else text
  return given


def _is_preset(item: str, presets: tuple[str, ...]) -> bool:
  prefixes = tuple(preset for preset in presets if preset.endswith(':'))
  return item.startswith(prefixes) if item not in presets else item not in prefixes


def override(config: ConfigDict, key: str, value: Any) -> None:
  """Sets the field `key` (`'condensation.ipc'`) to `value`, a text being read as the type that the
  field has, in place.

  The text of a field that holds a tuple is comma-separated. Raises `UserError` for a field that
  does not exist (with the nearest one) and for a text or value that is none of the field's type.

  >>> config = ConfigDict(dict(seed=0, model=dict(width=128)))
  >>> override(config, 'model.width', '16')
  >>> config.model.width
  16
  >>> override(config, 'model.widht', '16')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no config key 'model.widht'; did you mean ...
  """
  fields = flat(config)
  if key not in fields:
    inside = [name for name in fields if name.startswith(f'{key}.')]
    if inside:
      raise UserError(
        f'The config key {key!r} is a section; set one of its fields: {", ".join(inside)}.'
      )
    section, _, last = key.rpartition('.')
    near = [name for name in fields if section and name.startswith(f'{section}.')]
    elsewhere = [repr(name) for name in fields if name.rpartition('.')[2] == last]
    if elsewhere and not near:
      raise UserError(f'There is no config key {key!r}; did you mean {" or ".join(elsewhere)}?')
    raise unknown('config key', key, near or fields)
  *sections, field = key.split('.')
  for section in sections:
    config = config[section]
  if isinstance(fields[key], Mapping | ConfigDict):
    raise UserError(f'The config key {key!r} is an empty section; add its fields in the config.')
  try:
    config[field] = _typed(key, value, fields[key])
  except TypeError as error:  # a field of the user's whose type no text spells
    raise UserError(f'The config key {key!r} cannot be set: {brief(error)}.') from error


def _typed(name: str, value: Any, default: Any) -> Any:
  """Returns `value`, or what the text spells, in the type of `default`; a bool before an int, which
  it also is in Python."""
  if isinstance(default, bool):
    words = {'true': True, 'yes': True, '1': True, 'false': False, 'no': False, '0': False}
    if str(value).lower() not in words:
      raise UserError(f'{name} needs true or false, not {brief(repr(value))}.')
    return words[str(value).lower()]
  if isinstance(default, int):
    number = _whole(value)
    if number is None:
      raise UserError(f'{name} needs a whole number, not {brief(repr(value))}.')
    return number
  if isinstance(default, float):
    number = _number(value)
    if number is None:
      raise UserError(f'{name} needs a finite number, not {brief(repr(value))}.')
    return number
  if isinstance(default, tuple | list):
    items = value
    if isinstance(value, str):
      items = [item.strip().strip('\'"') for item in value.strip().strip('()[]').split(',')]
    elif not isinstance(value, Iterable):
      items = [value]  # as its text would be
    return type(default)(
      _typed(name, item, default[0] if default else '') for item in items if item != ''
    )
  if not isinstance(value, str | os.PathLike | numbers.Number):
    raise UserError(f'{name} needs text, not {brief(repr(value))}.')
  return str(value)


def _choice(name: str, value: Any, choices: tuple) -> Any:
  for choice in choices:
    if str(choice) == str(value):
      return choice
  raise unknown(f'value of {name}', value, choices)


def _whole(value: Any) -> int | None:
  """Returns the whole number that a value is or a text spells, every digit of it, else None."""
  if isinstance(value, numbers.Integral) and not isinstance(value, bool):
    return int(value)
  try:
    return int(value if isinstance(value, str) else '')
  except ValueError:
    number = _number(value)
  return None if number is None or number != int(number) else int(number)


def _number(value: Any) -> float | None:
  """Returns the finite number that a value is or a text spells ('1e4' and '10_000' too), else
  None."""
  try:
    number = float('' if isinstance(value, bool) else value)
  except (TypeError, ValueError, OverflowError):
    return None
  return number if math.isfinite(number) else None


def flat(config: ConfigDict | Mapping, prefix: str = '') -> dict[str, Any]:
  """Returns the fields by dotted key; an empty section counts as a field, else it would vanish from
  a comparison.

  >>> flat(ConfigDict(dict(seed=0, data=dict(name='digits'))))
  {'data.name': 'digits', 'seed': 0}
  """
  fields = {}
  for name, value in config.items():
    if isinstance(value, ConfigDict | Mapping) and len(value):
      fields |= flat(value, f'{prefix}{name}.')
    else:
      fields[f'{prefix}{name}'] = value
  return fields


def to_text(config: ConfigDict, help: Mapping[str, str] = MappingProxyType({})) -> str:
  """Returns one `key = value` line a field, aligned, sorted by key; the line of `help` on a key
  follows its value.

  >>> print(to_text(ConfigDict(dict(seed=0, data=dict(name='digits'))), {'seed': 'of all'}))
  data.name = 'digits'
  seed      = 0         of all
  """
  fields = flat(config)
  width = max(map(len, fields), default=0)
  column = min(max((len(repr(value)) for value in fields.values()), default=0), _VALUES)
  lines = (
    f'{key:<{width}} = {fields[key]!r:<{column}}  {help.get(key, "")}' for key in sorted(fields)
  )
  return '\n'.join(line.rstrip() for line in lines)


def to_json(config: ConfigDict) -> str:
  """Returns the config as indented JSON with sorted keys; `from_json` reads it back to an equal
  config.

  >>> from_json(to_json(load('m3d:digits'))) == load('m3d:digits')
  True
  """
  return json.dumps(config.to_dict(), indent=2, sort_keys=True)


def from_json(text: str) -> ConfigDict:
  """Returns the config that `to_json` wrote; JSON knows no tuples, so every list comes back as
  one."""
  return ConfigDict(_tuples(json.loads(text)))


def _tuples(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {key: _tuples(item) for key, item in value.items()}
  return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def differences(old: ConfigDict | Mapping, new: ConfigDict | Mapping) -> dict[str, str]:
  """Returns for every dotted key that differs one text `key: old -> new`; a list equals a tuple of
  the same items.

  >>> differences(ConfigDict(dict(seed=0, data=dict(name='digits'))), dict(seed=1,
  ...   data=dict(name='digits')))
  {'seed': 'seed: 0 -> 1'}
  """
  before = {key: _tuples(value) for key, value in flat(old).items()}
  after = {key: _tuples(value) for key, value in flat(new).items()}
  absent = object()

  def value_of(value: Any) -> str:
    return 'nothing' if value is absent else repr(value)

  pairs = {
    key: (before.get(key, absent), after.get(key, absent))
    for key in sorted(before.keys() | after.keys())
  }
  return {
    key: f'{shown(key)}: {value_of(a)} -> {value_of(b)}' for key, (a, b) in pairs.items() if a != b
  }


def listed(changes: Sequence[str]) -> str:
  """Returns differences as part of a sentence: the first ones, and how many more there are.

  >>> listed(['seed: 0 -> 1', 'dtype: a -> b'])
  'seed: 0 -> 1; dtype: a -> b'
  """
  more = len(changes) - _CHANGES
  texts = [brief(text) for text in changes[:_CHANGES]]
  return '; '.join(texts + ([f'and {more} more'] if more > 0 else []))


def list_configs() -> list[Entry]:
  """Returns what the headers of the shipped configs say, in the order of their names; runs none of
  them.

  The first paragraph of a config's docstring describes it; the lines that begin with 'Command:',
  'Run time:' and 'Expected:' give the command, how long it takes and the number to expect (further
  lines of a text are indented).

  >>> [entry.name for entry in list_configs() if entry.name.endswith('m3d')]
  ['condensation/m3d']
  """
  return [_entry(name) for name in names()]


def header(path: str) -> str:
  """Returns the docstring of a config, which `find` finds, without running it; '' where it has
  none.

  >>> print(header('m3d').splitlines()[0])
  M3D: match real and synthetic features in all moments, by a Gaussian-kernel MMD (Zhang et al.,
  """
  file = find(path)
  with _failing_in(file, path):
    return ast.get_docstring(ast.parse(file.read_bytes())) or ''


def _entry(name: str) -> Entry:
  text = header(name)
  matches = [
    re.search(rf'^{key}:[ \t]*(.*(?:\n[ \t]+\S.*)*)', text, re.MULTILINE) for key in _HEADER_KEYS
  ]
  facts = [' '.join(match[1].split()) if match else '' for match in matches]
  return Entry(name, ' '.join(text.partition('\n\n')[0].split()), *facts)

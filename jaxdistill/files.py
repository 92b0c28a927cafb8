"""Files that are whole or absent, and names made from content."""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from jaxdistill.errors import UserError, brief

_SEAL = b'\nsha256:'
_SEALED = len(_SEAL) + 64


def jsonable(value: Any) -> Any:
  """Returns the value as JSON knows it: arrays become lists, tuples lists, non-finite numbers null.

  >>> jsonable({'a': np.float32(0.5), 'b': (1, float('nan')), 'c': np.arange(2)})
  {'a': 0.5, 'b': [1, None], 'c': [0, 1]}
  """
  if isinstance(value, Mapping):
    return {str(key): jsonable(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [jsonable(item) for item in value]
  if hasattr(value, 'dtype'):
    return jsonable(np.asarray(value).tolist())
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if value is None or isinstance(value, (bool, int, str)):
    return value
  if isinstance(value, os.PathLike):
    return os.fspath(value)
  raise TypeError(f'{type(value).__name__} has no form in JSON')


def read_json(content: bytes | str) -> Any:
  """Returns the value of JSON as the library writes it: with finite numbers.

  Raises:
    ValueError: for all else, however it is damaged.

  >>> read_json('{"a": [1, 0.5, null]}')
  {'a': [1, 0.5, None]}
  """

  def finite(text):
    number = float(text)
    if not math.isfinite(number):
      raise ValueError(f'{text} is no finite number')
    return number

  try:
    return json.loads(content, parse_float=finite, parse_constant=finite)
  except RecursionError as error:
    raise ValueError('it is nested without end') from error


def with_checksum(name: str, value: Any) -> dict[str, Any]:
  """Returns a value as the content of a JSON file that tells when it is damaged.

  >>> sorted(with_checksum('result', 42))
  ['result', 'sha256']
  """
  return {name: value, 'sha256': checksum(value)}


def under_checksum(name: str, content: Any) -> Any:
  """Returns the value from the content that `with_checksum` made under the same name.

  Raises:
    ValueError: it is damaged, or something else.

  >>> under_checksum('result', with_checksum('result', 42))
  42
  """
  if not isinstance(content, Mapping) or content.keys() != {name, 'sha256'}:
    raise ValueError(f'it holds no {name} with a checksum')
  if content['sha256'] != checksum(content[name]):
    raise ValueError('its content does not match its checksum')
  return content[name]


def checksum(value: Any) -> str:
  """Returns the SHA-256 of a value that JSON can hold.

  >>> checksum({'b': 1, 'a': 2}) == checksum({'a': 2, 'b': 1})
  True
  """
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sealed(content: bytes) -> bytes:
  """Returns the content of a file with its checksum behind it."""
  return content + _SEAL + hashlib.sha256(content).hexdigest().encode()


def unsealed(content: bytes) -> bytes:
  """Returns the content that was sealed; one without a checksum, of an earlier version, as it is.

  Raises:
    ValueError: it is damaged.

  >>> unsealed(sealed(b'weights'))
  b'weights'
  """
  body, seal, digest = content[:-_SEALED], content[-_SEALED:-64], content[-64:]
  if seal != _SEAL:
    return content
  if hashlib.sha256(body).hexdigest().encode() != digest:
    raise ValueError('its content does not match its checksum')
  return body


def expanded(path: str | os.PathLike) -> pathlib.Path:
  """Returns a path with the home directory in place of '~'.

  Raises:
    UserError: it is no path, or there is no such home.

  >>> expanded('photos')
  PosixPath('photos')
  """
  if not isinstance(path, str | os.PathLike):
    raise UserError(f'A path is a text or a pathlib.Path; got {brief(repr(path))}.')
  try:
    return pathlib.Path(path).expanduser()
  except RuntimeError:
    raise UserError(
      f'{path} begins with a home directory that is not known here; give the whole path.'
    ) from None


def safe_name(name: str) -> str:
  """Returns a name with '_' for what the name of a file may not take.

  >>> safe_name('photos of 2026/cats')
  'photos_of_2026_cats'
  """
  return re.sub(r'[^\w.-]+', '_', name)


def check_writable(flag: str, path: str | os.PathLike) -> None:
  """Raises `UserError` where a file that a flag names could not be written, before the work whose
  outcome it is for. What is there stays as it is.

  >>> check_writable('--out', 'nowhere/bench.json')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: --out=nowhere/bench.json cannot be written (No such file or ...
  """
  file = expanded(path)
  if os.path.exists(file) and not os.path.isfile(file) and not os.path.isdir(file):
    return  # a pipe or a device, which may wait for its other end
  try:
    there = os.path.lexists(file)
    with open(file, 'ab'):
      pass
    if not there:
      os.unlink(file)
  except (OSError, ValueError) as error:  # ValueError: a name that the system does not allow
    reason = getattr(error, 'strerror', None) or error
    raise UserError(
      f'{flag}={path} cannot be written ({reason}); name a file in a folder that exists and may be '
      'written.'
    ) from error


def check_folder(name: str, path: str | os.PathLike) -> None:
  """Raises `UserError` where a folder cannot be made, or be written in; '' is none, and right.

  >>> check_folder('run.rows', '')
  >>> check_folder('run.rows', __file__ + '/rows')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: run.rows is ...files.py/rows, and ...files.py is no folder that ...
  """
  if not path:
    return
  if not may_write(path):
    raise UserError(
      f'{name} is {path}, and {_nearest(path)} is no folder that may be written; name another.'
    )


def may_write(folder: str | os.PathLike) -> bool:
  """Whether a folder is there and may be written in, or can be made.

  >>> may_write(__file__)
  False
  """
  there = _nearest(folder)
  return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


def _nearest(folder):
  """The folder, or else the nearest one above it that is there."""
  there = expanded(folder).absolute()
  while not os.path.lexists(there):
    there = there.parent
  return there


def encoded(text: str) -> bytes:
  """Returns text as the bytes of a file: UTF-8, and an escape for what has none (in names of files
  that are no UTF-8 themselves).

  >>> encoded('käse \\udcff')
  b'k\\xc3\\xa4se \\\\udcff'
  """
  return text.encode('utf-8', 'backslashreplace')


def content_hash(arrays: Iterable[Any], description: Mapping[str, Any]) -> str:
  """Returns a name for what was made from arrays and settings: equal for equal ones, else different
  (64 bits of SHA-256).

  >>> content_hash([np.arange(2)], {'seed': 0}) == content_hash([np.arange(2)], {'seed': 1})
  False
  """
  content = hashlib.sha256()
  for array in arrays:
    # Images on disk are named by where they come from; to read them all would take long.
    array = np.ascontiguousarray(getattr(array, 'fingerprint', array))
    content.update(f'{array.dtype}{array.shape}'.encode())
    content.update(array)
  content.update(json.dumps(jsonable(description), sort_keys=True).encode())
  return content.hexdigest()[:16]


def write_atomic(path: pathlib.Path, content: bytes) -> None:
  """Writes a file that is, whatever happens, either the old one or the new one: a temporary name,
  then a rename."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
  try:
    with open(temporary, 'wb') as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(folder: str | os.PathLike, what: str) -> Iterator[pathlib.Path]:
  """Gives a new folder beside `folder`, which becomes it at the end, or vanishes.

  Args:
    folder: that must not exist yet.
    what: is exported, for people.

  Raises:
    UserError: it exists or cannot be written.

  >>> with new_folder('exported', 'The text') as place:
  ...   _ = (place / 'one.txt').write_text('1')
  >>> os.listdir('exported')
  ['one.txt']
  """
  folder = expanded(folder)
  if folder.exists():
    raise UserError(f'{folder} exists already; export to a folder that does not.')
  temporary = folder.with_name(f'.{folder.name}.{os.getpid()}')
  try:
    temporary.mkdir(parents=True)
    yield temporary
    temporary.rename(folder)
  except OSError as error:
    raise UserError(f'{what} cannot be exported to {folder}: {error.strerror or error}.') from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)

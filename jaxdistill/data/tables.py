"""Tables of numbers in text files: comma-separated values with a line of names, and the ARFF files
of multi-label sets."""

import gzip
import os
import pathlib
import re
import zlib

import numpy as np

from jaxdistill.errors import UserError, brief, shown

_GZIP = b'\x1f\x8b'
_ATTRIBUTE = re.compile(r"@attribute\s+('[^']+'|\"[^\"]+\"|\S+)\s+(\{.*\}|\S+)", re.IGNORECASE)
_NUMBERS = ('numeric', 'real', 'integer')


def read_table(where: str, file: pathlib.Path) -> tuple[tuple[str, ...], np.ndarray]:
  """Returns the names of a table's columns and its numbers, float64 [n, columns].

  Files that end with .arff are ARFF, dense or sparse, whose attributes are numbers or named by
  numbers, such as {0,1}; all others are lines of values with commas between, the first one of
  names. Either may be packed by gzip.

  Args:
    where: names the table in errors.
    file: to read.

  Raises:
    UserError: a file that is missing, damaged or laid out in another way, a line of another length,
      a value that is missing or no number.

  >>> import tempfile
  >>> file = pathlib.Path(tempfile.mkdtemp(), 'two.csv')
  >>> file.write_text('a,b\\n0.5,1\\n2,0\\n')
  14
  >>> read_table('mine', file)[1].tolist()
  [[0.5, 1.0], [2.0, 0.0]]
  """
  lines = _lines(where, file)
  is_arff = file.name.removesuffix('.gz').lower().endswith('.arff')
  names, rows = _arff(where, file, lines) if is_arff else _csv(where, file, lines)
  if not rows:
    raise UserError(f'{where}: {shown(file.name)} has no lines of values.')
  return names, np.array(rows)


def _lines(where, file):
  """The lines of a file, (number, text) of those that are not empty."""
  if not os.path.isfile(file):
    raise UserError(f'{where}: there is no such file; give the path of a .csv, .csv.gz or .arff.')
  try:
    content = file.read_bytes()
    if content.startswith(_GZIP):
      content = gzip.decompress(content)
    text = content.decode('utf-8-sig')
  except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
    raise UserError(
      f'{where}: {shown(file.name)} cannot be read ({brief(error)}); it should be text, or text '
      'packed by gzip.'
    ) from error
  return [
    (number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()
  ]


def _csv(where, file, lines):
  if not lines:
    return (), []
  names = tuple(name.strip().strip('"') for name in lines[0][1].split(','))
  rows = []
  for number, line in lines[1:]:
    rows.append(_numbers(where, file, number, line.split(','), len(names)))
  return names, rows


def _arff(where, file, lines):
  names, rows, in_data = [], [], False
  for number, line in lines:
    if line.startswith('%'):
      continue
    if in_data:
      row = _sparse if line.startswith('{') else _dense
      rows.append(row(where, file, number, line, len(names)))
    elif line.lower().startswith('@data'):
      in_data = True
    elif line.lower().startswith('@attribute'):
      names.append(_attribute(where, file, number, line))
  if not names or not in_data:
    raise UserError(
      f'{where}: {shown(file.name)} is no ARFF file: it needs lines @attribute NAME TYPE, a line '
      '@data and the values behind it.'
    )
  return tuple(names), rows


def _attribute(where, file, number, line):
  """The name of an attribute that is a number."""
  match = _ATTRIBUTE.match(line)
  kind = match[2] if match else ''
  values = kind.strip('{}').split(',') if kind.startswith('{') else ()
  if not match or not (kind.lower() in _NUMBERS or values and all(map(_is_number, values))):
    raise UserError(
      f'{where}: line {number} of {shown(file.name)} is {brief(repr(line), 80)}; only attributes '
      'that are numeric, or named by numbers as {0,1}, are read.'
    )
  return match[1].strip('\'"')


def _dense(where, file, number, line, columns):
  return _numbers(where, file, number, line.split(','), columns)


def _sparse(where, file, number, line, columns):
  """A row as '{3 0.5, 7 1}': places from 0 and their values, the others 0."""
  row = np.zeros(columns)
  for entry in filter(None, map(str.strip, line.strip('{}').split(','))):
    place, _, value = entry.partition(' ')
    if not place.isdecimal() or int(place) >= columns:
      raise _wrong(where, file, number, entry)
    row[int(place)] = _numbers(where, file, number, [value], 1)[0]
  return row


def _numbers(where, file, number, values, columns):
  if len(values) != columns:
    raise UserError(
      f'{where}: line {number} of {shown(file.name)} has {len(values)} values; the names are those '
      f'of {columns}.'
    )
  try:
    return np.array(values, np.float64)
  except ValueError:
    wrong = next(value for value in values if not _is_number(value))
    raise _wrong(where, file, number, wrong) from None


def _wrong(where, file, number, value):
  return UserError(
    f'{where}: line {number} of {shown(file.name)} has the value {brief(repr(value.strip()), 40)}, '
    'which is no number.'
  )


def _is_number(text):
  try:
    float(text)
  except ValueError:
    return False
  return True

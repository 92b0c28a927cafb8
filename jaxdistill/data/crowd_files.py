"""The labels of a crowd as a table of text: a line a label, with the columns task, worker and
label."""

import csv
import io
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from jaxdistill.errors import UserError, brief, shown
from jaxdistill.files import encoded, expanded, write_atomic

COLUMNS = ('task', 'worker', 'label')


def rows_of(path: str | os.PathLike) -> list[list[str]]:
  """Returns the lines of a csv file as lists of texts, without empty lines, and without spaces in
  front of a text that is not in quotes.

  Raises:
    UserError: the file cannot be read, or is no text.

  >>> _ = pathlib.Path('two.csv').write_text('a,b\\n\\n1,2\\n')
  >>> rows_of('two.csv')
  [['a', 'b'], ['1', '2']]
  """
  try:
    # Spreadsheets put a mark in front of UTF-8.
    with open(expanded(path), encoding='utf-8-sig', newline='') as file:
      return [row for row in csv.reader(file, skipinitialspace=True) if row]
  except OSError as error:
    reason = error.strerror or error
    raise UserError(f'{shown(path)} cannot be read ({reason}); give a csv file.') from error
  except (csv.Error, ValueError) as error:  # ValueError: bytes that are no UTF-8, a NUL in the name
    raise UserError(
      f'{shown(path)} cannot be read as a csv file of UTF-8 text ({brief(error)}).'
    ) from error


def columns_of(path: str | os.PathLike, wanted: Sequence[str]) -> list[list[str]]:
  """Returns some columns of a csv file, by the names in its first line.

  Raises:
    UserError: a column is missing or there twice, or a line is shorter or longer than the first.

  >>> _ = pathlib.Path('two.csv').write_text('a,b\\n1,2\\n')
  >>> columns_of('two.csv', ['b'])
  [['2']]
  """
  header, *lines = rows_of(path) or [[]]
  header = [name.strip() for name in header]
  missing = [name for name in wanted if name not in header]
  if missing:
    raise UserError(
      f'{shown(path)} has no column {missing[0]!r}; its first line must name the columns '
      f'{", ".join(wanted)}, and it is {brief(",".join(header))!r}.'
    )
  twice = [name for name in wanted if header.count(name) > 1]
  if twice:
    raise UserError(
      f'{shown(path)} has two columns {twice[0]!r}, and nothing tells which counts; keep one.'
    )
  if not lines:
    raise UserError(f'{shown(path)} holds no line below the names of its columns.')
  places = [header.index(name) for name in wanted]
  for number, line in enumerate(lines, 1):
    # Spreadsheets fill lines up with empty values; others would have moved the ones behind them.
    if len(line) <= max(places) or any(line[len(header) :]):
      raise UserError(
        f'{shown(path)}: entry {number} has {len(line)} values, and {len(header)} columns are '
        f'named ({brief(",".join(line))}).'
      )
  table = list(zip(*lines))
  return [list(table[place]) for place in places]


def read(path: str | os.PathLike) -> tuple[list[str], list[str], list[str]]:
  """Returns tasks, workers and labels, one of each a label.

  Raises:
    UserError: for a file that cannot be read or lacks a column, for an empty value, and for two
      that differ in spaces around them alone.

  >>> _ = pathlib.Path('crowd.csv').write_text('worker,task,label,seconds\\nann,t1,dog,3\\n')
  >>> read('crowd.csv')
  (['t1'], ['ann'], ['dog'])
  """
  tasks, workers, labels = columns_of(path, COLUMNS)
  for name, values in zip(COLUMNS, (tasks, workers, labels)):
    if '' in values:
      raise UserError(f'{shown(path)}: entry {values.index("") + 1} has an empty {name}.')
    _check_spaces(path, name, set(values))
  return tasks, workers, labels


def _check_spaces(path, kind, names):
  """Refuses names that nobody sees to be two."""
  known = {}
  for name in sorted(names):
    other = known.setdefault(name.strip(), name)
    if other != name:
      raise UserError(
        f'{shown(path)} has the {kind} {brief(repr(other))} and the {kind} {brief(repr(name))}, '
        'which differ in spaces alone; write them alike.'
      )


def numbered(
  path: str | os.PathLike, kind: str, values: Sequence[str], names: Iterable[object] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns the number of each value, int64 [m], and the names by number.

  Without `names` they are the values that occur: in the order of their numbers where all are whole
  numbers, else in that of the alphabet.

  Raises:
    UserError: a value is none of the names.

  >>> numbered('a.csv', 'label', ['10', '9', '9'])[1]
  ('9', '10')
  """
  if names is None:
    occurring = set(values)
    plain = all(name.isdecimal() for name in occurring)
    names = sorted(occurring, key=lambda name: (int(name), name)) if plain else sorted(occurring)
  names = tuple(map(str, names))
  place = {name: number for number, name in enumerate(names)}
  numbers = [place.get(value, -1) for value in values]
  if -1 in numbers:
    strange = values[numbers.index(-1)]
    raise UserError(
      f'{shown(path)}: the {kind} {brief(repr(strange))} is none of the {len(names):,} given '
      f'({brief(", ".join(names[:10]), 80)}{", ..." if len(names) > 10 else ""}).'
    )
  return np.array(numbers, np.int64), names


def write(
  path: str | os.PathLike,
  tasks: Sequence[object],
  workers: Sequence[object],
  labels: Sequence[object],
) -> None:
  """Writes one line a label below the names of the columns; texts with a space in front are in
  quotes, in which it counts.

  Raises:
    UserError: the file cannot be written.

  >>> write('crowd.csv', ['t1'], ['ann'], ['dog'])
  >>> read('crowd.csv')
  (['t1'], ['ann'], ['dog'])
  """
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  quoted = csv.writer(text, lineterminator='\n', quoting=csv.QUOTE_ALL)
  writer.writerow(COLUMNS)
  for row in zip(tasks, workers, labels):
    spaced = any(str(value).startswith(' ') for value in row)
    (quoted if spaced else writer).writerow(row)
  try:
    write_atomic(pathlib.Path(expanded(path)), encoded(text.getvalue()))
  except (OSError, ValueError) as error:
    reason = getattr(error, 'strerror', None) or error
    raise UserError(f'{shown(path)} cannot be written ({reason}).') from error

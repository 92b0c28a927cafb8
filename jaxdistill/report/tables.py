"""A table of results for a terminal, for Markdown and for HTML, from the same rows and columns.

Rows are mappings. A column is (key, title, format, best), the last two optional:
  format: 'text', 'number', 'count', 'seconds', 'bytes', 'accuracy', 'flag', a Python format such as
    '.2f', or a function value -> str;
  best: 'max' or 'min' writes the best value of the column in bold. A row with a true `reference`
    (the whole training set, say: no competitor, a bound) is set back and left out of that
    comparison.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

from jaxdistill.errors import UserError, unknown
from jaxdistill.report import numbers

Format = str | Callable[[object], str]


class Column(NamedTuple):
  """One column: key of the rows, title, format of the cells, and whether the largest or smallest
  value stands out."""

  key: str
  title: str
  format: Format = 'text'
  best: str = ''


class _Cell(NamedTuple):
  main: str
  deviation: str = ''  # '± 0.4'
  runs: str = ''  # 'n=5'
  is_best: bool = False


_FORMATS: dict[str, Callable] = {
  'text': lambda value: numbers.MISSING if value is None else str(value),
  'number': numbers.number,
  'count': numbers.count,
  'seconds': numbers.seconds,
  'bytes': numbers.size,
  'accuracy': numbers.accuracy,
  'flag': lambda value: numbers.MISSING if value is None else 'yes' if value else 'no',
}
_LEFT = ('text', 'flag')


def text(rows: Iterable[Mapping], columns: Iterable[Sequence]) -> str:
  """Returns the table for a terminal: aligned columns, a rule under the titles, numbers to the
  right.

  >>> rows = [dict(name='M3D', top1=dict(mean=0.907, std=0.004, n=5)),
  ...         dict(name='random', top1=dict(mean=0.75, std=0.02, n=5))]
  >>> print(text(rows, [('name', 'Method'), ('top1', 'Accuracy (%)', 'accuracy')]))
  Method      Accuracy (%)
  ------  ----------------
  M3D     90.7 ± 0.4 (n=5)
  random  75.0 ± 2.0 (n=5)

  Raises UserError for a table without rows or columns, an unknown key or an unknown format.
  """
  columns, cells = _cells(rows, columns)
  lines = [[column.title for column in columns]]
  lines += [list(map(_plain, line)) for line in cells]
  lines = [list(map(_one_line, line)) for line in lines]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  lines.insert(1, ['-' * width for width in widths])

  def align(line):
    padded = (
      f'{c:<{w}}' if _is_left(col) else f'{c:>{w}}'
      for c, w, col in zip(line, widths, columns, strict=True)
    )
    return '  '.join(padded).rstrip()

  return '\n'.join(map(align, lines))


def markdown(rows: Iterable[Mapping], columns: Iterable[Sequence]) -> str:
  """Returns the table in GitHub's Markdown, the best values in bold.

  >>> print(markdown([dict(name='M3D', s=12.3)], [('name', 'Method'), ('s', 'Time', 'seconds')]))
  | Method | Time |
  |:---|---:|
  | M3D | 12.3 s |

  Raises UserError as `text` does.
  """
  columns, cells = _cells(rows, columns)

  def line(parts):
    return (
      '| '
      + ' | '.join(
        ' '.join(part.split()).replace('\\', '\\\\').replace('|', '\\|') for part in parts
      )
      + ' |'
    )

  def bold(cell):
    return _plain(cell._replace(main=f'**{cell.main}**')) if cell.is_best else _plain(cell)

  rule = '|' + '|'.join(':---' if _is_left(column) else '---:' for column in columns) + '|'
  return '\n'.join([line(c.title for c in columns), rule, *[line(map(bold, row)) for row in cells]])


def html(rows: Iterable[Mapping], columns: Iterable[Sequence]) -> str:
  """Returns one <table> element, all text escaped; `page.Page` brings the style.

  >>> html([dict(name='a<b')], [('name', 'Way')]).partition('<tbody>')[2]
  '<tr><th scope="row">a&lt;b</th></tr></tbody></table>'

  Raises UserError as `text` does.
  """
  rows = list(rows)
  columns, cells = _cells(rows, columns)
  head = ''.join(
    f'<th scope="col"{_side(column)}>{escape(column.title)}</th>' for column in columns
  )
  body = []
  for row, line in zip(rows, cells, strict=True):
    parts = []
    for i, (column, cell) in enumerate(zip(columns, line, strict=True)):
      element, scope = ('th', ' scope="row"') if i == 0 else ('td', '')
      parts.append(f'<{element}{scope}{_side(column)}>{_html_cell(cell)}</{element}>')
    set_back = ' class="reference"' if row.get('reference') else ''
    body.append(f'<tr{set_back}>{"".join(parts)}</tr>')
  return f'<table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _cells(rows, columns) -> tuple[list[Column], list[list[_Cell]]]:
  """Checks the table and formats every cell."""
  rows, columns = list(rows), [Column(*column) for column in columns]
  if not rows:
    raise UserError('A table needs at least one row.')
  if not columns:
    raise UserError('A table needs at least one column (key, title, format).')
  keys = set().union(*rows)
  for column in columns:
    if column.key not in keys:
      raise unknown('column', column.key, keys)
    if column.best not in ('', 'max', 'min'):
      raise unknown('way of being best', column.best, ('max', 'min'))
  lines = []
  for row in rows:
    lines.append([_format(row.get(column.key), column.format) for column in columns])
  for i, column in enumerate(columns):
    if column.best:
      competing = [None if row.get('reference') else row.get(column.key) for row in rows]
      for line, is_best in zip(lines, _best(competing, column), strict=True):
        line[i] = line[i]._replace(is_best=is_best)
  return columns, lines


def _format(value, how: Format) -> _Cell:
  if how == 'accuracy':
    return _Cell(*numbers.accuracy_parts(value))
  if callable(how):
    return _Cell(str(how(value)))
  if how in _FORMATS:
    return _Cell(_FORMATS[how](value))
  try:
    format(1.0, how)
  except ValueError:
    raise unknown('cell format', how, _FORMATS) from None
  return _Cell(numbers.MISSING if value is None else format(value, how))


def _best(values: list, column: Column) -> list[bool]:
  """Marks the best value, and those that read the same: the digits shown could not tell them
  apart."""
  try:
    scores = [v.get('mean') if isinstance(v, Mapping) else v for v in values]
    scores = [float('nan') if score is None else float(score) for score in scores]
  except (TypeError, ValueError):
    raise UserError(
      f'Column {column.key!r} cannot have a best value: not all of its values are numbers.'
    ) from None
  finite = [i for i, score in enumerate(scores) if math.isfinite(score)]
  if len(finite) < 2:
    return [False] * len(scores)
  winner = (max if column.best == 'max' else min)(finite, key=lambda i: scores[i])
  shown = _format(values[winner], column.format).main
  return [
    i in finite and _format(values[i], column.format).main == shown for i in range(len(scores))
  ]


def _one_line(cell):
  return ' '.join(cell.split())


def _plain(cell: _Cell) -> str:
  return ' '.join(filter(None, (cell.main, cell.deviation, f'({cell.runs})' if cell.runs else '')))


def _html_cell(cell: _Cell) -> str:
  main = f'<strong>{escape(cell.main)}</strong>' if cell.is_best else escape(cell.main)
  deviation = f' <span class="spread">{escape(cell.deviation)}</span>' if cell.deviation else ''
  runs = f' <span class="runs">{escape(cell.runs)}</span>' if cell.runs else ''
  return main + deviation + runs


def _is_left(column: Column) -> bool:
  return column.format in _LEFT


def _side(column: Column) -> str:
  return '' if _is_left(column) else ' class="number"'

"""The page that compares many runs: their rows in tables of comparable ones, charts and pictures.

What the tables say of a row is the family's, see `Family`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ml_collections import ConfigDict

from jaxdistill import files
from jaxdistill.errors import UserError
from jaxdistill.experiment import aggregate
from jaxdistill.experiment.aggregate import Finished, Group, Grouping
from jaxdistill.experiment.page import made_with
from jaxdistill.experiment.results import RECONSTRUCTION, Result
from jaxdistill.report import tables
from jaxdistill.report.page import Page

PAGE = 'sweep.html'


@dataclasses.dataclass
class Cell:
  """One run of a sweep: the config as it was named, the point of the grid, what became of it.

  Attributes:
    name: of the config, such as m3d:digits.
    config: with the values of the point.
    workdir: of the run.
    point: the axes that the sweep varies, and this run's values as they were typed.
    error: why it failed; ''.
    result: of a run that is done.

  >>> Cell('m3d:digits', ConfigDict(), pathlib.Path('here'), {'ipc': '1', 'seed': '0'}).spec
  'm3d:digits, ipc=1, seed=0'
  """

  name: str
  config: ConfigDict
  workdir: pathlib.Path
  point: Mapping[str, str] = dataclasses.field(default_factory=dict)
  error: str = ''
  result: Result | None = None

  @property
  def spec(self) -> str:
    """The run for people: the config and the point of the grid."""
    return describe(self.name, self.point)

  @property
  def status(self) -> str:
    """'done', 'failed', 'begun' or 'to do'."""
    if self.result:
      return 'done'
    if self.error:
      return 'failed'
    return 'begun' if self.workdir.is_dir() else 'to do'


def describe(name: str, point: Mapping[str, str]) -> str:
  """Writes a run of a grid for people.

  >>> describe('m3d:digits', {'ipc': '1'})
  'm3d:digits, ipc=1'
  """
  return ', '.join([name, *(f'{key}={value}' for key, value in point.items())])


class Family(Protocol):
  """What a family's module `columns` holds, so that its runs can be compared.

  Attributes:
    TASKS: the tasks whose runs a sweep compares.
    TITLE: of the page.
    NOTE: the remark below the tables: what their columns mean.
    GROUPING: which rows belong together.
    TERMINAL: the columns that a terminal shows, by key.
  """

  TASKS: tuple[str, ...]
  TITLE: str
  NOTE: str
  GROUPING: Grouping
  TERMINAL: tuple[str, ...]

  def table_row(self, group: Group) -> dict[str, Any]:
    """Returns what a table says of a group: a value a column, and `reference` (no competitor);
    `label` and `source` where a published number stands beside it."""

  def table_of(self, row: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the table of a row of `table_row`, as its group has it."""

  def table_title(self, table: tuple[str, ...]) -> str:
    """Returns the heading of a table's charts."""

  def size_of(self, row: Mapping[str, Any]) -> float:
    """Returns the size by which a table is divided into sections."""

  def section_title(self, row: Mapping[str, Any]) -> str:
    """Returns the heading of the section that a row is in."""

  def columns(self, rows: Sequence[Mapping[str, Any]], best: str = '') -> list[tuple]:
    """Returns the columns that any of the rows fills; `best` marks the best accuracies ('max')."""

  def charts(self, members: Sequence[Group]) -> list[dict[str, Any]]:
    """Returns the charts of one table."""

  def pictures(self, table: tuple[str, ...], members: Sequence[Group]) -> tuple[str, list[tuple]]:
    """Returns heading and pictures of one table; [] where there are none."""


def write(workdir: pathlib.Path, cells: Sequence[Cell], family: Family) -> pathlib.Path:
  """Writes sweep.html, sweep.md and sweep.json from the cells that are done; returns the path of
  the page."""
  try:
    for name, text in _pages(cells, family).items():
      files.write_atomic(workdir / name, files.encoded(text))
  except OSError as error:
    raise UserError(
      f'The sweep cannot be written to {workdir} ({error.strerror}); choose another work dir.'
    ) from error
  return workdir / PAGE


def check(cell: Cell, family: Family) -> None:
  """Raises whatever comes of a result that no page can show."""
  _pages([cell], family)
  text([cell], family)


def _pages(cells: Sequence[Cell], family: Family) -> dict[str, str]:
  """What `write` writes, by the names of the files."""
  groups = _groups(cells, family)
  content = {
    'runs': [_run(cell) for cell in cells],
    'rows': [family.table_row(group) for group in groups],
  }
  first = next((cell.result for cell in cells if cell.result), None)
  return {
    'sweep.json': json.dumps(files.jsonable(content), indent=2) + '\n',
    'sweep.md': markdown(content, family),
    PAGE: html(content, groups, first, family),
  }


def _groups(cells: Sequence[Cell], family: Family) -> list[Group]:
  done = [cell for cell in cells if cell.result]
  runs = [Finished(cell.name, cell.point, cell.result, cell.workdir) for cell in done]
  return aggregate.groups(runs, family.GROUPING)


def _run(cell: Cell) -> dict[str, Any]:
  return {
    'run': cell.spec,
    'status': cell.status,
    'error': cell.error,
    'workdir': cell.workdir.name,
    'seconds': cell.result.seconds['total'] if cell.result else None,
  }


def sections(
  rows: Sequence[Mapping[str, Any]], family: Family
) -> list[tuple[str, list[Mapping[str, Any]]]]:
  """Splits rows into tables of comparable ones of one size: (title, rows).

  Methods come first; a row without competitors (the whole training set) closes every section of its
  table. The title says so where a method is a reconstruction.
  """
  competitors, references = {}, {}
  for row in sorted(rows, key=family.size_of):
    if not row['reference']:
      place = family.table_of(row), family.section_title(row)
      competitors.setdefault(place, []).append(row)
  for row in rows:
    if row['reference']:
      references.setdefault(family.table_of(row), []).append(row)
  titled = []
  for (table, title), members in sorted(competitors.items(), key=lambda item: item[0][0]):
    reconstructed = any(RECONSTRUCTION in row['label'] for row in members)
    heading = title + RECONSTRUCTION if reconstructed else title
    titled.append((heading, [*members, *references.get(table, ())]))
  return titled


def text(cells: Sequence[Cell], family: Family) -> str:
  """Returns the tables for a terminal."""
  rows = [family.table_row(group) for group in _groups(cells, family)]
  parts = []
  for title, members in sections(rows, family):
    shown = [column for column in family.columns(members) if column[0] in family.TERMINAL]
    parts.append(f'{title}\n\n{tables.text(members, shown)}')
  return '\n\n'.join(parts)


def markdown(content: Mapping[str, Any], family: Family) -> str:
  """Returns the tables in Markdown, and the runs that are not done."""
  parts = [
    f'## {title}\n\n{tables.markdown(members, family.columns(members, "max"))}'
    for title, members in sections(content['rows'], family)
  ]
  missing = [run for run in content['runs'] if run['status'] != 'done']
  if missing:
    columns = [('run', 'run'), ('status', 'status'), ('error', 'error')]
    parts.append('## Not done\n\n' + tables.markdown(missing, columns))
  return '\n\n'.join([f'# Comparison\n\n{_progress(content)}', *parts, family.NOTE]) + '\n'


def html(
  content: Mapping[str, Any], groups: Sequence[Group], first: Result | None, family: Family
) -> str:
  """Returns the page as one HTML text; `first` is the result of the first run that is done."""
  page = Page(family.TITLE, _progress(content))
  for title, members in sections(content['rows'], family):
    columns = [column for column in family.columns(members, 'max') if column[0] != 'source']
    page.table(title, members, columns)
  if groups:
    page.text(family.NOTE + _sources(content['rows']))
  for table, members in aggregate.by_table(groups):
    if charts := family.charts(members):
      page.curves(family.table_title(table), charts)
    heading, pictures = family.pictures(table, members)
    if pictures:
      page.pictures(heading, pictures)
  page.table('Runs', content['runs'], _run_columns(content['runs']))
  if first:
    page.facts(made_with(first), title='Origin of the first run')
  return page.html()


def _run_columns(runs: Sequence[Mapping[str, Any]]) -> list[tuple]:
  errors = [('error', 'error')] if any(run['error'] for run in runs) else []
  return [
    ('run', 'run'),
    ('status', 'status'),
    ('seconds', 'time', 'seconds'),
    *errors,
    ('workdir', 'work dir'),
  ]


def _sources(rows: Sequence[Mapping[str, Any]]) -> str:
  """Returns where the published numbers come from: a column of its own would crowd the tables of a
  page."""
  labels_of = {}
  for row in rows:
    if row.get('source'):
      labels_of.setdefault(row['source'], []).append(row['label'])
  sources = '; '.join(
    f'{", ".join(dict.fromkeys(labels))}: {source}' for source, labels in labels_of.items()
  )
  return f' Published numbers of {sources}.' if sources else ''


def _progress(content: Mapping[str, Any]) -> str:
  runs = content['runs']
  failed = sum(run['status'] == 'failed' for run in runs)
  done = sum(run['status'] == 'done' for run in runs)
  return f'{done} of {len(runs)} runs are done' + (f', {failed} failed' if failed else '')

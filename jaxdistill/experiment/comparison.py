"""The page that compares many runs: their rows in one table for each data set, recipe and size,
charts and pictures."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from jaxdistill import files
from jaxdistill.errors import UserError
from jaxdistill.experiment import aggregate
from jaxdistill.experiment.aggregate import Group
from jaxdistill.report import numbers, tables
from jaxdistill.report.page import Page
from jaxdistill.synthesis.condensed import Condensed

TASKS = ('condense',)
PAGE = 'sweep.html'
_CLASSES_SHOWN = 10
_IMAGES_SHOWN = 10

_NOTE = (
  'Accuracy in percent, mean ± standard deviation over all networks of all seeds: n = seeds x '
  'networks. "last" is the network '
  'at the end of its training; "best on test" takes each network\'s best check on the test '
  'set, as many papers do, and is '
  'optimistic: compare the published numbers of M3D and DANCE with it and those of DM with '
  '"last". Published numbers are for '
  'ConvNet-3 of width 128 at full length. Time is that of condensing, with compiling, without '
  'the training of experts. Memory '
  'is what the compiled step of condensing needs on one device. With a factor f a stored '
  'image trains as f x f images.'
)


def write(workdir: pathlib.Path, cells: Sequence[Any]) -> pathlib.Path:
  """Writes sweep.html, sweep.md and sweep.json from the cells that are done; returns the path of
  the page.

  cells: with `spec`, `workdir`, `status`, `error` and `result`, see `commands.sweep.Cell`.
  """
  results = _results(cells)
  found = aggregate.groups(results)
  content = {
    'runs': [
      {
        'run': cell.spec,
        'status': cell.status,
        'error': cell.error,
        'workdir': cell.workdir.name,
        'seconds': cell.result['seconds']['total'] if cell.result else None,
      }
      for cell in cells
    ],
    'rows': [aggregate.table_row(group) for group in found],
  }
  content_of = {
    'sweep.json': json.dumps(files.jsonable(content), indent=2) + '\n',
    'sweep.md': markdown(content),
    PAGE: html(content, found, results),
  }
  try:
    for name, text in content_of.items():
      files.write_atomic(workdir / name, text.encode())
  except OSError as error:
    raise UserError(
      f'The sweep cannot be written to {workdir} ({error.strerror}); choose another work dir.'
    ) from error
  return workdir / PAGE


def _results(cells: Sequence[Any]) -> list[dict[str, Any]]:
  return [{**cell.result, 'workdir': cell.workdir} for cell in cells if cell.result]


def sections(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict]]]:
  """Splits rows into tables of comparable ones: (title, rows) for each data set, recipe and number
  of images a class.

  Methods come first; a row without competitors (the whole training set) closes every table of its
  data set and recipe.
  """
  found = {}
  for row in sorted(rows, key=lambda row: row['images_per_class']):
    if not row['reference']:
      title = (
        f'{row["dataset"]}, {row["images_per_class"]:g} image(s) a class, recipe {row["recipe"]}'
      )
      found.setdefault((row['dataset'], row['recipe'], title), []).append(row)
  return [
    (
      title,
      members
      + [
        row
        for row in rows
        if row['reference'] and (row['dataset'], row['recipe']) == (dataset, recipe)
      ],
    )
    for (dataset, recipe, title), members in sorted(found.items(), key=lambda item: item[0][:2])
  ]


def columns(rows: list[dict[str, Any]], best: str = '') -> list[tuple]:
  """Returns the columns of a table, those left out that none of its rows fills; `best` marks the
  best accuracies ('max')."""
  points = lambda value: numbers.MISSING if value is None else f'{100 * value:.1f}'
  listed = [
    ('label', 'trained on'),
    ('setting', 'setting'),
    ('factor', 'f', 'count'),
    ('training_images', 'training images', 'count'),
    ('last', 'last', 'accuracy', best),
    ('between_seeds', 'std between seeds', points),
    ('selected', 'selected on validation', 'accuracy', best),
    ('best_test', 'best on test', 'accuracy', best),
    ('published', 'published', 'accuracy'),
    ('source', 'source'),
    ('seconds', 'time', 'seconds'),
    ('seconds_per_iteration', 'an iteration', 'seconds'),
    ('program_bytes', 'memory', 'bytes'),
  ]
  return [column for column in listed if any(row.get(column[0]) not in (None, '') for row in rows)]


def text(cells: Sequence[Any]) -> str:
  """Returns the tables for a terminal."""
  rows = [aggregate.table_row(group) for group in aggregate.groups(_results(cells))]
  shown = ('label', 'setting', 'factor', 'last', 'best_test', 'published', 'seconds')
  return '\n\n'.join(
    f'{title}\n\n'
    + tables.text(members, [column for column in columns(members) if column[0] in shown])
    for title, members in sections(rows)
  )


def markdown(content: dict[str, Any]) -> str:
  """Returns the tables in Markdown, and the runs that are not done."""
  parts = [
    f'## {title}\n\n{tables.markdown(members, columns(members, "max"))}'
    for title, members in sections(content['rows'])
  ]
  missing = [run for run in content['runs'] if run['status'] != 'done']
  if missing:
    parts.append(
      '## Not done\n\n'
      + tables.markdown(missing, [('run', 'run'), ('status', 'status'), ('error', 'error')])
    )
  return '\n\n'.join([f'# Comparison\n\n{_progress(content)}', *parts, _NOTE]) + '\n'


def html(content: dict[str, Any], found: list[Group], results: Sequence[dict[str, Any]]) -> str:
  """Returns the page as one HTML text."""
  page = Page('Comparison of condensed sets', _progress(content))
  for title, members in sections(content['rows']):
    page.table(
      title, members, [column for column in columns(members, 'max') if column[0] != 'source']
    )
  if found:
    page.text(_NOTE + _sources(content['rows']))
  for (dataset, recipe), members in aggregate.by_table(found):
    if drawn := charts(members):
      page.curves(f'{dataset}, recipe {recipe}', drawn)
    if shown := _pictures(members):
      page.pictures(f'Condensed sets of {dataset}', shown)
  errors = [('error', 'error')] if any(run['error'] for run in content['runs']) else []
  page.table(
    'Runs',
    content['runs'],
    [
      ('run', 'run'),
      ('status', 'status'),
      ('seconds', 'time', 'seconds'),
      *errors,
      ('workdir', 'work dir'),
    ],
  )
  for result in results[:1]:
    device = result['device']
    page.facts(
      {
        'Device': f'{device["count"]} x {device["kind"]} ({device["platform"]})',
        'Versions': ', '.join(f'{name} {version}' for name, version in result['versions'].items()),
        'Source': result['git_commit'] or 'not a git checkout',
      },
      title='Origin of the first run',
    )
  return page.html()


def _sources(rows: list[dict[str, Any]]) -> str:
  """Returns where the published numbers come from: a column of its own would crowd the tables of a
  page."""
  found = {}
  for row in rows:
    if row.get('source'):
      found.setdefault(row['source'], []).append(row['label'])
  told = '; '.join(
    f'{", ".join(dict.fromkeys(labels))}: {source}' for source, labels in found.items()
  )
  return f' Published numbers of {told}.' if told else ''


def _progress(content: dict[str, Any]) -> str:
  runs = content['runs']
  failed = sum(run['status'] == 'failed' for run in runs)
  done = sum(run['status'] == 'done' for run in runs)
  return f'{done} of {len(runs)} runs are done' + (f', {failed} failed' if failed else '')


def charts(members: list[Group]) -> list[dict]:
  """Returns the charts of one table: accuracy against images a class for each factor, and against
  seconds of condensing."""
  drawn = []
  for factor in sorted({group['factor'] for group in members if group.results}):
    # Real images at full size are what every factor has to beat.
    lines = _lines(
      [
        group
        for group in members
        if group['factor'] == factor or not group.results and group['factor'] == 1
      ],
      lambda group: group.series,
      lambda row: row['images_per_class'],
    )
    if any(len(x) > 1 for _, x, *_ in lines):
      drawn.append(
        dict(
          title=f'Accuracy against images a class, f = {factor}',
          x_title='images a class',
          percent=True,
          series=lines,
        )
      )
  lines = _lines(
    [group for group in members if group.results],
    lambda group: f'{group.series}, f = {group["factor"]}',
    lambda row: row['seconds'],
  )
  if lines:
    drawn.append(
      dict(
        title='Accuracy against seconds of condensing',
        x_title='seconds',
        percent=True,
        series=lines,
      )
    )
  return drawn


def _lines(members: list[Group], label, x) -> list[tuple]:
  """Returns a series for each label: its groups as points (x, mean, std) of the last accuracy, in
  the order of x."""
  found = {}
  for group in members:
    if not group['reference']:
      row = aggregate.table_row(group)
      found.setdefault(label(group), []).append((x(row), row['last']['mean'], row['last']['std']))
  return [(name, *map(list, zip(*sorted(points)))) for name, points in found.items()]


def _pictures(members: list[Group]) -> list[tuple]:
  """Returns the condensed set of the first seed of every method and size."""
  shown = []
  for group in members:
    if group.results:
      seed, result = min(group.results.items())
      path = pathlib.Path(result['workdir']) / 'condensed.npz'
      if path.is_file():
        made = Condensed.load(path)
        names = made.class_names[:_CLASSES_SHOWN] if made.ipc > 1 else ()
        shown.append(
          (
            f'{group.series}, {made.ipc} image(s) a class, f = {made.factor}, seed {seed}',
            made.picture(_IMAGES_SHOWN, _CLASSES_SHOWN),
            names,
          )
        )
  return shown

"""The reports of this family, one page a run with its numbers, curves and pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill.data import Dataset
from jaxdistill.experiment import page
from jaxdistill.experiment.results import Result, Row
from jaxdistill.report import pictures
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training.run import Run

# What the phases of a run are called in the table of its cost.
CONDENSING = {'condense': 'Condensing', 'evaluate': 'Evaluating'}
ITERATION = 'iteration'
_ROWS_SHOWN = 20  # classes of a large set that the pictures show
_COLUMNS_SHOWN = 10
_COLUMN_TITLES = {'last': 'last', 'selected': 'selected on validation', 'best_test': 'best on test'}
_ACROSS_NOTE = (
  'Accuracy of the last weights in percent, mean ± standard deviation over the networks of '
  'one kind; the average '
  'is the mean over all kinds but the first.'
)
_SCORES_NOTE = (
  'HLR, whole set less condensed set, and IOR, condensed set less random images, in '
  'percentage points; LRS weighs '
  'both equally and ARS the improvements with and without augmentation, both on a scale of 0 to 1.'
)


def html(result: Result, run: Run, before: Condensed, after: Condensed, train: Dataset) -> str:
  """Returns the page of a condensation as one HTML text."""
  rows = [row.to_json() for row in result.rows]
  report = page.begin(result, train.describe())
  report.headline(headline(result.rows))
  report.table(
    'Test accuracy of fresh networks',
    rows,
    columns(rows),
    note=note(result, result.config['model']),
  )
  report.curves('Training', _charts(result.rows, run))
  report.pictures('Images', _pictures(before, after, train))
  return page.end(report, result, run, page.facts(result, CONDENSING, ITERATION))


def headline(rows: Sequence[Row]) -> list[tuple]:
  """Returns the large figures of the first rows."""
  return page.headline(rows, lambda row: f'{row["images_per_class"]:g} image(s) a class')


def columns(rows: Sequence[Mapping[str, Any]]) -> list[tuple]:
  """Returns the table's columns; 'selected' only where validation images chose a check."""
  chosen = (
    [('selected', _COLUMN_TITLES['selected'], 'accuracy', 'max')]
    if all('selected' in row for row in rows)
    else []
  )
  return [
    ('label', 'trained on'),
    ('images_per_class', 'images a class', 'number'),
    ('training_images', 'training images', 'number'),
    ('steps', 'steps', 'number'),
    ('last', 'last', 'accuracy', 'max'),
    *chosen,
    ('best_test', _COLUMN_TITLES['best_test'], 'accuracy', 'max'),
    ('seconds', 'time', 'seconds'),
  ]


def note(result: Result, model: Mapping[str, Any]) -> str:
  """Returns the remark below the table: what its columns mean."""
  section = result.config['evaluation']
  network = ', '.join(f'{name} {value}' for name, value in model.items() if name != 'name')
  text = (
    f'Accuracy in percent, mean ± standard deviation over {section["networks"]} networks '
    f'({model["name"]}, {network}), '
    f'recipe {section["recipe"]}. "last" is the network at the end of its training; "selected '
    'on validation", where it is '
    'given, takes each network\'s best check on held-out images; "best on test" takes its '
    'best check on the test set, as '
    'some papers report it, and is optimistic.'
  )
  if any('learning_rates' in row.extras for row in result.rows):
    by = (
      'held-out images'
      if section['search_on'] == 'validation'
      else 'test images, so that every column is optimistic'
    )
    text += (
      f' Each network has the best of several learning rates, chosen by {by}; the whole '
      'set has one fixed rate.'
    )
  return text


def _charts(rows: Sequence[Row], run: Run) -> list[dict]:
  records = run.curve('condense')
  charts = []
  if records:
    charts.append(
      dict(
        title='Matching loss while condensing',
        x_title='iteration',
        log_y=True,
        series=[('loss', [r['step'] for r in records], [r['loss'] for r in records])],
      )
    )
  return [*charts, page.accuracy_chart(rows)]


def _pictures(before: Condensed, after: Condensed, train: Dataset) -> list[tuple]:
  sets = [('Before: the canvases at the start', before), ('After: the condensed set', after)]
  return [*(_picture(caption, condensed) for caption, condensed in sets), _real(train)]


def _picture(caption: str, condensed: Condensed) -> tuple:
  names = list(condensed.class_names[:_ROWS_SHOWN])
  return caption, condensed.picture(_COLUMNS_SHOWN, _ROWS_SHOWN), names if condensed.ipc > 1 else ()


def _real(train: Dataset) -> tuple:
  names = list(train.class_names[:_ROWS_SHOWN])
  positions = [train.of_class(label)[:_COLUMNS_SHOWN] for label in range(len(names))]
  width = max(map(len, positions))
  # A row a class, beside its name.
  images = np.full((len(names), width, *train.image_shape), 255, np.uint8)
  for row, of_class in zip(images, positions):
    row[: len(of_class)] = train.images[of_class]
  grid = pictures.grid(images.reshape(-1, *train.image_shape), columns=width)
  return 'Real training images', grid, names


def scoreboard(
  result: Result, run: Run, sets: Sequence[tuple[str, Condensed]], train: Dataset
) -> str:
  """Returns the page of an evaluation as one HTML text; `sets` are (label, set)."""
  rows, extras = [row.to_json() for row in result.rows], result.extras
  first = extras['network']
  report = page.begin(result, train.describe())
  report.headline(headline(result.rows))
  report.table(
    f'Test accuracy of fresh networks, {first}',
    rows,
    columns(rows),
    note=note(result, extras['networks'][first]),
  )
  if extras.get('across'):
    report.table('Across architectures', *across(extras['across']), note=_ACROSS_NOTE)
  if extras.get('scores'):
    report.table('DD-Ranking', *scores(extras['scores']), note=_SCORES_NOTE)
  report.curves('Training', [page.accuracy_chart(result.rows)])
  report.pictures(
    'Images', [*(_picture(label, condensed) for label, condensed in sets), _real(train)]
  )
  files = {
    entry['label']: f'{entry["path"]}, SHA-256 {entry["sha256"][:16]}' for entry in extras['sets']
  }
  return page.end(report, result, run, page.facts(result, {'evaluate': 'Evaluating'}) | files)


def across(
  compared: Sequence[Mapping[str, Any]], column: str = 'last'
) -> tuple[list[dict], list[tuple]]:
  """Returns rows and columns of the table of networks: a row a set, a column a network, and the
  average of the transfer."""
  names = list(compared[0]['networks'])
  rows = []
  for entry in compared:
    accuracies = {name: entry['networks'][name][column] for name in names}
    head = {'label': entry['label'], 'reference': entry['reference']}
    rows.append({**head, 'average': entry['average'][column], **accuracies})
  return rows, [
    ('label', 'trained on'),
    *((name, name, 'accuracy', 'max') for name in names),
    ('average', 'average of the others', 'accuracy', 'max'),
  ]


def scores(ranked: Sequence[Mapping[str, Any]]) -> tuple[list[dict], list[tuple]]:
  """Returns rows and columns of the table of DD-Ranking's scores."""
  shares = [(name, name.upper(), lambda value: f'{100 * value:+.1f}') for name in ('hlr', 'ior')]
  robust = [('ars', 'ARS', '.3f')] if any('ars' in score for score in ranked) else []
  rows = [{**score, 'column': _COLUMN_TITLES[score['column']]} for score in ranked]
  return rows, [
    ('label', 'trained on'),
    ('column', 'accuracy'),
    *shares,
    ('lrs', 'LRS', '.3f'),
    *robust,
  ]

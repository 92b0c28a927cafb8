"""The reports of this family, one page a run with its numbers, curves and pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill.data import Dataset
from jaxdistill.report import numbers, pictures
from jaxdistill.report.page import Page
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training.run import Run

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


def html(
  result: dict[str, Any], run: Run, before: Condensed, after: Condensed, train: Dataset
) -> str:
  """Returns the page as one HTML text; `result` is what result.json holds."""
  rows = result['rows']
  page = Page(result['title'], f'{result["date"]} · seed {result["seed"]} · {train.describe()}')
  page.headline(headline(rows))
  page.table(
    'Test accuracy of fresh networks',
    rows,
    columns(rows),
    note=note(result, result['config']['model']),
  )
  page.curves('Training', _charts(rows, run))
  page.pictures('Images', _pictures(before, after, train))
  page.facts(facts(result), title='Cost and origin')
  add_profiles(page, run)
  page.config(result['config'])
  return page.html()


def add_profiles(page: Page, run: Run) -> None:
  """Adds where the time of each phase went, if the run was traced."""
  for phase, text in run.profiles().items():
    page.folded(f'Where the time goes: {phase}', text)


def columns(rows: list[dict]) -> list[tuple]:
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


def note(result: dict[str, Any], model: Mapping[str, Any]) -> str:
  """Returns the remark below the table: what its columns mean."""
  section = result['config']['evaluation']
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
  if any('learning_rates' in row for row in result['rows']):
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


def _charts(rows, run: Run) -> list[dict]:
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
  return [*charts, accuracy_chart(rows)]


def accuracy_chart(rows: list[dict]) -> dict:
  """Returns the chart of the checks during the training of each row: the mean over its networks and
  their spread."""
  return dict(
    title='Test accuracy while evaluating',
    x_title='step',
    percent=True,
    series=[
      (row['label'], row['curve']['steps'], row['curve']['mean'], row['curve']['std'])
      for row in rows
    ],
  )


def _pictures(before: Condensed, after: Condensed, train: Dataset) -> list[tuple]:
  sets = [('Before: the canvases at the start', before), ('After: the condensed set', after)]
  return [*(_picture(caption, condensed) for caption, condensed in sets), _real(train)]


def _picture(caption: str, condensed: Condensed) -> tuple:
  names = list(condensed.class_names[:_ROWS_SHOWN])
  return caption, condensed.picture(_COLUMNS_SHOWN, _ROWS_SHOWN), names if condensed.ipc > 1 else ()


def _real(train: Dataset) -> tuple:
  names = list(train.class_names[:_ROWS_SHOWN])
  images = np.concatenate(
    [train.images[train.of_class(label)[:_COLUMNS_SHOWN]] for label in range(len(names))]
  )
  return 'Real training images', pictures.grid(images, columns=_COLUMNS_SHOWN), names


def scoreboard(
  result: dict[str, Any], run: Run, sets: Sequence[tuple[str, Condensed]], train: Dataset
) -> str:
  """Returns the page of an evaluation as one HTML text; `result` is what result.json holds, `sets`
  are (label, set)."""
  rows, first = result['rows'], result['network']
  page = Page(result['title'], f'{result["date"]} · seed {result["seed"]} · {train.describe()}')
  page.headline(headline(rows))
  page.table(
    f'Test accuracy of fresh networks, {first}',
    rows,
    columns(rows),
    note=note(result, result['networks'][first]),
  )
  if result.get('across'):
    page.table('Across architectures', *across(result['across']), note=_ACROSS_NOTE)
  if result.get('scores'):
    page.table('DD-Ranking', *scores(result['scores']), note=_SCORES_NOTE)
  page.curves('Training', [accuracy_chart(rows)])
  page.pictures(
    'Images', [*(_picture(label, condensed) for label, condensed in sets), _real(train)]
  )
  seconds = result['seconds']
  page.facts(
    {
      'Evaluating': numbers.seconds(seconds['evaluate']),
      'In all': numbers.seconds(seconds['total']),
      'First step after': numbers.seconds(seconds['first_step']),
      **_origin(result),
      **{
        each['label']: f'{each["path"]}, SHA-256 {each["sha256"][:16]}' for each in result['sets']
      },
    },
    title='Cost and origin',
  )
  add_profiles(page, run)
  page.config(result['config'])
  return page.html()


def headline(rows: list[dict]) -> list[tuple]:
  """Returns the large figures of the first rows."""
  return [
    (
      row['label'],
      f'{numbers.accuracy_parts(row["last"])[0]} %',
      f'{numbers.accuracy_parts(row["last"])[1]}, {row["images_per_class"]:g} image(s) a class',
    )
    for row in rows[:4]
  ]


def across(found: Sequence[dict[str, Any]], column: str = 'last') -> tuple[list[dict], list[tuple]]:
  """Returns rows and columns of the table of networks: a row a set, a column a network, and the
  average of the transfer."""
  names = list(found[0]['networks'])
  rows = [
    {
      'label': each['label'],
      'reference': each['reference'],
      'average': each['average'][column],
      **{name: each['networks'][name][column] for name in names},
    }
    for each in found
  ]
  return rows, [
    ('label', 'trained on'),
    *((name, name, 'accuracy', 'max') for name in names),
    ('average', 'average of the others', 'accuracy', 'max'),
  ]


def scores(found: Sequence[dict[str, Any]]) -> tuple[list[dict], list[tuple]]:
  """Returns rows and columns of the table of DD-Ranking's scores."""
  shares = [(name, name.upper(), lambda value: f'{100 * value:+.1f}') for name in ('hlr', 'ior')]
  robust = [('ars', 'ARS', '.3f')] if any('ars' in score for score in found) else []
  rows = [{**score, 'column': _COLUMN_TITLES[score['column']]} for score in found]
  return rows, [
    ('label', 'trained on'),
    ('column', 'accuracy'),
    *shares,
    ('lrs', 'LRS', '.3f'),
    *robust,
  ]


def facts(result: dict[str, Any]) -> dict[str, str]:
  """Returns what a run cost and where it was made."""
  seconds, rate, share = result['seconds'], result['steps_per_second'], result['peak_share']
  return {
    'Condensing': numbers.seconds(seconds['condense']),
    'Evaluating': numbers.seconds(seconds['evaluate']),
    'In all': numbers.seconds(seconds['total']),
    'First step after': numbers.seconds(seconds['first_step']),
    'Speed': f'{rate:.3g} iterations/s' if rate else '–',
    'Work': f'{numbers.flops(result["flops_per_step"])} an iteration'
    + (f', {share:.1%} of peak' if share else ''),
    **_origin(result),
  }


def _origin(result) -> dict[str, str]:
  device = result['device']
  return {
    'Peak memory': f'{numbers.size(result["peak_memory_bytes"])} ({result["peak_memory_of"]})',
    'Device': f'{device["count"]} x {device["kind"]} ({device["platform"]})',
    'Versions': ', '.join(f'{name} {version}' for name, version in result['versions'].items()),
    'Source': result['git_commit'] or 'not a git checkout',
  }

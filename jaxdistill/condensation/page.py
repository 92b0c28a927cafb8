"""The report of a condensation run: one page with its numbers, curves and pictures."""

from typing import Any

import numpy as np

from jaxdistill.condensation.condensed import Condensed
from jaxdistill.data import Dataset
from jaxdistill.report import numbers
from jaxdistill.report.page import Page
from jaxdistill.training.run import Run

_ROWS_SHOWN = 20  # classes of a large set that the pictures show
_COLUMNS_SHOWN = 10


def html(result: dict[str, Any], run: Run, before: Condensed, after: Condensed, train: Dataset) -> str:
  """Returns the page as one HTML text; `result` is what result.json holds."""
  rows = result['rows']
  page = Page(result['title'], f'{result["date"]} · seed {result["seed"]} · {train.describe()}')
  page.headline([(row['label'], f'{numbers.accuracy_parts(row["last"])[0]} %',
                  f'{numbers.accuracy_parts(row["last"])[1]}, {row["images_per_class"]:g} image(s) a class') for row in rows[:4]])
  page.table('Test accuracy of fresh networks', rows, columns(rows), note=_note(result))
  page.curves('Training', _charts(rows, run))
  page.pictures('Images', _pictures(before, after, train))
  page.facts(facts(result), title='Cost and origin')
  page.config(result['config'])
  return page.html()


def columns(rows: list[dict]) -> list[tuple]:
  """Returns the table's columns; 'selected' only where validation images chose a check."""
  chosen = [('selected', 'selected on validation', 'accuracy', 'max')] if all('selected' in row for row in rows) else []
  return [('label', 'trained on'), ('images_per_class', 'images a class', 'number'),
          ('training_images', 'training images', 'number'), ('steps', 'steps', 'number'),
          ('last', 'last', 'accuracy', 'max'), *chosen, ('best_test', 'best on test', 'accuracy', 'max'),
          ('seconds', 'time', 'seconds')]


def _note(result) -> str:
  config = result['config']
  model, section = config['model'], config['evaluation']
  network = ', '.join(f'{name} {value}' for name, value in model.items() if name != 'name')
  return (f'Accuracy in percent, mean ± standard deviation over {section["networks"]} networks ({model["name"]}, {network}), '
          f'recipe {section["recipe"]}. "last" is the network at the end of its training; "best on test" takes each network\'s '
          'best check on the test set, as some papers report it, and is optimistic.')


def _charts(rows, run: Run) -> list[dict]:
  records = run.curve('condense')
  charts = []
  if records:
    charts.append(dict(title='Matching loss while condensing', x_title='iteration', log_y=True, series=[
        ('loss', [r['step'] for r in records], [r['loss'] for r in records])]))
  return [*charts, accuracy_chart(rows)]


def accuracy_chart(rows: list[dict]) -> dict:
  """Returns the chart of the checks during the training of each row: the mean over its networks and their spread."""
  return dict(title='Test accuracy while evaluating', x_title='step', percent=True, series=[
      (row['label'], row['curve']['steps'], row['curve']['mean'], row['curve']['std']) for row in rows])


def _pictures(before: Condensed, after: Condensed, train: Dataset) -> list[tuple]:
  names = list(after.class_names[:_ROWS_SHOWN])
  items = [('Before: the canvases at the start', before), ('After: the condensed set', after)]
  pictures = [(caption, condensed.picture(_COLUMNS_SHOWN, _ROWS_SHOWN), names if condensed.ipc > 1 else ())
              for caption, condensed in items]
  real = np.concatenate([train.images[train.of_class(label)[:_COLUMNS_SHOWN]] for label in range(len(names))])
  return [*pictures, ('Real training images', _grid(real), names)]


def _grid(images):
  from jaxdistill.report import pictures
  return pictures.grid(images, columns=_COLUMNS_SHOWN)


def facts(result: dict[str, Any]) -> dict[str, str]:
  """Returns what a run cost and where it was made."""
  device, seconds = result['device'], result['seconds']
  rate = result['steps_per_second']
  share = result['peak_share']
  return {
      'Condensing': numbers.seconds(seconds['condense']), 'Evaluating': numbers.seconds(seconds['evaluate']),
      'In all': numbers.seconds(seconds['total']),
      'Speed': f'{rate:.3g} iterations/s' if rate else '–',
      'Work': f'{numbers.flops(result["flops_per_step"])} an iteration' + (f', {share:.1%} of peak' if share else ''),
      'Peak memory': f'{numbers.size(result["peak_memory_bytes"])} ({result["peak_memory_of"]})',
      'Device': f'{device["count"]} x {device["kind"]} ({device["platform"]})',
      'Versions': ', '.join(f'{name} {version}' for name, version in result['versions'].items()),
      'Source': result['git_commit'] or 'not a git checkout',
  }

"""The report of this family: the table of the methods, robust and clean accuracy while they train,
the gap between training and test images, adversarial images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill.experiment import page
from jaxdistill.experiment.results import RECONSTRUCTION, Result, Row
from jaxdistill.experiment.rows import flat
from jaxdistill.report import numbers, pictures
from jaxdistill.robustness import api, published
from jaxdistill.robustness import columns as tables
from jaxdistill.robustness.trained import Trained
from jaxdistill.robustness.work import Work
from jaxdistill.training.run import Run

_PHASES = {'training': 'The training'}
_SHOWN = 12  # images that are attacked for the page


def html(result: Result, run: Run, images: Sequence[tuple] = ()) -> str:
  """Returns the page as one HTML text; `images` are pictures of adversarial images."""
  report = page.begin(result, about(result))
  rows = [flat(row) for row in result.rows]
  cited = published.of_config(result.config)
  report.headline(page.headline(result.rows, lambda row: 'robust, last'))
  title = f'Accuracy under PGD-{result.extras["pgd_steps"]}'
  if result.extras['reconstructed']:
    title += RECONSTRUCTION
  shown = _with_published(rows, cited)
  report.table(title, shown, columns(shown, result), note=note(result, cited))
  if warnings := _warnings(result.rows):
    report.text(warnings, 'What makes the final attacks doubtful')
  report.curves('Training', charts(result, run))
  if images:
    report.pictures('Adversarial images', images)
  return page.end(report, result, run, page.facts(result, _PHASES) | _facts(result))


def about(result: Result) -> str:
  """Returns what a run was, in a few words."""
  extras = result.extras
  return (
    f'{extras["seeds"]} network(s) {extras["network"]}, {extras["images"]:,} images, '
    f'{_ball(extras)}'
  )


def columns(rows: Sequence[Mapping[str, Any]], result: Result) -> list[tuple]:
  """Returns the table's columns, those left out that no row fills."""
  listed = [
    ('label', 'method'),
    ('last', 'robust, last', 'accuracy', 'max'),
    ('gain_last', f'less {result.extras["compared_with"]}', numbers.gained),
    ('selected', 'selected on validation', 'accuracy', 'max'),
    ('best_test', 'best on test', 'accuracy', 'max'),
    ('drop', 'best less last', tables.points),
    ('clean', 'clean, last', 'accuracy', 'max'),
    ('clean_best', 'clean at the best', 'accuracy'),
    ('train', 'robust on training images', 'accuracy'),
    ('gap', 'train less test', tables.points),
    *tables.attack_columns(result.extras['attacks']),
    ('worst', 'final attacks', 'accuracy', 'max'),
    ('published', 'published, last', 'accuracy'),
    ('published_best', 'published, best', 'accuracy'),
    ('published_clean', 'published, clean', 'accuracy'),
    ('parameters', 'parameters', 'count'),
    ('seconds', 'training', 'seconds'),
  ]
  filled = set()
  for row in rows:
    filled |= {key for key, value in row.items() if value is not None}
  return [column for column in listed if column[0] in filled]


def note(result: Result, cited: Mapping[str, published.Published]) -> str:
  """Returns the remark below the table: what its columns mean."""
  extras, config = result.extras, result.config
  text = (
    f'Accuracy in percent, mean ± standard deviation over {extras["seeds"]} network(s) in one '
    f'program, {_ball(extras)}. Robust: right as it is and after PGD of {extras["pgd_steps"]} '
    'steps on the cross-entropy from one uniform start, batch normalisation by running '
    'statistics. "last": the network at the end of its training; "best on test": its best check '
    'on the test set, which is optimistic. Train less test: robust accuracy on images that were '
    'learned less that on test images. Differences are paired, seed by seed, with their standard '
    'error.'
  )
  if extras['attacks']:
    text += (
      f' The final networks were attacked on {extras["attacked"]:,} test images; "final attacks": '
      'right after every one.'
    )
  if config['robustness']['recipe'] == 'short':
    text += ' Recipe "short": 30 epochs, not those of the tables of papers.'
  if extras['reconstructed']:
    labels = [row.label for row in result.rows if row.name in extras['reconstructed']]
    text += (
      f' {", ".join(labels)}: the tables of the paper could not be read; what is our choice is a '
      'field of the config.'
    )
  if cited:
    text += ' Published: of one seed, from the public training logs of AWP.'
  return text


def charts(result: Result, run: Run) -> list[dict[str, Any]]:
  """Returns robust and clean accuracy and the gap while the networks train, and their losses."""
  rows = result.rows
  shown = [page.accuracy_chart(rows) | {'title': 'Robust accuracy on test images'}]
  titles = {
    'train': 'Robust accuracy on training images',
    'gap': 'Training images less test images',
    'clean': 'Clean accuracy on test images',
  }
  for name, title in titles.items():
    series = []
    for row in rows:
      curve = row.extras['curves'][name]
      series.append((row.label, curve['steps'], curve['mean'], curve['std']))
    shown.append(dict(title=title, x_title='step', percent=True, series=series))
  losses = []
  for row in rows:
    curve = [line for line in run.curve(row.name) if 'loss' in line]
    if curve:
      losses.append((row.label, [line['step'] for line in curve], [line['loss'] for line in curve]))
  if losses:
    shown.append(dict(title='Loss', x_title='step', series=losses))
  return shown


def adversarial(work: Work, trained: Trained, label: str) -> list[tuple]:
  """Returns pictures of test images, of what PGD makes of them against the first network of a
  method, and of the change, as grey where there is none."""
  taken = np.linspace(0, len(work.test) - 1, min(_SHOWN, len(work.test))).astype(int)
  images = np.asarray(work.test.images[taken]) / np.float32(255)
  labels = np.asarray(work.test.labels[taken])
  function, ball = trained.function(0), work.ball
  changed = api.attack(
    function, images, labels, 'pgd20', eps=ball.eps, norm=ball.norm, batch=len(images)
  )
  largest = float(np.abs(changed - images).max()) or 1.0
  change = 0.5 + 0.5 * (changed - images) / largest
  wrong = int((np.asarray(function(changed)).argmax(-1) != labels).sum())
  return [
    ('As they are', pictures.grid(images, columns=6)),
    (f'{label} under PGD-20: {wrong} of {len(labels)} wrong', pictures.grid(changed, columns=6)),
    (f'The change, at most {largest:.3f}', pictures.grid(change.clip(0, 1), columns=6)),
  ]


def _ball(extras):
  return f'{extras["norm"]}, eps = {extras["eps"]:.3g} ({255 * extras["eps"]:.3g}/255)'


def _warnings(rows: Sequence[Row]) -> str:
  lines = []
  for row in rows:
    lines += [f'{row.label}: {warning}' for warning in row.extras['warnings']]
  return '\n\n'.join(lines)


def _with_published(rows, cited):
  joined = []
  for row in rows:
    known = cited.get(row['name'])
    numbers_of = dict(published='last', published_best='best_test', published_clean='clean')
    beside = {}
    if known:
      beside = {
        key: {'mean': getattr(known, name), 'std': None} for key, name in numbers_of.items()
      }
    joined.append({**row, **beside})
  return joined


def _facts(result: Result) -> dict[str, str]:
  extras = result.extras
  return {'Training images': numbers.count(extras['images']), 'Attacker': _ball(extras)}

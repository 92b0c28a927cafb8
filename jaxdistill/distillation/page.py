"""The report of this family: the table of teacher and students, curves, what both see, which
classes go together, accuracy against speed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill.distillation import columns as tables
from jaxdistill.distillation import published, scoring
from jaxdistill.distillation.work import Work
from jaxdistill.experiment import page
from jaxdistill.experiment.results import RECONSTRUCTION, Result, Row
from jaxdistill.experiment.rows import flat
from jaxdistill.report import numbers, pictures
from jaxdistill.training.run import Run

_PHASES = {'teacher': "The teacher's training", 'students': "The students' training"}
# KD without its weight, of one player or of the student among several.
_GAPS = ('kd', 'student/kd')
_SHOWN = 12  # images of each view
_CORRELATIONS = 4
# The side of a picture of a matrix, in pixels.
_SIDE = 240


def html(result: Result, run: Run, images: Sequence[tuple] = ()) -> str:
  """Returns the page as one HTML text; `images` are pictures of the views."""
  report = page.begin(result, about(result))
  rows = [flat(row) for row in result.rows]
  cited = references(result)
  report.headline(page.headline(_competing(result.rows) or result.rows))
  title = 'Test accuracy'
  if result.extras['reconstructed']:
    title += RECONSTRUCTION
  shown = _with_published(rows, cited)
  report.table(title, shown, columns(shown), note=note(result, cited))
  if drawn := charts(result, run):
    report.curves('Training', drawn)
  if drawn := speed_charts(result.rows):
    report.scatter('Accuracy against speed', drawn)
  if images:
    report.pictures('What teacher and students see', images)
  if matrices := correlations(result.rows):
    report.pictures("The teacher's class correlations less the students'", matrices)
  return page.end(report, result, run, page.facts(result, _PHASES) | _facts(result))


def about(result: Result) -> str:
  """Returns what a run was, in a few words."""
  extras = result.extras
  shared = 'shared batches' if extras['batches'] == 'shared' else 'batches of their own'
  few = f' from {extras["images"]:,} images' if extras['share'] < 1 else ''
  return f'{extras["seeds"]} student(s) {extras["student"]}{few}, {shared}'


def columns(rows: Sequence[Mapping[str, Any]]) -> list[tuple]:
  """Returns the table's columns, those left out that no row fills."""
  listed = [
    ('label', 'students'),
    ('last', 'last', 'accuracy', 'max'),
    ('selected', 'selected on validation', 'accuracy', 'max'),
    ('best_test', 'best on test', 'accuracy', 'max'),
    ('published', 'published', 'accuracy'),
    ('gain_last', 'last, less alone', numbers.gained),
    ('agreement', 'agreement', 'accuracy', 'max'),
    ('divergence', 'KL with the teacher', tables.plain),
    ('correlation_gap', 'class correlations', 'number'),
    ('verification', 'verification', 'accuracy', 'max'),
    ('tar', 'TAR at FAR', 'accuracy'),
    ('auc', 'AUC', 'accuracy', 'max'),
    ('eer', 'equal error', 'accuracy'),
    ('rank1', 'rank-1', 'accuracy', 'max'),
    ('rank5', 'rank-5', 'accuracy', 'max'),
    ('verification_adapted', 'adapted (transductive)', 'accuracy', 'max'),
    ('tar_adapted', 'TAR at FAR, adapted', 'accuracy'),
    ('auc_adapted', 'AUC, adapted', 'accuracy', 'max'),
    ('eer_adapted', 'equal error, adapted', 'accuracy'),
    ('rank1_adapted', 'rank-1, adapted', 'accuracy', 'max'),
    ('rank5_adapted', 'rank-5, adapted', 'accuracy', 'max'),
    ('gain_verification', 'verification, less alone', numbers.gained),
    ('parameters', 'parameters', 'count'),
    ('activation_bytes', 'activations', 'bytes'),
    ('images_per_second_1', 'images/s at 1', 'number'),
    ('images_per_second_256', 'images/s at 256', 'number'),
    ('images_per_second_1_resizing', 'at 1, with resizing', 'number'),
    ('images_per_second_256_resizing', 'at 256, with resizing', 'number'),
    ('seconds', 'training', 'seconds'),
  ]
  filled = set()
  for row in rows:
    filled |= {key for key, value in row.items() if value is not None}
  return [column for column in listed if column[0] in filled]


def note(result: Result, cited: Mapping[str, published.Published]) -> str:
  """Returns the remark below the table: what its columns mean."""
  extras, config = result.extras, result.config
  seen = f', who read images at {extras["low"]} pixels, {extras["shown"]}' if extras['low'] else ''
  if extras.get('degrade'):
    seen += f', after {" and ".join(extras["degrade"])}, in training and in tests,'
  drawn = (
    'the same batches, with one forward of the teacher a step'
    if extras['batches'] == 'shared'
    else 'batches of their own'
  )
  text = (
    f'Accuracy in percent, mean ± standard deviation over {extras["seeds"]} student(s){seen}, all '
    f'in one program on {drawn}. "last": the student at the end of its training; "best on test": '
    'its best check on the test set, which is optimistic. Less alone: paired differences seed by '
    'seed with their standard error. Agreement: the share of test images with the same answer as '
    "the teacher's. Activations: of one image. The teacher's batch normalisation uses "
    + (
      'its running statistics'
      if extras['teacher']['normalisation'] == 'running'
      else 'the statistics of the batch'
    )
    + ' while it teaches.'
  )
  if extras['share'] < 1:
    text += (
      f' The students see {extras["images"]:,} images, {extras["share"]:.0%} of a class; the '
      'teacher saw all, and as many steps are done.'
    )
  live = [row.label for row in result.rows if row.extras.get('live_teacher')]
  if live:
    text += (
      f' {", ".join(live)}: a teacher of their own learns beside the students, from the images '
      'that they see and by the statistics of its batches; agreement and KL are with the teacher '
      'of this table, which did not teach them.'
    )
  if config['distillation']['recipe'] == 'short':
    text += ' Recipe "short": a smoke run of 30 epochs, not that of the tables of papers.'
  if any('rank1' in row.scores for row in result.rows):
    text += (
      ' Rank-1 and rank-5: the class of an image comes first or among the first five by its most '
      f'similar image; {extras["identified"]}.'
    )
  if extras['transductive']:
    text += (
      f' Adapted: the normalisation has seen the images of the pairs without their labels, mode '
      f'{config["verification"]["adapt"]}; such results are transductive.'
    )
  if extras['reconstructed']:
    labels = [row.label for row in result.rows if row.name in extras['reconstructed']]
    text += (
      f' {", ".join(labels)}: the papers could not be read whole; what is our choice is a field of '
      'the config.'
    )
  if cited:
    text += ' Published: accuracies of the last weights from public code'
    remembered = [name for name, row in cited.items() if row.source == published.REMEMBERED]
    text += f', that of {", ".join(remembered)} as it is remembered.' if remembered else '.'
  return text


def references(result: Result) -> dict[str, published.Published]:
  """Returns the published numbers of the run's protocol by the row of ours."""
  return published.of_config(result.config)


def charts(result: Result, run: Run) -> list[dict[str, Any]]:
  """Returns test accuracy while the students train, their losses, and how far their logits are from
  the teacher's, frozen or live, where a method compares them."""
  drawn = [row for row in _competing(result.rows) if row.curve]
  if not drawn:
    return []
  shown = [page.accuracy_chart(drawn) | {'title': 'Test accuracy while they train'}]
  losses, gaps = [], []
  for row in drawn:
    for stage in row.extras.get('stages', ()):
      curve = run.curve(f'{row.name}/{stage}')
      label = row.label if stage == row.extras['stages'][-1] else f'{row.label}, {stage}'
      losses += _series(label, curve, 'loss')
      for name in _GAPS:
        gaps += _series(label, curve, name)
  titles = {'Loss': losses, 'Distance to the teacher (KD)': gaps}
  shown += [
    dict(title=title, x_title='step', series=lines) for title, lines in titles.items() if lines
  ]
  return shown


def _series(label, curve, name):
  """The line of one number along a training; [] where it is not there."""
  points = [(line['step'], line[name]) for line in curve if name in line]
  return [(label, *map(list, zip(*points)))] if points else []


def speed_charts(rows: Sequence[Row]) -> list[dict[str, Any]]:
  """Returns accuracy against images a second, teacher and students as points; [] where speed was
  not measured."""
  drawn = []
  for batch in (1, 256):
    key = f'images_per_second_{batch}'
    points = []
    for row in rows:
      if row.extras.get(key):
        last = row.scores['last']
        points.append((row.label, row.extras[key], last['mean'], last['std']))
    if points:
      options = dict(x_title='images a second', log_x=True, percent=True)
      drawn.append(dict(options, title=f'Batches of {batch}', points=points))
  return drawn


def views(work: Work) -> list[tuple]:
  """Returns pictures of what teacher and students see of the same images."""
  taken = np.linspace(0, len(work.train) - 1, min(_SHOWN, len(work.train))).astype(int)
  images = np.asarray(work.train.images[taken])
  shown = [('Native, as the teacher sees them', pictures.grid(images, columns=6))]
  if work.fields.distillation.low:
    low = np.asarray(work.seeing(None, work.student_view).view(images))
    low = low * np.asarray(work.train.std) + np.asarray(work.train.mean)
    asked = work.fields.distillation
    worse = f' after {" and ".join(asked.degrade)}' if asked.degrade else ''
    caption = f'At {asked.low} pixels{worse}, as the students see them'
    shown.append((caption, pictures.grid(low.clip(0, 1), columns=6)))
  return shown


def correlations(rows: Sequence[Row]) -> list[tuple]:
  """Returns the difference of class correlations of the first methods as pictures: the redder where
  the teacher's are higher, the bluer where the student's are; white where both agree."""
  shown = []
  for row in [row for row in rows if 'correlation' in row.extras][:_CORRELATIONS]:
    picture = pictures.heat_map(row.extras['correlation'], 1.0, side=_SIDE)
    gap = row.extras['correlation_gap']
    shown.append((f'{row.label}: mean difference {gap:.3f}', picture))
  return shown


def _competing(rows: Sequence[Row]) -> list[Row]:
  methods = [row for row in rows if not row.reference]
  # Students alone come last in the large figures.
  return sorted(methods, key=lambda row: row.name == scoring.REFERENCE)


def _with_published(rows, cited):
  return [
    {**row, 'published': {'mean': cited[row['name']].accuracy, 'std': None}}
    if row['name'] in cited
    else row
    for row in rows
  ]


def _facts(result: Result) -> dict[str, str]:
  extras = result.extras
  return {
    'Teacher': extras['teacher']['network'],
    'Images of the students': numbers.count(extras['images']),
    'Batches': extras['batches'],
  }

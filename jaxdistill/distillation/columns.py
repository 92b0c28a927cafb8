"""What tables say of this family's runs: the columns of a finished run, and of a sweep of many."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdistill.distillation import published, sections
from jaxdistill.experiment import aggregate, schema
from jaxdistill.experiment.aggregate import Group, Grouping
from jaxdistill.report import numbers


def plain(value: Mapping[str, Any] | None) -> str:
  """Writes a number with its deviation that is no share, and a dash where there is none.

  >>> plain(dict(mean=0.123, std=0.01, n=3)), plain(None)
  ('0.12 ± 0.01', '–')
  """
  if not value or value['mean'] is None:
    return numbers.MISSING
  text = f'{value["mean"]:.2f}'
  return f'{text} ± {value["std"]:.2f}' if value.get('std') else text


# What a finished run prints.
RESULT = (
  ('label', 'Students'),
  ('last', 'Last (%)', 'accuracy'),
  ('selected', 'Selected (%)', 'accuracy'),
  ('best_test', 'Best on test (%)', 'accuracy'),
  ('gain', 'Less alone', numbers.gained),
  ('agreement', 'Agreement (%)', 'accuracy'),
  ('verification', 'Verification (%)', 'accuracy'),
  ('rank1', 'Rank-1 (%)', 'accuracy'),
  ('verification_adapted', 'Adapted, transductive (%)', 'accuracy'),
  ('parameters', 'Parameters', 'count'),
  ('activation_bytes', 'Activations', 'bytes'),
  ('seconds', 'Training', 'seconds'),
)
# What a sweep compares, see `experiment.comparison.Family`.
TASKS = ('distill',)
TITLE = 'Comparison of distillation methods'
GROUPING = Grouping(
  table=('data.name', 'teacher_model.name', 'model.name'),
  conditions=(
    'data',
    'model',
    'teacher_model',
    'teaching',
    'distillation',
    'verification',
    'dtype',
  ),
  elsewhere=('data.dir', 'model.name', 'teacher_model.name', 'distillation.speed'),
  size=('low', 'share'),
  absent=schema.optional(sections.DistilConfig),
)
TERMINAL = ('label', 'setting', 'low', 'last', 'best_test', 'published', 'seconds')
NOTE = (
  'Accuracy in percent on the test set, mean ± standard deviation over all students of all seeds. '
  '"last" is a student at the end of its training; "best on test" its best check on the test set, '
  'which is optimistic. Agreement: the share of test images to which student and teacher answer '
  'alike; where a teacher learns beside the students, it is with another one, trained before. '
  'Rank-1 and rank-5: the class of an image that nobody was trained on comes first, or among the '
  'first five, in a gallery. Adapted: the normalisation has seen the images of the pairs without '
  'their labels. Time is that of the training, all students of a run together.'
)
_ACCURACIES = (
  'last',
  'selected',
  'best_test',
  'agreement',
  'verification',
  'rank1',
  'rank5',
  'verification_adapted',
)


def table_row(group: Group) -> dict[str, Any]:
  """Returns what a table says of a group."""
  dataset, teacher, student = group.table
  run = next(iter(group.runs.values()), None)
  known = published.of_config(run.result.config).get(group.name) if run else None
  accuracies = {name: aggregate.pooled(group, name) for name in _ACCURACIES}
  seconds = [row.seconds for _, row in group.rows.values()]
  return {
    'dataset': dataset,
    'teacher': teacher,
    'student': student,
    'name': group.name,
    'label': group.label,
    'setting': group.setting,
    'low': group['low'],
    'share': group['share'],
    'reference': group.reference,
    'seeds': accuracies['last']['seeds'],
    **accuracies,
    'published': known and {'mean': known.accuracy, 'std': None},
    'source': known and known.source,
    'seconds': statistics.fmean(seconds) if group.runs else None,
  }


def table_of(row: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns the table of a row: data set, teacher and student."""
  return row['dataset'], row['teacher'], row['student']


def table_title(table: tuple[str, ...]) -> str:
  """Returns the heading of a table's charts.

  >>> table_title(('cifar100', 'resnet56', 'resnet20'))
  'cifar100, resnet56 to resnet20'
  """
  dataset, teacher, student = table
  return f'{dataset}, {teacher} to {student}'


def size_of(row: Mapping[str, Any]) -> float:
  """Returns the size by which a table is divided: the side of the students' images."""
  return row['low']


def section_title(row: Mapping[str, Any]) -> str:
  """Returns the heading of the rows of one table and size.

  >>> section_title(dict(dataset='digits', teacher='convnet', student='convnet', low=4))
  'digits, convnet to convnet, students at 4 pixels'
  """
  at = f', students at {row["low"]} pixels' if row['low'] else ''
  return table_title(table_of(row)) + at


def columns(rows: Sequence[Mapping[str, Any]], best: str = '') -> list[tuple]:
  """Returns the columns of a table, those left out that none of its rows fills; `best` marks the
  best accuracies ('max')."""
  listed = [
    ('label', 'students'),
    ('setting', 'setting'),
    ('share', 'share of images', 'number'),
    ('last', 'last', 'accuracy', best),
    ('selected', 'selected on validation', 'accuracy', best),
    ('best_test', 'best on test', 'accuracy', best),
    ('agreement', 'agreement', 'accuracy'),
    ('verification', 'verification', 'accuracy', best),
    ('rank1', 'rank-1', 'accuracy', best),
    ('rank5', 'rank-5', 'accuracy', best),
    ('verification_adapted', 'adapted (transductive)', 'accuracy', best),
    ('published', 'published', 'accuracy'),
    ('source', 'source'),
    ('seconds', 'time', 'seconds'),
  ]
  return [column for column in listed if _fills(rows, column[0])]


def _fills(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
  return any(row.get(key) not in (None, '') for row in rows)


def charts(members: Sequence[Group]) -> list[dict[str, Any]]:
  """Returns the charts of one table: accuracy against the side of the students' images, where there
  are several; without students who see native ones, whose side no row tells."""
  lowered = [group for group in members if group['low']]
  name_of = lambda group: group.series_along('distillation.low')
  lines = aggregate.lines(lowered, name_of, lambda group: group['low'])
  if not any(len(set(x)) > 1 for _, x, *_ in lines):
    return []
  title = "Accuracy against the side of the students' images"
  return [dict(title=title, x_title='pixels', percent=True, series=lines)]


def pictures(table: tuple[str, ...], members: Sequence[Group]) -> tuple[str, list[tuple]]:
  """Returns heading and pictures of a table; there are none."""
  del members
  return table_title(table), []

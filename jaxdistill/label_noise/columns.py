"""What tables say of this family's runs: the columns of a finished run, and of a sweep of many."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdistill.experiment import aggregate
from jaxdistill.experiment.aggregate import Group, Grouping
from jaxdistill.report import numbers

# What a finished run prints.
RESULT = (
  ('label', 'Method'),
  ('last', 'Last (%)', 'accuracy'),
  ('selected', 'Selected (%)', 'accuracy'),
  ('best_test', 'Best on test (%)', 'accuracy'),
  ('cf1', 'CF1 (%)', 'accuracy'),
  ('label_accuracy', 'Believed labels (%)', 'accuracy'),
  ('memorised', 'Wrong by heart (%)', 'accuracy'),
  ('seconds', 'Training', 'seconds'),
)
# What a sweep compares, see `experiment.comparison.Family`.
TASKS = ('train',)
TITLE = 'Comparison of methods that learn from wrong labels'
GROUPING = Grouping(
  table=('data.name', 'model.name', 'evidence.origin'),
  conditions=('data', 'model', 'evidence', 'learning', 'dtype'),
  elsewhere=('data.dir', 'model.name', 'evidence.origin', 'evidence.path'),
  size=('wrong', 'labels'),
)
TERMINAL = ('label', 'setting', 'last', 'selected', 'best_test', 'label_accuracy', 'seconds')
NOTE = (
  'Accuracy in percent on clean test examples, mean ± standard deviation over all networks of all '
  'seeds (of a matrix of labels mean average precision). "last" is a network at the end of its '
  'training; "selected" its best check on held-out examples by their observed labels; "best on '
  'test" its best check on the test set, which is optimistic. Time is that of the training, all '
  'networks of a run together.'
)
_ACCURACIES = ('last', 'selected', 'best_test', 'label_accuracy', 'memorised', 'cf1', 'of1')


def table_row(group: Group) -> dict[str, Any]:
  """Returns what a table says of a group."""
  dataset, network, origin = group.table
  accuracies = {name: aggregate.pooled(group, name) for name in _ACCURACIES}
  seconds = [row.seconds for _, row in group.rows.values()]
  return {
    'dataset': dataset,
    'network': network,
    'origin': origin,
    'name': group.name,
    'label': group.label,
    'setting': group.setting,
    'wrong': group['wrong'],
    'labels': group['labels'],
    'reference': group.reference,
    'seeds': accuracies['last']['seeds'],
    **accuracies,
    'seconds': statistics.fmean(seconds) if group.runs else None,
  }


def table_of(row: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns the table of a row: data set, network and origin of the labels."""
  return row['dataset'], row['network'], row['origin']


def table_title(table: tuple[str, ...]) -> str:
  """Returns the heading of a table's charts.

  >>> table_title(('cifar10', 'preact_resnet', 'corrupt'))
  'cifar10, preact_resnet, corrupt'
  """
  return ', '.join(table)


def size_of(row: Mapping[str, Any]) -> float:
  """Returns the size by which a table is divided: the share of wrong labels, 0 where it is not
  known."""
  return row['wrong'] or 0.0


def section_title(row: Mapping[str, Any]) -> str:
  """Returns the heading of the rows of one table and size.

  >>> section_title(dict(dataset='digits', network='mlp', origin='corrupt', wrong=0.36, labels=1))
  'digits, mlp, corrupt, 36.0 % wrong, 1 label(s) an example'
  """
  wrong = 'share of wrong labels unknown' if row['wrong'] is None else f'{row["wrong"]:.1%} wrong'
  wrong = wrong.replace('%', ' %')
  return f'{table_title(table_of(row))}, {wrong}, {row["labels"]:.3g} label(s) an example'


def columns(rows: Sequence[Mapping[str, Any]], best: str = '') -> list[tuple]:
  """Returns the columns of a table, those left out that none of its rows fills; `best` marks the
  best accuracies ('max')."""
  listed = [
    ('label', 'method'),
    ('setting', 'setting'),
    ('last', 'last', 'accuracy', best),
    ('selected', 'selected on validation', 'accuracy', best),
    ('best_test', 'best on test', 'accuracy', best),
    ('of1', 'OF1', 'accuracy', best),
    ('cf1', 'CF1', 'accuracy', best),
    ('label_accuracy', 'believed labels', 'accuracy', best),
    ('memorised', 'wrong by heart', 'accuracy'),
    ('seconds', 'time', 'seconds'),
  ]
  return [column for column in listed if _fills(rows, column[0])]


def _fills(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
  return any(row.get(key) not in (None, '') for row in rows)


def charts(members: Sequence[Group]) -> list[dict[str, Any]]:
  """Returns the charts of one table: accuracy against the labels an example and against the share
  of wrong ones, where there are several."""
  shown = []
  for key, title, conditions in (
    ('labels', 'labels an example', ('evidence.per_example',)),
    ('wrong', 'share of wrong labels', ('evidence.rate', 'evidence.false_positive')),
  ):
    name_of = lambda group, conditions=conditions: group.series_along(*conditions)
    lines = aggregate.lines(members, name_of, lambda group, key=key: group[key] or 0.0)
    if any(len(set(x)) > 1 for _, x, *_ in lines):
      shown.append(
        dict(title=f'Test accuracy against {title}', x_title=title, percent=True, series=lines)
      )
  return shown


def pictures(table: tuple[str, ...], members: Sequence[Group]) -> tuple[str, list[tuple]]:
  """Returns heading and pictures of a table; there are none."""
  del members
  return table_title(table), []


def number(value: Mapping[str, Any] | None) -> str:
  """Writes a mean and deviation over seeds of what is no share, and a dash where there is none.

  >>> number(dict(mean=0.1234, std=0.0041, n=5)), number(None)
  ('0.123 ± 0.004', '–')
  """
  if not value or value['mean'] is None:
    return numbers.MISSING
  text = f'{value["mean"]:.3f}'
  return f'{text} ± {value["std"]:.3f}' if value.get('std') else text

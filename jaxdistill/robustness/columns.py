"""What tables say of this family's runs: the columns of a finished run, and of a sweep of many."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdistill.experiment import aggregate
from jaxdistill.experiment.aggregate import Group, Grouping
from jaxdistill.report import numbers
from jaxdistill.robustness import published
from jaxdistill.robustness.attacks import ATTACKS


def points(value: Mapping[str, Any] | None) -> str:
  """Writes a difference of accuracies, mean and deviation over networks, in percentage points.

  >>> points(dict(mean=-0.0123, std=0.0041, n=5)), points(None)
  ('-1.2 ± 0.4', '–')
  """
  if not value or value['mean'] is None:
    return numbers.MISSING
  text = f'{100 * value["mean"]:+.1f}'
  return f'{text} ± {100 * value["std"]:.1f}' if value.get('std') else text


# What a finished run prints.
RESULT = (
  ('label', 'Method'),
  ('last', 'Robust, last (%)', 'accuracy'),
  ('selected', 'Selected (%)', 'accuracy'),
  ('best_test', 'Best on test (%)', 'accuracy'),
  ('clean', 'Clean (%)', 'accuracy'),
  ('gap', 'Train less test', points),
  ('worst', 'Final attacks (%)', 'accuracy'),
  ('seconds', 'Training', 'seconds'),
)
# What a sweep compares, see `experiment.comparison.Family`.
TASKS = ('train',)
TITLE = 'Comparison of methods of adversarial training'
GROUPING = Grouping(
  table=('data.name', 'model.name', 'robustness.norm'),
  conditions=('data', 'model', 'robustness', 'dtype'),
  elsewhere=('data.dir', 'model.name', 'robustness.norm'),
  size=('eps', 'images'),
)
TERMINAL = ('label', 'setting', 'last', 'best_test', 'clean', 'worst', 'published', 'seconds')
NOTE = (
  'Accuracy in percent on the test set under PGD, mean ± standard deviation over all networks of '
  'all seeds. "last" is a network at the end of its training; "best on test" its best check on the '
  'test set, which is optimistic. "clean" is without an attack. Time is that of the training, all '
  'networks of a run together.'
)
_ACCURACIES = ('last', 'selected', 'best_test', 'clean', 'train', 'gap', 'worst')


def table_row(group: Group) -> dict[str, Any]:
  """Returns what a table says of a group."""
  dataset, network, norm = group.table
  run = next(iter(group.runs.values()), None)
  known = published.of_config(run.result.config).get(group.name) if run else None
  accuracies = {name: aggregate.pooled(group, name) for name in _ACCURACIES}
  seconds = [row.seconds for _, row in group.rows.values()]
  return {
    'dataset': dataset,
    'network': network,
    'norm': norm,
    'name': group.name,
    'label': group.label,
    'setting': group.setting,
    'eps': group['eps'],
    'images': group['images'],
    'reference': group.reference,
    'seeds': accuracies['last']['seeds'],
    **accuracies,
    'published': known and {'mean': known.last, 'std': None},
    'source': 'public logs' if known else None,
    'seconds': statistics.fmean(seconds) if group.runs else None,
  }


def table_of(row: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns the table of a row: data set, network and norm."""
  return row['dataset'], row['network'], row['norm']


def table_title(table: tuple[str, ...]) -> str:
  """Returns the heading of a table's charts.

  >>> table_title(('cifar10', 'preact_resnet', 'linf'))
  'cifar10, preact_resnet, linf'
  """
  return ', '.join(table)


def size_of(row: Mapping[str, Any]) -> float:
  """Returns the size by which a table is divided: the radius of the attacker's ball."""
  return row['eps']


def section_title(row: Mapping[str, Any]) -> str:
  """Returns the heading of the rows of one table and size.

  >>> section_title(dict(dataset='digits', network='convnet', norm='linf', eps=0.2))
  'digits, convnet, linf, eps = 0.2'
  """
  return f'{table_title(table_of(row))}, eps = {row["eps"]:.3g}'


def columns(rows: Sequence[Mapping[str, Any]], best: str = '') -> list[tuple]:
  """Returns the columns of a table, those left out that none of its rows fills; `best` marks the
  best accuracies ('max')."""
  listed = [
    ('label', 'method'),
    ('setting', 'setting'),
    ('last', 'robust, last', 'accuracy', best),
    ('selected', 'selected on validation', 'accuracy', best),
    ('best_test', 'best on test', 'accuracy', best),
    ('clean', 'clean', 'accuracy', best),
    ('train', 'robust on training images', 'accuracy'),
    ('gap', 'train less test', points),
    ('worst', 'final attacks', 'accuracy', best),
    ('published', 'published, last', 'accuracy'),
    ('source', 'source'),
    ('seconds', 'time', 'seconds'),
  ]
  return [column for column in listed if _fills(rows, column[0])]


def attack_columns(names: Sequence[str]) -> list[tuple]:
  """Returns the columns of final attacks by their names.

  >>> attack_columns(['pgd20'])
  [('pgd20', 'PGD-20', 'accuracy', 'max')]
  """
  return [(name, ATTACKS.labels.get(name, name), 'accuracy', 'max') for name in names]


def _fills(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
  return any(row.get(key) not in (None, '') for row in rows)


def charts(members: Sequence[Group]) -> list[dict[str, Any]]:
  """Returns the charts of one table: robust accuracy against eps, where there are several."""
  name_of = lambda group: group.series_along('robustness.eps')
  lines = aggregate.lines(members, name_of, lambda group: group['eps'])
  if not any(len(set(x)) > 1 for _, x, *_ in lines):
    return []
  title = 'Robust accuracy against the radius of the ball'
  return [dict(title=title, x_title='eps', percent=True, series=lines)]


def pictures(table: tuple[str, ...], members: Sequence[Group]) -> tuple[str, list[tuple]]:
  """Returns heading and pictures of a table; there are none."""
  del members
  return table_title(table), []

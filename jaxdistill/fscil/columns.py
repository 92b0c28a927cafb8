"""What tables say of this family's runs: the columns of a finished run, of its page, and of a sweep
of many."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdistill.experiment import aggregate
from jaxdistill.experiment.aggregate import Group, Grouping
from jaxdistill.report import numbers


def points(value: Mapping[str, Any] | None) -> str:
  """Writes a difference of accuracies, or another number that may be negative, in percentage
  points.

  >>> points(dict(mean=-0.0213, std=0.004, n=5)), points(None)
  ('-2.1 ± 0.4', '–')
  """
  if value is None or value.get('mean') is None:
    return numbers.MISSING
  text = f'{100 * value["mean"]:.1f}'
  spread = value.get('std')
  return f'{text} ± {100 * spread:.1f}' if spread and value.get('n', 2) > 1 else text


def gained(interval: Mapping[str, float] | None) -> str:
  """Writes a paired difference with its interval in percentage points.

  >>> gained(dict(mean=0.012, standard_error=0.004, low=0.002, high=0.022, n=5))
  '+1.2 [+0.2, +2.2]'
  """
  if not interval:
    return numbers.MISSING
  mean, low, high = (100 * interval[name] for name in ('mean', 'low', 'high'))
  return f'{mean:+.1f} [{low:+.1f}, {high:+.1f}]'


# What a finished run prints.
RESULT = (
  ('label', 'Learner'),
  ('average', 'Average (%)', 'accuracy'),
  ('last', 'Last (%)', 'accuracy'),
  ('base', 'Base (%)', 'accuracy'),
  ('novel', 'Novel (%)', 'accuracy'),
  ('hm', 'HM (%)', 'accuracy'),
  ('pd', 'PD', points),
  ('seconds', 'Sessions', 'seconds'),
)

# What a sweep compares, see `experiment.comparison.Family`.
TASKS = ('learn',)
TITLE = 'Comparison of few-shot learners'
_DIVISION = ('protocol.base_classes', 'protocol.way', 'protocol.shot', 'protocol.indices')
GROUPING = Grouping(
  table=('data.name', *_DIVISION),
  conditions=('data', 'model', 'dtype', 'protocol', 'base_training', 'generative'),
  elsewhere=('data.dir', *_DIVISION),
  size=(),
)
TERMINAL = ('label', 'setting', 'average', 'last', 'base', 'novel', 'hm', 'pd')
NOTE = (
  'Accuracy in percent, mean ± standard deviation over all runs (draws of the few images x base '
  'networks) of all seeds. Average: over all sessions, that of the base included. PD: first less '
  'last session. HM: harmonic mean of base and novel accuracy after the last session. Memory: '
  'bytes a class. A session: its training, all runs of a seed together. Reconstruction: parts of '
  "the paper were not at hand; what is our choice is said in each learner's page of code, and is a "
  'field of the config.'
)
# The numbers of a row in result.json that a table shows.
_SCORES = ('average', 'last', 'pd', 'hm', 'base', 'novel', 'gacc', 'forgetting', 'nme_last')


def table_row(group: Group) -> dict[str, Any]:
  """Returns what a table says of a group; costs are means over the seeds."""
  scores = {column: aggregate.pooled(group, column) for column in _SCORES}
  dataset, base_classes, way, shot, indices = group.table
  rows = [row for _, row in group.rows.values()]
  seconds = [statistics.fmean(row['session_seconds']) for row in rows if row['session_seconds']]
  return {
    'dataset': dataset,
    'base_classes': base_classes,
    'way': way,
    'shot': shot,
    'indices': indices,
    'name': group.name,
    'label': group.label,
    'setting': group.setting,
    'reference': group.reference,
    'seeds': scores['last']['seeds'],
    **scores,
    'memory_bytes': group['memory_bytes'],
    'session': statistics.fmean(seconds) if seconds else None,
  }


def table_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
  """Returns the table of a row: the data set and its division into sessions."""
  return tuple(row[key] for key in ('dataset', 'base_classes', 'way', 'shot', 'indices'))


def table_title(table: tuple[Any, ...]) -> str:
  """Returns the heading of a table.

  >>> table_title(('cifar100', 60, 5, 5, ''))
  'cifar100, 60 classes and sessions of 5-way 5-shot'
  """
  dataset, base_classes, way, shot, indices = table
  chosen = f', images of {indices}' if indices else ''
  return f'{dataset}, {base_classes} classes and sessions of {way}-way {shot}-shot{chosen}'


def size_of(row: Mapping[str, Any]) -> float:
  """Returns the size by which a table is divided into sections: there is one."""
  del row
  return 0


def section_title(row: Mapping[str, Any]) -> str:
  """Returns the heading of a table's one section."""
  return table_title(table_of(row))


def columns(rows: Sequence[Mapping[str, Any]], best: str = '') -> list[tuple]:
  """Returns the columns of a sweep's table, those left out that none of its rows fills; `best`
  marks the best accuracies ('max')."""
  listed = [
    ('label', 'learner'),
    ('setting', 'setting'),
    ('average', 'average', 'accuracy', best),
    ('last', 'last', 'accuracy', best),
    ('pd', 'PD', points),
    ('hm', 'HM', 'accuracy', best),
    ('base', 'base', 'accuracy', best),
    ('novel', 'novel', 'accuracy', best),
    ('gacc', 'gAcc', 'accuracy', best),
    ('forgetting', 'forgetting', points),
    ('nme_last', 'last by NME', 'accuracy', best),
    ('memory_bytes', 'memory a class', 'bytes'),
    ('session', 'a session', 'seconds'),
  ]
  filled = {name for name, *_ in listed if _fills(rows, name)}
  return [column for column in listed if column[0] in filled]


def _fills(rows, name):
  return any(row.get(name) not in (None, '') for row in rows)


def charts(members: Sequence[Group]) -> list[dict[str, Any]]:
  """Returns the charts of one table: accuracy by session, and after the last one against the memory
  of a class where that varies."""
  series = []
  for group in members:
    accuracies = []
    for _, row in group.rows.values():
      accuracies += row['accuracy']
    sessions = list(zip(*accuracies))
    spread = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in sessions]
    means = [statistics.fmean(values) for values in sessions]
    series.append((group.series, list(range(len(means))), means, spread))
  drawn = [
    dict(title='Accuracy on all classes so far', x_title='session', percent=True, series=series)
  ]
  lines = aggregate.lines(members, lambda group: group.name, lambda group: group['memory_bytes'])
  if any(len(set(x)) > 1 for _, x, *_ in lines):
    title = 'Accuracy after the last session against memory'
    drawn.append(dict(title=title, x_title='bytes a class', percent=True, series=lines))
  return drawn


def pictures(table: tuple[Any, ...], members: Sequence[Group]) -> tuple[str, list[tuple]]:
  """Returns no pictures: what a learner remembers is on the page of its run."""
  del table, members
  return '', []

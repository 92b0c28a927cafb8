"""Rows of many runs as one table: accuracies pooled over networks and seeds, what the runs cost,
what is published."""

import dataclasses
import itertools
import json
import statistics
from collections.abc import Iterable
from typing import Any

from jaxdistill import config as configs
from jaxdistill import metrics
from jaxdistill.condensation import published

# The accuracies of a row in result.json.
ACCURACIES = ('last', 'selected', 'best_test')
# Sections by which a set is scored: rows that differ in them are told apart by their setting.
_CONDITIONS = ('data', 'model', 'dtype', 'evaluation')
_ELSEWHERE = ('data.dir', 'evaluation.baselines', 'evaluation.recipe')
_FREE = ('seed', 'run')


@dataclasses.dataclass
class Group:
  """Rows of one method or one baseline that differ in nothing but the seed.

  Attributes:
    table: (data set, recipe); only rows of one table are comparable.
    name: of the method or baseline.
    label: for people.
    conditions: by which the sets were scored, as dotted fields.
    variant: all other fields of a method's config; empty for a baseline.
    rows: (seed, row) by the row's key, the hash of all that decides it.
    results: the results of a method's runs by seed; empty for a baseline.
    idle: conditions that differ between the rows without an effect on them.
    setting: those conditions that are not the same in the whole table, for people.
  """

  table: tuple[str, str]
  name: str
  label: str
  conditions: dict[str, Any]
  variant: dict[str, Any]
  rows: dict[str, tuple[int, dict]] = dataclasses.field(default_factory=dict)
  results: dict[int, dict] = dataclasses.field(default_factory=dict)
  idle: set[str] = dataclasses.field(default_factory=set)
  setting: str = ''

  def __getitem__(self, field: str) -> Any:
    """A field that is the same in all rows, such as images_per_class."""
    return next(iter(self.rows.values()))[1][field]

  @property
  def series(self) -> str:
    """The name of the line in a chart."""
    return ', '.join(filter(None, (self.label, self.setting)))


def groups(results: Iterable[dict[str, Any]]) -> list[Group]:
  """Sorts the rows of runs (the content of their result.json) into groups, methods first, each told
  apart from the others.

  A baseline that several runs scored under one key is one group, whatever else their configs say.
  """
  methods, baselines = {}, {}
  for result in results:
    fields = configs.flat(result['config'])
    table = result['config']['data']['name'], result['config']['evaluation']['recipe']
    sections = {key: key.split('.')[0] for key in fields}
    conditions = {
      key: fields[key] for key in fields if sections[key] in _CONDITIONS and key not in _ELSEWHERE
    }
    variant = {key: fields[key] for key in fields if sections[key] not in (*_CONDITIONS, *_FREE)}
    for row in result['rows']:
      own = row['name'] == result['method']
      place = [
        table,
        row['name'],
        row['images_per_class'],
        row['factor'],
        conditions,
        variant if own else {},
      ]
      group = (methods if own else baselines).setdefault(
        json.dumps(place, sort_keys=True),
        Group(table, row['name'], row['label'], conditions, variant if own else {}),
      )
      group.rows[row['key']] = result['seed'], row
      if own:
        group.results[result['seed']] = result
  baselines = _joined(baselines.values())
  found = [*methods.values(), *baselines]
  for _, members in by_table(found):
    _name_settings(members, set().union(*(group.idle for group in members)))
    for _, variants in _by(members, lambda group: group.name):
      _name_variants(variants)
  return found


def by_table(found: Iterable[Group]) -> list[tuple[tuple[str, str], list[Group]]]:
  """Returns ((data set, recipe), its groups) in the order of first appearance."""
  return _by(found, lambda group: group.table)


def _by(items: Iterable[Group], key) -> list[tuple[Any, list[Group]]]:
  found = {}
  for item in items:
    found.setdefault(key(item), []).append(item)
  return list(found.items())


def _joined(baselines: Iterable[Group]) -> list[Group]:
  """Joins the groups that share a row: their conditions differ in what does not matter to it
  (idle)."""
  joined = []
  for group in baselines:
    twin = next(
      (
        other
        for other in joined
        if other.table == group.table and other.rows.keys() & group.rows.keys()
      ),
      None,
    )
    if twin:
      twin.rows |= group.rows
      twin.idle |= {
        key for key, value in twin.conditions.items() if group.conditions.get(key) != value
      }
    else:
      joined.append(group)
  return joined


def _name_settings(members: list[Group], idle: set[str]) -> None:
  """Says by which conditions each group was scored; not by fields of the data that were idle for a
  baseline, and so for all."""
  fields = sorted(
    set().union(*(group.conditions for group in members))
    - {key for key in idle if key.startswith('data.')}
  )
  varying = [
    key
    for key in fields
    if len({_text(group.conditions[key]) for group in members if key in group.conditions}) > 1
  ]
  for group in members:
    group.setting = _told(group.conditions, [key for key in varying if key not in group.idle])


def _name_variants(variants: list[Group]) -> None:
  """Adds to the labels as few fields as tell apart those of one size: the method's own first, then
  by name."""

  def classes(fields):
    return len(
      {
        _text(
          [
            group['images_per_class'],
            group['factor'],
            group.setting,
            *(group.variant.get(key) for key in fields),
          ]
        )
        for group in variants
      }
    )

  chosen = []
  fields = set().union(*(group.variant for group in variants))
  for key in sorted(fields, key=lambda key: (not key.startswith('method.'), key)):
    if classes([*chosen, key]) > classes(chosen):
      chosen.append(key)
  for group in variants:
    if chosen:
      group.label = f'{group.label} ({_told(group.variant, chosen)})'


def _text(value: Any) -> str:
  return json.dumps(value, sort_keys=True)


def _told(fields: dict[str, Any], keys: list[str]) -> str:
  return ', '.join(f'{key.rpartition(".")[2]}={fields[key]}' for key in keys if key in fields)


def pooled(group: Group, column: str) -> dict[str, Any] | None:
  """Returns the accuracies of a group over all its networks and seeds, or None where a row has no
  such column.

  Returns:
    dict(mean, std, n, values) as of one run, n = seeds x networks, the std over all of them;
    `seeds`, their number, and `between_seeds`, the std of the seeds' means (n - 1), None for one
    seed.
  """
  by_seed = {}
  for seed, row in sorted(group.rows.values(), key=lambda each: each[0]):
    if not row.get(column):
      return None
    by_seed.setdefault(seed, []).extend(row[column]['values'])
  means = [statistics.fmean(values) for values in by_seed.values()]
  return {
    **metrics.mean_std(list(itertools.chain(*by_seed.values()))),
    'seeds': len(means),
    'between_seeds': statistics.stdev(means) if len(means) > 1 else None,
  }


def table_row(group: Group) -> dict[str, Any]:
  """Returns what a table says of a group; costs are means over the seeds, None for a baseline.

  `seconds` is the whole phase of condensing, compiling included, experts not; `program_bytes` what
  its compiled step needs on one device.
  """
  dataset, recipe = group.table
  known = published.find(group.name, dataset, group['images_per_class'], group['factor'])
  accuracies = {column: pooled(group, column) for column in ACCURACIES}
  results = group.results.values()
  rates = [result['steps_per_second'] for result in results if result['steps_per_second']]
  return {
    'dataset': dataset,
    'recipe': recipe,
    'name': group.name,
    'label': group.label,
    'setting': group.setting,
    'images_per_class': group['images_per_class'],
    'factor': group['factor'],
    'training_images': group['training_images'],
    'steps': group['steps'],
    'reference': group['reference'],
    'seeds': accuracies['last']['seeds'],
    **accuracies,
    'between_seeds': accuracies['last']['between_seeds'],
    'published': known and {'mean': known.mean, 'std': known.std},
    'source': known and known.source,
    'seconds': _mean(result['seconds']['condense'] for result in results),
    'seconds_per_iteration': _mean(1 / rate for rate in rates),
    'program_bytes': max((result['program_bytes'] or 0 for result in results), default=0) or None,
  }


def _mean(values: Iterable[float]) -> float | None:
  values = list(values)
  return statistics.fmean(values) if values else None

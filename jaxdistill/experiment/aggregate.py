"""Rows of many runs sorted into groups that differ in nothing but the seed, and their accuracies
pooled over networks and seeds."""

import dataclasses
import itertools
import json
import math
import pathlib
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdistill import config as configs
from jaxdistill.experiment.results import Result, Row

# The axis of a sweep over whose points rows are pooled.
POOLED = 'seed'
# Sections of a config that decide no number.
_FREE = ('seed', 'run')


class Finished(NamedTuple):
  """A run of a sweep that is done: the config that it was made from, as the sweep names it, where
  it stands on the axes that the sweep varied, what it measured, and its work dir."""

  spec: str
  point: Mapping[str, str]
  result: Result
  workdir: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Grouping:
  """What a family says of its rows, so that they can be put side by side.

  Attributes:
    table: dotted fields of a config that are one in a table: only its rows are comparable.
    conditions: sections of a config by which rows are scored; rows that differ in them are told
      apart by their setting.
    elsewhere: dotted fields of those sections that decide nothing, or that the table says anyway.
    size: fields of a row that tell groups of one name apart.
    method: the field of a result that names the row of the run itself; other rows are baselines.
    absent: values of dotted fields that the configs of earlier versions lack.
  """

  table: tuple[str, ...]
  conditions: tuple[str, ...]
  elsewhere: tuple[str, ...]
  size: tuple[str, ...]
  method: str = 'method'
  absent: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Group:
  """Rows of one method or one baseline that differ in nothing but the seed.

  Attributes:
    table: the values of the table's fields; only rows of one table are comparable.
    name: of the method or baseline.
    label: for people.
    size: the values of the size's fields.
    conditions: by which the sets were scored, as dotted fields.
    axes: of a method, the point of the sweep without the seed; empty for a baseline.
    fields: of a method, all other fields of its config; empty for a baseline.
    rows: (seed, row) by the row's key, the hash of all that decides it.
    runs: the runs of a method by seed; empty for a baseline.
    idle: conditions that differ between the rows without an effect on them.
    varying: those conditions that are not the same in the whole table.
  """

  table: tuple[str, ...]
  name: str
  label: str
  size: tuple[Any, ...]
  conditions: dict[str, Any]
  axes: dict[str, Any] = dataclasses.field(default_factory=dict)
  fields: dict[str, Any] = dataclasses.field(default_factory=dict)
  rows: dict[str, tuple[int, Row]] = dataclasses.field(default_factory=dict)
  runs: dict[int, Finished] = dataclasses.field(default_factory=dict)
  idle: set[str] = dataclasses.field(default_factory=set)
  varying: tuple[str, ...] = ()

  def __getitem__(self, field: str) -> Any:
    """A field that is the same in all rows, such as steps."""
    return next(iter(self.rows.values()))[1][field]

  @property
  def reference(self) -> bool:
    """Whether the rows stand outside the competition."""
    return bool(next(iter(self.rows.values()))[1].reference)

  @property
  def setting(self) -> str:
    """The conditions that are not the same in the whole table, for people."""
    return _assignments(self.conditions, self.varying)

  @property
  def series(self) -> str:
    """The name of the line in a chart."""
    return self.series_along()

  def series_along(self, *conditions: str) -> str:
    """Returns the name of the line in a chart whose points differ in some conditions: those that
    its x axis stands for."""
    others = [key for key in self.varying if key not in conditions]
    return ', '.join(filter(None, (self.label, _assignments(self.conditions, others))))


def groups(runs: Iterable[Finished], grouping: Grouping) -> list[Group]:
  """Sorts the rows of runs into groups, methods first, each told apart from the others.

  Runs of one config at one point of the sweep, whatever the seed, are one group of a method. A
  baseline that several runs scored under one key is one group, whatever else their configs say.
  """
  methods, baselines = {}, {}
  for run in runs:
    conditions, others = _divided(run.result.config, grouping)
    axes = {axis: others.get(axis, value) for axis, value in run.point.items() if axis != POOLED}
    for row in run.result.rows:
      is_method = row.name == run.result.extras[grouping.method]
      table, size = _table(run.result, grouping), tuple(row[field] for field in grouping.size)
      group = Group(table, row.name, row.label, size, conditions)
      place = [table, row.name, size, conditions]
      if is_method:
        group.axes, group.fields = axes, others
        place += [run.spec, {axis: run.point[axis] for axis in axes}]
      group = (methods if is_method else baselines).setdefault(_text(place), group)
      group.rows[row.key] = run.result.seed, row
      if is_method:
        group.runs[run.result.seed] = run
  sorted_groups = [*methods.values(), *_joined(baselines.values())]
  for _, members in by_table(sorted_groups):
    _name_settings(members)
    for _, variants in _by(members, lambda group: group.name):
      _name_variants(variants)
  return sorted_groups


def by_table(members: Iterable[Group]) -> list[tuple[tuple[str, ...], list[Group]]]:
  """Returns (table, its groups) in the order of first appearance."""
  return _by(members, lambda group: group.table)


def _by(items: Iterable[Group], key: Callable[[Group], Any]) -> list[tuple[Any, list[Group]]]:
  parts = {}
  for item in items:
    parts.setdefault(key(item), []).append(item)
  return list(parts.items())


def _table(result: Result, grouping: Grouping) -> tuple[str, ...]:
  fields = configs.flat(result.config)
  return tuple(fields[key] for key in grouping.table)


def _divided(
  config: Mapping[str, Any], grouping: Grouping
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Returns the fields of a config by which rows are scored, and the others that decide one."""
  conditions, others = {}, {}
  for key, value in {**grouping.absent, **configs.flat(config)}.items():
    section = key.split('.')[0]
    if section not in (*grouping.conditions, *_FREE):
      others[key] = value
    elif section in grouping.conditions and key not in grouping.elsewhere:
      conditions[key] = value
  return conditions, others


def _joined(baselines: Iterable[Group]) -> list[Group]:
  """Joins the groups that share a row: their conditions differ in what does not matter to it
  (idle)."""
  joined = []
  for group in baselines:
    alike = (other for other in joined if other.table == group.table)
    twin = next((other for other in alike if other.rows.keys() & group.rows.keys()), None)
    if twin:
      twin.rows |= group.rows
      twin.idle |= {
        key for key, value in twin.conditions.items() if group.conditions.get(key) != value
      }
    else:
      joined.append(group)
  return joined


def _name_settings(members: Sequence[Group]) -> None:
  """Says by which conditions each group was scored; not by fields of the data that were idle for a
  baseline, and so for all."""
  idle = set().union(*(group.idle for group in members))
  fields = set().union(*(group.conditions for group in members))
  fields -= {key for key in idle if key.startswith('data.')}
  varying = []
  for key in sorted(fields):
    values = {_text(group.conditions[key]) for group in members if key in group.conditions}
    if len(values) > 1:
      varying.append(key)
  for group in members:
    group.varying = tuple(key for key in varying if key not in group.idle)


def _name_variants(variants: Sequence[Group]) -> None:
  """Adds to the labels as few axes of the sweep as tell apart those of one size; and where those do
  not, because configs of one method were named, fields of the config: the method's first, then by
  name."""
  axes = set().union(*(group.axes for group in variants))
  fields = set().union(*(group.fields for group in variants)) - axes
  order = lambda key: ('.' in key and not key.startswith('method.'), key)
  chosen, classes = [], _classes(variants, [])
  for key in (*sorted(axes, key=order), *sorted(fields, key=order)):
    finer = _classes(variants, [*chosen, key])
    if finer > classes:
      chosen.append(key)
      classes = finer
  for group in variants:
    if chosen:
      group.label = f'{group.label} ({_assignments(group.fields | group.axes, chosen)})'


def _classes(variants: Sequence[Group], keys: Sequence[str]) -> int:
  """Returns how many groups are told apart by size, setting and some axes and fields."""
  places = set()
  for group in variants:
    known = group.fields | group.axes
    places.add(_text([group.size, group.setting, *(known.get(key) for key in keys)]))
  return len(places)


def _text(value: Any) -> str:
  return json.dumps(value, sort_keys=True)


def _assignments(fields: Mapping[str, Any], keys: Iterable[str]) -> str:
  return ', '.join(f'{key.rpartition(".")[2]}={fields[key]}' for key in keys if key in fields)


def pooled(group: Group, column: str) -> dict[str, Any] | None:
  """Returns the accuracies of a group over all its networks and seeds, or None where a row has no
  such column.

  Returns:
    dict(mean, std, n, values) as of one run, n = seeds x networks, the std over all of them;
    `seeds`, their number, and `between_seeds`, the std of the seeds' means (n - 1), None for one
    seed. All are nan where a network has no such number.
  """
  from jaxdistill.metrics import mean_std  # loads JAX, which a command line needs later

  by_seed = {}
  for seed, row in sorted(group.rows.values(), key=lambda pair: pair[0]):
    if column not in row.scores:
      return None
    # What a network has not is null in JSON.
    values = [math.nan if value is None else value for value in row.scores[column]['values']]
    by_seed.setdefault(seed, []).extend(values)
  means = [statistics.fmean(values) for values in by_seed.values()]
  return {
    **mean_std(list(itertools.chain(*by_seed.values()))),
    'seeds': len(means),
    'between_seeds': float(np.std(means, ddof=1)) if len(means) > 1 else None,
  }


def lines(
  members: Iterable[Group],
  label: Callable[[Group], str],
  x: Callable[[Group], float],
  column: str = 'last',
) -> list[tuple]:
  """Returns a series of a chart for each label: its groups as points (x, mean, std) of an accuracy,
  in the order of x; without what stands outside the competition."""
  points = {}
  for group in members:
    if not group.reference:
      accuracy = pooled(group, column)
      points.setdefault(label(group), []).append((x(group), accuracy['mean'], accuracy['std']))
  return [(name, *map(list, zip(*sorted(line)))) for name, line in points.items()]

"""What tables say of this family's runs: the columns of a finished run, and of a sweep of many."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxdistill import config as configs
from jaxdistill.condensation import published
from jaxdistill.experiment import aggregate
from jaxdistill.experiment.aggregate import Group, Grouping
from jaxdistill.report import numbers
from jaxdistill.synthesis.condensed import Condensed

# What a finished run prints.
RESULT = (
  ('label', 'Training set'),
  ('last', 'Last (%)', 'accuracy'),
  ('selected', 'Selected (%)', 'accuracy'),
  ('best_test', 'Best on test (%)', 'accuracy'),
  ('images_per_class', 'Images/class', 'count'),
  ('training_images', 'Trained on', 'count'),
  ('seconds', 'Time', 'seconds'),
)
# What a sweep compares, see `experiment.comparison.Family`.
TASKS = ('condense',)
TITLE = 'Comparison of condensed sets'
GROUPING = Grouping(
  table=('data.name', 'evaluation.recipe'),
  conditions=('data', 'model', 'dtype', 'evaluation'),
  elsewhere=('data.dir', 'evaluation.baselines', 'evaluation.recipe'),
  size=('images_per_class', 'factor'),
)
TERMINAL = ('label', 'setting', 'factor', 'last', 'best_test', 'published', 'seconds')
NOTE = (
  'Accuracy in percent, mean ± standard deviation over all networks of all seeds: n = seeds x '
  'networks. "last" is the network at the end of its training; "best on test" takes each '
  "network's best check on the test set, as many papers do, and is optimistic: compare the "
  'published numbers of M3D and DANCE with it and those of DM with "last". Published numbers are '
  "for ConvNet-3 of width 128 at full length, and stand beside a method's own fields alone. Time "
  'is that of condensing, with compiling, without the training of experts. Memory is what the '
  'compiled step of condensing needs on one device. With a factor f a stored image trains as f x f '
  'images.'
)
# The accuracies of a row in result.json.
_ACCURACIES = ('last', 'selected', 'best_test')
_CLASSES_SHOWN = 10
_IMAGES_SHOWN = 10


def table_row(group: Group) -> dict[str, Any]:
  """Returns what a table says of a group; costs are means over the seeds, None for a baseline.

  `seconds` is the whole phase of condensing, compiling included, experts not; `program_bytes` what
  its compiled step needs on one device.
  """
  dataset, recipe = group.table
  known = published.find(group.name, dataset, group['images_per_class'], group['factor'])
  if known and not _is_as_published(group, dataset):
    known = None
  accuracies = {column: aggregate.pooled(group, column) for column in _ACCURACIES}
  results = [run.result for run in group.runs.values()]
  rates = [result.extras['steps_per_second'] for result in results]
  memory = [result.extras['program_bytes'] or 0 for result in results]
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
    'reference': group.reference,
    'seeds': accuracies['last']['seeds'],
    **accuracies,
    'between_seeds': accuracies['last']['between_seeds'],
    'published': known and {'mean': known.mean, 'std': known.std},
    'source': known and known.source,
    'seconds': _seconds(group),
    'seconds_per_iteration': _mean(1 / rate for rate in rates if rate),
    'program_bytes': max(memory, default=0) or None,
  }


def _is_as_published(group: Group, dataset: str) -> bool:
  """Whether a method has the fields of its own config for a data set, not those of an ablation; a
  baseline has none."""
  if not group.runs:
    return True
  own = configs.load(f'condensation/{group.name}', {'data': dataset}).method.to_dict()
  # All runs of a group are of one config. What an earlier version has not kept is as it was.
  section = next(iter(group.runs.values())).result.config['method']
  return all(own.get(field, value) == value for field, value in section.items())


def _seconds(group: Group) -> float | None:
  return _mean(run.result.seconds['condense'] for run in group.runs.values())


def _mean(values: Iterable[float]) -> float | None:
  values = list(values)
  return statistics.fmean(values) if values else None


def table_of(row: Mapping[str, Any]) -> tuple[str, str]:
  """Returns the table of a row: data set and recipe."""
  return row['dataset'], row['recipe']


def table_title(table: tuple[str, str]) -> str:
  """Returns the heading of a table's charts.

  >>> table_title(('cifar10', 'idc'))
  'cifar10, recipe idc'
  """
  dataset, recipe = table
  return f'{dataset}, recipe {recipe}'


def size_of(row: Mapping[str, Any]) -> float:
  """Returns the size by which a table is divided: images a class."""
  return row['images_per_class']


def section_title(row: Mapping[str, Any]) -> str:
  """Returns the heading of the rows of one data set, recipe and number of images a class.

  >>> section_title(dict(dataset='cifar10', recipe='idc', images_per_class=10.0))
  'cifar10, 10 image(s) a class, recipe idc'
  """
  return f'{row["dataset"]}, {row["images_per_class"]:g} image(s) a class, recipe {row["recipe"]}'


def columns(rows: Sequence[Mapping[str, Any]], best: str = '') -> list[tuple]:
  """Returns the columns of a table, those left out that none of its rows fills; `best` marks the
  best accuracies ('max')."""
  points = lambda value: numbers.MISSING if value is None else f'{100 * value:.1f}'
  listed = [
    ('label', 'trained on'),
    ('setting', 'setting'),
    ('factor', 'f', 'count'),
    ('training_images', 'training images', 'count'),
    ('last', 'last', 'accuracy', best),
    ('between_seeds', 'std between seeds', points),
    ('selected', 'selected on validation', 'accuracy', best),
    ('best_test', 'best on test', 'accuracy', best),
    ('published', 'published', 'accuracy'),
    ('source', 'source'),
    ('seconds', 'time', 'seconds'),
    ('seconds_per_iteration', 'an iteration', 'seconds'),
    ('program_bytes', 'memory', 'bytes'),
  ]
  return [column for column in listed if _fills(rows, column[0])]


def _fills(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
  return any(row.get(key) not in (None, '') for row in rows)


def charts(members: Sequence[Group]) -> list[dict]:
  """Returns the charts of one table: accuracy against images a class for each factor, and against
  seconds of condensing."""
  methods = [group for group in members if group.runs]
  factors = sorted({group['factor'] for group in methods})
  drawn = [chart for factor in factors if (chart := _against_size(members, factor))]
  lines = aggregate.lines(methods, lambda group: f'{group.series}, f = {group["factor"]}', _seconds)
  if lines:
    title = 'Accuracy against seconds of condensing'
    drawn.append(dict(title=title, x_title='seconds', percent=True, series=lines))
  return drawn


def _against_size(members: Sequence[Group], factor: int) -> dict[str, Any]:
  """Returns the chart of one factor; {} where every line has one point."""
  # Real images at full size are what every factor has to beat.
  shown = [
    group
    for group in members
    if group['factor'] == factor or not group.runs and group['factor'] == 1
  ]
  lines = aggregate.lines(
    shown, lambda group: group.series, lambda group: group['images_per_class']
  )
  if not any(len(x) > 1 for _, x, *_ in lines):
    return {}
  title = f'Accuracy against images a class, f = {factor}'
  return dict(title=title, x_title='images a class', percent=True, series=lines)


def pictures(table: tuple[str, str], members: Sequence[Group]) -> tuple[str, list[tuple]]:
  """Returns heading and pictures of a table: the condensed set of the first seed of every method
  and size."""
  shown = []
  for group in members:
    if not group.runs:
      continue
    seed, run = min(group.runs.items())
    path = run.workdir / 'condensed.npz'
    if path.is_file():
      condensed = Condensed.load(path)
      caption = (
        f'{group.series}, {condensed.ipc} image(s) a class, f = {condensed.factor}, seed {seed}'
      )
      names = condensed.class_names[:_CLASSES_SHOWN] if condensed.ipc > 1 else ()
      shown.append((caption, condensed.picture(_IMAGES_SHOWN, _CLASSES_SHOWN), names))
  return f'Condensed sets of {table[0]}', shown

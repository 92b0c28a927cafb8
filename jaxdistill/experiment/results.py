"""What a run leaves in result.json: the numbers of its rows, what they cost, and where they were
made."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from jaxdistill.training.run import Run

# What a finished run prints of its rows where its family names no columns of its own: the
# accuracies, mean and standard deviation over networks, are those of the last weights, of the check
# chosen on validation images and of the best check on the test set.
COLUMNS = (
  ('label', 'Training set'),
  ('last', 'Last (%)', 'accuracy'),
  ('selected', 'Selected (%)', 'accuracy'),
  ('best_test', 'Best on test (%)', 'accuracy'),
  ('seconds', 'Time', 'seconds'),
)
# Stands behind the label of a method, or a title, where parts of a paper were not at hand.
RECONSTRUCTION = ' (reconstruction)'
# Fields of a result that its file has only where they say something.
_OPTIONAL = ('task', 'environment')


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of a run's table. A field of the JSON form, typed or not, is row[name] too.

  Attributes:
    name: for files.
    label: for people.
    seconds: that it took.
    scores: by column, such as 'last': dict(mean, std, n, values) over networks.
    curve: dict(steps, mean, std) of the checks along the training; None: none were kept.
    reference: whether it stands outside the competition, such as the whole training set; None: the
      rows do not compete.
    key: the hash of all that decides the scores, under which other runs find them; '': not shared.
    extras: what else the family says of it.

  >>> row = Row('dm', 'DM', 2.5, {'last': dict(mean=0.5, std=0.0, n=1, values=[0.5])},
  ...   extras={'images': 10})
  >>> row['last']['mean'], row['images'], Row.from_json(row.to_json()) == row
  (0.5, 10, True)
  """

  name: str
  label: str
  seconds: float
  scores: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
  curve: Mapping[str, Any] | None = None
  reference: bool | None = None
  key: str = ''
  extras: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __getitem__(self, field: str) -> Any:
    return self.to_json()[field]

  def to_json(self) -> dict[str, Any]:
    """Returns the form in result.json; what a row does not have is left out."""
    optional = {'reference': self.reference, 'key': self.key or None, 'curve': self.curve}
    return {
      'name': self.name,
      'label': self.label,
      **self.extras,
      **{field: value for field, value in optional.items() if value is not None},
      **self.scores,
      'seconds': self.seconds,
    }

  @classmethod
  def from_json(cls, content: Mapping[str, Any]) -> 'Row':
    """Returns the row of its form in result.json."""
    typed = {field: content[field] for field in _fields(cls) if field in content}
    rest = {field: value for field, value in content.items() if field not in typed}
    scores = {field: value for field, value in rest.items() if _are_scores(value)}
    extras = {field: value for field, value in rest.items() if field not in scores}
    return cls(**typed, scores=scores, extras=extras)


@dataclasses.dataclass(frozen=True)
class Result:
  """The content of result.json: what is common to all families, and the family's own.

  Attributes:
    title: of the report.
    family, task: whose flow it was; '': the family has one task.
    dataset: the name of the data set.
    seed: of the run.
    rows: of the table.
    seconds: by phase, with 'total', all starts together, and 'first_step', see
      `estimates.first_step`.
    config: of the run, as nested dicts.
    peak_memory_bytes, peak_memory_of: the most memory in use, of the 'device' or the 'process'.
    versions, device, git_commit, date, environment: see `machine.environment`.
    extras: what else the family says of it.
  """

  title: str
  family: str
  dataset: str
  seed: int
  rows: tuple[Row, ...]
  seconds: Mapping[str, float | None]
  config: Mapping[str, Any]
  peak_memory_bytes: int
  peak_memory_of: str
  versions: Mapping[str, str | None]
  device: Mapping[str, Any]
  git_commit: str | None
  date: str
  task: str = ''
  environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
  extras: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def to_json(self) -> dict[str, Any]:
    """Returns the content of the file."""
    head = {'title': self.title, 'family': self.family}
    return {
      **head,
      **({'task': self.task} if self.task else {}),
      'dataset': self.dataset,
      'seed': self.seed,
      **self.extras,
      'rows': [row.to_json() for row in self.rows],
      'seconds': dict(self.seconds),
      'peak_memory_bytes': self.peak_memory_bytes,
      'peak_memory_of': self.peak_memory_of,
      'versions': dict(self.versions),
      'device': dict(self.device),
      'git_commit': self.git_commit,
      'date': self.date,
      **({'environment': dict(self.environment)} if self.environment else {}),
      'config': self.config,
    }

  @classmethod
  def from_json(cls, content: Mapping[str, Any]) -> 'Result':
    """Returns the result of a file's content.

    Raises:
      KeyError: for a content that lacks what every result has.
    """
    needed = [field for field in _fields(cls) if field not in _OPTIONAL or field in content]
    typed = {field: content[field] for field in needed}
    typed['rows'] = tuple(map(Row.from_json, content['rows']))
    extras = {field: value for field, value in content.items() if field not in typed}
    return cls(**typed, extras=extras)


def of_run(
  run: 'Run',
  *,
  title: str,
  family: str,
  dataset: str,
  seed: int,
  rows: Sequence[Row],
  seconds: Mapping[str, float],
  config: Mapping[str, Any],
  task: str = '',
  **extras: Any,
) -> Result:
  """Returns the result of a run that is about to end.

  Args:
    run: tells how long it took in all.
    title, family, dataset, seed, rows, task: see `Result`.
    seconds: by phase.
    config: of the run, as nested dicts.
    **extras: what else the family says of it.
  """
  # A command line reads results before it needs JAX, which these load.
  from jaxdistill.experiment.estimates import first_step
  from jaxdistill.training.machine import environment, peak_memory_bytes

  peak = peak_memory_bytes()
  return Result(
    title,
    family,
    dataset,
    seed,
    tuple(rows),
    {**seconds, 'total': run.seconds, 'first_step': first_step(run)},
    config,
    peak.bytes,
    peak.of,
    **environment(),
    task=task,
    extras=extras,
  )


def _fields(cls: type) -> list[str]:
  """The fields that are in the JSON form under their own names."""
  open_ones = ('scores', 'extras')
  return [field.name for field in dataclasses.fields(cls) if field.name not in open_ones]


def _are_scores(value: Any) -> bool:
  return isinstance(value, Mapping) and 'values' in value

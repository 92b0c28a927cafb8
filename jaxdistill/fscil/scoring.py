"""The row of a learner: what its runs come to, from the confusion counts after each session."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill.experiment.results import Row
from jaxdistill.fscil.session import Outcome
from jaxdistill.metrics import incremental

# The learner that the others are compared with run by run.
REFERENCE = 'ncm'
# Numbers of a run that are compared so.
COMPARED = ('average', 'last', 'base', 'novel', 'hm', 'gacc')


@dataclasses.dataclass(frozen=True, eq=False)
class Numbers:
  """What R runs of a learner come to; every array has the leading axis R.

  Attributes:
    sizes: classes by session, T + 1 numbers.
    confusions, nearest: int [R, T + 1, C, C], of the classifier and of the nearest class mean.
    seeds, draws: int [R], whose runs they are. scales: float [R], factors of the learning rate.
    seconds: float [T], the training of each session, all runs together.
    parameters: int [R, T + 1], numbers of the live model behind the encoder.
    memory_bytes: bytes a class of the memory; of a learner that replays everything, of all that it
      has seen.
    batch_means: float [R, T + 1], mean accuracy over batches of 100 test images; None in what was
      kept before it was counted.
  """

  sizes: tuple[int, ...]
  confusions: np.ndarray
  nearest: np.ndarray
  seeds: np.ndarray
  draws: np.ndarray
  seconds: np.ndarray
  parameters: np.ndarray
  memory_bytes: float
  scales: np.ndarray | None = None
  batch_means: np.ndarray | None = None

  @classmethod
  def of_outcome(cls, outcome: Outcome, sizes: Sequence[int]) -> 'Numbers':
    """Returns the numbers of what the sessions came to."""
    return cls(
      tuple(sizes),
      outcome.confusions,
      outcome.nearest,
      outcome.runs.seed,
      outcome.runs.draw,
      outcome.seconds,
      outcome.parameters,
      float(outcome.memory_bytes),
      outcome.runs.scale,
      outcome.batch_means,
    )

  def by_scale(self) -> dict[float, 'Numbers']:
    """Returns the runs of each factor of the learning rate, in the order of the factors."""
    scales = np.ones(len(self.seeds)) if self.scales is None else np.asarray(self.scales)
    factors = list(dict.fromkeys(scales.tolist()))
    if len(factors) == 1:
      return {factors[0]: self}
    numbers = {}
    for factor in factors:
      chosen = scales == factor
      numbers[factor] = dataclasses.replace(
        self,
        **{name: value[chosen] for name, value in self._by_run().items()},
        seconds=self.seconds / len(factors),
      )
    return numbers

  def _by_run(self):
    """The arrays with an axis R."""
    names = ('confusions', 'nearest', 'seeds', 'draws', 'parameters', 'scales', 'batch_means')
    arrays = {name: getattr(self, name) for name in names}
    return {name: value for name, value in arrays.items() if value is not None}

  def to_json(self) -> dict[str, Any]:
    """Returns the form that JSON holds; `from_json` reads it back."""
    content = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
    return {name: value for name, value in content.items() if value is not None}

  @classmethod
  def from_json(cls, content: Mapping[str, Any]) -> 'Numbers':
    """Returns the numbers of their form in JSON."""
    plain = ('sizes', 'memory_bytes')
    arrays = {name: np.asarray(value) for name, value in content.items() if name not in plain}
    return cls(sizes=tuple(content['sizes']), memory_bytes=content['memory_bytes'], **arrays)

  @property
  def accuracies(self) -> incremental.SessionAccuracies:
    """By group of classes, each [R, T + 1]."""
    return incremental.session_accuracies(self.confusions, self.sizes)

  @property
  def metrics(self) -> dict[str, np.ndarray]:
    """One number a run, each [R], see `incremental.run_metrics`; those of the nearest class mean
    are called 'nme_average' and 'nme_last', the mean over sessions and the last of the means over
    batches 'batch_average' and 'batch_last'."""
    numbers = incremental.run_metrics(self.confusions, self.sizes)
    near = incremental.run_metrics(self.nearest, self.sizes)
    numbers |= {f'nme_{name}': near[name] for name in ('average', 'last')}
    if self.batch_means is None:
      return numbers
    means = np.asarray(self.batch_means)
    return numbers | {'batch_average': means.mean(-1), 'batch_last': means[:, -1]}


def row(
  name: str, label: str, numbers: Numbers, reference: Numbers | None = None, key: str = ''
) -> Row:
  """Returns the row of a learner.

  Args:
    name: of the learner.
    label: for people.
    numbers: of its runs.
    reference: those of the learner that it is compared with, run by run; None: no comparison.
    key: the hash of all that decides them.
  """
  groups = {group: values.tolist() for group, values in numbers.accuracies._asdict().items()}
  extras = {
    'accuracy': groups.pop('seen'),
    'by_group': groups,
    'seeds': numbers.seeds.tolist(),
    'draws': numbers.draws.tolist(),
    'parameters': numbers.parameters.mean(0).tolist(),
    'memory_bytes': numbers.memory_bytes,
    'session_seconds': numbers.seconds.tolist(),
    'confusion': numbers.confusions[:, -1].sum(0).tolist(),
  }
  if reference is not None and len(numbers.seeds) > 1:
    extras['differences'] = differences(numbers, reference)
  return Row(
    name,
    label,
    float(numbers.seconds.sum()),
    incremental.summary_over_runs(numbers.metrics),
    key=key,
    extras=extras,
  )


def differences(numbers: Numbers, reference: Numbers) -> dict[str, dict[str, float]]:
  """Returns what a learner has more than another in the same runs: mean and 95 % interval of the
  paired differences."""
  compared = {name: value for name, value in numbers.metrics.items() if name in COMPARED}
  intervals = incremental.differences_over_runs(compared, reference.metrics)
  return {name: interval._asdict() for name, interval in intervals.items()}


def blocks(confusion: np.ndarray, base_classes: int) -> np.ndarray:
  """Returns the confusion of the last session in blocks, as shares of the rows: the true class is
  a base or a novel one; the answer is right, another base class, or another novel one.

  Args:
    confusion: counts [C, C], row the true column.
    base_classes: B, the first columns.

  Returns:
    [2, 3].

  >>> blocks(np.array([[6, 2, 2], [1, 9, 0], [5, 0, 5]]), base_classes=2).tolist()
  [[0.75, 0.15, 0.1], [0.5, 0.5, 0.0]]
  """
  confusion = np.asarray(confusion, np.float64)
  is_base = np.arange(len(confusion)) < base_classes
  shares = []
  for rows in (is_base, ~is_base):
    counts = confusion[rows]
    right = np.diagonal(confusion)[rows].sum()
    in_base, in_novel = counts[:, is_base].sum(), counts[:, ~is_base].sum()
    wrong = (in_base - right, in_novel) if rows[0] else (in_base, in_novel - right)
    shares.append(np.array([right, *wrong]) / max(counts.sum(), 1))
  return np.stack(shares)

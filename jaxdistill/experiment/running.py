"""A run of one method, or of several that are compared: what families do alike around the training
of each."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxdistill import files
from jaxdistill.experiment import schema
from jaxdistill.experiment.results import RECONSTRUCTION, Row
from jaxdistill.experiment.sections import Several
from jaxdistill.report import numbers as written
from jaxdistill.training.run import Run


class Ran(NamedTuple):
  """What a run has come to.

  table: a row a method, compared seed by seed with those of the reference where it is there.
  numbers: of the networks by method, each with `to_json`, `seconds` and `reconstruction`.
  networks: them; None in all processes but the first.
  """

  table: list[Row]
  numbers: dict[str, Any]
  networks: dict[str, Any]


def methods_of(fields: Any) -> dict[str, Mapping[str, Any]]:
  """Returns the section of every method by its name in the table, of a config that has been read:
  one with `sections.Several`, or with a section `method`."""
  if isinstance(fields, Several):
    return {name: fields.members[name] for name in fields.compared}
  return {str(fields.method['name']): fields.method}


def reference_of(names: Iterable[str], wanted: Sequence[str]) -> str:
  """Returns the method that the others are compared with: the first wanted one that is there, else
  the first of all.

  >>> reference_of(['rwp', 'at'], ['at']), reference_of(['rwp', 'awp'], ['at'])
  ('at', 'rwp')
  """
  names = list(names)
  return next((name for name in wanted if name in names), names[0])


def learn_all(
  run: Run,
  methods: Mapping[str, Mapping[str, Any]],
  learn: Callable[[str, Mapping[str, Any]], tuple[Any, Any]],
  row: Callable[[Mapping[str, Any], str], Row],
  shown: Sequence[str],
  tell: bool,
) -> Ran:
  """Trains the networks of every method.

  Args:
    run: that says what each has come to.
    methods: the sections by name.
    learn: (name, section) -> numbers of its networks, and they.
    row: (numbers by method so far, name) -> the row of a method.
    shown: scores that are said of a row.
    tell: whether they are.
  """
  numbers, networks = {}, {}
  for name, section in methods.items():
    numbers[name], networks[name] = learn(name, section)
    if tell:
      run.say(in_words(row(numbers, name), shown))
  return Ran([row(numbers, name) for name in numbers], numbers, networks)


def once(
  run: Run,
  name: str,
  compute: Callable[[], tuple[Any, Any, Collection[str]]],
  numbers: Callable[[Any], Any],
  networks: Callable[[Path], Any],
  folder: str = 'methods',
) -> tuple[Any, Any]:
  """Returns what the networks of a method have come to, or had at an earlier start, and they (None
  in all processes but the first, unless they were trained now).

  Args:
    run: keeps the numbers.
    name: of the method in the table.
    compute: () -> both, and the phases whose checkpoints go once the numbers are kept; what
      `networks` reads has been written by then.
    numbers: reads them from the JSON form that their `to_json` gives.
    networks: reads them from the work dir.
    folder: of the results, in which the numbers lie.
  """
  trained, finished = [], []

  def first():
    measured, made, phases = compute()
    trained.append(made)
    finished.extend(phases)
    return measured.to_json()

  measured = numbers(run.once(f'{folder}/{name}', first))
  for phase in finished:
    run.discard(phase)
  if not trained and run.workdir is not None:
    trained.append(networks(run.workdir))
  return measured, trained[0] if trained else None


def key(fields: Any, section: Mapping[str, Any], **others: Any) -> str:
  """Returns the hash of what decides a row: a config that has been read, but for how the run goes
  about it and for other methods; the section of its own; and what else is said."""
  described = schema.recorded(type(fields), schema.section(fields)).to_dict()
  for name in ('run', 'method', 'members', 'compared'):
    described.pop(name, None)
  return files.content_hash([], {**described, **others, 'method': dict(section)})


def label(name: str, numbers: Any) -> str:
  """Returns how tables call a method; reconstructions say so."""
  return name + RECONSTRUCTION if numbers.reconstruction else name


def listed(labels: Sequence[str]) -> str:
  """Returns the methods of a title.

  >>> listed(['AT', 'RWP']), listed(['AT'] * 4)
  ('AT, RWP', '4 methods')
  """
  return ', '.join(labels) if len(labels) <= 3 else f'{len(labels)} methods'


def in_words(row: Row, shown: Sequence[str]) -> str:
  """Returns those accuracies of a row that it has in one line.

  >>> in_words(Row('at', 'AT', 1.0, {'last': dict(mean=0.5, std=0.02, n=9)}), ['last', 'clean'])
  'AT: last 50.0 ± 2.0 (n=9) %'
  """
  parts = [f'{name} {written.accuracy(row.scores[name])} %' for name in shown if name in row.scores]
  return f'{row.label}: {", ".join(parts)}'


def facts(fields: Any, ran: Ran) -> dict[str, Any]:
  """Returns what result.json says of every such run, for `results.of_run`."""
  return dict(
    family=fields.family,
    task=fields.task,
    seed=fields.seed,
    rows=ran.table,
    method='compare' if isinstance(fields, Several) else list(ran.numbers)[-1],
    reconstructed=[name for name, numbers in ran.numbers.items() if numbers.reconstruction],
  )


def seconds(ran: Ran) -> float:
  """Returns how long the trainings took."""
  return float(sum(numbers.seconds for numbers in ran.numbers.values()))

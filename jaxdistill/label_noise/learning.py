"""A run of this family from its work to its numbers, the same for one method and for several."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill import draws, files, models
from jaxdistill.experiment import estimates, results, schema
from jaxdistill.experiment.estimates import Phase
from jaxdistill.experiment.results import Row
from jaxdistill.label_noise import flow, methods, outcome, page, scoring, sections, trained
from jaxdistill.label_noise.answers import answer_of
from jaxdistill.label_noise.method import Believed
from jaxdistill.label_noise.scoring import Numbers
from jaxdistill.label_noise.trained import Trained
from jaxdistill.label_noise.work import Work
from jaxdistill.numerics import settled
from jaxdistill.report import numbers as written
from jaxdistill.training import trees
from jaxdistill.training.run import Run

# The methods that others are compared with seed by seed, the first that is there.
REFERENCES = ('vote', 'bce', 'ce')


class Ran(NamedTuple):
  """What a run has come to, by method.

  table: a row a method, compared seed by seed with those of the reference where it is there.
  numbers: of the networks. networks, beliefs: them and what they believe of the training examples;
  None in all processes but the first.
  """

  table: list[Row]
  numbers: dict[str, Numbers]
  networks: dict[str, Trained | None]
  beliefs: dict[str, Believed | None]


def methods_of(fields: sections.Config) -> dict[str, Mapping[str, Any]]:
  """Returns the section of every method by its name in the table."""
  if isinstance(fields, sections.CompareConfig):
    return {name: fields.members[name] for name in fields.compared}
  return {str(fields.method['name']): fields.method}


def reference_of(fields: sections.Config) -> str:
  """Returns the method that the others are compared with."""
  names = list(methods_of(fields))
  return next((name for name in REFERENCES if name in names), names[0])


@settled()
def run_all(run: Run, work: Work, tell: bool = True) -> Ran:
  """Trains the networks of every method.

  Args:
    run: where all goes.
    work: what it works on.
    tell: whether to say what it works on, how long it will take, and what comes of it.
  """
  say = run.say if tell else lambda text: None
  say(describe(work))
  if tell:
    estimates.estimate_once(run, lambda: estimates.measure(phases(work)), 'the trainings')
  numbers, networks, beliefs = {}, {}, {}
  for name, section in methods_of(work.fields).items():
    numbers[name], networks[name], beliefs[name] = learn(run, work, name, section)
    say(f'{label(section, numbers[name])}: {_line(_row(work, numbers, name))}')
  return Ran([_row(work, numbers, name) for name in numbers], numbers, networks, beliefs)


def _line(row: Row) -> str:
  """The accuracies of a row in a few words."""
  shown = [name for name in ('last', 'best_test', 'label_accuracy') if name in row.scores]
  return ', '.join(f'{name} {written.accuracy(row.scores[name])} %' for name in shown)


@settled()
def learn(
  run: Run, work: Work, name: str, section: Mapping[str, Any]
) -> tuple[Numbers, Trained | None, Believed | None]:
  """Trains the networks of a method, or reads back what an earlier start has come to.

  Args:
    run: where all goes.
    work: what it works on.
    name: of the method in the table.
    section: its fields.

  Returns:
    Their numbers; them and what they believe (None in all processes but the first).
  """
  path, computed = f'networks/{name}.msgpack', []

  def compute():
    method = methods.make(work.setting, section)
    ended = flow.train(run, work, method, name)
    answer = answer_of(method, method.phases[-1].game, work.is_multilabel)
    form = trained.Form(
      work.train.class_names, work.train.image_shape, method.members, work.is_multilabel
    )
    networks = trained.of_networks(
      answer, ended.variables, form, tuple(work.train.mean), tuple(work.train.std)
    )
    computed.append((networks, ended.believed))
    run.write_bytes(path, networks.to_bytes())
    run.write_bytes(f'beliefs/{name}.msgpack', trees.encode(plain(ended.believed)))
    numbers = Numbers(
      ended.checks,
      scoring.final_scores(work, ended.probabilities, ended.believed, ended.neighbours),
      {'parameters': ended.parameters},
      ended.seconds,
      method.reconstruction,
    )
    for phase in method.phases:
      run.discard(flow.phase_name(name, phase))
    return numbers.to_json()

  numbers = Numbers.from_json(run.once(f'methods/{name}', compute))
  if not computed and run.workdir is not None:
    believed = trees.plain((run.workdir / f'beliefs/{name}.msgpack').read_bytes())
    computed.append((Trained.load(run.workdir / path), Believed(**believed)))
  networks, believed = computed[0] if computed else (None, None)
  return numbers, networks, believed


def plain(believed: Believed) -> dict[str, np.ndarray]:
  """Returns what there is of beliefs, as a tree of arrays."""
  fields = {item.name: getattr(believed, item.name) for item in dataclasses.fields(believed)}
  return {name: np.asarray(value) for name, value in fields.items() if value is not None}


def _key(work: Work, section: Mapping[str, Any]) -> str:
  """The hash of what decides a row."""
  described = schema.section(work.fields).to_dict()
  for name in ('run', 'method', 'members', 'compared'):
    described.pop(name, None)
  return files.content_hash([], {**described, 'method': dict(section)})


def label(section: Mapping[str, Any], numbers: Numbers | None = None) -> str:
  """Returns how tables call a method; reconstructions say so."""
  name = methods.label_of(section)
  return f'{name} (reconstruction)' if numbers and numbers.reconstruction else name


def _row(work: Work, numbers: Mapping[str, Numbers], name: str) -> Row:
  section, reference = methods_of(work.fields)[name], reference_of(work.fields)
  return scoring.row(
    name,
    label(section, numbers[name]),
    numbers[name],
    None if name == reference else numbers.get(reference),
    _key(work, section),
    images=len(work.train),
    wrong=wrong_share(work),
    labels=labels_an_example(work),
  )


def wrong_share(work: Work) -> float | None:
  """Returns the share of observed labels that are wrong; None where nobody knows."""
  observed = work.observed
  if observed.truth is None:
    return None
  if work.is_multilabel:
    return float((observed.evidence.matrix != observed.truth).mean())
  crowd = observed.evidence.crowd
  return float((observed.truth[crowd.example] != crowd.label).mean())


def labels_an_example(work: Work) -> float:
  """Returns the mean number of labels that were given of an example."""
  return 1.0 if work.is_multilabel else len(work.evidence.crowd) / len(work.train)


def describe(work: Work) -> str:
  """Returns the examples, their labels, the network and the training in a few lines."""
  fields, wrong = work.fields, wrong_share(work)
  lines = [work.train.describe(), work.test.describe(), describe_labels(work)]
  if wrong is not None:
    lines[-1] += f'; {100 * wrong:.2f} % of them are wrong'
  held = [
    f'{len(one):,} {what}'
    for what, one in (('held out', work.validation), ('trusted', work.trusted))
    if one is not None
  ]
  lines.append(
    f'{fields.learning.seeds} network(s) {fields.model["name"]} from {len(work.train):,} examples'
    + (f' ({", ".join(held)}), ' if held else ', ')
    + f'{work.recipe.epochs} epochs in steps of {work.batch}'
  )
  return '\n'.join(lines)


def describe_labels(work: Work) -> str:
  """Returns what the observed labels are, in a few words."""
  if work.is_multilabel:
    return f'Observed: a matrix of labels, {work.evidence.classes} an example'
  if work.evidence.kind == 'labels':
    return 'Observed: one label an example'
  return (
    f'Observed: {len(work.evidence.crowd):,} labels of {work.evidence.annotators:,} annotators, '
    f'{labels_an_example(work):.3g} an example'
  )


def result(run: Run, work: Work, ran: Ran, config: Mapping[str, Any]) -> results.Result:
  """Returns the content of result.json; `config` is what the file keeps of the config."""
  fields = work.fields
  labels = [row.label for row in ran.table]
  names = ', '.join(labels) if len(labels) <= 3 else f'{len(labels)} methods'
  return results.of_run(
    run,
    title=f'{names}: {fields.model["name"]} on {work.train.name} with wrong labels',
    family=fields.family,
    task=fields.task,
    dataset=work.train.name,
    seed=fields.seed,
    rows=ran.table,
    seconds={'training': float(sum(numbers.seconds for numbers in ran.numbers.values()))},
    config=config,
    method=list(ran.numbers)[-1] if fields.task == 'train' else 'compare',
    reconstructed=[name for name, numbers in ran.numbers.items() if numbers.reconstruction],
    network=fields.model['name'],
    compared_with=methods.label_of(methods_of(fields)[reference_of(fields)]),
    observed=describe_labels(work),
    wrong=wrong_share(work),
    multilabel=work.is_multilabel,
    images=len(work.train),
    seeds=fields.learning.seeds,
    class_names=list(work.train.class_names),
  )


def write(run: Run, work: Work, ran: Ran, config: Mapping[str, Any]) -> dict[str, Any]:
  """Writes the numbers, the page, and tables of the believed labels and annotators; returns the
  numbers, what result.json holds."""
  ended = result(run, work, ran, config)
  content = ended.to_json()
  run.write_json('result.json', content)
  for name, believed in ran.beliefs.items():
    if believed is not None:
      for file, text in outcome.tables(work.train, work.evidence, believed).items():
        run.write_bytes(f'tables/{name}_{file}', text.encode())
  last = list(ran.beliefs)[-1]
  run.write_bytes('report.html', files.encoded(page.html(ended, run, work, ran.beliefs[last])))
  return content


def phases(work: Work) -> Iterator[Phase]:
  """Yields the trainings of every method."""
  for name, section in methods_of(work.fields).items():
    method = methods.make(work.setting, section)
    for phase, problem in flow.problems(work, method):
      yield Phase(f'{name}.{phase}', problem, work.fields.dtype)


@settled()
def dry_run(work: Work) -> str:
  """Returns the network, its parameters and the estimate of time and memory, without starting
  anything."""
  images = np.zeros((1, *work.train.image_shape), np.float32)
  form = jax.eval_shape(work.network.init, draws.key(0), images)
  expected = estimates.measure(phases(work))
  parts = [describe(work), models.parameter_table(form), estimates.estimate_text(expected)]
  return '\n\n'.join(parts)

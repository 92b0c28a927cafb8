"""A run of this family from its work to its numbers, the same for one method and for several."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxdistill import files
from jaxdistill.experiment import estimates, results, running
from jaxdistill.experiment.estimates import Phase
from jaxdistill.experiment.results import Row
from jaxdistill.experiment.running import Ran, methods_of
from jaxdistill.label_noise import flow, methods, outcome, page, scoring, sections, trained
from jaxdistill.label_noise.answers import answer_of
from jaxdistill.label_noise.method import Believed
from jaxdistill.label_noise.scoring import Numbers
from jaxdistill.label_noise.trained import Trained
from jaxdistill.label_noise.work import Work
from jaxdistill.numerics import settled
from jaxdistill.training import provenance, trees
from jaxdistill.training.run import Run

# The methods that others are compared with seed by seed, the first that is there.
REFERENCES = ('vote', 'bce', 'ce')
# Scores that are said of a method whose networks are trained.
SHOWN = ('last', 'best_test', 'label_accuracy')


class Learned(NamedTuple):
  """The networks of a method, and what they believe of the training examples."""

  trained: Trained
  believed: Believed


def reference_of(fields: sections.Config) -> str:
  """Returns the method that the others are compared with."""
  return running.reference_of(methods_of(fields), REFERENCES)


@settled()
def run_all(run: Run, work: Work, tell: bool = True) -> Ran:
  """Trains the networks of every method.

  Args:
    run: where all goes.
    work: what it works on.
    tell: whether to say what it works on, how long it will take, and what comes of it.

  Raises:
    UserError: the work dir was begun with other evidence.
  """
  provenance.settle_given(run, 'evidence', evidence_of(work))
  if tell:
    run.say(describe(work))
    estimates.estimate_once(run, lambda: estimates.measure(phases(work)), 'the trainings')
  return running.learn_all(
    run,
    methods_of(work.fields),
    learn=functools.partial(learn, run, work),
    row=functools.partial(_row, work),
    shown=SHOWN,
    tell=tell,
  )


def evidence_of(work: Work) -> dict[str, Any]:
  """Returns what tells the labels of a run, and the sets beside its training and test set, from
  others, see `provenance.settle_given`."""
  held = work.validation_observed
  return {
    'evidence': work.evidence.arrays,
    'truth': None if work.observed.truth is None else [work.observed.truth],
    'trusted': work.trusted,
    'validation': work.validation,
    'evidence of the validation examples': None if held is None else held.evidence.arrays,
  }


@settled()
def learn(
  run: Run, work: Work, name: str, section: Mapping[str, Any]
) -> tuple[Numbers, Learned | None]:
  """Trains the networks of a method, or reads back what an earlier start has come to.

  Args:
    run: where all goes.
    work: what it works on.
    name: of the method in the table.
    section: its fields.

  Returns:
    Their numbers, and what there is of them (None in all processes but the first).
  """
  networks_path, beliefs_path = f'networks/{name}.msgpack', f'beliefs/{name}.msgpack'

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
    run.write_bytes(networks_path, networks.to_bytes())
    run.write_bytes(beliefs_path, trees.encode(plain(ended.believed)))
    numbers = Numbers(
      ended.checks,
      scoring.final_scores(work, ended.probabilities, ended.believed, ended.neighbours),
      {'parameters': ended.parameters},
      ended.seconds,
      method.reconstruction,
    )
    phases = [flow.phase_name(name, phase) for phase in method.phases]
    return numbers, Learned(networks, ended.believed), phases

  def there(workdir):
    believed = trees.plain((workdir / beliefs_path).read_bytes())
    return Learned(Trained.load(workdir / networks_path), Believed(**believed))

  return running.once(run, name, compute, Numbers.from_json, there)


def plain(believed: Believed) -> dict[str, np.ndarray]:
  """Returns what there is of beliefs, as a tree of arrays."""
  fields = {item.name: getattr(believed, item.name) for item in dataclasses.fields(believed)}
  return {name: np.asarray(value) for name, value in fields.items() if value is not None}


def _row(work: Work, numbers: Mapping[str, Numbers], name: str) -> Row:
  section, reference = methods_of(work.fields)[name], reference_of(work.fields)
  return scoring.row(
    name,
    running.label(methods.label_of(section), numbers[name]),
    numbers[name],
    None if name == reference else numbers.get(reference),
    running.key(work.fields, section),
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
  names = running.listed([row.label for row in ran.table])
  return results.of_run(
    run,
    title=f'{names}: {fields.model["name"]} on {work.train.name} with wrong labels',
    dataset=work.train.name,
    seconds={'training': running.seconds(ran)},
    config=config,
    **running.facts(fields, ran),
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
  for name, learned in ran.networks.items():
    if learned is not None:
      for file, text in outcome.tables(work.train, work.evidence, learned.believed).items():
        run.write_bytes(f'tables/{name}_{file}', files.encoded(text))
  last = list(ran.networks.values())[-1]
  html = page.html(ended, run, work, last and last.believed)
  run.write_bytes('report.html', files.encoded(html))
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
  table = estimates.parameters(work.network, work.train.image_shape)
  return estimates.described(describe(work), table, phases=phases(work))

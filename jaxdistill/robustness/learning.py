"""A run of this family from its work to its numbers, the same for one method and for several."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxdistill import files, models
from jaxdistill.experiment import estimates, results, running
from jaxdistill.experiment.estimates import Phase
from jaxdistill.experiment.results import Row
from jaxdistill.experiment.running import Ran, methods_of
from jaxdistill.numerics import settled
from jaxdistill.robustness import api, flow, methods, page, scoring, sections
from jaxdistill.robustness.scoring import Numbers
from jaxdistill.robustness.trained import Built, Trained
from jaxdistill.robustness.work import Work
from jaxdistill.training import provenance
from jaxdistill.training.run import Run

# Scores that are said of a method whose networks are trained.
SHOWN = ('last', 'best_test', 'clean', 'worst')


def reference_of(fields: sections.Config) -> str:
  """Returns the method that the others are compared with: AT, or the first where AT is missing."""
  return running.reference_of(methods_of(fields), [scoring.REFERENCE])


@settled()
def run_all(run: Run, work: Work, tell: bool = True) -> Ran:
  """Trains the networks of every method and attacks them.

  Args:
    run: where all goes.
    work: what it works on.
    tell: whether to say what it works on, how long it will take, and what comes of it.

  Raises:
    UserError: the work dir was begun with other validation or pseudo-labelled images.
  """
  things = {'validation': work.validation, 'pseudo-labelled': work.pseudo}
  provenance.settle_given(run, 'further', things)
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


@settled()
def learn(
  run: Run, work: Work, name: str, section: Mapping[str, Any]
) -> tuple[Numbers, Trained | None]:
  """Trains the networks of a method, or reads back what an earlier start has come to.

  Args:
    run: where all goes.
    work: what it works on.
    name: of the method in the table.
    section: its fields.

  Returns:
    Their numbers, and them (None in all processes but the first).
  """
  path = f'networks/{name}.msgpack'

  def compute():
    method = methods.make(work.setting, section)
    ended = flow.train(run, work, method, name)
    trained = Trained(built(work), ended.variables)
    run.write_bytes(path, trained.to_bytes())
    attacked, warnings = attack(work, trained)
    facts = {'parameters': models.count(jax.tree.map(lambda leaf: leaf[0], ended.variables))}
    numbers = Numbers(
      ended.steps,
      ended.robust,
      ended.clean,
      attacked,
      warnings,
      facts,
      ended.seconds,
      method.reconstruction,
    )
    return numbers, trained, [name]

  there = lambda workdir: Trained.load(workdir / path)
  return running.once(run, name, compute, Numbers.from_json, there)


def attack(work: Work, trained: Trained) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """Returns the accuracies [R] of final networks without and after every attack, and after all of
  them ('worst'), and the sentences that make them doubtful; nothing where no attack is asked for.
  """
  asked, images = work.fields.robustness, work.attacked
  if not asked.attacks:
    return {}, ()
  pixels = np.asarray(images.images) / np.float32(255)
  accuracies, warnings = {}, []
  for number in range(trained.seeds):
    evaluation = api.evaluate(
      trained.function(number),
      pixels,
      np.asarray(images.labels),
      asked.attacks,
      eps=asked.eps,
      norm=asked.norm,
      seed=work.fields.seed,
    )
    for name, value in evaluation.accuracies.items():
      accuracies.setdefault(name, []).append(value)
    warnings += [f'network {number}: {warning}' for warning in evaluation.warnings]
  return {name: np.asarray(values) for name, values in accuracies.items()}, tuple(warnings)


def built(work: Work) -> Built:
  """Returns what the networks of a run are built from."""
  train, network = work.train, work.network
  return Built(
    {**work.fields.model, 'dtype': work.fields.dtype},
    train.class_names,
    train.image_shape,
    network.mean,
    network.std,
  )


def _row(work: Work, numbers: Mapping[str, Numbers], name: str) -> Row:
  section, reference = methods_of(work.fields)[name], reference_of(work.fields)
  return scoring.row(
    name,
    running.label(methods.label_of(section), numbers[name]),
    numbers[name],
    None if name == reference else numbers.get(reference),
    running.key(work.fields, section),
    eps=work.fields.robustness.eps,
    images=len(work.train),
  )


def describe(work: Work) -> str:
  """Returns the images, the network, the attacker and the training in a few lines."""
  asked, fields = work.fields.robustness, work.fields
  lines = [
    work.train.describe(),
    work.test.describe(),
    f'{asked.seeds} network(s) {fields.model["name"]} from {len(work.train):,} images, '
    f'{work.steps:,} steps of {work.batch}; attacker {asked.norm} with eps = {asked.eps:.3g} '
    f'({255 * asked.eps:.3g}/255)',
  ]
  if work.pseudo is not None:
    lines.append(f'Half of every batch from {len(work.pseudo):,} pseudo-labelled images')
  if asked.attacks:
    lines.append(f'Then {", ".join(asked.attacks)} on {len(work.attacked):,} test images')
  return '\n'.join(lines)


def result(run: Run, work: Work, ran: Ran, config: Mapping[str, Any]) -> results.Result:
  """Returns the content of result.json; `config` is what the file keeps of the config."""
  fields, asked = work.fields, work.fields.robustness
  names = running.listed([row.label for row in ran.table])
  first = ran.numbers[next(iter(ran.numbers))]
  return results.of_run(
    run,
    title=f'{names}: robust {fields.model["name"]} on {work.train.name}',
    dataset=work.train.name,
    seconds={'training': running.seconds(ran)},
    config=config,
    **running.facts(fields, ran),
    network=fields.model['name'],
    compared_with=methods.label_of(methods_of(fields)[reference_of(fields)]),
    eps=asked.eps,
    norm=asked.norm,
    pgd_steps=asked.pgd_steps,
    attacks=[name for name in first.attacked if name not in ('clean', 'worst')],
    attacked=len(work.attacked),
    images=len(work.train),
    seeds=asked.seeds,
    class_names=list(work.train.class_names),
  )


def write(run: Run, work: Work, ran: Ran, config: Mapping[str, Any]) -> dict[str, Any]:
  """Writes the numbers and the page; returns the numbers, what result.json holds."""
  ended = result(run, work, ran, config)
  content = ended.to_json()
  run.write_json('result.json', content)
  trained, last = list(ran.networks.values())[-1], ran.table[-1]
  images = page.adversarial(work, trained, last.label) if trained is not None else ()
  run.write_bytes('report.html', files.encoded(page.html(ended, run, images)))
  return content


def phases(work: Work) -> Iterator[Phase]:
  """Yields the training of every method."""
  for name, section in methods_of(work.fields).items():
    problem = flow.problem(work, methods.make(work.setting, section))
    yield Phase(name, problem, work.fields.dtype)


@settled()
def dry_run(work: Work) -> str:
  """Returns the network, its parameters and the estimate of time and memory, without starting
  anything."""
  table = estimates.parameters(work.network, work.train.image_shape)
  return estimates.described(describe(work), table, phases=phases(work))

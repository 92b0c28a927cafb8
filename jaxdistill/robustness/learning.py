"""A run of this family from its work to its numbers, the same for one method and for several."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill import draws, files, models
from jaxdistill.experiment import estimates, results, schema
from jaxdistill.experiment.estimates import Phase
from jaxdistill.experiment.results import Row
from jaxdistill.numerics import settled
from jaxdistill.report import numbers as written
from jaxdistill.robustness import api, flow, methods, page, scoring, sections
from jaxdistill.robustness.scoring import Numbers
from jaxdistill.robustness.trained import Built, Trained
from jaxdistill.robustness.work import Work
from jaxdistill.training.run import Run


class Ran(NamedTuple):
  """What a run has come to.

  table: a row a method, compared network by network with those of the reference where it is there.
  numbers: of the networks by method. networks: them; None in all processes but the first.
  """

  table: list[Row]
  numbers: dict[str, Numbers]
  networks: dict[str, Trained | None]


def methods_of(fields: sections.Config) -> dict[str, Mapping[str, Any]]:
  """Returns the section of every method by its name in the table."""
  if isinstance(fields, sections.CompareConfig):
    return {name: fields.members[name] for name in fields.compared}
  return {str(fields.method['name']): fields.method}


def reference_of(fields: sections.Config) -> str:
  """Returns the method that the others are compared with: AT, or the first where AT is missing."""
  names = methods_of(fields)
  return scoring.REFERENCE if scoring.REFERENCE in names else next(iter(names))


@settled()
def run_all(run: Run, work: Work, tell: bool = True) -> Ran:
  """Trains the networks of every method and attacks them.

  Args:
    run: where all goes.
    work: what it works on.
    tell: whether to say what it works on, how long it will take, and what comes of it.
  """
  say = run.say if tell else lambda text: None
  say(describe(work))
  if tell:
    estimates.estimate_once(run, lambda: estimates.measure(phases(work)), 'the trainings')
  numbers, networks = {}, {}
  for name, section in methods_of(work.fields).items():
    numbers[name], networks[name] = learn(run, work, name, section)
    say(f'{label(section, numbers[name])}: {_line(_row(work, numbers, name))}')
  return Ran([_row(work, numbers, name) for name in numbers], numbers, networks)


def _line(row: Row) -> str:
  """The accuracies of a row in a few words."""
  shown = [name for name in ('last', 'best_test', 'clean', 'worst') if name in row.scores]
  return ', '.join(f'{name} {written.accuracy(row.scores[name])} %' for name in shown)


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
  path, computed = f'networks/{name}.msgpack', []

  def compute():
    method = methods.make(work.setting, section)
    ended = flow.train(run, work, method, name)
    trained = Trained(built(work), ended.variables)
    computed.append(trained)
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
    run.discard(name)
    return numbers.to_json()

  numbers = Numbers.from_json(run.once(f'methods/{name}', compute))
  if not computed and run.workdir is not None:
    computed.append(Trained.load(run.workdir / path))
  return numbers, computed[0] if computed else None


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
  labels = [row.label for row in ran.table]
  names = ', '.join(labels) if len(labels) <= 3 else f'{len(labels)} methods'
  first = ran.numbers[next(iter(ran.numbers))]
  return results.of_run(
    run,
    title=f'{names}: robust {fields.model["name"]} on {work.train.name}',
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
  images = np.zeros((1, *work.train.image_shape), np.float32)
  form = jax.eval_shape(work.network.init, draws.key(0), images)
  expected = estimates.measure(phases(work))
  parts = [describe(work), models.parameter_table(form), estimates.estimate_text(expected)]
  return '\n\n'.join(parts)

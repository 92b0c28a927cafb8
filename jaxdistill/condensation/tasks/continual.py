"""Class-incremental learning from condensed memories: what a condensed set is worth where the real
images are gone.

The classes arrive in steps. Of every step only a condensed set of its classes is kept; fresh
networks are then trained from scratch on all that is kept and scored on the test images of all
classes seen so far. A memory, and a learner that begins anew each time, are GDumb (Prabhu et al.,
ECCV 2020); condensed memories in it are the application of DM (Zhao and Bilen, WACV 2023).
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill import files, metrics
from jaxdistill.condensation import (
  arrivals,
  baselines,
  checks,
  embedding,
  methods,
  problem,
  scoring,
  sections,
  settings,
)
from jaxdistill.condensation.arrivals import Part, Plan
from jaxdistill.condensation.problem import Condensing
from jaxdistill.condensation.protocols import Protocol
from jaxdistill.condensation.scoring import Contestant
from jaxdistill.condensation.tasks import continual_page
from jaxdistill.data import Dataset
from jaxdistill.errors import UserError, brief
from jaxdistill.experiment import datasets, estimates, results
from jaxdistill.experiment.estimates import Phase
from jaxdistill.experiment.results import Row
from jaxdistill.numerics import settled
from jaxdistill.report import numbers, pictures
from jaxdistill.synthesis.condensed import Condensed, join
from jaxdistill.training import parallel, pretrained, progress
from jaxdistill.training.run import Run


@settled()
def check(config: ConfigDict) -> None:
  """Raises `UserError` for what would fail later: all that condensing needs, and classes that make
  no equal steps."""
  checks.check(config)
  fields = sections.of_config(config)
  train, validation, test = datasets.load(fields.data)
  steps, classes = fields.continual.steps, train.num_classes
  if classes % steps:
    right = [str(number) for number in range(1, classes + 1) if classes % number == 0]
    raise UserError(
      f'continual.steps is {steps}, but the {classes} classes of {train.name} do not divide '
      f'into {steps} equal '
      f'steps; use {", ".join(right[:-1])} or {right[-1]}.'
    )
  if fields.evaluation.baselines:
    raise UserError(
      'evaluation.baselines must be empty for continual learning; run it once more with '
      'another method to compare.'
    )
  if not test.counts.min():
    raise UserError(
      f'{test.name}: class {test.class_names[test.counts.argmin()]!r} has no test image, '
      'so there is nothing to score it on when it arrives.'
    )
  if kept := selected(fields.continual.memory, fields.condensation.factor):
    # The start of a condensation, which is not read here, may need fewer images.
    checks.check_sizes(fields.condensation.storage, [kept], train, held_out=validation is not None)
  todo = _plan(fields, classes)
  for number in range(len(todo.orders) if validation is not None else 0):
    seen = todo.seen(number, 0)
    if not validation.counts[seen].any():
      names = ', '.join(repr(train.class_names[label]) for label in seen)
      raise UserError(
        f'{train.name}: no validation image is of a class that arrives first in order {number + 1} '
        f'({brief(names)}), so nothing chooses by them: set data.validation_share=0, or add images.'
      )


@settled()
def run(config: ConfigDict, run: Run) -> dict[str, Any]:
  """Runs the orders of a config in a work dir, or continues them; returns what result.json
  holds."""
  fields, condensing = sections.of_config(config), Condensing.of_config(config)
  train, validation, test = datasets.load(fields.data, run)
  mesh = parallel.make_mesh(fields.run.devices)
  run.say(train.describe())
  run.say(test.describe())
  todo = _plan(fields, train.num_classes)
  expected = estimates.estimate_once(
    run, lambda: estimates.measure(_phases(fields, condensing, train, test, mesh, todo))
  )

  job = progress.Job(_durations(expected, todo))
  scores, memories, times = [], {}, []
  for number, order in enumerate(todo.orders):
    scores.append([])
    for step in range(len(order)):
      name, seen = arrivals.step_name(number, step), todo.seen(number, step)
      for part in (part for part in todo.parts if part.name == name):
        memories[part], taken = memory(fields, condensing, part, train, run, mesh)
        times.append(taken)
        job.finish(f'condense-{name}', _worked(run, 'experts', f'condense-{name}'))
      images = join((memories[part], label) for part, label in todo.places(number, step))
      row = scoring.row(
        run,
        Contestant(name, f'{len(seen)} classes', images),
        _protocol(fields, images, networks_seed(fields.seed, number, step)),
        test.take_classes(seen),
        validation and validation.take_classes(seen),
        mesh=mesh,
        rows=fields.run.rows,
      )
      scores[-1].append(row)
      job.finish(f'evaluate-{name}', _worked(run, f'evaluate-{name}'))
      run.say(
        f'order {number + 1} of {len(todo.orders)}, {len(seen)} classes seen: '
        f'{_accuracy_text(row.scores["last"])}; {job.line()}'
      )
  kept = join((memories[part], label) for part, label in todo.places(0, len(todo.orders[0]) - 1))
  result = summary(fields, run, todo, expected.get('condense', {}), scores, times, config.to_dict())
  return write(result, run, kept, todo.way)


def _worked(run: Run, *phases: str) -> float | None:
  """Returns the seconds that phases took without compiling, None if the last is of an earlier
  start."""
  if not run.timing(phases[-1]):
    return None
  timings = [timing for timing in map(run.timing, phases) if timing]
  return sum(timing['seconds'] - timing['compile_seconds'] for timing in timings)


def write(result: results.Result, run: Run, kept: Condensed, way: int) -> dict[str, Any]:
  """Writes the numbers, the page and the picture of the memory that the first order has kept;
  returns the numbers."""
  content = result.to_json()
  run.write_bytes('memory.png', pictures.png_bytes(kept.picture()))
  run.write_json('result.json', content)
  run.write_bytes('report.html', files.encoded(continual_page.html(result, run, kept, way)))
  return content


def _accuracy_text(accuracy: dict[str, Any]) -> str:
  mean, deviation, _ = numbers.accuracy_parts(accuracy)
  return f'{mean} {deviation} %' if deviation else f'{mean} %'


@settled()
def dry_run(config: ConfigDict) -> str:
  """Returns the parameter table and the estimate of time and memory of a config, without starting
  anything."""
  fields, condensing = sections.of_config(config), Condensing.of_config(config)
  train, _, test = datasets.load(fields.data)
  return estimates.described(
    f'{train.describe()}\n{test.describe()}',
    estimates.parameters(condensing.network(train), train.image_shape),
    phases=phases(config, parallel.make_mesh(fields.run.devices)),
  )


def selected(kept: str, factor: int) -> str:
  """Returns the baseline whose real images are the memory, '' where the memory is condensed.

  With a factor above 1 the images are shrunk into the cells of as many canvases as a condensed
  memory has.

  >>> selected('herding', 2), selected('condensed', 2)
  ('herding_mix', '')
  """
  return '' if kept == settings.MEMORIES[0] else f'{kept}_mix' if factor > 1 else kept


def memory(
  fields: sections.ContinualConfig,
  condensing: Condensing,
  part: Part,
  train: Dataset,
  run: Run,
  mesh: Mesh | None,
) -> tuple[Condensed, dict]:
  """Condenses the classes of a part (or selects from them), or reads what an earlier start has
  kept.

  The method sees the images of these classes alone, under a network with as many outputs.

  Returns:
    The set and what it took: dict(seconds, steps_per_second).
  """
  path = run.workdir and run.workdir / 'memory' / f'{part.name}.npz'
  phase = f'condense-{part.name}'

  def measured():
    seconds = sum(run.timing(name).get('seconds', 0.0) for name in ('experts', phase))
    return {'seconds': seconds, 'steps_per_second': run.timing(phase).get('steps_per_second', 0.0)}

  def compute():
    run.set_timing('experts', {})  # what they took for the part before
    condensed = _memorised(fields, condensing, part, train, run, mesh)
    # Before the set is kept: a start that finds the set no longer knows the times.
    run.once(phase, measured)
    return condensed

  condensed = run.kept(
    path, compute, Condensed.to_bytes, lambda content: Condensed.from_bytes(content, str(path))
  )
  taken = run.once(phase, measured)
  run.discard(phase)
  return condensed, taken


def _memorised(
  fields: sections.ContinualConfig,
  condensing: Condensing,
  part: Part,
  train: Dataset,
  run: Run,
  mesh: Mesh | None,
) -> Condensed:
  """Condenses the classes of a part, or selects from them."""
  real = train.take_classes(part.classes)
  model = condensing.network(real)
  name = selected(fields.continual.memory, fields.condensation.factor)
  networks = dict(
    seed=fields.seed, mesh=mesh, directory=pretrained.directory(run, fields.run.experts)
  )
  if not name:
    pool = pretrained.train(run, model, real, methods.wants(fields.method), **networks)
    ready = problem.setup(condensing, real, mesh, pool, _place(part, train))
    condensed, _ = problem.condense(condensing, real, ready, run, f'condense-{part.name}')
    return condensed
  features = None
  if baselines.needs_features(name):
    features = embedding.embed(fields.selection, real, model, run, **networks)
  return _select(fields, name, real, features)


def _place(part: Part, train: Dataset) -> problem.Part:
  """Returns where the classes of a part stand in the whole set."""
  return problem.Part(part.classes, int(train.counts.max()), int(train.counts.min()))


def phases(config: ConfigDict, mesh: Mesh | None) -> Iterator[Phase]:
  """Yields the phases of the whole job on the devices of a mesh; nothing of it enters a run."""
  fields, condensing = sections.of_config(config), Condensing.of_config(config)
  train, _, test = datasets.load(fields.data)
  todo = _plan(fields, train.num_classes)
  yield from _phases(fields, condensing, train, test, mesh, todo)


def _phases(
  fields: sections.ContinualConfig,
  condensing: Condensing,
  train: Dataset,
  test: Dataset,
  mesh: Mesh | None,
  todo: Plan,
) -> Iterator[Phase]:
  part, parts = todo.parts[0], len(todo.parts)
  real = train.take_classes(part.classes)
  model = condensing.network(real)
  name = selected(fields.continual.memory, fields.condensation.factor)
  if name:
    wanted = fields.selection.wants([name])
    blank = _select(fields, name, real, np.zeros((len(real), 1), np.float32))
  else:
    wanted = methods.wants(fields.method)
    pool = pretrained.untrained(model, real.image_shape, wanted)
    ready = problem.setup(condensing, real, mesh, pool, _place(part, train))
    blank = condensing.wrap(ready.canvases, real)
  first = pretrained.setup(model, real, wanted, seed=fields.seed, mesh=mesh)
  if first:
    yield Phase('experts', first, fields.dtype, parts)
  if not name:
    yield Phase('condense', ready, fields.dtype, parts)
  for step in range(len(todo.orders[0])):
    shown = test.take_classes(todo.seen(0, step))
    images = join((blank, position % todo.way) for position in range(shown.num_classes))
    images = dataclasses.replace(images, class_names=shown.class_names)
    phase, protocol = (
      f'evaluate-{shown.num_classes}-classes',
      _protocol(fields, images, fields.seed),
    )
    yield scoring.phase(phase, images, shown, protocol, mesh, times=len(todo.orders))


def _protocol(fields: sections.ContinualConfig, images: Condensed, seed: int) -> Protocol:
  return scoring.protocol(
    fields.evaluation,
    images,
    seed=seed,
    model=fields.model,
    dtype=fields.dtype,
    data=fields.data.name,
  )


def _select(
  fields: sections.ContinualConfig, name: str, real: Dataset, features: np.ndarray | None
) -> Condensed:
  return baselines.make(
    name,
    real,
    ipc=fields.condensation.ipc,
    factor=fields.condensation.factor,
    seed=fields.seed,
    features=features,
    recipe=fields.evaluation.recipe,
  )


def _durations(expected: Mapping[str, Any], todo: Plan) -> dict[str, float]:
  """Returns the seconds that each part of the job is expected to take."""

  def seconds(*names):
    phases = [expected[name] for name in names if name in expected]
    return sum(phase['num_steps'] * phase['seconds_per_step'] for phase in phases)

  durations = {f'condense-{part.name}': seconds('experts', 'condense') for part in todo.parts}
  for order, steps in enumerate(todo.orders):
    for step in range(len(steps)):
      classes = (step + 1) * todo.way
      durations[f'evaluate-{arrivals.step_name(order, step)}'] = seconds(
        f'evaluate-{classes}-classes'
      )
  return durations


def _plan(fields: sections.ContinualConfig, num_classes: int) -> Plan:
  section = fields.continual
  condensed = not selected(section.memory, fields.condensation.factor)
  alone = condensed and methods.wants(fields.method) is None
  return arrivals.plan(num_classes, section.steps, section.orders, shared=alone)


def networks_seed(seed: int, order: int, step: int) -> int:
  """Returns the seed of the networks of one order and step: other networks each time, the same ones
  for every method."""
  return int(np.random.SeedSequence([seed, order, step]).generate_state(1)[0])


def table(way: int, scores: Sequence[Sequence[Row]]) -> list[Row]:
  """Returns the rows of the table from those of every order and step, scores[o][s].

  A row a step: mean and standard deviation over all networks of all orders. The last row: the
  average over the steps, its mean and standard deviation over the orders (in each of them over its
  networks).
  """
  rows = [
    _step_row(step + 1, (step + 1) * way, same)
    for step, same in enumerate(zip(*scores, strict=True))
  ]
  average = {}
  for name in scores[0][0].scores:
    means = [np.mean(_scores_of(order, name, 'mean')) for order in scores]
    average[name] = metrics.mean_std(means)
  seconds = sum(row.seconds for row in rows)
  return [*rows, Row('average', 'Average over steps', seconds, average)]


def _scores_of(rows: Sequence[Row], column: str, field: str) -> list[Any]:
  return [row.scores[column][field] for row in rows]


def _step_row(step: int, seen: int, same: Sequence[Row]) -> Row:
  """Returns the row of one step from those of all orders, when `seen` classes have arrived."""
  pooled = {
    name: metrics.mean_std(np.concatenate(_scores_of(same, name, 'values')))
    for name in same[0].scores
  }
  extras = {name: same[0][name] for name in ('images_per_class', 'training_images', 'steps')}
  return Row(
    f'step{step}',
    f'{seen} classes',
    sum(row.seconds for row in same),
    pooled,
    extras={'classes': seen, **extras},
  )


def summary(
  fields: sections.ContinualConfig,
  run: Run,
  todo: Plan,
  expected: Mapping[str, Any],
  scores: Sequence[Sequence[Row]],
  times: Sequence[Mapping[str, float]],
  config: Mapping[str, Any],
) -> results.Result:
  """Returns the content of result.json; `expected` is the estimate of condensing, `config` what the
  file keeps of the config."""
  section, storage, rows = fields.continual, fields.condensation.storage, table(todo.way, scores)
  name = selected(section.memory, storage.factor)
  label = baselines.LABELS[name] if name else methods.LABELS[fields.method['name']]
  orders = [
    {'classes': steps, 'last': _scores_of(scored, 'last', 'mean')}
    for steps, scored in zip(todo.orders, scores)
  ]
  return results.of_run(
    run,
    title=f'{label} as the memory of continual learning on {fields.data.name}: '
    f'{section.steps} steps, {storage.ipc} image(s) a class',
    family=fields.family,
    task=fields.task,
    dataset=fields.data.name,
    seed=fields.seed,
    rows=rows,
    seconds={
      'condense': sum(taken['seconds'] for taken in times),
      'evaluate': rows[-1].seconds,
    },
    config=config,
    method=name or fields.method['name'],
    label=label,
    ipc=storage.ipc,
    factor=storage.factor,
    final=rows[-2].scores['last'],
    average=rows[-1].scores['last'],
    orders=orders,
    condensed=[part.name for part in todo.parts],
    steps_per_second=float(np.mean([taken['steps_per_second'] for taken in times])),
    flops_per_step=expected.get('flops_per_step'),
    peak_share=expected.get('peak_share'),
  )

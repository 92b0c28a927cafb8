"""What every flow of this family does with a set: score it under the config's recipe, and tell
beforehand how long that takes."""

import contextlib
import dataclasses
import functools
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxdistill import models
from jaxdistill.condensation import api, baselines, evaluation, shared
from jaxdistill.data import Dataset
from jaxdistill.report import numbers, tables
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training import classifier, loop, scorer
from jaxdistill.training.run import Run, peak_memory_bytes

# How often a training is scored where the config does not say; DANCE's public code has six checks.
CHECKS = 6


def row(
  config: ConfigDict,
  run: Run,
  mesh,
  name: str,
  label: str,
  images: Condensed | Dataset,
  test: Dataset,
  validation: Dataset | None,
  *,
  seed: int | None = None,
  model: Mapping[str, Any] | None = None,
  phase: str = '',
  augment: bool = True,
) -> dict[str, Any]:
  """Scores one set under the config's recipe; a finished row is read back.

  Args:
    config: with the sections `evaluation` and, unless `model` is given, `model`.
    run: keeps the row as results/PHASE.json.
    mesh: devices over which the networks are spread.
    name, label: of the row, for files and for people.
    images: the set; real images train for `evaluation.whole_epochs`.
    test: images to score on.
    validation: held-out images to choose by, or None.
    seed: in place of the config's.
    model: in place of the config's network.
    phase: of the training; '': evaluate-NAME.
    augment: False trains without augmentation.

  Returns:
    What `evaluation.evaluate` gives and name, label, images_per_class, factor, reference, and the
    key under which runs with one folder `run.rows` share the scores.
  """
  section, phase = config.evaluation, phase or f'evaluate-{name}'
  options = dict(
    recipe=section.recipe,
    seeds=section.networks,
    seed=config.seed if seed is None else seed,
    model=_network(config, model),
    dtype=config.dtype,
    epochs=_epochs(config, images),
    steps=section.steps,
    checks=_checks(config, images),
    search_on=_search_on(config, images),
    augment=augment,
  )

  def compute():
    scores = shared.once(
      run,
      config.run.rows,
      images,
      test,
      validation,
      options,
      lambda: evaluation.evaluate(
        images, test, **options, validation=validation, run=run, name=phase, mesh=mesh
      ),
    )
    stored = len(images) if isinstance(images, Dataset) else len(images.images)
    return {
      'name': name,
      'label': label,
      'images_per_class': stored / test.num_classes,
      'factor': getattr(images, 'factor', 1),
      'reference': name == 'whole',
      **scores,
    }

  scored = run.once(phase, compute)
  run.discard(phase)
  return scored


def estimate(
  config: ConfigDict,
  images: Condensed | Dataset,
  test: Dataset,
  mesh,
  *,
  model: Mapping[str, Any] | None = None,
  augment: bool = True,
) -> loop.Estimate:
  """Measures a few steps of what `row` would do, and the memory of scoring."""
  section = config.evaluation
  training = evaluation.setup(
    images,
    test,
    section.recipe,
    section.networks,
    model=_network(config, model),
    dtype=config.dtype,
    epochs=_epochs(config, images),
    steps=section.steps,
    search_on=_search_on(config, images),
    augment=augment,
    mesh=mesh,
  )
  measured = measure(config, training)
  network = models.build(
    dict(_network(config, model), dtype=config.dtype), test.num_classes, test.image_shape
  )
  few = test.take(range(min(len(test), scorer.MOST_SCORED)))
  scorer.Scorer(network, few.images, few.labels, mean=images.mean, std=images.std)(
    training.state.variables
  )
  return dataclasses.replace(measured, needed_bytes=peak_memory_bytes().bytes)


def baseline_sets(
  config: ConfigDict,
  train: Dataset,
  select: Callable[[str], np.ndarray],
  before: Condensed | None = None,
) -> Iterator[tuple[str, str, Condensed | Dataset]]:
  """Yields (name, label, set) for every baseline that a config asks for.

  Args:
    config: with the sections `condensation` (ipc, factor, init) and `evaluation`.
    train: the real images.
    select: from a baseline to the positions of the images that it takes, see `selector`.
    before: the canvases that a condensation started from, which are the baseline 'mix' where it
      starts from a mix.
  """
  section, wanted = config.condensation, config.evaluation.baselines
  for name in wanted:
    if name == 'whole':
      images = train
    elif baselines.is_mix(name) and section.factor == 1 and baselines.selected_by(name) in wanted:
      continue  # without cells it is the row of the images at full size
    elif name == 'mix' and section.init == 'mix' and before is not None:
      images = before
    else:
      images = baselines.build(
        name, train, select(name), factor=section.factor, recipe=config.evaluation.recipe
      )
    yield name, baselines.LABELS[name], images


def selector(
  config: ConfigDict, train: Dataset, run: Run, features: Callable[[], np.ndarray]
) -> Callable[[str], np.ndarray]:
  """Returns the function from a baseline to the images that it takes, which the run keeps in
  results/selection/NAME.json.

  `features` is called at most once, and only if a baseline that compares features was not chosen
  before.
  """
  features = functools.cache(features)
  section = config.condensation

  def choose(name):
    return baselines.pick(
      name,
      train,
      ipc=section.ipc,
      factor=section.factor,
      seed=config.seed,
      features=features() if baselines.needs_features(name) else None,
    )

  return lambda name: np.asarray(run.once(f'selection/{name}', lambda: choose(name)))


@contextlib.contextmanager
def stand_in(config: ConfigDict, train: Dataset) -> Iterator[Callable[[str], np.ndarray]]:
  """Gives a `selector` for estimates: what is picked makes no difference to the time, so features
  that cost nothing stand in."""
  with Run(progress=False) as memory:
    yield selector(config, train, memory, lambda: np.zeros((len(train), 1), np.float32))


def measure(config: ConfigDict, problem: api.Problem | classifier.Problem) -> loop.Estimate:
  """Measures a few steps of a phase and extrapolates."""
  return loop.estimate(
    problem.step, problem.state, problem.source, problem.num_steps, dtype=config.dtype
  )


def estimate_once(
  run: Run,
  compute: Callable[[], dict[str, Any]],
  what: str = 'phase',
  ready: Mapping[str, Callable[[], bool]] = types.MappingProxyType({}),
) -> dict[str, Any]:
  """Returns the estimates of a run, by name: measured at its first start and kept, told at every
  start that has work left.

  `ready` tells of a phase whether other runs have left its result; those that this run has finished
  are known.
  """

  def measured():
    run.say(f'Compiling every {what} and timing a few of its steps.')
    return compute()

  estimates = run.once('estimate', measured)
  finished = run.workdir and (run.workdir / 'result.json').exists()
  if finished:
    run.say('This run is finished; its results are read back.')
  else:
    run.say(
      estimate_text(
        estimates, [name for name in estimates if run.has(name) or name in ready and ready[name]()]
      )
    )
  return estimates


def first_step(run: Run) -> float | None:
  """Returns the seconds from the opening of the run to its first step, in the start that came to
  the end first."""
  return run.once('first_step', lambda: run.first_step_seconds)


def estimate_text(estimates: Mapping[str, Mapping[str, Any]], ready: Collection[str] = ()) -> str:
  """Returns estimates by phase as an aligned table: steps, times, memory and work of a step; then
  what the run needs.

  A phase that the run goes through several times, with one program, says how often under 'times'.
  The phases in `ready` take no time any more.
  """
  rows = [{'phase': name, **estimate} for name, estimate in estimates.items()]
  often = [('times', 'Times', 'count')] if any('times' in row for row in rows) else []
  columns = [
    ('phase', 'Estimate'),
    *often,
    ('num_steps', 'Steps', 'count'),
    ('seconds_per_step', 'A step', 'seconds'),
    ('compile_seconds', 'To compile', 'seconds'),
    ('total_seconds', 'Together', 'seconds'),
    ('peak_bytes', 'Its memory', 'bytes'),
    ('flops_per_step', 'Work a step', numbers.flops),
  ]
  if any(row['peak_share'] for row in rows):
    columns.append(('peak_share', 'Of peak', '.1%'))
  total = sum(row['total_seconds'] for row in rows if row['phase'] not in ready)
  found = [row['phase'] for row in rows if row['phase'] in ready]
  found = f' ({", ".join(found)}: there already)' if found else ''
  needed = max(row['needed_bytes'] for row in rows)
  return (
    f'{tables.text(rows, columns)}\nin all about {numbers.seconds(total)}{found}, scoring and '
    'selecting images not '
    f'counted; memory of the {rows[0]["needed_of"]}: about {numbers.size(needed)}'
  )


def _network(config: ConfigDict, model: Mapping[str, Any] | None) -> dict[str, Any]:
  return dict(config.model.to_dict() if model is None else model)


def _epochs(config: ConfigDict, images: Condensed | Dataset) -> int:
  return config.evaluation.whole_epochs if isinstance(images, Dataset) else config.evaluation.epochs


def _checks(config: ConfigDict, images: Condensed | Dataset) -> int:
  if not config.evaluation.every:
    return CHECKS
  count = len(images) if isinstance(images, Dataset) else len(images.images) * images.factor**2
  recipe = evaluation.find_recipe(config.evaluation.recipe, epochs=_epochs(config, images))
  return max(1, (config.evaluation.steps or recipe.steps(count)) // config.evaluation.every)


def _search_on(config: ConfigDict, images: Condensed | Dataset) -> str:
  """On what the learning rate is searched; not at all for real images, as in DD-Ranking's public
  code."""
  return '' if isinstance(images, Dataset) else config.evaluation.search_on

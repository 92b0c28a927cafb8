"""What every flow of this family does with a set: score it under the config's recipe, and tell beforehand how long that takes."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill.condensation import api, evaluation, shared
from jaxdistill.condensation.condensed import Condensed
from jaxdistill.data import Dataset
from jaxdistill.report import numbers, tables
from jaxdistill.training import classifier, loop
from jaxdistill.training.run import Run

# How often a training is scored where the config does not say; DANCE's public code has six checks.
CHECKS = 6


def row(config: ConfigDict, run: Run, mesh, name: str, label: str, images: Condensed | Dataset, test: Dataset,
        validation: Dataset | None, *, seed: int | None = None, model: Mapping[str, Any] | None = None) -> dict[str, Any]:
  """Scores one set under the config's recipe; a finished row is read back.

  Args:
    config: with the sections `evaluation` and, unless `model` is given, `model`.
    run: keeps the row as results/evaluate-NAME.json.
    mesh: devices over which the networks are spread.
    name, label: of the row, for files and for people.
    images: the set; real images train for `evaluation.whole_epochs`.
    test: images to score on.
    validation: held-out images to choose by, or None.
    seed: in place of the config's.
    model: in place of the config's network.

  Returns:
    What `evaluation.evaluate` gives and name, label, images_per_class, factor, reference, and the key under which runs with one
    folder `run.rows` share the scores.
  """
  section = config.evaluation
  options = dict(recipe=section.recipe, seeds=section.networks, seed=config.seed if seed is None else seed,
                 model=_network(config, model), dtype=config.dtype, epochs=_epochs(config, images), steps=section.steps,
                 checks=_checks(config, images), search_on=_search_on(config, images))

  def compute():
    scores = shared.once(run, config.run.rows, images, test, validation, options, lambda: evaluation.evaluate(
        images, test, **options, validation=validation, run=run, name=f'evaluate-{name}', mesh=mesh))
    stored = len(images) if isinstance(images, Dataset) else len(images.images)
    return {'name': name, 'label': label, 'images_per_class': stored / test.num_classes,
            'factor': getattr(images, 'factor', 1), 'reference': name == 'whole', **scores}

  scored = run.once(f'evaluate-{name}', compute)
  run.discard(f'evaluate-{name}')
  return scored


def estimate(config: ConfigDict, images: Condensed | Dataset, test: Dataset, mesh, *,
             model: Mapping[str, Any] | None = None) -> loop.Estimate:
  """Measures a few steps of what `row` would do."""
  section = config.evaluation
  training = evaluation.setup(
      images, test, section.recipe, section.networks, model=_network(config, model), dtype=config.dtype,
      epochs=_epochs(config, images), steps=section.steps, search_on=_search_on(config, images), mesh=mesh)
  return measure(config, training)


def measure(config: ConfigDict, problem: api.Problem | classifier.Problem) -> loop.Estimate:
  """Measures a few steps of a phase and extrapolates."""
  return loop.estimate(problem.step, problem.state, problem.source, problem.num_steps, dtype=config.dtype)


def estimate_text(estimates: Mapping[str, Mapping[str, Any]]) -> str:
  """Returns estimates by phase as an aligned table: steps, times, memory of one device, work.

  A phase that the run goes through several times, with one program, says how often under 'times'.
  """
  rows = [{'phase': name, **estimate} for name, estimate in estimates.items()]
  often = [('times', 'Times', 'count')] if any('times' in row for row in rows) else []
  columns = [('phase', 'Estimate'), *often, ('num_steps', 'Steps', 'count'), ('seconds_per_step', 'A step', 'seconds'),
             ('compile_seconds', 'To compile', 'seconds'), ('total_seconds', 'Together', 'seconds'),
             ('peak_bytes', 'Memory', 'bytes'), ('flops_per_step', 'Work a step', numbers.flops)]
  if any(row['peak_share'] for row in rows):
    columns.append(('peak_share', 'Of peak', '.1%'))
  total = sum(row['total_seconds'] for row in rows)
  return f'{tables.text(rows, columns)}\nin all about {numbers.seconds(total)}, scoring and selecting images not counted'


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
  """On what the learning rate is searched; not at all for real images, as in DD-Ranking's public code."""
  return '' if isinstance(images, Dataset) else config.evaluation.search_on

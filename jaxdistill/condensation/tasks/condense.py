"""A condensation experiment from start to report: estimate, condense, evaluate beside the
baselines, write the page."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxdistill import models
from jaxdistill.condensation import api, embedding, methods, page, scoring, settings
from jaxdistill.data import Dataset
from jaxdistill.report import pictures
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training import parallel
from jaxdistill.training.run import Run, environment, peak_memory_bytes

check = settings.check


def run(config: ConfigDict, run: Run) -> dict[str, Any]:
  """Runs the experiment of a config in a work dir, or continues it; returns what result.json
  holds."""
  train, validation, test = settings.datasets(config)
  mesh = parallel.make_mesh(config.run.devices)
  run.say(train.describe())
  run.say(test.describe())
  model = api.build_model(config, train.num_classes, train.image_shape)
  estimates = scoring.estimate_once(
    run,
    lambda: estimate(config, train, test, mesh, model),
    ready={'experts': lambda: _are_experts_ready(config, train, run, model)},
  )

  pool = methods.prepare(config, train, run, mesh, model)
  problem = api.setup(config, train, mesh, pool)
  made, before = api.condense_config(config, train, run, mesh, problem)
  if run.workdir:
    made.save(run.workdir / 'condensed.npz')
    run.write_bytes('condensed.png', pictures.png_bytes(made.picture()))

  select = scoring.selector(
    config, train, run, lambda: embedding.of_config(config, train, run, mesh, model, pool)
  )
  rows = [
    scoring.row(config, run, mesh, name, label, images, test, validation)
    for name, label, images in contestants(config, train, made, before, select)
  ]
  result = summary(config, run, train, estimates, rows)
  run.write_json('result.json', result)
  run.write_bytes('report.html', page.html(result, run, before, made, train).encode())
  return result


def dry_run(config: ConfigDict) -> str:
  """Returns the parameter table and the estimate of time and memory of a config, without starting
  anything."""
  train, _, test = settings.datasets(config)
  mesh = parallel.make_mesh(config.run.devices)
  model = api.build_model(config, train.num_classes, train.image_shape)
  variables = jax.eval_shape(
    model.init, jax.random.key(0), np.zeros((1, *train.image_shape), np.float32)
  )
  estimates = estimate(config, train, test, mesh, model)
  return '\n\n'.join(
    [
      f'{train.describe()}\n{test.describe()}',
      models.parameter_table(variables),
      scoring.estimate_text(estimates),
    ]
  )


def contestants(
  config: ConfigDict,
  train: Dataset,
  made: Condensed,
  before: Condensed,
  select: Callable[[str], np.ndarray],
):
  """Yields (name, label, set) for every row of the table: the method, then the baselines that the
  config asks for.

  `select` gives the positions of the real images that a baseline takes.
  """
  yield config.method.name, methods.LABELS[config.method.name], made
  yield from scoring.baseline_sets(config, train, select, before)


def _are_experts_ready(config, train, run, model) -> bool:
  network = methods if methods.prepares(config.method.name) else embedding
  return network.is_prepared(config, train, run, model)


def estimate(config: ConfigDict, train: Dataset, test: Dataset, mesh, model) -> dict[str, Any]:
  """Measures a few steps of every phase and extrapolates; nothing of it enters the run."""
  estimates = {}
  if first := methods.preparation(config, train, mesh, model) or embedding.preparation(
    config, train, mesh, model
  ):
    estimates['experts'] = scoring.measure(config, first)
  problem = api.setup(config, train, mesh, methods.untrained(config, train.image_shape, model))
  estimates['condense'] = scoring.measure(config, problem)
  blank = api.as_condensed(config, train, problem.canvases)
  with scoring.stand_in(config, train) as select:
    rows = list(contestants(config, train, blank, blank, select))
  for name, _, images in rows:
    estimates[f'evaluate-{name}'] = scoring.estimate(config, images, test, mesh)
  return {name: dataclasses.asdict(value) for name, value in estimates.items()}


def summary(
  config: ConfigDict, run: Run, train: Dataset, estimates: dict[str, Any], rows: list[dict]
) -> dict[str, Any]:
  """Returns the content of result.json."""
  timing, peak = run.timing('condense'), peak_memory_bytes()
  return {
    'title': f'{methods.LABELS[config.method.name]} on {train.name}, '
    f'{config.condensation.ipc} image(s) a class',
    'family': config.family,
    'method': config.method.name,
    'dataset': train.name,
    'ipc': config.condensation.ipc,
    'factor': config.condensation.factor,
    'seed': config.seed,
    'rows': rows,
    'seconds': {
      'condense': timing['seconds'],
      'evaluate': sum(row['seconds'] for row in rows),
      'total': run.seconds,
      'first_step': scoring.first_step(run),
    },
    'steps_per_second': timing['steps_per_second'],
    'flops_per_step': estimates['condense']['flops_per_step'],
    'peak_share': estimates['condense']['peak_share'],
    'program_bytes': estimates['condense']['peak_bytes'],
    'peak_memory_bytes': peak.bytes,
    'peak_memory_of': peak.of,
    **environment(),
    'config': config.to_dict(),
  }

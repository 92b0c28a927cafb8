"""A condensation experiment from start to report: estimate, condense, evaluate beside the
baselines, write the page."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxdistill import models
from jaxdistill.condensation import api, embedding, methods, page, scoring, settings
from jaxdistill.data import Dataset
from jaxdistill.experiment import estimates, results
from jaxdistill.experiment.results import Row
from jaxdistill.report import pictures
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training import parallel
from jaxdistill.training.run import Run

check = settings.check


def run(config: ConfigDict, run: Run) -> dict[str, Any]:
  """Runs the experiment of a config in a work dir, or continues it; returns what result.json
  holds."""
  train, validation, test = settings.datasets(config)
  mesh = parallel.make_mesh(config.run.devices)
  run.say(train.describe())
  run.say(test.describe())
  model = api.build_model(config, train.num_classes, train.image_shape)
  expected = estimates.estimate_once(
    run,
    lambda: estimate(config, train, test, mesh, model),
    ready={'experts': lambda: _are_experts_ready(config, train, run, model)},
  )

  pool = methods.prepare(config, train, run, mesh, model)
  problem = api.setup(config, train, mesh, pool)
  condensed, before = api.condense_config(config, train, run, mesh, problem)
  if run.workdir:
    condensed.save(run.workdir / 'condensed.npz')
    run.write_bytes('condensed.png', pictures.png_bytes(condensed.picture()))

  select = scoring.selector(
    config, train, run, lambda: embedding.of_config(config, train, run, mesh, model, pool)
  )
  rows = [
    scoring.row(config, run, mesh, name, label, images, test, validation)
    for name, label, images in contestants(config, train, condensed, before, select)
  ]
  result = summary(config, run, train, expected['condense'], rows)
  content = result.to_json()
  run.write_json('result.json', content)
  run.write_bytes('report.html', page.html(result, run, before, condensed, train).encode())
  return content


def dry_run(config: ConfigDict) -> str:
  """Returns the parameter table and the estimate of time and memory of a config, without starting
  anything."""
  train, _, test = settings.datasets(config)
  mesh = parallel.make_mesh(config.run.devices)
  model = api.build_model(config, train.num_classes, train.image_shape)
  variables = jax.eval_shape(
    model.init, jax.random.key(0), np.zeros((1, *train.image_shape), np.float32)
  )
  expected = estimate(config, train, test, mesh, model)
  return '\n\n'.join(
    [
      f'{train.describe()}\n{test.describe()}',
      models.parameter_table(variables),
      estimates.estimate_text(expected),
    ]
  )


def contestants(
  config: ConfigDict,
  train: Dataset,
  condensed: Condensed,
  before: Condensed,
  select: Callable[[str], np.ndarray],
):
  """Yields (name, label, set) for every row of the table: the method, then the baselines that the
  config asks for.

  `select` gives the positions of the real images that a baseline takes.
  """
  yield config.method.name, methods.LABELS[config.method.name], condensed
  yield from scoring.baseline_sets(config, train, select, before)


def _are_experts_ready(config, train, run, model) -> bool:
  network = methods if methods.prepares(config.method.name) else embedding
  return network.is_prepared(config, train, run, model)


def estimate(config: ConfigDict, train: Dataset, test: Dataset, mesh, model) -> dict[str, Any]:
  """Measures a few steps of every phase and extrapolates; nothing of it enters the run."""
  expected = {}
  if first := methods.preparation(config, train, mesh, model) or embedding.preparation(
    config, train, mesh, model
  ):
    expected['experts'] = estimates.measure(first, config.dtype)
  problem = api.setup(config, train, mesh, methods.untrained(config, train.image_shape, model))
  expected['condense'] = estimates.measure(problem, config.dtype)
  blank = api.as_condensed(config, train, problem.canvases)
  with scoring.stand_in(config, train) as select:
    rows = list(contestants(config, train, blank, blank, select))
  for name, _, images in rows:
    expected[f'evaluate-{name}'] = scoring.estimate(config, images, test, mesh)
  return {name: dataclasses.asdict(value) for name, value in expected.items()}


def summary(
  config: ConfigDict, run: Run, train: Dataset, expected: Mapping[str, Any], rows: Sequence[Row]
) -> results.Result:
  """Returns the content of result.json; `expected` is the estimate of condensing."""
  timing, section = run.timing('condense'), config.condensation
  return results.of_run(
    run,
    title=f'{methods.LABELS[config.method.name]} on {train.name}, {section.ipc} image(s) a class',
    family=config.family,
    dataset=train.name,
    seed=config.seed,
    rows=rows,
    seconds={'condense': timing['seconds'], 'evaluate': sum(row.seconds for row in rows)},
    config=config.to_dict(),
    method=config.method.name,
    ipc=section.ipc,
    factor=section.factor,
    steps_per_second=timing['steps_per_second'],
    flops_per_step=expected['flops_per_step'],
    peak_share=expected['peak_share'],
    program_bytes=expected['peak_bytes'],
  )

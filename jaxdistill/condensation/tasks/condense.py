"""A condensation experiment from start to report: estimate, condense, evaluate beside the
baselines, write the page."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill import files
from jaxdistill.condensation import (
  checks,
  embedding,
  methods,
  page,
  problem,
  scoring,
  sections,
)
from jaxdistill.condensation.problem import Condensing
from jaxdistill.condensation.protocols import Protocol
from jaxdistill.condensation.scoring import Contestant
from jaxdistill.data import Dataset
from jaxdistill.experiment import datasets, estimates, results
from jaxdistill.experiment.estimates import Phase
from jaxdistill.experiment.results import Row
from jaxdistill.numerics import settled
from jaxdistill.report import pictures
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training import parallel, pretrained
from jaxdistill.training.pretrained import Wanted
from jaxdistill.training.run import Run

check = checks.check


@settled()
def run(config: ConfigDict, run: Run) -> dict[str, Any]:
  """Runs the experiment of a config in a work dir, or continues it; returns what result.json
  holds."""
  fields, condensing = sections.of_config(config), Condensing.of_config(config)
  train, validation, test = datasets.load(fields.data, run)
  mesh = parallel.make_mesh(fields.run.devices)
  run.say(train.describe())
  run.say(test.describe())
  model = condensing.network(train)
  directory = pretrained.directory(run, fields.run.experts)
  expected = estimates.estimate_once(
    run,
    lambda: estimates.measure(image_phases(fields, condensing, train, mesh)),
    'what the images take',
    ready={
      'experts': lambda: pretrained.are_kept(
        directory, model, train, _wanted(fields), seed=fields.seed
      )
    },
    until='the images take',
  )
  estimate_rows = functools.partial(
    estimates.estimate_once,
    run,
    lambda: estimates.measure(score_phases(fields, condensing, train, test, mesh)),
    'what the table takes',
    name='estimate-scores',
    until='the table takes',
  )
  rows_at_last = estimates.is_short(expected)
  if not rows_at_last and not estimates.is_finished(run):
    estimate_rows()

  wanted = methods.wants(fields.method)
  pool = pretrained.train(
    run, model, train, wanted, seed=fields.seed, mesh=mesh, directory=directory
  )
  ready = problem.setup(condensing, train, mesh, pool)
  condensed, before = problem.condense(condensing, train, ready, run)
  if run.workdir:
    condensed.save(run.workdir / 'condensed.npz')
    run.write_bytes('condensed.png', pictures.png_bytes(condensed.picture()))
    run.say(f'pictures: {run.place}/condensed.png')
  if rows_at_last and not estimates.is_finished(run):
    estimate_rows()

  def features():
    return embedding.embed(
      fields.selection,
      train,
      model,
      run,
      seed=fields.seed,
      mesh=mesh,
      pool=pool,
      directory=directory,
    )

  select = scoring.selector(
    fields.condensation.storage, fields.evaluation, fields.seed, train, run, features
  )
  rows = [
    scoring.row(
      run,
      contestant,
      _protocol(fields, contestant),
      test,
      validation,
      mesh=mesh,
      rows=fields.run.rows,
    )
    for contestant in contestants(fields, train, condensed, before, select)
  ]
  result = summary(fields, run, train, expected['condense'], rows, config.to_dict())
  content = result.to_json()
  run.write_json('result.json', content)
  run.write_bytes('report.html', files.encoded(page.html(result, run, before, condensed, train)))
  return content


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


def contestants(
  fields: sections.CondenseConfig,
  train: Dataset,
  condensed: Condensed,
  before: Condensed,
  select: Callable[[str], np.ndarray],
) -> Iterator[Contestant]:
  """Yields the set of every row of the table: the method, then the baselines that are asked for.

  `select` gives the positions of the real images that a baseline takes.
  """
  name, section = fields.method['name'], fields.evaluation
  yield Contestant(name, methods.LABELS[name], condensed)
  yield from scoring.baseline_sets(
    section.baselines, train, fields.condensation.storage, section.recipe, select, before
  )


def _protocol(fields: sections.CondenseConfig, contestant: Contestant) -> Protocol:
  return scoring.protocol(
    fields.evaluation,
    contestant.images,
    seed=fields.seed,
    model=fields.model,
    dtype=fields.dtype,
    data=fields.data.name,
  )


def _wanted(fields: sections.CondenseConfig) -> Wanted | None:
  """Returns the networks that are trained before all else: the method's, of which the first selects
  real images too, or one for the selection alone."""
  return methods.wants(fields.method) or fields.selection.wants(fields.evaluation.baselines)


def phases(config: ConfigDict, mesh: Mesh | None) -> Iterator[Phase]:
  """Yields the phases of a run of this config on the devices of a mesh; nothing of it enters a
  run."""
  fields, condensing = sections.of_config(config), Condensing.of_config(config)
  train, _, test = datasets.load(fields.data)
  yield from image_phases(fields, condensing, train, mesh)
  yield from score_phases(fields, condensing, train, test, mesh)


def image_phases(
  fields: sections.CondenseConfig,
  condensing: Condensing,
  train: Dataset,
  mesh: Mesh | None,
) -> Iterator[Phase]:
  """Yields what it takes to the images."""
  model = condensing.network(train)
  first = pretrained.setup(model, train, _wanted(fields), seed=fields.seed, mesh=mesh)
  if first:
    yield Phase('experts', first, fields.dtype)
  pool = pretrained.untrained(model, train.image_shape, methods.wants(fields.method))
  yield Phase('condense', problem.setup(condensing, train, mesh, pool), fields.dtype)


def score_phases(
  fields: sections.CondenseConfig,
  condensing: Condensing,
  train: Dataset,
  test: Dataset,
  mesh: Mesh | None,
) -> Iterator[Phase]:
  """Yields what it takes from the images to the table; the time does not depend on them."""
  storage, (height, width, channels) = fields.condensation.storage, train.image_shape
  shape = (train.num_classes, storage.ipc, height, width, channels)
  blank = condensing.wrap(np.full(shape, 0.5, np.float32), train)
  with scoring.stand_in(storage, fields.evaluation, fields.seed, train) as select:
    sets = list(contestants(fields, train, blank, blank, select))
  for contestant in sets:
    protocol = _protocol(fields, contestant)
    yield scoring.phase(f'evaluate-{contestant.name}', contestant.images, test, protocol, mesh)


def summary(
  fields: sections.CondenseConfig,
  run: Run,
  train: Dataset,
  expected: Mapping[str, Any],
  rows: Sequence[Row],
  config: Mapping[str, Any],
) -> results.Result:
  """Returns the content of result.json; `expected` is the estimate of condensing, `config` what the
  file keeps of the config."""
  timing, storage = run.timing('condense'), fields.condensation.storage
  name = fields.method['name']
  return results.of_run(
    run,
    title=f'{methods.LABELS[name]} on {train.name}, {storage.ipc} image(s) a class',
    family=fields.family,
    dataset=train.name,
    seed=fields.seed,
    rows=rows,
    seconds={'condense': timing['seconds'], 'evaluate': sum(row.seconds for row in rows)},
    config=config,
    method=name,
    ipc=storage.ipc,
    factor=storage.factor,
    steps_per_second=timing['steps_per_second'],
    flops_per_step=expected['flops_per_step'],
    peak_share=expected['peak_share'],
    program_bytes=expected['peak_bytes'],
  )

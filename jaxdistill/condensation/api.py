"""Condensing in Python: from a data set and the name of a method to a condensed set."""

import os
from collections.abc import Mapping
from typing import Any

from jaxdistill import config as configs
from jaxdistill import errors
from jaxdistill.condensation import checks, methods, problem
from jaxdistill.condensation.problem import Condensing
from jaxdistill.data import Dataset, presets
from jaxdistill.experiment import arguments, checking, datasets
from jaxdistill.numerics import settled
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training import parallel, pretrained


@settled()
def condense(
  train: Dataset,
  method: str = 'm3d',
  ipc: int = 10,
  seed: int = 0,
  *,
  factor: int = 0,
  iterations: int = 0,
  quick: bool = False,
  overrides: Mapping[str, Any] | None = None,
  workdir: str | os.PathLike | None = None,
  progress: bool = False,
) -> Condensed:
  """Condenses a labelled image set into `ipc` canvases a class.

  Args:
    train: the real images, see `data.load`.
    method: 'm3d', 'dance' or 'dm', or the .py file of a config of your own (which registers its
      method).
    ipc: canvases a class.
    seed: of everything random.
    factor: cells along a canvas' side, factor^2 training images a canvas; 0: the method's own for
      this set.
    iterations: 0: the method's own.
    quick: a smoke run of a small network and a few iterations; the set means nothing.
    overrides: further fields of the method's config by dotted name, such as {'model.depth': 4}.
    workdir: keeps checkpoints and metrics and resumes from them; None: in memory.
    progress: whether to draw a progress bar.

  Returns:
    The condensed set.

  Raises:
    UserError: for a method, field or value that does not exist, a file with a config of another
      family or task, or images too few for `ipc`.

  Source: the configs of the methods, `configs/condensation/`, whose headers name the papers.
  """
  errors.seed(seed)
  errors.whole('ipc', ipc, at_least=1)
  errors.whole_numbers(factor=factor, iterations=iterations)
  if not isinstance(train, Dataset):
    raise errors.UserError(
      'condense needs the training images as a Dataset, the first of the two that '
      'data.load(name) returns.'
    )
  if not isinstance(method, str):
    raise errors.UserError(f'method is the name of one, or a .py file with one; it is {method!r}.')
  if not method.endswith('.py'):
    methods.find(method)
    method = f'condensation/{method}'
  given = dict(data=presets.offered(train.name), ipc=ipc)
  if factor:
    given['factor'] = factor
  if quick:
    given['quick'] = True
  config = configs.load(method, given)
  checking.check_single(config, 'condensation', method)
  if config.task != 'condense':
    raise errors.UserError(
      f'{method} is a config of the task {config.task}; condense takes one of the task condense.'
    )
  # Only condensing: nothing is held out of the images that are given, and no baseline is trained.
  config.data.update(name=train.name, validation_share=0.0)
  config.evaluation.baselines = ()
  fixed = {'seed': seed}
  if iterations:
    fixed['condensation.iterations'] = iterations
  for key, value in arguments.overrides(fixed, overrides).items():
    configs.override(config, key, value)
  checks.check_fields(config)
  checks.check_values(config)
  checks.check_parts(config, train)
  condensing, mesh = Condensing.of_config(config), parallel.make_mesh(config.run.devices)
  with datasets.opened(workdir, config, train, progress=progress) as run:
    pool = pretrained.train(
      run,
      condensing.network(train),
      train,
      methods.wants(condensing.method),
      seed=condensing.seed,
      mesh=mesh,
      directory=pretrained.directory(run, config.run.experts),
    )
    ready = problem.setup(condensing, train, mesh, pool)
    condensed, _ = problem.condense(condensing, train, ready, run)
  return condensed

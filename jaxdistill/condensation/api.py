"""Condensing in Python: from a config and a data set to a condensed set."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill import config as configs
from jaxdistill import errors, models
from jaxdistill.condensation import methods, settings
from jaxdistill.data import Dataset, augment, samplers
from jaxdistill.synthesis import decode, engine
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training import loop, parallel, problem
from jaxdistill.training.run import Run, environment


@dataclasses.dataclass(frozen=True, eq=False)
class Condensation(problem.Problem):
  """A condensation ready for the loop, and the canvases [classes, ipc, h, w, c] it starts from."""

  canvases: np.ndarray | None = None


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
    UserError: for a method, field or value that does not exist, or images too few for `ipc`.

  Source: the configs of the methods, `configs/condensation/`, whose headers name the papers.
  """
  if not isinstance(train, Dataset):
    raise errors.UserError(
      'condense needs the training images as a Dataset, the first of the two that '
      'data.load(name) returns.'
    )
  if not method.endswith('.py'):
    methods.find(method)
    method = f'condensation/{method}'
  # A set that is no preset by its name is one in memory, of which nothing is known beforehand.
  arguments = dict(data=train.name if train.name in settings.PRESETS else '', ipc=ipc)
  if factor:
    arguments['factor'] = factor
  if quick:
    arguments['quick'] = True
  config = configs.load(method, arguments)
  # Only condensing: nothing is held out of the images that are given, and no baseline is trained.
  config.data.update(name=train.name, validation_share=0.0)
  config.evaluation.baselines = ()
  changes = {'seed': seed, **(overrides or {})}
  if iterations:
    changes = {'condensation.iterations': iterations} | changes
  for key, value in changes.items():
    configs.override(config, key, value)
  settings.check_fields(config)
  settings.check_values(config)
  settings.check_parts(config, train)
  with Run(workdir, config, progress=progress) as run:
    made, _ = condense_config(config, train, run, parallel.make_mesh(config.run.devices))
  return made


def build_model(config: ConfigDict, num_classes: int, image_shape: tuple[int, int, int]):
  """Returns the network that a config names, computing in the config's dtype."""
  return models.build({**config.model.to_dict(), 'dtype': config.dtype}, num_classes, image_shape)


def setup(
  config: ConfigDict,
  train: Dataset,
  mesh: Mesh | None,
  pool: Any = (),
  numbers: Sequence[int] | None = None,
  most: int = 0,
) -> Condensation:
  """Builds the condensation that a config describes and places data, canvases and the method's
  networks on the devices.

  Where `train` is a part of a larger set, `numbers` are those of its classes there (the random
  draws of a class follow its number) and `most` the images of the largest class there (so that all
  parts share one program).
  """
  section = config.condensation
  model = build_model(config, train.num_classes, train.image_shape)
  options = engine.Settings(
    **{name: section[name] for name in engine.Settings.__dataclass_fields__ if name in section},
    strategy=_strategy(config, train),
    classes_at_once=config.run.classes_at_once,
  )
  functions = engine.make(
    methods.plugs(config.method, model, train.image_shape),
    options,
    model,
    num_classes=train.num_classes,
    mean=train.mean,
    std=train.std,
    mesh=mesh,
  )
  images, counts = samplers.class_major(train, most)
  key_canvases, key = jax.random.split(jax.random.key(config.seed))
  canvases = first_canvases(config, train, key_canvases, section.init, images, counts, numbers)
  state = engine.start(functions, jax.random.key_data(key), canvases, mesh)
  source = engine.source(functions, state, section.iterations, images, counts, mesh, pool, numbers)
  return Condensation(
    functions.step, state, source, section.iterations, rows=train.num_classes, canvases=canvases
  )


def first_canvases(
  config: ConfigDict,
  train: Dataset,
  key: jax.Array,
  init: str,
  images: np.ndarray,
  counts: np.ndarray,
  numbers: Sequence[int] | None = None,
) -> np.ndarray:
  """Returns starting canvases [classes, ipc, h, w, c] of the given kind ('mix', 'real',
  'noise')."""
  section = config.condensation
  return np.asarray(
    decode.first_canvases(
      key,
      images,
      counts,
      ipc=section.ipc,
      factor=section.factor,
      init=init,
      mean=train.mean,
      std=train.std,
      numbers=numbers,
    )
  )


def condense_config(
  config: ConfigDict,
  train: Dataset,
  run: Run,
  mesh: Mesh | None,
  condensation: Condensation | None = None,
  phase: str = 'condense',
) -> tuple[Condensed, Condensed]:
  """Condenses as a config says; returns (the condensed set, the canvases that it started from).

  `phase` names it in the run: metrics, checkpoints and resuming are the loop's.
  """
  if condensation is None:
    model = build_model(config, train.num_classes, train.image_shape)
    condensation = setup(config, train, mesh, methods.prepare(config, train, run, mesh, model))
  before = as_condensed(config, train, condensation.canvases)
  state = loop.fit(run, phase, condensation)
  images = np.asarray(parallel.gather(state.images))[: train.num_classes]
  if config.condensation.space == 'normalised':
    images = np.asarray(augment.denormalise(images, train.mean, train.std))
  else:
    images = np.clip(images, 0, 1)
  return as_condensed(config, train, images), before


def as_condensed(
  config: ConfigDict, train: Dataset, canvases: np.ndarray, factor: int | None = None
) -> Condensed:
  """Wraps canvases [classes, ipc, h, w, c] with all that is needed to use them."""
  section = config.condensation
  return Condensed(
    canvases.reshape(-1, *canvases.shape[2:]),
    np.repeat(np.arange(len(canvases)), canvases.shape[1]),
    train.class_names,
    train.mean,
    train.std,
    factor=section.factor if factor is None else factor,
    flip=train.flip,
    dataset=train.name,
    method=config.method.name,
    recipe=config.evaluation.recipe,
    config=config.to_dict(),
    versions=environment()['versions'],
    augmentation={'strategy': _strategy(config, train), 'composition': section.composition},
  )


def _strategy(config: ConfigDict, train: Dataset) -> str:
  """The siamese augmentation: the config's, unmirrored where the images lose their class."""
  strategy = config.condensation.augmentation
  return strategy if train.flip else augment.unmirrored(strategy)

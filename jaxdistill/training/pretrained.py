"""Experts: networks trained on the real set, of which the weights at the start and at the end are
kept.

They depend on the real set, the network and their recipe, not on how a set is condensed with them;
so they are trained once and found again by a hash of all that made them.
"""

import dataclasses
import pathlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax import serialization
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill import files
from jaxdistill.data import Dataset
from jaxdistill.data.examples import Examples
from jaxdistill.training import classifier, parallel
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.problem import Problem
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run
from jaxdistill.training.schedules import Schedule

# DANCE's public code: colour and crop, CutMix for half of the batches and therefore no cutout.
RECIPE = Recipe(
  'expert',
  batch=64,
  epochs=60,
  schedule=Schedule('multistep', 0.01, drops=(2 / 3, 5 / 6), drop=0.2),
  optimizer=Optimizer('sgd', momentum=0.9, weight_decay=5e-4),
  strategy='color_crop',
  composition='idc',
  cutmix=0.5,
)
_SCORED = 2000  # training images that the experts are scored on


class Pool(NamedTuple):
  """K networks at the start and at the end of their training: variables with a leading axis K."""

  initial: Any
  final: Any


def train(
  run: Run,
  model: nn.Module,
  images: Dataset,
  *,
  number: int,
  epochs: int = 0,
  batch: int = 0,
  steps: int = 0,
  seed: int = 0,
  mesh: Mesh | None = None,
  directory: pathlib.Path | None = None,
) -> Pool:
  """Trains `number` networks together on a real set, or reads them back.

  Args:
    run: keeps metrics and checkpoints under the phase 'experts'.
    model: the network.
    images: the real training set.
    number: K.
    epochs: passes over the set; 0: the recipe's 60.
    batch: images a step; 0: the recipe's 64.
    steps: training steps; 0: from the epochs.
    seed: of weights, order and augmentation.
    mesh: devices over which the networks are spread.
    directory: where finished pools are kept for other runs; None: nowhere.

  Returns:
    The pool, as numpy arrays.

  Source: phase 1 of DANCE (Zhang et al., IJCAI 2024) with its public code's recipe.
  """
  options = dict(number=number, epochs=epochs, batch=batch, steps=steps, seed=seed)
  initial = classifier.setup(**_problem(model, images, **options, mesh=mesh)).state.variables
  initial = jax.tree.map(lambda a: np.asarray(parallel.gather(a))[:number], initial)
  path = directory and _path(directory, model, images, options)

  def compute():
    scored = images.take(
      np.linspace(0, len(images) - 1, min(_SCORED, len(images))).astype(int), 'train sample'
    )
    final = classifier.train(
      run, 'experts', **_problem(model, images, **options, mesh=mesh), test=scored
    ).variables
    return Pool(initial, jax.tree.map(lambda a: np.asarray(parallel.gather(a)), final))

  template = Pool(initial, initial)
  pool = run.kept(
    path,
    compute,
    serialization.to_bytes,
    lambda content: serialization.from_bytes(template, content),
  )
  # A run may train several pools; an old checkpoint must not be taken for the next one's.
  run.discard('experts')
  return pool


def are_kept(directory: pathlib.Path | None, model: nn.Module, images: Dataset, **options) -> bool:
  """Whether `train` would find these experts in its directory; options as there."""
  return directory is not None and _path(directory, model, images, options).is_file()


def _path(directory, model, images, options):
  return directory / f'{identity(model, images, **options)}.msgpack'


def setup(model: nn.Module, images: Dataset, **options) -> Problem:
  """Returns the training itself, ready for the loop or for an estimate; options as for `train`."""
  return classifier.setup(**_problem(model, images, **options))


def directory(config: ConfigDict, run: Run) -> pathlib.Path | None:
  """Returns where the runs of a config keep experts: `run.experts`, else beside the work dir; None
  in memory."""
  return run.workdir and pathlib.Path(config.run.experts or run.shared / 'experts')


def _problem(model, images, *, number, epochs=0, batch=0, steps=0, seed=0, mesh=None):
  recipe = _recipe(epochs, batch)
  return dict(
    model=model,
    examples=Examples.of(images),
    recipe=recipe,
    networks=number,
    seed=seed,
    mesh=mesh,
    num_steps=steps or recipe.steps(len(images)),
  )


def _recipe(epochs, batch):
  return dataclasses.replace(RECIPE, epochs=epochs or RECIPE.epochs, batch=batch or RECIPE.batch)


def untrained(model: nn.Module, image_shape: tuple[int, int, int], number: int) -> Pool:
  """Returns a pool of the right form without any training, for estimates."""
  keys = jax.random.split(jax.random.key(0), number)
  variables = jax.jit(
    jax.vmap(lambda key: model.init(key, np.zeros((1, *image_shape), np.float32)))
  )(keys)
  return Pool(variables, variables)


def identity(
  model: nn.Module,
  images: Dataset,
  number: int,
  epochs: int = 0,
  batch: int = 0,
  steps: int = 0,
  seed: int = 0,
) -> str:
  """Returns the hash of everything that decides what the experts become."""
  recipe = _recipe(epochs, batch)
  return files.content_hash(
    (images.images, images.labels),
    dict(
      mean=images.mean,
      std=images.std,
      model=repr(model),
      recipe=recipe.described(),
      number=number,
      seed=seed,
      num_steps=steps or recipe.steps(len(images)),
    ),
  )

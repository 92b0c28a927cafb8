"""The features by which a config's selection baselines choose real images."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill.condensation import baselines
from jaxdistill.data import Dataset
from jaxdistill.training import features, pretrained
from jaxdistill.training.problem import Problem
from jaxdistill.training.run import Run

NETWORKS = ('trained', 'random')
# Folded into the seed's key for the weights of a random network; the canvases take 0 and the
# selection 1.
_WEIGHTS = 2


def of_config(
  config: ConfigDict, train: Dataset, run: Run, mesh: Mesh | None, model: nn.Module, pool: Any = ()
) -> np.ndarray:
  """Returns the features by which a config's selection baselines choose: the embedding of `train`
  under one network.

  The network is the one that condenses. `selection.network` says whether it is trained on `train`
  first or stays random. A trained one is an expert, found again by other runs; if the method
  trained experts, `pool`, it is the first of them.
  """
  if config.selection.network == 'random':
    key = jax.random.fold_in(jax.random.key(config.seed), _WEIGHTS)
    variables = jax.jit(model.init)(key, np.zeros((1, *train.image_shape), np.float32))
  else:
    if not isinstance(pool, pretrained.Pool):
      pool = pretrained.train(
        run,
        model,
        train,
        **_options(config),
        mesh=mesh,
        directory=pretrained.directory(config, run),
      )
    variables = jax.tree.map(lambda a: a[0], pool.final)
  run.say(f'Embedding {len(train):,} images to select from.')
  return features.embed(model, variables, train, mesh=mesh, progress=run.progress)


def is_prepared(config: ConfigDict, train: Dataset, run: Run, model: nn.Module) -> bool:
  """Whether the network that `of_config` trains, where the method trains no experts, is there
  already; for estimates."""
  return pretrained.are_kept(pretrained.directory(config, run), model, train, **_options(config))


def preparation(
  config: ConfigDict,
  train: Dataset,
  mesh: Mesh | None,
  model: nn.Module,
  names: Sequence[str] | None = None,
) -> Problem | None:
  """Returns the training that `of_config` needs where the method trains no experts; for estimates.

  None if none of the baselines `names` needs it; they are those of the config unless given.
  """
  names = config.evaluation.baselines if names is None else names
  if config.selection.network == 'random' or not any(map(baselines.needs_features, names)):
    return None
  return pretrained.setup(model, train, **_options(config), mesh=mesh)


def _options(config):
  section = config.selection
  return dict(number=1, epochs=section.epochs, steps=section.steps, seed=config.seed)

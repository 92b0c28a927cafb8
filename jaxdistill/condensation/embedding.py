"""What a network sees in real images: the features that data selection compares."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from ml_collections import ConfigDict

from jaxdistill.condensation import baselines, experts
from jaxdistill.data import Dataset, augment
from jaxdistill.training import classifier, parallel
from jaxdistill.training.progress import Bar
from jaxdistill.training.run import Run

NETWORKS = ('trained', 'random')
_BATCH = 500
# Folded into the seed's key for the weights of a random network; the canvases take 0 and the
# selection 1.
_WEIGHTS = 2


def embed(
  model: nn.Module,
  variables: Any,
  images: Dataset,
  *,
  batch: int = _BATCH,
  mesh: Mesh | None = None,
  progress: bool = False,
) -> np.ndarray:
  """Returns the network's embedding of every image, in batches of one compiled size.

  Args:
    model: a network of `models.build`.
    variables: its weights.
    images: the real images, normalised here with the statistics of the set.
    batch: images a call.
    mesh: devices that share a batch, each process reading what its own ones take; None: the default
      device.
    progress: whether to draw a bar.

  Returns:
    float32 [n, d] on the host.

  >>> from jaxdistill import data, models
  >>> train, _ = data.load('digits', image_size=8)
  >>> model = models.build({'name': 'mlp', 'width': 4, 'depth': 1}, 10, (8, 8, 1))
  >>> embed(model, model.init(jax.random.key(0), np.zeros((1, 8, 8, 1))), train.take(range(5)),
  ...   batch=2).shape
  (5, 4)
  """
  forward = embedder(model, images.mean, images.std)
  devices = 1 if mesh is None else mesh.size
  size = -(-min(batch, len(images)) // devices) * devices
  rows = np.arange(size)
  if devices > 1:
    rows, variables = parallel.own_rows(size, mesh), parallel.replicate(variables, mesh)
    forward = parallel.per_device(
      forward,
      mesh,
      (PartitionSpec(), PartitionSpec(mesh.axis_names[0])),
      PartitionSpec(mesh.axis_names[0]),
    )
  else:
    forward = jax.jit(forward)
  bar = Bar('embed', -(-len(images) // size), enabled=progress)
  parts = []
  for number, start in enumerate(range(0, len(images), size)):
    # The last batch repeats the last image.
    pixels = images.images[np.minimum(start + rows, len(images) - 1)]
    features = forward(
      variables, pixels if devices == 1 else parallel.shard_own(pixels, mesh, size)
    )
    parts.append(np.asarray(parallel.gather(features)))
    bar.update(number + 1)
  bar.close()
  return np.concatenate(parts)[: len(images)]


def embedder(
  model: nn.Module, mean: Sequence[float], std: Sequence[float]
) -> Callable[[Any, np.ndarray], jax.Array]:
  """Returns the function (variables, images) -> float32 [n, d], not compiled: the embedding of
  uint8 or unit-range images.

  >>> from jaxdistill import models
  >>> model = models.build({'name': 'mlp', 'width': 4, 'depth': 1}, 10, (8, 8, 1))
  >>> variables = model.init(jax.random.key(0), np.zeros((1, 8, 8, 1)))
  >>> embedder(model, (0.5,), (0.25,))(variables, np.zeros((3, 8, 8, 1), np.uint8)).shape
  (3, 4)
  """

  def forward(variables, images):
    _, features = model.apply(variables, augment.normalise(images, mean, std), train=False)
    return features['embedding'].astype(np.float32)

  return forward


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
    if not isinstance(pool, experts.Pool):
      pool = experts.train(
        run, model, train, **_options(config), mesh=mesh, directory=experts.directory(config, run)
      )
    variables = jax.tree.map(lambda a: a[0], pool.final)
  run.say(f'Embedding {len(train):,} images to select from.')
  return embed(model, variables, train, mesh=mesh, progress=run.progress)


def is_prepared(config: ConfigDict, train: Dataset, run: Run, model: nn.Module) -> bool:
  """Whether the network that `of_config` trains, where the method trains no experts, is there
  already; for estimates."""
  return experts.are_kept(experts.directory(config, run), model, train, **_options(config))


def preparation(
  config: ConfigDict,
  train: Dataset,
  mesh: Mesh | None,
  model: nn.Module,
  names: Sequence[str] | None = None,
) -> classifier.Problem | None:
  """Returns the training that `of_config` needs where the method trains no experts; for estimates.

  None if none of the baselines `names` needs it; they are those of the config unless given.
  """
  names = config.evaluation.baselines if names is None else names
  if config.selection.network == 'random' or not any(map(baselines.needs_features, names)):
    return None
  return experts.setup(model, train, **_options(config), mesh=mesh)


def _options(config):
  section = config.selection
  return dict(number=1, epochs=section.epochs, steps=section.steps, seed=config.seed)

"""What a network sees in images: the embedding of every one, in batches of one compiled size."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxdistill import errors
from jaxdistill.data import Dataset, augment
from jaxdistill.numerics import settled, steady
from jaxdistill.training import interrupt, parallel
from jaxdistill.training.progress import Bar

_BATCH = 500


@settled()
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
  batch = errors.whole('batch', batch, at_least=1)
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
    interrupt.check()
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

  @steady
  def forward(variables, images):
    _, features = model.apply(variables, augment.normalise(images, mean, std), train=False)
    return features['embedding'].astype(np.float32)

  return forward

"""What a network sees in images: the embedding of every one, in batches of one compiled size."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxdistill import errors
from jaxdistill.data import Dataset, augment
from jaxdistill.data.transform import Transform
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
  view: Transform | None = None,
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
    view: what is done to the normalised images first, without any chance: a crop out of the middle,
      for example; None: nothing.

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
  forward = _compiled(model, tuple(images.mean), tuple(images.std), view, mesh)
  devices = 1 if mesh is None else mesh.size
  size = -(-min(batch, len(images)) // devices) * devices
  rows = np.arange(size)
  if devices > 1:
    rows, variables = parallel.own_rows(size, mesh), parallel.replicate(variables, mesh)
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


def in_chunks(forward: Callable[[np.ndarray], Any], rows: int, size: int, axis: int = 0) -> Any:
  """Returns what a compiled function makes of all rows, in calls of one size: a tree of arrays on
  the host.

  Args:
    forward: positions int [size] -> a tree of arrays, whose axis `axis` is that of the positions.
      The last call repeats the last row, which is cut off again.
    rows: n, at least 1.
    size: of a call, at most; all rows where they are fewer.
    axis: of the rows.

  >>> in_chunks(lambda positions: 10 * positions, rows=3, size=2).tolist()
  [0, 10, 20]
  """
  size, parts = min(size, rows), []
  for start in range(0, rows, size):
    given = forward(np.minimum(np.arange(start, start + size), rows - 1))
    real = (slice(None),) * axis + (slice(rows - start),)
    parts.append(jax.tree.map(lambda leaf, real=real: np.asarray(leaf)[real], given))
    interrupt.check()
  return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis), *parts)


def embedder(
  model: nn.Module, mean: Sequence[float], std: Sequence[float], view: Transform | None = None
) -> Callable[[Any, np.ndarray], jax.Array]:
  """Returns the function (variables, images) -> float32 [n, d], not compiled: the embedding of
  uint8 or unit-range images, under the `view` of `embed`.

  >>> from jaxdistill import models
  >>> model = models.build({'name': 'mlp', 'width': 4, 'depth': 1}, 10, (8, 8, 1))
  >>> variables = model.init(jax.random.key(0), np.zeros((1, 8, 8, 1)))
  >>> embedder(model, (0.5,), (0.25,))(variables, np.zeros((3, 8, 8, 1), np.uint8)).shape
  (3, 4)
  """

  @steady
  def forward(variables, images):
    return embedding(model, variables, augment.normalise(images, mean, std), view)

  return forward


def embedding(
  model: nn.Module, variables: Any, images: jax.Array, view: Transform | None = None
) -> jax.Array:
  """Returns the embedding of normalised images under the `view` of `embed`, float32 [n, d], not
  compiled.

  >>> from jaxdistill import models
  >>> model = models.build({'name': 'mlp', 'width': 4, 'depth': 1}, 10, (8, 8, 1))
  >>> variables = model.init(jax.random.key(0), np.zeros((1, 8, 8, 1)))
  >>> embedding(model, variables, np.zeros((3, 8, 8, 1), np.float32)).shape
  (3, 4)
  """
  images = images if view is None else view(None, images)
  _, features = model.apply(variables, images, train=False)
  return features['embedding'].astype(np.float32)


@functools.lru_cache(maxsize=32)
def _compiled(model, mean, std, view, mesh):
  """The compiled `embedder`, kept for the next network of this form."""
  forward = embedder(model, mean, std, view)
  if mesh is None or mesh.size == 1:
    return jax.jit(forward)
  share = PartitionSpec(mesh.axis_names[0])
  return parallel.per_device(forward, mesh, (PartitionSpec(), share), share)

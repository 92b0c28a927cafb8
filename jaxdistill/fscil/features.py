"""Features of frozen encoders, computed once: all that most learners read of an image.

Eval mode, the test pipeline for every image (a memory of features seen otherwise would not fit the
test features), one row of the result a base network.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from jaxdistill.data import Dataset
from jaxdistill.data.crops import CentreCrop
from jaxdistill.data.transform import Transform
from jaxdistill.errors import UserError
from jaxdistill.fscil.learner import Start
from jaxdistill.training import features


def zoomed(zoom: int, image_shape: Sequence[int]) -> Transform | None:
  """Returns the view of the test pipeline: images are scaled to `zoom` pixels along their shorter
  side, and what fits is cut out of the middle; None for 0: images stay as they are.

  >>> zoomed(36, (32, 32, 3)), zoomed(0, (32, 32, 3))
  (CentreCrop(size=32, resize=36, method='bilinear'), None)

  Raises:
    UserError: `zoom` is smaller than the images.
  """
  side = min(image_shape[:2])
  if 0 < zoom < side:
    raise UserError(
      f'base_training.zoom is {zoom}, and the images have {side} pixels along their shorter side, '
      f'which are cut out of the scaled ones: take {side} or more, or 0 for images as they are.'
    )
  return CentreCrop(side, resize=zoom, method='bilinear') if zoom else None


def encode(
  network: nn.Module,
  variables: Any,
  images: Dataset,
  *,
  view: Transform | None = None,
  batch: int = 500,
  mesh: Mesh | None = None,
  progress: bool = False,
) -> np.ndarray:
  """Returns what S encoders see in images: float32 [S, n, d].

  Args:
    network: the base network, (logits, features with 'embedding').
    variables: of S of them, leaves [S, ...].
    images: n of them, normalised with their set's statistics.
    view: of the test pipeline, such as the zoomed `CentreCrop(32, resize=36)`; None: as they are.
    batch: images a call.
    mesh: devices that share a batch; None: the default one.
    progress: whether to draw bars.

  >>> from jaxdistill import data, models
  >>> train, _ = data.load('digits', image_size=8)
  >>> network = models.build({'name': 'mlp', 'width': 4, 'depth': 1}, 10, (8, 8, 1))
  >>> init = lambda key: network.init(key, np.zeros((1, 8, 8, 1)))
  >>> variables = jax.vmap(init)(jax.random.split(jax.random.key(0), 2))
  >>> encode(network, variables, train.take(range(5))).shape
  (2, 5, 4)
  """
  options = dict(batch=batch, mesh=mesh, progress=progress, view=view)
  seeds = len(jax.tree.leaves(variables)[0])
  return np.stack(
    [features.embed(network, of_seed(variables, seed), images, **options) for seed in range(seeds)]
  )


def of_seed(variables: Any, seed: int) -> Any:
  """Returns the variables of one of S networks, leaves [S, ...]."""
  return jax.tree.map(lambda leaf: leaf[seed], variables)


def class_means(
  vectors: np.ndarray, labels: Sequence[int], num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the means by class and how many vectors each is of; 0 for classes without any.

  Args:
    vectors: [S, n, d].
    labels: int [n].
    num_classes: C.

  Returns:
    (float32 [S, C, d], int32 [S, C]).

  >>> means, counts = class_means(np.array([[[1.0], [3.0], [5.0]]]), [0, 0, 2], 3)
  >>> means.ravel().tolist(), counts.tolist()
  ([2.0, 0.0, 5.0], [[2, 0, 1]])
  """
  vectors, labels = np.asarray(vectors), np.asarray(labels)
  means = np.zeros((len(vectors), num_classes, vectors.shape[-1]), np.float32)
  for label in np.unique(labels):
    means[:, label] = vectors[:, labels == label].mean(1, dtype=np.float64)
  counts = np.bincount(labels, minlength=num_classes).astype(np.int32)
  return means, np.repeat(counts[None], len(vectors), 0)


def leaves(
  vectors: np.ndarray,
  labels: Sequence[int],
  num_classes: int,
  variables: Any,
  whole: bool = False,
) -> Start:
  """Returns what the base session leaves: class means, and the head of the base networks.

  Args:
    vectors: [S, n, d], features of all base images.
    labels: int [n], columns.
    num_classes: C.
    variables: of the S base networks; their parameters may have a sub-tree 'head'.
    whole: whether to hand the whole networks on, for learners that read images.
  """
  means, counts = class_means(vectors, labels, num_classes)
  head = variables['params'].get('head')
  return Start(head, means, counts, variables if whole else None)

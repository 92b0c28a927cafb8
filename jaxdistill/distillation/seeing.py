"""What networks answer to a set of images outside of training, each behind the view that it
reads."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxdistill import draws
from jaxdistill.data import augment, degradations
from jaxdistill.data.chain import Chain, Normalise
from jaxdistill.data.transform import Transform
from jaxdistill.numerics import settled
from jaxdistill.training import features, parallel, together

_BATCH = 500  # images a call, fewer where they have more than 32x32 pixels
_PIXELS = _BATCH * 32 * 32


@dataclasses.dataclass(frozen=True)
class Seeing:
  """A network behind a view, called as any network is, on images in [0, 1].

  Attributes:
    model: with `apply(variables, images, train=...)` -> (logits, features).
    transforms: of the view.
    mean, std: per channel, by which it is normalised at its end.
  """

  model: Any
  transforms: tuple[Transform, ...]
  mean: tuple[float, ...]
  std: tuple[float, ...]

  def apply(self, variables: Any, images: jax.Array, **options: Any) -> tuple[jax.Array, dict]:
    """Returns what the network makes of the view of some images."""
    return self.model.apply(variables, self.view(images), **options)

  def embedding(self, variables: Any, images: jax.Array) -> jax.Array:
    """Returns the embeddings [n, d] of images, uint8 or in [0, 1]."""
    return self.apply(variables, images, train=False)[1]['embedding']

  def view(self, images: jax.Array) -> jax.Array:
    """Returns the normalised view of images, uint8 or in [0, 1]: what an operation would draw is
    fixed for every image, by its pixels alone, wherever it is seen."""
    chain = Chain(self.transforms, Normalise(self.mean, self.std), flip=True, last=True)
    unit = augment.unit(images)
    if any(transform.random for transform in self.transforms):
      return chain.by_row(degradations.keys_of(unit), unit)
    key = draws.key(0)
    return chain(key, unit, chain.draw(key))


@settled()
def outputs(
  seeing: Seeing,
  variables: Any,
  images: Any,
  names: Sequence[str],
  *,
  networks: int = 0,
) -> dict[str, np.ndarray]:
  """Returns outputs of one network, or of several of one form, for every image.

  Args:
    seeing: the network and its view.
    variables: of one network; with `networks` those of several, leading axis at least so long.
    images: uint8 [n, h, w, c].
    names: 'logits', or those of features.
    networks: R; 0: `variables` are those of one network.

  Returns:
    float32 [n, ...] by name, or [R, n, ...].
  """
  forward = _compiled(seeing, tuple(names), bool(networks))
  variables = jax.tree.map(parallel.local, jax.tree.map(jax.numpy.asarray, variables))
  if networks:
    variables = jax.tree.map(lambda leaf: leaf[:networks], variables)
  height, width = images.shape[1:3]
  size = max(1, min(_BATCH, _PIXELS // (height * width)))
  return features.in_chunks(
    lambda rows: forward(variables, images[rows]), len(images), size, axis=1 if networks else 0
  )


@functools.lru_cache(maxsize=32)
def _compiled(seeing, names, stacked):
  """The compiled forward pass, kept for the next networks of this form."""

  def one(variables, images):
    logits, named = seeing.apply(variables, images, train=False)
    given = {**named, 'logits': logits}
    return {name: given[name].astype(np.float32) for name in names}

  if not stacked:
    return jax.jit(one)
  return jax.jit(
    lambda variables, images: together.over_networks(lambda v: one(v, images), 'auto')(variables)
  )

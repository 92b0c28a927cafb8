"""The form of an attack: pure functions that move a batch of images, and the state they share."""

from collections.abc import Callable
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp

from jaxdistill.robustness import objectives

# Images [b, h, w, c] -> logits [b, C].
Network = Callable[[jax.Array], jax.Array]


class Batch(NamedTuple):
  """What an attack starts from.

  Args:
    images: float32 [b, h, w, c] in [0, 1].
    labels: int32 [b].
    logits: float32 [b, C] of the images.
    keys: [b], one an image.
    real: bool [b]; rows that only fill the batch up are False.
  """

  images: jax.Array
  labels: jax.Array
  logits: jax.Array
  keys: jax.Array
  real: jax.Array


@flax.struct.dataclass
class Search:
  """What every attack's state holds; each adds what it needs.

  Args:
    images, labels, keys: of the batch.
    eps: float32, the radius of the ball; not part of the program, which serves all.
    adversarial: what the attack would return now, [b, h, w, c].
    fooled: bool [b], whether nothing is left to do for an image.
    number: int32, the steps done in this phase.
  """

  images: jax.Array
  labels: jax.Array
  keys: jax.Array
  eps: jax.Array
  adversarial: jax.Array
  fooled: jax.Array
  number: jax.Array

  def record(self, points: jax.Array, logits: jax.Array, allowed: jax.Array | bool = True):
    """Returns the state that keeps those points that the network gets wrong, if they are `allowed`,
    for images that have none yet."""
    new = objectives.wrong(logits, self.labels) & ~self.fooled & allowed
    adversarial = jnp.where(new[:, None, None, None], points, self.adversarial)
    return self.replace(adversarial=adversarial, fooled=self.fooled | new)


class Phase(NamedTuple):
  """Steps of one kind: step(f, state) -> state, with f from images to logits, `steps` times."""

  step: Callable[[Network, Search], Search]
  steps: int


class Attack(NamedTuple):
  """An attack: init(batch) -> state, then its phases one after the other.

  All are pure. No image's state depends on another image, so an attack gives an image the same
  answer in any company, up to rounding; one with `fooled` set everywhere may be stopped.
  """

  init: Callable[[Batch], Search]
  phases: tuple[Phase, ...]


def beginning(batch: Batch, eps: float) -> dict[str, jax.Array]:
  """Returns the fields of `Search` before the first step, by name: images that the network gets
  wrong as they are need no attack."""
  return dict(
    images=batch.images,
    labels=batch.labels,
    keys=batch.keys,
    eps=jnp.float32(eps),
    adversarial=batch.images,
    fooled=objectives.wrong(batch.logits, batch.labels) | ~batch.real,
    number=jnp.int32(0),
  )

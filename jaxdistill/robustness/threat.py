"""What an attacker may do to an image: a ball around it, cut to the pixels that exist."""

import dataclasses
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws, errors

Norm = Literal['linf', 'l2']
_AXES = (1, 2, 3)


@dataclasses.dataclass(frozen=True)
class Ball:
  """All images within `eps` of the given ones whose pixels lie in [0, 1].

  Points, images and gradients are float32 [b, h, w, c].

  Args:
    eps: the radius, in units of pixels from 0 to 1; a number or, inside a program, a scalar.
    norm: 'linf', the largest change of a pixel, or 'l2', the root of the sum of squares.

  >>> ball = Ball(0.25, 'linf')
  >>> ball.project(jnp.full((1, 1, 2, 1), 2.0), jnp.array([0.5, 1.0]).reshape(1, 1, 2, 1)).tolist()
  [[[[0.75], [1.0]]]]
  """

  eps: float | jax.Array
  norm: str

  def project(self, points: jax.Array, images: jax.Array) -> jax.Array:
    """Returns the points, brought back to the ball and to [0, 1].

    In L2 along the line to the image first, then pixel by pixel, which does not leave the ball
    since the image has no pixel outside [0, 1].
    """
    if self.norm == 'linf':
      return jnp.clip(
        points, jnp.maximum(images - self.eps, 0.0), jnp.minimum(images + self.eps, 1.0)
      )
    change = points - images
    length = self.length(change)[:, None, None, None]
    scale = jnp.where(length > self.eps, self.eps / jnp.where(length > 0, length, 1.0), 1.0)
    return jnp.clip(images + scale * change, 0.0, 1.0)

  def start(self, images: jax.Array, keys: jax.Array) -> jax.Array:
    """Returns points drawn uniformly from the ball around each image, cut to [0, 1].

    Args:
      images: to start from.
      keys: [b], one an image, so that no image's draw depends on its neighbours in the batch.
    """
    return self.project(
      images + jax.vmap(lambda key: self._draw(key, images.shape[1:]))(keys), images
    )

  def _draw(self, key, shape):
    if self.norm == 'linf':
      return draws.uniform(key, shape, -self.eps, self.eps)
    radius, way = draws.split(key)
    normal = draws.normal(way, shape)
    share = draws.uniform(radius) ** (1.0 / max(normal.size, 1))  # uniform in volume
    return self.eps * share * normal / jnp.sqrt(jnp.sum(normal**2))

  def ascent(self, gradient: jax.Array) -> jax.Array:
    """Returns the step of length 1 along which a linear function rises most: the sign of its
    gradient, or the gradient over its length; 0 where it is 0."""
    if self.norm == 'linf':
      return jnp.sign(gradient)
    # Squares of small numbers vanish in float32: the largest one becomes 1 first.
    largest = jnp.max(jnp.abs(gradient), _AXES, keepdims=True)
    scaled = gradient / jnp.where(largest > 0, largest, 1.0)
    length = jnp.sqrt(jnp.sum(scaled**2, _AXES, keepdims=True))
    return scaled / jnp.where(length > 0, length, 1.0)

  def length(self, change: jax.Array) -> jax.Array:
    """Returns how long changes of images are in this norm, [b]."""
    if self.norm == 'linf':
      return jnp.max(jnp.abs(change), _AXES)
    return jnp.sqrt(jnp.sum(change**2, _AXES))


def ball(eps: float, norm: str) -> Ball:
  """Returns the ball of a radius and norm that someone asked for.

  Raises:
    UserError: an unknown norm, or a radius that is no number from 0 on.

  >>> ball(-0.1, 'linf')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: eps is -0.1; it must be a number from 0 on.
  """
  if norm not in get_args(Norm):
    raise errors.unknown('norm', norm, get_args(Norm))
  return Ball(radius(eps), norm)


def radius(eps: float) -> float:
  """Returns a radius that someone asked for; of NumPy and JAX it may be, but a single number.

  Raises:
    UserError: no number from 0 on.

  >>> radius(np.float64(0.5))
  0.5
  """
  errors.real_numbers(eps=eps)
  if np.ndim(eps) or not 0 <= eps < float('inf'):
    raise errors.UserError(f'eps is {eps}; it must be a number from 0 on.')
  return float(eps)


def image_keys(key: jax.Array, number: int) -> jax.Array:
  """Returns keys [number] of images: that of an image follows from its place alone.

  >>> few, many = image_keys(draws.key(0), 2), image_keys(draws.key(0), 9)
  >>> bool((few == many[:2]).all())
  True
  """
  return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(number, dtype=jnp.uint32))


def fold(keys: jax.Array, number: jax.Array | int) -> jax.Array:
  """Returns the keys [b] of a moment, such as a step, from those of the images."""
  return jax.vmap(jax.random.fold_in, (0, None))(keys, number)

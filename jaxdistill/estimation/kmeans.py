"""Clusters of vectors by k-means, as a pure function: for use between steps and inside them.

The selection of real images (`data.selection.kmeans`) asks scikit-learn instead: its draws are part
of what published sets were chosen by, and it never runs inside a compiled program.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdistill import draws, errors
from jaxdistill.numerics import steady


class Clusters(NamedTuple):
  """What k-means gives."""

  assignment: jax.Array  # int32 [n], the nearest centre of every point
  centres: jax.Array  # float [k, d]
  inertia: jax.Array  # [], sum of squared distances to the nearest centre
  steps: jax.Array  # [], int32


def kmeans(points: jax.Array, clusters: int, key: jax.Array, max_steps: int = 50) -> Clusters:
  """Groups points by Lloyd's algorithm from a k-means++ start, by Euclidean distance.

  A step moves every centre to the mean of the points nearest to it; the end is the first step that
  moves no point to another centre, or `max_steps`. Equally near centres: the lowest index. A centre
  without points stays where it is. Deterministic in the key; works under `jit` and `vmap`.

  Args:
    points: float [n, d].
    clusters: k, at most n.
    key: of the start.
    max_steps: most steps.

  Raises:
    UserError: for points of another shape, or more clusters than points.

  Source: Lloyd 1982; start by Arthur and Vassilvitskii, SODA 2007. CCC (Zhang et al., AAAI 2024)
    groups annotators so, points being their flattened matrices [annotators, classes^2].

  >>> points = jnp.array([[0.0, 0.0], [5.0, 5.0], [0.0, 1.0], [5.0, 6.0]])
  >>> clusters = kmeans(points, 2, draws.key(0))
  >>> bool(clusters.assignment[0] == clusters.assignment[2]), float(clusters.inertia)
  (True, 1.0)
  """
  errors.whole('clusters', clusters, at_least=1)
  errors.whole('max_steps', max_steps, at_least=1)
  shape = jnp.shape(points)
  if len(shape) != 2:
    raise errors.UserError(f'k-means groups points [n, d]; got shape {shape}.')
  if clusters > shape[0]:
    raise errors.UserError(
      f'k-means cannot make {clusters} clusters of {shape[0]} points; ask for at most {shape[0]}.'
    )
  return _kmeans(points, clusters, key, max_steps)


@functools.partial(jax.jit, static_argnames='clusters')
@steady
def _kmeans(points, clusters, key, max_steps):
  points = jnp.asarray(points)
  if not jnp.issubdtype(points.dtype, jnp.floating):
    points = points.astype(jnp.float32)
  # Distances by products lose fewer digits around the middle.
  middle = points.mean(0, keepdims=True)
  points = points - middle

  def move(state):
    centres, assignment, _, step = state
    inside = jax.nn.one_hot(assignment, clusters, dtype=points.dtype)
    sizes = inside.sum(0)[:, None]
    means = _product(inside.T, points) / jnp.maximum(sizes, 1)
    centres = jnp.where(sizes > 0, means, centres)
    moved = _nearest(points, centres)
    return centres, moved, (moved != assignment).any(), step + 1

  def unfinished(state):
    return state[2] & (state[3] < max_steps)

  centres = _spread_start(points, clusters, key)
  start = centres, _nearest(points, centres), jnp.bool_(True), jnp.int32(0)
  centres, assignment, _, steps = jax.lax.while_loop(unfinished, move, start)
  inertia = ((points - centres[assignment]) ** 2).sum()
  return Clusters(assignment, centres + middle, inertia, steps)


def _spread_start(points, clusters, key):
  """k-means++: every further centre is a point drawn in proportion to its squared distance from the
  nearest centre so far; the first is any point."""

  def squares(centre):
    return ((points - centre[None]) ** 2).sum(1)

  def draw(carry, number):
    distance, centres = carry
    reached = distance.cumsum()
    mark = draws.uniform(jax.random.fold_in(key, number)).astype(points.dtype) * reached[-1]
    # Above the mark, so that no point at distance 0 is drawn while another is left.
    drawn = jnp.minimum(jnp.searchsorted(reached, mark, side='right'), len(points) - 1)
    centre = points[drawn]
    centres = centres.at[number].set(centre)
    return (jnp.minimum(distance, squares(centre)), centres), None

  first = points[draws.integers(jax.random.fold_in(key, 0), (), 0, len(points))]
  centres = jnp.zeros((clusters, points.shape[1]), points.dtype).at[0].set(first)
  carry, _ = jax.lax.scan(draw, (squares(first), centres), jnp.arange(1, clusters))
  return carry[1]


def _nearest(points, centres):
  """Int32 [n]. The length of a point is the same for all its distances and left out."""
  along = _product(points, centres.T)
  return jnp.argmin((centres**2).sum(1)[None] - 2 * along, 1).astype(jnp.int32)


def _product(a, b):
  return jnp.dot(a, b, precision=jax.lax.Precision.HIGHEST)

"""Nearest neighbours by cosine, exact, in blocks of rows: no table of all pairs is built."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.numerics import steady


class Neighbours(NamedTuple):
  """The nearest rows of every query, nearest first; equally near ones by index."""

  index: jax.Array  # int32 [m, k]
  similarity: jax.Array  # float32 [m, k], cosines


def nearest(
  embeddings: jax.Array,
  k: int,
  queries: jax.Array | None = None,
  exclude_self: bool = True,
  rows: int = 512,
) -> Neighbours:
  """Finds the k rows with the largest cosine, exactly.

  Args:
    embeddings: [n, d], of any length; a row of zeros has cosine 0 with all.
    k: neighbours of each.
    queries: [m, d], what neighbours are sought for; None: the embeddings themselves.
    exclude_self: without queries, whether a row is no neighbour of itself.
    rows: compared at a time; memory grows as rows x n.

  Raises:
    UserError: for other shapes, fewer rows than neighbours, or numbers that are not finite.

  >>> nearest(jnp.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1]]), 1).index.tolist()
  [[2], [2], [0]]
  """
  errors.whole('k', k, at_least=1)
  errors.whole('rows', rows, at_least=1)
  shape = jnp.shape(embeddings)
  sought = shape if queries is None else jnp.shape(queries)
  if len(shape) != 2 or len(sought) != 2 or shape[1:] != sought[1:] or not sought[0]:
    raise errors.UserError(
      f'Neighbours are sought among embeddings [n, d] for queries [m, d]; got {shape} and {sought}.'
    )
  without_self = queries is None and exclude_self
  if k > shape[0] - without_self:
    raise errors.UserError(
      f'{k} neighbours were asked for, and there are {shape[0] - without_self} '
      f'{"others" if without_self else "examples"}; ask for fewer.'
    )
  _check_finite('embeddings', embeddings)
  if queries is None:
    queries = embeddings
  else:
    _check_finite('queries', queries)
  return _nearest(embeddings, queries, k, without_self, min(rows, sought[0]))


@steady
def unit_rows(rows: jax.Array) -> jax.Array:
  """Returns float32 rows [n, d] of length 1; a row of zeros stays one.

  >>> unit_rows(jnp.array([[0.0, 4.0], [0.0, 0.0]])).tolist()
  [[0.0, 1.0], [0.0, 0.0]]
  """
  rows = jnp.asarray(rows, jnp.float32)
  lengths = jnp.linalg.norm(rows, axis=1, keepdims=True)
  return rows / jnp.where(lengths > 0, lengths, 1)


def _check_finite(name, rows):
  """Refuses NaN and infinity, but not in a compiled function, whose numbers nobody knows."""
  if not isinstance(rows, jax.core.Tracer) and not bool(jnp.isfinite(jnp.asarray(rows)).all()):
    raise errors.UserError(
      f'The {name} hold NaN or infinity, which have no direction; give finite numbers.'
    )


@functools.partial(jax.jit, static_argnames=('k', 'without_self', 'rows'))
@steady
def _nearest(embeddings, queries, k, without_self, rows):
  columns = unit_rows(embeddings)
  queries = unit_rows(queries)
  number = len(queries)
  blocks = -(-number // rows)
  padded = jnp.pad(queries, ((0, blocks * rows - number), (0, 0)))

  def of_block(block):
    first = block * rows
    part = jax.lax.dynamic_slice_in_dim(padded, first, rows)
    cosines = jnp.dot(part, columns.T, precision=jax.lax.Precision.HIGHEST)
    if without_self:
      place = jnp.arange(rows)
      cosines = cosines.at[place, first + place].set(-jnp.inf, mode='drop')
    return jax.lax.top_k(cosines, k)

  similarity, index = jax.lax.map(of_block, jnp.arange(blocks))
  similarity, index = (x.reshape(-1, k)[:number] for x in (similarity, index))
  return Neighbours(index, similarity)

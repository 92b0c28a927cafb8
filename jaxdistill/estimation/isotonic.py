"""Monotone regression: probabilities that rise with a score, and calibration by them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.numerics import steady


class Curve(NamedTuple):
  """A rising curve through knots, straight between them and level beyond the first and the last.

  [...] stands for curves side by side. Knots beyond the different scores repeat the last one.
  """

  scores: jax.Array  # [..., m], rising
  values: jax.Array  # [..., m], rising


def fit(scores: jax.Array, targets: jax.Array, weights: jax.Array | None = None) -> Curve:
  """Fits the rising curve with the least sum of weighted squares (isotonic regression).

  With the examples in the order of their scores, equal scores averaged to one,
    value_i = max over a <= i of min over b >= i of mean(targets a..b),
  which takes m^2 operations and m numbers of memory: meant for some thousand examples. Pure: works
  under `jit` and `vmap`.

  Args:
    scores: float [m].
    targets: [m], such as 0 and 1.
    weights: [m], at least 0; None: all 1. An example of weight 0 is as if it were not there.

  Raises:
    UserError: for other shapes, or no examples.

  Source: the min-max formula of Robertson, Wright and Dykstra, Order Restricted Statistical
    Inference, 1988.

  >>> fit(jnp.array([0.3, 0.1, 0.2]), jnp.array([1.0, 0.5, 0.0])).values.tolist()
  [0.25, 0.25, 1.0]
  """
  shape = jnp.shape(scores)
  shapes = {shape, jnp.shape(targets)} | ({jnp.shape(weights)} if weights is not None else set())
  if len(shapes) > 1 or len(shape) != 1 or not shape[0]:
    raise errors.UserError(
      'A monotone fit takes scores, targets and weights [m], m at least 1; got '
      f'{" and ".join(map(str, sorted(shapes)))}.'
    )
  return _fit(scores, targets, jnp.ones(shape) if weights is None else weights)


@jax.jit
@steady
def evaluate(curve: Curve, scores: jax.Array) -> jax.Array:
  """Returns the values of a curve at scores of any shape.

  >>> evaluate(Curve(jnp.array([0.0, 1.0]), jnp.array([0.5, 0.7])), jnp.array([-1.0, 0.5, 9.0]))
  Array([0.5, 0.6, 0.7], dtype=float32)
  """
  return jnp.interp(scores, curve.scores, curve.values)


def fit_classes(probabilities: jax.Array, labels: jax.Array) -> Curve:
  """Fits a curve a class, from the probability of the class to whether it is the label.

  Args:
    probabilities: [m, C] of trusted examples.
    labels: int [m], their classes.

  Returns:
    Curve of [C, m].

  Raises:
    UserError: for other shapes.

  Source: the calibration of TCL (Li et al., IEEE TMM 2022).

  >>> fit_classes(jnp.array([[0.9, 0.1], [0.4, 0.6]]), jnp.array([0, 1])).values.tolist()
  [[0.0, 1.0], [0.0, 1.0]]
  """
  shape = jnp.shape(probabilities)
  if len(shape) != 2 or not shape[0] or jnp.shape(labels) != shape[:1]:
    raise errors.UserError(
      'A calibration takes probabilities [m, C] and labels [m], m at least 1; got '
      f'{shape} and {jnp.shape(labels)}.'
    )
  return _fit_classes(probabilities, labels)


@jax.jit
@steady
def calibrate(curves: Curve, probabilities: jax.Array, least: float = 1e-20) -> jax.Array:
  """Returns [n, C]: (g_c(p_c) + least) / sum over the classes, with g_c the curve of class c.

  Args:
    curves: of `fit_classes`.
    probabilities: [n, C].
    least: added to each, so that a class is never impossible.

  Source: TCL's public code, see `fit_classes`.

  >>> curves = Curve(jnp.array([[0.0, 1.0]] * 2), jnp.array([[0.0, 0.5], [0.0, 1.0]]))
  >>> [round(p, 3) for p in calibrate(curves, jnp.array([[0.6, 0.4]]))[0].tolist()]
  [0.429, 0.571]
  """
  values = jax.vmap(jnp.interp, (1, 0, 0), 1)(probabilities, *curves) + least
  return values / values.sum(1, keepdims=True)


@jax.jit
@steady
def _fit_classes(probabilities, labels):
  classes = jnp.arange(probabilities.shape[1])
  targets = (labels[:, None] == classes[None]).astype(probabilities.dtype)
  return jax.vmap(_knots, (1, 1, None))(probabilities, targets, jnp.ones(len(labels)))


@jax.jit
@steady
def _fit(scores, targets, weights):
  return _knots(*map(jnp.asarray, (scores, targets, weights)))


def _knots(scores, targets, weights):
  dtype = jnp.promote_types(jnp.result_type(scores, targets), jnp.float32)
  scores, targets, weights = (x.astype(dtype) for x in (scores, targets, weights))
  number = len(scores)
  # Examples that do not count stand last and make no knot.
  order = jnp.lexsort((scores, weights <= 0))
  scores, targets, weights = scores[order], targets[order], weights[order]
  new = jnp.append(True, scores[1:] != scores[:-1]) & (weights > 0)
  place = new.cumsum() - 1
  sizes = jax.ops.segment_sum(weights, place, number)
  sums = jax.ops.segment_sum(weights * targets, place, number)
  knots = jnp.full(number, jnp.inf, dtype).at[place].min(jnp.where(weights > 0, scores, jnp.inf))
  values = _max_min_means(sums, sizes)
  last = jnp.maximum(new.sum() - 1, 0)
  kept = jnp.minimum(jnp.arange(number), last)
  return Curve(knots[kept], values[kept])


def _max_min_means(sums, sizes):
  """The formula of `fit` for knots with sums of targets and sizes; a size 0 at the end is none."""
  position = jnp.arange(len(sums))

  def begin_at(values, first):
    # Sums from here on, not differences of sums from the start: these would lose digits.
    inside = position >= first
    block_sums = jnp.where(inside, sums, 0).cumsum()
    block_sizes = jnp.where(inside, sizes, 0).cumsum()
    means = jnp.where(inside, block_sums / jnp.where(inside, block_sizes, 1), jnp.inf)
    least = jax.lax.cummin(means, reverse=True)
    return jnp.where(inside & (sizes[first] > 0), jnp.maximum(values, least), values), None

  return jax.lax.scan(begin_at, jnp.full_like(sums, -jnp.inf), position)[0]

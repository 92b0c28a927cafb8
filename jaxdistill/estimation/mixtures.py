"""Mixtures of Gaussians in one dimension, many side by side: which examples have the small loss."""

import functools
import numbers
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.numerics import steady

_SMALL = 1e-30  # no weight is divided by less


class Mixture(NamedTuple):
  """Gaussian mixtures, components by rising mean; [...] stands for the mixtures side by side."""

  weights: jax.Array  # [..., components], sum 1
  means: jax.Array  # [..., components]
  variances: jax.Array  # [..., components]
  log_likelihood: jax.Array  # [...], mean over the examples, of the parameters before the last step
  steps: jax.Array  # [...], int32


class _Progress(NamedTuple):
  """One mixture on its way."""

  parameters: tuple[jax.Array, jax.Array, jax.Array]
  log_likelihood: jax.Array
  gain: jax.Array
  steps: jax.Array


def fit(
  values: jax.Array,
  weights: jax.Array | None = None,
  components: int = 2,
  max_steps: int = 10,
  tolerance: float = 1e-2,
  added_variance: float = 5e-4,
) -> Mixture:
  """Fits Gaussian mixtures to numbers by expectation-maximisation, each row a mixture of its own.

  The start is deterministic: centres at the quantiles (k + 1/2) / components, moved by at most 20
  steps of Lloyd's algorithm, whose groups give the first weights, means and variances. Every step
  is an E-step and an M-step; a mixture stands still from the step on that raises its mean log
  likelihood by less than `tolerance`. Of losses, `posterior(...)[..., 0]` is the probability of
  being among the small ones; the methods below select what is above 0.5.

  Args:
    values: float [..., n].
    weights: [..., n], how much a value counts; 0 for one that is absent, whatever its value. None:
      all count 1. A row of zeros gives numbers without meaning, but finite ones.
    components: K.
    max_steps: most steps of EM.
    tolerance: see above.
    added_variance: added to every variance, so that equal values do no harm.

  Raises:
    UserError: for no values, weights of another shape, or an added variance below 0.

  Source: settings of MLNTM (Li et al., NeurIPS 2022), which are DivideMix's (Li et al., ICLR 2020);
    rules of steps, end and added variance as in scikit-learn's GaussianMixture, which both use. Its
    random start is replaced by the one above: our choice.

  >>> mixture = fit(jnp.array([0.0, 0.1, 0.2, 0.9, 1.0]))
  >>> [round(mean, 2) for mean in mixture.means.tolist()]
  [0.1, 0.95]
  """
  errors.whole('components', components, at_least=1)
  errors.whole('max_steps', max_steps, at_least=1)
  errors.real_numbers(tolerance=tolerance, added_variance=added_variance)
  if isinstance(added_variance, numbers.Real) and added_variance < 0:
    raise errors.UserError(f'added_variance is {added_variance}; it must be at least 0.')
  shape = jnp.shape(values)
  if not shape or not shape[-1]:
    raise errors.UserError(f'A mixture is fitted to values [..., n], n at least 1; got {shape}.')
  if weights is not None and jnp.shape(weights) != shape:
    raise errors.UserError(
      f'A mixture takes a weight a value; got {jnp.shape(weights)} weights and {shape} values.'
    )
  return _fit(values, weights, components, max_steps, tolerance, added_variance)


@functools.partial(jax.jit, static_argnames='components')
@steady
def _fit(values, weights, components, max_steps, tolerance, added_variance):
  values = jnp.asarray(values)
  if not jnp.issubdtype(values.dtype, jnp.floating):
    values = values.astype(jnp.float32)
  weights = jnp.ones_like(values) if weights is None else jnp.asarray(weights, values.dtype)
  # An absent value may be anything, not a number too.
  values = jnp.where(weights > 0, values, 0)
  one = functools.partial(
    _fit_one,
    components=components,
    max_steps=max_steps,
    tolerance=tolerance,
    added_variance=added_variance,
  )
  for _ in range(values.ndim - 1):
    one = jax.vmap(one)
  return one(values, weights)


@jax.jit
@steady
def posterior(mixture: Mixture, values: jax.Array) -> jax.Array:
  """Returns [..., n, components], the probability that a value [..., n] is of each component.

  >>> mixture = Mixture(*map(jnp.array, ([0.5, 0.5], [0.0, 1.0], [0.1, 0.1], 0.0, 1)))
  >>> posterior(mixture, jnp.array([0.5])).tolist()
  [[0.5, 0.5]]
  """
  joint = _joint(mixture.weights, mixture.means, mixture.variances, jnp.asarray(values))
  return jax.nn.softmax(joint, -1)


def _fit_one(values, weights, components, max_steps, tolerance, added_variance):
  total = jnp.maximum(weights.sum(), _SMALL)

  def maximise(shares):
    """Parameters from the share [n, K] of every value in every component."""
    shares = shares * weights[:, None]
    sizes = jnp.maximum(shares.sum(0), _SMALL)
    means = (shares * values[:, None]).sum(0) / sizes
    spread = (values[:, None] - means[None]) ** 2
    return sizes / sizes.sum(), means, (shares * spread).sum(0) / sizes + added_variance

  def proceed(progress):
    joint = _joint(*progress.parameters, values)
    log_likelihood = (jax.nn.logsumexp(joint, -1) * weights).sum() / total
    gain = jnp.abs(log_likelihood - progress.log_likelihood)
    return _Progress(maximise(jax.nn.softmax(joint, -1)), log_likelihood, gain, progress.steps + 1)

  def unfinished(progress):
    return (progress.steps < max_steps) & (progress.gain >= tolerance)

  groups = jax.nn.one_hot(_groups(values, weights, components), components, dtype=values.dtype)
  infinite = jnp.array(jnp.inf, values.dtype)
  start = _Progress(maximise(groups), -infinite, infinite, jnp.int32(0))
  end = jax.lax.while_loop(unfinished, proceed, start)
  order = jnp.argsort(end.parameters[1])
  fitted = (parameter[order] for parameter in end.parameters)
  return Mixture(*fitted, end.log_likelihood, end.steps)


def _joint(weights, means, variances, values):
  """Log of weight times density, [..., n, components]."""
  weights, means, variances = (x[..., None, :] for x in (weights, means, variances))
  squares = (values[..., None] - means) ** 2 / variances
  return jnp.log(weights) - (squares + jnp.log(2 * jnp.pi * variances)) / 2


def _groups(values, weights, components):
  """Int32 [n]: 1-D Lloyd from quantiles; a value between two centres goes to the lower one."""
  order = jnp.argsort(values)
  reached = weights[order].cumsum()
  wanted = (jnp.arange(components) + 0.5) / components * reached[-1]
  centres = values[order][jnp.minimum(jnp.searchsorted(reached, wanted), len(values) - 1)]

  def nearest(centres):
    return jnp.argmin(jnp.abs(values[:, None] - centres[None]), 1)

  def move(_, centres):
    inside = jax.nn.one_hot(nearest(centres), components, dtype=values.dtype) * weights[:, None]
    sizes = inside.sum(0)
    means = (inside * values[:, None]).sum(0) / jnp.maximum(sizes, _SMALL)
    return jnp.where(sizes > 0, means, centres)

  return nearest(jax.lax.fori_loop(0, 20, move, centres))

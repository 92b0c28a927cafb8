"""Distances between two sets of features: maximum mean discrepancy and its simplest case, the gap
of the means."""

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.numerics import steady
from jaxdistill.registry import Registry

# Five widths as multiples of the mean squared distance; the kernel is their sum, so that k(u, u) =
# 5.
MULTIPLIERS = (0.25, 0.5, 1.0, 2.0, 4.0)


@steady
def mmd(
  x: jax.Array,
  y: jax.Array,
  *,
  kernel: str = 'gaussian',
  x_mask: jax.Array | None = None,
  y_mask: jax.Array | None = None,
  bandwidth: jax.Array | float | None = None,
) -> jax.Array:
  """Squared maximum mean discrepancy between two sets of points, as the biased V-statistic.

  L = mean_ij k(x_i, x_j) - 2 mean_ij k(x_i, y_j) + mean_ij k(y_i, y_j), diagonals included, with

    gaussian    k(u, v) = sum over q in {1/4, 1/2, 1, 2, 4} of exp(-||u - v||^2 / (q b)),
                b = the mean of ||z_i - z_j||^2 over the pairs i != j of x and y pooled, without
                gradient
    linear      k(u, v) = u.v, so that L is `mean_discrepancy`
    polynomial  k(u, v) = (u.v + 1)^2

  L >= 0 up to rounding; for two finite samples of one distribution it is small only where both are
  large.

  The features are shifted by a common vector first, which changes no distance but saves the digits
  that a Gram matrix of far-off points would cancel; the Gram matrices are float32 at full precision
  on every backend, for bfloat16 features too. Gradients are finite for equal points, and where all
  points are one the loss and its gradient are 0. To keep a gradient from y, stop it outside.

  Args:
    x: [n, d].
    y: [m, d].
    kernel: 'gaussian', 'linear' or 'polynomial'.
    x_mask: [n], False or 0 for rows that are only padding (whatever they hold); None: all rows
      count.
    y_mask: [m], likewise.
    bandwidth: b, where it is not to be taken from the points.

  Returns:
    A scalar; 0 where a mask leaves no point on one side.

  Raises:
    UserError: unknown kernel, or shapes that do not fit.

  Source: Gretton et al., JMLR 2012; kernels and bandwidth as in Zhang et al., AAAI 2024 (M3D).

  >>> import jax.numpy as jnp
  >>> x, y = jnp.array([[0.], [1.]]), jnp.array([[2.]])
  >>> float(mmd(x, y, kernel='linear'))   # (1/2 - 2)^2
  2.25
  >>> float(mmd(x, y, kernel='polynomial'))   # (1 + 1 + 1 + 4) / 4 - (1 + 9) + 25
  16.75
  >>> round(float(mmd(x, y)), 3)
  4.986
  """
  discrepancy = KERNELS.find(kernel)
  _check(x, y, x_mask, y_mask)
  return discrepancy(x, y, x_mask, y_mask, bandwidth)


@steady
def mean_discrepancy(
  x: jax.Array, y: jax.Array, *, x_mask: jax.Array | None = None, y_mask: jax.Array | None = None
) -> jax.Array:
  """Squared distance of the two means, ||mean x - mean y||^2, summed (not averaged) over the
  features, in float32.

  Arguments, masks and errors as for `mmd`, whose linear kernel this is.

  Source: Zhao & Bilen, WACV 2023 (distribution matching, DM).

  >>> import jax.numpy as jnp
  >>> float(mean_discrepancy(jnp.array([[0., 0.], [2., 4.]]), jnp.array([[1., 0.]])))
  4.0
  """
  _check(x, y, x_mask, y_mask)
  x, x_weight = _prepare(x, x_mask)
  y, y_weight = _prepare(y, y_mask)
  gap = (x * x_weight[:, None]).sum(0) - (y * y_weight[:, None]).sum(0)
  return jnp.where(_both(x_weight, y_weight), jnp.square(gap).sum(), 0.0)


def _check(x, y, x_mask, y_mask):
  if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
    raise errors.UserError(
      f'Two sets of features have shapes [n, d] and [m, d] with one d; got {x.shape} and {y.shape}.'
    )
  if not (x.size and y.size):
    raise errors.UserError(f'A discrepancy needs features; got {x.shape} and {y.shape}.')
  for points, mask in ((x, x_mask), (y, y_mask)):
    if mask is not None and mask.shape != points.shape[:1]:
      raise errors.UserError(
        f'A mask has one entry a row, here shape {points.shape[:1]}; got {mask.shape}.'
      )


def _prepare(points, mask):
  """Points in float32 with padding zeroed, and the weight of each row: 1 / (number of valid rows),
  or 0."""
  points = points.astype(jnp.promote_types(points.dtype, jnp.float32))
  if mask is None:
    return points, jnp.full(len(points), 1 / max(len(points), 1), points.dtype)
  valid = mask.astype(bool)
  return jnp.where(valid[:, None], points, 0.0), valid / jnp.maximum(valid.sum(), 1).astype(
    points.dtype
  )


def _both(x_weight, y_weight):
  return (x_weight.sum() > 0) & (y_weight.sum() > 0)


def _centred(x, y, x_valid, y_valid):
  """Both sets less the mean of all valid points, and that mean; no gradient through it, as no
  distance depends on it.

  One of the points is subtracted first: differences of near floats are exact, so that equal points
    become exactly 0.
  """
  origin = jax.lax.stop_gradient(x[jnp.argmax(x_valid)])
  x, y = (
    jnp.where(valid[:, None], points - origin[None, :], 0.0)
    for points, valid in ((x, x_valid), (y, y_valid))
  )
  number = jnp.maximum(x_valid.sum() + y_valid.sum(), 1).astype(x.dtype)
  rest = jax.lax.stop_gradient((x.sum(0) + y.sum(0)) / number)
  x, y = (
    jnp.where(valid[:, None], points - rest[None, :], 0.0)
    for points, valid in ((x, x_valid), (y, y_valid))
  )
  return x, y, origin + rest


def _mean_distance(x, y, x_valid, y_valid):
  """Mean of ||z_i - z_j||^2 over the ordered pairs i != j: for centred points 2 sum_i ||z_i||^2 /
  (N - 1)."""
  number = x_valid.sum() + y_valid.sum()
  return (
    2 * (jnp.square(x).sum() + jnp.square(y).sum()) / jnp.maximum(number - 1, 1).astype(x.dtype)
  )


def _gram(u, v):
  return jnp.matmul(u, v.T, precision=jax.lax.Precision.HIGHEST)


def _distances(u, v, same=False):
  """Squared distances [n, m]; exactly 0, and without gradient, on the diagonal of a set with
  itself."""
  squares = jnp.square(u).sum(1)[:, None] + jnp.square(v).sum(1)[None, :]
  # Rounding can leave a small negative number. No square root anywhere: its gradient at 0 is
  # infinite.
  distances = jnp.maximum(squares - 2 * _gram(u, v), 0.0)
  return jnp.where(jnp.eye(len(u), dtype=bool), 0.0, distances) if same else distances


def _bank(distances, inverse):
  return sum(jnp.exp(-distances * (inverse / q)) for q in MULTIPLIERS)


def _total(values, u_weight, v_weight):
  # Multiply and add, not matrix products, which accelerators would round to fewer digits.
  return (values * u_weight[:, None] * v_weight[None, :]).sum()


def _gaussian(x, y, x_mask, y_mask, bandwidth):
  x, x_weight = _prepare(x, x_mask)
  y, y_weight = _prepare(y, y_mask)
  x, y, _ = _centred(x, y, x_weight > 0, y_weight > 0)
  if bandwidth is None:
    bandwidth = jax.lax.stop_gradient(_mean_distance(x, y, x_weight > 0, y_weight > 0))
  # Where all points coincide there is no scale; 1/b := 0 makes every kernel value 5 and the
  # gradient 0.
  inverse = jnp.where(bandwidth > 0, 1 / jnp.where(bandwidth > 0, bandwidth, 1.0), 0.0)
  xx = _total(_bank(_distances(x, x, same=True), inverse), x_weight, x_weight)
  xy = _total(_bank(_distances(x, y), inverse), x_weight, y_weight)
  yy = _total(_bank(_distances(y, y, same=True), inverse), y_weight, y_weight)
  return jnp.where(_both(x_weight, y_weight), xx - 2 * xy + yy, 0.0)


def _linear(x, y, x_mask, y_mask, bandwidth):
  del bandwidth  # that of the Gaussian alone
  return mean_discrepancy(x, y, x_mask=x_mask, y_mask=y_mask)


def _polynomial(x, y, x_mask, y_mask, bandwidth):
  """V-statistic of (u.v + 1)^2 from centred points u = centre + x, less all terms that cancel.

  With p_i = centre.x_i, g_ij = x_i.x_j and c = 1 + ||centre||^2 the kernel is (c + p_i + p_j +
  g_ij)^2. Weights of both sets sum to 0 (+ for x, - for y), so terms of one index alone vanish, and
  g^2 + 2 g (c + p_i + p_j) + 2 p_i p_j remains.
  """
  del bandwidth  # that of the Gaussian alone
  x, x_weight = _prepare(x, x_mask)
  y, y_weight = _prepare(y, y_mask)
  x, y, centre = _centred(x, y, x_weight > 0, y_weight > 0)
  constant = 1 + jnp.square(centre).sum()
  x_p, y_p = ((points * centre[None, :]).sum(1) for points in (x, y))

  def term(u, v, u_p, v_p, u_weight, v_weight):
    gram = _gram(u, v)
    return _total(gram * (gram + 2 * (constant + u_p[:, None] + v_p[None, :])), u_weight, v_weight)

  quadratic = (
    term(x, x, x_p, x_p, x_weight, x_weight)
    - 2 * term(x, y, x_p, y_p, x_weight, y_weight)
    + term(y, y, y_p, y_p, y_weight, y_weight)
  )
  loss = quadratic + 2 * jnp.square((x_p * x_weight).sum() - (y_p * y_weight).sum())
  return jnp.where(_both(x_weight, y_weight), loss, 0.0)


# Kernel -> the discrepancy under it, (x, y, x_mask, y_mask, bandwidth) -> scalar, as `mmd` has it.
KERNELS = Registry('kernel', dict(gaussian=_gaussian, linear=_linear, polynomial=_polynomial))

"""Distillation of relations: what the examples of a batch are to each other, in distances and
angles (RKD), similarities (SP, PKT) and differences (CC).

The batch is the global one. Features may be of any shape [n, ...]; they are compared flattened, and
but for `correlation_congruence` the two sides may have different widths. No gradient is stopped
here: a teacher that is to have none is stopped outside.
"""

import jax
import jax.numpy as jnp

from jaxdistill.losses import rows
from jaxdistill.numerics import steady

# Batches above it have their triples summed in turn, not all at once.
_AT_ONCE = 128
_ANCHORS = 16
# Squared distances up to so many units of the last place of the points' own squares are none.
_ROUNDING = 8
# PKT's term within the logarithm, of its public code.
_PROBABILITY = 1e-7


@steady
def rkd_distance(
  student: jax.Array, teacher: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
  """Mean over all ordered pairs of Huber_1(d_s - d_t), with d_ij = ||f_i - f_j|| / mu and mu the
  mean of the positive distances of the batch, each side its own; pairs i = j enter the mean with 0.

  The gradient goes through mu too. Rows that are equal up to rounding have the distance 0, without
  gradient. It is order 2 of HORKD.

  Args:
    student: [n, ...].
    teacher: [n, ...].
    weight: [n]; a row of weight 0 neither gives nor receives.

  Returns:
    A scalar; no factor, shift or rotation of either side changes it.

  Raises:
    UserError: for numbers of rows that differ.

  Source: Park et al., CVPR 2019, and RepDistiller, whose weight of it is 25.

  >>> student, teacher = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([[0.0], [1.0], [1.0]])
  >>> round(float(rkd_distance(student, teacher)), 4)   # 3/4, 3/4, 3/2 against 1, 1, 0
  0.0972
  """
  student, teacher, weight = rows.aligned(student, teacher, weight, same=False)
  difference = _scaled_distances(student, weight) - _scaled_distances(teacher, weight)
  return rows.pair_mean(_huber(difference), weight)


def _scaled_distances(features, weight):
  """||f_i - f_j|| by the mean of the positive ones, [n, n]."""
  features = rows.flat(features)
  # Far from the origin a Gram matrix would cancel its digits; no distance depends on the shift.
  centre = jax.lax.stop_gradient((rows.share(weight)[:, None] * features).sum(0, keepdims=True))
  features = rows.kept(features - centre, weight)
  squares = jnp.square(features).sum(1)
  squares = squares[:, None] + squares[None, :]
  gram = jnp.matmul(features, features.T, precision=jax.lax.Precision.HIGHEST)
  squared = squares - 2 * gram
  apart = squared > _ROUNDING * jnp.finfo(features.dtype).eps * squares
  apart &= ~jnp.eye(len(features), dtype=bool)
  # The root has no gradient at 0.
  distances = jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1)), 0)
  pairs = weight[:, None] * weight[None, :]
  count = (pairs * apart).sum()
  mean = (pairs * distances).sum() / jnp.where(count > 0, count, 1)
  return distances / jnp.where(count > 0, mean, 1)


def _huber(difference):
  size = jnp.abs(difference)
  return jnp.where(size < 1, 0.5 * jnp.square(difference), size - 0.5)


@steady
def rkd_angle(student: jax.Array, teacher: jax.Array, weight: jax.Array | None = None) -> jax.Array:
  """Mean over all ordered triples of Huber_1(a_s - a_t), with a_ijk = <e_ij, e_ik> and e_ij =
  (f_i - f_j) / ||f_i - f_j||; triples with i = j or i = k enter the mean with 0.

  Equal rows have e = 0, without gradient. It is order 3 of HORKD. Batches above 128 take a few
  anchors i at a time, and compute them again for the gradient, so that memory grows by n^2.

  Args:
    student: [n, ...].
    teacher: [n, ...].
    weight: [n]; a row of weight 0 neither gives nor receives.

  Returns:
    A scalar; no factor, shift or rotation of either side changes it.

  Raises:
    UserError: for numbers of rows that differ.

  Source: Park et al., CVPR 2019, and RepDistiller, whose weight of it is 50.

  >>> student = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])   # a right angle
  >>> teacher = jnp.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])   # a line
  >>> round(float(rkd_angle(student, teacher)), 4)   # 7/2 over 27 triples
  0.1296
  """
  student, teacher, weight = rows.aligned(student, teacher, weight, same=False)
  student, teacher, part = rows.flat(student), rows.flat(teacher), rows.share(weight)

  def of_anchor(anchor):
    student_anchor, teacher_anchor, part_anchor = anchor
    difference = _angles(student_anchor, student) - _angles(teacher_anchor, teacher)
    return part_anchor * (_huber(difference) * part[:, None] * part[None, :]).sum()

  anchors = student, teacher, part
  if len(student) <= _AT_ONCE:
    return jax.vmap(of_anchor)(anchors).sum()
  return jax.lax.map(jax.checkpoint(of_anchor), anchors, batch_size=_ANCHORS).sum()


def _angles(anchor, features):
  edges = rows.directions(anchor[None] - features)
  return jnp.matmul(edges, edges.T, precision=jax.lax.Precision.HIGHEST)


@steady
def rkd(
  student: jax.Array,
  teacher: jax.Array,
  distance: float = 25.0,
  angle: float = 50.0,
  weight: jax.Array | None = None,
) -> jax.Array:
  """distance * `rkd_distance` + angle * `rkd_angle`, with the weights of RepDistiller.

  >>> float(rkd(jnp.eye(3), 2 * jnp.eye(3)) < 1e-6)
  1.0
  """
  return distance * rkd_distance(student, teacher, weight) + angle * rkd_angle(
    student, teacher, weight
  )


@steady
def similarity_preserving(
  student: jax.Array, teacher: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
  """||G_s - G_t||_F^2 / n^2 with G = X X^T, every row of G divided by its length; X [n, d] holds
  the flattened features.

  Args:
    student: [n, ...], such as the last maps.
    teacher: [n, ...].
    weight: [n]; a row of weight 0 neither gives nor receives.

  Returns:
    A scalar; no factor or rotation of either side changes it.

  Raises:
    UserError: for numbers of rows that differ.

  Source: Tung & Mori, ICCV 2019, and RepDistiller, whose weight of it is 3000.

  >>> round(float(similarity_preserving(jnp.eye(2), jnp.ones((2, 1)))), 4)   # 1 - 2^-1/2
  0.2929
  """
  student, teacher, weight = rows.aligned(student, teacher, weight, same=False)
  difference = _similarities(student, weight) - _similarities(teacher, weight)
  return rows.pair_mean(jnp.square(difference), weight)


def _similarities(features, weight):
  features = rows.flat(features)
  gram = jnp.matmul(features, features.T, precision=jax.lax.Precision.HIGHEST)
  square = (weight[None, :] * jnp.square(gram)).sum(1, keepdims=True)
  return gram * jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)


@steady
def correlation_congruence(
  student: jax.Array, teacher: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
  """Mean over consecutive examples of delta_i . delta_{i+1}, with delta = |e_s - e_t| of the two
  embeddings, by entry.

  This is what is shipped and compared as CC; it depends on the order of the batch. Both embeddings
  are trained linear maps of the features.

  Args:
    student: e_s [n, d].
    teacher: e_t [n, d].
    weight: [n]; the neighbours of a batch are those of its rows with a weight, and a pair counts by
      the product of the two.

  Returns:
    A scalar; 0 with fewer than two rows.

  Raises:
    UserError: for shapes that differ.

  Source: Peng et al., ICCV 2019, in the form of RepDistiller, whose weight of it is 0.02; the paper
  compares kernel matrices.

  >>> student, teacher = jnp.array([[1.0, 0.0], [2.0, 2.0], [0.0, 1.0]]), jnp.zeros((3, 2))
  >>> float(correlation_congruence(student, teacher))   # (2 + 2) / 2
  2.0
  """
  student, teacher, weight = rows.aligned(student, teacher, weight)
  present_first = jnp.argsort(weight <= 0, stable=True)
  delta = jnp.abs(rows.flat(student) - rows.flat(teacher))[present_first]
  weight = weight[present_first]
  pairs = rows.share(weight[:-1] * weight[1:])
  return (pairs * (delta[:-1] * delta[1:]).sum(-1)).sum()


@steady
def pkt(student: jax.Array, teacher: jax.Array, weight: jax.Array | None = None) -> jax.Array:
  """Mean over all n^2 pairs of p_t log((p_t + 1e-7) / (p_s + 1e-7)), where p_ij is (cos(f_i, f_j) +
  1) / 2 divided by its sum over j.

  Args:
    student: [n, ...].
    teacher: [n, ...].
    weight: [n]; a row of weight 0 neither gives nor receives.

  Returns:
    A scalar; no factor or rotation of either side changes it.

  Raises:
    UserError: for numbers of rows that differ.

  Source: Passalis & Tefas, ECCV 2018, with the means of RepDistiller, whose weight of it is 30000.

  >>> round(float(pkt(jnp.eye(2), jnp.ones((2, 1)))), 4)   # (log 3/4 + log 3/2) / 4
  0.0294
  """
  student, teacher, weight = rows.aligned(student, teacher, weight, same=False)
  p_student, p_teacher = (_probabilities(side, weight) for side in (student, teacher))
  ratio = jnp.log((p_teacher + _PROBABILITY) / (p_student + _PROBABILITY))
  return rows.pair_mean(p_teacher * ratio, weight)


def _probabilities(features, weight):
  features = rows.flat(features)
  near = jnp.maximum((rows.cosines(features, features) + 1) / 2, 0)
  total = (weight[None, :] * near).sum(1, keepdims=True)
  return near / jnp.where(total > 0, total, 1)

"""Distillation of relations of the orders 1 to 4 (HORKD): points, pairs, triplets and groups.

The batch is the global one. No gradient is stopped here: a teacher that is to have none is stopped
outside.
"""

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.losses import rows
from jaxdistill.losses.relational import rkd_angle, rkd_distance
from jaxdistill.numerics import steady


@steady
def point_order(
  student: jax.Array, teacher: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
  """Mean over examples of ||f_s / ||f_s|| - f_t / ||f_t|| ||^2 = 2 (1 - cos(f_s, f_t)), order 1 of
  HORKD.

  Args:
    student: [n, d], projected to the teacher's width if need be.
    teacher: [n, d].
    weight: [n]; an example of weight 0 counts nowhere.

  Returns:
    A scalar; no factor of either side changes it.

  Raises:
    UserError: for shapes that differ.

  Source: Ge et al., AAAI 2020 (HORKD); the unit length of the features is our choice.

  >>> float(point_order(jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 1.0]])))
  2.0
  """
  student, teacher, weight = rows.aligned(student, teacher, weight)
  student, teacher = (rows.directions(rows.flat(side)) for side in (student, teacher))
  return (rows.share(weight) * jnp.square(student - teacher).sum(-1)).sum()


@steady
def group_order(
  student: jax.Array,
  teacher: jax.Array,
  temperature: float = 0.1,
  weight: jax.Array | None = None,
) -> jax.Array:
  """Mean over examples of KL(G_i(t) || G_i(s)), with G_i(f) the softmax over j != i of
  cos(f_i, f_j) / temperature: what stands how near to an example, order 4 of HORKD.

  Args:
    student: [n, ...].
    teacher: [n, ...].
    temperature: of the softmax.
    weight: [n]; a row of weight 0 neither gives nor receives.

  Returns:
    A scalar; no factor or rotation of either side changes it.

  Raises:
    UserError: for numbers of rows that differ, or a temperature that is not above 0.

  Source: Ge et al., AAAI 2020 (HORKD), names relations of higher orders; this form is our choice.

  >>> student, teacher = jnp.eye(3), jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
  >>> round(float(group_order(student, teacher, temperature=1.0)), 4)
  0.074
  """
  errors.positive_numbers(temperature=temperature)
  student, teacher, weight = rows.aligned(student, teacher, weight, same=False)
  others = ~jnp.eye(len(weight), dtype=bool) & (weight > 0)[None, :]
  log_p, log_q = (
    rows.log_softmax(rows.cosines(rows.flat(side), rows.flat(side)) / temperature, others)
    for side in (teacher, student)
  )
  return (rows.share(weight) * rows.divergence(log_p, log_q)).sum()


@steady
def horkd(
  student: jax.Array,
  teacher: jax.Array,
  point: float = 1.0,
  pair: float = 25.0,
  triplet: float = 50.0,
  group: float = 0.0,
  temperature: float = 0.1,
  weight: jax.Array | None = None,
) -> jax.Array:
  """point * `point_order` + pair * `rkd_distance` + triplet * `rkd_angle` + group * `group_order`:
  relations of the orders 1 to 4. An order of weight 0 is not computed.

  Orders 2 and 3 alone are `rkd`, order 1 alone is a hint. A student with two guides has the mean of
  its losses to them.

  Args:
    student: [n, d], of the teacher's width for order 1.
    teacher: [n, d].
    point: weight of order 1.
    pair: of order 2.
    triplet: of order 3.
    group: of order 4.
    temperature: of order 4.
    weight: [n]; a row of weight 0 neither gives nor receives.

  Returns:
    A scalar.

  Raises:
    UserError: for shapes that do not fit.

  Source: Ge et al., AAAI 2020 (HORKD); the weights of orders 2 and 3 are those of RKD in
  RepDistiller, the others are our choice.

  >>> features = jnp.eye(3)
  >>> float(horkd(features, 3 * features, group=1.0)) < 1e-6
  True
  """
  orders = (
    (point, point_order),
    (pair, rkd_distance),
    (triplet, rkd_angle),
    (group, lambda *sides, weight: group_order(*sides, temperature, weight)),
  )
  total = jnp.zeros((), jnp.float32)
  for factor, order in orders:
    if not isinstance(factor, int | float) or factor:
      total = total + factor * order(student, teacher, weight=weight)
  return total

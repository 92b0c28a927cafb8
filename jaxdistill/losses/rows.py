"""What the losses of a batch share: rows that count nowhere, shares of a mean, directions, and maps
of one size.

A weight is what a row counts in every mean, over rows as over pairs and triples of them, where it
is the product of theirs: a row of weight 2 is two equal rows, and one of weight 0 is not there,
whatever it holds. Among the candidates of a softmax or of a contrast a row is there or not: which
it is, only the weight 0 decides (our choice).
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors

# Differences up to so many units of the last place of the largest number are none.
_ROUNDING = 32


def aligned(
  student: jax.Array,
  teacher: jax.Array,
  weight: jax.Array | None,
  what: str = 'features',
  same: bool = True,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns both sides in float32 at least, rows of weight 0 as zeros, and the weights [n].

  Args:
    student: [n, ...].
    teacher: [n, ...].
    weight: [n]; None: 1 each.
    what: the two are, for the message.
    same: whether the shapes must agree beyond the number of rows.

  Raises:
    UserError: for shapes that do not fit.

  >>> student, teacher, weight = aligned(jnp.ones((2, 1)), jnp.ones((2, 1)), jnp.array([1, 0]))
  >>> student.tolist(), weight.tolist()
  ([[1.0], [0.0]], [1.0, 0.0])
  """
  student, teacher = jnp.asarray(student), jnp.asarray(teacher)
  if student.ndim < 2 or (student.shape != teacher.shape if same else len(student) != len(teacher)):
    one = 'one shape' if same else 'one number of rows'
    raise errors.UserError(
      f"The student's and the teacher's {what} need {one}; got {student.shape} and {teacher.shape}."
    )
  dtype = jnp.promote_types(jnp.promote_types(student.dtype, teacher.dtype), jnp.float32)
  weight = counted(weight, len(student), dtype)
  return kept(student.astype(dtype), weight), kept(teacher.astype(dtype), weight), weight


def counted(weight: jax.Array | None, rows: int, dtype: jnp.dtype = jnp.float32) -> jax.Array:
  """Returns the weights of the rows, [rows]; None is 1 each.

  Raises:
    UserError: for another number of weights.

  >>> counted(None, 2).tolist()
  [1.0, 1.0]
  """
  if weight is None:
    return jnp.ones(rows, dtype)
  weight = jnp.asarray(weight)
  if weight.shape != (rows,):
    raise errors.UserError(f'There is one weight a row, here {rows}; got shape {weight.shape}.')
  return weight.astype(dtype)


def kept(values: jax.Array, weight: jax.Array) -> jax.Array:
  """Returns values [n, ...] with zeros in rows of weight 0: padding may hold anything, NaN too.

  >>> kept(jnp.array([[1.0], [jnp.nan]]), jnp.array([1.0, 0.0])).tolist()
  [[1.0], [0.0]]
  """
  return jnp.where(weight.reshape(-1, *[1] * (values.ndim - 1)) > 0, values, 0)


def share(weight: jax.Array) -> jax.Array:
  """Returns w_i / sum w, what every row is of a mean; zeros where all weights are 0.

  >>> share(jnp.array([1.0, 3.0, 0.0])).tolist()
  [0.25, 0.75, 0.0]
  """
  total = weight.sum()
  return weight / jnp.where(total > 0, total, 1)


def pair_mean(values: jax.Array, weight: jax.Array) -> jax.Array:
  """Returns the mean of values [n, n] over all ordered pairs of rows, i = j too.

  >>> float(pair_mean(jnp.array([[0.0, 2.0], [2.0, 0.0]]), jnp.ones(2)))
  1.0
  """
  part = share(weight)
  # Multiply and add, not a matrix product, which accelerators would round to fewer digits.
  return (values * part[:, None] * part[None, :]).sum()


def flat(values: jax.Array) -> jax.Array:
  """Returns values [n, ...] as [n, d].

  >>> flat(jnp.ones((2, 3, 3, 4))).shape
  (2, 36)
  """
  return values.reshape(len(values), -1)


def directions(vectors: jax.Array) -> jax.Array:
  """Returns v / ||v|| along the last axis; 0 stays 0, and has the gradient 0.

  >>> directions(jnp.array([[3.0, 4.0], [0.0, 0.0]])).round(3).tolist()
  [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
  """
  square = jnp.square(vectors).sum(-1, keepdims=True)
  return vectors * jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)


def differences(before: jax.Array, after: jax.Array) -> jax.Array:
  """Returns |before - after| by entry, 0 where the two differ by rounding alone.

  Its gradient is 0 there too. So what is equal does not start in a direction that the order of some
  sums decides.

  >>> differences(jnp.array([1.0 + 1e-7, 2.0]), jnp.array([1.0, 0.0])).tolist()
  [0.0, 2.0]
  """
  difference = before - after
  rounding = _ROUNDING * jnp.finfo(before.dtype).eps * jnp.abs(before).max(initial=0)
  sign = jnp.where(jnp.abs(difference) > rounding, jnp.sign(difference), 0)
  return difference * jax.lax.stop_gradient(sign)


def cosines(left: jax.Array, right: jax.Array) -> jax.Array:
  """Returns the cosines of all rows of two sets, [n, m].

  >>> cosines(jnp.array([[2.0, 0.0]]), jnp.array([[3.0, 0.0], [0.0, 1.0]])).tolist()
  [[1.0, 0.0]]
  """
  return jnp.matmul(directions(left), directions(right).T, precision=jax.lax.Precision.HIGHEST)


def log_softmax(logits: jax.Array, candidates: jax.Array) -> jax.Array:
  """Returns the log softmax along the last axis among the candidates, bool as the logits; what is
  no candidate gets a number whose exponential is 0.

  >>> log_softmax(jnp.zeros((1, 3)), jnp.array([[True, True, False]])).round(3)[:, :2].tolist()
  [[-0.6930000185966492, -0.6930000185966492]]
  """
  # Finite, so that 0 times it is 0.
  return jax.nn.log_softmax(jnp.where(candidates, logits, jnp.finfo(logits.dtype).min / 8))


def divergence(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
  """Returns KL(p || q) = sum_c p_c (log p_c - log q_c) along the last axis.

  >>> float(divergence(jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.5, 0.5]))))
  0.0
  """
  return (jnp.exp(log_p) * (log_p - log_q)).sum(-1)


def pooled(maps: jax.Array, height: int, width: int) -> jax.Array:
  """Returns maps [n, h, w, c] as [n, height, width, c]: cell i is the mean over the pixels from
  floor(i h / height) to ceil((i + 1) h / height), likewise across.

  >>> pooled(jnp.arange(4.0).reshape(1, 4, 1, 1), 2, 1).ravel().tolist()
  [0.5, 2.5]
  >>> pooled(jnp.arange(3.0).reshape(1, 3, 1, 1), 2, 1).ravel().tolist()
  [0.5, 1.5]
  """
  n, h, w, c = maps.shape
  if (h, w) == (height, width):
    return maps
  if h % height == 0 and w % width == 0:
    return maps.reshape(n, height, h // height, width, w // width, c).mean((2, 4))
  down, across = (jnp.asarray(_windows(*sizes), maps.dtype) for sizes in ((h, height), (w, width)))
  exact = jax.lax.Precision.HIGHEST
  return jnp.einsum('nhwc,ih,jw->nijc', maps, down, across, precision=exact)


def of_one_size(left: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns two sets of maps with the larger ones averaged down to the size of the smaller ones.

  >>> [maps.shape for maps in of_one_size(jnp.ones((1, 4, 4, 3)), jnp.ones((1, 2, 2, 5)))]
  [(1, 2, 2, 3), (1, 2, 2, 5)]
  """
  height, width = (min(left.shape[axis], right.shape[axis]) for axis in (1, 2))
  return pooled(left, height, width), pooled(right, height, width)


def _windows(size, cells):
  """The matrix [cells, size] by which a line of pixels becomes the means of its cells."""
  first = np.arange(cells) * size // cells
  last = -(-(np.arange(cells) + 1) * size // cells)
  pixels = np.arange(size)
  inside = (pixels >= first[:, None]) & (pixels < last[:, None])
  return inside / inside.sum(1, keepdims=True)

"""Distillation of logits: what a teacher says of the classes, as a whole (KD), parted at the true
class (DKD), or by its correlations alone (DIST).

No gradient is stopped here: a teacher that is to have none is stopped outside.
"""

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.losses import rows
from jaxdistill.numerics import steady

# The term that keeps DIST's correlations from dividing by 0, of its public code.
_CORRELATION = 1e-8
# A column that spreads by fewer units of the last place of its numbers has no spread.
_ROUNDING = 8
# The one of logit standardisation.
_DEVIATION = 1e-7


@steady
def kd(
  student_logits: jax.Array,
  teacher_logits: jax.Array,
  temperature: float = 4.0,
  weight: jax.Array | None = None,
  standardize: bool = False,
) -> jax.Array:
  """Weighted mean over examples of T^2 KL(softmax(z_t / T) || softmax(z_s / T)), the sum over the
  classes.

  T^2 keeps the scale of the gradient, which tends to (z_s - z_t less their means) / (C n) for large
  T.

  Args:
    student_logits: z_s [n, C].
    teacher_logits: z_t [n, C].
    temperature: T.
    weight: [n]; an example of weight 0 counts nowhere.
    standardize: whether both logits are standardised first, see `standardize_logits`.

  Returns:
    A scalar; 0 for equal logits, and where all weights are 0.

  Raises:
    UserError: for shapes that do not fit, or a temperature that is not above 0.

  Source: Hinton, Vinyals & Dean, arXiv 1503.02531, with T = 4 and the mean over the batch as in
  RepDistiller.

  >>> student, teacher = jnp.array([[0.0, 0.0]]), jnp.log(jnp.array([[3.0, 1.0]]))
  >>> round(float(kd(student, teacher, temperature=1.0)), 4)   # 3/4 log(3/2) + 1/4 log(1/2)
  0.1308
  """
  errors.positive_numbers(temperature=temperature)
  student, teacher, weight = rows.aligned(student_logits, teacher_logits, weight, 'logits')
  if standardize:
    student, teacher = standardize_logits(student), standardize_logits(teacher)
  log_p, log_q = (jax.nn.log_softmax(logits / temperature) for logits in (teacher, student))
  return temperature**2 * (rows.share(weight) * rows.divergence(log_p, log_q)).sum()


@steady
def standardize_logits(logits: jax.Array) -> jax.Array:
  """(z - mean z) / (std z + 1e-7) in every row, std with C - 1 in its denominator: a student may
  have logits of another size and place than its teacher.

  Args:
    logits: [n, C]; rows of equal logits become 0, and have the gradient 0.

  Returns:
    [n, C].

  Source: Sun et al., CVPR 2024 (logit standardisation), whose public code then applies KD with a
  temperature.

  >>> standardize_logits(jnp.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])).round(3).tolist()
  [[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
  """
  centred = logits - logits.mean(-1, keepdims=True)
  variance = jnp.square(centred).sum(-1, keepdims=True) / max(logits.shape[-1] - 1, 1)
  deviation = jnp.sqrt(jnp.where(variance > 0, variance, 1))
  return centred * jnp.where(variance > 0, 1 / (deviation + _DEVIATION), 0)


@steady
def dkd(
  student_logits: jax.Array,
  teacher_logits: jax.Array,
  labels: jax.Array,
  alpha: float = 1.0,
  beta: float | jax.Array = 2.0,
  temperature: float = 4.0,
  weight: jax.Array | None = None,
  standardize: bool = False,
) -> jax.Array:
  """Weighted mean over examples of T^2 (alpha TCKD + beta NCKD), KD in its two parts.

    TCKD = KL between the two distributions of (true class, all others)
    NCKD = KL between the two distributions over the other classes alone

  KD is alpha = 1 with beta_i = 1 - p_t, where p_t is what the teacher gives the true class at
  temperature T: a sure teacher is hardly heard on the other classes there, and is here.

  Args:
    student_logits: [n, C].
    teacher_logits: [n, C].
    labels: int [n].
    alpha: of TCKD, a number or one an example [n].
    beta: of NCKD, likewise. 2 is for resnet20 and resnet32; the public code has 8 for resnet8x4
      and 6 for WRN and VGG-8.
    temperature: T.
    weight: [n]; an example of weight 0 counts nowhere.
    standardize: whether both logits are standardised first, see `standardize_logits`.

  Returns:
    A scalar; 0 for equal logits.

  Raises:
    UserError: for shapes that do not fit, or a temperature that is not above 0.

  Source: Zhao et al., CVPR 2022, and mdistiller, which raises the loss linearly over 20 epochs.

  >>> student, teacher = jnp.zeros((1, 3)), jnp.log(jnp.array([[2.0, 1.0, 1.0]]))
  >>> round(float(dkd(student, teacher, jnp.array([0]), temperature=1.0)), 4)  # NCKD is 0
  0.0589
  """
  errors.positive_numbers(temperature=temperature)
  student, teacher, weight = rows.aligned(student_logits, teacher_logits, weight, 'logits')
  if standardize:
    student, teacher = standardize_logits(student), standardize_logits(teacher)
  is_target = jax.nn.one_hot(labels, student.shape[1], dtype=bool)
  log_p, log_p_rest = _parted(teacher / temperature, is_target)
  log_q, log_q_rest = _parted(student / temperature, is_target)
  target_part = rows.divergence(log_p, log_q)
  rest_part = rows.divergence(log_p_rest, log_q_rest)
  alpha, beta = (jnp.where(weight > 0, factor, 0) for factor in (alpha, beta))
  part = rows.share(weight)
  return temperature**2 * (part * (alpha * target_part + beta * rest_part)).sum()


def _parted(logits, is_target):
  """Log probabilities of (true class, all others) [n, 2], and of the others among themselves."""
  log_rest = rows.log_softmax(logits, ~is_target)
  others = jnp.where(is_target, jnp.finfo(logits.dtype).min / 8, logits)
  pair = [jnp.where(is_target, logits, 0).sum(-1), jax.nn.logsumexp(others, -1)]
  return jax.nn.log_softmax(jnp.stack(pair, -1)), log_rest


@steady
def dist(
  student_logits: jax.Array,
  teacher_logits: jax.Array,
  temperature: float = 1.0,
  beta: float = 1.0,
  gamma: float = 1.0,
  weight: jax.Array | None = None,
) -> jax.Array:
  """T^2 (beta (1 - mean_i r_i) + gamma (1 - mean_c r_c)), by correlations instead of a divergence.

  With P = softmax(z / T), r_i is Pearson's correlation of row i of the student's P with that of the
  teacher's, r_c of column c: what the classes are to each other in an image, and the images to each
  other in a class. r = cov / (sd sd + 1e-8) with sums in place of means, so that a column without
  spread has r = 0.

  Args:
    student_logits: [n, C].
    teacher_logits: [n, C].
    temperature: T; the paper takes 4 on CIFAR-100.
    beta: of the correlations in an image.
    gamma: of those in a class.
    weight: [n]; an example of weight 0 counts nowhere.

  Returns:
    A scalar; 0 for logits that are equal up to a constant a row, if every column has spread.

  Raises:
    UserError: for shapes that do not fit, or a temperature that is not above 0.

  Source: Huang et al., NeurIPS 2022 (DIST), and its public code.

  >>> student, teacher = jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.array([[1.0, 0.0], [0.0, 1.0]])
  >>> round(float(dist(student, teacher)), 4)   # every correlation is -1
  4.0
  """
  errors.positive_numbers(temperature=temperature)
  errors.real_numbers(beta=beta, gamma=gamma)
  student, teacher, weight = rows.aligned(student_logits, teacher_logits, weight, 'logits')
  student, teacher = (jax.nn.softmax(logits / temperature) for logits in (student, teacher))
  by_image = _correlations(student.T, teacher.T, jnp.ones(student.shape[1], student.dtype))
  by_class = _correlations(student, teacher, weight)
  some = jnp.where(weight.sum() > 0, 1, 0)
  between_classes = some - (rows.share(weight) * by_image).sum()
  within_class = some - by_class.mean()
  return temperature**2 * (beta * between_classes + gamma * within_class)


def _correlations(left, right, weight):
  """Pearson's correlation of every column of two [n, k], under weights of the rows [n]."""
  part, weight = rows.share(weight)[:, None], weight[:, None]
  spreads, norm, product = True, 1, weight
  for values in (left, right):
    centred = values - (part * values).sum(0, keepdims=True)
    square = (weight * jnp.square(centred)).sum(0)
    least = (_ROUNDING * jnp.finfo(values.dtype).eps) ** 2 * (weight * jnp.square(values)).sum(0)
    spreads, product = spreads & (square > least), product * centred
    norm = norm * jnp.sqrt(jnp.where(square > least, square, 1))
  # Without spread there is neither a correlation nor a gradient.
  return jnp.where(spreads, product.sum(0) / (norm + _CORRELATION), 0)

"""Classes as directions: cosine logits, the simplex equiangular tight frame (ETF), and the loss
that pulls features onto fixed directions."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.losses.classification import one_hot, weighted_mean
from jaxdistill.numerics import steady

# Squared length below which a vector is not lengthened to 1 any more, so that 0 keeps a gradient.
_LEAST = 1e-12


@steady
def unit(vectors: jax.Array) -> jax.Array:
  """v / ||v|| along the last axis, in float32; 0 stays 0.

  >>> import jax.numpy as jnp
  >>> unit(jnp.array([[3., 4.], [0., 0.]]))
  Array([[0.6, 0.8],
         [0. , 0. ]], dtype=float32)
  """
  vectors = vectors.astype(jnp.float32)
  square = jnp.square(vectors).sum(-1, keepdims=True)
  return vectors * jax.lax.rsqrt(jnp.maximum(square, _LEAST))


@steady
def cosine_logits(features: jax.Array, rows: jax.Array, scale: float = 16.0) -> jax.Array:
  """scale * cos(f_i, w_c), the logits of a cosine classifier, in float32.

  Args:
    features: [n, d], of any length.
    rows: [classes, d], one direction a class, of any length.
    scale: the inverse temperature.

  Returns:
    [n, classes].

  Source: Gidaris & Komodakis, CVPR 2018; the scale 16 is that of few-shot class-incremental
  learning (Zhang et al., CVPR 2021, CEC).

  >>> import jax.numpy as jnp
  >>> cosine_logits(jnp.array([[2., 0.]]), jnp.array([[1., 0.], [0., 3.], [-1., 0.]]))
  Array([[ 16.,   0., -16.]], dtype=float32)
  """
  cosines = jnp.matmul(unit(features), unit(rows).T, precision=jax.lax.Precision.HIGHEST)
  return scale * cosines


def etf(num_classes: int, width: int, seed: int = 0) -> np.ndarray:
  """Returns the simplex ETF E = sqrt(C / (C - 1)) U (I - 1 1^T / C) of C classes.

  Its columns are unit vectors, and every two of them have the cosine -1 / (C - 1), the least that C
  directions can all have at once. U [width, C] has orthonormal columns: the Q of the QR
  decomposition of numbers uniform on [0, 1).

  Args:
    num_classes: C, at least 2.
    width: of the features, at least C.
    seed: of the rotation U; NumPy's generator.

  Returns:
    float32 [width, C] on the host.

  Raises:
    UserError: fewer than two classes, or more classes than the width.

  Source: Papyan, Han & Donoho, PNAS 2020; as fixed classifier Yang et al., ICLR 2023 (NC-FSCIL).

  >>> frame = etf(num_classes=3, width=4)
  >>> (frame.T @ frame).round(3).tolist()
  [[1.0, -0.5, -0.5], [-0.5, 1.0, -0.5], [-0.5, -0.5, 1.0]]
  """
  classes = errors.whole('num_classes', num_classes, at_least=2)
  if errors.whole('width', width) < classes:
    raise errors.UserError(
      f'A simplex ETF of {classes} classes needs features of at least {classes} numbers; got '
      f'{width}.'
    )
  random = np.random.default_rng(errors.seed(seed)).random((width, classes))
  rotation, _ = np.linalg.qr(random)
  centred = rotation - rotation.mean(1, keepdims=True)
  return (np.sqrt(classes / (classes - 1)) * centred).astype(np.float32)


@steady
def dot_regression(
  features: jax.Array,
  labels: jax.Array,
  frame: jax.Array,
  weight: jax.Array | None = None,
  lengths: jax.Array | None = None,
  scale: float = 10.0,
) -> jax.Array:
  """Weighted mean over examples of scale / 2 * sum_c p_c s_c^2 (e_c^T h - 1)^2.

  p is one-hot for integer labels, so that only the own class pulls: there is no other class to push
  away, the frame keeps them apart. With soft labels lambda, 1 - lambda of two mixed images it is
  the mixture of the two losses.

  Args:
    features: h, unit vectors [n, width].
    labels: int [n], or probabilities [n, classes].
    frame: e_c, unit columns [width, classes] such as `etf` makes.
    weight: [n]; an example of weight 0 counts nowhere.
    lengths: s_c [classes], by which the targets are longer than 1, see `class_lengths`; None: 1.
    scale: of the loss.

  Returns:
    A float32 scalar.

  Source: Yang et al., ICLR 2023 (NC-FSCIL), with the scale 10 of its public code.

  >>> import jax.numpy as jnp
  >>> float(dot_regression(jnp.array([[1., 0.], [0., 1.]]), jnp.array([0, 0]), jnp.eye(2)))
  2.5
  """
  dots = jnp.matmul(features.astype(jnp.float32), frame, precision=jax.lax.Precision.HIGHEST)
  error = jnp.square(dots - 1)
  if lengths is not None:
    error = error * jnp.square(lengths)[None]
  target = one_hot(labels, frame.shape[1])
  return weighted_mean(scale / 2 * (target * error).sum(-1), weight)


@steady
def class_lengths(
  labels: jax.Array, num_classes: int, weight: jax.Array | None = None
) -> jax.Array:
  """s_c = sqrt((n / k) / n_c), by which rare classes of a batch pull harder on their features.

  n_c is the weight of class c in the batch, n the sum over all classes, k the number of classes
  that are there; s_c = 1 for the others. With soft labels a class is there by its share (our
  choice).

  Args:
    labels: int [n], or probabilities [n, classes], of the whole batch.
    num_classes: number of classes.
    weight: [n]; None: 1.

  Returns:
    float32 [classes].

  Source: the option `with_len` of the public code of Yang et al., ICLR 2023 (NC-FSCIL).

  >>> import jax.numpy as jnp
  >>> lengths = class_lengths(jnp.array([0] * 9 + [2]), 3)
  >>> [round(float(length), 3) for length in lengths]   # sqrt(5 / 9), 1, sqrt(5 / 1)
  [0.745, 1.0, 2.236]
  """
  target = one_hot(labels, num_classes)
  if weight is not None:
    # Padding may hold anything.
    target = jnp.where(weight[:, None] > 0, weight[:, None] * target, 0.0)
  counts = target.sum(0)
  there = counts > 0
  mean = counts.sum() / jnp.maximum(there.sum(), 1)
  return jnp.where(there, jnp.sqrt(mean / jnp.where(there, counts, 1.0)), 1.0)

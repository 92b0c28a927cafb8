"""Cross-entropy for integer and for soft labels, and the mean by which padding counts nowhere."""

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.numerics import steady


@steady
def cross_entropy(
  logits: jax.Array,
  labels: jax.Array,
  weight: jax.Array | None = None,
  label_smoothing: float = 0.0,
) -> jax.Array:
  """Weighted mean over examples of -sum_c p_c log softmax(logits)_c, in float32.

  p is the label distribution: one-hot for integer labels, the given one for soft labels; with
  smoothing s it becomes (1 - s) p + s / k.

  Args:
    logits: [n, k].
    labels: int [n], or probabilities [n, k].
    weight: [n]; an example of weight 0 (padding) counts nowhere, neither in the sum nor in the
      number that divides it. When all weights are 0 so is the loss.
    label_smoothing: s in [0, 1].

  Returns:
    A float32 scalar.

  Raises:
    UserError: s is no number.

  >>> import jax.numpy as jnp
  >>> round(float(cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))), 4)   # log 4
  1.3863
  """
  errors.real_numbers(label_smoothing=label_smoothing)
  log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
  classes = logits.shape[-1]
  target = one_hot(labels, classes)
  target = (1 - label_smoothing) * target + label_smoothing / classes
  return weighted_mean(-(target * log_p).sum(-1), weight)


@steady
def weighted_mean(values: jax.Array, weight: jax.Array | None = None) -> jax.Array:
  """sum_i w_i v_i / sum_i w_i, in which a value of weight 0 counts nowhere, whatever it holds.

  Args:
    values: float [n].
    weight: [n]; None: all weigh the same. When all weights are 0 so is the mean.

  Returns:
    A scalar.

  >>> import jax.numpy as jnp
  >>> float(weighted_mean(jnp.array([1., 4., jnp.nan]), jnp.array([2, 1, 0])))
  2.0
  """
  if weight is None:
    return values.mean()
  weight = weight.astype(jnp.float32)
  total = weight.sum()
  # Padding may hold anything, so it must not reach the sum even as 0 * nan.
  values = jnp.where(weight > 0, values, 0.0)
  return (weight * values).sum() / jnp.where(total > 0, total, 1.0)


@steady
def one_hot(labels: jax.Array, classes: int) -> jax.Array:
  """Returns labels as probabilities, float32 [n, classes]: integers [n] as one-hot rows, those that
  are probabilities already as they are.

  >>> import jax.numpy as jnp
  >>> one_hot(jnp.array([1]), 3)
  Array([[0., 1., 0.]], dtype=float32)
  """
  return (
    jax.nn.one_hot(labels, classes, dtype=jnp.float32)
    if labels.ndim == 1
    else labels.astype(jnp.float32)
  )

"""Cross-entropy and accuracy, for integer and for soft labels."""

import jax
import jax.numpy as jnp


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

  >>> import jax.numpy as jnp
  >>> round(float(cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))), 4)   # log 4
  1.3863
  """
  log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
  classes = logits.shape[-1]
  target = _one_hot(labels, classes)
  target = (1 - label_smoothing) * target + label_smoothing / classes
  return _mean(-(target * log_p).sum(-1), weight)


def accuracy(logits: jax.Array, labels: jax.Array, weight: jax.Array | None = None) -> jax.Array:
  """Weighted share of examples whose largest logit is that of the label; of the most probable one,
  if labels are soft.

  Args:
    logits: [n, k].
    labels: int [n], or probabilities [n, k].
    weight: [n] or None.

  Returns:
    A float32 scalar in [0, 1].

  >>> import jax.numpy as jnp
  >>> float(accuracy(jnp.array([[2., 1.], [0., 3.]]), jnp.array([0, 0])))
  0.5
  """
  target = labels if labels.ndim == 1 else labels.argmax(-1)
  return _mean((logits.argmax(-1) == target).astype(jnp.float32), weight)


def _one_hot(labels, classes):
  return (
    jax.nn.one_hot(labels, classes, dtype=jnp.float32)
    if labels.ndim == 1
    else labels.astype(jnp.float32)
  )


def _mean(values, weight):
  if weight is None:
    return values.mean()
  weight = weight.astype(jnp.float32)
  total = weight.sum()
  # Padding may hold anything, so it must not reach the sum even as 0 * nan.
  values = jnp.where(weight > 0, values, 0.0)
  return (weight * values).sum() / jnp.where(total > 0, total, 1.0)

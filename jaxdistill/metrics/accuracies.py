"""Accuracies of logits, as jax arrays: pure, and safe inside compiled steps and under vmap."""

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.losses.classification import weighted_mean
from jaxdistill.numerics import steady


@steady
def accuracy(
  logits: jax.Array, labels: jax.Array, weight: jax.Array | None = None, top: int = 1
) -> jax.Array:
  """Weighted share of examples whose label is among the `top` largest logits; the label is the most
  probable one, if labels are soft.

  Of equal logits the class with the smaller number counts as the larger, as argmax has it.

  Args:
    logits: [n, k].
    labels: int [n], or probabilities [n, k].
    weight: [n] or None; an example of weight 0 (padding) counts nowhere, whatever it holds. When
      all weights are 0 so is the accuracy.
    top: from 1 to k; 5 for the second number of ImageNet's tables.

  Returns:
    A float32 scalar in [0, 1].

  Raises:
    UserError: shapes that do not fit, no examples, or `top` out of range.

  >>> import jax.numpy as jnp
  >>> logits, labels = jnp.array([[2., 1., 0.], [0., 3., 1.]]), jnp.array([1, 0])
  >>> float(accuracy(logits, labels)), float(accuracy(logits, labels, top=2))
  (0.0, 0.5)
  """
  _check(logits, labels, weight)
  errors.whole_numbers(top=top)
  if not 1 <= top <= logits.shape[1]:
    raise errors.UserError(
      f'The accuracy among the largest logits takes top from 1 to {logits.shape[1]}, the number of '
      f'classes; got {top}.'
    )
  labels = _hard(labels)
  if top == 1:
    hits = logits.argmax(-1) == labels
  else:
    hits = (jax.lax.top_k(logits, top)[1] == labels[:, None]).any(-1)
  return weighted_mean(hits.astype(jnp.float32), weight)


@steady
def accuracy_by_class(
  logits: jax.Array, labels: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
  """Weighted share of right answers among the examples of each class (its recall).

  Args:
    logits: [n, k].
    labels: int [n], or probabilities [n, k].
    weight: [n] or None; see `accuracy`.

  Returns:
    float32 [k], each in [0, 1]; nan for a class without examples.

  Raises:
    UserError: shapes that do not fit, or no examples.

  >>> import jax.numpy as jnp
  >>> logits = jnp.array([[2., 1., 0.], [0., 3., 1.], [0., 3., 1.]])
  >>> accuracy_by_class(logits, jnp.array([0, 0, 1])).tolist()
  [0.5, 1.0, nan]
  """
  _check(logits, labels, weight)
  labels = _hard(labels)
  classes = logits.shape[1]
  weight = jnp.ones(len(logits)) if weight is None else weight.astype(jnp.float32)
  hits = jnp.where(logits.argmax(-1) == labels, weight, 0.0)
  right, total = (jax.ops.segment_sum(values, labels, classes) for values in (hits, weight))
  return jnp.where(total > 0, right / jnp.where(total > 0, total, 1.0), jnp.nan)


def _check(logits, labels, weight):
  if logits.ndim != 2 or labels.shape not in (logits.shape[:1], logits.shape):
    raise errors.UserError(
      f'An accuracy takes logits [n, k] and labels [n] or [n, k]; got {logits.shape} and '
      f'{labels.shape}.'
    )
  if not logits.size:
    raise errors.UserError('An accuracy needs at least one example and one class; got none.')
  if weight is not None and weight.shape != logits.shape[:1]:
    raise errors.UserError(
      f'A weight has one entry an example, here shape {logits.shape[:1]}; got {weight.shape}.'
    )


def _hard(labels):
  return labels if labels.ndim == 1 else labels.argmax(-1)

"""What the last layer of each annotator makes of an image, for the annotators who labelled it."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import backend


def logits_of(inputs: jax.Array, layers: jax.Array, annotators: jax.Array) -> jax.Array:
  """Returns the logits of T^r(x_i), [n, K, C, C].

      logits[i, k] = sum_l x_il F[r_ik, l]

  Accelerators gather the layers of all labels at once. On a CPU the [n, K, d, C, C] numbers of
  that, written and read again, cost far more than the sums; there one label comes after another,
  forward and backward.

  Args:
    inputs: x, float [n, d].
    layers: F of all annotators, [R, d, C, C].
    annotators: r of each image, int [n, K], all in range.

  >>> layers = jnp.arange(8.0).reshape(2, 1, 2, 2)
  >>> logits_of(jnp.array([[2.0]]), layers, jnp.array([[1, 0]])).tolist()
  [[[[8.0, 10.0], [12.0, 14.0]], [[0.0, 2.0], [4.0, 6.0]]]]
  """
  if backend.platform() != 'cpu':
    return jnp.einsum('nl,nkljc->nkjc', inputs, layers[annotators])
  number, classes = annotators.size, layers.shape[-1]
  flat = _by_label(
    jnp.repeat(inputs, annotators.shape[1], axis=0),
    layers.reshape(*layers.shape[:2], -1),
    annotators.reshape(number),
  )
  return flat.reshape(*annotators.shape, classes, classes)


@jax.custom_vjp
def _by_label(inputs, layers, annotators):
  """[m, C C] of m labels, from inputs [m, d] and layers [R, d, C C]."""
  return jax.lax.map(lambda label: label[0] @ layers[label[1]], (inputs, annotators))


def _forward(inputs, layers, annotators):
  return _by_label(inputs, layers, annotators), (inputs, layers, annotators)


def _backward(kept, change):
  inputs, layers, annotators = kept

  def of_label(changes, label):
    x, of_logits, annotator = label
    # In place: only this annotator's rows are read and written.
    changes = changes.at[annotator].add(x[:, None] * of_logits[None])
    return changes, layers[annotator] @ of_logits

  of_layers, of_inputs = jax.lax.scan(
    of_label, jnp.zeros_like(layers), (inputs, change, annotators)
  )
  return of_inputs, of_layers, np.zeros(annotators.shape, jax.dtypes.float0)


_by_label.defvjp(_forward, _backward)

"""Losses of every image of a batch by itself, [n]: what adversarial training means over, masks, and
raises image by image."""

import jax
import jax.numpy as jnp

from jaxdistill.numerics import steady


@steady
def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """-sum_c p_c log softmax(z)_c of every image, float32 [n].

  Args:
    logits: z, [n, C].
    labels: p, probabilities [n, C].

  >>> round(float(cross_entropy(jnp.zeros((1, 4)), jnp.eye(4)[:1])[0]), 4)   # log 4
  1.3863
  """
  return -(labels * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(-1)


@steady
def divergence(clean: jax.Array, adversarial: jax.Array) -> jax.Array:
  """KL(p || p') = sum_c p_c (log p_c - log p'_c) of every image, in nats, float32 [n].

  The gradient goes into both.

  Args:
    clean: logits of p, [n, C].
    adversarial: logits of p', [n, C].

  >>> divergence(jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]])).tolist()  # one distribution
  [0.0]
  """
  log_p = jax.nn.log_softmax(clean.astype(jnp.float32))
  log_q = jax.nn.log_softmax(adversarial.astype(jnp.float32))
  return (jnp.exp(log_p) * (log_p - log_q)).sum(-1)

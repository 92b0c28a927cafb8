"""Losses that several methods share."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxdistill.label_noise.observed import ANNOTATORS, GIVEN


def observed_nll(log_p: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
  """Returns the mean of -log p over the observed labels of a batch, a scalar.

      L = - sum over observed (i, r) of w_i log_p[i, place of r, label] / sum of w_i over them

  A batch that is spread over devices must be gathered: examples have different numbers of labels.

  Args:
    log_p: [n, K, C], of what each of an example's annotators says; or [n, 1, C], the same for all.
    batch: with 'annotators' and 'given' int [n, K], -1 where there is no label, and 'weight' [n].

  >>> batch = {'annotators': jnp.array([[0, -1]]), 'given': jnp.array([[1, -1]])}
  >>> observed_nll(jnp.log(jnp.array([[[0.25, 0.75]]])), batch | {'weight': jnp.ones(1)}).round(4)
  Array(0.2877, dtype=float32)
  """
  given = batch[GIVEN]
  counts = (batch[ANNOTATORS] >= 0) * batch['weight'][:, None]
  log_p = jnp.broadcast_to(log_p, (*given.shape, log_p.shape[-1]))
  chosen = jnp.take_along_axis(log_p, jnp.maximum(given, 0)[..., None], axis=-1)[..., 0]
  return -(counts * chosen).sum() / jnp.maximum(counts.sum(), 1e-12)

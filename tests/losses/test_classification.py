"""Cross-entropy against hand-computed numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import losses

# softmax of these rows: (1/2, 1/4, 1/4) and (1/10, 1/10, 8/10).
LOGITS = jnp.log(jnp.array([[2.0, 1.0, 1.0], [1.0, 1.0, 8.0]]))


def test_integer_labels():
  expected = -(np.log(1 / 2) + np.log(1 / 10)) / 2
  assert losses.cross_entropy(LOGITS, jnp.array([0, 1])) == pytest.approx(expected, rel=1e-6)


def test_soft_labels():
  soft = jnp.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
  expected = -(0.5 * np.log(1 / 2) + 0.5 * np.log(1 / 4) + np.log(8 / 10)) / 2
  assert losses.cross_entropy(LOGITS, soft) == pytest.approx(expected, rel=1e-6)


def test_weights_divide_by_their_sum():
  expected = -(3 * np.log(1 / 2) + np.log(8 / 10)) / 4
  assert losses.cross_entropy(LOGITS, jnp.array([0, 2]), jnp.array([3.0, 1.0])) == pytest.approx(
    expected, rel=1e-6
  )


def test_label_smoothing_mixes_with_the_uniform_distribution():
  smooth = jnp.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
  value = losses.cross_entropy(LOGITS, jnp.array([0, 2]), label_smoothing=0.3)
  assert value == pytest.approx(float(losses.cross_entropy(LOGITS, smooth)), rel=1e-6)


def test_padding_of_weight_zero_counts_nowhere():
  logits = jnp.concatenate([LOGITS, jnp.full((1, 3), jnp.nan)])
  loss = lambda logits: losses.cross_entropy(
    logits, jnp.array([0, 1, 2]), jnp.array([1.0, 1.0, 0.0])
  )
  value, gradient = jax.jit(jax.value_and_grad(loss))(logits)
  assert value == pytest.approx(float(losses.cross_entropy(LOGITS, jnp.array([0, 1]))), rel=1e-6)
  assert np.isfinite(gradient[:2]).all()
  assert losses.cross_entropy(LOGITS, jnp.array([0, 1]), jnp.zeros(2)) == 0


def test_gradient_is_softmax_minus_labels():
  gradient = jax.jit(jax.grad(losses.cross_entropy))(LOGITS, jnp.array([0, 1]))
  np.testing.assert_allclose(
    gradient, np.array([[-0.5, 0.25, 0.25], [0.1, -0.9, 0.8]]) / 2, rtol=1e-5
  )


def test_large_logits_do_not_overflow():
  assert losses.cross_entropy(jnp.array([[1e4, -1e4]]), jnp.array([1])) == pytest.approx(2e4)

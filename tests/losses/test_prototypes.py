"""Cosine logits, the simplex ETF and dot regression against float64 and numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import errors
from jaxdistill.losses import prototypes


def reference(features, labels, frame, weight, lengths, scale=10.0):
  """The loss of every example alone, in float64, averaged by its weight."""
  total = 0.0
  for h, distribution, w in zip(features, labels, weight):
    for probability, column, length in zip(distribution, frame.T, lengths):
      target = length * column
      total += w * probability * scale / 2 * (target @ h - np.linalg.norm(target)) ** 2
  return total / weight.sum()


def unit_rows(rng, *shape):
  rows = rng.normal(size=shape)
  return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize('classes, width', [(2, 2), (10, 10), (100, 512)])
def test_the_frame_has_unit_columns_as_far_apart_as_they_can_be(classes, width):
  frame = prototypes.etf(classes, width, seed=3)
  assert frame.shape == (width, classes) and frame.dtype == np.float32
  expected = np.full((classes, classes), -1 / (classes - 1))
  np.fill_diagonal(expected, 1)
  np.testing.assert_allclose(frame.astype(np.float64).T @ frame, expected, atol=1e-6)
  np.testing.assert_allclose(frame.sum(1), 0, atol=1e-5)


def test_the_frame_is_that_of_its_seed():
  first = prototypes.etf(4, 6, seed=1)
  np.testing.assert_array_equal(first, prototypes.etf(4, 6, seed=1))
  assert np.abs(first - prototypes.etf(4, 6, seed=2)).max() > 0.1


@pytest.mark.parametrize(
  'classes, width, message', [(1, 8, 'at least 2'), (9, 8, '9 classes needs .* at least 9.* got 8')]
)
def test_a_frame_that_cannot_be(classes, width, message):
  with pytest.raises(errors.UserError, match=message):
    prototypes.etf(classes, width)


def test_dot_regression_is_zero_only_on_the_own_column():
  frame = prototypes.etf(4, 6)
  labels = jnp.arange(4)
  assert float(prototypes.dot_regression(frame.T, labels, frame)) < 1e-10
  turned = prototypes.unit(frame.T + 0.05 * np.eye(4, 6))
  assert float(prototypes.dot_regression(turned, labels, frame)) > 1e-6
  # The wrong column: 10 / 2 (-1 / 3 - 1)^2.
  wrong = prototypes.dot_regression(frame.T[jnp.array([1, 2, 3, 0])], labels, frame)
  assert float(wrong) == pytest.approx(5 * (4 / 3) ** 2, rel=1e-5)


def test_dot_regression_of_soft_labels_weights_and_lengths():
  rng = np.random.default_rng(0)
  features, frame = unit_rows(rng, 6, 5), prototypes.etf(4, 5)
  soft = rng.dirichlet(np.ones(4), 6)
  weight, lengths = rng.uniform(0.1, 2, 6), rng.uniform(0.5, 2, 4)
  got = prototypes.dot_regression(*map(jnp.asarray, (features, soft, frame, weight, lengths)))
  expected = reference(features, soft, frame.astype(np.float64), weight, lengths)
  assert float(got) == pytest.approx(expected, rel=1e-5)
  labels = np.array([0, 3, 3, 1, 0, 2])
  got = prototypes.dot_regression(jnp.asarray(features), jnp.asarray(labels), frame, scale=2.0)
  hard = reference(
    features, np.eye(4)[labels], frame.astype(np.float64), np.ones(6), np.ones(4), scale=2.0
  )
  assert float(got) == pytest.approx(hard, rel=1e-5)


def test_a_row_of_weight_0_counts_nowhere():
  frame = prototypes.etf(3, 4)
  features = jnp.concatenate([frame.T + 0.1, jnp.full((1, 4), jnp.nan)])
  labels, weight = jnp.array([0, 1, 2, 0]), jnp.array([1.0, 1, 1, 0])
  loss = lambda h: prototypes.dot_regression(h, labels, frame, weight)
  without = prototypes.dot_regression(features[:3], labels[:3], frame)
  assert float(loss(features)) == pytest.approx(float(without))
  # Finite rows of weight 0 have no gradient.
  gradient = jax.jit(jax.grad(loss))(features.at[3].set(5.0))
  assert not gradient[3].any() and np.isfinite(gradient).all()
  lengths = prototypes.class_lengths(labels, 3, weight)
  np.testing.assert_array_equal(lengths, prototypes.class_lengths(labels[:3], 3))


def test_lengths_weigh_classes_alike():
  """Every class that is there has n_c s_c^2 = n / k, so that its examples together pull as hard."""
  labels = np.array([0] * 5 + [1] * 2 + [3] * 11)
  lengths = np.asarray(prototypes.class_lengths(jnp.asarray(labels), 5))
  counts = np.bincount(labels, minlength=5)
  np.testing.assert_allclose((counts * lengths**2)[[0, 1, 3]], 18 / 3, rtol=1e-5)
  np.testing.assert_array_equal(lengths[[2, 4]], 1)
  soft = prototypes.class_lengths(jnp.eye(5)[labels], 5)
  np.testing.assert_allclose(soft, lengths, rtol=1e-6)


def test_cosine_logits_know_directions_alone():
  rng = np.random.default_rng(1)
  features, rows = rng.normal(size=(4, 7)), rng.normal(size=(3, 7))
  expected = features @ rows.T
  expected /= np.linalg.norm(features, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
  got = prototypes.cosine_logits(jnp.asarray(features), jnp.asarray(rows), 8.0)
  np.testing.assert_allclose(got, 8 * expected, rtol=1e-4, atol=1e-5)
  longer = prototypes.cosine_logits(jnp.asarray(9 * features), jnp.asarray(rows / 5), 8.0)
  np.testing.assert_allclose(longer, got, rtol=1e-4, atol=1e-5)


def test_the_unit_vector_of_0_is_0_with_a_finite_gradient():
  gradient = jax.jit(jax.grad(lambda v: prototypes.unit(v).sum()))(jnp.zeros(3))
  assert np.isfinite(gradient).all() and not prototypes.unit(jnp.zeros(3)).any()

"""T-max, its 97th percentile and Dual-T against numbers by hand and a set whose T is known."""

import numpy as np
import pytest

from jaxdistill import label_noise, metrics
from jaxdistill.errors import UserError

TRUE = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]])


def known_set(number=20000):
  """Clean posteriors with anchors among them, the noisy posteriors of TRUE, and noisy labels."""
  rng = np.random.default_rng(0)
  clean = np.concatenate([rng.dirichlet(np.full(3, 0.3), number), np.eye(3)])
  noisy = clean @ TRUE
  labels = (rng.random((len(noisy), 1)) > noisy.cumsum(1)).sum(1)
  return labels, noisy / noisy.sum(1, keepdims=True), clean


def test_exact_posteriors_with_anchors_give_the_matrix():
  labels, noisy, _ = known_set()
  np.testing.assert_allclose(label_noise.transition(labels, noisy, 'max'), TRUE, atol=1e-3)


def test_dual_is_the_product_of_anchors_and_counts():
  labels, noisy, _ = known_set(500)
  share = np.zeros((3, 3))
  for guess in range(3):
    members = labels[noisy.argmax(1) == guess]
    share[guess] = [(members == label).mean() for label in range(3)]
  expected = label_noise.transition(labels, noisy, 'max') @ share
  np.testing.assert_allclose(label_noise.transition(labels, noisy), expected, atol=1e-12)


def test_dual_repairs_posteriors_that_are_too_sure():
  labels, noisy, clean = known_set()
  # A network that forgets the noise: its most likely class is the clean one, its numbers are wrong.
  errors = [
    metrics.transition_error(TRUE, label_noise.transition(labels, clean, estimator))
    for estimator in ('max', 'dual')
  ]
  assert errors[1] < errors[0] - 0.05


def test_percentile_leaves_the_largest_aside():
  probabilities = np.linspace(0.0, 1.0, 101)
  probabilities = np.stack([probabilities, 1 - probabilities], 1)
  labels = np.zeros(101, int)
  matrix = label_noise.transition(labels, probabilities, 'max', percentile=97)
  # Values at or above the 97th percentile, .97, are dropped; the largest left is .96.
  np.testing.assert_allclose(matrix, [[0.96, 0.04], [0.04, 0.96]], atol=1e-12)
  level = label_noise.transition(labels, np.full((101, 2), 0.5), 'max', percentile=97)
  np.testing.assert_allclose(level, 0.5)


def test_a_class_that_is_never_most_likely_keeps_its_anchor_row():
  probabilities = np.array([[0.6, 0.4], [0.9, 0.1]])
  matrix = label_noise.transition(np.array([0, 1]), probabilities)
  np.testing.assert_allclose(matrix, [[0.9 * 0.5, 0.9 * 0.5 + 0.1], [0.3, 0.7]])


def test_several_labels_are_questions_of_two_classes():
  rng = np.random.default_rng(1)
  probabilities = rng.random((50, 3))
  labels = rng.random((50, 3)) < probabilities
  for fields in (dict(), dict(estimator='max'), dict(percentile=90)):
    matrices = label_noise.transition(labels, probabilities, **fields)
    assert matrices.shape == (3, 2, 2)
    for number in range(3):
      both = np.stack([1 - probabilities[:, number], probabilities[:, number]], 1)
      alone = label_noise.transition(labels[:, number].astype(int), both, **fields)
      np.testing.assert_allclose(matrices[number], alone)
    np.testing.assert_allclose(matrices.sum(2), 1)


@pytest.mark.parametrize(
  'fields, words',
  [
    (dict(estimator='dua'), "no estimator 'dua'; did you mean 'dual'"),
    (dict(percentile=100), 'percentile is 100; it must be between 0 and 100'),
    (dict(percentile='97'), 'it must be a number'),
  ],
)
def test_wrong_fields_are_told(fields, words):
  with pytest.raises(UserError, match=words):
    label_noise.transition([0, 1], np.eye(2), **fields)

"""Agreement, divergence and correlations of student and teacher against independent forms."""

import numpy as np
import pytest
from scipy import special

from jaxdistill import metrics
from jaxdistill.errors import UserError

MEASURES = (metrics.same_answers, metrics.teacher_divergence, metrics.correlation_difference)


def random_logits(seed, images=50, classes=6):
  return np.random.default_rng(seed).normal(size=(2, images, classes)) * 3


def test_same_answers_counts_images_with_one_class_on_top():
  student, teacher = random_logits(0)
  expected = np.mean(
    [list(s).index(max(s)) == list(t).index(max(t)) for s, t in zip(student, teacher)]
  )
  assert metrics.same_answers(student, teacher) == pytest.approx(expected)
  assert metrics.same_answers(student, student * 0.1 + 5) == 1.0


def test_divergence_is_the_relative_entropy_of_the_probabilities():
  student, teacher = random_logits(1)
  entropy = special.rel_entr(special.softmax(teacher, 1), special.softmax(student, 1)).sum(1)
  assert metrics.teacher_divergence(student, teacher) == pytest.approx(entropy.mean(), rel=1e-12)
  assert metrics.teacher_divergence(student, student + 7) == pytest.approx(0, abs=1e-14)
  # Not symmetric: the probabilities of the teacher weigh.
  assert metrics.teacher_divergence(student, teacher) != pytest.approx(
    metrics.teacher_divergence(teacher, student)
  )


def test_divergence_of_certain_networks_is_finite():
  certain = np.array([[1000.0, 0.0]])
  assert metrics.teacher_divergence(certain[:, ::-1], certain) == pytest.approx(1000)
  assert metrics.teacher_divergence(certain, certain) == 0


def test_correlations_are_those_of_numpy():
  student, teacher = random_logits(2)
  expected = np.corrcoef(teacher.T) - np.corrcoef(student.T)
  difference = metrics.correlation_difference(student, teacher)
  np.testing.assert_allclose(difference, expected, atol=1e-12)
  np.testing.assert_allclose(np.diag(difference), 0, atol=1e-12)
  # A student whose logits are scaled and shifted class by class has taken over all of it.
  imitation = teacher * np.arange(1, 7) - np.arange(6)
  np.testing.assert_allclose(metrics.correlation_difference(imitation, teacher), 0, atol=1e-12)


def test_a_logit_that_does_not_vary_has_no_correlation():
  student, teacher = random_logits(3)
  student[:, 2] = 0.1
  difference = metrics.correlation_difference(student, teacher)
  np.testing.assert_allclose(difference[2], np.corrcoef(teacher.T)[2], atol=1e-12)


@pytest.mark.parametrize('measure', MEASURES)
def test_misfits_are_told(measure):
  with pytest.raises(UserError, match=r'got \(2, 3\) and \(2, 4\)'):
    measure(np.zeros((2, 3)), np.zeros((2, 4)))
  with pytest.raises(UserError, match='by logits'):
    measure(np.zeros((0, 3)), np.zeros((0, 3)))
  with pytest.raises(UserError, match='must be finite'):
    measure(np.full((2, 3), np.nan), np.zeros((2, 3)))


def test_one_image_has_no_correlation():
  with pytest.raises(UserError, match='at least 2 images'):
    metrics.correlation_difference(np.zeros((1, 3)), np.zeros((1, 3)))

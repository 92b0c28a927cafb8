"""Confusion matrices against scikit-learn's and hand-computed numbers."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from jaxdistill import metrics
from jaxdistill.errors import UserError


def test_matrix_and_balanced_accuracy_are_those_of_scikit_learn():
  rng = np.random.default_rng(0)
  labels, predictions = rng.integers(0, 5, (2, 300))
  matrix = metrics.confusion_matrix(labels, predictions, 5)
  np.testing.assert_array_equal(matrix, sklearn_metrics.confusion_matrix(labels, predictions))
  np.testing.assert_allclose(
    metrics.row_normalised(matrix),
    sklearn_metrics.confusion_matrix(labels, predictions, normalize='true'),
  )
  assert metrics.balanced_accuracy(matrix) == pytest.approx(
    sklearn_metrics.balanced_accuracy_score(labels, predictions)
  )


def test_a_class_without_examples_counts_nowhere():
  matrix = metrics.confusion_matrix(np.array([0, 0, 2]), np.array([0, 1, 2]), 4)
  assert matrix.tolist() == [[1, 1, 0, 0], [0] * 4, [0, 0, 1, 0], [0] * 4]
  np.testing.assert_array_equal(metrics.row_normalised(matrix)[1], [np.nan] * 4)
  assert metrics.balanced_accuracy(matrix) == 0.75  # (1/2 + 1) / 2


def test_small_labels_do_not_overflow():
  labels = np.full(3, 99, np.uint8)
  assert metrics.confusion_matrix(labels, labels, 100)[99, 99] == 3


@pytest.mark.parametrize('dtype', [np.uint8, np.uint64, np.int32])
def test_every_type_of_whole_numbers_is_counted(dtype):
  labels, answers = np.array([0, 1], dtype), np.array([1, 1], dtype)
  assert metrics.confusion_matrix(labels, answers, 2).tolist() == [[0, 1], [0, 1]]


def test_misfits_are_told_in_one_sentence():
  with pytest.raises(UserError, match=r'got \(2,\) and \(1,\)'):
    metrics.confusion_matrix(np.array([0, 1]), np.array([0]), 2)
  with pytest.raises(UserError, match='at least one example'):
    metrics.confusion_matrix(np.array([], int), np.array([], int), 2)
  with pytest.raises(UserError, match='labels must be whole numbers from 0 to 1'):
    metrics.confusion_matrix(np.array([-1]), np.array([0]), 2)
  with pytest.raises(UserError, match='answers must be whole numbers from 0 to 1'):
    metrics.confusion_matrix(np.array([0]), np.array([2]), 2)
  with pytest.raises(UserError, match='is square'):
    metrics.row_normalised(np.zeros((2, 3)))
  with pytest.raises(UserError, match='holds no example'):
    metrics.balanced_accuracy(np.zeros((2, 2)))

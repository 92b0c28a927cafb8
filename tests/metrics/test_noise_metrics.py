"""Selections, transition matrices and multi-label scores against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from jaxdistill import metrics
from jaxdistill.errors import UserError


def test_retrieval_is_scikit_learns():
  rng = np.random.default_rng(0)
  chosen, correct = rng.random(50) < 0.6, rng.random(50) < 0.3
  expected = sklearn_metrics.precision_recall_fscore_support(correct, chosen, average='binary')
  np.testing.assert_allclose(metrics.retrieval(chosen, correct), expected[:3])


def test_nothing_chosen_has_no_precision():
  precision, recall, f1 = metrics.retrieval(np.zeros(3), np.array([1, 0, 0]))
  assert np.isnan(precision) and recall == 0 and f1 == 0


def test_transition_error_by_hand():
  truth = np.array([[[0.8, 0.2], [0.4, 0.6]], [[1.0, 0.0], [0.0, 1.0]]])
  estimate = np.array([[[0.7, 0.3], [0.4, 0.6]], [[0.5, 0.5], [0.0, 1.0]]])
  np.testing.assert_allclose(metrics.transition_errors(truth, estimate), [0.1, 0.5])
  assert metrics.transition_error(truth, estimate) == pytest.approx(0.6)
  assert metrics.transition_error(truth[0], estimate[0]) == pytest.approx(0.1)


def test_confusion_error_is_a_loop_over_annotators():
  rng = np.random.default_rng(1)
  truth, estimate = rng.dirichlet(np.ones(3), (2, 5, 3))
  weights = np.array([10, 0, 3, 1, 6])
  total = 0.0
  for annotator in range(5):
    total += weights[annotator] * np.abs(truth[annotator] - estimate[annotator]).mean()
  assert metrics.confusion_error(truth, estimate, weights) == pytest.approx(total / 20)


def multilabel_case(seed):
  rng = np.random.default_rng(seed)
  scores = rng.random((40, 6))
  labels = rng.random((40, 6)) < scores * np.array([0.2, 0.4, 0.6, 0.8, 1.0, 1.2])
  labels[:, 1] = False  # nobody has it
  return labels, scores


def test_mean_average_precision_is_scikit_learns_over_labels_that_exist():
  labels, scores = multilabel_case(2)
  kept = [0, 2, 3, 4, 5]
  expected = sklearn_metrics.average_precision_score(labels[:, kept], scores[:, kept])
  assert metrics.mean_average_precision(labels, scores) == pytest.approx(expected)
  labels[:, 1] = True
  expected = (expected * 5 + 1) / 6
  assert metrics.mean_average_precision(labels, scores) == pytest.approx(expected)


def test_f1_overall_and_by_class():
  labels, scores = multilabel_case(3)
  answers = scores > 0.7
  overall, by_class = metrics.label_f1(labels, scores, 0.7)
  assert overall == pytest.approx(sklearn_metrics.f1_score(labels, answers, average='micro'))
  precision, recall, _, _ = sklearn_metrics.precision_recall_fscore_support(
    labels, answers, average='macro', zero_division=0
  )
  assert by_class == pytest.approx(2 * precision * recall / (precision + recall))
  assert metrics.label_f1(labels, np.zeros_like(scores)) == (0.0, 0.0)


def test_scores_of_several_networks_are_those_of_each():
  labels, scores = multilabel_case(4)
  networks = np.stack([scores, scores[::-1]])
  table = metrics.label_scores(labels, networks, 0.6)
  for number, network in enumerate(networks):
    overall, by_class = metrics.label_f1(labels, network, 0.6)
    expected = dict(map=metrics.mean_average_precision(labels, network), of1=overall, cf1=by_class)
    assert {name: values[number] for name, values in table.items()} == expected


@pytest.mark.parametrize(
  'call',
  [
    lambda: metrics.retrieval(np.ones(2), np.ones(3)),
    lambda: metrics.retrieval(np.ones(2), np.array([0, 2])),
    lambda: metrics.transition_error(np.eye(2), np.eye(3)),
    lambda: metrics.confusion_error(np.ones((2, 2, 2)), np.ones((2, 2, 2)), np.ones(3)),
    lambda: metrics.confusion_error(np.ones((2, 2, 2)), np.ones((2, 2, 2)), np.zeros(2)),
    lambda: metrics.mean_average_precision(np.zeros((2, 2)), np.ones((2, 2))),
    lambda: metrics.mean_average_precision(np.eye(2), np.ones((2, 3))),
    lambda: metrics.label_f1(np.full((2, 2), 2), np.ones((2, 2))),
    lambda: metrics.label_f1(np.eye(2), np.full((2, 2), np.nan)),
  ],
)
def test_what_cannot_be_compared_is_told(call):
  with pytest.raises(UserError, match=r'\.$'):
    call()

"""Scores and issues of labels against answers of cleanlab 2.9.0, and by hand."""

import numpy as np
import pytest

from jaxdistill import label_noise, metrics
from jaxdistill.errors import UserError
from jaxdistill.label_noise import issues


def table(number=26, classes=4):
  """Probabilities and labels by a formula, no two numbers equal; no label is 1."""
  row, column = np.arange(number)[:, None], np.arange(classes)[None]
  raw = ((row * 7919 + (column + 1) * (row + 3) * 6007) % 1009 + 1) / 1009
  truth = (row[:, 0] * 5) % classes
  probabilities = raw**2 + 0.8 * np.eye(classes)[truth] * raw
  labels = np.where(row[:, 0] % 4 == 1, (truth + 1 + row[:, 0] % 3) % classes, truth)
  return labels, probabilities / probabilities.sum(1, keepdims=True)


def matrix(number=20, classes=3):
  row, column = np.arange(number)[:, None], np.arange(classes)[None]
  probabilities = ((row * 7919 + (column + 1) * (row + 3) * 6007) % 1009 + 1) / 1011
  return ((probabilities > 0.5) ^ ((row + 2 * column) % 5 == 0)).astype(int), probabilities


def lists(labels):
  return [np.flatnonzero(row).tolist() for row in labels]


# cleanlab 2.9.0, numpy 2.4.6: rank.get_label_quality_scores(*table(), method=, adjust_pred_probs=),
# the first six.
SCORES = {
  ('self_confidence', False): [0.5757185, 0.0094712, 0.6771812, 0.2537722, 0.0749967, 0.3816145],
  ('normalized_margin', False): [0.6831229, 0.2385875, 0.7280176, 0.3917563, 0.1895432, 0.5281342],
  ('confidence_weighted_entropy', False): [
    0.6254439, 0.0598724, 0.7053247, 0.4418694, 0.2757703, 0.5353138
  ],
  ('self_confidence', True): [0.3848883, 0.2885568, 0.3710528, 0.32999, 0.2999663, 0.3519685],
  ('normalized_margin', True): [0.542302, 0.4680509, 0.5232981, 0.5164001, 0.5033256, 0.5083258],
}  # fmt: skip
# filter.find_label_issues(*table(), filter_by=, return_indices_ranked_by='self_confidence').
ISSUES = {
  'prune_by_noise_rate': [13, 1, 7, 17, 21, 8, 15],
  'prune_by_class': [13, 1, 24, 4, 7, 21, 3],
  'both': [13, 1, 7, 21],
  'confident_learning': [1, 7, 8, 22, 15],
  'predicted_neq_given': [13, 1, 24, 4, 7, 17, 21, 8, 3, 22, 15],
  'low_self_confidence': [13, 1, 24, 4, 7],
  'low_normalized_margin': [13, 1, 24, 4, 7],
}
# The same with frac_noise=.5, min_examples_per_class=4, as positions.
HALF = {
  'prune_by_noise_rate': [1, 8],
  'prune_by_class': [1, 13, 21, 24],
  'both': [1],
}
# multilabel_classification.get_label_quality_scores(lists(labels), probabilities, method=).
MULTI_SCORES = {
  'self_confidence': [0.2340653, 0.3421958, 0.591731, 0.1542235, 0.6234619, 0.2208111],
  'normalized_margin': [0.2340653, 0.3421958, 0.591731, 0.1542235, 0.6234619, 0.2208111],
  'confidence_weighted_entropy': [0.435304, 0.4844899, 0.6019741, 0.359002, 0.6112674, 0.4306567],
}
ADJUSTED = [0.2986457, 0.3394979, 0.6236128, 0.1550877, 0.623292, 0.2837218]
# aggregator_kwargs=dict(method='softmin', temperature=.1).
SOFTMIN = [0.147504, 0.3179391, 0.5607755, 0.0160635, 0.6196589, 0.1407823]
# multilabel_classification.rank.get_label_quality_scores_per_class, the first three examples.
BY_CLASS = [
  [0.140455, 0.7200791, 0.5806133],
  [0.6617211, 0.5242334, 0.2898121],
  [0.5361029, 0.768546, 0.9970326],
]
# multilabel_classification.filter.find_label_issues(lists(labels), probabilities, filter_by=).
PRUNED = [0, 1, 3, 5, 6, 8, 10, 11, 13, 15, 16, 18]
LEARNED = [0, 1, 3, 5, 6, 8, 10, 15, 16, 18]
MULTI_ISSUES = {
  'prune_by_noise_rate': PRUNED,
  'prune_by_class': PRUNED,
  'both': PRUNED,
  'confident_learning': LEARNED,
  'predicted_neq_given': PRUNED,
  'low_self_confidence': LEARNED,
  'low_normalized_margin': LEARNED,
}
# return_indices_ranked_by='normalized_margin', and find_multilabel_issues_per_class.
MULTI_RANKED = [3, 16, 5, 10, 0, 15, 6, 8, 1, 18, 11, 13]
ISSUES_BY_CLASS = [[0, 5, 10, 15], [3, 8, 13, 18], [1, 6, 11, 16]]


@pytest.mark.parametrize('score, adjust', SCORES)
def test_scores_are_cleanlabs(score, adjust):
  scores = label_noise.quality(*table(), score, adjust)
  np.testing.assert_allclose(scores[:6], SCORES[score, adjust], atol=1e-7)


def test_scores_of_several_labels_are_cleanlabs():
  labels, probabilities = matrix()
  for score, expected in MULTI_SCORES.items():
    scores = label_noise.quality(labels, probabilities, score)
    np.testing.assert_allclose(scores[:6], expected, atol=1e-7)
    np.testing.assert_array_equal(label_noise.quality(lists(labels), probabilities, score), scores)
  softmin = label_noise.quality(labels, probabilities, pool='softmin')
  np.testing.assert_allclose(softmin[:6], SOFTMIN, atol=1e-7)
  adjusted = label_noise.quality(labels, probabilities, adjust=True)
  np.testing.assert_allclose(adjusted[:6], ADJUSTED, atol=1e-7)
  by_class = label_noise.quality(labels, probabilities, 'normalized_margin', by_class=True)
  np.testing.assert_allclose(by_class[:3], BY_CLASS, atol=1e-7)


@pytest.mark.parametrize('filter_by', issues.FILTERS)
def test_issues_are_cleanlabs(filter_by):
  labels, probabilities = table()
  ranked = label_noise.find_issues(labels, probabilities, filter_by, 'self_confidence')
  assert ranked.tolist() == ISSUES[filter_by]
  mask = label_noise.find_issues(labels, probabilities, filter_by)
  assert mask.dtype == bool and np.flatnonzero(mask).tolist() == sorted(ranked)
  labels, probabilities = matrix()
  mask = label_noise.find_issues(lists(labels), probabilities, filter_by)
  assert np.flatnonzero(mask).tolist() == MULTI_ISSUES[filter_by]


@pytest.mark.parametrize('filter_by', issues.PRUNING)
def test_fewer_issues_are_cleanlabs(filter_by):
  mask = label_noise.find_issues(*table(), filter_by, noise_share=0.5, least_per_class=4)
  assert np.flatnonzero(mask).tolist() == HALF[filter_by]


def test_issues_of_several_labels_are_ranked_and_told_by_class():
  labels, probabilities = matrix()
  ranked = label_noise.find_issues(labels, probabilities, ranked_by='normalized_margin')
  assert ranked.tolist() == MULTI_RANKED
  mask = label_noise.find_issues(labels, probabilities, by_class=True)
  assert [np.flatnonzero(column).tolist() for column in mask.T] == ISSUES_BY_CLASS
  positions = label_noise.find_issues(
    labels, probabilities, ranked_by='self_confidence', by_class=True
  )
  scores = label_noise.quality(labels, probabilities, by_class=True)
  for label, position in enumerate(positions):
    assert sorted(position) == ISSUES_BY_CLASS[label]
    assert (np.diff(scores[position, label]) > 0).all()


def test_confident_joint_keeps_the_numbers_of_labels():
  labels, probabilities = table()
  joint = issues.confident_joint(labels, probabilities)
  # count.compute_confident_joint(*table()) of cleanlab 2.9.0.
  assert joint.tolist() == [[7, 0, 0, 2], [0, 0, 0, 0], [1, 0, 7, 0], [3, 0, 1, 5]]
  np.testing.assert_array_equal(joint.sum(1), np.bincount(labels, minlength=4))


def test_planted_errors_rank_first():
  rng = np.random.default_rng(0)
  truth = rng.integers(0, 3, 300)
  probabilities = rng.dirichlet(np.ones(3), 300) * 0.3 + 0.7 * np.eye(3)[truth]
  wrong = rng.random(300) < 0.1
  labels = np.where(wrong, (truth + 1) % 3, truth)
  assert (label_noise.find_issues(labels, probabilities, 'predicted_neq_given') == wrong).all()
  assert metrics.retrieval(label_noise.find_issues(labels, probabilities), wrong).f1 > 0.9
  scores = label_noise.quality(labels, probabilities)
  assert scores[wrong].max() < scores[~wrong].min()


FINE = np.array([[0.5, 0.5], [0.2, 0.8]])


@pytest.mark.parametrize(
  'arguments, fields, words',
  [
    (([0, 2], FINE), {}, 'from 0 to 1; these go from 0 to 2'),
    (([0.0, 1.0], FINE), {}, 'type float64'),
    (([0, 1, 1], FINE), {}, '3 examples with labels and 2'),
    (([0, 1], FINE * 0.9), {}, 'row 0 sums to 0.9'),
    (([0, 1], FINE * np.nan), {}, 'from 0 to 1; these go'),
    (([0, 1], FINE * 3 - 0.5), {}, 'these go from 0.1 to 1.9'),
    (([0, 1], FINE[0]), {}, r'shape \[n, C\]'),
    (([0, 0], np.ones((2, 1))), {}, 'are of one class; a label is right or wrong among'),
    ((FINE[:, 0], FINE), {}, 'type float64'),
    ((FINE, FINE), {}, 'holds 0 and 1'),
    (([[0, 3], []], FINE), {}, 'a label of example 0 is 3; it must be below 2'),
    (([[0, 1, 1], [1]], FINE), {}, 'Example 0 lists a class twice'),
    (([np.array([0.5]), np.array([1])], FINE), {}, 'a label of example 0 is .*whole number'),
    (([0, 1], FINE), dict(by_class=True), 'these are one each'),
  ],
)
def test_what_cannot_be_read_is_told(arguments, fields, words):
  for function in (label_noise.quality, label_noise.find_issues):
    with pytest.raises(UserError, match=words):
      function(*arguments, **fields)


@pytest.mark.parametrize(
  'function, fields, words',
  [
    ('quality', dict(score='margin'), "no score 'margin'; did you mean 'normalized_margin'"),
    ('quality', dict(pool='mean'), "no pool 'mean'"),
    ('quality', dict(score='confidence_weighted_entropy', adjust=True), 'not adjusted'),
    ('find_issues', dict(filter_by='prune'), "no filter 'prune'"),
    ('find_issues', dict(ranked_by='margin'), "no score 'margin'"),
    ('find_issues', dict(noise_share=1.5), 'noise_share is 1.5'),
    ('find_issues', dict(filter_by='confident_learning', noise_share=0.5), 'leave them out'),
  ],
)
def test_unknown_fields_are_told(function, fields, words):
  with pytest.raises(UserError, match=words):
    getattr(label_noise, function)([0, 1], FINE, **fields)

"""Labels from a crowd: those of crowd-kit, and what must hold for any crowd."""

import numpy as np
import pytest

from jaxdistill.data.crowds import Crowd
from jaxdistill.errors import UserError
from jaxdistill.label_noise.aggregation import aggregate


def coin(right, wrong):
  return np.where(np.eye(3, dtype=bool), right, wrong)


# fmt: off
TABLE = [
  [-1, 0, 2, 0], [-1, 1, 1, 0], [1, 0, 2, -1], [-1, 0, 0, -1], [1, 1, 2, 1], [2, 2, 1, -1],
  [0, 2, 0, -1], [0, -1, -1, -1], [-1, 2, 2, -1], [1, -1, -1, -1], [2, -1, 2, 1], [0, 1, 0, 0],
  [-1, 2, 2, -1], [0, 0, -1, 1], [0, 0, 0, 0], [0, 0, 0, -1],
]
# What crowd-kit 1.4.2 finds by default on this table: DawidSkene().fit(frame) and
# OneCoinDawidSkene().fit(frame), `errors_` transposed; labels, prior, matrices, iterations, the
# last of loss_history_.
CROWD_KIT = {
  'dawid_skene': (
    [1, 1, 1, 0, 1, 2, 0, 0, 2, 1, 2, 0, 2, 0, 0, 0],
    [0.444998, 0.307169, 0.247832],
    [
      [[0.99995, 5e-05, 0.0], [0.000276, 0.99972, 5e-06], [8.3e-05, 0.003086, 0.996831]],
      [[0.668563, 0.163466, 0.167972], [0.486693, 0.509995, 0.003312], [0.0, 0.0, 1.0]],
      [[0.976431, 9e-05, 0.023479], [0.0, 0.254962, 0.745038], [0.0, 0.252591, 0.747409]],
      [[0.676729, 0.323271, 0.0], [0.655963, 0.344037, 0.0], [0.0, 1.0, 0.0]],
    ],
    7,
    -1.4304707758221624,
  ),
  'one_coin': (
    [0, 1, 1, 0, 1, 2, 0, 0, 2, 1, 2, 0, 2, 0, 0, 0],
    [0.546731, 0.19477, 0.258498],
    [
      coin(0.908788, 0.045606), coin(0.750182, 0.124909), coin(0.664364, 0.167818),
      # crowd-kit leaves out the label that this annotator never gave.
      coin(0.588944, 0.205528),
    ],
    4,
    -1.5925504051937482,
  ),
}
# DawidSkene().fit(frame, pandas.Series({0: 2, 3: 0})).
WITH_GOLD = [2, 1, 2, 0, 1, 2, 0, 0, 2, 2, 2, 0, 2, 0, 0, 0], [0.4375, 0.154088, 0.408412], 23
# fmt: on
CROWD = Crowd.from_table(TABLE, 3)


@pytest.mark.parametrize('method', CROWD_KIT)
def test_the_answers_are_crowd_kits(method):
  labels, prior, matrices, iterations, bound = CROWD_KIT[method]
  result = aggregate(CROWD, method)
  assert result.labels.tolist() == labels and result.labels.dtype == np.int32
  np.testing.assert_allclose(result.prior, prior, atol=1e-5)
  np.testing.assert_allclose(result.confusions, matrices, atol=1e-5)
  assert len(result.history) == iterations and abs(result.history[-1] - bound) < 1e-9
  assert (np.diff(result.history)[:-1] >= 1e-5).all() and np.diff(result.history)[-1] < 1e-5


def test_gold_labels_are_believed():
  labels, prior, iterations = WITH_GOLD
  gold = np.full(len(TABLE), -1)
  gold[[0, 3]] = 2, 0
  result = aggregate(CROWD, 'dawid_skene', gold=gold)
  assert result.labels.tolist() == labels and len(result.history) == iterations
  np.testing.assert_allclose(result.prior, prior, atol=1e-5)
  assert aggregate(CROWD, 'mv', gold=gold).labels[[0, 3]].tolist() == [2, 0]


def test_a_prior_stays_and_weighs():
  prior = [0.01, 0.98, 0.01]
  result = aggregate(CROWD, 'dawid_skene', prior=prior)
  np.testing.assert_allclose(result.prior, prior, rtol=1e-6)
  assert (result.labels == 1).sum() > (aggregate(CROWD, 'dawid_skene').labels == 1).sum()


def test_votes_are_shares_and_ties_go_to_the_lowest_label():
  soft, hard = aggregate(CROWD, 'soft_mv'), aggregate(CROWD, 'mv')
  np.testing.assert_allclose(soft.probabilities[4], [0, 3 / 4, 1 / 4], rtol=1e-6)
  np.testing.assert_array_equal(hard.probabilities, np.eye(3)[hard.labels])
  np.testing.assert_array_equal(soft.labels, hard.labels)
  assert hard.labels[2] == 0 and hard.history == ()
  agrees = np.mean([TABLE[row][0] == hard.labels[row] for row in range(16) if TABLE[row][0] >= 0])
  np.testing.assert_allclose(hard.accuracy[0], agrees, rtol=1e-6)
  # The first annotator's labels of what the vote calls class 0, and all of them.
  np.testing.assert_allclose(hard.confusions[0, 0], [6 / 7, 1 / 7, 0], atol=1e-6)


@pytest.mark.parametrize('method', ['mv', 'dawid_skene'])
def test_perfect_annotators_have_the_identity_and_one_annotator_has_his_labels(method):
  truth = np.arange(16) % 3
  perfect = aggregate(Crowd.from_table(np.stack([truth] * 4, 1), 3), method)
  np.testing.assert_array_equal(perfect.labels, truth)
  np.testing.assert_allclose(perfect.confusions, np.stack([np.eye(3)] * 4), atol=1e-6)
  alone = Crowd.from_labels(truth, 3)
  np.testing.assert_array_equal(aggregate(alone, method).labels, truth)


@pytest.mark.parametrize(
  'arguments, sentence',
  [
    (dict(method='glad'), "no method of aggregation 'glad'"),
    (dict(method='mv', prior=[0.2, 0.3, 0.5]), 'mv takes no prior'),
    (dict(prior=[0.5, 0.5]), 'prior needs 3 probabilities'),
    (dict(prior=[0.5, 0.5, float('nan')]), 'prior needs 3 probabilities'),
    (dict(gold=[3] * 16), 'gold needs 16 whole numbers'),
    (dict(gold=[0]), 'gold needs 16 whole numbers'),
    (dict(crowd=np.zeros((2, 3), int)), 'reads a Crowd, and this is a ndarray'),
  ],
)
def test_what_cannot_be_aggregated_is_refused(arguments, sentence):
  with pytest.raises(UserError, match=sentence):
    aggregate(**{'crowd': CROWD, **arguments})

"""Crowds made on purpose: who labels what, what they say, and what is refused."""

import itertools

import numpy as np
import pytest

from jaxdistill.data.dataset import Dataset
from jaxdistill.data.vectors import Vectors
from jaxdistill.errors import UserError
from jaxdistill.label_noise import annotators, confusable
from jaxdistill.label_noise.simulation import sampled, simulate, simulate_by_image

TRUTH = np.random.RandomState(0).randint(4, size=6000)
MIXED = [
  ('expert', 2),
  ('symmetric', 3, {'high': 0.5}),
  ('hammer_spammer', 2),
  ('pair_confuser', 2, {'mix': 0.3}),
  ('constant', 1, {'label': 3}),
  ('alike', 2, {'diagonal': 0.6}),
  ('copier', 1, {'of': 8}),
]


def test_labels_follow_the_matrices_and_their_number_is_exact():
  crowd, confusions = simulate(TRUTH, MIXED, per_example=4, activity=None)
  assert (crowd.per_example == 4).all() and crowd.num_annotators == len(confusions) == 13
  np.testing.assert_allclose(confusions.sum(2), 1, rtol=1e-12)
  counts = np.zeros((13, 4, 4))
  np.add.at(counts, (crowd.annotator, TRUTH[crowd.example], crowd.label), 1)
  number = counts.sum(2, keepdims=True)
  deviation = np.sqrt(confusions * (1 - confusions) / number)
  assert (abs(counts / number - confusions) <= 4 * deviation + 1e-12).all()


def test_the_same_seed_is_the_same_crowd():
  one, two, other = (simulate(TRUTH[:500], MIXED, seed=seed) for seed in (3, 3, 4))
  np.testing.assert_array_equal(one.crowd.label, two.crowd.label)
  np.testing.assert_array_equal(one.crowd.annotator, two.crowd.annotator)
  np.testing.assert_array_equal(one.confusions, two.confusions)
  assert (one.crowd.label != other.crowd.label).any()


def test_the_stand_in_for_independent_crowds_is_as_sparse_as_real_ones():
  accuracies, ratios = [], []
  for seed in range(5):
    crowd, confusions = simulate(TRUTH, 'ind', seed=seed)
    accuracies.append((crowd.label == TRUTH[crowd.example]).mean())
    ratios.append(np.median(crowd.per_annotator) / crowd.per_annotator.mean())
  assert confusions.shape == (250, 4, 4) and crowd.num_annotators == 250
  diagonals, number = np.unique(confusions[:, 0, 0], return_counts=True)
  assert diagonals.tolist() == [0.3, 0.5, 0.8] and number.tolist() == [75, 100, 75]
  assert abs(np.mean(accuracies) - 0.53) < 0.04
  assert 0.35 <= np.mean(ratios) <= 0.5


def test_sampling_is_by_weight_without_replacement():
  weights, number, draws = np.array([1.0, 2, 3, 6]), 2, 20000
  chosen = sampled(np.random.RandomState(0), weights, draws, number)
  assert (chosen[:, 0] != chosen[:, 1]).all()
  expected = np.zeros(4)
  for first, second in itertools.permutations(range(4), 2):
    probability = weights[first] / 12 * weights[second] / (12 - weights[first])
    expected[[first, second]] += probability
  counted = np.bincount(chosen.ravel(), minlength=4) / draws
  np.testing.assert_allclose(counted, expected, atol=4 * np.sqrt(0.25 / draws))


def test_a_copier_says_what_the_other_says():
  groups = [('symmetric', 2), ('copier', 2, {'of': 1}), ('copier', 1, {'of': 3})]
  crowd, confusions = simulate(TRUTH[:400], groups, per_example=5, activity=None)
  table = crowd.to_table()
  for copier in (2, 3, 4):
    np.testing.assert_array_equal(table[:, copier], table[:, 1])
    np.testing.assert_array_equal(confusions[copier], confusions[1])
  assert (table[:, 0] != table[:, 1]).any()


def test_pair_confusers_mix_the_hard_pairs_of_cifar10():
  images = np.zeros((10, 4, 4, 1), np.uint8)
  dataset = Dataset(images, np.arange(10), confusable.CIFAR10)
  _, confusions = simulate(dataset, [('pair_confuser', 6)], per_example=1)
  mixed = [np.flatnonzero(np.diag(matrix) == 0.5).tolist() for matrix in confusions]
  assert mixed == [[3, 5], [4, 7], [0, 2], [1, 9], [6, 8], [3, 5]]
  np.testing.assert_array_equal(confusions[0][3, [3, 5]], [0.5, 0.5])


def test_types_have_the_shapes_that_their_names_say():
  random = np.random.RandomState(0)
  hammers = annotators.hammer_spammer(500, 4, random, hammers=0.3)
  is_hammer = (hammers == np.eye(4)).all((1, 2))
  assert abs(is_hammer.mean() - 0.3) < 0.07 and (hammers[~is_hammer] == 0.25).all()
  rates = 1 - annotators.symmetric(500, 4, random, low=0.2, high=0.6)[:, 0, 0]
  assert 0.2 <= rates.min() < 0.22 and 0.58 < rates.max() <= 0.6
  group = annotators.alike(200, 4, random, diagonal=0.7, jitter=0.02)
  np.testing.assert_allclose(group.mean(0), annotators.expert(1, 4, 0.7)[0], atol=0.01)
  assert 0.01 < group[:, 0, 0].std() < 0.03 and (group >= 0).all()


def test_annotators_of_a_group_mistake_the_same_images():
  random = np.random.RandomState(0)
  images = random.randint(256, size=(2000, 6, 6, 1)).astype(np.uint8)
  dataset = Dataset(images, TRUTH[:2000])
  made = simulate_by_image(dataset, 0.4, num_annotators=30, per_example=4)
  crowd = made.crowd
  assert (crowd.per_example >= 1).all()
  # One for sure, and each of the 29 others with probability 3 / 30.
  assert abs(crowd.per_example.mean() - (1 + 29 * 3 / 30)) < 0.15
  assert np.bincount(made.group).tolist() == [10, 10, 10]
  np.testing.assert_allclose(made.laws.sum(2), 1, rtol=1e-9)
  wrong = crowd.label != dataset.labels[crowd.example]
  assert abs(wrong.mean() - 0.4) < 0.03
  # Raw pixels: a group has nearly one wrong label an image, and another group another one.
  laws = np.where(np.eye(4, dtype=bool)[dataset.labels], 0, made.laws)
  favourite = laws.argmax(2)
  group = made.group[crowd.annotator]
  assert (crowd.label == favourite[group, crowd.example])[wrong].mean() > 0.95
  assert (favourite[0] == favourite[1]).mean() < 0.6
  members = dataset.labels == 2
  np.testing.assert_allclose(made.confusions[15, 2], made.laws[1][members].mean(0))


@pytest.mark.parametrize(
  'arguments, sentence',
  [
    (dict(groups='independent'), "no crowd 'independent'"),
    (dict(groups=[('expret', 3)]), "no type of annotator 'expret'; did you mean 'expert'"),
    (dict(groups=[('expert', 0)]), 'number of annotators is 0'),
    (dict(groups=[('expert', 3, 0.9)]), 'A group is .type, number of annotators.'),
    (dict(groups=[('expert', 5, {'rate': 1})]), "no field of the annotator 'expert' 'rate'"),
    (dict(groups=[('expert', 5, {'diagonal': 2})]), 'diagonal is 2; it must be from 0 to 1'),
    (dict(groups=[('copier', 5)]), 'A copier repeats an annotator before it'),
    (dict(groups=[('expert', 2), ('copier', 1, {'of': 2})]), 'of is 2; it must be below 2'),
    (dict(groups=[('constant', 5, {'label': 4})]), 'label is 4; it must be below 4'),
    (dict(groups=[('pair_confuser', 5, {'pairs': [(0, 4)]})]), 'two classes from 0 to 3'),
    (dict(groups=[('alike', 5, {'matrix': np.eye(3)})]), 'matrix needs the shape .4, 4'),
    (dict(groups=[]), 'hold no annotator'),
    (dict(groups=[('expert', 2)], per_example=3), 'per_example is 3, and there are 2 annotators'),
    (dict(activity=(0, 4)), 'activity is the pair'),
    (dict(truth=[0.5, 1]), 'truth is a Dataset, or labels'),
    (dict(truth=[-1, 1]), 'truth is a Dataset, or labels'),
  ],
)
def test_crowds_that_cannot_be_made_are_refused(arguments, sentence):
  with pytest.raises(UserError, match=sentence):
    simulate(**{'truth': np.arange(4), **arguments})


@pytest.mark.parametrize(
  'fields, sentence',
  [
    (dict(rate=2), 'rate is 2'),
    (dict(rate=0.7), 'no image has a rate above upper, 0.6; give a lower rate'),
    (dict(rate=0.1, per_example=0.5), 'per_example is 0.5; it must be from 1 to 300'),
    (dict(rate=0.1, num_groups=301), 'num_groups is 301; it must be below 301'),
  ],
)
def test_crowds_by_image_that_cannot_be_made_are_refused(fields, sentence):
  dataset = Dataset(np.zeros((4, 4, 4, 1), np.uint8), np.arange(4))
  with pytest.raises(UserError, match=sentence):
    simulate_by_image(dataset, **fields)


@pytest.mark.parametrize('given', [Vectors(np.eye(4), np.arange(4)), np.zeros((4, 4, 4, 1))])
def test_a_crowd_by_image_needs_images(given):
  with pytest.raises(UserError, match='looks at the images of a Dataset'):
    simulate_by_image(given, 0.2)

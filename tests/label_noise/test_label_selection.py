"""Sel-CL's selection on Gaussian blobs, against loops over all pairs, and its key case."""

import jax
import numpy as np
import pytest

from jaxdistill import label_noise, metrics
from jaxdistill.errors import UserError
from jaxdistill.label_noise import selection as selections

CLASSES = 4


def blobs(number=200, width=6, flips=0.3, seed=0, spread=0.5):
  """Directions around four centres; some labels are redrawn among the other classes."""
  rng = np.random.default_rng(seed)
  truth = np.arange(number) % CLASSES
  points = np.eye(CLASSES, width)[truth] + rng.normal(0, spread / np.sqrt(width), (number, width))
  wrong = rng.random(number) < flips
  labels = np.where(wrong, (truth + rng.integers(1, CLASSES, number)) % CLASSES, truth)
  return points * rng.uniform(0.5, 2, (number, 1)), labels, truth


def by_loops(points, labels, neighbours, alpha, beta, temperature=None):
  unit = points / np.linalg.norm(points, axis=1, keepdims=True)
  cosines = unit @ unit.T
  number = len(labels)

  def vote(given):
    shares = np.zeros((number, CLASSES))
    for row in range(number):
      others = np.delete(np.arange(number), row)
      near = others[np.argsort(-cosines[row, others], kind='stable')[:neighbours]]
      for other in near:
        weight = 1 if temperature is None else np.exp(cosines[row, other] / temperature)
        shares[row, given[other]] += weight
    return shares / shares.sum(1, keepdims=True)

  shares = vote(vote(labels).argmax(1))
  scores = -np.log(np.clip(shares[np.arange(number), labels], 0.01, 0.99))
  agree = shares.argmax(1) == labels
  counts = [(agree & (labels == c)).sum() for c in range(CLASSES)]
  budget = int(np.quantile(counts, alpha))
  confident = np.zeros(number, bool)
  for c in range(CLASSES):
    members = np.flatnonzero(labels == c)
    confident[members[np.argsort(scores[members], kind='stable')[:budget]]] = True
  same = labels[:, None] == labels[None]
  threshold = np.quantile(cosines[same & confident[:, None] & confident[None]], beta)
  pairs = same & (confident[:, None] & confident[None] | (cosines >= threshold - 1e-6))
  return shares, confident, threshold, pairs


@pytest.fixture(scope='module')
def blob_selection():
  points, labels, truth = blobs()
  return label_noise.select(points, labels, neighbours=20), points, labels, truth


@pytest.mark.parametrize('votes, temperature', [('counts', None), ('weighted', 0.1)])
def test_everything_is_as_by_loops(votes, temperature):
  points, labels, _ = blobs()
  selection = label_noise.select(points, labels, 20, 0.5, 0.25, votes)
  shares, confident, threshold, pairs = by_loops(points, labels, 20, 0.5, 0.25, temperature)
  np.testing.assert_allclose(selection.votes, shares, atol=1e-4)
  np.testing.assert_array_equal(selection.corrected, shares.argmax(1))
  np.testing.assert_array_equal(selection.confident, confident)
  np.testing.assert_allclose(selection.threshold, threshold, atol=1e-6)
  every = np.arange(len(labels))
  np.testing.assert_array_equal(selection.pairs(every, every), pairs)


def test_confident_examples_are_right_and_balanced(blob_selection):
  selection, _, labels, truth = blob_selection
  confident = np.asarray(selection.confident)
  assert metrics.retrieval(confident, labels == truth).precision > 0.97
  assert (np.bincount(labels[confident]) == int(selection.budget)).all()
  assert (np.asarray(selection.corrected) == truth).mean() > 0.97


def test_pairs_are_right_more_often_than_equal_labels(blob_selection):
  selection, _, labels, truth = blob_selection
  every = np.arange(len(labels))
  off = ~np.eye(len(labels), dtype=bool)
  right = truth[:, None] == truth[None]
  pairs = np.asarray(selection.pairs(every, every)) & off
  same = (labels[:, None] == labels[None]) & off
  assert right[pairs].mean() > right[same].mean() + 0.2
  assert pairs.sum() > 0 and not (pairs & ~same).any()


def test_pair_and_pairs_agree_inside_a_compiled_step(blob_selection):
  selection = blob_selection[0]
  batch, queue = np.arange(0, 200, 7), np.arange(3, 200, 5)
  table = np.asarray(jax.jit(lambda s, i, j: s.pairs(i, j))(selection, batch, queue))
  np.testing.assert_array_equal(table, selection.pair(batch[:, None], queue[None]))
  np.testing.assert_array_equal(table.T, selection.pairs(queue, batch))


@pytest.mark.parametrize('alpha, of_counts', [(0.0, np.min), (0.5, np.median), (1.0, np.max)])
def test_alpha_is_a_quantile_of_the_counts_of_agreement(alpha, of_counts):
  points, labels, _ = blobs(seed=1)
  selection = label_noise.select(points, labels, 20, alpha=alpha)
  budget = int(of_counts(np.asarray(selection.agreeing)))
  assert int(selection.budget) == budget
  sizes = np.bincount(labels, minlength=CLASSES)
  chosen = np.bincount(labels[np.asarray(selection.confident)], minlength=CLASSES)
  np.testing.assert_array_equal(chosen, np.minimum(sizes, budget))


def test_beta_from_most_pairs_to_those_of_confident_examples():
  points, labels, _ = blobs(seed=2)
  points[1], labels[1] = points[5], labels[5]  # one image twice
  every, tables = np.arange(len(labels)), []
  for beta in (0.0, 0.5, 1.0):
    selection = label_noise.select(points, labels, 20, beta=beta)
    tables.append(np.asarray(selection.pairs(every, every)))
  assert tables[0].sum() > tables[1].sum() > tables[2].sum()
  confident = np.asarray(selection.confident)
  kept = (labels[:, None] == labels[None]) & confident[:, None] & confident[None]
  np.fill_diagonal(kept, True)
  kept[1, 5] = kept[5, 1] = True
  np.testing.assert_array_equal(tables[2], kept)


def test_two_wrong_labels_of_one_class_are_a_right_pair():
  points, labels, truth = blobs(flips=0.1, seed=3)
  first, second = np.flatnonzero(truth == 0)[:2]
  labels[[first, second]] = 1
  points[second] = points[first] + 0.01
  selection = label_noise.select(points, labels, 20)
  assert not selection.confident[first] and not selection.confident[second]
  assert selection.corrected[first] == 0
  assert bool(selection.pair(first, second))


def test_quantile_of_pairs_is_numpys():
  rng = np.random.default_rng(0)
  points = rng.normal(size=(60, 4)).astype(np.float32)
  points /= np.linalg.norm(points, axis=1, keepdims=True)
  groups = rng.integers(-1, 3, 60)
  cosines = [(points[groups == g] @ points[groups == g].T).ravel() for g in range(3)]
  for share in (0.0, 0.137, 0.25, 0.999, 1.0):
    expected = np.quantile(np.concatenate(cosines).astype(np.float64), share)
    quantile = selections._pair_quantile(points, groups, share)
    assert quantile == pytest.approx(expected, abs=1e-6)


def test_nobody_confident_leaves_no_pair_of_different_examples():
  points = np.array([[1.0, 0], [1, 0.1], [1, 0.2], [1, -0.1]])
  selection = label_noise.select(points, np.array([0, 0, 0, 1]), 2, alpha=0.0)
  assert selection.agreeing.tolist() == [3, 0] and not selection.confident.any()
  np.testing.assert_array_equal(selection.pairs(np.arange(4), np.arange(4)), np.eye(4))


@pytest.mark.parametrize(
  'arguments, fields, words',
  [
    ((np.ones((3, 2)), [0, 1]), {}, r'embeddings \[n, d\] and labels \[n\]'),
    ((np.ones((3, 2)), [0, 1, 1]), {}, '250 neighbours were asked for, and there are 2 others'),
    ((np.ones((3, 2)), [0, 1, 3]), dict(classes=3), 'from 0 to 2; these go from 0 to 3'),
    ((np.ones((3, 2)), [0.5, 1, 1]), {}, 'type float64'),
    ((np.ones((3, 2)), [0, 1, 1]), dict(alpha=-1), 'alpha is -1'),
    ((np.ones((3, 2)), [0, 1, 1]), dict(beta=2), 'beta is 2'),
    ((np.ones((3, 2)), [0, 1, 1]), dict(votes='soft'), "kind of votes 'soft'"),
    ((np.full((3, 2), np.nan), [0, 1, 1]), dict(neighbours=1), 'embeddings hold NaN'),
    ((np.ones((3, 2)), [0, 1, 1]), dict(temperature=0), 'temperature is 0; it must be above 0'),
  ],
)
def test_what_cannot_be_is_told(arguments, fields, words):
  with pytest.raises(UserError, match=words):
    label_noise.select(*arguments, **fields)

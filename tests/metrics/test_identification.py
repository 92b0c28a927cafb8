"""Ranks and CMC against hand-counted ones and a loop over every class."""

import numpy as np
import pytest

from jaxdistill import metrics
from jaxdistill.errors import UserError
from jaxdistill.metrics import identification


def ranks_one_by_one(gallery, gallery_labels, probes, probe_labels, distractors):
  """Counts for every probe how many classes and distractors are at least as near as its own."""
  unit = lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True)
  gallery, probes, distractors = map(unit, (gallery, probes, distractors))
  ranks = []
  for probe, label in zip(probes, probe_labels):
    best = {}
    for image, name in zip(gallery, gallery_labels):
      best[name] = max(best.get(name, -2.0), float(image @ probe))
    better = sum(score >= best[label] for name, score in best.items() if name != label)
    ranks.append(1 + better + sum(float(image @ probe) >= best[label] for image in distractors))
  return ranks


def random_case(seed, classes=7, images=3, width=4, probes=40, distractors=11):
  rng = np.random.default_rng(seed)
  labels = rng.permutation(np.repeat(np.arange(classes) * 3 + 2, images))
  return (
    rng.normal(size=(len(labels), width)),
    labels,
    rng.normal(size=(probes, width)),
    rng.choice(labels, probes),
    rng.normal(size=(distractors, width)),
  )


@pytest.mark.parametrize('seed', range(3))
def test_ranks_are_those_counted_one_by_one(seed, monkeypatch):
  case = random_case(seed)
  expected = ranks_one_by_one(*case)
  np.testing.assert_array_equal(metrics.probe_ranks(*case), expected)
  monkeypatch.setattr(identification, '_BLOCK', 100)  # three probes a block
  np.testing.assert_array_equal(metrics.probe_ranks(*case), expected)


def test_by_hand_with_and_without_distractors():
  gallery, labels = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])
  probes = np.array([[2.0, 1.0], [2.0, 1.0], [0.0, 5.0]])
  mates = np.array([0, 1, 1])
  np.testing.assert_array_equal(metrics.probe_ranks(gallery, labels, probes, mates), [1, 2, 1])
  # One distractor lies where the first two probes do, one between the axes.
  distractors = np.array([[2.0, 1.0], [1.0, 1.0]])
  ranks = metrics.probe_ranks(gallery, labels, probes, mates, distractors)
  np.testing.assert_array_equal(ranks, [3, 4, 1])
  np.testing.assert_allclose(metrics.cumulative_match(ranks, 5), [1 / 3, 1 / 3, 2 / 3, 1, 1])


def test_equal_embeddings_find_nobody():
  ones = np.ones((5, 3))
  ranks = metrics.probe_ranks(ones, np.arange(5), ones, np.arange(5), ones)
  np.testing.assert_array_equal(ranks, np.full(5, 10))


def test_several_images_of_a_class_are_one_entry():
  gallery = np.array([[1.0, 0.0], [1.0, 0.1], [0.6, 0.8]])
  ranks = metrics.probe_ranks(gallery, np.array([0, 0, 1]), np.array([[1.0, 0.0]]), np.array([1]))
  np.testing.assert_array_equal(ranks, [2])


def test_cmc_grows_to_one_at_the_number_of_entries():
  case = random_case(5)
  curve = metrics.cumulative_match(metrics.probe_ranks(*case), 18)
  assert (np.diff(curve) >= 0).all() and curve[-1] == 1.0


def test_misfits_are_told():
  eye = np.eye(3)
  with pytest.raises(UserError, match='Class 7 is looked up and has no image'):
    metrics.probe_ranks(eye, np.arange(3), eye[:1], np.array([7]))
  with pytest.raises(UserError, match='needs a gallery and probes; got 3 and 0'):
    metrics.probe_ranks(eye, np.arange(3), np.zeros((0, 3)), np.zeros(0, int))
  with pytest.raises(UserError, match=r'one width; got \[2, 3\]'):
    metrics.probe_ranks(eye, np.arange(3), eye, np.arange(3), np.ones((1, 2)))
  with pytest.raises(UserError, match='Each image of the gallery needs'):
    metrics.probe_ranks(eye, np.arange(2), eye, np.arange(3))
  with pytest.raises(UserError, match='at least one rank'):
    metrics.cumulative_match(np.array([]), 3)
  with pytest.raises(UserError, match='most is 0'):
    metrics.cumulative_match(np.array([1]), 0)

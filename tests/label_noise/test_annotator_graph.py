"""The graph of annotators: neighbours, the cut of its rank, who is joined, its normalisation."""

import numpy as np
import pytest

from jaxdistill.errors import UserError
from jaxdistill.label_noise import annotator_graph
from jaxdistill.label_noise.annotator_graph import inside_share, neighbour_graph, rank_cut

GROUP = np.arange(60) // 20


def noisy_groups(noise=5.0):
  random = np.random.RandomState(0)
  return random.standard_normal((3, 50))[GROUP] + noise * random.standard_normal((60, 50)) / 2


def test_neighbours_are_those_of_the_largest_cosine():
  vectors = noisy_groups()
  unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  cosines = unit @ unit.T - 2 * np.eye(60)
  graph = neighbour_graph(vectors, 10)
  assert (graph.sum(1) == 10).all() and (np.diag(graph) == 0).all()
  for row, cosine in zip(graph, cosines):
    assert cosine[row > 0].min() > cosine[row == 0].max()


def test_the_cut_keeps_the_largest_singular_values():
  graph = np.random.RandomState(1).random_sample((6, 6))
  left, values, right = np.linalg.svd(graph)
  exact = sum(values[k] * np.outer(left[:, k], right[k]) for k in range(2))
  np.testing.assert_allclose(rank_cut(graph, 2), np.clip(exact, 0, 1), atol=1e-12)
  np.testing.assert_allclose(rank_cut(graph, 6), graph, atol=1e-12)


def test_the_cut_takes_edges_between_groups_away():
  graph = neighbour_graph(noisy_groups(), 10)
  before, after = inside_share(graph, GROUP), inside_share(rank_cut(graph, 3), GROUP, edge=0.3)
  assert 0.6 < before < 0.95
  assert after > before + 0.03


def test_normalisation_by_hand():
  graph = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.25, 0.0, 1.0]])
  degree = np.array([1.5, 1.0, 1.25])
  expected = np.zeros((3, 3))
  for r in range(3):
    for s in range(3):
      expected[r, s] = graph[s, r] / np.sqrt(degree[r] * degree[s])
  np.testing.assert_allclose(annotator_graph.normalised(graph), expected, rtol=1e-6)


def test_annotators_of_whom_too_little_is_known_are_joined():
  unknown = np.arange(60) % 20 < 2
  graph = annotator_graph.annotator_graph(noisy_groups(), 10, 3, unknown)
  assert graph.dtype == np.float32 and np.isfinite(graph).all()
  assert (graph[np.ix_(unknown, unknown)] > 0).all() and (np.diag(graph) > 0).all()
  # With nobody known all are alike, and the rows of all are the same.
  everyone = annotator_graph.annotator_graph(noisy_groups(), 10, 3, np.ones(60, bool))
  np.testing.assert_allclose(everyone, 1 / 60, rtol=1e-5)


def test_shares_of_edges():
  assert inside_share(np.ones((4, 4)), [0, 0, 1, 1]) == pytest.approx(4 / 12)
  assert inside_share(np.full((2, 2), 0.4), [0, 0], edge=0.3) == 1
  assert np.isnan(inside_share(np.eye(3), [0, 0, 1]))
  with pytest.raises(UserError, match='square'):
    inside_share(np.ones((2, 3)), [0, 1])

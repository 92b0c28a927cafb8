"""Exact neighbours by cosine against scikit-learn and a table of all pairs."""

import jax
import numpy as np
import pytest
from sklearn import neighbors

from jaxdistill.errors import UserError
from jaxdistill.estimation import neighbours


def vectors(seed, number=70, width=6):
  return np.random.default_rng(seed).normal(size=(number, width)).astype(np.float32) * 3


@pytest.mark.parametrize('rows', [70, 16])
def test_neighbours_are_scikit_learns(rows):
  points = vectors(0)
  result = neighbours.nearest(points, 9, rows=rows)
  theirs = neighbors.NearestNeighbors(n_neighbors=9, metric='cosine', algorithm='brute').fit(points)
  distance, index = theirs.kneighbors()
  np.testing.assert_array_equal(result.index, index)
  np.testing.assert_allclose(result.similarity, 1 - distance, atol=1e-5)


def test_self_counts_where_asked_and_queries_may_be_others():
  points, others = vectors(1), vectors(2, 5)
  with_self = neighbours.nearest(points, 3, exclude_self=False)
  np.testing.assert_array_equal(with_self.index[:, 0], np.arange(70))
  result = neighbours.nearest(points, 70, others)
  cosines = (others / np.linalg.norm(others, axis=1, keepdims=True)) @ (
    points / np.linalg.norm(points, axis=1, keepdims=True)
  ).T
  np.testing.assert_array_equal(result.index, np.argsort(-cosines, 1))


def test_ties_go_to_the_lowest_index_and_lengths_do_not_matter():
  points = np.array([[1.0, 0], [2, 0], [0, 1], [4, 0], [0, 0]], np.float32)
  result = neighbours.nearest(points, 4)
  assert result.index.tolist()[:2] == [[1, 3, 2, 4], [0, 3, 2, 4]]
  assert result.similarity[4].tolist() == [0, 0, 0, 0]


def test_no_table_of_all_pairs_is_in_the_program():
  shape = jax.ShapeDtypeStruct((4096, 8), np.float32)
  lowered = jax.jit(lambda x: neighbours.nearest(x, 5, rows=64)).lower(shape)
  # A block and what is sorted of it: far below the 64 MiB of all pairs.
  assert lowered.compile().memory_analysis().temp_size_in_bytes < 8 * 2**20


@pytest.mark.parametrize(
  'arguments, words',
  [
    ((np.ones((5, 2)), 5), '5 neighbours were asked for, and there are 4 others'),
    ((np.ones((5, 2)), 6, np.ones((1, 2))), 'there are 5 examples'),
    ((np.ones(5), 1), r'embeddings \[n, d\]'),
    ((np.ones((5, 2)), 1, np.ones((1, 3))), r'queries \[m, d\]'),
    ((np.ones((5, 2)), 0), 'k is 0'),
    ((np.full((5, 2), np.inf), 1), 'embeddings hold NaN or infinity'),
    ((np.ones((5, 2)), 1, np.full((1, 2), np.nan)), 'queries hold NaN or infinity'),
  ],
)
def test_what_cannot_be_is_told(arguments, words):
  with pytest.raises(UserError, match=words):
    neighbours.nearest(*arguments)

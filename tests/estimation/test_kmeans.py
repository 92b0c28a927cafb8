"""k-means: a fixed point of Lloyd's algorithm, as good as scikit-learn's, the same every time."""

import jax
import numpy as np
import pytest
from sklearn import cluster

from jaxdistill import draws
from jaxdistill.errors import UserError
from jaxdistill.estimation import kmeans


def blobs(seed, clusters=4, each=15, width=9):
  rng = np.random.default_rng(seed)
  centres = rng.normal(0, 3, (clusters, width))
  truth = np.repeat(np.arange(clusters), each)
  return (centres[truth] + rng.normal(0, 0.3, (len(truth), width))).astype(np.float32), truth


def test_end_is_a_fixed_point_of_lloyd():
  points = np.random.default_rng(0).normal(size=(60, 9)).astype(np.float32) + 50
  result = kmeans.kmeans(points, 4, draws.key(1))
  distance = ((points[:, None].astype(float) - np.asarray(result.centres)[None]) ** 2).sum(2)
  np.testing.assert_array_equal(result.assignment, distance.argmin(1))
  for number in range(4):
    mean = points[np.asarray(result.assignment) == number].mean(0)
    np.testing.assert_allclose(result.centres[number], mean, atol=1e-4)
  np.testing.assert_allclose(result.inertia, distance.min(1).sum(), rtol=1e-4)
  assert int(result.steps) < 50


def test_separate_clusters_are_found_and_best_start_is_scikit_learns_optimum():
  points, truth = blobs(1)  # 60 points, as above: one program
  results = [kmeans.kmeans(points, 4, draws.key(seed)) for seed in range(6)]
  best = min(results, key=lambda result: float(result.inertia))
  theirs = cluster.KMeans(4, n_init=10, random_state=0).fit(points)
  np.testing.assert_allclose(best.inertia, theirs.inertia_, rtol=1e-4)
  pairs = np.asarray(best.assignment)[:, None] == np.asarray(best.assignment)[None]
  np.testing.assert_array_equal(pairs, truth[:, None] == truth[None])


def test_one_key_gives_one_answer_under_jit_and_vmap():
  points, _ = blobs(2)
  plain = kmeans.kmeans(points, 4, draws.key(3))
  both = jax.vmap(lambda one: kmeans.kmeans(one, 4, draws.key(3)))(np.stack([points, points + 1]))
  np.testing.assert_array_equal(plain.assignment, both.assignment[0])
  np.testing.assert_array_equal(plain.assignment, both.assignment[1])


def test_fewer_different_points_than_clusters_leave_clusters_empty():
  points = np.array([[1.0, 2.0]] * 3 + [[4.0, 6.0]] * 2, np.float32)
  result = kmeans.kmeans(points, 4, draws.key(0))
  assignment = np.asarray(result.assignment)
  assert len(set(assignment)) == 2 and (assignment[:3] == assignment[0]).all()
  assert float(result.inertia) == 0 and np.isfinite(result.centres).all()


def test_a_cluster_a_point_is_exact():
  points, _ = blobs(5, 2, 3)
  assert len(set(np.asarray(kmeans.kmeans(points, 6, draws.key(0)).assignment))) == 6


@pytest.mark.parametrize(
  'points, clusters, words',
  [
    (np.ones((3, 2)), 4, 'cannot make 4 clusters of 3 points'),
    (np.ones(3), 1, 'points .n, d.'),
    (np.ones((3, 2)), 0, 'at least 1'),
  ],
)
def test_what_cannot_be_is_told(points, clusters, words):
  with pytest.raises(UserError, match=words):
    kmeans.kmeans(points, clusters, draws.key(0))

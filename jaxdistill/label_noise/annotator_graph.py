"""Which annotators are alike: a graph of nearest neighbours, freed of chance edges by a cut of its
rank. On the host, in numpy."""

import numpy as np
from jax.typing import ArrayLike

from jaxdistill import errors
from jaxdistill.errors import UserError
from jaxdistill.estimation import neighbours as estimation_neighbours

# An edge of a graph whose edges have a weight.
_EDGE = 0.1


def usual_neighbours(annotators: int) -> int:
  """Returns k for so many annotators: a sixth of them, as 50 of 300 in TAIDTM's public code.

  >>> usual_neighbours(300), usual_neighbours(4)
  (50, 1)
  """
  return max(1, annotators // 6)


def neighbour_graph(vectors: ArrayLike, neighbours: int) -> np.ndarray:
  """Returns B [R, R]: B[r, s] = 1 where s is one of the nearest of r by cosine, no one his own.

  >>> neighbour_graph([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]], 1).tolist()
  [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
  """
  vectors = np.asarray(vectors, np.float32)
  index = np.asarray(estimation_neighbours.nearest(vectors, neighbours).index)
  graph = np.zeros((len(vectors), len(vectors)))
  np.put_along_axis(graph, index, 1.0, axis=1)
  return graph


def rank_cut(graph: np.ndarray, rank: int) -> np.ndarray:
  """Returns the nearest matrix of a rank, with entries cut to [0, 1].

  >>> rank_cut(np.diag([1.0, 0.5]), 1).round(6).tolist()
  [[1.0, 0.0], [0.0, 0.0]]
  """
  errors.whole('rank', rank, at_least=1)
  left, values, right = np.linalg.svd(graph)
  return np.clip((left[:, :rank] * values[:rank]) @ right[:rank], 0, 1)


def joined(graph: np.ndarray, alike: np.ndarray) -> np.ndarray:
  """Returns the graph with an edge of everyone to himself, and among all those of `alike`, bool
  [R]: annotators of whom too little is known to tell them apart.

  >>> joined(np.zeros((3, 3)), np.array([True, False, True])).tolist()
  [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
  """
  pairs = np.outer(alike, alike) | np.eye(len(graph), dtype=bool)
  return np.where(pairs, 1.0, graph)


def normalised(graph: np.ndarray) -> np.ndarray:
  """Returns D^-1/2 A^T D^-1/2 with D the sums of the rows of A, float32 [R, R].

  >>> normalised(np.array([[1.0, 1.0], [0.0, 1.0]])).round(4).tolist()
  [[0.5, 0.0], [0.707..., 1.0]]
  """
  scale = graph.sum(1) ** -0.5
  return (scale[:, None] * graph.T * scale).astype(np.float32)


def annotator_graph(
  vectors: ArrayLike, neighbours: int, rank: int, unknown: ArrayLike
) -> np.ndarray:
  """Returns the normalised graph of annotators by what tells them from the mean of all.

  Args:
    vectors: [R, anything], such as the difference of a common layer to an annotator's own.
    neighbours: k of each.
    rank: of the cut, above the number of groups of annotators.
    unknown: bool [R], of whom too little is known; they are joined with each other.

  Source: TAIDTM (Li et al., TPAMI 2024).
  """
  graph = rank_cut(neighbour_graph(vectors, neighbours), rank)
  return normalised(joined(graph, np.asarray(unknown, bool)))


def inside_share(graph: ArrayLike, group: ArrayLike, edge: float = _EDGE) -> float:
  """Returns which share of the edges join two annotators of one group; NaN without edges.

  Args:
    graph: [R, R]; what is above `edge` is an edge, the diagonal apart.
    group: of each annotator, int [R], known of simulated ones.
    edge: see above.

  Raises:
    UserError: for shapes that do not fit.

  >>> inside_share([[1, 1, 0], [0, 1, 1], [0, 0, 1]], [0, 0, 1])
  0.5
  """
  graph, group = np.asarray(graph), np.asarray(group)
  if graph.shape != (len(group), len(group)):
    raise UserError(f'A graph of {len(group)} annotators is square; it is {list(graph.shape)}.')
  is_edge = (graph > edge) & ~np.eye(len(group), dtype=bool)
  inside = is_edge & (group[:, None] == group)
  return float(inside.sum() / is_edge.sum()) if is_edge.any() else float('nan')

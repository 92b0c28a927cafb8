"""Which features of a teacher are worth copying: a choice of images by a sparse graph (Selective
KD, Ge et al., TIP 2019).

The paper's equations could not be read; the energy is our reconstruction of what its abstract says.
With unit features f_i, the unit mean c_y of every class and the margin

    m_i = <f_i, c_y(i)> - max over the other classes y of <f_i, c_y>

the choice α in {0, 1}^N has the least

    E(α) = Σ_i α_i (μ - m_i) + λ_p Σ_{edges (i, j)} w_ij |α_i - α_j|,    w_ij = max(<f_i, f_j>, 0),

where edges join every image to its k nearest ones of the same class. An image costs μ and earns its
margin, so that one with a wrong label falls out; neighbours are to agree. For λ_p >= 0 a minimum
cut finds the minimum; `icm` finds a local one faster.

On the host, in numpy: it is done once, before the training that uses it.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph

from jaxdistill import errors

# Rows of features whose products with others are in memory at once.
_ROWS = 4096
# The maximum flow is one of whole numbers of 32 bits: all that leaves the source together.
_CAPACITY = 2**30


class Graph(NamedTuple):
  """The energy of a choice, up to λ_p.

  unary: μ - m_i [N], the cost of choosing an image.
  edges: int [M, 2], pairs of images, each once.
  similarity: w [M].
  """

  unary: np.ndarray
  edges: np.ndarray
  similarity: np.ndarray


class Selection(NamedTuple):
  """What `select` gives.

  chosen: α, bool [N]. margins: m [N]. threshold: μ. energy: E(α).
  """

  chosen: np.ndarray
  margins: np.ndarray
  threshold: float
  energy: float


def select(
  features: np.ndarray,
  labels: np.ndarray,
  share: float = 0.7,
  neighbours: int = 5,
  smoothness: float = 0.02,
  exact_up_to: int = 50_000,
  seed: int = 0,
) -> Selection:
  """Returns the images whose features a student is to copy.

  Args:
    features: f [N, d], of any length.
    labels: int [N].
    share: κ, of the images with m_i > μ: μ is the quantile 1 - κ of the margins.
    neighbours: k.
    smoothness: λ_p; 0: the margins alone decide.
    exact_up_to: images up to which the minimum cut is computed; above, `icm` from the choice by
      margins alone.
    seed: of `icm`.

  Raises:
    UserError: for features without labels, or a number out of its range.

  Source: choosing by a sparse graph: Ge et al., TIP 2019; energy and numbers are our choice.

  >>> features = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [0.0, 1.0]])
  >>> select(features, np.array([0, 0, 1, 1, 0]), share=0.8, neighbours=1).chosen.tolist()
  [True, True, True, True, False]
  """
  features, labels = unit_rows(features), np.asarray(labels)
  if labels.shape != (len(features),):
    raise errors.UserError(
      f'A choice needs one label a feature; got {labels.shape} for {len(features)} features.'
    )
  check(labels, share, neighbours, smoothness, exact_up_to)
  margins = class_margins(features, labels)
  threshold = _threshold(margins, share)
  edges, similarity = neighbour_edges(features, labels, neighbours)
  graph = Graph(threshold - margins, edges, smoothness * similarity)
  if len(features) <= exact_up_to:
    chosen = min_cut(graph)
  else:
    chosen = icm(graph, graph.unary < 0, seed)[0]
  return Selection(chosen, margins, threshold, energy(graph, chosen))


def check(
  labels: np.ndarray, share: float, neighbours: int, smoothness: float, exact_up_to: int
) -> None:
  """Raises `UserError` for what `select` cannot choose by, before there are features: labels of one
  class, or a number out of its range.

  >>> check(np.array([0, 1]), share=2.0, neighbours=5, smoothness=0.02, exact_up_to=9)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: share is above 0 and at most 1, smoothness at least 0; got 2.0 ...
  """
  errors.real_numbers(share=share, smoothness=smoothness)
  if not 0 < share <= 1 or smoothness < 0:
    raise errors.UserError(
      f'share is above 0 and at most 1, smoothness at least 0; got {share} and {smoothness}.'
    )
  errors.whole('neighbours', neighbours)
  errors.whole('exact_up_to', exact_up_to)
  _check_classes(labels)


def unit_rows(features: np.ndarray) -> np.ndarray:
  """Returns features [N, d] with rows of length 1, in float64; rows of zeros stay.

  >>> unit_rows(np.array([[3.0, 4.0]])).tolist()
  [[0.6, 0.8]]
  """
  features = np.asarray(features, np.float64)
  length = np.linalg.norm(features, axis=1, keepdims=True)
  return features / np.where(length > 0, length, 1)


def class_margins(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns m [N] of unit features: how much nearer each is to the mean of its own class than to
  that of the nearest other one.

  Raises:
    UserError: where all images are of one class.

  >>> class_margins(np.eye(2), np.array([4, 7])).tolist()
  [1.0, 1.0]
  """
  _check_classes(labels)
  classes, members = np.unique(labels, return_inverse=True)
  sums = np.zeros((len(classes), features.shape[1]))
  np.add.at(sums, members, features)
  centroids = unit_rows(sums)
  margins = np.empty(len(features))
  for start in range(0, len(features), _ROWS):
    part = slice(start, start + _ROWS)
    cosines = features[part] @ centroids.T
    rows, own = np.arange(len(cosines)), members[part]
    to_own = cosines[rows, own]
    cosines[rows, own] = -np.inf
    margins[part] = to_own - cosines.max(1)
  return margins


def _check_classes(labels):
  if len(np.unique(labels)) < 2:
    raise errors.UserError('Margins between classes need images of at least two classes.')


def neighbour_edges(
  features: np.ndarray, labels: np.ndarray, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the edges int [M, 2] of the graph and their w [M]: every image and its nearest ones of
  its class, by the cosine.

  An edge that both ends ask for is there once. A class of fewer images joins them all.

  >>> edges, similarity = neighbour_edges(np.eye(3)[[0, 0, 1, 2]], np.array([0, 0, 0, 1]), 1)
  >>> edges.tolist(), similarity.tolist()
  ([[0, 1], [0, 2]], [1.0, 0.0])
  """
  neighbours = errors.whole('neighbours', neighbours)
  pairs = [np.zeros((0, 2), int)]
  for label in np.unique(labels):
    members = np.flatnonzero(labels == label)
    count = min(neighbours, len(members) - 1)
    of_class = features[members]
    for start in range(0, len(members) if count else 0, _ROWS):
      part = slice(start, start + _ROWS)
      nearest = members[_nearest(of_class, part, count)]
      pairs.append(np.stack([np.repeat(members[part], count), nearest.ravel()], 1))
  edges = np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)
  similarity = np.maximum((features[edges[:, 0]] * features[edges[:, 1]]).sum(1), 0)
  return edges, similarity


def _nearest(features, part, count):
  """Rows [n, count] nearest to each of a part of the features, without itself."""
  cosines = features[part] @ features.T
  cosines[np.arange(len(cosines)), part.start + np.arange(len(cosines))] = -np.inf
  return np.argpartition(-cosines, count - 1, axis=1)[:, :count]


def energy(graph: Graph, chosen: np.ndarray) -> float:
  """Returns E of a choice, bool [N].

  >>> graph = Graph(np.array([-1.0, 0.5]), np.array([[0, 1]]), np.array([2.0]))
  >>> [energy(graph, np.array(chosen)) for chosen in ([True, False], [True, True])]
  [1.0, -0.5]
  """
  first, second = chosen[graph.edges].T
  return float(graph.unary[chosen].sum() + graph.similarity[first != second].sum())


def min_cut(graph: Graph) -> np.ndarray:
  """Returns a choice of the least energy, bool [N], by the maximum flow through the graph.

  The costs are whole numbers in it, 2^30 being all positive margins together. Of several minima it
  is one that chooses the fewest images.

  Source: Kolmogorov & Zabih, PAMI 2004, for energies that a cut can minimise.

  >>> min_cut(Graph(np.array([-1.0, 0.5]), np.array([[0, 1]]), np.array([2.0]))).tolist()
  [True, True]
  """
  images = len(graph.unary)
  source, sink = images, images + 1
  gain, cost = np.maximum(-graph.unary, 0), np.maximum(graph.unary, 0)
  total = gain.sum()
  if total == 0:
    return np.zeros(images, bool)
  unit = _CAPACITY / total
  first, second = graph.edges.T
  nodes = np.arange(images)
  tails = np.concatenate([np.full(images, source), nodes, first, second])
  heads = np.concatenate([nodes, np.full(images, sink), second, first])
  capacity = np.concatenate([gain, cost, graph.similarity, graph.similarity])
  # No more than what leaves the source flows through anything.
  capacity = np.minimum(np.rint(capacity * unit), _CAPACITY).astype(np.int32)
  shape = (images + 2, images + 2)
  network = scipy.sparse.csr_array((capacity, (tails, heads)), shape=shape)
  flow = scipy.sparse.csgraph.maximum_flow(network, source, sink).flow
  residual = network - flow
  residual.data = np.where(residual.data > 0, 1, 0).astype(np.int32)
  residual.eliminate_zeros()
  reached = scipy.sparse.csgraph.breadth_first_order(
    residual, source, directed=True, return_predecessors=False
  )
  chosen = np.zeros(images + 2, bool)
  chosen[reached] = True
  return chosen[:images]


def icm(graph: Graph, chosen: np.ndarray, seed: int = 0) -> tuple[np.ndarray, list[float]]:
  """Returns a choice that no change of a single image betters, and the energies on the way to it.

  Iterated conditional modes (Besag, 1986) on many images at once: of those whose change would lower
  the energy, all change that have a higher random number than their neighbours among them. No two
  of these share an edge, so that the energy falls in every sweep.

  Args:
    graph: the energy.
    chosen: bool [N], where it starts.
    seed: of the random numbers.

  >>> graph = Graph(np.array([-1.0, 0.5]), np.array([[0, 1]]), np.array([2.0]))
  >>> icm(graph, np.array([True, False]))
  (array([ True,  True]), [1.0, -0.5])
  """
  random = np.random.default_rng(seed)
  chosen = np.array(chosen, bool)
  energies = [energy(graph, chosen)]
  while True:
    gain = _gain(graph, chosen)
    willing = gain > 0
    if not willing.any():
      return chosen, energies
    rank = np.where(willing, random.permutation(len(chosen)), -1)
    highest = np.full(len(chosen), -1)
    for here, there in (graph.edges.T, graph.edges.T[::-1]):
      np.maximum.at(highest, here, rank[there])
    after = chosen ^ (willing & (rank > highest))
    energies.append(energy(graph, after))
    # Gains of the size of the sums' rounding would go round for ever.
    if energies[-1] >= energies[-2]:
      return chosen, energies[:-1]
    chosen = after


def _gain(graph, chosen):
  """How much lower the energy is for a change of each image alone, [N]."""
  first, second = graph.edges.T
  # What an edge costs now, less what it costs after a change of one end.
  saved = np.where(chosen[first] != chosen[second], graph.similarity, -graph.similarity)
  gain = np.where(chosen, graph.unary, -graph.unary)
  for end in (first, second):
    gain = gain + np.bincount(end, saved, len(chosen))
  return gain


def _threshold(margins, share):
  """μ with a share of the margins above it, halfway between two of them."""
  ordered = np.sort(margins)
  below = len(margins) - round(share * len(margins))
  if below == 0:
    return float(ordered[0] - 1)
  return float(ordered[below - 1 : below + 1].mean())

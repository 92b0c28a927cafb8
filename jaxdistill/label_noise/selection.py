"""Which examples agree with their neighbours, and which pairs of examples are of one class."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.estimation import neighbours as estimation_neighbours
from jaxdistill.label_noise import evidence
from jaxdistill.numerics import steady

VOTES = ('counts', 'weighted')
_BINS = 4096  # of cosines, when a quantile of all pairs is sought
_BLOCK = 1024  # rows of pairs at a time
_EQUAL = 1e-6  # cosines that differ by less are one: of the same two images in two programs


@flax.struct.dataclass
class Pairs:
  """Which pairs of a set of n examples are of one class. A pytree: its methods work in compiled
  steps, and no table of all pairs is built.

  Two examples are a pair where their labels are equal, and both are confident or their cosine is at
  least the threshold.
  """

  confident: jax.Array  # bool [n]
  threshold: jax.Array  # float32 []
  labels: jax.Array  # int32 [n], as given
  directions: jax.Array  # float32 [n, d], embeddings of length 1

  def pair(self, i: jax.Array, j: jax.Array) -> jax.Array:
    """Returns bool, whether examples i and j are a pair, position by position; any shapes that
    broadcast."""
    return _pair(self, i, j)

  def pairs(self, i: jax.Array, j: jax.Array) -> jax.Array:
    """Returns bool [a, b], whether each of the examples i [a] is a pair with each of j [b]."""
    return _pairs(self, i, j)


@flax.struct.dataclass
class Selection(Pairs):
  """The confident examples and pairs of a set of n, and what they were chosen by. A pytree."""

  votes: jax.Array  # float32 [n, C], shares of the neighbours' second vote, sum 1
  corrected: jax.Array  # int32 [n], the class with the most votes
  scores: jax.Array  # float32 [n], -log of the given label's votes, clipped to [0.01, 0.99]
  agreeing: jax.Array  # int32 [C], examples of each label whose neighbours agree with it
  budget: jax.Array  # int32 [], most confident examples a class


def select(
  embeddings: np.ndarray,
  labels: np.ndarray,
  neighbours: int = 250,
  alpha: float = 0.5,
  beta: float = 0.25,
  votes: str = 'counts',
  temperature: float = 0.1,
  classes: int | None = None,
) -> Selection:
  """Selects examples whose label the neighbours confirm, and pairs of equal labels, by Sel-CL.

  The nearest neighbours by cosine, an example not among its own, vote twice: with the given labels,
  and with the winners of that vote. Examples whose second vote confirms their label are counted by
  label; the alpha-quantile of these counts, rounded down, is the budget. Of every class so many, or
  all where it has fewer, with the most votes for their label are confident. The threshold of pairs
  is the beta-quantile of the cosines of all pairs of confident examples with one label, each with
  itself included as in the public code; all of them, not a sample. Quantiles lie between two values
  in proportion; equal votes go to the lowest class, equal scores to the lowest index.

  Args:
    embeddings: [n, d], of any length.
    labels: int [n], some of them wrong.
    neighbours: K.
    alpha: 0 takes the least of the counts, 1 the most. Of the classes that have examples.
    beta: 0 admits the most pairs.
    votes: 'counts', each neighbour one vote; 'weighted', exp(cosine / temperature) votes.
    temperature: of weighted votes.
    classes: C; None: up to the largest label.

  Raises:
    UserError: for shapes that do not fit, labels out of range, more neighbours than other examples,
      alpha or beta outside [0, 1], a temperature that is not above 0, or an unknown kind of votes.

  Source: Sel-CL (Li et al., CVPR 2022); `votes` are the two forms of its public code, of which the
    first lets an example vote for itself by a slip.

  >>> points = np.array([[1, 0], [1, 0.1], [0.9, 0.1], [0, 1], [0.1, 1], [0.1, 0.9]])
  >>> selection = select(points, np.array([0, 0, 1, 1, 1, 1]), neighbours=2)
  >>> selection.confident.tolist(), selection.corrected.tolist()
  ([True, True, False, True, True, False], [0, 0, 0, 1, 1, 1])
  >>> selection.pair(np.array([0, 2]), np.array([1, 3])).tolist()
  [True, False]
  """
  labels = evidence.class_labels(labels, classes)
  if votes not in VOTES:
    raise errors.unknown('kind of votes', votes, VOTES)
  evidence.unit_interval(alpha=alpha, beta=beta)
  errors.real_numbers(temperature=temperature)
  if temperature <= 0:
    raise errors.UserError(f'temperature is {temperature}; it must be above 0.')
  if np.ndim(embeddings) != 2 or len(embeddings) != len(labels):
    raise errors.UserError(
      f'A selection takes embeddings [n, d] and labels [n]; got {np.shape(embeddings)} and '
      f'{labels.shape}.'
    )
  near = estimation_neighbours.nearest(embeddings, neighbours)
  classes = classes or int(labels.max()) + 1
  weights = None
  if votes == 'weighted':
    weights = np.exp((np.asarray(near.similarity, np.float64) - 1) / temperature)
  index = np.asarray(near.index)
  winners = _voted(labels, index, weights, classes).argmax(1)
  shares = _voted(winners, index, weights, classes)
  return _selected(embeddings, labels, shares, alpha, beta)


def _voted(labels, index, weights, classes):
  """Shares of the neighbours' votes, float64 [n, C]."""
  cells = np.arange(len(index))[:, None] * classes + labels[index]
  weights = None if weights is None else weights.ravel()
  counts = np.bincount(cells.ravel(), weights, minlength=len(index) * classes)
  counts = counts.reshape(len(index), classes)
  return counts / counts.sum(1, keepdims=True)


def _selected(embeddings, labels, shares, alpha, beta):
  classes = shares.shape[1]
  corrected = shares.argmax(1)
  scores = -np.log(np.clip(shares[np.arange(len(labels)), labels], 0.01, 0.99))
  sizes = np.bincount(labels, minlength=classes)
  agreeing = np.bincount(labels[corrected == labels], minlength=classes)
  budget = int(np.quantile(agreeing[sizes > 0], alpha))
  confident = np.zeros(len(labels), bool)
  for label in range(classes):
    members = np.flatnonzero(labels == label)
    confident[members[np.argsort(scores[members], kind='stable')[:budget]]] = True
  directions = estimation_neighbours.unit_rows(embeddings)
  threshold = _pair_quantile(np.asarray(directions), np.where(confident, labels, -1), beta)
  return Selection(
    confident=jnp.asarray(confident),
    threshold=jnp.float32(threshold),
    votes=jnp.asarray(shares, jnp.float32),
    corrected=jnp.asarray(corrected, jnp.int32),
    scores=jnp.asarray(scores, jnp.float32),
    agreeing=jnp.asarray(agreeing, jnp.int32),
    budget=jnp.int32(budget),
    labels=jnp.asarray(labels, jnp.int32),
    directions=directions,
  )


def _pair_quantile(directions, groups, share):
  """The quantile of the cosines of all pairs within groups, exact, without a table of them: what
  lies in each of many bins is counted first, and then the bin of the quantile is looked into. Rows
  of group -1 are in none. Without any pair it is above all cosines."""
  counts = np.zeros(_BINS + 1, np.int64)
  for cosines in _cosines_within(directions, groups):
    counts += np.bincount(_bin(cosines), minlength=_BINS + 1)
  number = counts.sum()
  if not number:
    return 2.0
  rank = share * (number - 1)
  ranks = int(np.floor(rank)), int(np.ceil(rank))
  reached = counts.cumsum()
  first, last = np.searchsorted(reached, ranks, side='right')
  inside = []
  for cosines in _cosines_within(directions, groups):
    bins = _bin(cosines)
    inside.append(cosines[(bins >= first) & (bins <= last)])
  inside = np.sort(np.concatenate(inside))
  low, high = inside[np.array(ranks) - (reached[first] - counts[first])].astype(np.float64)
  return low + (rank - ranks[0]) * (high - low)


def _cosines_within(directions, groups):
  """Yields the cosines of all pairs, some rows at a time, both orders of a pair included."""
  for group in np.unique(groups[groups >= 0]):
    members = directions[groups == group]
    for first in range(0, len(members), _BLOCK):
      yield (members[first : first + _BLOCK] @ members.T).ravel()


def _bin(cosines):
  return ((np.clip(cosines, -1, 1) + 1) * (_BINS / 2)).astype(np.int64)


@jax.jit
@steady
def _pair(pairs, i, j):
  i, j = jnp.broadcast_arrays(i, j)
  directions = pairs.directions
  return _admitted(pairs, i, j, (directions[i] * directions[j]).sum(-1))


@jax.jit
@steady
def _pairs(pairs, i, j):
  i, j = jnp.asarray(i), jnp.asarray(j)
  left, right = pairs.directions[i], pairs.directions[j]
  cosines = jnp.dot(left, right.T, precision=jax.lax.Precision.HIGHEST)
  return _admitted(pairs, i[:, None], j[None], cosines)


def _admitted(pairs, i, j, cosines):
  both = pairs.confident[i] & pairs.confident[j]
  near = cosines >= pairs.threshold - _EQUAL
  return (pairs.labels[i] == pairs.labels[j]) & (both | near | (i == j))

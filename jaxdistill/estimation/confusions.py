"""The confusion matrices of a crowd's annotators, from beliefs about the true labels and back, and
both together by expectation maximisation.

Matrices are [R, C, C]: entry [r, i, j] is the probability that annotator r says j of an example of
class i, so rows sum to 1. Everything sums over triples; no array has n R C numbers.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxdistill.data.crowds import Crowd
from jaxdistill.estimation import votes
from jaxdistill.numerics import steady

# In place of a count or a prior probability of zero, of which a logarithm is taken.
FLOOR = 1e-10


class Estimate(NamedTuple):
  """What expectation maximisation ends with.

  Attributes:
    beliefs: posterior of the true labels, [n, C].
    confusions: [R, C, C].
    prior: of the classes, [C].
    history: the evidence bound per label after each iteration.
  """

  beliefs: jax.Array
  confusions: jax.Array
  prior: jax.Array
  history: tuple[float, ...]


@steady
@jax.jit
def expected_counts(crowd: Crowd, beliefs: jax.Array) -> jax.Array:
  """Returns how often each annotator said j of examples of class i, [R, C, C], by what is believed
  of the examples.

  counts[r, i, j] = sum over r's examples e with label j of beliefs[e, i].

  >>> crowd = Crowd.from_table([[0, 1], [1, -1]], classes=2)
  >>> expected_counts(crowd, jnp.array([[1.0, 0.0], [0.25, 0.75]])).tolist()
  [[[1.0, 0.25], [0.0, 0.75]], [[0.0, 1.0], [0.0, 0.0]]]
  """
  annotators, classes = crowd.num_annotators, crowd.num_classes
  cell = jnp.asarray(crowd.annotator) * classes + jnp.asarray(crowd.label)
  sums = jax.ops.segment_sum(beliefs[jnp.asarray(crowd.example)], cell, annotators * classes)
  return sums.reshape(annotators, classes, classes).swapaxes(1, 2)


@steady
@jax.jit
def labels_used(counts: jax.Array) -> jax.Array:
  """Returns which labels each annotator ever gave, bool [R, C], from counts of whole labels, as
  `expected_counts` are of beliefs that sum to 1.

  >>> crowd = Crowd.from_table([[0, 1], [1, -1]], classes=2)
  >>> labels_used(expected_counts(crowd, jnp.full((2, 2), 0.5))).tolist()
  [[True, True], [False, True]]
  """
  return counts.sum(1) > 0.5


@steady
@jax.jit
def normalised(counts: jax.Array, used: ArrayLike | None = None, floor: float = FLOOR) -> jax.Array:
  """Returns confusion matrices from counts: the M-step of Dawid and Skene.

  Counts below `floor` become `floor`, then rows are divided by their sums. So a row without mass is
  uniform: over all labels, or with `used` over those that the annotator gave at all, and the others
  are 0; an annotator without labels is uniform in any case.

  Args:
    counts: [R, C, C], as of `expected_counts`.
    used: bool [R, C]; None: every label may be given by everybody.
    floor: for cells without counts.

  Source: Dawid and Skene, Applied Statistics 1979. With `used`, as crowd-kit estimates them;
  without, as TCL's public code does (Li et al., IEEE TMM 2022).

  >>> normalised(jnp.array([[[3.0, 1.0], [0.0, 0.0]]])).round(3).tolist()
  [[[0.75..., 0.25], [0.5, 0.5]]]
  """
  counts = jnp.maximum(counts, floor)
  if used is not None:
    used = jnp.asarray(used)
    used = used | ~used.any(1, keepdims=True)
    counts = jnp.where(used[:, None, :], counts, 0)
  return counts / counts.sum(2, keepdims=True)


@steady
@jax.jit
def one_coin(counts: jax.Array, floor: float = FLOOR) -> jax.Array:
  """Returns confusion matrices with one number an annotator, from counts [R, C, C]: on the diagonal
  its share s of right labels, beside it (1 - s) / (C - 1), both at least `floor`.

  An annotator without labels is as good as chance.

  >>> one_coin(jnp.array([[[3.0, 1.0], [0.0, 0.0]]])).tolist()
  [[[0.75, 0.25], [0.25, 0.75]]]
  """
  classes = counts.shape[1]
  total = counts.sum((1, 2))
  right = jnp.trace(counts, axis1=1, axis2=2)
  skill = jnp.where(total > 0, right / jnp.where(total > 0, total, 1), 1 / classes)
  wrong = (1 - skill) / max(classes - 1, 1)
  diagonal = jnp.eye(classes, dtype=bool)[None]
  return jnp.clip(jnp.where(diagonal, skill[:, None, None], wrong[:, None, None]), floor, 1 - floor)


@steady
@jax.jit
def posterior(crowd: Crowd, confusions: jax.Array, prior: ArrayLike) -> jax.Array:
  """Returns what the labels say of each example, [n, C]: the E-step, in the space of logarithms.

  posterior[e, i] ~ prior[i] prod over annotators r of e of confusions[r, i, label of r].

  >>> crowd = Crowd.from_table([[1, 1]], classes=2)
  >>> confusions = jnp.array([[[0.8, 0.2], [0.4, 0.6]], [[0.5, 0.5], [0.5, 0.5]]])
  >>> posterior(crowd, confusions, jnp.array([0.5, 0.5])).round(3).tolist()
  [[0.25, 0.75...]]
  """
  classes = crowd.num_classes
  logs = _log(confusions).swapaxes(1, 2).reshape(-1, classes)
  cell = jnp.asarray(crowd.annotator) * classes + jnp.asarray(crowd.label)
  evidence = jax.ops.segment_sum(
    logs[cell], jnp.asarray(crowd.example), crowd.num_examples, indices_are_sorted=True
  )
  prior = jnp.asarray(prior, evidence.dtype)
  return jax.nn.softmax(evidence + jnp.log(jnp.maximum(prior, FLOOR))[None, :], axis=1)


@steady
def evidence_bound(
  beliefs: jax.Array, counts: jax.Array, confusions: jax.Array, prior: jax.Array, labels: int
) -> jax.Array:
  """Returns the evidence bound per label, by which the iterations stop.

  (sum of counts[r, i, j] (log confusions[r, i, j] + log prior[i]) + entropy of the beliefs) /
  labels. As in crowd-kit, whose rule this is, an example's prior counts once for each of its
  labels.
  """
  logs = _log(confusions) + jnp.log(jnp.maximum(prior, FLOOR))[None, :, None]
  floored = jnp.maximum(beliefs, FLOOR)
  return (jnp.sum(counts * logs) - jnp.sum(floored * jnp.log(floored))) / labels


def _log(confusions):
  """Logarithms that are finite where a label was never given."""
  return jnp.log(jnp.maximum(confusions, jnp.finfo(confusions.dtype).tiny))


class Step(NamedTuple):
  """What one iteration makes of beliefs.

  Attributes:
    beliefs: those of before, the gold labels certain, [n, C].
    confusions, prior: what they imply, [R, C, C] and [C].
    bound: of all three, see `evidence_bound`.
    posterior: the beliefs of the next iteration, [n, C].
  """

  beliefs: jax.Array
  confusions: jax.Array
  prior: jax.Array
  bound: jax.Array
  posterior: jax.Array


@steady
@functools.partial(jax.jit, static_argnames='model')
def step(
  crowd: Crowd,
  beliefs: jax.Array,
  prior: ArrayLike | None = None,
  gold: ArrayLike | None = None,
  model: str = 'dawid_skene',
) -> Step:
  """Returns matrices and prior by beliefs [n, C], and the posterior by these; as `fit`, which
  repeats it."""
  beliefs = votes.with_gold(beliefs, gold)
  counts = expected_counts(crowd, beliefs)
  matrices = one_coin(counts) if model == 'one_coin' else normalised(counts, labels_used(counts))
  prior = beliefs.mean(0) if prior is None else jnp.asarray(prior, beliefs.dtype)
  bound = evidence_bound(beliefs, counts, matrices, prior, len(crowd))
  return Step(beliefs, matrices, prior, bound, posterior(crowd, matrices, prior))


def fit(
  crowd: Crowd,
  start: jax.Array,
  prior: ArrayLike | None = None,
  gold: ArrayLike | None = None,
  model: str = 'dawid_skene',
  iterations: int = 100,
  tolerance: float = 1e-5,
) -> Estimate:
  """Estimates true labels and confusion matrices together, by expectation maximisation.

  The matrices that `start` implies, then in turns: posterior, prior = its mean, matrices. It ends
  after `iterations`, or as soon as the evidence bound per label gains less than `tolerance`.
  Computes in the float type of `start`.

  Args:
    start: beliefs to begin with, [n, C]: `votes.soft`.
    prior: of the classes, [C], that stays; None: it is estimated.
    gold: labels that are known, int [n], -1 elsewhere; see `votes.with_gold`.
    model: 'dawid_skene', a matrix an annotator; 'one_coin', a number, see `one_coin`.

  Source: Dawid and Skene, Applied Statistics 1979; Zhang et al., JMLR 2016 (one coin). Start and
  stop are those of crowd-kit 1.4, with the same results.

  >>> crowd = Crowd.from_table([[1, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0]], classes=2)
  >>> fit(crowd, votes.soft(crowd)).beliefs.argmax(1).tolist()
  [1, 0, 1, 0]
  """
  # A loop of one compiled step: the whole loop would take longer to compile than it runs.
  state = step(crowd, start, prior, gold, model)
  history = []
  for _ in range(iterations):
    state = step(crowd, state.posterior, prior, gold, model)
    history.append(float(state.bound))
    if len(history) > 1 and history[-1] - history[-2] < tolerance:
      break
  return Estimate(state.beliefs, state.confusions, state.prior, tuple(history))

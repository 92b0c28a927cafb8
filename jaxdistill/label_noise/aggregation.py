"""One label an example from the labels of a crowd."""

import dataclasses

import numpy as np
from jax.typing import ArrayLike

from jaxdistill.data.crowds import Crowd
from jaxdistill.errors import UserError, unknown
from jaxdistill.estimation import confusions, votes
from jaxdistill.label_noise.observed import Evidence
from jaxdistill.numerics import settled

# By name, whether the classes have a prior.
METHODS = {'mv': False, 'soft_mv': False, 'dawid_skene': True, 'one_coin': True}


@dataclasses.dataclass(frozen=True, eq=False)
class Aggregated:
  """What a crowd says, as numpy arrays.

  Attributes:
    labels: the most probable one, int32 [n]; a tie goes to the lowest.
    probabilities: of the true labels, float32 [n, C].
    confusions: of the annotators, float32 [R, C, C]; entry [r, i, j] is the probability that r says
      j of an example of class i. Of an annotator without labels it is uniform.
    prior: of the classes, float32 [C].
    accuracy: of the annotators, float32 [R]: the mean probability of the labels that each gave, 0
      where there are none.
    history: the evidence bound per label after each iteration; empty for votes.
  """

  labels: np.ndarray
  probabilities: np.ndarray
  confusions: np.ndarray
  prior: np.ndarray
  accuracy: np.ndarray
  history: tuple[float, ...]


@settled(x64=True)
def aggregate(
  crowd: Crowd,
  method: str = 'dawid_skene',
  prior: ArrayLike | None = None,
  gold: ArrayLike | None = None,
) -> Aggregated:
  """Returns one label an example and the confusion matrices of the annotators, computed with 64
  bits.

  'mv' is the majority vote, certain of its labels; 'soft_mv' gives each label the share of the
  annotators who chose it; 'dawid_skene' estimates labels and matrices together, 'one_coin' with one
  number an annotator in place of a matrix, see `estimation.confusions.fit`. Votes have the matrices
  that fit their probabilities.

  Voting is hard to beat where examples have few labels and annotators are alike: on CIFAR-10N the
  vote is right more often than Dawid and Skene's labels.

  Args:
    crowd: the labels.
    method: one of `METHODS`.
    prior: of the classes, [C], which stays; None: it is estimated. Votes have none.
    gold: labels that are known, int [n], with -1 where they are not: they are believed.

  Raises:
    UserError: an unknown method; a prior that is none, or of a vote; gold labels of another shape
      or out of range.

  >>> crowd = Crowd.from_table([[1, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0]], classes=2)
  >>> result = aggregate(crowd, 'one_coin')
  >>> result.labels.tolist(), result.confusions[:, 0, 0].round(2).tolist()
  ([1, 0, 1, 0], [1.0, 1.0, 0.25])
  """
  if method not in METHODS:
    raise unknown('method of aggregation', method, METHODS)
  if not isinstance(crowd, Crowd):
    raise UserError(
      f'aggregate reads a Crowd, and this is a {type(crowd).__name__}; make one with '
      'Crowd.from_table, Crowd.from_triples or Crowd.from_csv.'
    )
  prior = _checked_prior(prior, method, crowd.num_classes)
  gold = _checked_gold(gold, crowd)
  counted = Evidence(crowd).counts
  start = counted / counted.sum(1, keepdims=True)
  if METHODS[method]:
    estimate = confusions.fit(crowd, start, prior, gold, model=method)
  else:
    if method == 'mv':
      start = np.eye(crowd.num_classes)[counted.argmax(1)]
    beliefs = votes.with_gold(start, gold)
    counts = confusions.expected_counts(crowd, beliefs)
    matrices = confusions.normalised(counts, confusions.labels_used(counts))
    estimate = confusions.Estimate(beliefs, matrices, beliefs.mean(0), ())
  beliefs = np.asarray(estimate.beliefs)
  given = np.maximum(crowd.per_annotator, 1)
  believed = np.bincount(
    crowd.annotator, beliefs[crowd.example, crowd.label], minlength=crowd.num_annotators
  )
  return Aggregated(
    labels=beliefs.argmax(1).astype(np.int32),
    probabilities=beliefs.astype(np.float32),
    confusions=np.asarray(estimate.confusions, np.float32),
    prior=np.asarray(estimate.prior, np.float32),
    accuracy=(believed / given).astype(np.float32),
    history=estimate.history,
  )


def _checked_prior(prior: ArrayLike | None, method: str, classes: int) -> np.ndarray | None:
  if prior is None:
    return None
  if not METHODS[method]:
    raise UserError(f'{method} takes no prior; dawid_skene and one_coin do.')
  prior = np.asarray(prior)
  # Written so that NaN fails too.
  fits = prior.shape == (classes,) and prior.dtype.kind in 'iuf'
  if not fits or not ((prior >= 0).all() and abs(prior.sum() - 1) < 1e-4):
    raise UserError(
      f'prior needs {classes} probabilities, one a class, that sum to 1; it is '
      f'{np.array2string(prior, threshold=10)}.'
    )
  return prior.astype(np.float64)


def _checked_gold(gold: ArrayLike | None, crowd: Crowd) -> np.ndarray | None:
  if gold is None:
    return None
  gold = np.asarray(gold)
  fits = gold.shape == (crowd.num_examples,) and gold.dtype.kind in 'iu'
  if not fits or not ((gold >= -1) & (gold < crowd.num_classes)).all():
    raise UserError(
      f'gold needs {crowd.num_examples} whole numbers, one an example: labels from 0 to '
      f'{crowd.num_classes - 1}, or -1 where none is known; it is {gold.dtype} of shape '
      f'{list(gold.shape)}.'
    )
  return gold.astype(np.int32)

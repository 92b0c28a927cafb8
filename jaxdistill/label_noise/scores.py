"""How well a label fits the probabilities of a classifier: a score an example, low for suspects.

The probabilities must be out of sample: a network that was fitted to a wrong label agrees with it.
On the host, in float64.
"""

from collections.abc import Sequence

import numpy as np

from jaxdistill import errors
from jaxdistill.label_noise import evidence

_LEAST = 1e-6


def quality(
  labels: np.ndarray | Sequence[Sequence[int]],
  probabilities: np.ndarray,
  score: str = 'self_confidence',
  adjust: bool = False,
  pool: str = 'moving_average',
  by_class: bool = False,
) -> np.ndarray:
  """Scores labels from 0 (surely wrong) to 1 by the probabilities p of the classes, y being given.

  Scores: 'self_confidence', p_y; 'normalized_margin', (p_y - largest other p + 1) / 2;
  'confidence_weighted_entropy', log(1 + h) / h with h = entropy(p) / (p_y log C), which may pass 1
  by rounding.

  Several labels an example: every column is a question of two classes with a score of its own, and
  the q scores are pooled to one. 'moving_average': from the highest to the lowest, each counting
  0.8 against what came before; 'softmin': their mean with weights softmax((1 - score) / 0.1).

  Args:
    labels: int [n]; several an example: a matrix of 0 and 1 [n, q], or a list of lists of classes.
    probabilities: [n, C] with sum 1, out of sample; [n, q] for several labels.
    score: see above.
    adjust: first subtracts from every class's probability its mean over the examples with that
      label, shifts all by the largest of these means and makes the sum 1: for classes that are
      rare. Not for the entropy.
    pool: of several labels, see above.
    by_class: several labels alone: leaves the scores unpooled.

  Returns:
    float64 [n], or [n, q] by class.

  Raises:
    UserError: for unknown names, shapes that do not fit, labels out of range or numbers that are no
      probabilities.

  Source: Northcutt, Jiang and Chuang, JAIR 2021; Kuan and Mueller, ICML workshop on data-centric
    learning 2022; several labels: Thyagarajan et al., ICLR workshop 2023. Numbers are those of
    cleanlab 2.9, whose tables the tests hold.

  >>> quality([0, 1], [[0.9, 0.1], [0.7, 0.3]]).tolist()
  [0.9, 0.3]
  >>> quality([[1], [0, 2]], [[0.1, 0.9, 0.1], [0.4, 0.1, 0.9]]).round(4).tolist()
  [0.9, 0.5]
  """
  if score not in _SCORES:
    raise errors.unknown('score', score, _SCORES)
  if pool not in _POOLS:
    raise errors.unknown('pool', pool, _POOLS)
  if adjust and score == 'confidence_weighted_entropy':
    raise errors.UserError(
      'The confidence-weighted entropy is not adjusted; leave adjust out or take another score.'
    )
  if not evidence.is_multilabel(labels):
    if by_class:
      raise errors.UserError('by_class is for several labels an example; these are one each.')
    return _scored(*evidence.single(labels, probabilities), score, adjust)
  labels, probabilities = evidence.multi(labels, probabilities)
  scores = [
    _scored(labels[:, number].astype(int), two_columns(probabilities[:, number]), score, adjust)
    for number in range(labels.shape[1])
  ]
  scores = np.stack(scores, 1)
  return scores if by_class else _POOLS[pool](scores)


def confident_thresholds(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
  """Returns [C], each class's mean probability over the examples with that label, at least 2e-6; 2
  where there are none, so that nothing reaches it.

  >>> confident_thresholds(np.array([0, 0]), np.array([[0.9, 0.1], [0.7, 0.3]])).tolist()
  [0.8, 2.0]
  """
  classes = probabilities.shape[1]
  thresholds = np.full(classes, 2.0)
  for label in np.unique(labels):
    thresholds[label] = probabilities[labels == label, label].mean()
  return np.maximum(thresholds, 2 * _LEAST)


def two_columns(probability: np.ndarray) -> np.ndarray:
  """Returns [n, 2], the probabilities that a label [n] does not and does apply."""
  return np.stack([1 - probability, probability], 1)


def _scored(labels, probabilities, score, adjust):
  if adjust:
    thresholds = confident_thresholds(labels, probabilities)
    probabilities = probabilities - thresholds + thresholds.max()
    probabilities = probabilities / probabilities.sum(1, keepdims=True)
  return _SCORES[score](labels, probabilities)


def _self_confidence(labels, probabilities):
  return probabilities[np.arange(len(labels)), labels]


def _normalized_margin(labels, probabilities):
  others = probabilities.copy()
  others[np.arange(len(labels)), labels] = -np.inf
  return (_self_confidence(labels, probabilities) - others.max(1) + 1) / 2


def _confidence_weighted_entropy(labels, probabilities):
  logs = np.log(np.where(probabilities > 0, probabilities, 1))
  entropy = -(probabilities * logs).sum(1) / np.log(probabilities.shape[1])
  weighted = entropy / np.maximum(_self_confidence(labels, probabilities), _LEAST)
  return np.log(weighted + 1) / np.maximum(weighted, _LEAST)


def _moving_average(scores, share=0.8):
  ordered = -np.sort(-scores, 1)
  pooled = ordered[:, 0]
  for column in ordered.T[1:]:
    pooled = share * column + (1 - share) * pooled
  return pooled


def _softmin(scores, temperature=0.1):
  weights = np.exp((scores.min(1, keepdims=True) - scores) / temperature)
  return (scores * weights).sum(1) / weights.sum(1)


_SCORES = dict(
  self_confidence=_self_confidence,
  normalized_margin=_normalized_margin,
  confidence_weighted_entropy=_confidence_weighted_entropy,
)
_POOLS = dict(moving_average=_moving_average, softmin=_softmin)

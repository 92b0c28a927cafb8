"""Which labels are wrong, by confident learning: counts of confident disagreement. On the host."""

from collections.abc import Sequence

import numpy as np

from jaxdistill import errors
from jaxdistill.label_noise import evidence
from jaxdistill.label_noise.scores import confident_thresholds, quality, two_columns

_CLOSE = 1e-6
PRUNING = ('prune_by_noise_rate', 'prune_by_class', 'both')
LOWEST = ('low_self_confidence', 'low_normalized_margin')
FILTERS = (*PRUNING, 'confident_learning', 'predicted_neq_given', *LOWEST)


def find_issues(
  labels: np.ndarray | Sequence[Sequence[int]],
  probabilities: np.ndarray,
  filter_by: str = 'prune_by_noise_rate',
  ranked_by: str | None = None,
  noise_share: float = 1.0,
  least_per_class: int = 1,
  by_class: bool = False,
) -> np.ndarray | list[np.ndarray]:
  """Finds the examples whose label is likely wrong.

  Filters, with J the confident joint (see `confident_joint`) in numbers of examples:
    prune_by_noise_rate: for every pair of a given label k and another class j, the J[k, j] examples
      labelled k with the largest p_j - p_k.
    prune_by_class: for every label k the examples with the smallest p_k, as many as J[k] counts
      outside its diagonal.
    both: those of both.
    confident_learning: those counted outside J's diagonal.
    predicted_neq_given: those with another most likely class.
    low_self_confidence, low_normalized_margin: those with the lowest such score, as many as
      confident_learning finds.
  Except for the lowest scores an example whose given label is the most likely class is no issue.
  Of equal examples the first ones are taken.

  Args:
    labels, probabilities: see `quality`; out of sample.
    filter_by: see above.
    ranked_by: a score of `quality`; None: a mask is returned.
    noise_share: pruning alone: by how much the counts outside J's diagonal are multiplied.
    least_per_class: pruning alone: examples of a class that are left; a class of no more has no
      issues.
    by_class: several labels alone: issues of each label.

  Returns:
    bool [n], or, ranked, the positions of the issues, most suspicious first. Several labels: an
    example is an issue where one of its labels is. By class: bool [n, q], or q arrays of positions.

  Raises:
    UserError: see `quality`; and for an unknown filter, a share outside [0, 1], or fields that the
      filter does not read.

  Source: Northcutt, Jiang and Chuang, JAIR 2021; answers are those of cleanlab 2.9, whose tables
    the tests hold. Where counts are equally near to rounding up, or examples equally suspicious,
    its answer depends on the machine's sort; and its ranking of the lowest scores of several labels
    mixes up two orders, which here is by the score.

  >>> labels = [0, 0, 0, 1, 1]
  >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]
  >>> find_issues(labels, probabilities).tolist()
  [False, False, True, False, False]
  >>> find_issues(labels, probabilities, ranked_by='self_confidence').tolist()
  [2]
  """
  if filter_by not in FILTERS:
    raise errors.unknown('filter', filter_by, FILTERS)
  evidence.unit_interval(noise_share=noise_share)
  errors.whole('least_per_class', least_per_class)
  if filter_by not in PRUNING and (noise_share != 1 or least_per_class != 1):
    raise errors.UserError(
      f'noise_share and least_per_class are for {", ".join(PRUNING)}; leave them out for '
      f'{filter_by}.'
    )
  pruning = noise_share, least_per_class
  if evidence.is_multilabel(labels):
    labels, probabilities = evidence.multi(labels, probabilities)
    if by_class:
      return _by_class(labels, probabilities, filter_by, ranked_by, pruning)
    mask = _of_several(labels, probabilities, filter_by, pruning)
  elif by_class:
    raise errors.UserError('by_class is for several labels an example; these are one each.')
  else:
    labels, probabilities = evidence.single(labels, probabilities)
    mask = _mask(labels, probabilities, filter_by, pruning)
  return mask if ranked_by is None else _ranked(mask, quality(labels, probabilities, ranked_by))


def confident_joint(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
  """Counts given labels against confident classes, int64 [C, C], row the given label.

  An example is confidently of a class whose probability reaches that class's threshold (its mean
  over the examples with that label); of its most likely class where there are several; of none
  where there is none, and then it is not counted. The diagonal is at least 1. Rows are then scaled
  to the numbers of labels and rounded, their sums kept.

  Args:
    labels, probabilities: see `quality`, one label an example.

  >>> confident_joint([0, 0, 0, 1], [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]]).tolist()
  [[2, 1], [0, 1]]
  """
  labels, probabilities = evidence.single(labels, probabilities)
  return _joint(labels, probabilities, *_confident(labels, probabilities))


def _confident(labels, probabilities):
  """Whether an example is confidently of any class, and of which, both [n]."""
  reached = probabilities >= confident_thresholds(labels, probabilities) - _CLOSE
  number = reached.sum(1)
  return number > 0, np.where(number > 1, probabilities.argmax(1), reached.argmax(1))


def _joint(labels, probabilities, confident, guess):
  classes = probabilities.shape[1]
  cells = labels[confident] * classes + guess[confident]
  counts = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
  np.fill_diagonal(counts, np.maximum(counts.diagonal(), 1))
  scaled = counts / counts.sum(1)[:, None] * np.bincount(labels, minlength=classes)[:, None]
  # The sum is right already; but of halves rounding decides, so the sequence is cleanlab's.
  scaled = scaled / scaled.sum() * len(labels)
  return np.stack([_rounded(row) for row in scaled])


def _rounded(row):
  """Whole numbers with the row's sum: what is missing goes to the numbers that lost most by
  rounding, of equal ones the last; what is too much is taken from those that gained most, of equal
  ones the first. (cleanlab's order under a stable sort.)"""
  whole = row.round()
  missing = int(round(row.sum()) - whole.sum())
  order = np.argsort(row - whole, kind='stable')
  whole[order[::-1][:missing] if missing > 0 else order[: abs(missing)]] += np.sign(missing)
  return whole.astype(np.int64)


def _mask(labels, probabilities, filter_by, pruning):
  position = np.arange(len(labels))
  confident, guess = _confident(labels, probabilities)
  nudged = probabilities.copy()
  nudged[position, labels] += _CLOSE
  doubted = nudged.argmax(1) != labels
  learned = confident & (guess != labels) & doubted
  if filter_by == 'confident_learning':
    return learned
  if filter_by == 'predicted_neq_given':
    return doubted
  if filter_by in LOWEST:
    scores = quality(labels, probabilities, filter_by.removeprefix('low_'))
    return _lowest(scores, learned.sum())
  counts = _pruned_counts(_joint(labels, probabilities, confident, guess), *pruning)
  masks = []
  if filter_by != 'prune_by_class':
    masks.append(_prune(labels, probabilities, counts, pruning[1], _by_noise_rate))
  if filter_by != 'prune_by_noise_rate':
    masks.append(_prune(labels, probabilities, counts, pruning[1], _by_least_likely))
  return np.logical_and.reduce(masks) & doubted


def _pruned_counts(joint, noise_share, least_per_class):
  """The joint with at least so many on every diagonal cell, which the row's other cells give up in
  equal parts, and with these multiplied by the share; whole numbers, rounded down."""
  diagonal = np.maximum(joint.diagonal(), least_per_class)
  others = np.maximum((joint != 0).sum(1) - 1, 1)
  rest = np.maximum(joint - ((diagonal - joint.diagonal()) / others)[:, None], 0)
  np.fill_diagonal(rest, 0)
  counts = rest * noise_share
  np.fill_diagonal(counts, diagonal + (rest - counts).sum(1))
  return counts.astype(np.int64)


def _prune(labels, probabilities, counts, least_per_class, rule):
  mask = np.zeros(len(labels), bool)
  for label in np.unique(labels):
    members = np.flatnonzero(labels == label)
    if len(members) > max(least_per_class, 1):
      mask[members] = rule(label, probabilities[members], counts[label])
  return mask


def _by_noise_rate(label, probabilities, counts):
  mask = np.zeros(len(probabilities), bool)
  for other in np.flatnonzero(counts):
    if other != label:
      margin = probabilities[:, label] - probabilities[:, other]
      mask |= _lowest(margin, counts[other])
  return mask


def _by_least_likely(label, probabilities, counts):
  return _lowest(probabilities[:, label], len(probabilities) - counts[label])


def _lowest(scores, number):
  mask = np.zeros(len(scores), bool)
  mask[np.argsort(scores, kind='stable')[: max(number, 0)]] = True
  return mask


def _of_several(labels, probabilities, filter_by, pruning):
  if filter_by not in LOWEST:
    return _masks(labels, probabilities, filter_by, pruning).any(1)
  # The score that is pooled is the same for both: cleanlab's rule.
  number = _masks(labels, probabilities, 'confident_learning', pruning).any(1).sum()
  return _lowest(quality(labels, probabilities), number)


def _masks(labels, probabilities, filter_by, pruning):
  columns = [
    _mask(
      labels[:, number].astype(np.int64), two_columns(probabilities[:, number]), filter_by, pruning
    )
    for number in range(labels.shape[1])
  ]
  return np.stack(columns, 1)


def _by_class(labels, probabilities, filter_by, ranked_by, pruning):
  masks = _masks(labels, probabilities, filter_by, pruning)
  if ranked_by is None:
    return masks
  scores = quality(labels, probabilities, ranked_by, by_class=True)
  return [_ranked(mask, column) for mask, column in zip(masks.T, scores.T, strict=True)]


def _ranked(mask, scores):
  positions = np.flatnonzero(mask)
  return positions[np.argsort(scores[positions], kind='stable')]

"""Do two images show the same class? Scores of pairs, and what is reported of them.

A pair is genuine when both images are of one class (a person, say), else an impostor. AUC and equal
error rate of pairs are those of `ranking`, with the genuine ones as positive. For reports: numpy
arrays on the host, in float64.
"""

from collections.abc import Sequence

import numpy as np

from jaxdistill import errors
from jaxdistill.metrics import ranking

# What rounding leaves of a whole number of pairs.
_ROUNDING = 1e-9


def cosine_scores(left: np.ndarray, right: np.ndarray) -> np.ndarray:
  """Returns <l, r> / (|l| |r|) of each pair of embeddings, float64 [n] in [-1, 1].

  An embedding of zeros says nothing: its score is 0 (our choice).

  Args:
    left, right: [n, d], row i of both is pair i.

  Raises:
    UserError: for other shapes, or an embedding that is not finite.

  >>> import numpy as np
  >>> cosine_scores(np.array([[1, 0], [3, 4]]), np.array([[0, 2], [6, 8]])).tolist()
  [0.0, 1.0]
  """
  left, right = np.asarray(left), np.asarray(right)
  if left.shape != right.shape:
    raise errors.UserError(
      f'Scores of pairs take two embeddings a pair, [n, d] and [n, d]; got {left.shape} and '
      f'{right.shape}.'
    )
  # The sum of products of unit vectors may leave [-1, 1] by a rounding.
  return np.clip((directions(left) * directions(right)).sum(1), -1.0, 1.0)


def directions(embeddings: np.ndarray) -> np.ndarray:
  """Returns embeddings [n, d] divided by their lengths, in float64; one of zeros stays so.

  Raises:
    UserError: for another shape, or an embedding that is not finite.

  >>> import numpy as np
  >>> directions(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
  [[0.6, 0.8], [0.0, 0.0]]
  """
  embeddings = np.asarray(embeddings, np.float64)
  if embeddings.ndim != 2:
    raise errors.UserError(f'Embeddings are one row an image, [n, d]; got {embeddings.shape}.')
  if not np.isfinite(embeddings).all():
    raise errors.UserError('Embeddings must be finite numbers; some are not.')
  lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
  return embeddings / np.where(lengths > 0, lengths, 1.0)


def true_accept_rates(same: np.ndarray, scores: np.ndarray, rates: Sequence[float]) -> np.ndarray:
  """TAR at FAR: the largest share of genuine pairs that some threshold accepts while it accepts at
  most a share `rate` of the impostors.

  A pair is accepted when it scores at least the threshold. Only thresholds that exist count, the
  corners of the ROC curve; nothing is interpolated between them (our choice: a rate between two
  corners is never flattered).

  Args:
    same: bool [n], True for genuine pairs.
    scores: [n].
    rates: wanted false accept rates; see `check_rates`.

  Returns:
    float64 [rates].

  Raises:
    UserError: see `check_rates` and `ranking.roc_curve`.

  >>> import numpy as np
  >>> same = np.array([True, True, True, False, False])
  >>> true_accept_rates(same, np.array([0.9, 0.8, 0.3, 0.5, 0.4]), [0.5, 1.0]).tolist()
  [0.6666666666666666, 1.0]
  """
  curve = ranking.roc_curve(same, scores)
  check_rates(same, rates)
  negatives = np.count_nonzero(~np.asarray(same, bool))
  accepted = np.rint(curve.false_positive_rate * negatives)
  allowed = np.floor(np.asarray(rates, np.float64) * negatives + _ROUNDING)
  # The last corner that accepts no more impostors than allowed.
  corners = np.searchsorted(accepted, allowed, 'right') - 1
  return curve.true_positive_rate[corners]


def check_rates(same: np.ndarray, rates: Sequence[float]) -> None:
  """Raises `UserError` for a false accept rate outside of (0, 1], and for one that the impostors
  among the pairs are too few to measure.

  >>> import numpy as np
  >>> check_rates(np.array([True, False, False]), [0.001])
  Traceback (most recent call last):
  jaxdistill.errors.UserError: A false accept rate of 0.001 is below one in the 2 impostor ...
  """
  negatives = np.count_nonzero(~np.asarray(same, bool))
  for rate in rates:
    errors.real_numbers(rate=rate)
    if not 0 < rate <= 1:
      raise errors.UserError(f'A false accept rate lies above 0 and is at most 1; got {rate}.')
    if rate * negatives < 1 - _ROUNDING:
      raise errors.UserError(
        f'A false accept rate of {rate:g} is below one in the {negatives:,} impostor pairs; give '
        f'{"more of them" if not negatives else f"at least {1 / negatives:.2g}, or more of them"}.'
      )


def check_pairs(same: np.ndarray, fold: np.ndarray) -> None:
  """Raises `UserError` for pairs of one kind alone, or of one fold, which nothing is chosen on.

  >>> check_pairs([True, False], [0, 0])
  Traceback (most recent call last):
  jaxdistill.errors.UserError: A threshold is chosen on the other folds, so that at least 2 ...
  """
  genuine = np.count_nonzero(same)
  if genuine in (0, len(same)):
    raise errors.UserError(
      f'All {len(same):,} pairs are {"genuine" if genuine else "impostors"}; pairs of both kinds '
      'are needed.'
    )
  _check_folds(np.unique(fold))


def fold_accuracies(same: np.ndarray, scores: np.ndarray, fold: np.ndarray) -> np.ndarray:
  """Share of right answers in each fold, with the threshold that is best on all other folds.

  A pair is called genuine when it scores at least the threshold. Thresholds lie half-way between
  neighbouring scores of the other folds, below all and above all; of equally good ones the middle
  one is taken (our choice).

  Args:
    same: bool [n], True for genuine pairs.
    scores: [n], finite.
    fold: int [n], the fold of each pair; at least two different ones.

  Returns:
    float64 [folds], in the order of the folds' numbers.

  Raises:
    UserError: for different lengths, fewer than two folds, or scores that are not finite.

  Source: the protocol of LFW (Huang et al., Labeled Faces in the Wild, 2007), there of ten folds.

  >>> import numpy as np
  >>> same, fold = np.array([1, 0, 1, 0]), np.array([0, 0, 1, 1])
  >>> fold_accuracies(same, np.array([0.9, 0.1, 0.4, 0.2]), fold).tolist()  # 0.3, then 0.5
  [1.0, 0.5]
  """
  same, scores, fold = np.asarray(same, bool), np.asarray(scores, np.float64), np.asarray(fold)
  if same.ndim != 1 or not same.shape == scores.shape == fold.shape:
    raise errors.UserError(
      'Accuracies by folds take for each pair whether it is genuine, its score and its fold; got '
      f'shapes {same.shape}, {scores.shape} and {fold.shape}.'
    )
  if not np.isfinite(scores).all():
    raise errors.UserError('The scores of pairs must be finite; some are not.')
  folds = np.unique(fold)
  _check_folds(folds)
  accuracies = np.empty(len(folds))
  for place, number in enumerate(folds):
    inside = fold == number
    threshold = best_threshold(same[~inside], scores[~inside])
    accuracies[place] = ((scores[inside] >= threshold) == same[inside]).mean()
  return accuracies


def _check_folds(folds):
  if len(folds) < 2:
    raise errors.UserError(
      'A threshold is chosen on the other folds, so that at least 2 folds are needed; got '
      f'{len(folds)}.'
    )


def best_threshold(same: np.ndarray, scores: np.ndarray) -> float:
  """Returns the threshold with the most right answers, see `fold_accuracies`.

  Args:
    same: bool [n], n >= 1.
    scores: [n], finite.

  >>> import numpy as np
  >>> best_threshold(np.array([True, True, False]), np.array([0.75, 0.5, 0.25]))
  0.375
  """
  same, scores = np.asarray(same, bool), np.asarray(scores, np.float64)
  levels, index = np.unique(scores, return_inverse=True)
  genuine = np.bincount(index[same], minlength=len(levels))
  impostors = np.bincount(index[~same], minlength=len(levels))
  # Right answers when everything from level k on is accepted, k = 0 to the number of levels.
  right = np.append(0, impostors.cumsum()) + genuine.sum() - np.append(0, genuine.cumsum())
  best = np.flatnonzero(right == right.max())
  thresholds = np.concatenate([[-np.inf], (levels[:-1] + levels[1:]) / 2, [np.inf]])
  return float(thresholds[best[(len(best) - 1) // 2]])

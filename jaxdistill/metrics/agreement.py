"""Whether several raters, or several networks, say the same, beyond what chance would give.

Categories are nominal: two of them are either the same or not. For reports: numpy arrays on the
host, in float64.
"""

import numpy as np

from jaxdistill import errors


def percent_agreement(ratings: np.ndarray) -> float:
  """Share of the pairs of raters that agree, averaged over the items, in [0, 1].

  Args:
    ratings: [items, raters], categories of any type, at least two raters.

  Raises:
    UserError: for no items, or fewer than two raters.

  >>> import numpy as np
  >>> percent_agreement(np.array([['a', 'a', 'a'], ['a', 'a', 'b']]))  # (1 + 1/3) / 2
  0.6666666666666666
  """
  _, counts = _counts(_table(ratings))
  return float(_agreeing(counts).mean())


def cohen_kappa(first: np.ndarray, second: np.ndarray) -> float:
  """kappa = (p_o - p_e) / (1 - p_e) of two raters.

  p_o is the share of items on which they agree, p_e = sum_c p_c q_c what they would agree on by
  chance, each with the own frequencies of the categories. 1: always the same, 0: as by chance.

  Args:
    first, second: [items], categories of any type.

  Raises:
    UserError: for no items, different lengths, or a single category in all ratings, for which kappa
      is not defined.

  Source: Cohen, Educational and Psychological Measurement 1960.

  >>> import numpy as np
  >>> cohen_kappa(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]))  # (3/4 - 1/2) / (1 - 1/2)
  0.5
  """
  first, second = np.asarray(first), np.asarray(second)
  if first.ndim != 1 or first.shape != second.shape:
    raise errors.UserError(
      f'Two raters rate the same items, [items] and [items]; got {first.shape} and {second.shape}.'
    )
  ratings = _table(np.stack([first, second], 1))
  categories, codes = np.unique(ratings, return_inverse=True)
  codes = codes.reshape(ratings.shape)
  shares = [np.bincount(rater, minlength=len(categories)) / len(codes) for rater in codes.T]
  _check_varied(categories)
  by_chance = shares[0] @ shares[1]
  return float(((codes[:, 0] == codes[:, 1]).mean() - by_chance) / (1 - by_chance))


def fleiss_kappa(ratings: np.ndarray) -> float:
  """kappa = (P - P_e) / (1 - P_e) of any number of raters.

  P is `percent_agreement`, P_e = sum_c p_c^2 with the frequencies of the categories in all ratings.

  Args:
    ratings: [items, raters], categories of any type; the raters of an item may be others than those
      of the next.

  Raises:
    UserError: for no items, fewer than two raters, or a single category in all ratings, for which
      kappa is not defined.

  Source: Fleiss, Psychological Bulletin 1971.

  >>> import numpy as np
  >>> fleiss_kappa(np.array([[0, 0], [1, 1], [0, 1], [1, 0]]))  # as by chance
  0.0
  """
  _, counts = _counts(_table(ratings))
  _check_varied(counts.T)
  share = counts.sum(0) / counts.sum()
  by_chance = np.square(share).sum()
  return float((_agreeing(counts).mean() - by_chance) / (1 - by_chance))


def krippendorff_alpha(ratings: np.ndarray) -> float:
  """alpha = 1 - D_o / D_e for nominal categories and ratings that may be missing.

  D_o = sum over items of (m^2 - sum_c n_c^2) / (m - 1), with n_c of an item's m ratings in category
  c, and D_e = (N^2 - sum_c N_c^2) / (N - 1), with N and N_c the sums over the items; items with
  fewer than two ratings count nowhere. 1: always the same, 0: as by chance, without replacement.

  Args:
    ratings: int [items, raters]; a negative one is missing.

  Raises:
    UserError: for ratings that are no whole numbers, no item with two of them, or a single category
      in all that count, for which alpha is not defined.

  Source: Krippendorff, Content Analysis, 3rd edition, 2013, chapter 12.

  >>> import numpy as np
  >>> krippendorff_alpha(np.array([[0, 0, -1], [1, 1, 1], [0, 1, -1], [0, -1, -1]]))
  0.5
  """
  ratings = _table(ratings)
  if ratings.dtype.kind not in 'iu':
    raise errors.UserError(
      'Ratings of which some may be missing are whole numbers, negative where missing; got '
      f'{ratings.dtype}.'
    )
  ratings = ratings[(ratings >= 0).sum(1) >= 2]
  if not len(ratings):
    raise errors.UserError('Agreement needs an item with at least two ratings; there is none.')
  categories, counts = _counts(ratings)
  counts = counts[:, categories >= 0]
  _check_varied(counts.T)
  number = counts.sum(1)
  observed = ((number**2 - np.square(counts).sum(1)) / (number - 1)).sum()
  total = number.sum()
  expected = (total**2 - np.square(counts.sum(0)).sum()) / (total - 1)
  return float(1 - observed / expected)


def _table(ratings):
  ratings = np.asarray(ratings)
  if ratings.ndim != 2 or ratings.shape[1] < 2:
    raise errors.UserError(
      f'Agreement takes ratings [items, raters] of at least two raters; got {ratings.shape}.'
    )
  if not len(ratings):
    raise errors.UserError('Agreement needs at least one item; got none.')
  return ratings


def _counts(ratings):
  """Returns the categories, and float64 [items, categories]: how many ratings of an item are of
  each."""
  categories, codes = np.unique(ratings, return_inverse=True)
  cells = np.arange(len(ratings))[:, None] * len(categories) + codes.reshape(ratings.shape)
  counts = np.bincount(cells.ravel(), minlength=len(ratings) * len(categories))
  return categories, counts.reshape(len(ratings), len(categories)).astype(np.float64)


def _agreeing(counts):
  """Share of each item's pairs of ratings that are the same, [items]."""
  raters = counts.sum(1)
  return (np.square(counts).sum(1) - raters) / (raters * (raters - 1))


def _check_varied(categories):
  if len(categories) < 2:
    raise errors.UserError(
      'Agreement beyond chance is not defined where all ratings are of one category.'
    )

"""DD-Ranking's scores of a condensed set: how far it is from the whole set, and what it is better
than a random draw.

All accuracies and scores are shares, not percent. Source: DD-Ranking, Li et al., arXiv 2505.13300.
Its public code has fed percentages into the exponent of `lrs`, where the formula has its range [0,
1] for shares only.
"""

import math
from collections.abc import Sequence
from typing import Any

from jaxdistill.condensation.evaluation import COLUMNS

WEIGHT = 0.5


def hlr(whole: float, condensed: float) -> float:
  """Returns the hard label recovery acc(whole set) - acc(condensed set), both with hard labels;
  less is better.

  >>> hlr(whole=0.75, condensed=0.5)
  0.25
  """
  return whole - condensed


def ior(condensed: float, random: float) -> float:
  """Returns the improvement over random acc(condensed set) - acc(random images), both under one
  evaluation.

  >>> ior(condensed=0.5, random=0.25)
  0.25
  """
  return condensed - random


def lrs(whole: float, condensed: float, random: float, weight: float = WEIGHT) -> float:
  """Returns the label-robust score (e^a - e^-1) / (e - e^-1) with a = w IOR - (1 - w) HLR, in [0,
  1]; more is better.

  Args:
    whole, condensed, random: accuracies of the three training sets.
    weight: w; 0.5 on DD-Ranking's leaderboard.

  >>> round(lrs(whole=0.75, condensed=0.5, random=0.25), 4)  # a = 0
  0.2689
  """
  return _normalised(weight * ior(condensed, random) - (1 - weight) * hlr(whole, condensed))


def ars(
  condensed: float,
  random: float,
  condensed_plain: float,
  random_plain: float,
  weight: float = WEIGHT,
) -> float:
  """Returns the augmentation-robust score: as `lrs`, with a = g IOR(with augmentation) + (1 - g)
  IOR(without).

  Args:
    condensed, random: accuracies of the two training sets, with augmentation.
    condensed_plain, random_plain: the same without.
    weight: g; 0.5.

  >>> round(ars(0.5, 0.25, 0.25, 0.5), 4)  # a = 0
  0.2689
  """
  return _normalised(
    weight * ior(condensed, random) + (1 - weight) * ior(condensed_plain, random_plain)
  )


def scores(
  rows: Sequence[dict[str, Any]], plain: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
  """Returns the scores of every row but 'random' and 'whole', one dict a row and column; [] if one
  of the two is missing.

  The scores compare means over the networks.

  Args:
    rows: dicts with name, label and, for the columns that are there, dict(mean, ...).
    plain: the rows of training without augmentation, for ARS.

  >>> rows = [dict(name=name, label=name, last=dict(mean=mean)) for name, mean in [('m3d', .5),
  ...   ('random', .25), ('whole', .75)]]
  >>> [(score['name'], score['column'], score['hlr'], score['ior']) for score in scores(rows)]
  [('m3d', 'last', 0.25, 0.25)]
  """
  by_name = {row['name']: row for row in rows}
  plain = {row['name']: row for row in plain}
  if not {'random', 'whole'} <= by_name.keys():
    return []
  scored = []
  for name, row in by_name.items():
    for column in COLUMNS if name not in ('random', 'whole') else ():
      if column not in row:
        continue
      mean, random, whole = (
        by_name[competitor][column]['mean'] for competitor in (name, 'random', 'whole')
      )
      score = dict(
        name=name,
        label=row['label'],
        column=column,
        hlr=hlr(whole, mean),
        ior=ior(mean, random),
        lrs=lrs(whole, mean, random),
      )
      if {name, 'random'} <= plain.keys():
        score['ars'] = ars(
          mean, random, plain[name][column]['mean'], plain['random'][column]['mean']
        )
      scored.append(score)
  return scored


def _normalised(a: float) -> float:
  return (math.exp(a) - math.exp(-1)) / (math.e - math.exp(-1))

"""Losses as pure functions of arrays, safe under jit, grad and vmap.

`mmd` and `mean_discrepancy` compare two sets of features; `cross_entropy` scores logits, and
`weighted_mean` is how its padding counts nowhere; `feature_retention` and `structure_retention` say
what a new classifier has kept of the one before it. Where classes are directions, `cosine_logits`
scores features by them, `etf` spreads them evenly, and `dot_regression` pulls features onto them.
"""

from jaxdistill.losses.classification import cross_entropy, weighted_mean
from jaxdistill.losses.discrepancy import KERNELS, mean_discrepancy, mmd
from jaxdistill.losses.prototypes import cosine_logits, dot_regression, etf
from jaxdistill.losses.retention import feature_retention, structure_retention, structure_weight

__all__ = [
  'KERNELS',
  'cosine_logits',
  'cross_entropy',
  'dot_regression',
  'etf',
  'feature_retention',
  'mean_discrepancy',
  'mmd',
  'structure_retention',
  'structure_weight',
  'weighted_mean',
]

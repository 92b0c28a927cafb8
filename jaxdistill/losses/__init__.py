"""Losses as pure functions of arrays, safe under jit, grad and vmap.

`mmd` and `mean_discrepancy` compare two sets of features; `cross_entropy` scores logits, and
`weighted_mean` is how its padding counts nowhere; `feature_retention` and `structure_retention` say
what a new classifier has kept of the one before it.
"""

from jaxdistill.losses.classification import cross_entropy, weighted_mean
from jaxdistill.losses.discrepancy import KERNELS, mean_discrepancy, mmd
from jaxdistill.losses.retention import feature_retention, structure_retention, structure_weight

__all__ = [
  'KERNELS',
  'cross_entropy',
  'feature_retention',
  'mean_discrepancy',
  'mmd',
  'structure_retention',
  'structure_weight',
  'weighted_mean',
]

"""Losses as pure functions of arrays, safe under jit, grad and vmap.

`mmd` and `mean_discrepancy` compare two sets of features; `cross_entropy` scores logits, and
`weighted_mean` is how its padding counts nowhere.
"""

from jaxdistill.losses.classification import cross_entropy, weighted_mean
from jaxdistill.losses.discrepancy import KERNELS, mean_discrepancy, mmd

__all__ = ['KERNELS', 'cross_entropy', 'mean_discrepancy', 'mmd', 'weighted_mean']

"""Losses as pure functions of arrays, safe under jit, grad and vmap.

`mmd` and `mean_discrepancy` compare two sets of features; `cross_entropy` and `accuracy` score
logits.
"""

from jaxdistill.losses.classification import accuracy, cross_entropy
from jaxdistill.losses.discrepancy import KERNELS, mean_discrepancy, mmd

__all__ = ['KERNELS', 'accuracy', 'cross_entropy', 'mean_discrepancy', 'mmd']

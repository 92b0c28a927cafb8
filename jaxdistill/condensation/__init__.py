"""Dataset condensation: a large labelled set becomes a few learned images a class.

>>> import jaxdistill
>>> train, test = jaxdistill.data.load('digits', image_size=8)
>>> small = {'model.width': 4, 'model.depth': 1, 'condensation.iterations': 2,
...   'condensation.batch_real': 4}
>>> made = jaxdistill.condensation.condense(train, method='m3d', ipc=1, overrides=small)
>>> made.images.shape
(10, 8, 8, 1)
"""

import importlib

# Loaded on first use: a condensed set is read without the training floor.
_PUBLIC = {
  'Condensed': 'condensed',
  'condense': 'api',
  'cross_architecture': 'evaluation',
  'evaluate': 'evaluation',
}
__all__ = ['Condensed', 'condense', 'cross_architecture', 'evaluate']


def __getattr__(name):
  if name in _PUBLIC:
    return getattr(importlib.import_module(f'{__name__}.{_PUBLIC[name]}'), name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

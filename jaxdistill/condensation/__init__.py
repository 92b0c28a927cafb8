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
  'Condensed': 'jaxdistill.synthesis.condensed',
  'condense': 'jaxdistill.condensation.api',
  'cross_architecture': 'jaxdistill.condensation.evaluation',
  'evaluate': 'jaxdistill.condensation.evaluation',
}
# Modules of the floor below: what a method of one's own is written with, and the methods.
_MODULES = {name: f'jaxdistill.synthesis.{name}' for name in ('engine', 'dance', 'dm', 'm3d')}
__all__ = ['Condensed', 'condense', 'cross_architecture', 'evaluate']


def __getattr__(name):
  if name in _PUBLIC:
    return getattr(importlib.import_module(_PUBLIC[name]), name)
  if name in _MODULES:
    return importlib.import_module(_MODULES[name])
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

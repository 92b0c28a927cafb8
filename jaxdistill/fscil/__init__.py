"""Few-shot class-incremental learning: many classes first, then a few new ones at a time from a few
images each, with one classifier over all of them.

>>> import jaxdistill
>>> train, test = jaxdistill.data.load('digits', image_size=8)
>>> small = {'model.width': 4, 'model.depth': 1, 'base_training.steps': 20}
>>> result = jaxdistill.fscil.run('ncm', train, test, base_classes=4, way=2, shot=5, draws=2,
...   overrides=small)
>>> result.accuracy.shape, sorted(result.summary)[:2]
((2, 4), ['average', 'base'])
>>> labels = result.learner.predict(test.images)
>>> labels.shape, bool((labels == test.labels).mean() == result.accuracy[0, -1])
((359,), True)

`sessions` divides a data set so. A learner is a handful of pure functions, see `learner.Learner`;
`methods` has them by name, and `methods.register` adds one of your own.
"""

import importlib

# Loaded on first use: a classifier is read without what trains one.
_PUBLIC = {
  'Learned': 'jaxdistill.fscil.learned',
  'Result': 'jaxdistill.fscil.api',
  'Sessions': 'jaxdistill.fscil.protocol',
  'run': 'jaxdistill.fscil.api',
  'sessions': 'jaxdistill.fscil.protocol',
}
__all__ = ['Learned', 'Result', 'Sessions', 'run', 'sessions']


def __getattr__(name):
  if name in _PUBLIC:
    return getattr(importlib.import_module(_PUBLIC[name]), name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

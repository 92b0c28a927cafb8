"""Attacks on any function of images, the accuracy that is left under them, and training that
withstands them.

>>> import jaxdistill
>>> train, test = jaxdistill.data.load('digits', image_size=8)
>>> small = {'model.width': 4, 'model.depth': 1, 'robustness.steps': 2, 'robustness.checks': 1,
...   'robustness.pgd_steps': 2, 'method.attack_steps': 1}
>>> result = jaxdistill.robustness.fit(train.take(range(40)), test.take(range(20)), 'at', 'mlp',
...   eps=0.1, overrides=small)
>>> result.robust.shape, bool((result.robust <= result.clean).all())
((1,), True)
>>> images = test.images[:5] / 255
>>> evaluation = jaxdistill.robustness.evaluate(result.function(0), images, test.labels[:5],
...   ['fgsm'], eps=0.1)
>>> evaluation.worst <= evaluation.clean
True

A method is whose losses are minimised on which images, and at which weights, see `method.Method`;
`methods` has them by name, and `methods.register` adds one of your own.
"""

import importlib

# Loaded on first use.
_PUBLIC: dict[str, str] = {
  'ATTACKS': 'jaxdistill.robustness.attacks',
  'Comparison': 'jaxdistill.experiment.rows',
  'Evaluation': 'jaxdistill.robustness.api',
  'Method': 'jaxdistill.robustness.method',
  'Result': 'jaxdistill.robustness.fitting',
  'Risk': 'jaxdistill.robustness.method',
  'Setting': 'jaxdistill.robustness.method',
  'Trained': 'jaxdistill.robustness.trained',
  'attack': 'jaxdistill.robustness.api',
  'compare': 'jaxdistill.robustness.fitting',
  'evaluate': 'jaxdistill.robustness.api',
  'fit': 'jaxdistill.robustness.fitting',
  'register': 'jaxdistill.robustness.methods',
}
__all__ = sorted(_PUBLIC)


def __getattr__(name):
  if name in _PUBLIC:
    return getattr(importlib.import_module(_PUBLIC[name]), name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

"""Distillation: students that learn from a teacher, smaller than it is or with smaller images.

>>> import jaxdistill
>>> train, test = jaxdistill.data.load('digits', image_size=8)
>>> small = {'model.depth': 1, 'teacher_model.depth': 1, 'teaching.steps': 30}
>>> result = jaxdistill.distillation.distill('mlp', train, test, 'kd', student='mlp', low=4,
...   seeds=2, overrides={**small, 'distillation.steps': 30})
>>> result.accuracy.shape, sorted(result.columns)
((2,), ['agreement', 'best_test', 'divergence', 'last'])
>>> logits = result.predict(test.images)
>>> logits.shape, bool(((logits.argmax(-1) == test.labels).mean(1) == result.accuracy).all())
((2, 359, 10), True)

A method is parts, players and phases, see `method.Method`; `methods` has them by name, and
`methods.register` adds one of your own, as `terms.register` does a term of the loss.
"""

import importlib

# Loaded on first use: students are read without what trains them.
_PUBLIC = {
  'Comparison': 'jaxdistill.experiment.rows',
  'Method': 'jaxdistill.distillation.method',
  'Pair': 'jaxdistill.distillation.method',
  'Piece': 'jaxdistill.distillation.terms',
  'Result': 'jaxdistill.distillation.api',
  'Stage': 'jaxdistill.distillation.method',
  'Teacher': 'jaxdistill.distillation.teachers',
  'Trained': 'jaxdistill.distillation.trained',
  'compare': 'jaxdistill.distillation.api',
  'distill': 'jaxdistill.distillation.api',
  'load_teacher': 'jaxdistill.distillation.teachers',
  'of_function': 'jaxdistill.distillation.teachers',
  'register': 'jaxdistill.distillation.methods',
}
# Names that are another one in their module.
_RENAMED = {'register_term': ('jaxdistill.distillation.terms', 'register')}
__all__ = [*_PUBLIC, *_RENAMED]


def __getattr__(name):
  if name in _PUBLIC:
    return getattr(importlib.import_module(_PUBLIC[name]), name)
  if name in _RENAMED:
    module, attribute = _RENAMED[name]
    return getattr(importlib.import_module(module), attribute)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

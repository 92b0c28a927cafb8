"""jaxdistill: published distillation and condensation methods as pure JAX functions.

Sub-packages load on first use, so that `import jaxdistill` costs little more than `import jax`:

>>> import jaxdistill
>>> train, test = jaxdistill.data.load('digits')
>>> train.num_classes
10
"""

import importlib

__version__ = '0.1.0'
# The families of methods, each a sub-package: a new one is named here and in setup.cfg.
FAMILIES = ('condensation', 'distillation', 'fscil', 'label_noise', 'robustness')

_SUBMODULES = (
  *FAMILIES,
  'benchmarks',
  'commands',
  'config',
  'data',
  'errors',
  'estimation',
  'experiment',
  'files',
  'losses',
  'metrics',
  'models',
  'report',
  'synthesis',
  'training',
)
__all__ = [*_SUBMODULES, 'FAMILIES', '__version__']


def __getattr__(name):
  if name in _SUBMODULES:
    return importlib.import_module(f'{__name__}.{name}')
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__():
  return sorted(__all__)

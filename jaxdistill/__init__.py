"""jaxdistill: published distillation and condensation methods as pure JAX functions.

Sub-packages load on first use, so that `import jaxdistill` costs little more than `import jax`:

>>> import jaxdistill
>>> train, test = jaxdistill.data.load('digits')
>>> train.num_classes
10
"""

import importlib

from jaxdistill import families

__version__ = '0.1.0'

_SUBMODULES = (
  *families.NAMES,
  'benchmarks',
  'commands',
  'config',
  'data',
  'errors',
  'experiment',
  'families',
  'files',
  'losses',
  'metrics',
  'models',
  'report',
  'synthesis',
  'training',
)
__all__ = [*_SUBMODULES, '__version__']


def __getattr__(name):
  if name in _SUBMODULES:
    return importlib.import_module(f'{__name__}.{name}')
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__():
  return sorted(__all__)

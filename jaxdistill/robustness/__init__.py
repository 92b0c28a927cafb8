"""Attacks on any function of images, and the accuracy that is left under them."""

import importlib

# Loaded on first use.
_PUBLIC: dict[str, str] = {
  'ATTACKS': 'jaxdistill.robustness.attacks',
  'Evaluation': 'jaxdistill.robustness.api',
  'attack': 'jaxdistill.robustness.api',
  'evaluate': 'jaxdistill.robustness.api',
}
__all__ = sorted(_PUBLIC)


def __getattr__(name):
  if name in _PUBLIC:
    return getattr(importlib.import_module(_PUBLIC[name]), name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

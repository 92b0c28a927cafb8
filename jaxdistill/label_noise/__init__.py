"""Wrong labels and crowds of annotators: evidence, made or real, and tools that read it. All take
plain arrays."""

import importlib

# Loaded on first use.
_PUBLIC: dict[str, str] = {
  'aggregate': 'jaxdistill.label_noise.aggregation',
  'cifar10n': 'jaxdistill.label_noise.human',
  'corrupt': 'jaxdistill.label_noise.noise',
  'corrupt_multilabel': 'jaxdistill.label_noise.multilabel',
  'find_issues': 'jaxdistill.label_noise.issues',
  'multilabel_transition': 'jaxdistill.label_noise.multilabel',
  'quality': 'jaxdistill.label_noise.scores',
  'select': 'jaxdistill.label_noise.selection',
  'select_small_losses': 'jaxdistill.label_noise.small_loss',
  'simulate': 'jaxdistill.label_noise.simulation',
  'simulate_by_image': 'jaxdistill.label_noise.simulation',
  'transition': 'jaxdistill.label_noise.transitions',
}
__all__ = sorted(_PUBLIC)


def __getattr__(name):
  if name in _PUBLIC:
    return getattr(importlib.import_module(_PUBLIC[name]), name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

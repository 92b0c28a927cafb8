"""Wrong labels and crowds of annotators: evidence, made or real, and tools that read it. All take
plain arrays."""

import importlib

# Loaded on first use.
_PUBLIC: dict[str, str] = {
  'Believed': 'jaxdistill.label_noise.method',
  'Comparison': 'jaxdistill.experiment.rows',
  'Crowd': 'jaxdistill.data.crowds',
  'Evidence': 'jaxdistill.label_noise.observed',
  'Method': 'jaxdistill.label_noise.method',
  'Phase': 'jaxdistill.label_noise.method',
  'Result': 'jaxdistill.label_noise.fitting',
  'Setting': 'jaxdistill.label_noise.method',
  'Trained': 'jaxdistill.label_noise.trained',
  'aggregate': 'jaxdistill.label_noise.aggregation',
  'cifar10n': 'jaxdistill.label_noise.human',
  'compare': 'jaxdistill.label_noise.fitting',
  'corrupt': 'jaxdistill.label_noise.noise',
  'corrupt_multilabel': 'jaxdistill.label_noise.multilabel',
  'fit': 'jaxdistill.label_noise.fitting',
  'find_issues': 'jaxdistill.label_noise.issues',
  'knn_accuracy': 'jaxdistill.label_noise.knn',
  'multilabel_transition': 'jaxdistill.label_noise.multilabel',
  'out_of_sample': 'jaxdistill.label_noise.folds',
  'quality': 'jaxdistill.label_noise.scores',
  'read_crowd': 'jaxdistill.label_noise.said',
  'register': 'jaxdistill.label_noise.methods',
  'select': 'jaxdistill.label_noise.selection',
  'select_small_losses': 'jaxdistill.label_noise.small_loss',
  'simulate': 'jaxdistill.label_noise.simulation',
  'simulate_by_image': 'jaxdistill.label_noise.simulation',
  'tables': 'jaxdistill.label_noise.outcome',
  'transition': 'jaxdistill.label_noise.transitions',
}
__all__ = sorted(_PUBLIC)


def __getattr__(name):
  if name in _PUBLIC:
    return getattr(importlib.import_module(_PUBLIC[name]), name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

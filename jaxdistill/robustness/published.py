"""What public logs report of adversarial training, to stand beside a run's own numbers.

All are of 200 epochs on the whole training set, with the attacker of L-inf and eps = 8/255, and
accuracies in [0, 1] under PGD-20 while the networks trained, of one seed.

Source: the training logs of the public code of AWP (Wu et al., NeurIPS 2020). RWP's own tables
could not be read.
"""

from typing import NamedTuple


class Published(NamedTuple):
  """Numbers of a training: robust accuracy at its end and at its best check on the test set, and
  the clean accuracies there."""

  last: float
  best_test: float
  clean: float
  clean_best: float


# (data set, network) -> row of ours -> percent: best robust, clean there, last robust, clean there.
_LOGS = {
  ('cifar10', 'preact_resnet'): {
    'at': '52.79 81.70 43.75 84.60',
    'awp': '55.39 81.18 54.30 81.65',
  },
  ('cifar100', 'preact_resnet'): {
    'at': '27.77 53.48 20.69 54.59',
    'awp': '30.71 54.19 30.11 54.21',
  },
  ('svhn_cropped', 'preact_resnet'): {
    'at': '53.36 89.85 45.00 89.70',
    'awp': '59.12 91.76 57.15 93.00',
  },
  ('cifar10', 'wrn_34_10'): {'awp': '58.30 85.41 57.38 85.07'},
}
_RECIPES = {
  'cifar10': ('at200', 'black200'),
  'cifar100': ('black200',),
  'svhn_cropped': ('svhn200',),
}
_EPS, _CLOSE = 8 / 255, 1e-4


def find(
  dataset: str, network: str, recipe: str, eps: float, norm: str, images: int
) -> dict[str, Published]:
  """Returns the published numbers of a setting by the row of ours; {} where no log has it.

  Args:
    dataset: name of the data set.
    network: name of the network.
    recipe: of the training, at its own length.
    eps, norm: of the ball.
    images: of the training set that are taken; 0: all.

  >>> find('cifar10', 'preact_resnet', 'at200', 8 / 255, 'linf', 0)['awp'].last
  0.543
  >>> find('cifar10', 'preact_resnet', 'short', 8 / 255, 'linf', 0)
  {}
  """
  same_ball = norm == 'linf' and abs(eps - _EPS) < _CLOSE
  if images or not same_ball or recipe not in _RECIPES.get(dataset, ()):
    return {}
  rows = {}
  for name, percent in _LOGS.get((dataset, network), {}).items():
    best, clean_best, last, clean = (round(float(one) / 100, 4) for one in percent.split())
    rows[name] = Published(last, best, clean, clean_best)
  return rows

"""What public logs report of adversarial training, to stand beside a run's own numbers.

All are of 200 epochs on the whole training set, with the attacker of L-inf and eps = 8/255, and
accuracies in [0, 1] under PGD-20 while the networks trained, of one seed.

Source: the training logs of the public code of AWP (Wu et al., NeurIPS 2020). RWP's own tables
could not be read.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxdistill import files
from jaxdistill.robustness import settings


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
# Fields of a config that decide what is learned or how it is scored while the networks train are
# those that its data set's usual config has, but for these.
_FREE = {
  'data': ('name', 'dir', 'stream'),
  'robustness': ('recipe', 'eps', 'seeds', 'checks', 'attacks', 'attack_images'),
}


def of_config(config: Mapping[str, Any]) -> dict[str, Published]:
  """Returns the published numbers of a run by the row of ours; {} where no log has its protocol. A
  method is among them with its usual fields alone.

  Args:
    config: of the run, also as result.json holds it.

  >>> from jaxdistill import config as configs
  >>> awp = configs.load('robustness/awp:cifar10')
  >>> of_config(awp)['awp'].last
  0.543
  >>> awp.method.attack_steps = 1
  >>> of_config(awp)
  {}
  """
  values = files.jsonable(ConfigDict(config).to_dict())
  dataset, network = values['data']['name'].partition(':')[0], values['model']['name']
  asked = values['robustness']
  same_ball = asked['norm'] == 'linf' and abs(asked['eps'] - _EPS) < _CLOSE
  logs = _LOGS.get((dataset, network), {})
  if not same_ball or asked['recipe'] not in _RECIPES.get(dataset, ()):
    return {}
  rows = {}
  for row, method in _methods(values).items():
    name = method['name']
    if name in logs and _is_usual({**values, 'method': method}, dataset):
      best, clean_best, last, clean = (round(float(one) / 100, 4) for one in logs[name].split())
      rows[row] = Published(last, best, clean, clean_best)
  return rows


def _methods(values):
  """The sections of a run's methods by row."""
  if 'compared' in values:
    return {name: values['members'][name] for name in values['compared']}
  return {values['method']['name']: values['method']}


def _is_usual(values, dataset):
  """Whether a config is that of its method on a data set with its network, but for `_FREE`; a field
  that is left out is as usual."""
  arguments = settings.Arguments(data=dataset, model=values['model']['name'])
  usual = files.jsonable(settings.defaults(arguments, values['method']['name']).to_dict())
  if values.get('dtype', usual['dtype']) != usual['dtype']:
    return False
  for name in ('data', 'model', 'robustness', 'method'):
    free = _FREE.get(name, ())
    section = {field: value for field, value in values[name].items() if field not in free}
    if {**usual[name], **section} != usual[name]:
      return False
  return True

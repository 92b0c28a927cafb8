"""What papers report of distillation on CIFAR-100, to stand beside a run's own numbers.

All are of the field's recipe of 240 epochs on native images with all training images, of a teacher
that was trained by it, and of the last weights unless the source says otherwise; a difference below
0.4 points on one seed means nothing.

Sources: the tables of the public code of Tian et al. (Contrastive Representation Distillation, ICLR
2020); DKD (Zhao et al., CVPR 2022) from its public code; ReviewKD (Chen et al., CVPR 2021) as its
paper and that of DKD are remembered, not read again.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxdistill import files
from jaxdistill.distillation import methods, terms
from jaxdistill.distillation.sum import CLASSICAL, classical
from jaxdistill.experiment import arguments

# How sure a number is: read in public code, or remembered.
READ, REMEMBERED = 'public code', 'remembered'


class Published(NamedTuple):
  """A number of a table: accuracy in [0, 1], and how sure it is."""

  accuracy: float
  source: str


# Teacher and student in the order of the columns.
_PAIRS = (
  ('resnet56', 'resnet20'),
  ('resnet110', 'resnet32'),
  ('wrn_40_2', 'wrn_16_2'),
  ('wrn_40_2', 'wrn_40_1'),
  ('resnet32x4', 'resnet8x4'),
  ('vgg13', 'vgg8'),
)
# Row of ours -> percent by pair.
_CIFAR100 = {
  'teacher': '72.34 74.31 75.61 75.61 79.42 74.64',
  'alone': '69.06 71.14 73.26 71.98 72.50 70.36',
  'kd': '70.66 73.08 74.92 73.54 73.33 72.98',
  'fitnet': '69.21 71.06 73.58 72.24 73.50 71.02',
  'at': '70.55 72.31 74.08 72.77 73.44 71.43',
  'sp': '69.67 72.69 73.83 72.43 72.94 72.68',
  'cc': '69.63 71.48 73.56 72.21 72.97 70.71',
  'vid': '70.38 72.61 74.11 73.30 73.09 71.23',
  'rkd': '69.61 71.82 73.35 72.22 71.90 71.48',
  'pkt': '70.34 72.61 74.54 73.45 73.64 72.88',
  'crd': '71.16 73.48 75.48 74.14 75.51 73.94',
  'reviewkd': '71.89 73.89 76.12 75.09 75.63 74.84',
  'dkd': '71.97 74.11 76.23 74.81 76.32 74.68',
}
_REMEMBERED = ('reviewkd',)
_RECIPE = 'crd240'
# What the papers share: every field of a config that decides what is learned, but for the data set,
# the networks and the method. The others are of seeds, of what is measured, and of how a run goes
# about it.
PROTOCOL: Mapping[str, Any] = MappingProxyType(
  {
    'dtype': 'float32',
    'data.image_size': 0,
    'data.classes': '',
    'data.normalisation': 'crd',
    'data.validation_share': 0,
    'teaching.recipe': _RECIPE,
    'teaching.given': '',
    'teaching.epochs': 0,
    'teaching.steps': 0,
    'teaching.batch': 0,
    'teaching.learning_rate': 0,
    'teaching.normalisation': 'running',
    'distillation.recipe': _RECIPE,
    'distillation.low': 0,
    'distillation.share': 1,
    'distillation.public': 0,
    'distillation.augmentation': 'recipe',
    'distillation.cache': '',
    'distillation.epochs': 0,
    'distillation.steps': 0,
    'distillation.batch': 0,
    'distillation.learning_rate': 0,
    'verification.classes': 0,
  }
)


def of_config(config: Mapping[str, Any]) -> dict[str, Published]:
  """Returns the published numbers of a run by the row of ours; {} where no paper has its protocol
  or its pair. A method is among them with its published fields alone.

  Args:
    config: of the run, also as result.json holds it.

  >>> from jaxdistill import config as configs
  >>> kd = configs.load('distillation/kd:cifar100,teacher=resnet56,student=resnet20')
  >>> of_config(kd)['kd']
  Published(accuracy=0.7066, source='public code')
  >>> kd.distillation.low = 16
  >>> of_config(kd)
  {}
  """
  values = files.jsonable(ConfigDict(config).to_dict())
  column = _column(values['data']['name'], values['teacher_model'], values['model'])
  if column is None or not _is_protocol(values):
    return {}
  rows = ['teacher', *(name for name, method in _methods(values).items() if _is_own(name, method))]
  return {name: _published(name, column) for name in rows}


def _column(dataset, teacher, student):
  """The number of a pair of networks among the columns; None where it is none of them."""
  names = teacher['name'], student['name']
  if dataset.partition(':')[0] != 'cifar100' or names not in _PAIRS:
    return None
  for network in (teacher, student):
    usual = files.jsonable(arguments.network_of(network['name']))
    if {**usual, **network} != usual:
      return None
  return _PAIRS.index(names)


def _is_protocol(values):
  """Whether the values of a config are those that the papers share; one that is left out is."""
  for key, wanted in PROTOCOL.items():
    section, _, name = key.rpartition('.')
    fields = values[section] if section else values
    if fields.get(name, wanted) != wanted:
      return False
  return True


def _methods(values):
  """The sections of a run's methods by row, students alone among them."""
  if 'compared' in values:
    own = {name: values['members'][name] for name in values['compared']}
  else:
    own = {methods.name_of(values['method']): values['method']}
  return {'alone': methods.ALONE, **own}


def _is_own(name, method):
  """Whether a method is that of a published row, with the fields that it has there."""
  if name not in _CIFAR100 or name not in CLASSICAL or method['name'] != 'sum':
    return False
  published = {'name': 'sum', **classical(name, _RECIPE)}
  if tuple(method.get('terms', ())) != tuple(published['terms']):
    return False
  return _whole(method) == _whole(published)


def _whole(method):
  """All fields of a sum and of its terms, those that are left out at their defaults."""
  whole = {**methods.defaults('sum'), **method}
  fields = {
    term: {**terms.defaults(term), **whole['fields'].get(term, {})} for term in whole['terms']
  }
  return files.jsonable({**whole, 'fields': fields})


def _published(name, column):
  value = round(float(_CIFAR100[name].split()[column]) / 100, 4)
  return Published(value, REMEMBERED if name in _REMEMBERED else READ)

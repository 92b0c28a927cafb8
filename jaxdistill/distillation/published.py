"""What papers report of distillation on CIFAR-100, to stand beside a run's own numbers.

All are of the field's recipe of 240 epochs on native images with all training images, and of the
last weights unless the source says otherwise; a difference below 0.4 points on one seed means
nothing.

Sources: the tables of the public code of Tian et al. (Contrastive Representation Distillation, ICLR
2020); DKD (Zhao et al., CVPR 2022) from its public code; ReviewKD (Chen et al., CVPR 2021) as its
paper and that of DKD are remembered, not read again.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

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
# Fields of a training by which it is another one than its recipe's.
_CHANGES = ('epochs', 'steps', 'batch', 'learning_rate')


def of_config(config: Mapping[str, Any]) -> dict[str, Published]:
  """Returns the published numbers of a run by the row of ours; {} where its config has changed what
  the papers share, such as the recipe's length, or holds images or classes out of the training."""
  asked, taught = config['distillation'], config['teaching']
  is_changed = any(asked[name] or taught[name] for name in _CHANGES)
  held_out = config['data']['validation_share'] or config['verification']['classes']
  is_other = asked['public'] or asked['augmentation'] != 'recipe' or taught['recipe'] != _RECIPE
  if is_changed or held_out or is_other:
    return {}
  return find(
    config['data']['name'].partition(':')[0],
    config['teacher_model']['name'],
    config['model']['name'],
    asked['recipe'],
    asked['low'],
    asked['share'],
  )


def find(
  dataset: str, teacher: str, student: str, recipe: str, low: int, share: float
) -> dict[str, Published]:
  """Returns the published numbers of a pair by the row of ours; {} where no paper has the protocol.

  Args:
    dataset: name of the data set.
    teacher, student: their networks.
    recipe: of the training, at its own length.
    low: side of the students' images; 0: native.
    share: of the images of a class.

  >>> find('cifar100', 'resnet56', 'resnet20', 'crd240', 0, 1.0)['kd']
  Published(accuracy=0.7066, source='public code')
  >>> find('cifar100', 'resnet56', 'resnet20', 'crd240', 16, 1.0)
  {}
  """
  pair = (teacher, student)
  if dataset != 'cifar100' or pair not in _PAIRS or recipe != _RECIPE or low or share < 1:
    return {}
  column = _PAIRS.index(pair)
  rows = {}
  for name, percent in _CIFAR100.items():
    value = round(float(percent.split()[column]) / 100, 4)
    rows[name] = Published(value, REMEMBERED if name in _REMEMBERED else READ)
  return rows

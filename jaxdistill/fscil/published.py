"""What papers report of few-shot class-incremental learning, to stand beside a run's own numbers.

All are of single runs on the fixed list of few-shot images, most with a checkpoint that the test
images chose. Networks and augmentation differ from row to row, and decide more than the method
does: compare within one network. PKI, SDC and Co-Memory have no row, as their tables could not be
read.

Sources, read in their public pages: Finetune, iCaRL, TOPIC and CEC (Zhang et al., CVPR 2021), FACT
(Zhou et al., CVPR 2022), TEEN (Wang et al., NeurIPS 2023), ALICE (Peng et al., ECCV 2022), SAVC
(Song et al., CVPR 2023), NC-FSCIL (Yang et al., ICLR 2023; its logs), Mamba-FSCIL (arXiv
2407.06136), FACL (WACV 2025). As others quote them: OrCo (CVPR 2024), WaRP (ICLR 2023), BiDist
(CVPR 2023), Decoupled-Cosine. CD2 (Bao, IJCAI 2025) from a public reading note.
"""

from typing import NamedTuple

from jaxdistill.fscil import presets

_R20, _R18, _R12 = 'ResNet-20', 'ResNet-18', 'ResNet-12'


class Published(NamedTuple):
  """A row of a table: label, network, and accuracies in [0, 1] by session, or of the first and the
  last alone with their average; network '' where it is not known here."""

  label: str
  network: str
  accuracies: tuple[float, ...]
  average: float


# Method of ours, or '' -> label, network, percent by session: CIFAR-100, 60 + 8 x 5 classes.
_CIFAR100 = (
  ('finetune', 'Finetune', '', '64.10 39.61 15.37 9.80 6.67 3.80 3.70 3.14 2.65'),
  ('', 'iCaRL', '', '64.10 53.28 41.69 34.13 27.93 25.06 20.41 15.48 13.73'),
  ('', 'TOPIC', '', '64.10 55.88 47.07 45.16 40.11 36.38 33.96 31.55 29.37'),
  ('ncm', 'Decoupled-Cosine', _R20, '74.55 67.43 63.63 59.55 56.11 53.80 51.68 49.67 47.68'),
  ('', 'CEC', _R20, '73.07 68.88 65.26 61.19 58.09 55.57 53.22 51.34 49.14'),
  ('', 'FACT', _R20, '74.60 72.09 67.56 63.52 61.38 58.36 56.28 54.24 52.10'),
  ('teen', 'TEEN', _R20, '74.92 72.65 68.74 65.01 62.01 59.29 57.90 54.76 52.64'),
  ('', 'SAVC', _R20, '78.77 73.31 69.31 64.93 61.70 59.25 57.13 55.19 53.12'),
  ('', 'ALICE', _R18, '79.00 70.50 67.10 63.40 61.20 59.20 58.10 56.30 54.10'),
  ('', 'WaRP', _R18, '80.31 75.86 71.87 67.58 64.39 61.34 59.15 57.10 54.74'),
  ('', 'BiDist', '', '79.45 75.38 71.84 67.95 64.96 61.95 60.16 57.67 55.88'),
  ('', 'OrCo', _R12, '80.08 68.16 66.99 60.97 59.78 58.60 57.04 55.13 52.19'),
  ('nc_fscil', 'NC-FSCIL', _R12, '82.52 76.82 73.34 69.68 66.19 62.85 60.96 59.02 56.11'),
  ('', 'Mamba-FSCIL', '', '82.80 77.85 73.69 69.67 66.89 63.66 61.48 59.74 57.51'),
  ('cd2', 'CD2', _R12, '83.32 79.42 74.96 70.33 67.28 64.21 61.35 59.81 57.36'),
  ('', 'FACL', '', '86.20 81.55 76.95 72.50 68.75 65.68 63.16 60.62 58.20'),
)
# The first and the last session, and the average over all.
_ENDS = {
  'mini': (('nc_fscil', 'NC-FSCIL', _R12, '84.02 58.31', 67.82),),
  'cub': (('nc_fscil', 'NC-FSCIL', 'ResNet-18, ImageNet', '80.45 59.44', 67.28),),
}
# Data set -> base classes, way, shot.
_SPLITS = {'cifar100': (60, 5, 5), 'mini': (60, 5, 5), 'cub': (100, 10, 5)}


def find(dataset: str, base_classes: int, way: int, shot: int) -> dict[str, list[Published]]:
  """Returns the published rows of a protocol by the name of the method, those of methods that are
  not here under ''; {} where no paper has the protocol.

  Args:
    dataset: name of the data set.
    base_classes, way, shot: of the protocol.

  >>> (row,) = find('cifar100', 60, 5, 5)['nc_fscil']
  >>> row.accuracies[-1], row.average
  (0.5611, 0.675)
  >>> find('cifar100', 50, 5, 5)
  {}
  """
  name = presets.known_as(dataset)
  if _SPLITS.get(name) != (base_classes, way, shot):
    return {}
  rows = {}
  entries = [(*row, None) for row in _CIFAR100] if name == 'cifar100' else _ENDS[name]
  for method, label, network, percent, average in entries:
    values = tuple(map(float, percent.split()))
    average = sum(values) / len(values) if average is None else average
    shares = tuple(round(value / 100, 4) for value in values)
    rows.setdefault(method, []).append(Published(label, network, shares, round(average / 100, 4)))
  return rows

"""What papers report, to stand beside a run's own numbers: test accuracy of ConvNet-3 by method,
data set and images a class.

All are of a ConvNet of width 128 with instance norm, trained at full length on the condensed set.
DM and the selections train on what they store; M3D and DANCE store four training images a canvas
(factor 2). Numbers of DANCE and M3D are the best check on the test set, those of DM the last epoch.

Sources:
  DANCE: Zhang et al., Dual-View Distribution Alignment for Dataset Condensation, IJCAI 2024, Tables
    1 and 2; the selections, DM on Fashion-MNIST and the whole sets as quoted there. Its code
    computes the scores.
  DM: Zhao and Bilen, Dataset Condensation with Distribution Matching, WACV 2023, as quoted in the
    DANCE paper.
  M3D: Zhang et al., M3D: Dataset Condensation by Minimizing Maximum Mean Discrepancy, AAAI 2024, as
    quoted by Wang et al., Dataset Distillation with Neural Characteristic Function, CVPR 2025; SVHN
    from an issue of the public code, whose author got 58.
"""

from typing import NamedTuple

IPC = (1, 10, 50)
_DANCE = 'Zhang et al., IJCAI 2024'
_DM = 'Zhao and Bilen, WACV 2023'
_M3D = 'Zhang et al., AAAI 2024'


class Published(NamedTuple):
  """An accuracy from a paper: mean and standard deviation (None where none is given) in [0, 1],
  factor and source."""

  mean: float
  std: float | None
  factor: int
  source: str


# (method or baseline, data set) -> source, factor, percent mean and deviation for each of IPC.
_TABLES = {
  ('dance', 'fashion_mnist'): (_DANCE, 2, ((81.5, 0.4), (86.3, 0.2), (86.9, 0.1))),
  ('dance', 'cifar10'): (_DANCE, 2, ((47.1, 0.2), (70.8, 0.2), (76.1, 0.1))),
  ('dance', 'cifar100'): (_DANCE, 2, ((27.9, 0.2), (49.8, 0.1), (52.8, 0.1))),
  ('m3d', 'cifar10'): (_M3D, 2, ((45.3, 0.3), (63.5, 0.2), (69.9, 0.5))),
  ('m3d', 'cifar100'): (_M3D, 2, ((26.2, 0.3), (42.4, 0.2), (50.9, 0.7))),
  ('m3d', 'svhn_cropped'): (_M3D, 2, ((62.8, None), None, None)),
  ('dm', 'fashion_mnist'): (_DM, 1, ((70.7, None), (83.5, None), (88.1, None))),
  ('dm', 'cifar10'): (_DM, 1, ((26.0, 0.8), (48.9, 0.6), (63.0, 0.4))),
  ('dm', 'cifar100'): (_DM, 1, ((11.4, 0.3), (29.7, 0.3), (43.6, 0.4))),
  ('random', 'fashion_mnist'): (_DANCE, 1, ((51.4, 3.8), (73.8, 0.7), (82.5, 0.7))),
  ('random', 'cifar10'): (_DANCE, 1, ((14.4, 2.0), (26.0, 1.2), (43.4, 1.0))),
  ('random', 'cifar100'): (_DANCE, 1, ((4.2, 0.3), (14.6, 0.5), (30.0, 0.4))),
  ('herding', 'fashion_mnist'): (_DANCE, 1, ((67.0, 1.9), (71.1, 0.7), (71.9, 0.8))),
  ('herding', 'cifar10'): (_DANCE, 1, ((21.5, 1.2), (31.6, 0.7), (40.4, 0.6))),
  ('herding', 'cifar100'): (_DANCE, 1, ((8.4, 0.3), (17.3, 0.3), (33.7, 0.5))),
  ('kcenter', 'fashion_mnist'): (_DANCE, 1, ((66.9, 1.8), (54.7, 1.5), (68.3, 0.8))),
  ('kcenter', 'cifar10'): (_DANCE, 1, ((21.5, 1.3), (14.7, 0.9), (27.0, 1.4))),
  ('kcenter', 'cifar100'): (_DANCE, 1, ((8.3, 0.3), (7.1, 0.2), (30.5, 0.3))),
}
_WHOLE = {'fashion_mnist': (93.5, 0.1), 'cifar10': (84.8, 0.1), 'cifar100': (56.2, 0.3)}


def find(name: str, dataset: str, ipc: float, factor: int = 1) -> Published | None:
  """Returns what is published for a method or baseline on a data set, or None; 'whole' has no `ipc`
  and no `factor`.

  Only a number with the same factor counts: with another one a stored image trains as another
    number of images.

  >>> find('dance', 'cifar10', 10, 2).mean
  0.708
  >>> find('dance', 'cifar10', 10, 1) is None
  True
  """
  if name == 'whole':
    return _published(_WHOLE[dataset], 1, _DANCE) if dataset in _WHOLE else None
  source, its_factor, values = _TABLES.get((name, dataset), ('', 0, ()))
  if its_factor != factor or ipc not in IPC:
    return None
  value = values[IPC.index(ipc)]
  return value and _published(value, factor, source)


def _published(value: tuple[float, float | None], factor: int, source: str) -> Published:
  mean, std = value
  return Published(
    round(mean / 100, 4), None if std is None else round(std / 100, 4), factor, source
  )

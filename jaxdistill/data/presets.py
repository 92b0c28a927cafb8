"""The data sets that are known by name: one table, a row a set, which all else asks.

To add a set is to add a row; of your own, `TABLE['scans'] = Preset('scans:', ...)`.
"""

import dataclasses
import re
from collections.abc import Sequence

from jaxdistill.registry import Registry

# Mean and standard deviation per channel, of images in [0, 1].
Statistics = tuple[tuple[float, ...], tuple[float, ...]]

_CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Preset:
  """What is known of a data set beforehand.

  Attributes:
    name: what stands in a config; with a colon at its end where a path follows, else a name of
      TensorFlow Datasets (but for 'digits').
    offered: whether configs take it behind their name. The others are known where
      `config.data.name` says so.
    size: the side that the images are brought to, [size, size]; 0: the stored one.
    flip: whether a mirrored image keeps its class.
    published: whether the papers' tables have it, with all training images; of other sets a share
      is held out to choose by.
    of_imagenet: whether its classes are ImageNet's, for which the papers have numbers of their
      own.
    exception: the name under which public codes of condensation treat the set apart, 'cifar',
      'mnist' or 'svhn'; '': they do not.
    idc: statistics by the convention 'idc', see `statistics.choose`; None: they are measured.
    dm: by the convention 'dm'; None: as `idc`.
    crd: by the convention 'crd'; None: as `idc`.
    variant: the full name in TensorFlow Datasets of a set that comes in several.
    reader: 'module:function' that reads what lies at the path: (path, image_size) -> `Stored`.
    folders: whether the classes are folders, of which some may be chosen, and whose images may stay
      on disk: the reader takes (path, image_size, classes, stream_above), as `folders.read_folder`.
    maker: in place of a reader, of sets that are no `Dataset`: 'module:function' that returns
      (train, test): (what follows the name, `stored.Asked`).
  """

  name: str
  offered: bool = True
  size: int = 0
  flip: bool = True
  published: bool = False
  of_imagenet: bool = False
  exception: str = ''
  idc: Statistics | None = None
  dm: Statistics | None = None
  crd: Statistics | None = None
  variant: str = ''
  reader: str = ''
  folders: bool = False
  maker: str = ''

  def statistics(self, convention: str) -> Statistics | None:
    """Returns the published mean and deviation by a convention ('idc', 'dm' or 'crd'), None where
    there are none.

    >>> find('cifar100').statistics('dm')[0]
    (0.5071, 0.4866, 0.4409)
    """
    return {'dm': self.dm, 'crd': self.crd}.get(convention) or self.idc

  def ships(self, name: str) -> bool:
    """Returns whether a name of this row stands for what an installed package brings: it has no
    path and no version.

    >>> find('digits').ships('digits'), find('yeast').ships('yeast:mine.csv')
    (True, False)
    """
    return name == 'digits' or bool(self.maker) and name == self.name


_ARRAYS = 'jaxdistill.data.arrays'
_FOLDERS = 'jaxdistill.data.folders'
_OTHERS = 'jaxdistill.data.others'
# A mirrored digit or character is another one, or none: neither DSA nor IDC flips such sets. The
# sides of 'digits' and 'folder:' are our choice; 128 is that of DANCE's ten-class subsets, 224 that
# of IDC's; 84 and 224 of mini and CUB are those of few-shot class-incremental learning.
_ROWS = (
  Preset('digits', size=16, flip=False),
  Preset('mnist', flip=False, published=True, exception='mnist', idc=((0.1307,), (0.3081,))),
  Preset('fashion_mnist', published=True, idc=((0.2861,), (0.3530,))),
  Preset(
    'svhn_cropped',
    flip=False,
    published=True,
    exception='svhn',
    idc=((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
  ),
  Preset('cifar10', published=True, exception='cifar', idc=_CIFAR10),
  Preset(
    'cifar100',
    published=True,
    exception='cifar',
    idc=_CIFAR10,
    dm=((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
    crd=((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
  ),
  Preset(
    'imagenette',
    size=128,
    published=True,
    of_imagenet=True,
    idc=_IMAGENET,
    variant='imagenette/160px-v2',
  ),
  Preset('npz:', reader=f'{_ARRAYS}:read_npz'),
  Preset('folder:', size=32, reader=f'{_FOLDERS}:read_folder', folders=True),
  Preset(
    'tiny_imagenet:',
    size=64,
    published=True,
    idc=_IMAGENET,
    crd=((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
    reader='jaxdistill.data.imagenet:read_tiny',
    folders=True,
  ),
  Preset(
    'imagenet:',
    size=128,
    published=True,
    of_imagenet=True,
    idc=_IMAGENET,
    reader=f'{_FOLDERS}:read_imagenet',
    folders=True,
  ),
  Preset(
    'imagenet224:',
    size=224,
    published=True,
    of_imagenet=True,
    idc=_IMAGENET,
    reader=f'{_FOLDERS}:read_imagenet224',
    folders=True,
  ),
  Preset(
    'mini:',
    offered=False,
    size=84,
    published=True,
    idc=_IMAGENET,
    reader='jaxdistill.data.mini_imagenet:read_mini',
    folders=True,
  ),
  Preset(
    'cub:',
    offered=False,
    size=224,
    published=True,
    idc=_IMAGENET,
    reader='jaxdistill.data.cub:read_cub',
    folders=True,
  ),
  Preset('caltech_birds2011', offered=False, size=224, published=True, idc=_IMAGENET),
  Preset('idx:', offered=False, flip=False, reader='jaxdistill.data.idx:read_idx'),
  Preset('vectors:', offered=False, maker=f'{_OTHERS}:vectors'),
  Preset('multilabel:', offered=False, maker=f'{_OTHERS}:multilabel'),
  Preset('yeast', offered=False, maker=f'{_OTHERS}:yeast'),
  Preset('mosaic:', offered=False, maker=f'{_OTHERS}:mosaic'),
  Preset('patches:', offered=False, maker=f'{_OTHERS}:patches'),
  Preset('imagenet2012', offered=False, idc=_IMAGENET),
  Preset('imagenet_resized', offered=False, idc=_IMAGENET),
  Preset('binary_alpha_digits', offered=False, flip=False),
  Preset('cmaterdb', offered=False, flip=False),
  Preset('emnist', offered=False, flip=False),
  Preset('kmnist', offered=False, flip=False),
  Preset('mnist_corrupted', offered=False, flip=False),
  Preset('omniglot', offered=False, flip=False),
)
# By name, without the colon.
TABLE = Registry('data set', {row.name.rstrip(':'): row for row in _ROWS})


def find(name: str) -> Preset:
  """Returns the row of a data set, whatever path, variant or version its name has; of an unknown
  one, a row of what holds where nothing is known.

  >>> find('folder:photos/mine').name, find('cifar10:3.0.2').published, find('emnist/letters').flip
  ('folder:', True, False)
  >>> find('oxford_flowers102').flip
  True
  """
  base = re.split('[:/]', name)[0]
  return TABLE.get(base) or Preset(base, offered=False)


def offered(name: str) -> str:
  """Returns the name by which configs know a set that is in memory; '' where they do not.

  >>> offered('cifar10:3.0.2'), offered('handed over')
  ('cifar10:3.0.2', '')
  """
  return name if find(name).offered else ''


def mosaic_of(name: str) -> tuple[int, str]:
  """Returns how many mosaics a name asks for, 0 where it does not say, and the set that they are
  made of; of another name 0 and itself.

  >>> mosaic_of('mosaic:80:npz:mine.npz'), mosaic_of('mosaic:digits'), mosaic_of('digits')
  ((80, 'npz:mine.npz'), (0, 'digits'), (0, 'digits'))
  """
  count, base = re.fullmatch(r'(?:mosaic:(?:(\d+):)?)?(.*)', name, re.DOTALL).groups()
  return int(count or 0), base


class _Offered(Sequence):
  """The names that configs take, as the table has them at the moment."""

  def __getitem__(self, index):
    return tuple(row.name for row in TABLE.values() if row.offered)[index]

  def __len__(self):
    return sum(row.offered for row in TABLE.values())


# What configs take, the default first; those that end with a colon need a path behind it.
NAMES = _Offered()

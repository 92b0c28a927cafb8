"""Fixed lists: which images are the few of a class.

A list names training images by their rows or by their files. Rows are those of the original
source: a data set may hold the images in any order if it knows the row that each had there
(`Dataset.ids`, as TensorFlow Datasets tells of CIFAR).
"""

import os
import pathlib
import re

import numpy as np

from jaxdistill.data.dataset import Dataset
from jaxdistill.data.division import lines_of
from jaxdistill.data.source_rows import are_numbers, rows_of
from jaxdistill.errors import UserError, brief, shown, unknown
from jaxdistill.files import expanded

# CIFAR-100, five images of each class from 60 on: rows of the file `train` of the python version.
# The choice of Tao et al., CVPR 2020 (TOPIC), in the files of Zhang et al., CVPR 2021 (CEC), which
# all later papers keep.
_CEC = """
  60:29774,33344,4815,6772,48317  61:29918,33262,5138,7342,47874
  62:28864,32471,4316,6436,47498  63:29802,33159,3730,5093,47740
  64:30548,34549,2845,4996,47866  65:28855,32834,4603,6914,48126
  66:29932,33300,3860,5424,47055  67:29434,32604,4609,6380,47844
  68:30456,34217,4361,6550,46896  69:29664,32857,4923,7502,47270
  70:31267,34427,4799,6611,47404  71:28509,31687,3477,5563,48003
  72:29545,33412,5114,6808,47692  73:29209,33265,4131,6401,48102
  74:31290,34432,6060,8451,48279  75:32337,35646,6022,9048,48584
  76:30768,34394,5091,6510,48023  77:30310,33230,5098,6671,48349
  78:29690,33490,4260,5916,47371  79:31173,34943,4517,6494,47689
  80:30281,33894,3768,6113,48095  81:28913,32821,6172,8276,48004
  82:31249,34088,5257,6961,47534  83:30404,34101,4985,6899,48115
  84:31823,35148,3922,6548,48127  85:30815,34450,3481,5089,47913
  86:31683,34591,5251,7608,47984  87:29837,33823,4615,6448,47752
  88:31222,34079,5686,7919,48675  89:28567,32964,5009,6201,47039
  90:29355,33909,3982,5389,47166  91:31058,35180,5177,6890,48032
  92:31176,35098,5235,7861,47830  93:30874,34639,5266,7489,47323
  94:29960,34050,4988,7434,48208  95:30463,34580,5230,6813,48605
  96:31702,35249,5854,7765,48444  97:30380,34028,5211,7433,47988
  98:31348,34021,4929,7033,47904  99:30627,33728,4895,6299,47507
"""
# Lists that the library has, by name.
PUBLISHED = {'cec': _CEC}


def published(name: str, train: Dataset) -> dict[int, np.ndarray]:
  """Returns the positions in `train` of a published list's images by class, checked by their
  labels.

  Args:
    name: one of `PUBLISHED`: 'cec', of CIFAR-100.
    train: all training images, in the original order or with `ids` that tell it.

  Raises:
    UserError: for another name, another data set, or images in an order in which the labels do not
      fit.

  >>> published('tcec', None)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no list of images 'tcec'; did you mean 'cec'? Valid: cec.
  """
  if name not in PUBLISHED:
    raise unknown('list of images', name, PUBLISHED)
  listed = {}
  for part in PUBLISHED[name].split():
    label, _, rows = part.partition(':')
    listed[int(label)] = np.array(rows.split(','), np.int64)
  if train.num_classes != max(listed) + 1:
    raise UserError(
      f'{train.name}: the list {name!r} is of CIFAR-100 with its {max(listed) + 1} classes, and '
      f'this set has {train.num_classes}; draw the images by seed, or give a list of your own.'
    )
  place = _by_row(train)
  chosen = {}
  for label, rows in listed.items():
    positions = np.array([place.get(row, -1) for row in rows.tolist()])
    # Of a row that is not there, the last image's label stands here, and does not count.
    fits = (positions >= 0) & (train.labels[positions] == label)
    if not fits.all():
      row = int(rows[~fits][0])
      what = f'is of class {train.labels[place[row]]}' if row in place else 'is not there'
      raise UserError(
        f"{train.name}: the list {name!r} holds rows of CIFAR-100's original training file, and "
        f'row {row}, which is of class {label} there, {what} here: this copy is in another order; '
        'draw the images by seed.'
      )
    chosen[label] = positions
  return chosen


def read(path: str | os.PathLike, train: Dataset) -> list[np.ndarray]:
  """Returns the positions in `train` of the images that a file lists, or each file session_*.txt of
  a folder in the order of their numbers.

  A line is an image: the number of its row in the source, from 0; or its file, of which the name
  must fit, and as many of the folders as tell files of one name apart. Empty lines do not count.

  Raises:
    UserError: for files that cannot be read, and lines that name no image of the set.

  >>> import tempfile
  >>> file = pathlib.Path(tempfile.mkdtemp(), 'list.txt')
  >>> _ = file.write_text('photos/b.png' + chr(10))
  >>> pair = Dataset(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]), ids=['a.png', 'b.png'])
  >>> read(file, pair)
  [array([1])]
  """
  root = expanded(path)
  if not os.path.exists(root):
    raise UserError(
      f'There is no list of images {shown(path)}: neither a file, nor a folder of files, nor one '
      f'of the published ones ({", ".join(PUBLISHED)}).'
    )
  if not os.path.isdir(root):
    return [_positions(root, train)]
  numbered = {}
  for file in root.iterdir():
    match = re.fullmatch(r'session_(\d+)\.txt', file.name)
    if match:
      numbered[int(match[1])] = file
  if not numbered:
    raise UserError(
      f'{shown(root)} holds no list of images; they are called session_1.txt, session_2.txt, ...'
    )
  return [_positions(numbered[number], train) for number in sorted(numbered)]


def _positions(path: pathlib.Path, train: Dataset) -> np.ndarray:
  """The positions of the images that a file lists."""
  lines = lines_of(path)
  if all(line.isdecimal() for line in lines):
    place, kind = _by_row(train), 'row'
    positions = [place.get(int(line)) for line in lines]
  else:
    if not len(train.ids) or are_numbers(train.ids):
      raise UserError(
        f'{shown(path)} lists images by the names of their files, and {train.name} does not know '
        'these; give the numbers of its rows, or draw the images by seed.'
      )
    place, kind = _by_file(train), 'file'
    positions = [_nearest(path, line, place) for line in lines]
  if None in positions:
    strange = lines[positions.index(None)]
    raise UserError(
      f'{shown(path)} lists the {kind} {brief(shown(strange))}, which is none of the '
      f'{len(train):,} training images of {train.name}.'
    )
  return np.array(positions, np.int64)


def _by_row(train: Dataset) -> dict[int, int]:
  """The position of each row of the source: by what the images are called, or else as they lie."""
  rows = rows_of(train)
  rows = range(len(train)) if rows is None else rows.tolist()
  return {row: position for position, row in enumerate(rows)}


def _by_file(train: Dataset) -> dict[str, list[tuple[tuple[str, ...], int]]]:
  """(parts of the path, position) of the images by the names of their files."""
  files = {}
  for position, entry in enumerate(train.ids):
    parts = pathlib.PurePosixPath(str(entry)).parts
    files.setdefault(parts[-1], []).append((parts, position))
  return files


def _nearest(path, line, files):
  """The position of the image whose path agrees with a line in most parts from the end; None where
  no name does."""
  parts = pathlib.PurePosixPath(line.replace('\\', '/')).parts
  agreements = []
  for other, position in files.get(parts[-1], ()):
    pairs = zip(reversed(parts), reversed(other))
    agreements.append((_leading(pairs), position))
  if not agreements:
    return None
  best = max(agreement for agreement, _ in agreements)
  nearest = [position for agreement, position in agreements if agreement == best]
  if len(nearest) > 1:
    raise UserError(
      f'{shown(path)} lists {brief(shown(line))}, and {len(nearest)} training images are called '
      'so; give their folders too.'
    )
  return nearest[0]


def _leading(pairs):
  """How many pairs are of equal parts before the first that is not."""
  count = 0
  for one, other in pairs:
    if one != other:
      break
    count += 1
  return count

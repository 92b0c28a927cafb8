"""CUB-200-2011 as its archive unpacks: folders of birds, and text files that say which are for
training."""

import os
import pathlib

from jaxdistill.data import folders, listing
from jaxdistill.data.picture_sets import Files, read_pictures
from jaxdistill.data.pictures import shown
from jaxdistill.data.stored import Stored
from jaxdistill.errors import UserError

_IMAGES, _SPLIT, _LABELS = 'images.txt', 'train_test_split.txt', 'image_class_labels.txt'


def read_cub(
  path: str, image_size: int, classes: str = '', stream_above: int | None = None
) -> Stored:
  """Reads Caltech-UCSD Birds-200-2011 from the folder CUB_200_2011 of its archive.

  Each line of PATH/images.txt is a number and the path of an image in PATH/images; behind the same
  number stands in PATH/train_test_split.txt 1 for training and 0 for the test, and in
  PATH/image_class_labels.txt the class, from 1. Classes keep this order and are called as their
  folders. The rest is as in `folders.read_folder`.

  Raises `UserError` in one sentence for files that are missing, or do not fit each other.
  """
  where = f'cub:{shown(path)}'
  root = folders.existing(where, path)
  missing = [name for name in (_IMAGES, _SPLIT, _LABELS) if not os.path.isfile(root / name)]
  if missing:
    raise _other_layout(where, root, missing[0])
  files = _numbered(where, root, _IMAGES, _is_inside, 'the path of an image in the folder images')
  split = _numbered(where, root, _SPLIT, ('0', '1').__contains__, '1 for training or 0')
  labels = _numbered(where, root, _LABELS, _is_label, 'a class, from 1')
  _check_alike(where, files, split, labels)
  names = {}
  for number in sorted(files, key=lambda number: (int(labels[number]), number)):
    names.setdefault(labels[number], pathlib.PurePosixPath(files[number]).parent.name)
  parts = {'1': {}, '0': {}}
  for part in parts.values():
    part |= {name: [] for name in names.values()}
  for number, file in files.items():
    parts[split[number]][names[labels[number]]].append(root / 'images' / file)
  train = folders.choose(parts['1'], classes)
  stored = read_pictures(
    where,
    root,
    Files.of_classes(train, tuple(train)),
    Files.of_classes({name: parts['0'][name] for name in train}, tuple(train)),
    None,
    tuple(train),
    image_size,
    stream_above,
  )
  return stored


def _numbered(where, root, name, fits, wanted) -> dict[int, str]:
  """What stands behind each number in a text file."""
  entries = {}
  for line_number, line in enumerate(listing.text_lines(where, root, name), 1):
    if not line.strip():
      continue
    number, _, entry = line.strip().partition(' ')
    if not number.isdecimal() or not fits(entry.strip()):
      raise UserError(
        f'{where}: line {line_number} of {name} is {line[:80]!r}; it should be a number, a blank '
        f'and {wanted}.'
      )
    if int(number) in entries:
      raise UserError(f'{where}: line {line_number} of {name} has the number {number} once more.')
    entries[int(number)] = entry.strip()
  return entries


def _is_inside(file: str) -> bool:
  """Whether a path is one of a class folder and a file in it."""
  parts = pathlib.PurePosixPath(file).parts
  return len(parts) == 2 and parts[0] not in ('/', '..') and parts[1] != '..'


def _is_label(entry: str) -> bool:
  return entry.isdecimal() and int(entry) > 0


def _check_alike(where, files, split, labels):
  """Raises `UserError` unless the three files have the same numbers, and the folders the classes'
  names."""
  if not files:
    raise UserError(f'{where}: {_IMAGES} lists no image.')
  for name, entries in ((_SPLIT, split), (_LABELS, labels)):
    strange = sorted(files.keys() ^ entries.keys())
    if strange:
      raise UserError(
        f'{where}: the number {strange[0]} stands in one of {_IMAGES} and {name} alone; copy the '
        'set again.'
      )
  folder_of = {}
  for number, file in files.items():
    folder = pathlib.PurePosixPath(file).parent.name
    if folder_of.setdefault(folder, labels[number]) != labels[number]:
      raise UserError(
        f'{where}: images of the folder {shown(folder)} are of the classes {folder_of[folder]} and '
        f'{labels[number]} in {_LABELS}; copy the set again.'
      )


def _other_layout(where, root, missing):
  inner = root / 'CUB_200_2011'
  if os.path.isfile(inner / _IMAGES):
    return UserError(f'{where}: it lies deeper: give cub:{shown(inner)}.')
  return UserError(
    f'{where}: has no {missing}; needs {_IMAGES}, {_SPLIT}, {_LABELS} and the folder images, as '
    'the archive CUB_200_2011.tgz unpacks; read any other layout with folder:PATH.'
  )

"""miniImageNet as its split files list it: csv files of file names and classes, and one folder of
images."""

import csv
import os
import pathlib

from jaxdistill.data import folders, listing
from jaxdistill.data.listing import some
from jaxdistill.data.picture_sets import Files, read_pictures
from jaxdistill.data.pictures import shown
from jaxdistill.data.stored import Stored
from jaxdistill.errors import UserError

_COLUMNS = ('filename', 'label')
_FILES = {'train': 'train.csv', 'validation': 'val.csv', 'test': 'test.csv'}
# By class, in the order in which the classes appear.
_ByClass = dict[str, list[pathlib.Path]]


def read_mini(
  path: str, image_size: int, classes: str = '', stream_above: int | None = None
) -> Stored:
  """Reads PATH/train.csv and PATH/test.csv, or these in PATH/split, and the images in PATH/images.

  Each line of a csv file is an image, `filename,label`, below a first line with these words. The
  classes are numbered in the order in which the file for training names them, and the images stay
  in the file's. PATH/val.csv, where there is one, holds images to choose by.

  The split of few-shot class-incremental learning has the same hundred classes in both files, with
  500 and 100 images each. In that of Ravi and Larochelle, ICLR 2017, the three files have different
  classes, 64, 16 and 20 of 600 images: these are read as one set without a test split, in the order
  train, val, test, and one of the `notices` says so. The rest is as in `folders.read_folder`.

  Raises `UserError` in one sentence for files that are missing or laid out otherwise, and for test
  classes of which some are in the training file and some are not.
  """
  where = f'mini:{shown(path)}'
  root = folders.existing(where, path)
  lists = _split_folder(where, root)
  splits = {}
  for role, name in _FILES.items():
    if os.path.isfile(root / lists / name):
      splits[role] = _listed(where, root, str(lists / name))
  _check_once(where, splits)
  notices = _passed_over(where, root, splits)
  others = {role: splits[role] for role in splits if role != 'train'}
  apart = [role for role, files in others.items() if not files.keys() & splits['train'].keys()]
  if apart and len(apart) == len(others):
    notices.append(
      f'{where}: the csv files have different classes; they are read as one set without a test '
      'split, and other images are tested on than in published numbers.'
    )
    splits = {'train': _pooled(splits.values())}
  else:
    _check_classes(where, splits)
  train = folders.choose(splits.pop('train'), classes)
  held = {}
  for role, files in splits.items():
    chosen = {name: files[name] for name in train if name in files}
    if not chosen:
      raise UserError(f'{where}: of the classes {some(list(train))} there are no {role} images.')
    held[role] = Files.of_classes(chosen, tuple(train))
  stored = read_pictures(
    where,
    root,
    Files.of_classes(train, tuple(train)),
    held.get('test'),
    held.get('validation'),
    tuple(train),
    image_size,
    stream_above,
  )
  return stored._replace(notices=(*notices, *stored.notices))


def _split_folder(where: str, root: pathlib.Path) -> pathlib.PurePath:
  """Where the csv files lie in `root`."""
  for lists in (pathlib.PurePath(), pathlib.PurePath('split')):
    if os.path.isfile(root / lists / _FILES['train']) and os.path.isdir(root / 'images'):
      return lists
  raise UserError(
    f'{where}: needs train.csv and test.csv, here or in the folder split, with the columns '
    f'{" and ".join(_COLUMNS)}, and the folder images; read any other layout with folder:PATH.'
  )


def _listed(where: str, root: pathlib.Path, name: str) -> _ByClass:
  """The files that a csv file lists, by class."""
  lines = csv.reader(listing.text_lines(where, root, name))
  head = [word.strip() for word in next(lines, [])]
  if not set(_COLUMNS) <= set(head):
    raise UserError(
      f'{where}: the first line of {name} is {",".join(head)[:80]!r}; it should name the columns '
      f'{" and ".join(_COLUMNS)}.'
    )
  columns = [head.index(word) for word in _COLUMNS]
  files = {}
  for number, entries in enumerate(lines, 2):
    if not any(map(str.strip, entries)):
      continue
    image, label = (entries[column].strip() if column < len(entries) else '' for column in columns)
    if not image or not label or pathlib.PurePath(image).name != image:
      raise UserError(
        f'{where}: line {number} of {name} is {",".join(entries)[:80]!r}; it should be the name of '
        'an image in the folder images, a comma and its class.'
      )
    files.setdefault(label, []).append(root / 'images' / image)
  if not files:
    raise UserError(f'{where}: {name} lists no image.')
  return files


def _check_once(where, splits):
  """Raises `UserError` for an image that is listed twice."""
  seen = set()
  for role, files in splits.items():
    for of_class in files.values():
      for file in of_class:
        if file in seen:
          raise UserError(f'{where}: {_FILES[role]} lists {shown(file.name)}, which stands before.')
        seen.add(file)


def _check_classes(where, splits):
  """Raises `UserError` for classes that are not among those to train on."""
  for role, files in splits.items():
    strange = [shown(name) for name in files if name not in splits['train']]
    if strange:
      raise UserError(
        f'{where}: {_FILES[role]} has classes that {_FILES["train"]} does not have '
        f'({some(strange)}); either all files have the same classes, or no two of them share any.'
      )


def _pooled(splits):
  """All files of several splits by class."""
  pooled = {}
  for files in splits:
    for name, of_class in files.items():
      pooled.setdefault(name, []).extend(of_class)
  return pooled


def _passed_over(where, root, splits):
  """A line that tells of images which no csv file lists, if there are some."""
  listed = set()
  for files in splits.values():
    for of_class in files.values():
      listed.update(file.name for file in of_class)
  passed = listing.PassedOver(root)
  for path in listing.contents(where, root / 'images').pictures:
    if path.name not in listed:
      passed.add('that no csv file lists', path)
  return [passed.line(where)] if len(passed) else []

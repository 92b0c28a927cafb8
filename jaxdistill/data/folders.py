"""A folder of pictures for each class: which folders are the classes, and which files are read."""

import difflib
import os
import pathlib
import unicodedata
from collections.abc import Iterable

from jaxdistill.data import exported, listing, subsets
from jaxdistill.data.listing import PassedOver, contents, some
from jaxdistill.data.picture_sets import Files, read_pictures
from jaxdistill.data.pictures import SUFFIXES, shown
from jaxdistill.data.stored import Stored
from jaxdistill.errors import UserError, unknown

# What folders beside each other are called, in any case, if the set is divided.
ROLES = {
  'train': 'train',
  'training': 'train',
  'test': 'test',
  'testing': 'test',
  'val': 'validation',
  'valid': 'validation',
  'validation': 'validation',
}
_LAYOUT = 'PATH/<class>/*.png, or PATH/train/<class>/*.png and PATH/test/<class>/*.png'
# Folders that are looked into for class folders which lie deeper, and how deep.
_LOOKED_INTO, _DEPTH = 200, 4


def read_folder(
  path: str, image_size: int, classes: str = '', stream_above: int | None = None
) -> Stored:
  """Reads PATH/<class>/*.png, or PATH/train/<class> and PATH/test/<class> (else validation, valid
  or val for test; in any case); train alone is a set without a test split.

  Files with a suffix of `pictures.SUFFIXES`, in any case, directly in a class folder are read (see
  `pictures` for how), turned upright, and brought to [size, size]: short side resized, centre cut
  out. Classes are numbered in the order of their names, numbers by value. The images have one
  channel if every file is grey, else three. Hidden files and folders are skipped; every other file
  that is not read is counted in one of the `notices`. `classes` takes some of the folders only, in
  its own order (see `subsets.names`). Training images that would take more than `stream_above`
  bytes stay on disk; None reads them all. A folder that `Condensed.to_png` wrote is read as its
  manifest says (see `exported`).

  Raises `UserError` in one sentence for a missing folder, class folders that lie elsewhere, fewer
  than two classes, a class without images, a test class that is not in the training set, a class
  asked for that is not there, and an image that cannot be read (with its name; for images that stay
  on disk when it is met).

  >>> import tempfile, PIL.Image
  >>> root = pathlib.Path(tempfile.mkdtemp())
  >>> for name in ('cat', 'dog'):
  ...   (root / name).mkdir()
  ...   PIL.Image.new('RGB', (48, 40)).save(root / name / 'first.png')
  >>> read_folder(str(root), 32).train[0].shape
  (2, 32, 32, 3)
  """
  return read(f'folder:{shown(path)}', path, image_size, classes, stream_above)


def read_imagenet(
  path: str, image_size: int, classes: str = '', stream_above: int | None = None
) -> Stored:
  """Reads ImageNet's folders, which are named by WordNet ids: all as in `read_folder`."""
  return read(f'imagenet:{shown(path)}', path, image_size, classes, stream_above)


def read(
  where: str, path: str, image_size: int, classes: str = '', stream_above: int | None = None
) -> Stored:
  """Returns what `read_folder` does, with sentences that call the set `where`."""
  root = existing(where, path)
  description = exported.read_manifest(where, root)
  if description is not None:
    return exported.read_exported(where, root, description, image_size, classes, stream_above)
  passed = PassedOver(root)
  train, test = _splits(where, root, passed)
  if len(train) < 2:
    raise _misplaced(where, root, train)
  notices = _names_alike(where, train)
  train, divided = choose(train, classes), test is not None
  if len(train) < 2:
    raise UserError(f'{where}: classes={classes!r} is a single class; at least 2 are needed.')
  if divided:
    test = choose(test, classes, train)
    absent = [name for name in train if not test.get(name)]
    if len(absent) == len(train):
      raise UserError(f'{where}: of the classes {classes!r} there are no images to test on.')
    if absent:
      notices.append(f'{where}: classes without test images: {len(absent)} ({some(absent)}).')
  stored = read_pictures(
    where,
    root,
    Files.of_classes(train, tuple(train)),
    Files.of_classes(test, tuple(train)) if divided else None,
    tuple(train),
    image_size,
    stream_above,
  )
  lines = [passed.line(where)] if len(passed) else []
  return stored._replace(notices=(*lines, *notices, *stored.notices))


def existing(where: str, path: str) -> pathlib.Path:
  """Returns the folder at a path; raises `UserError` where there is none, or its name is no
  UTF-8."""
  try:
    root = pathlib.Path(path).expanduser()
  except RuntimeError as error:  # ~ without a home
    raise UserError(f'{where}: {error}; give the whole path.') from error
  _as_text(where, str(path))
  if not path or not os.path.isdir(root):
    reader = where.partition(':')[0]
    raise UserError(
      f'{where}: there is no such folder; give {reader}:PATH with one sub-folder of images a class.'
    )
  return root


def choose(files: dict[str, list], classes: str, known: Iterable[str] = ()) -> dict[str, list]:
  """Returns the entries of the classes asked for (see `subsets.names`), in that order; all for ''.

  Raises `UserError` for a class that is neither in `files` nor among `known`, and for one that is
  named twice.

  >>> choose({'cat': ['1.png'], 'dog': ['2.png'], 'emu': ['3.png']}, 'emu,cat')
  {'emu': ['3.png'], 'cat': ['1.png']}
  """
  names = subsets.names(classes) or tuple(files)
  for name in names:
    if name not in files and name not in known:
      raise unknown('class folder', name, [*subsets.SUBSETS, *files])
    if names.count(name) > 1:
      raise UserError(f'The class {name!r} is asked for twice in classes={classes!r}.')
  return {name: files[name] for name in names if name in files}


def class_files(
  where: str, folder: pathlib.Path, passed: PassedOver, inside: str = ''
) -> dict[str, list[pathlib.Path]]:
  """Returns the pictures of each class folder in `folder`, or of the folder `inside` it, in the
  order of the class numbers; what is not read is added to `passed`."""
  files = {}
  for name, path in _class_folders(where, folder).items():
    place = path / inside
    within = contents(where, place) if os.path.isdir(place) else listing.NOTHING
    files[name] = within.pictures
    for reason, other in within.others:
      passed.add(reason, other)
    for nested in within.folders:
      passed.add_all(listing.NESTED, nested)
  return files


def check_filled(
  where: str, folder: pathlib.Path, files: dict[str, list[pathlib.Path]], inside: str = ''
) -> None:
  """Raises `UserError` where a class folder in `folder` has no picture: with the folder that holds
  the class folders, if they lie deeper."""
  if not files or not any(files.values()):
    raise _misplaced(where, folder, files)
  empty = next((name for name in files if not files[name]), None)
  if empty is None:
    return
  place = _class_folders(where, folder)[empty] / inside
  what = (
    f'the class folder {str(pathlib.PurePath(empty, inside))!r} in {shown(folder)} holds no images'
  )
  within = contents(where, place) if os.path.isdir(place) else listing.NOTHING
  if _holds_classes(place):
    again = f'{where.partition(":")[0]}:{shown(place)}'
    raise UserError(
      f'{where}: {what} itself but folders of images: give {again} to read '
      'those as classes, or move the images directly into it.'
    )
  if within.folders:
    raise UserError(
      f'{where}: {what} itself, only folders ({some(_names(within.folders))}); move the images '
      'of a class directly into its folder.'
    )
  if within.others:
    raise UserError(
      f'{where}: {what} that are read, only {some(_names(path for _, path in within.others))}; '
      f'the kinds that are read are {", ".join(SUFFIXES)}.'
    )
  raise UserError(
    f'{where}: {what}; put some of the kinds {", ".join(SUFFIXES)} in it, or remove it.'
  )


def _splits(where, root, passed):
  """The files of each class, of (train, test); no test split: None."""
  found = contents(where, root)
  for reason, path in found.others:
    passed.add(listing.BESIDE if reason == listing.OTHER_KIND else reason, path)
  for path in found.pictures:
    passed.add(listing.BESIDE, path)
  roles = _roles(where, found)
  if 'train' not in roles:
    train = class_files(where, root, passed)
    check_filled(where, root, train)
    return train, None
  splits = {}
  for role in ('train', 'test', 'validation'):
    folder = roles.get(role)
    if (
      folder is None
      or len(splits) == 2
      or (role != 'train' and not contents(where, folder).folders)
    ):
      continue
    splits[role] = class_files(where, folder, passed)
    beside = contents(where, folder)
    for path in (*beside.pictures, *(path for _, path in beside.others)):
      passed.add(listing.BESIDE, path)
  check_filled(where, roles['train'], splits['train'])
  read = [roles[role] for role in splits]
  for folder in found.folders:
    if folder not in read:
      passed.add_all(f'in the folder {shown(folder.name)!r}', folder)
  train, *tests = splits.values()
  if not tests and len(roles) > 1:
    raise _without_classes(where, roles)
  if tests:
    _check_test(where, train, tests[0], read[1])
  return train, tests[0] if tests else None


def _roles(where, found):
  """The folders that say by their name what they hold, by role; none unless that for training
  holds folders: classes may be called train and test, and hold pictures."""
  roles = {}
  for folder in found.folders:
    if folder.name.lower() in ROLES:
      roles.setdefault(ROLES[folder.name.lower()], []).append(folder)
  inside = {role: contents(where, folders[0]) for role, folders in roles.items()}
  train = inside.get('train')
  others = any(inside[role].folders for role in inside if role != 'train')
  if train is None or not train.folders or (train.pictures and not others):
    return {}
  for role, folders in roles.items():
    if len(folders) > 1:
      raise UserError(
        f'{where}: the folders {" and ".join(_names(folders))} mean the same, {role}; '
        'keep one of them there.'
      )
  return {role: folders[0] for role, folders in roles.items()}


def _without_classes(where, roles):
  """The error for images to test on whose classes nothing tells."""
  role = 'test' if 'test' in roles else 'validation'
  reader = where.partition(':')[0]
  return UserError(
    f'{where}: {shown(roles[role].name)} holds no class folder; add one for each class, or give '
    f'{reader}:{shown(roles["train"])}, of which a part is then held out for the test.'
  )


def _check_test(where, train, test, folder):
  strange = [name for name in test if name not in train]
  if strange:
    near = difflib.get_close_matches(_plain(strange[0]), map(_plain, train), n=1)
    match = [name for name in train if [_plain(name)] == near]
    what = 'class folder {} is' if len(strange) == 1 else 'class folders {} are'
    raise UserError(
      f'{where}: the {what.format(some(list(map(repr, strange))))} in {shown(folder.name)} but not '
      'in train' + (f'; did you mean {match[0]!r}?' if match else '.')
    )
  if not any(test.values()):
    raise UserError(f'{where}: the class folders in {shown(folder)} hold no images.')


def _names_alike(where, names):
  """A line for class names that a reader takes for the same."""
  alike = {}
  for name in names:
    alike.setdefault(_plain(name), []).append(name)
  pairs = [' and '.join(map(repr, group)) for group in alike.values() if len(group) > 1]
  text = 'classes of their own, although their names differ in case or writing alone'
  return [f'{where}: {text}: {some(pairs)}.'] if pairs else []


def _plain(name):
  return unicodedata.normalize('NFKC', name).casefold()


def _as_text(where, name):
  """The name of a folder, whatever the coding of the terminal."""
  try:
    return os.fsencode(name).decode('utf-8')
  except UnicodeError:
    raise UserError(f'{where}: the name {shown(name)} is not UTF-8; rename the folder.') from None


def _class_folders(where, folder):
  """The folders in a folder by their names, in the order of the class numbers."""
  folders = {_as_text(where, path.name): path for path in contents(where, folder).folders}
  return {name: folders[name] for name in sorted(folders, key=_class_order)}


def _class_order(name):
  return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def _names(paths):
  return [shown(path.name) for path in paths]


def _misplaced(where, root, files):
  """The error for a folder with fewer than two class folders: where they are, if they lie
  deeper."""
  reader = where.partition(':')[0]
  deeper = _deeper(root)
  if deeper:
    places = ' or '.join(f'{reader}:{shown(folder)}' for folder in deeper)
    again = ', or move the images of a class directly into its folder' * (len(files) > 1)
    return UserError(f'{where}: the class folders lie deeper: give {places}{again}.')
  pictures = len(contents(where, root).pictures)
  if pictures:
    return UserError(
      f'{where}: holds {pictures:,} images itself, and a class is a folder: {_LAYOUT}; '
      f'if it is one of several classes, give {reader}:{shown(root.absolute().parent)}.'
    )
  none = ' without images' * (not any(files.values()))
  return UserError(
    f'{where}: found {len(files)} class folders{none * bool(files)}, at least 2 are needed: '
    f'{_LAYOUT}; the kinds that are read are {", ".join(SUFFIXES)}.'
  )


def _deeper(root):
  """The highest folders below that hold class folders, three at most."""
  level = [root]
  looked_into = 0
  for _ in range(_DEPTH):
    below = []
    for folder in level:
      below += _folders(folder)
    below = below[: _LOOKED_INTO - looked_into]
    looked_into += len(below)
    holding = [folder for folder in below if _holds_classes(folder)]
    if holding:
      return holding[:3]
    level = below
  return []


def _holds_classes(folder):
  """Whether a folder could be given as a set."""
  folders = _folders(folder)
  train = [inner for inner in folders if ROLES.get(inner.name.lower()) == 'train']
  return _filled(folders) >= 2 or any(_filled(_folders(inner)) >= 2 for inner in train)


def _filled(folders):
  """How many of the folders hold a picture."""
  return sum(any(map(_is_picture, _entries(folder))) for folder in folders)


def _folders(folder):
  return [
    path
    for path in _entries(folder)
    if not path.name.startswith(('.', '__')) and os.path.isdir(path)
  ]


def _is_picture(path):
  return path.suffix.lower() in SUFFIXES and os.path.isfile(path)


def _entries(folder):
  """What lies in a folder; nothing where it cannot be read."""
  try:
    return sorted(folder.iterdir())
  except OSError:
    return []

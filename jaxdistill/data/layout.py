"""How pictures lie in folders: which folders are the splits and the classes, which files are read,
and where the class folders are if not where they should be."""

import difflib
import os
import pathlib
import unicodedata

from jaxdistill.data import listing
from jaxdistill.data.listing import PassedOver, contents, some
from jaxdistill.data.pictures import SUFFIXES, shown
from jaxdistill.errors import UserError

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
    raise misplaced(where, folder, files)
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


def splits(
  where: str, root: pathlib.Path, passed: PassedOver
) -> dict[str, dict[str, list[pathlib.Path]]]:
  """Returns the files of each class of the splits that there are: 'train', 'test', 'validation';
  images to validate on are those of the test where there are no others.

  Raises `UserError` for a layout that is none of those of `folders.read_folder`.
  """
  entries = contents(where, root)
  _pass_over(entries, passed)
  roles = _roles(where, entries)
  if 'train' not in roles:
    train = class_files(where, root, passed)
    check_filled(where, root, train)
    return {'train': train}
  divided = {}
  for role, folder in roles.items():
    inside = contents(where, folder)
    if inside.folders:
      divided[role] = class_files(where, folder, passed)
      _pass_over(inside, passed)
  check_filled(where, roles['train'], divided['train'])
  for folder in entries.folders:
    if folder not in [roles[role] for role in divided]:
      passed.add_all(f'in the folder {shown(folder.name)!r}', folder)
  if len(divided) == 1 and len(roles) > 1:
    raise _without_classes(where, roles)
  for role, files in divided.items():
    if role != 'train':
      _check_held(where, divided['train'], files, roles[role])
  if 'test' not in divided and 'validation' in divided:
    divided['test'] = divided.pop('validation')
  return divided


def _pass_over(entries, passed):
  """Notes the files beside folders."""
  for reason, path in entries.others:
    passed.add(listing.BESIDE if reason == listing.OTHER_KIND else reason, path)
  for path in entries.pictures:
    passed.add(listing.BESIDE, path)


def _roles(where, entries):
  """The folders that say by their name what they hold, by role; none unless that for training
  holds folders: classes may be called train and test, and hold pictures."""
  roles = {}
  for folder in entries.folders:
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


def _check_held(where, train, test, folder):
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


def names_alike(where, names):
  """Returns a line for class names that a reader takes for the same, if there are some."""
  alike = {}
  for name in names:
    alike.setdefault(_plain(name), []).append(name)
  pairs = [' and '.join(map(repr, group)) for group in alike.values() if len(group) > 1]
  text = 'classes of their own, although their names differ in case or writing alone'
  return [f'{where}: {text}: {some(pairs)}.'] if pairs else []


def _plain(name):
  return unicodedata.normalize('NFKC', name).casefold()


def as_text(where, name):
  """Returns the name of a folder, whatever the system's coding; raises `UserError` where it is no
  UTF-8."""
  try:
    return os.fsencode(name).decode('utf-8')
  except UnicodeError:
    raise UserError(f'{where}: the name {shown(name)} is not UTF-8; rename the folder.') from None


def _class_folders(where, folder):
  """The folders in a folder by their names, in the order of the class numbers."""
  folders = {as_text(where, path.name): path for path in contents(where, folder).folders}
  return {name: folders[name] for name in sorted(folders, key=_class_order)}


def _class_order(name):
  return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def _names(paths):
  return [shown(path.name) for path in paths]


def misplaced(where, root, files):
  """Returns the error for a folder with fewer than two class folders: where they are, if they lie
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
    path for path in _entries(folder) if not listing.is_hidden(path.name) and os.path.isdir(path)
  ]


def _is_picture(path):
  return path.suffix.lower() in SUFFIXES and os.path.isfile(path)


def _entries(folder):
  """What lies in a folder; nothing where it cannot be read."""
  try:
    return sorted(folder.iterdir())
  except OSError:
    return []

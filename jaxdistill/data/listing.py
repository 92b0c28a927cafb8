"""What lies in a folder, sorted into what is read and what is passed over, and the line that tells
of the latter."""

import os
import pathlib
from typing import NamedTuple

from jaxdistill.data.pictures import SUFFIXES, shown
from jaxdistill.errors import UserError

# What systems leave in folders for themselves: skipped as hidden files are.
_OF_SYSTEMS = {
  'thumbs.db',
  'desktop.ini',
  'icon\r',
  '@eadir',
  'lost+found',
  '$recycle.bin',
  'system volume information',
  '__macosx',
  '__pycache__',
}
# Of each reason so many names are told.
_NAMED = 3
# Of a name that is longer than twice this, so many letters of its begin and of its end.
_KEPT = 40

OTHER_KIND = 'of other kinds'
BESIDE = 'beside the class folders'
NESTED = 'in sub-folders of class folders'
DEAD_LINK = 'links that lead nowhere'
NO_FILE = 'pipes, sockets or devices'


class Contents(NamedTuple):
  """The visible entries of a folder, each list in the order of the names.

  Attributes:
    folders: its sub-folders.
    pictures: its files with one of the suffixes of `pictures.SUFFIXES`.
    others: (reason, entry) of all else.
  """

  folders: list[pathlib.Path]
  pictures: list[pathlib.Path]
  others: list[tuple[str, pathlib.Path]]


NOTHING = Contents([], [], [])


def is_hidden(name: str) -> bool:
  """Whether an entry of this name is skipped without a word: a hidden one, or one of a system's.

  >>> is_hidden('.git'), is_hidden('__MACOSX'), is_hidden('__background__')
  (True, True, False)
  """
  return name.startswith('.') or name.lower() in _OF_SYSTEMS


def contents(where: str, folder: pathlib.Path) -> Contents:
  """Returns what lies in a folder; hidden entries and those of systems are left out.

  Raises `UserError` where the folder cannot be read.
  """
  result = Contents([], [], [])
  try:
    with os.scandir(folder) as scanned:
      for entry in sorted(scanned, key=lambda entry: entry.name):
        if not is_hidden(entry.name):
          _sort_in(result, entry, folder / entry.name)
  except OSError as error:
    raise UserError(
      f'{where}: the folder {shown(folder)} cannot be read ({error.strerror}); '
      'see to its permissions.'
    ) from error
  return result


def _sort_in(result, entry, path):
  if entry.is_symlink() and not os.path.exists(path):
    result.others.append((DEAD_LINK, path))
  elif entry.is_dir():
    result.folders.append(path)
  elif not entry.is_file():
    result.others.append((NO_FILE, path))
  elif path.suffix.lower() in SUFFIXES:
    result.pictures.append(path)
  else:
    result.others.append((OTHER_KIND, path))


def text_lines(where: str, root: pathlib.Path, name: str) -> list[str]:
  """Returns the lines of a text file in `root`, such as lists of images are.

  Raises `UserError` for one that cannot be read.
  """
  try:
    return (root / name).read_text('utf-8-sig').splitlines()
  except (OSError, ValueError) as error:
    reason = getattr(error, 'strerror', None) or 'it is no text'
    raise UserError(f'{where}: {name} cannot be read ({reason}).') from error


class PassedOver:
  """Collects the files that are not read, by reason.

  >>> passed = PassedOver(pathlib.Path('photos'))
  >>> passed.add(OTHER_KIND, pathlib.Path('photos/cat/a.heic'))
  >>> passed.line('folder:photos')
  'folder:photos: 1 file is not read: 1 of other kinds (cat/a.heic).'
  """

  def __init__(self, root: pathlib.Path):
    self._root = root
    self._names: dict[str, list[str]] = {}

  def add(self, reason: str, path: pathlib.Path) -> None:
    """Notes a file."""
    name = path.relative_to(self._root) if path.is_relative_to(self._root) else path
    self._names.setdefault(reason, []).append(shown(name))

  def add_all(self, reason: str, folder: pathlib.Path) -> None:
    """Notes every visible file in a folder and below; a link to a folder counts as one."""
    if folder.is_symlink():
      self.add(reason, folder)
      return
    for place, folders, files in os.walk(folder):
      folders[:] = sorted(name for name in folders if not is_hidden(name))
      for name in sorted(files):
        if not is_hidden(name):
          self.add(reason, pathlib.Path(place, name))

  def __len__(self) -> int:
    return sum(map(len, self._names.values()))

  def line(self, where: str) -> str:
    """Returns one line with the number of files, the reasons and some names."""
    parts = [f'{len(names):,} {reason} ({some(names)})' for reason, names in self._names.items()]
    verb = 'file is' if len(self) == 1 else 'files are'
    return f'{where}: {len(self):,} {verb} not read: {", ".join(parts)}.'


def some(names: list[str]) -> str:
  """Returns the first names, and how many more there are.

  >>> some(['a', 'b', 'c', 'd', 'e'])
  'a, b, c and 2 more'
  """
  more = f' and {len(names) - _NAMED:,} more' if len(names) > _NAMED else ''
  return ', '.join(map(_short, names[:_NAMED])) + more


def _short(name):
  return name if len(name) <= 2 * _KEPT else f'{name[:_KEPT]}...{name[-_KEPT:]}'

"""What tells one set of labelled images from another: numbers, names, and hashes of labels and
pixels; and what the file system says of where they lie."""

import concurrent.futures
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill import terminal
from jaxdistill.data import presets
from jaxdistill.data.dataset import Dataset
from jaxdistill.data.pictures import shown
from jaxdistill.data.streaming import Streamed
from jaxdistill.errors import UserError

# Images that are hashed in one go where they have to be read.
_BLOCK = 1024
# Statistics of the same pixels may differ in the last bits from machine to machine.
_SAME = 1e-5
# PATH/train/CLASS/images/FILE is the deepest layout that is read.
_LEVELS = 3


class Identity:
  """What is kept of a data set, so that a later start can tell whether it has the same one.

  Images in memory are known by their pixels. Images that stay in files are known by the files'
  names, sizes and times, which cost nothing to ask for, and by a hash of the files' bytes: where
  the times alone differ (a copy, a `touch`), the bytes decide.

  Args:
    dataset: the images.
    on_disk: the same images as `Streamed`, for a record that was made of those; None: there are
      none.
    statistics: whether mean and deviation count; those of test images are the training images'.

  >>> pair = Dataset(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]))
  >>> other = Dataset(np.ones((2, 8, 8, 1), np.uint8), np.array([0, 1]), std=(1.0,), mean=(0.0,))
  >>> Identity(pair).differences(Identity(pair).to_json(), 'training')
  []
  >>> Identity(pair).differences(Identity(pair.take([0])).to_json(), 'training')
  ['training images: 1 -> 2']
  """

  def __init__(
    self,
    dataset: Dataset,
    on_disk: Callable[[], Dataset] | None = None,
    statistics: bool = True,
  ):
    images = dataset.images
    self._streamed = images if isinstance(images, Streamed) and images.files else None
    self._on_disk = on_disk
    self._facts = {
      'images': len(dataset),
      'shape': list(dataset.image_shape),
      'class_names': list(dataset.class_names),
      'flip': dataset.flip,
      'labels': hashlib.sha256(np.ascontiguousarray(dataset.labels, np.int64)).hexdigest(),
    }
    if statistics:
      self._facts |= {'mean': list(dataset.mean), 'std': list(dataset.std)}
    if self._streamed is None:
      self._facts['pixels'] = _hash_of_pixels(images)

  def to_json(self) -> dict[str, Any]:
    """Returns the record that a work dir keeps; files that hold streamed images are read for it,
    once."""
    if self._streamed is None:
      return dict(self._facts)
    return {**self._facts, 'listing': self._listing, 'content': self._content}

  def differences(self, before: Mapping[str, Any], part: str) -> list[str]:
    """Returns in words what is not as in an earlier record; [] where the images are the same.

    Args:
      before: what `to_json` gave.
      part: what the images are for, such as 'test'.

    Raises:
      LookupError, TypeError, ValueError: `before` is no such record.
    """
    now, texts = self._facts, []
    if before['images'] != now['images']:
      texts.append(f'{part} images: {before["images"]:,} -> {now["images"]:,}')
    if before['shape'] != now['shape']:
      texts.append(f'size of the {part} images: {_by(before["shape"])} -> {_by(now["shape"])}')
    comparable = not texts
    texts += _renamed(before['class_names'], now['class_names'])
    if comparable and before['labels'] != now['labels']:
      texts.append(f'other labels of the {part} images')
    if comparable and not self._same_pixels(before):
      texts.append(f'other pixels of the {part} images')
    if before['flip'] != now['flip']:
      texts.append(f'flip: {before["flip"]} -> {now["flip"]}')
    # Measured statistics follow the pixels: they are news only where these are the same.
    for field in ('mean', 'std') if not texts else ():
      if field in now and not np.allclose(before[field], now[field], rtol=_SAME, atol=0):
        texts.append(f'{field} of the {part} images: {before[field]} -> {now[field]}')
    return texts

  def _same_pixels(self, before: Mapping[str, Any]) -> bool:
    if self._streamed is not None:
      if before.get('listing') == self._listing:
        self._content = before['content']  # which need not be read again
        return True
      if 'content' in before:
        return before['content'] == self._content
      return before.get('pixels') == _hash_of_pixels(self._streamed)
    if 'pixels' in before or self._on_disk is None:
      return before.get('pixels') == self._facts['pixels']
    return Identity(self._on_disk())._same_pixels(before)

  @functools.cached_property
  def _listing(self) -> str:
    return _hash_of_text([(file.parent.name, *_stat(file)[:3]) for file in self._streamed.files])

  @functools.cached_property
  def _content(self) -> str:
    positions = np.ascontiguousarray(self._streamed.positions, np.int64)
    return _hash_of_text([_hashes(self._streamed.files), hashlib.sha256(positions).hexdigest()])


def _renamed(before: Sequence[str], now: Sequence[str]) -> list[str]:
  """Returns what is not as before with the names of classes."""
  if len(before) != len(now):
    return [f'classes: {len(before)} -> {len(now)}']
  for number, (old, new) in enumerate(zip(before, now)):
    if old != new:
      return [f'name of class {number}: {old!r} -> {new!r}']
  return []


def _by(shape: Sequence[int]) -> str:
  return 'x'.join(map(str, shape))


def _hash_of_pixels(images: np.ndarray | Streamed) -> str:
  if isinstance(images, np.ndarray):
    return hashlib.sha256(np.ascontiguousarray(images)).hexdigest()
  content = hashlib.sha256()
  for start in range(0, len(images), _BLOCK):
    content.update(np.ascontiguousarray(images[start : start + _BLOCK]))
  return content.hexdigest()


def _hashes(files: Sequence[pathlib.Path]) -> list[str]:
  """Returns the SHA-256 of every file's bytes."""

  def hash_of(file):
    try:
      with open(file, 'rb') as opened:
        return hashlib.file_digest(opened, 'sha256').hexdigest()
    except OSError as error:
      raise UserError(f'{shown(file)} cannot be read ({error.strerror or error}).') from error

  with (
    concurrent.futures.ThreadPoolExecutor() as pool,
    terminal.bar(desc='to know the files again', total=len(files), unit=' files') as bar,
  ):
    hashes = []
    for digest in pool.map(hash_of, files):
      hashes.append(digest)
      bar.update()
  return hashes


def _hash_of_text(parts: Any) -> str:
  return hashlib.sha256(repr(parts).encode()).hexdigest()


def stamp(name: str, data_dir: str = '') -> str:
  """Returns a text that changes when the files of a data set do: their names, sizes, times and
  places on the disk.

  Two loads of one stamp read the same. `name` and `data_dir` are as for `data.load`.

  >>> stamp('digits'), stamp('npz:nowhere.npz') == stamp('npz:nowhere.npz')
  ('', True)
  """
  root, levels = _place(name, data_dir)
  return _hash_of_text([str(root.absolute()), *_walk(root, levels)]) if root else ''


def _place(name: str, data_dir: str) -> tuple[pathlib.Path | None, int]:
  """Returns the file or folder in which a data set lies, None of one that ships with a package, and
  how many levels of folders below it are read."""
  _, name = presets.mosaic_of(name.removeprefix('patches:'))
  preset = presets.find(name)
  if preset.ships(name) or not preset.name.rstrip(':').isidentifier():
    return None, 0
  if (preset.reader or preset.maker) and name.startswith(preset.name):
    path = os.path.expanduser(name.removeprefix(preset.name).removeprefix(':'))
    return pathlib.Path(path), _LEVELS if preset.folders else 0
  from jaxdistill.data import tfds_sets

  return pathlib.Path(os.path.expanduser(tfds_sets.place(data_dir)), preset.name), _LEVELS


def _walk(path: pathlib.Path, levels: int) -> list[tuple]:
  """Returns the stat of a file, or of all files in a folder so many levels down; hidden ones, which
  no reader takes, are left out."""
  entries, folders = [_stat(path)], [(path, levels)] if os.path.isdir(path) else []
  while folders:
    folder, left = folders.pop()
    try:
      with os.scandir(folder) as scanned:
        inside = sorted(scanned, key=lambda entry: entry.name)
    except OSError:  # the reader tells what is wrong
      continue
    for entry in inside:
      if entry.name.startswith('.'):
        continue
      entries.append((str(folder), *_stat(entry)))
      if left and entry.is_dir():
        folders.append((pathlib.Path(entry.path), left - 1))
  return entries


def _stat(file: os.DirEntry | pathlib.Path) -> tuple:
  """Returns name, size and times of a file, and its place on the disk."""
  try:
    stat = file.stat()
  except (OSError, ValueError):  # a dead link, a name that can be none
    return (file.name,)
  times = stat.st_mtime_ns, stat.st_ctime_ns
  return file.name, stat.st_size, *times, stat.st_ino, stat.st_dev

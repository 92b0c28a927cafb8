"""Pairs of images for verification, of one class or of two: drawn from any data set, or as a list
of pictures in a folder has them, in the form of LFW's or as a table.

Nothing of a list is executed or unpickled: it is text, and its pictures are read as those of a
folder are.
"""

import csv
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxdistill import errors
from jaxdistill.data.dataset import Dataset
from jaxdistill.data.listing import text_lines
from jaxdistill.data.picture_sets import Files, read_pictures
from jaxdistill.data.pictures import SUFFIXES
from jaxdistill.errors import UserError, shown
from jaxdistill.files import content_hash, expanded

_COLUMNS = ('path1', 'path2', 'same')
_FOLD = 'fold'
_SAME = {'1': True, 'true': True, '0': False, 'false': False}
# Of LFW's protocol.
FOLDS = 10
NUMBER = 6000


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
  """Pairs of images to be verified.

  Attributes:
    images: uint8 [n, h, w, c], each picture once.
    left, right: int64 [m], the two images of each pair.
    same: bool [m], whether both are of one class.
    fold: int64 [m], from 0.
    notices: one line each for what was read in a way that is to be known.
    content: the hash of a list and its pictures as they were read; '' of pairs that are drawn.

  Raises `UserError` where the fields contradict each other.
  """

  images: np.ndarray
  left: np.ndarray
  right: np.ndarray
  same: np.ndarray
  fold: np.ndarray
  notices: tuple[str, ...] = ()
  content: str = ''

  def __post_init__(self):
    sides = np.concatenate([np.ravel(self.left), np.ravel(self.right)])
    shapes = {np.shape(part) for part in (self.left, self.right, self.same, self.fold)}
    if len(shapes) > 1 or not len(sides) or not 0 <= sides.min() <= sides.max() < len(self.images):
      raise UserError(
        f'Pairs have left, right, same and fold of one length, and left and right are rows of the '
        f'{len(self.images)} images; the shapes are {sorted(shapes)}.'
      )

  def __len__(self) -> int:
    return len(self.same)


class _Listed(NamedTuple):
  """A list of pairs: the files of each, whether both show the same, and the fold."""

  left: list[pathlib.Path]
  right: list[pathlib.Path]
  same: list[bool]
  fold: list[int]


def draw(images: Dataset, number: int = NUMBER, folds: int = FOLDS, seed: int = 0) -> Pairs:
  """Draws different pairs of a data set, half of them of one class and half of two, in every fold.

  All pairs of one class are equally likely, and so are all pairs of two; no pair comes twice, and
  none is an image with itself. Classes may be in several folds, unlike the persons of LFW. To
  verify classes that no network has seen, give `Dataset.take_classes` of those.

  Args:
    images: the set.
    number: of all pairs, a multiple of twice the folds.
    folds: of equal size.
    seed: of the draws; one seed gives one result.

  Raises:
    UserError: the number cannot be divided so, or the set has too few pairs of a kind.

  >>> from jaxdistill import data
  >>> _, test = data.load('digits', image_size=8)
  >>> pairs = draw(test, number=40, folds=10)
  >>> len(pairs), int(pairs.same.sum()), bool((pairs.left != pairs.right).all())
  (40, 20, True)
  """
  folds = errors.whole('folds', folds, at_least=1)
  number = errors.whole('number', number, at_least=1)
  generator = np.random.default_rng(errors.seed(seed))
  if number % (2 * folds):
    raise UserError(
      f'{number} pairs cannot be half of one class and half of two in each of {folds} folds; give '
      f'a multiple of {2 * folds}.'
    )
  order = np.argsort(images.labels, kind='stable')
  ends = np.cumsum(images.counts)[images.labels[order]]  # of the own class, for every place
  places = np.arange(len(order))
  # Each pair once, by its first place: with those behind it in its class, or behind its class.
  genuine = _draw(f'{images.name}: of one class', places + 1, ends, number // 2, generator)
  everywhere = np.full_like(ends, len(order))
  impostors = _draw(f'{images.name}: of two classes', ends, everywhere, number // 2, generator)
  left, right = (order[np.concatenate(side)] for side in zip(genuine, impostors))
  fold = np.tile(np.arange(number // 2) % folds, 2)
  used, index = np.unique(np.concatenate([left, right]), return_inverse=True)
  same = np.arange(number) < number // 2
  return Pairs(images.images[used], index[:number], index[number:], same, fold)


def gallery_and_probes(
  labels: np.ndarray, per_class: int = 1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the positions of so many images of each class, drawn for a gallery, and of all others,
  to be looked up in it; both ascending.

  Args:
    labels: int [n].
    per_class: images a class in the gallery.
    seed: of the draws.

  Raises:
    UserError: for a class that leaves no image to be looked up.

  >>> gallery, probes = gallery_and_probes(np.array([0, 1, 0, 1, 1]))
  >>> len(gallery), len(probes)
  (2, 3)
  """
  labels = np.asarray(labels)
  per_class = errors.whole('per_class', per_class, at_least=1)
  generator = np.random.default_rng(errors.seed(seed))
  chosen = np.zeros(len(labels), bool)
  for label in np.unique(labels):
    members = np.flatnonzero(labels == label)
    if len(members) <= per_class:
      raise UserError(
        f'Class {label} has {len(members)} image{"s" if len(members) > 1 else ""}: with '
        f'{per_class} in the gallery none is left to be looked up.'
      )
    chosen[generator.choice(members, per_class, replace=False)] = True
  return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def read(
  file: str | os.PathLike, folder: str | os.PathLike, image_size: int, folds: int = FOLDS
) -> Pairs:
  """Reads a list of pairs and its pictures.

  A name that ends with .csv is a table with the heading path1,path2,same or path1,path2,same,fold:
  paths within the folder, whether both show the same (1, 0, true, false), and the number of the
  fold; without folds the pairs of each kind are dealt to `folds` in turn (our choice). Any other is
  a list as LFW has them: a line with the number of folds (one where it is missing) and of pairs of
  each kind in a fold, then fold by fold lines 'NAME n1 n2' of one person's images n1 and n2, and as
  many 'NAME1 n1 NAME2 n2' of two persons. Image 7 of NAME is FOLDER/NAME/NAME_0007.jpg, or has
  another suffix of `pictures.SUFFIXES`.

  Args:
    file: the list.
    folder: of the pictures.
    image_size: to which the short side is resized before the centre is cut out; 0: all pictures
      have one size, which stays.
    folds: see above.

  Raises:
    UserError: the list cannot be read, a line of it is none, or names a picture that is missing
      (the first one is told) or cannot be read.

  Source: pairs.txt of Labeled Faces in the Wild (Huang et al., 2007).
  """
  file, folder = expanded(file), expanded(folder)
  where = f'pairs {shown(file)}'
  errors.whole('image_size', image_size)
  if not os.path.isdir(folder):
    raise UserError(f'{where}: there is no folder {shown(folder)}; give that of the pictures.')
  lines = text_lines(where, file.parent, file.name)
  if file.suffix.lower() == '.csv':
    listed = _of_table(where, lines, folder, errors.whole('folds', folds, at_least=1))
  else:
    listed = _of_lfw(where, lines, folder)
  if not listed.same:
    raise UserError(f'{where}: there are no pairs in it.')
  paths = dict.fromkeys(itertools.chain(listed.left, listed.right))
  number = {path: place for place, path in enumerate(paths)}
  labels = np.zeros(len(number), int)
  pictures = read_pictures(where, folder, Files(list(number), labels), None, None, (), image_size)
  left, right = (np.array(list(map(number.get, side))) for side in (listed.left, listed.right))
  _, fold = np.unique(listed.fold, return_inverse=True)
  arrays = pictures.train[0], left, right, np.array(listed.same), fold
  return Pairs(*arrays, pictures.notices, content_hash(arrays, {}))


def _draw(what, first, end, number, generator):
  """Different pairs (place, partner), the partners of place i being first[i] to end[i] - 1: their
  numbers are those of a list of all pairs, which is not made."""
  counts = end - first
  ends = counts.cumsum()
  if number > ends[-1]:
    raise UserError(
      f'{what} there are only {ends[-1]:,} different pairs, and {number:,} are asked for; give '
      'fewer, or more images.'
    )
  picked = generator.choice(ends[-1], number, replace=False)
  place = np.searchsorted(ends, picked, 'right')
  return place, first[place] + picked - (ends - counts)[place]


def _of_lfw(where: str, lines: Sequence[str], folder: pathlib.Path) -> _Listed:
  numbers = lines[0].split() if lines else []
  if len(numbers) not in (1, 2) or not all(map(_is_count, numbers)):
    raise UserError(
      f'{where}: line 1 must be the number of folds and of pairs of each kind in a fold, such as '
      f'"10 300"; it is {errors.brief(lines[0] if lines else "", 60)!r}.'
    )
  folds, each_kind = map(int, (['1'] + numbers)[-2:])
  rows = [(place, line.split()) for place, line in enumerate(lines[1:], 2) if line.strip()]
  if len(rows) != 2 * folds * each_kind:
    raise UserError(
      f'{where}: {folds} folds of 2 x {each_kind} pairs are {2 * folds * each_kind:,} lines after '
      f'the first; there are {len(rows):,}.'
    )
  listed = _Listed([], [], [], [])
  for row, (place, words) in enumerate(rows):
    same = row % (2 * each_kind) < each_kind
    form = 'NAME n1 n2' if same else 'NAME1 n1 NAME2 n2'
    images = [words[:2], [words[0], words[-1]] if same else words[2:]]
    if len(words) != len(form.split()) or not all(_is_count(image[1]) for image in images):
      raise UserError(f'{where}: line {place} must be {form!r}; it is {_quoted(" ".join(words))}.')
    for side, (name, number) in zip(listed, images):
      side.append(_numbered(where, place, folder, name, int(number)))
    listed.same.append(same)
    listed.fold.append(row // (2 * each_kind))
  return listed


def _numbered(where, place, folder, name, number):
  stem = f'{name}/{name}_{number:04d}'
  for suffix in ('.jpg', *SUFFIXES):
    if os.path.isfile(folder / (stem + suffix)):
      return _within(where, place, folder, stem + suffix)
  return _within(where, place, folder, f'{stem}.jpg')


def _of_table(where: str, lines: Sequence[str], folder: pathlib.Path, folds: int) -> _Listed:
  reader = csv.reader(lines)
  heading = tuple(word.strip().lower() for word in next(reader, ()))
  if heading not in (_COLUMNS, (*_COLUMNS, _FOLD)):
    raise UserError(
      f'{where}: line 1 must be the heading {",".join(_COLUMNS)} or {",".join(_COLUMNS)},{_FOLD}; '
      f'it is {_quoted(",".join(heading))}.'
    )
  listed, dealt = _Listed([], [], [], []), {True: 0, False: 0}
  for row in reader:
    if not row:
      continue
    row = dict(zip(heading, map(str.strip, row))) if len(row) == len(heading) else {}
    same = _SAME.get(row.get('same', '').lower())
    if same is None or not _is_count(row.get(_FOLD, '0')):
      raise UserError(
        f'{where}: line {reader.line_num} must be {",".join(heading)}, same being 1 or 0 and fold '
        f'a whole number; it is {_quoted(lines[reader.line_num - 1])}.'
      )
    listed.left.append(_within(where, reader.line_num, folder, row['path1']))
    listed.right.append(_within(where, reader.line_num, folder, row['path2']))
    listed.same.append(same)
    listed.fold.append(int(row.get(_FOLD, dealt[same] % folds)))
    dealt[same] += 1
  return listed


def _within(where: str, place: int, folder: pathlib.Path, name: str) -> pathlib.Path:
  """The path of a picture that a line names."""
  relative = pathlib.PurePath(name)
  if relative.is_absolute() or '..' in relative.parts:
    raise UserError(
      f'{where}: line {place} names {_quoted(name)}, which does not lie in {shown(folder)}; give '
      'paths within the folder.'
    )
  path = folder / relative
  if not os.path.isfile(path):
    raise UserError(
      f'{where}: line {place} names {shown(relative)}, and there is no such file in '
      f'{shown(folder)}.'
    )
  return path


def _is_count(word):
  return word.isdecimal() and len(word) < 10


def _quoted(text):
  return repr(errors.brief(text, 80))

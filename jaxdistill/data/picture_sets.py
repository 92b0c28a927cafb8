"""Labelled picture files as a data set: looked at once, then loaded, or left on disk."""

import hashlib
import itertools
import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxdistill import terminal
from jaxdistill.data import pictures
from jaxdistill.data.listing import some
from jaxdistill.data.pictures import shown
from jaxdistill.data.stored import Stored, memory_bytes
from jaxdistill.data.streaming import Streamed, too_large
from jaxdistill.errors import UserError

# Files above which the headers of JPEGs are left unread once the set is known to be in colour: they
# have little to tell, and a large set should start quickly (our choice).
_MANY = 20_000
# Part of a streamed set's name, so that what was made from it under another rule is not taken for
# it.
_RULE = 'short side resized, centre cut out, on white'


class Files(NamedTuple):
  """The files of a split and their labels, integers [n]."""

  paths: Sequence[pathlib.Path]
  labels: np.ndarray

  @classmethod
  def of_classes(cls, classes: dict[str, list[pathlib.Path]], names: Sequence[str]) -> 'Files':
    """Returns the files of each class, class by class; the label is the class's place in `names`.

    >>> Files.of_classes({'dog': ['2.png', '3.png']}, ['cat', 'dog']).labels.tolist()
    [1, 1]
    """
    number = {name: label for label, name in enumerate(names)}
    labels = np.array([number[name] for name in classes], int)
    counts = np.array(list(map(len, classes.values())), int)
    return cls(list(itertools.chain.from_iterable(classes.values())), np.repeat(labels, counts))


def read_pictures(
  where: str,
  root: pathlib.Path,
  train: Files,
  test: Files | None,
  validation: Files | None,
  class_names: Sequence[str],
  image_size: int,
  stream_above: int | None = None,
  channels: int = 0,
) -> Stored:
  """Returns the images of two splits.

  Args:
    where: names the set in what is told.
    root: folder in which all files lie, for shorter names.
    train, test, validation: the files; None: there is no such split.
    class_names: of the labels.
    image_size: the side, see `stored.fit`; 0 keeps the size, which must be one for all.
    stream_above: bytes of training images above which they stay on disk; None: never.
    channels: 1, 3 or 4; 0: 1 where every file is grey, else 3.

  Raises:
    UserError: for a picture that cannot be read, of streamed ones when it is met; for pictures
      that differ in size where `image_size` is 0.
  """
  held = {'test': test, 'validation': validation}
  held = {split: files for split, files in held.items() if files is not None}
  paths = list(itertools.chain(train.paths, *(files.paths for files in held.values())))
  facts = _look_at(where, paths, every=not image_size)
  if not channels:
    channels = 1 if all(fact.grey for fact in facts.values()) else 3
  size = (image_size, image_size) if image_size else _one_size(where, facts)
  images = _on_disk(where, train.paths, (*size, channels))
  stays = stream_above is not None and images.nbytes > stream_above
  others = (_on_disk(where, files.paths, images.image_shape).nbytes for files in held.values())
  if sum(others) + (0 if stays else images.nbytes) > memory_bytes():
    raise too_large(where)
  with warnings.catch_warnings():
    pictures.silence()
    splits = {
      split: (_on_disk(where, files.paths, images.image_shape)[:], files.labels)
      for split, files in held.items()
    }
    try:
      train_images = images if stays else images[:]
    except MemoryError as error:
      raise too_large(where) from error
  if stays:
    # The threads that read later share the one list of Python's filters.
    pictures.silence()
  transparent = channels < 4 and any(fact.transparent for fact in facts.values())
  return Stored(
    (train_images, train.labels),
    splits.get('test'),
    tuple(class_names),
    validation=splits.get('validation'),
    notices=_notices(where, root, facts, channels),
    background='white' if transparent else '',
    ids=train.paths,
  )


def _look_at(where, paths, every):
  """The facts of the files by path: of `every` one, or of those that may tell more than others."""
  facts = {}
  colour = False
  skips = len(paths) > _MANY and not every
  for path in terminal.bar(paths, 'headers', unit=' images', delay=1):
    if not (skips and colour and path.suffix.lower() in pictures.PLAIN_SUFFIXES):
      facts[path] = pictures.examine(where, path)
      colour = colour or not facts[path].grey
  return facts


def _one_size(where, facts):
  first, size = next((path, fact.size) for path, fact in facts.items())
  for path, fact in facts.items():
    if fact.size != size:
      raise UserError(
        f'{where}: {shown(first)} is of {size[0]}x{size[1]} pixels and {shown(path)} of '
        f'{fact.size[0]}x{fact.size[1]}; give image_size.'
      )
  return size


def _notices(where, root, facts, channels):
  """A line for each way of reading that a viewer might not expect."""
  kinds = {
    'transparent': 'transparent pictures, laid on white',
    'several': 'files of several pictures, of which the first is taken',
    'damaged': 'pictures with damaged metadata, taken as they lie',
  }
  if channels == 4:
    del kinds['transparent']
  lines = []
  for kind, text in kinds.items():
    names = [shown(path.relative_to(root)) for path, fact in facts.items() if getattr(fact, kind)]
    if names:
      lines.append(f'{where}: {text}: {len(names):,} ({some(names)}).')
  return tuple(lines)


def _on_disk(where, paths, shape):
  signatures = [_signature(where, path) for path in paths]

  def fetch(positions):
    return np.stack([read(position) for position in positions])

  def read(position):
    path = paths[position]
    if _signature(where, path) != signatures[position]:
      raise UserError(
        f'{where}: the image {shown(path)} has changed since the set was loaded; start again.'
      )
    return pictures.read(where, path, shape)

  stats = [(path.name, *signature) for path, signature in zip(paths, signatures)]
  origin = hashlib.sha256(repr((where, stats, _RULE)).encode()).hexdigest()
  return Streamed(fetch, shape, np.arange(len(paths)), origin, tuple(paths))


def _signature(where, path):
  """What changes when a file does: its size in bytes and the time of its last change in ns."""
  try:
    status = os.stat(path)
  except OSError as error:
    raise pictures.unreadable(where, path, error) from error
  return status.st_size, status.st_mtime_ns

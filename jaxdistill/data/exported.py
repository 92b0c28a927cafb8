"""The description that an exported condensed set carries (manifest.json), and the PNG folder that
is read by it."""

import hashlib
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdistill import files
from jaxdistill.data import subsets
from jaxdistill.data.listing import PassedOver, contents, some
from jaxdistill.data.picture_sets import Files, read_pictures
from jaxdistill.data.pictures import shown, unreadable
from jaxdistill.data.stored import Stored
from jaxdistill.errors import UserError, unknown

MANIFEST = 'manifest.json'
# What a manifest of an exported set holds; another program's file of this name does not.
_MARKS = ('class_names', 'mean', 'std', 'factor', 'flip')


class Manifest(NamedTuple):
  """What is read of an exported set's manifest.

  Attributes:
    class_names, mean, std, factor, flip: as `Condensed` has them; `factor` is what is left to
      decode.
    images: of a PNG folder, for each file dict(file, label, sha256), in the order of the set.
  """

  class_names: tuple[str, ...]
  mean: tuple[float, ...]
  std: tuple[float, ...]
  factor: int
  flip: bool
  images: tuple[dict[str, Any], ...]


def labelling(class_names: Sequence[str], images: Sequence[Mapping[str, Any]]) -> str:
  """Returns the checksum of what says which picture belongs to which class.

  >>> labelling(['ant'], []) == labelling(['bee'], [])
  False
  """
  return files.checksum([list(class_names), list(images)])


def lies_at(path: str) -> bool:
  """Whether a folder holds a file of the manifest's name.

  >>> lies_at('nowhere')
  False
  """
  return os.path.isfile(os.path.join(os.path.expanduser(path), MANIFEST))


def read_manifest(where: str, folder: pathlib.Path) -> Manifest | None:
  """Returns the manifest of an exported set in a folder; None where there is none, or a file of
  that name that another program wrote.

  Raises `UserError` for one that is damaged.
  """
  file = folder / MANIFEST
  if not os.path.isfile(file):
    return None
  again = f'export the set again, or take {MANIFEST} away to read the rest as it is'
  try:
    content = json.loads(file.read_bytes())
    if not isinstance(content, dict) or not any(mark in content for mark in _MARKS):
      return None
    return _checked(content)
  except OSError as error:
    raise UserError(f'{where}: {MANIFEST} cannot be read ({error.strerror}).') from error
  except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
    reason = f'{type(error).__name__}: {shown(error)}'
    raise UserError(f'{where}: {MANIFEST} is damaged ({reason}); {again}.') from error


def read_exported(
  where: str,
  root: pathlib.Path,
  manifest: Manifest,
  image_size: int,
  classes: str = '',
  stream_above: int | None = None,
) -> Stored:
  """Returns a PNG folder of `Condensed.to_png` as a set without a test split: the files, labels
  and class names of the manifest in its order, its statistics and its `flip`; of a soft label the
  likeliest class. `image_size` 0 keeps the size.

  Raises `UserError` where files are changed, missing or new, and for a class asked for that is not
  there.
  """
  if not manifest.images:
    raise UserError(f'{where}: {MANIFEST} tells of no pictures; give a folder of PNG files.')
  _check_files(where, root, manifest)
  labels = np.array([_hard(entry['label']) for entry in manifest.images])
  paths = [root / entry['file'] for entry in manifest.images]
  chosen = subsets.names(classes) or manifest.class_names
  if classes:
    paths, labels = _of_classes(manifest, paths, labels, chosen)
  passed = PassedOver(root)
  for folder in (root, *contents(where, root).folders):
    for reason, path in contents(where, folder).others:
      if path != root / MANIFEST:
        passed.add(reason, path)
  lines = [passed.line(where)] if len(passed) else []
  if any(isinstance(entry['label'], list) for entry in manifest.images):
    lines.append(f'{where}: the labels are soft; of each the likeliest class is taken.')
  if manifest.factor > 1:
    lines.append(
      f'{where}: these are canvases of factor {manifest.factor}, taken as they are, not decoded; '
      'export the set with decoded=True for its training images.'
    )
  stored = read_pictures(
    where,
    root,
    Files(paths, labels),
    None,
    None,
    chosen,
    image_size,
    stream_above,
    channels=len(manifest.mean),
  )
  return stored._replace(
    flip=manifest.flip,
    statistics=(manifest.mean, manifest.std),
    notices=(*lines, *stored.notices),
  )


def _checked(content):
  """The manifest of a JSON object; raises what a wrong value raises."""
  names, mean, std, factor, flip = (content[mark] for mark in _MARKS)
  mean, std = tuple(map(float, mean)), tuple(map(float, std))
  images = content.get('images', [])
  if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
    raise ValueError('class_names are no names')
  if len(mean) not in (1, 3, 4) or len(mean) != len(std):
    raise ValueError('mean and std are not one number a channel')
  if not all(map(math.isfinite, mean + std)) or min(std) <= 0:
    raise ValueError('mean and std are not finite, or a std is not above 0')
  if type(factor) is not int or factor < 1 or type(flip) is not bool:
    raise ValueError('factor or flip is wrong')
  for entry in images:
    place = pathlib.PurePosixPath(entry['file'])
    if place.is_absolute() or '..' in place.parts or type(entry['sha256']) is not str:
      raise ValueError(f'an entry of images is wrong: {entry["file"]}')
    label = entry['label']
    soft = isinstance(label, list) and len(label) == len(names)
    if not (soft or (type(label) is int and 0 <= label < len(names))):
      raise ValueError(f'the label of {entry["file"]} is wrong')
    if soft and not all(type(share) in (int, float) for share in label):
      raise ValueError(f'the label of {entry["file"]} is wrong')
  # Earlier versions wrote no checksum.
  if images and 'sha256' in content and content['sha256'] != labelling(names, images):
    raise ValueError('its class_names and images do not match its sha256')
  return Manifest(tuple(names), mean, std, factor, flip, tuple(images))


def _check_files(where, root, manifest):
  """Raises `UserError` unless the pictures are those of the manifest, byte for byte."""
  listed = {root / entry['file']: entry['sha256'] for entry in manifest.images}
  changes = {'missing': [], 'changed': [], 'new': []}
  for path, digest in listed.items():
    if not os.path.isfile(path):
      changes['missing'].append(path)
      continue
    try:
      if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        changes['changed'].append(path)
    except OSError as error:
      raise unreadable(where, path, error) from error
  for folder in (root, *contents(where, root).folders):
    changes['new'] += [path for path in contents(where, folder).pictures if path not in listed]
  parts = []
  for change, paths in changes.items():
    if paths:
      names = some([shown(path.relative_to(root)) for path in paths])
      parts.append(f'{len(paths):,} {change} ({names})')
  if parts:
    raise UserError(
      f'{where}: the pictures are not those that {MANIFEST} tells of: {", ".join(parts)}; '
      f'export the set again, or take {MANIFEST} away to read the folder as any other.'
    )


def _hard(label):
  return int(np.argmax(label)) if isinstance(label, list) else label


def _of_classes(manifest, paths, labels, chosen):
  """The files of some classes, in the order of `chosen`."""
  files = []
  for name in chosen:
    if name not in manifest.class_names:
      raise unknown('class', name, manifest.class_names)
    if chosen.count(name) > 1 or manifest.class_names.count(name) > 1:
      raise UserError(f'The class {name!r} is asked for or there twice; leave classes empty.')
    label = manifest.class_names.index(name)
    files.append([path for path, number in zip(paths, labels) if number == label])
  counts = list(map(len, files))
  return sum(files, []), np.repeat(np.arange(len(files)), counts)

"""Tiny-ImageNet as it lies on disk after its download."""

import os
import pathlib

from jaxdistill.data import folders, layout, listing
from jaxdistill.data.listing import PassedOver, contents
from jaxdistill.data.picture_sets import Files, read_pictures
from jaxdistill.data.pictures import shown
from jaxdistill.data.stored import Stored
from jaxdistill.errors import UserError

_ANNOTATIONS = 'val/val_annotations.txt'
# Lists of the archive that the reader does without: names of all classes, places of the objects.
_LISTS = ('wnids.txt', 'words.txt')


def read_tiny(
  path: str, image_size: int, classes: str = '', stream_above: int | None = None
) -> Stored:
  """Reads Tiny-ImageNet: PATH/train/<WordNet id>/images/*.JPEG, and the validation images, whose
  labels stand in a text file.

  That file is PATH/val/val_annotations.txt, one line an image: its name, a tab, its WordNet id, a
  tab, more. The images lie in PATH/val/images. PATH/test has no labels and is not read. Where the
  validation images have been sorted into folders, use folder:PATH. The rest is as in
  `folders.read_folder`.

  Raises `UserError` in one sentence for a folder that is not laid out so.
  """
  where = f'tiny_imagenet:{shown(path)}'
  root = folders.existing(where, path)
  if not os.path.isdir(root / 'train') or not os.path.isfile(root / _ANNOTATIONS):
    raise _other_layout(where, root)
  passed = PassedOver(root)
  train = layout.class_files(where, root / 'train', passed, inside='images')
  layout.check_filled(where, root / 'train', train, inside='images')
  annotated = _annotated(where, root)
  strange = sorted(set(annotated.values()) - train.keys())
  if strange:
    raise UserError(
      f'{where}: {_ANNOTATIONS} names the class {strange[0]!r}, which has no folder in train.'
    )
  _pass_over(where, root, annotated, passed)
  train = folders.choose(train, classes)
  test = {name: [] for name in train}
  for name, of_class in annotated.items():
    if of_class in test:
      test[of_class].append(root / 'val' / 'images' / name)
  if not any(test.values()):
    raise UserError(f'{where}: {_ANNOTATIONS} names no image of the classes {", ".join(train)}.')
  stored = read_pictures(
    where,
    root,
    Files.of_classes(train, tuple(train)),
    Files.of_classes(test, tuple(train)),
    None,
    tuple(train),
    image_size,
    stream_above,
  )
  lines = [passed.line(where)] if len(passed) else []
  return stored._replace(notices=(*lines, *stored.notices))


def _annotated(where: str, root: pathlib.Path) -> dict[str, str]:
  """The WordNet id of each validation image, by the name of its file."""
  annotated = {}
  for number, line in enumerate(listing.text_lines(where, root, _ANNOTATIONS), 1):
    name, of_class = (*line.split('\t'), '')[:2]
    if not line.strip():
      continue
    if not name or not of_class.strip() or '/' in name:
      raise UserError(
        f'{where}: line {number} of {_ANNOTATIONS} is {line[:80]!r}; it should be the name of an '
        'image, a tab and its WordNet id.'
      )
    if name in annotated:
      raise UserError(f'{where}: line {number} of {_ANNOTATIONS} names {name!r} a second time.')
    annotated[name] = of_class.strip()
  return annotated


def _pass_over(where, root, annotated, passed):
  """Adds what is beside the images that are read, but for the lists of the archive."""
  top = contents(where, root)
  for folder in top.folders:
    if folder.name not in ('train', 'val'):
      passed.add_all(f'in the folder {folder.name!r}, which has no labels', folder)
  for path in (*top.pictures, *(path for _, path in top.others)):
    if path.name not in _LISTS:
      passed.add(listing.BESIDE, path)
  images = root / 'val' / 'images'
  entries = contents(where, images) if os.path.isdir(images) else listing.NOTHING
  for path in entries.pictures:
    if path.name not in annotated:
      passed.add(f'without a line in {_ANNOTATIONS}', path)
  for reason, path in entries.others:
    passed.add(reason, path)


def _other_layout(where, root):
  wrapped = [
    folder
    for folder in contents(where, root).folders
    if os.path.isdir(folder / 'train') and os.path.isfile(folder / _ANNOTATIONS)
  ]
  if wrapped:
    return UserError(f'{where}: it lies deeper: give tiny_imagenet:{shown(wrapped[0])}.')
  return UserError(
    f'{where}: needs train/<WordNet id>/images and {_ANNOTATIONS}, as the archive '
    'tiny-imagenet-200.zip unpacks; read any other layout with folder:PATH.'
  )

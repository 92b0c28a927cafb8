"""Folders of pictures, one a class, as a data set."""

import os
import pathlib
from collections.abc import Iterable

from jaxdistill.data import exported, layout, subsets
from jaxdistill.data.listing import PassedOver, some
from jaxdistill.data.picture_sets import Files, read_pictures
from jaxdistill.data.pictures import shown
from jaxdistill.data.stored import Stored
from jaxdistill.errors import UserError, unknown
from jaxdistill.files import expanded


def read_folder(
  path: str, image_size: int, classes: str = '', stream_above: int | None = None
) -> Stored:
  """Reads PATH/<class>/*.png, or PATH/train/<class> and PATH/test/<class>; train alone is a set
  without a test split. PATH/validation/<class>, also called valid or val, holds images to choose
  by, or those of the test where there are no others. Upper and lower case are the same.

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


def read_imagenet224(
  path: str, image_size: int, classes: str = '', stream_above: int | None = None
) -> Stored:
  """Reads ImageNet's folders for the settings at 224 pixels: all as in `read_folder`."""
  return read(f'imagenet224:{shown(path)}', path, image_size, classes, stream_above)


def read(
  where: str, path: str, image_size: int, classes: str = '', stream_above: int | None = None
) -> Stored:
  """Returns what `read_folder` does, with sentences that call the set `where`."""
  root = existing(where, path)
  description = exported.read_manifest(where, root)
  if description is not None:
    return exported.read_exported(where, root, description, image_size, classes, stream_above)
  passed = PassedOver(root)
  splits = layout.splits(where, root, passed)
  if len(splits['train']) < 2:
    raise layout.misplaced(where, root, splits['train'])
  notices = layout.names_alike(where, splits['train'])
  train = choose(splits.pop('train'), classes)
  names = tuple(train)
  if len(names) < 2:
    raise UserError(f'{where}: classes={classes!r} is a single class; at least 2 are needed.')
  held = {}
  for split, files in splits.items():
    chosen = choose(files, classes, names)
    absent = [name for name in names if not chosen.get(name)]
    if len(absent) == len(names):
      raise UserError(f'{where}: of the classes {_listed(names)} there are no {split} images.')
    if absent:
      notices.append(f'{where}: classes without {split} images: {len(absent)} ({_listed(absent)}).')
    held[split] = Files.of_classes(chosen, names)
  stored = read_pictures(
    where,
    root,
    Files.of_classes(train, names),
    held.get('test'),
    held.get('validation'),
    names,
    image_size,
    stream_above,
  )
  lines = [passed.line(where)] if len(passed) else []
  return stored._replace(notices=(*lines, *notices, *stored.notices))


def _listed(names):
  return some([shown(name) for name in names])


def existing(where: str, path: str) -> pathlib.Path:
  """Returns the folder at a path; raises `UserError` where there is none, or its name is no
  UTF-8."""
  root = expanded(path)
  layout.as_text(where, str(path))
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
  if classes and not subsets.names(classes):
    raise UserError(f'classes={classes!r} names no class; leave it empty for all of them.')
  for name in names:
    if name not in files and name not in known:
      if name in subsets.SUBSETS:
        raise UserError(
          f'classes={classes!r}: the subset {name!r} stands alone; beside others, name its folders.'
        )
      raise unknown('class folder', name, [*subsets.SUBSETS, *files])
    if names.count(name) > 1:
      raise UserError(f'The class {name!r} is asked for twice in classes={classes!r}.')
  return {name: files[name] for name in names if name in files}

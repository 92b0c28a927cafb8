"""Tiny-ImageNet as it lies on disk after its download."""

import pathlib

from jaxdistill.data import files
from jaxdistill.data.stored import Stored
from jaxdistill.errors import UserError


def read_tiny(
  path: str, image_size: int, classes: str = '', stream_above: int | None = None
) -> Stored:
  """Reads Tiny-ImageNet: PATH/train/<WordNet id>/images/*.JPEG, and the validation images, whose
  labels stand in a text file.

  That file is PATH/val/val_annotations.txt, one line an image: its name, a tab, its WordNet id, a
  tab, more. The images lie in PATH/val/images. PATH/test has no labels and is not read. Where the
  validation images have been sorted into folders, use folder:PATH. The rest is as in
  `files.read_folder`.

  Raises `UserError` in one sentence for a folder that is not laid out so.
  """
  root = pathlib.Path(path).expanduser()
  where = f'tiny_imagenet:{path}'
  annotations = root / 'val' / 'val_annotations.txt'
  if not (root / 'train').is_dir() or not annotations.is_file():
    raise UserError(
      f'{where}: needs train/<WordNet id>/images and val/val_annotations.txt, as the archive '
      'tiny-imagenet-200.zip unpacks; read any other layout with folder:PATH.'
    )
  train = files.class_files(where, root / 'train', inside='images')
  test: dict[str, list[pathlib.Path]] = {}
  for line in annotations.read_text().splitlines():
    name, _, rest = line.partition('\t')
    test.setdefault(rest.partition('\t')[0], []).append(root / 'val' / 'images' / name)
  strange = sorted(test.keys() - train.keys())
  if strange:
    raise UserError(
      f'{where}: val/val_annotations.txt names the class {strange[0]!r}, which has no folder '
      'in train.'
    )
  train = files.choose(train, classes)
  return files.read_pictures(
    where,
    train,
    {name: test[name] for name in train if name in test},
    image_size,
    stream_above,
  )

"""Your own data: arrays in an npz file, or a folder of images for each class."""

import hashlib
import itertools
import pathlib
import zipfile
import zlib
from collections.abc import Iterable

import numpy as np

from jaxdistill.data import subsets
from jaxdistill.data.stored import Stored, fit, resize
from jaxdistill.data.streaming import Streamed
from jaxdistill.errors import UserError, unknown

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.gif', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
# Modes of Pillow without colour.
_GREY = ('1', 'L', 'LA')
_TEST_FOLDERS = ('test', 'validation', 'val')


def read_npz(path: str, image_size: int = 0) -> Stored:
  """Reads train_images, train_labels and, if there, test_images, test_labels; or images, labels
  without a test split.

  Images are [n, h, w] or [n, h, w, c], integers from 0 to 255, or floats in [0, 1] that are
  multiplied by 255 and rounded. Labels are integers from 0, [n] or [n, 1]. Two optional entries:
  class_names, and flip (false when a mirrored image is no longer of its class).

  Raises `UserError` in one sentence for a file that is missing or no npz, and for entries that do
  not fit the above.

  >>> import tempfile
  >>> file = tempfile.mkdtemp() + '/mine.npz'
  >>> np.savez(file, images=np.zeros((4, 8, 8, 3)), labels=[0, 0, 1, 1], class_names=['cat', 'dog'])
  >>> read_npz(file).class_names
  ('cat', 'dog')
  """
  file = pathlib.Path(path).expanduser()
  where = f'npz:{path}'
  if not file.is_file():
    raise UserError(
      f'{where}: there is no such file; give npz:PATH with the path of a file that '
      'numpy.savez wrote.'
    )
  entries = _read_entries(where, file)
  prefix = 'train_' if 'train_images' in entries or 'train_labels' in entries else ''
  splits = [_split(where, entries, prefix, image_size)]
  if prefix and ('test_images' in entries or 'test_labels' in entries):
    splits.append(_split(where, entries, 'test_', image_size))
  names = tuple(map(str, entries['class_names'].ravel())) if 'class_names' in entries else ()
  flip = bool(np.all(entries.get('flip', True)))
  return Stored(splits[0], splits[1] if len(splits) > 1 else None, names, flip)


def _read_entries(where, file):
  try:
    with np.load(file, allow_pickle=False) as archive:
      return {key: archive[key] for key in archive.files}
  except (
    OSError,
    EOFError,
    ValueError,
    AttributeError,
    TypeError,
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    raise UserError(
      f'{where}: cannot be read as an npz file of plain arrays ({type(error).__name__}: {error}); '
      'write it with numpy.savez.'
    ) from error


def _split(where, entries, prefix, image_size):
  images_key, labels_key = f'{prefix}images', f'{prefix}labels'
  missing = [key for key in (images_key, labels_key) if key not in entries]
  if missing:
    raise UserError(
      f'{where}: {" and ".join(missing)} missing, the file holds '
      f'{", ".join(entries) or "nothing"}; '
      'it needs train_images and train_labels (with test_images and test_labels), or images '
      'and labels.'
    )
  images, labels = entries[images_key], entries[labels_key]
  labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
  if labels.ndim != 1 or labels.dtype.kind not in 'iu':
    raise UserError(
      f'{where}: {labels_key} must be whole numbers of an integer type, one an image, shape [n]; '
      f'they are {labels.dtype} of shape {list(labels.shape)}.'
    )
  if images.ndim and len(images) != len(labels):
    raise UserError(
      f'{where}: {images_key} holds {len(images)} images but {labels_key} {len(labels)} labels; '
      'there must be one label an image.'
    )
  if labels.size and labels.min() < 0:
    raise UserError(f'{where}: {labels_key} must be 0 or more; the smallest is {labels.min()}.')
  return resize(_to_uint8(f'{where}: {images_key}', images), image_size), labels


def _to_uint8(where: str, images: np.ndarray) -> np.ndarray:
  """Checks shape and range and returns uint8 [n, h, w, c]."""
  if images.ndim not in (3, 4) or not images.size:
    raise UserError(
      f'{where} must have the shape [n, height, width] or [n, height, width, channels] and '
      'not be empty; '
      f'the shape is {list(images.shape)}.'
    )
  if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] > 4:
    raise UserError(
      f'{where} seem to have their channels first, shape {list(images.shape)}; channels must '
      'come last.'
    )
  images = images[..., None] if images.ndim == 3 else images
  if images.dtype == np.uint8:
    return images
  if images.dtype.kind not in 'iuf':
    raise UserError(f'{where} must be uint8 or floats in [0, 1]; they are {images.dtype}.')
  real = images.dtype.kind == 'f'
  if real and not np.isfinite(images).all():
    first = int(np.argwhere(~np.isfinite(images))[0, 0])
    raise UserError(
      f'{where} hold NaN or infinite pixels, the first in image {first}; pixels must be finite.'
    )
  low, high = images.min(), images.max()
  if low < 0 or high > (1 if real else 255):
    expected = 'floats must lie in [0, 1]' if real else 'integers must lie in [0, 255]'
    raise UserError(f'{where} range from {low:g} to {high:g}; {expected}.')
  return np.rint(images * 255).astype(np.uint8) if real else images.astype(np.uint8)


def read_folder(
  path: str, image_size: int, classes: str = '', stream_above: int | None = None
) -> Stored:
  """Reads PATH/<class>/*.png, or PATH/train/<class> and PATH/test/<class> (else validation or val
  for test).

  Files of the kinds in `SUFFIXES` directly in a class folder are read, turned upright, and brought
  to [size, size]: short side resized, centre cut out. Classes are numbered in the order of their
  names, numbers by value. The images have one channel if every file is grey, else three.
  Hidden folders are skipped. `classes` takes some of the folders only, in its own order (see
  `subsets.names`). Training images that would take more than `stream_above` bytes stay on disk;
  None reads them all.

  Raises `UserError` in one sentence for a missing folder, fewer than two classes, a class without
  images, a test class that is not in the training set, a class asked for that is not there, and an
  image that cannot be read (with its name; for images that stay on disk when it is met).

  >>> import tempfile, PIL.Image
  >>> root = pathlib.Path(tempfile.mkdtemp())
  >>> for name in ('cat', 'dog'):
  ...   (root / name).mkdir()
  ...   PIL.Image.new('RGB', (48, 40)).save(root / name / 'first.png')
  >>> read_folder(str(root), 32).train[0].shape
  (2, 32, 32, 3)
  """
  root = pathlib.Path(path).expanduser()
  where = f'folder:{path}'
  if not root.is_dir():
    raise UserError(
      f'{where}: there is no such folder; give folder:PATH with one sub-folder of images a class.'
    )
  test_root = next((root / name for name in _TEST_FOLDERS if (root / name).is_dir()), None)
  # Classes may be called train and test: then they hold images and no folders.
  divided = test_root is not None and (root / 'train').is_dir() and bool(_folders(root / 'train'))
  train = class_files(where, root / 'train' if divided else root)
  if len(train) < 2:
    raise UserError(
      f'{where}: found {len(train)} class folders, at least 2 are needed: PATH/<class>/*.png, or '
      'PATH/train/<class>/*.png and PATH/test/<class>/*.png.'
    )
  test = class_files(where, test_root) if divided else {}
  strange = [name for name in test if name not in train]
  if strange:
    raise UserError(
      f'{where}: the class folder {strange[0]!r} is in {test_root.name} but not in train.'
    )
  if divided and not test:
    raise UserError(
      f'{where}: {test_root.name} holds no class folder; add one for each class, or remove it.'
    )
  return read_pictures(
    where,
    choose(train, classes),
    choose(test, classes, train),
    image_size,
    stream_above,
  )


def choose(files: dict[str, list], classes: str, known: Iterable[str] = ()) -> dict[str, list]:
  """Returns the entries of the classes asked for (see `subsets.names`), in that order; all for ''.

  Raises `UserError` for a class that is neither in `files` nor among `known`.

  >>> choose({'cat': ['1.png'], 'dog': ['2.png'], 'emu': ['3.png']}, 'emu,cat')
  {'emu': ['3.png'], 'cat': ['1.png']}
  """
  names = subsets.names(classes) or tuple(files)
  for name in names:
    if name not in files and name not in known:
      raise unknown('class folder', name, [*subsets.SUBSETS, *files])
  return {name: files[name] for name in names if name in files}


def _folders(root):
  return [
    folder
    for folder in root.iterdir()
    if folder.is_dir() and not folder.name.startswith(('.', '__'))
  ]


def _pictures(folder):
  return (
    sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    if folder.is_dir()
    else []
  )


def class_files(where: str, root: pathlib.Path, inside: str = '') -> dict[str, list[pathlib.Path]]:
  """Returns the images of each class folder, or of the folder `inside` it, in the order of the
  class numbers."""
  folders = sorted(
    _folders(root),
    key=lambda folder: (
      (0, int(folder.name), folder.name) if folder.name.isdecimal() else (1, 0, folder.name)
    ),
  )
  files = {folder.name: _pictures(folder / inside) for folder in folders}
  empty = [name for name, found in files.items() if not found]
  if empty:
    raise UserError(
      f'{where}: the class folder {(pathlib.PurePath(empty[0]) / inside).as_posix()!r} in '
      f'{root} holds no images; '
      f'put some of the kinds {", ".join(SUFFIXES)} in it, or remove it.'
    )
  return files


def read_pictures(
  where: str,
  train: dict[str, list[pathlib.Path]],
  test: dict[str, list[pathlib.Path]],
  image_size: int,
  stream_above: int | None = None,
) -> Stored:
  """Returns the images of two splits, given as the files of each class; arguments as in
  `read_folder`."""
  number = {name: label for label, name in enumerate(train)}
  files, labels = [], []
  for split in (train, test):
    files.append(list(itertools.chain.from_iterable(split.values())))
    sizes = np.array(list(map(len, split.values())), int)
    labels.append(np.repeat(np.array([number[name] for name in split], int), sizes))
  # One file in colour decides for all: no more files are opened.
  grey = all(_is_grey(where, file) for file in itertools.chain.from_iterable(files))
  channels = 1 if grey else 3
  images, held = (_on_disk(where, split, (image_size, image_size, channels)) for split in files)
  return Stored(
    (images if stream_above is not None and images.nbytes > stream_above else images[:], labels[0]),
    (held[:], labels[1]) if test else None,
    tuple(train),
  )


def _on_disk(where, files, shape):
  def fetch(positions):
    return np.stack([_read_picture(where, files[position], shape) for position in positions])

  stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
  origin = hashlib.sha256(repr((where, stats)).encode()).hexdigest()
  return Streamed(fetch, shape, np.arange(len(files)), origin)


def _is_grey(where, file):
  """Whether an image has no colour, as its header says."""
  return _opened(where, file, lambda picture: picture.mode in _GREY)


def _read_picture(where, file, shape):
  """One image as uint8 [size, size, 1 or 3]."""
  from PIL import ImageOps

  def read(picture):
    grey = picture.mode in _GREY
    pixels = fit(ImageOps.exif_transpose(picture).convert('L' if grey else 'RGB'), shape[0])
    return np.broadcast_to(pixels, shape)

  return _opened(where, file, read)


def _opened(where, file, use):
  """use(the opened image), with one sentence for whatever goes wrong."""
  from PIL import Image

  try:
    with Image.open(file) as picture:
      deep = picture.mode[0] in 'IF'
      result = None if deep else use(picture)
  except (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
    raise UserError(
      f'{where}: the image {file} cannot be read ({type(error).__name__}: {error}); '
      'replace or remove it.'
    ) from error
  if deep:
    raise UserError(
      f'{where}: the image {file} has more than 8 bits a channel; save it with 8 bits.'
    )
  return result

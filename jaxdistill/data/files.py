"""Your own data as arrays in an npz file."""

import zipfile
import zlib

import numpy as np

from jaxdistill.data.stored import Stored, resize
from jaxdistill.errors import UserError
from jaxdistill.files import expanded


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
  file = expanded(path)
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

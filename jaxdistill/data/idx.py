"""Sets in the files of MNIST: arrays of bytes behind a header of a few numbers, often packed by
gzip."""

import gzip
import math
import os
import pathlib
import re
import zlib

import numpy as np

from jaxdistill.data.stored import Stored, memory_bytes, resize
from jaxdistill.errors import UserError, shown
from jaxdistill.files import expanded

# train-images-idx3-ubyte.gz, t10k-labels.idx1-ubyte, emnist-letters-test-images-idx3-ubyte ...
_NAME = re.compile(r'(?:.*-)?(train|t10k|test)-(images|labels)[-.]idx\d-ubyte(?:\.gz)?')
_ROLES = {'train': 'train', 't10k': 'test', 'test': 'test'}
_GZIP = b'\x1f\x8b'
_BYTES = 0x08  # the code of unsigned bytes in the header
_MOST_AXES = 4


def read_idx(path: str, image_size: int = 0) -> Stored:
  """Reads train-images-idx3-ubyte, train-labels-idx1-ubyte and, if there, the two files t10k-...
  (or test-...) of a folder, plain or packed (.gz): MNIST, Fashion-MNIST and their like.

  Images are [n, h, w] or [n, h, w, c] bytes. Whether a mirrored image keeps its class is not known
  of such a folder: images are not mirrored unless `load(..., flip=True)` says so. Debian's package
  dataset-fashion-mnist lays the files of Fashion-MNIST at /usr/share/datasets/fashion-mnist.

  Raises `UserError` in one sentence for a folder without these files, for a file that is cut off,
  damaged or of another kind, and for images and labels of different numbers.

  Source: LeCun, Cortes & Burges, the format of MNIST's files.

  >>> read_idx('nowhere')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: idx:nowhere: ...
  """
  where = f'idx:{shown(path)}'
  files = _files(where, expanded(path))
  splits = {}
  for role in ('train', 'test'):
    pair = [files.get((role, kind)) for kind in ('images', 'labels')]
    if role == 'test' and not any(pair):
      continue
    if not all(pair):
      kind = 'labels' if pair[0] else 'images'
      raise UserError(
        f'{where}: the {role} {kind} are missing; the folder needs train-images-idx3-ubyte and '
        'train-labels-idx1-ubyte, and t10k-... likewise, each plain or with .gz.'
      )
    images, labels = (read_array(where, file) for file in pair)
    splits[role] = _checked(where, role, images, labels, image_size)
  return Stored(splits['train'], splits.get('test'))


def read_array(where: str, file: pathlib.Path) -> np.ndarray:
  """Returns the bytes of an idx file, uint8 in its shape.

  The header is two zeros, 8 for unsigned bytes, the number of axes, and the length of each as four
  bytes, the first the most significant.

  Raises `UserError` where the file does not hold what its header says.

  >>> import tempfile
  >>> file = pathlib.Path(tempfile.mkdtemp(), 'labels')
  >>> file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
  10
  >>> read_array('mine', file)
  array([7, 9], dtype=uint8)
  """
  name = shown(file.name)
  try:
    with open(file, 'rb') as plain:
      packed = plain.read(len(_GZIP)) == _GZIP
      plain.seek(0)
      stream = gzip.GzipFile(fileobj=plain) if packed else plain
      shape = _shape(where, name, stream)
      content = stream.read(math.prod(shape))
      more = bool(stream.read(1))  # at its end a packed file compares its checksum
  except (EOFError, zlib.error, gzip.BadGzipFile) as error:
    raise UserError(
      f'{where}: {name} is cut off or damaged ({error or type(error).__name__}); fetch it again.'
    ) from error
  except OSError as error:
    raise UserError(f'{where}: {name} cannot be read ({error.strerror or error}).') from error
  if len(content) < math.prod(shape) or more:
    held = 'more' if more else f'{len(content):,}'
    raise UserError(
      f'{where}: {name} should hold {math.prod(shape):,} bytes of {"x".join(map(str, shape))} by '
      f'its header and holds {held}: it is cut off or damaged; fetch it again.'
    )
  return np.frombuffer(content, np.uint8).reshape(shape)


def _shape(where, name, stream):
  """The lengths of the axes, from the header."""
  start = stream.read(4)
  axes = start[3] if len(start) == 4 else 0
  lengths = stream.read(4 * axes) if axes <= _MOST_AXES else b''
  if start[:2] != b'\0\0' or start[2:3] != bytes([_BYTES]) or not axes or len(lengths) < 4 * axes:
    raise UserError(
      f'{where}: {name} is no idx file of unsigned bytes: it starts with '
      f'{start.hex(" ") or "nothing"}, and 00 00 08 and the number of axes are expected.'
    )
  shape = tuple(np.frombuffer(lengths, '>u4').tolist())
  if math.prod(shape) > memory_bytes():
    raise UserError(
      f'{where}: {name} claims {math.prod(shape) / 2**30:,.1f} GiB, more than the memory of this '
      'machine; it is damaged, or too large to be loaded.'
    )
  return shape


def _files(where: str, folder: pathlib.Path) -> dict[tuple[str, str], pathlib.Path]:
  """The files of a folder by (role, 'images' or 'labels'); of two forms of one file the plain."""
  if not os.path.isdir(folder):
    raise UserError(
      f'{where}: there is no such folder; give idx:PATH with the folder of '
      'train-images-idx3-ubyte.gz and the files beside it.'
    )
  files = {}
  for file in sorted(folder.iterdir()):
    match = _NAME.fullmatch(file.name)
    if not match or not os.path.isfile(file):
      continue
    key = _ROLES[match[1]], match[2]
    if key in files and file.name != f'{files[key].name}.gz':
      raise UserError(
        f'{where}: {shown(files[key].name)} and {shown(file.name)} are both the {" ".join(key)}; '
        'keep one set a folder.'
      )
    files.setdefault(key, file)
  if not files:
    raise UserError(
      f'{where}: there are no idx files in it, such as train-images-idx3-ubyte.gz and '
      'train-labels-idx1-ubyte.gz.'
    )
  return files


def _checked(where, role, images, labels, image_size):
  """(images uint8 [n, size, size, c], labels int64 [n]) of one split."""
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim != 4 or labels.ndim != 1 or not images.size:
    raise UserError(
      f'{where}: the {role} images and labels have the shapes {list(images.shape)} and '
      f'{list(labels.shape)}; [n, height, width] and [n] are expected.'
    )
  if len(images) != len(labels):
    raise UserError(
      f'{where}: {len(images)} {role} images but {len(labels)} labels; there must be one label an '
      'image.'
    )
  return resize(images, image_size), labels.astype(np.int64)

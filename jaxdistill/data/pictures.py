"""Picture files: what one holds, and its pixels as uint8 of a wanted shape.

The kind of a file is what its content says, not its suffix. A picture is turned upright as its EXIF
orientation says, the first of several is taken, transparency is laid on white, and more than 8 bits
a channel are refused. Whatever goes wrong inside Pillow ends in one sentence with the file's name.
"""

import functools
import io
import pathlib
import warnings
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxdistill.data.stored import MODES, fit
from jaxdistill.errors import UserError, shown

SUFFIXES = (
  '.png',
  '.jpg',
  '.jpeg',
  '.jpe',
  '.jfif',
  '.bmp',
  '.gif',
  '.webp',
  '.tif',
  '.tiff',
  '.ppm',
  '.pgm',
)
# Of a kind without transparency and with 8 bits a channel.
PLAIN_SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.jfif')
# The kinds of Pillow that are tried on a file, whatever its suffix; no others, as some of them
# start programs.
_KINDS = ('PNG', 'JPEG', 'BMP', 'DIB', 'GIF', 'WEBP', 'TIFF', 'PPM')
_JPEG_START = b'\xff\xd8\xff'
_PNG_START = b'\x89PNG\r\n\x1a\n'
# Modes of Pillow without colour.
_GREY = ('1', 'L', 'LA', 'La')
# What a TIFF calls its bits a channel, and an EXIF block the way in which a picture lies.
_BITS_TAG, _ORIENTATION_TAG = 258, 274
# What Pillow makes of a grey value of 2 or 4 bits; it leaves the transparent one as it stands.
_GREY_STEPS = {'L;2': 85, 'L;4': 17}


class Facts(NamedTuple):
  """What the header of a picture tells.

  Attributes:
    grey: it has no colour.
    size: (height, width), upright.
    transparent: it has an alpha channel or a transparent colour.
    several: it holds further pictures behind the first (frames, pages).
    damaged: its metadata cannot be read, so that nothing says which way it lies.
  """

  grey: bool
  size: tuple[int, int]
  transparent: bool
  several: bool
  damaged: bool


def examine(where: str, file: pathlib.Path) -> Facts:
  """Returns what the header of a picture tells, without reading its pixels. To be called from one
  thread at a time.

  Raises `UserError` for one that cannot be read, or has more than 8 bits a channel.
  """

  def read(picture):
    # Pillow would read the pixels of a PNG to look for an EXIF block behind them.
    hidden = picture.format == 'PNG' and 'exif' not in picture.info
    orientation = 1 if hidden else _orientation(picture)
    # The size of a TIFF is given as it will lie.
    turned = orientation is not None and orientation >= 5 and picture.format != 'TIFF'
    width, height = picture.size
    return Facts(
      picture.mode in _GREY,
      (width, height) if turned else (height, width),
      picture.has_transparency_data,
      # What stands behind a JPEG is its depth or its smaller copy.
      picture.format != 'MPO' and bool(getattr(picture, 'is_animated', False)),
      orientation is None,
    )

  with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter('always')
    facts = _opened(where, file, read)
  return facts._replace(damaged=facts.damaged or any(map(_is_of_metadata, warned)))


def _is_of_metadata(warning) -> bool:
  return issubclass(warning.category, UserWarning)


def silence() -> None:
  """Keeps Pillow's warnings off the screen: `examine` has told what is to be known, by the file's
  name."""
  warnings.filterwarnings('ignore', module='PIL')


def read(where: str, file: pathlib.Path, shape: tuple[int, int, int]) -> np.ndarray:
  """Returns a picture as uint8 [h, w, c]: c = 1 grey, 3 colour on white, 4 colour and alpha as
  stored. h = w: resized by the short side, the centre cut out (`stored.fit`).

  Raises `UserError` for one that cannot be read.
  """

  return _opened(where, file, lambda picture: _pixels(picture, shape, upright=True))


def decode(where: str, name: str, content: bytes, shape: tuple[int, int, int]) -> np.ndarray:
  """Returns what `read` does of a picture's bytes, without turning it: so do those who read such
  sets (TensorFlow Datasets). `name` stands in errors."""
  use = functools.partial(_pixels, shape=shape, upright=False)
  return _opened(where, name, use, lambda: io.BytesIO(content))


def is_transparent(where: str, name: str, content: bytes) -> bool:
  """Whether the header of a picture's bytes tells of transparency."""
  if content.startswith(_JPEG_START):
    return False
  if content.startswith(_PNG_START):
    # Grey or colour with alpha, or a transparent colour before the pixels.
    return content[25:26] in (b'\4', b'\6') or b'tRNS' in content[: content.find(b'IDAT')]
  use = lambda picture: picture.has_transparency_data
  return _opened(where, name, use, lambda: io.BytesIO(content))


def _pixels(picture, shape: tuple[int, int, int], upright: bool) -> np.ndarray:
  height, width, channels = shape
  step = _GREY_STEPS.get(_coding(picture))
  file = picture.fp
  picture.load()
  if picture.format == 'PNG':
    _check_png(file)
  value = picture.info.get('transparency')
  if step and isinstance(value, int) and value * step < 256:
    picture.info['transparency'] = value * step
  whole = _upright(picture) if upright else picture
  if channels < 4 and picture.has_transparency_data:
    whole = _on_white(whole)
  # A grey one stays grey until it has its size, which is less work for the same pixels.
  mode = 'L' if picture.mode in _GREY and channels < 4 else MODES[channels]
  whole = whole if whole.mode == mode else whole.convert(mode)
  pixels = fit(whole, width if width == height else 0)
  if pixels.shape[:2] != (height, width):
    size = '{}x{}'.format(*pixels.shape[:2])
    raise ValueError(f'it is of {size} pixels, where the set is of {height}x{width}')
  return pixels if pixels.shape == shape else np.broadcast_to(pixels, shape)


def _opened(
  where: str,
  name: str | pathlib.Path,
  use: Callable[[Any], Any],
  stream: Callable[[], BinaryIO] | None = None,
) -> Any:
  """use(the opened image) of the file `name`, or of a stream so called; one sentence for whatever
  goes wrong."""
  from PIL import Image

  try:
    with stream() if stream else open(name, 'rb') as source:
      if not source.read(1):
        raise EOFError('there is nothing in it')
      source.seek(0)
      with Image.open(source, formats=_kinds()) as picture:
        deep = _is_deep(picture)
        result = None if deep else use(picture)
  # A damaged file can raise anything in Pillow: struct.error, KeyError, MemoryError, zlib.error ...
  except Exception as error:
    raise unreadable(where, name, error) from error
  if deep:
    raise UserError(
      f'{where}: the image {shown(name)} has more than 8 bits a channel; save it with 8 bits.'
    )
  return result


@functools.cache
def _kinds():
  """Those of `_KINDS` that this Pillow has."""
  from PIL import Image

  Image.init()
  return [kind for kind in _KINDS if kind in Image.OPEN]


def unreadable(where: str, name: str | pathlib.Path, error: Exception) -> UserError:
  """Returns the error for a picture that cannot be read."""
  from PIL import UnidentifiedImageError

  reason = getattr(error, 'strerror', None) or f'{type(error).__name__}: {shown(error)}'
  if isinstance(error, UnidentifiedImageError):
    reason = f'it is none of the kinds {", ".join(_kinds())}, or damaged'
  return UserError(
    f'{where}: the image {shown(name)} cannot be read ({reason}); replace or remove it.'
  )


def _check_png(file: BinaryIO) -> None:
  """Compares the checksums of a PNG's pixels, of all checksums the ones that Pillow leaves out;
  ValueError where one does not match."""
  file.seek(len(_PNG_START))
  while len(head := file.read(8)) == 8:
    size, kind = int.from_bytes(head[:4], 'big'), head[4:]
    if kind == b'IDAT':
      content, checksum = file.read(size), file.read(4)
      if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(checksum, 'big'):
        raise ValueError('its pixels do not match their checksum')
    else:
      file.seek(size + 4, io.SEEK_CUR)


def _coding(picture):
  """How Pillow will read the pixels; text, or a tuple that ends with the largest value."""
  return picture.tile[0][3] if picture.tile else ''


def _is_deep(picture) -> bool:
  """Whether a channel has more than 8 bits; of coloured ones Pillow keeps the upper 8, and says
  nothing."""
  if picture.mode[0] in 'IF':
    return True
  if picture.format == 'TIFF':
    return max(picture.tag_v2.get(_BITS_TAG, (8,))) > 8
  coding = _coding(picture)
  if picture.format == 'PPM':
    return isinstance(coding, tuple) and coding[-1] > 255
  return picture.format == 'PNG' and str(coding).endswith(';16B')


def _orientation(picture) -> int | None:
  """The EXIF orientation, 1 to 8 (1: upright); None where damage hides it."""
  try:
    value = picture.getexif().get(_ORIENTATION_TAG, 1)
  except Exception:
    return None
  return value if value in range(1, 9) else 1


def _upright(picture):
  """The picture turned and mirrored as its EXIF orientation says; as it lies where that is
  damaged."""
  from PIL.Image import Transpose

  turns = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
  }
  turn = turns.get(_orientation(picture))
  return picture if turn is None else picture.transpose(turn)


def _on_white(picture):
  """The picture without transparency, as it looks on white paper."""
  from PIL import Image

  opaque = picture.convert('RGBA')
  white = Image.new('RGBA', opaque.size, 'white')
  return Image.alpha_composite(white, opaque)

"""Image batches as one picture: a grid with integer up-scaling, and its PNG file."""

import io
import math

import numpy as np

from jaxdistill.errors import UserError

# Pixels that a small image is enlarged to when no scale is given: enough to recognise a digit.
CELL = 64
# Of a heat map at its limits: red and blue that colour-blind readers can tell apart (ColorBrewer's
# RdBu).
_ABOVE, _BELOW = (178, 24, 43), (33, 102, 172)
GAP_COLOUR = 128  # Mid-grey: visible next to black and white images, calm on light and dark pages.


def as_uint8(images) -> np.ndarray:
  """Returns images [..., c] as uint8 with three channels.

  images: uint8, or float in [0, 1] (values outside are clipped, then round(255 x)); any leading
    axes, c = 1 to 4. Of two channels the first is shown as grey, of four the first three as
    colours; the last one, which is the opacity in most files, is left out.

  >>> as_uint8(np.array([[[0.5]]])).tolist(), as_uint8(np.array([[[0, 0, 1, 0.5]]])).tolist()
  ([[[128, 128, 128]]], [[[0, 0, 255]]])

  Raises UserError for another dtype, another number of channels, or non-finite values.
  """
  images = np.asarray(images)
  if images.ndim < 3 or not 1 <= images.shape[-1] <= 4:
    raise UserError(
      f'Images need a last axis of 1 to 4 channels, but the shape is {list(images.shape)}.'
    )
  images = images[..., : 1 if images.shape[-1] < 3 else 3]
  if images.dtype != np.uint8:
    # bfloat16 is no numpy floating type, hence the test by name.
    if not (np.issubdtype(images.dtype, np.floating) or images.dtype.name == 'bfloat16'):
      raise UserError(f'Images must be uint8, or float in [0, 1], but the dtype is {images.dtype}.')
    images = images.astype(np.float32)
    if not np.isfinite(images).all():
      raise UserError('The images hold NaN or infinite pixels; a picture needs finite values.')
    images = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
  return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def grid(
  images,
  columns: int | None = None,
  *,
  scale: int | None = None,
  gap: int = 2,
  background: int = GAP_COLOUR,
) -> np.ndarray:
  """Arranges images row by row in one picture.

  images: [n, h, w, c], uint8 or float in [0, 1], c = 1 to 4, shown as `as_uint8` tells.
  columns: images in a row; the nearest to a square if None. A last row that is not full ends in
    background.
  scale: integer enlargement (each pixel becomes scale x scale); None: as large as fits a cell of 64
    pixels.
  gap: pixels between neighbours, none at the border. background: grey level of the gap, 0..255.
  Returns uint8 [r (h s + gap) - gap, k (w s + gap) - gap, 3] for r rows of k columns at scale s.

  >>> grid(np.zeros([5, 8, 8, 1]), columns=3, scale=2, gap=1).shape
  (33, 50, 3)

  Raises UserError for a wrong rank, no images, a wrong dtype, non-finite pixels, or a layout that
  makes no sense.
  """
  images = np.asarray(images)
  if images.ndim != 4:
    raise UserError(
      f'A grid needs images of shape [n, h, w, c], but the shape is {list(images.shape)}.'
    )
  if 0 in images.shape:
    raise UserError(
      'A grid needs at least one image with at least one pixel, but the shape is '
      f'{list(images.shape)}.'
    )
  images = as_uint8(images)
  n, h, w, _ = images.shape
  columns = min(n, math.ceil(math.sqrt(n)) if columns is None else _whole('columns', columns, 1))
  scale = max(1, CELL // max(h, w)) if scale is None else _whole('scale', scale, 1)
  gap, background = _whole('gap', gap, 0), _whole('background', background, 0)
  if background > 255:
    raise UserError(f'background is a grey level between 0 and 255, but {background} was given.')
  rows = -(-n // columns)
  cells = np.full([rows * columns, h * scale + gap, w * scale + gap, 3], background, np.uint8)
  cells[:n, : h * scale, : w * scale] = images.repeat(scale, axis=1).repeat(scale, axis=2)
  picture = cells.reshape(rows, columns, h * scale + gap, w * scale + gap, 3).swapaxes(1, 2)
  picture = picture.reshape(rows * (h * scale + gap), columns * (w * scale + gap), 3)
  return np.ascontiguousarray(picture[: picture.shape[0] - gap, : picture.shape[1] - gap])


def png_bytes(picture) -> bytes:
  """Returns the PNG file of one picture [h, w] or [h, w, c] (uint8, or float in [0, 1]), shown as
  `as_uint8` tells.

  >>> png_bytes(np.zeros([4, 4, 3], np.uint8))[1:4]
  b'PNG'

  Raises UserError for a wrong shape, dtype or non-finite pixels.
  """
  from PIL import Image  # Lazy: only who writes a picture pays for it.

  picture = np.asarray(picture)
  picture = picture[..., None] if picture.ndim == 2 else picture
  if picture.ndim != 3 or 0 in picture.shape:
    raise UserError(
      f'A picture has the shape [h, w] or [h, w, c], but the shape is {list(picture.shape)}.'
    )
  file = io.BytesIO()
  Image.fromarray(as_uint8(picture)).save(file, format='PNG', optimize=True)
  return file.getvalue()


def heat_map(matrix, limit: float = 0.0, *, side: int = 320) -> np.ndarray:
  """Returns a matrix of signed numbers as a picture: white at 0, redder above it, bluer below.

  matrix: [h, w]; grey where it is not finite. limit: the size that has the full colour, larger ones
    too; 0: the largest in the matrix. side: about so many pixels high and wide, each number a whole
    number of them.
  Returns uint8 [h s, w s, 3].

  >>> heat_map([[0.0, 1.0], [-1.0, -0.5]], side=2)[..., 0].tolist()
  [[255, 178], [33, 144]]

  Raises UserError for something else than a matrix, or a limit below 0.
  """
  matrix = np.asarray(matrix, np.float64)
  if matrix.ndim != 2 or not matrix.size:
    raise UserError(f'A heat map shows a matrix [h, w], but the shape is {list(matrix.shape)}.')
  finite = np.isfinite(matrix)
  if not 0 <= limit < np.inf:
    raise UserError(f'The limit of a heat map is a number from 0 on, but {limit} was given.')
  limit = limit or np.abs(matrix[finite]).max(initial=0.0) or 1.0
  share = np.clip(np.where(finite, matrix, 0.0) / limit, -1, 1)[..., None]
  full = np.where(share > 0, _ABOVE, _BELOW)
  colours = np.rint(255 + np.abs(share) * (full - 255)).astype(np.uint8)
  colours = np.where(finite[..., None], colours, np.uint8(GAP_COLOUR))
  scale = max(1, side // max(matrix.shape))
  return colours.repeat(scale, axis=0).repeat(scale, axis=1)


def _whole(name: str, value, least: int) -> int:
  if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
    raise UserError(f'{name} must be a whole number of at least {least}, but {value!r} was given.')
  return int(value)

"""Runs an exported classifier with jax alone; lies beside it as predict.py.

  python predict.py PICTURE ...                the likeliest class of each (needs Pillow)

  import predict
  classify, description = predict.load()       of the folder in which predict.py lies
  logits = classify(images)                    [n, classes]

Images are uint8, or float in [0, 1], [n, h, w, c] of description['image_shape'], n any number; they
are normalised, and resized where the network reads smaller ones, inside the program. jax.export
reads it with the package flatbuffers.
"""

import json
import math
import pathlib
import sys

import jax
import numpy as np
from jax import export

_TYPES = {'F32': np.dtype('<f4'), 'F16': np.dtype('<f2'), 'I32': np.dtype('<i4')}


def load(folder=pathlib.Path(__file__).parent):
  """Returns (images -> logits [n, classes], the description) of the classifier in a folder.

  The function raises ValueError for images of another shape or type.
  """
  folder = pathlib.Path(folder)
  description = json.loads((folder / 'classifier.json').read_text('utf-8'))
  program = export.deserialize(bytearray((folder / description['program']).read_bytes()))
  weights = jax.device_put(read_weights(folder / description['weights']))
  compiled = jax.jit(program.call)
  shape = tuple(description['image_shape'])

  def classify(images):
    images = np.asarray(images)
    known = images.dtype == np.uint8 or images.dtype.kind == 'f'
    if images.ndim != 4 or images.shape[1:] != shape or not known:
      wanted = ', '.join(map(str, shape))
      raise ValueError(
        f'This classifier takes uint8 images, or floats in [0, 1], [n, {wanted}]; got '
        f'{images.dtype} of shape {list(images.shape)}.'
      )
    unit = images.astype(np.float32) / np.float32(255 if images.dtype == np.uint8 else 1)
    return np.asarray(compiled(weights, unit))

  return classify, description


def read_weights(path):
  """Returns the arrays of a safetensors file by name."""
  content = path.read_bytes()
  length = int.from_bytes(content[:8], 'little')
  header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
  arrays = {}
  for name, entry in header.items():
    if name != '__metadata__':
      dtype, shape, begin = _TYPES[entry['dtype']], entry['shape'], entry['data_offsets'][0]
      array = np.frombuffer(numbers, dtype, math.prod(shape), begin)
      arrays[name] = array.reshape(shape)
  return arrays


def _read_picture(path, shape):
  """A picture as uint8 [h, w, c], read as those were that the classifier has learned from: upright,
  on white, its short side resized and the centre cut out where images are squares.

  Raises ValueError for more than 8 bits a channel, or another size where images are no squares.
  """
  from PIL import Image, ImageOps

  height, width, channels = shape
  with Image.open(path) as picture:
    coding = picture.tile[0][3] if picture.tile else ''
    if _is_deep(picture, coding):
      raise ValueError(f'{path} has more than 8 bits a channel; save it with 8 bits.')
    picture.load()
    step, value = {'L;2': 85, 'L;4': 17}.get(coding), picture.info.get('transparency')
    if step and isinstance(value, int) and value * step < 256:
      # Pillow spreads such grey values over 8 bits, but for the transparent one.
      picture.info['transparency'] = value * step
    grey = picture.mode in ('1', 'L', 'LA', 'La') and channels < 4
    try:
      whole = ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF can raise anything; the picture is taken as it lies
      whole = picture
    if channels < 4 and whole.has_transparency_data:
      opaque = whole.convert('RGBA')
      whole = Image.alpha_composite(Image.new('RGBA', opaque.size, 'white'), opaque)
    whole = whole.convert('L' if grey else {1: 'L', 3: 'RGB', 4: 'RGBA'}[channels])
  if height == width:
    whole = _short_side_then_centre(whole, height)
  if whole.size != (width, height):
    size = '{1}x{0}'.format(*whole.size)
    raise ValueError(f'{path} is of {size} pixels; this classifier takes {height}x{width}.')
  pixels = np.asarray(whole, np.uint8).reshape(height, width, -1)
  return np.broadcast_to(pixels, tuple(shape))


def _is_deep(picture, coding):
  """Whether a channel has more than 8 bits, of which Pillow may keep the upper 8 without a word."""
  if picture.mode[0] in 'IF':
    return True
  if picture.format == 'TIFF':
    return max(picture.tag_v2.get(258, (8,))) > 8
  if picture.format == 'PPM':
    return isinstance(coding, tuple) and coding[-1] > 255
  return picture.format == 'PNG' and str(coding).endswith(';16B')


def _short_side_then_centre(picture, side):
  from PIL.Image import Resampling

  short, long = min(picture.size), max(picture.size)
  length = int(side * long / short)
  start = round((length - side) / 2)
  wide = picture.width == long
  if picture.size == (side, side):
    return picture
  if length > 64 * side:
    first, last = start * long / length, min((start + side) * long / length, long)
    part = (first, 0, last, short) if wide else (0, first, short, last)
    return picture.resize((side, side), Resampling.BILINEAR, box=part)
  size = (length, side) if wide else (side, length)
  picture = picture if picture.size == size else picture.resize(size, Resampling.BILINEAR)
  corner = (start, 0) if wide else (0, start)
  return picture.crop((*corner, corner[0] + side, corner[1] + side))


def _main(paths):
  classify, description = load()
  if not paths:
    sys.exit(f'Give pictures: python {sys.argv[0]} PICTURE ...')
  for path in paths:
    try:
      images = _read_picture(path, description['image_shape'])[None]
    except (OSError, ValueError) as error:
      sys.exit(f'{error}' if isinstance(error, ValueError) else f'{path} cannot be read: {error}')
    logits = classify(images)[0]
    share = np.exp(logits - logits.max())
    place = int(logits.argmax())
    name = description['class_names'][place]
    print(f'{path}: {name} ({100 * share[place] / share.sum():.1f} %)')


if __name__ == '__main__':
  _main(sys.argv[1:])

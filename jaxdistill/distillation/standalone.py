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
  """A picture as uint8 [h, w, c]: what its sides have too much is cut off around the middle."""
  from PIL import Image, ImageOps

  height, width, channels = shape
  with Image.open(path) as picture:
    upright = ImageOps.exif_transpose(picture).convert({1: 'L', 3: 'RGB', 4: 'RGBA'}[channels])
    fitted = ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)
  return np.asarray(fitted, np.uint8).reshape(shape)


def _main(paths):
  classify, description = load()
  if not paths:
    sys.exit(f'Give pictures: python {sys.argv[0]} PICTURE ...')
  for path in paths:
    logits = classify(_read_picture(path, description['image_shape'])[None])[0]
    share = np.exp(logits - logits.max())
    place = int(logits.argmax())
    name = description['class_names'][place]
    print(f'{path}: {name} ({100 * share[place] / share.sum():.1f} %)')


if __name__ == '__main__':
  _main(sys.argv[1:])

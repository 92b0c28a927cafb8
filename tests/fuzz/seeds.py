"""The small sound files from which damaged ones are made."""

import io

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.PngImagePlugin

CLASSES = ('ant', 'bee')


def colours(number, size=(12, 10), channels=3):
  """A smooth picture, uint8 [h, w, c], with some noise."""
  width, height = size
  y, x = np.mgrid[:height, :width]
  rng = np.random.RandomState(number)
  planes = [(x * a + y * b + number * 7) % 256 for a, b in ((19, 3), (2, 23), (11, 13), (5, 1))]
  return (np.stack(planes[:channels], -1) + rng.randint(0, 9, (height, width, channels))).astype(
    np.uint8
  )


def _saved(picture, kind, **options):
  content = io.BytesIO()
  picture.save(content, kind, **options)
  return content.getvalue()


def _exif(orientation):
  exif = PIL.Image.Exif()
  exif[274], exif[271], exif[306] = orientation, 'A camera', '2020:02:02 02:02:02'
  return exif.tobytes()


def pictures():
  """Pictures by the name of their file: every kind that is read, with what such files carry."""
  image = PIL.Image.fromarray(colours(1))
  grey = PIL.Image.fromarray(colours(1)[:, :, 0])
  alpha = PIL.Image.fromarray(colours(1, channels=4))
  palette = image.quantize(16)
  text = PIL.PngImagePlugin.PngInfo()
  text.add_text('Comment', 'a text')
  text.add_itxt('Title', 'caf\u00e9', zip=True)
  frames = [PIL.Image.fromarray(colours(n)).quantize(8) for n in range(3)]
  profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile('sRGB')).tobytes()
  return {
    'plain.png': _saved(image, 'PNG'),
    'text.png': _saved(image, 'PNG', pnginfo=text, dpi=(72, 72), icc_profile=profile),
    'turned.png': _saved(image, 'PNG', exif=_exif(6)),
    'palette.png': _saved(palette, 'PNG', transparency=3),
    'alpha.png': _saved(alpha, 'PNG'),
    'two.png': _saved(grey.quantize(4), 'PNG', bits=2),
    'animated.png': _saved(image, 'PNG', save_all=True, append_images=[image.rotate(180)]),
    'plain.jpg': _saved(image, 'JPEG'),
    'turned.jpg': _saved(image, 'JPEG', exif=_exif(8), quality=80),
    'steps.jpg': _saved(image, 'JPEG', progressive=True, icc_profile=profile, comment=b'a text'),
    'grey.jpg': _saved(grey, 'JPEG'),
    'print.jpg': _saved(image.convert('CMYK'), 'JPEG'),
    'plain.gif': _saved(palette, 'GIF'),
    'frames.gif': _saved(
      frames[0], 'GIF', save_all=True, append_images=frames[1:], transparency=1, loop=0
    ),
    'plain.webp': _saved(image, 'WEBP'),
    'lossless.webp': _saved(alpha, 'WEBP', lossless=True, exif=_exif(3)),
    'frames.webp': _saved(image, 'WEBP', save_all=True, append_images=[image.rotate(90)]),
    'plain.bmp': _saved(image, 'BMP'),
    'palette.bmp': _saved(palette, 'BMP'),
    'plain.tif': _saved(image, 'TIFF'),
    'lzw.tif': _saved(image, 'TIFF', compression='tiff_lzw'),
    'deflate.tif': _saved(grey, 'TIFF', compression='tiff_adobe_deflate'),
    'jpeg.tif': _saved(image, 'TIFF', compression='jpeg'),
    'plain.ppm': _saved(image, 'PPM'),
    'grey.pgm': _saved(grey, 'PPM'),
  }


def deep_png():
  """A picture of 16 bits, which is refused."""
  return _saved(PIL.Image.fromarray(colours(1)[:, :, 0].astype(np.uint16) * 257), 'PNG')


def archives():
  """npz files of images by their name."""
  train = np.stack([colours(n) for n in range(6)])
  test = np.stack([colours(n + 9) for n in range(4)])
  labels = np.arange(6) % 2
  whole = dict(
    train_images=train,
    train_labels=labels,
    test_images=test,
    test_labels=np.arange(4) % 2,
    class_names=np.array(CLASSES),
    flip=False,
  )
  floats = dict(images=(train / 255).astype(np.float32), labels=labels.astype(np.uint8))
  further = dict(
    mean=np.full(3, 0.5), std=np.full(3, 0.25), val_images=test, val_labels=[0, 1, 0, 1]
  )
  return {
    'whole.npz': _archive(np.savez, **whole),
    'packed.npz': _archive(np.savez_compressed, **whole),
    'floats.npz': _archive(np.savez, **floats),
    'further.npz': _archive(np.savez_compressed, **floats, **further),
  }


def plain_sets():
  """Condensed sets of a user's own by the name of their file."""
  images = np.stack([colours(n) for n in range(4)])
  return {
    'bytes.npz': _archive(np.savez, images=images, labels=np.arange(4) % 2),
    'soft.npz': _archive(
      np.savez_compressed,
      images=(images / 255).astype(np.float32),
      labels=np.array([[0.75, 0.25], [0.25, 0.75], [1, 0], [0, 1]], np.float32),
      class_names=np.array(CLASSES),
      mean=np.full(3, 0.5),
      std=np.full(3, 0.25),
      factor=2,
      flip=False,
    ),
  }


def condensed(soft=False):
  """A condensed set of ours."""
  from jaxdistill.condensation import Condensed

  images = np.stack([colours(n, (8, 8)) for n in range(4)]) / np.float32(255)
  labels = np.arange(4) // 2
  if soft:
    labels = np.array([[0.75, 0.25], [0.5, 0.5], [0.125, 0.875], [0, 1]], np.float32)
  config = {'model': {'name': 'convnet', 'width': 16}, 'seed': 0}
  return Condensed(
    images.astype(np.float32),
    labels,
    ('caf\u00e9', 'bee'),
    (0.5, 0.5, 0.5),
    (0.25, 0.25, 0.25),
    factor=2,
    dataset='digits',
    method='dm',
    config=config,
    versions={'jax': '0'},
  )


def _archive(save, **arrays):
  content = io.BytesIO()
  save(content, **arrays)
  return content.getvalue()

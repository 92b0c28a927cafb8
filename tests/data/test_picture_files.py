"""Single pictures: kinds by content, modes, transparency, orientation, depth, damage."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from jaxdistill.data import pictures
from jaxdistill.data.stored import fit
from jaxdistill.errors import UserError

RANDOM = np.random.RandomState(0)
COLOUR = RANDOM.randint(0, 256, (8, 8, 3)).astype(np.uint8)
GREY = COLOUR[..., 0]


def saved(tmp_path, picture, name='a.png', **options):
  picture.save(tmp_path / name, **options)
  return tmp_path / name


def png(depth, colour, rows, extra=b''):
  """A PNG of raw rows; `extra`: a chunk before the pixels."""

  def chunk(kind, content):
    return (
      struct.pack('>I', len(content))
      + kind
      + content
      + struct.pack('>I', zlib.crc32(kind + content))
    )

  bits = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth
  header = struct.pack('>IIBBBBB', len(rows[0]) * 8 // bits, len(rows), depth, colour, 0, 0, 0)
  start = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
  if extra:
    start += chunk(extra[:4], extra[4:])
  pixels = zlib.compress(b''.join(b'\0' + row for row in rows))
  return start + chunk(b'IDAT', pixels) + chunk(b'IEND', b'')


def written(tmp_path, content, name='a.png'):
  (tmp_path / name).write_bytes(content)
  return tmp_path / name


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'TIFF', 'PPM', 'WEBP'])
def test_the_content_says_the_kind(tmp_path, kind):
  options = {'lossless': True} if kind == 'WEBP' else {}
  file = saved(tmp_path, PIL.Image.fromarray(COLOUR), 'a.jpg', format=kind, **options)
  facts = pictures.examine('set', file)
  assert facts == (False, (8, 8), False, False, False)
  np.testing.assert_array_equal(pictures.read('set', file, (8, 8, 3)), COLOUR)


def test_grey_and_colour(tmp_path):
  file = saved(tmp_path, PIL.Image.fromarray(GREY))
  assert pictures.examine('set', file).grey
  np.testing.assert_array_equal(pictures.read('set', file, (8, 8, 1))[..., 0], GREY)
  for channel in range(3):
    np.testing.assert_array_equal(pictures.read('set', file, (8, 8, 3))[..., channel], GREY)
  bits = saved(tmp_path, PIL.Image.fromarray(GREY > 99))
  np.testing.assert_array_equal(pictures.read('set', bits, (8, 8, 1))[..., 0], (GREY > 99) * 255)


@pytest.mark.parametrize('mode', ['CMYK', 'YCbCr', 'P', 'PA'])
def test_other_modes_become_colours(tmp_path, mode):
  flat = PIL.Image.new('RGB', (8, 8), (200, 40, 120))
  picture = flat.quantize(4) if mode in ('P', 'PA') else flat.convert(mode)
  file = saved(tmp_path, picture.convert(mode), 'a.tiff')
  assert not pictures.examine('set', file).grey
  expected = np.broadcast_to([200, 40, 120], (8, 8, 3))
  np.testing.assert_allclose(pictures.read('set', file, (8, 8, 3)), expected, atol=2)


# (content of a PNG, what it shows on white): grey 0 of opacity 128 is 127 by 255 - 128.
RGB_KEY = b'tRNS' + struct.pack('>HHH', 1, 2, 3)
TRANSPARENT = {
  'RGBA': (png(8, 6, [bytes([255, 0, 0, 255, 9, 9, 9, 0])]), [[255, 0, 0], [255, 255, 255]]),
  'LA': (png(8, 4, [bytes([0, 128, 7, 0])]), [[127] * 3, [255] * 3]),
  'RGB with a key': (png(8, 2, [bytes([1, 2, 3, 4, 5, 6])], RGB_KEY), [[255] * 3, [4, 5, 6]]),
  'grey with a key': (png(8, 0, [bytes([7, 9])], b'tRNS\0\7'), [[255] * 3, [9] * 3]),
  'grey of 4 bits': (png(4, 0, [bytes([0x12])], b'tRNS\0\1'), [[255] * 3, [34] * 3]),
  'grey of 2 bits': (
    png(2, 0, [bytes([0b00011011])], b'tRNS\0\2'),
    [[0] * 3, [85] * 3, [255] * 3, [255] * 3],
  ),
}


@pytest.mark.parametrize('name', TRANSPARENT)
def test_transparency_is_laid_on_white(tmp_path, name):
  content, expected = TRANSPARENT[name]
  file = written(tmp_path, content)
  assert pictures.examine('set', file).transparent
  assert pictures.is_transparent('set', 'x', content)
  np.testing.assert_array_equal(pictures.read('set', file, (1, len(expected), 3))[0], expected)
  decoded = pictures.decode('set', 'x', content, (1, len(expected), 3))
  np.testing.assert_array_equal(decoded[0], expected)


@pytest.mark.parametrize('suffix', ['.png', '.gif'])
def test_palettes_may_be_transparent(tmp_path, suffix):
  picture = PIL.Image.new('P', (2, 1))
  picture.putpalette([10, 20, 30, 200, 0, 0])
  picture.putdata([0, 1])
  file = saved(tmp_path, picture, f'a{suffix}', transparency=0)
  assert pictures.examine('set', file).transparent
  read = pictures.read('set', file, (1, 2, 3))[0]
  np.testing.assert_array_equal(read, [[255] * 3, [200, 0, 0]])


def test_four_channels_keep_their_transparency(tmp_path):
  pixels = RANDOM.randint(0, 256, (8, 8, 4)).astype(np.uint8)
  file = saved(tmp_path, PIL.Image.fromarray(pixels))
  np.testing.assert_array_equal(pictures.read('set', file, (8, 8, 4)), pixels)


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.tiff'])
@pytest.mark.parametrize('size', [0, 8])
def test_pictures_stand_upright_whatever_their_size(tmp_path, suffix, size):
  """Orientation 6: the camera lay on its side, so that the top is on the right."""
  marked = np.zeros((8, 8, 3), np.uint8)
  marked[:, 4:] = 240
  exif = PIL.Image.Exif()
  exif[274] = 6
  file = saved(tmp_path, PIL.Image.fromarray(marked), f'a{suffix}', exif=exif)
  read = pictures.read('set', file, (8, 8, 3)).astype(int)
  assert (read[4:] > 200).all() and (read[:4] < 40).all()
  tall = saved(tmp_path, PIL.Image.fromarray(marked[:4]), f'b{suffix}', exif=exif)
  if suffix != '.png':  # whose block may stand behind the pixels, which are not read for it
    assert pictures.examine('set', tall).size == (8, 4)
  assert pictures.read('set', tall, (8, 4, 3)).shape == (8, 4, 3)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_every_orientation(tmp_path, orientation):
  exif = PIL.Image.Exif()
  exif[274] = orientation
  file = saved(tmp_path, PIL.Image.fromarray(COLOUR), exif=exif)
  turns = {
    1: COLOUR,
    2: COLOUR[:, ::-1],
    3: COLOUR[::-1, ::-1],
    4: COLOUR[::-1],
    5: COLOUR.transpose(1, 0, 2),
    6: COLOUR[::-1].transpose(1, 0, 2),
    7: COLOUR[::-1, ::-1].transpose(1, 0, 2),
    8: COLOUR[:, ::-1].transpose(1, 0, 2),
  }
  np.testing.assert_array_equal(pictures.read('set', file, (8, 8, 3)), turns[orientation])


def test_damaged_metadata_is_told_and_the_pixels_are_read(tmp_path):
  exif = PIL.Image.Exif()
  exif[274] = 6
  file = saved(tmp_path, PIL.Image.fromarray(COLOUR), 'a.jpg', exif=exif, quality=95)
  content = bytearray(file.read_bytes())
  entries = content.index(b'Exif') + 14  # the number of entries: far more than there are
  content[entries : entries + 2] = b'\xff\xff'
  file.write_bytes(content)
  assert pictures.examine('set', file).damaged
  pictures.silence()
  assert pictures.read('set', file, (8, 8, 3)).shape == (8, 8, 3)


def deep_tiff():
  """16 bits a channel in colour, written by hand as Pillow writes none."""
  tags = [(256, 2), (257, 1), (258, 16), (259, 1), (262, 2), (273, 122), (277, 3), (279, 12)]
  entries = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags)
  entries = entries.replace(
    struct.pack('<HHII', 258, 4, 1, 16), struct.pack('<HHII', 258, 3, 3, 116)
  )
  head = b'II*\0' + struct.pack('<I', 8) + struct.pack('<H', len(tags)) + entries + bytes(4)
  return head.ljust(116, b'\0') + struct.pack('<HHH', 16, 16, 16) + bytes(12)


@pytest.mark.parametrize(
  'name, content',
  [
    ('colour.png', png(16, 2, [bytes(12)])),
    ('grey.png', png(16, 0, [bytes(4)])),
    ('alpha.png', png(16, 6, [bytes(16)])),
    ('colour.ppm', b'P6 2 1 65535\n' + bytes(12)),
    ('grey.pgm', b'P5 2 1 1000\n' + bytes(4)),
    ('colour.tiff', deep_tiff()),
  ],
)
def test_more_than_eight_bits_are_refused_in_every_kind(tmp_path, name, content):
  file = written(tmp_path, content, name)
  for use in (pictures.examine, lambda *args: pictures.read(*args, (1, 2, 3))):
    with pytest.raises(UserError, match=f'{name} has more than 8 bits a channel; save it with 8'):
      use('set', file)


@pytest.mark.parametrize('mode', ['I;16', 'I', 'F'])
def test_numbers_that_are_no_bytes_are_refused(tmp_path, mode):
  file = saved(tmp_path, PIL.Image.new(mode, (4, 4)), 'a.tiff')
  with pytest.raises(UserError, match='more than 8 bits'):
    pictures.examine('set', file)


@pytest.mark.parametrize(
  'content, reason',
  [
    (b'', 'there is nothing in it'),
    (b'hello', 'it is none of the kinds PNG, JPEG, BMP'),
    (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'it is none of the kinds PNG'),
    (png(8, 2, [bytes(range(240))] * 9)[:-40], 'truncated|broken'),
  ],
)
def test_what_is_no_picture_ends_in_one_sentence(tmp_path, content, reason):
  file = written(tmp_path, content)
  with pytest.raises(
    UserError, match=f'set: the image .*a.png cannot be read .*{reason}'
  ) as caught:
    pictures.read('set', file, (8, 8, 3))
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('error', [struct.error, TypeError, KeyError, MemoryError, zlib.error])
def test_whatever_pillow_raises_ends_in_one_sentence(tmp_path, monkeypatch, error):
  file = saved(tmp_path, PIL.Image.fromarray(COLOUR))

  def broken(*args, **options):
    raise error('two\nlines')

  monkeypatch.setattr(PIL.Image, 'open', broken)
  with pytest.raises(UserError, match=rf'cannot be read \({error.__name__}: .*two\\+nlines'):
    pictures.examine('set', file)


@pytest.mark.parametrize('kind', ['GIF', 'PNG', 'WEBP', 'TIFF'])
def test_the_first_of_several_pictures_is_taken(tmp_path, kind):
  first, second = (PIL.Image.new('RGB', (8, 8), colour) for colour in ('red', 'blue'))
  file = saved(tmp_path, first, 'a.bin', format=kind, save_all=True, append_images=[second])
  assert pictures.examine('set', file).several
  np.testing.assert_allclose(pictures.read('set', file, (8, 8, 3))[0, 0], [255, 0, 0], atol=2)


def by_resize_and_centre_crop(picture, size):
  """torchvision's Resize(size) and CenterCrop(size), written from their documentation."""
  width, height = picture.size
  short, long = sorted((width, height))
  scaled = (size, int(size * long / short))[:: 1 if width <= height else -1]
  resized = np.asarray(picture.resize(scaled, PIL.Image.Resampling.BILINEAR))
  top, left = (int(round((side - size) / 2.0)) for side in resized.shape[:2])
  return resized[top : top + size, left : left + size]


@pytest.mark.parametrize(
  'width, height, size',
  [(50, 37, 16), (37, 50, 16), (33, 32, 32), (32, 35, 32), (9, 7, 32), (7, 300, 8), (16, 16, 8)],
)
def test_the_short_side_is_resized_then_the_centre_cut(width, height, size):
  picture = PIL.Image.fromarray(RANDOM.randint(0, 256, (height, width, 3)).astype(np.uint8))
  np.testing.assert_array_equal(fit(picture, size), by_resize_and_centre_crop(picture, size))


def test_a_hair_takes_no_memory():
  """A line of 1 x 5,000 would become 32 x 160,000 on its way, one of 60,000 1.9 million long."""
  line = PIL.Image.fromarray(RANDOM.randint(0, 256, (5000, 1)).astype(np.uint8))
  expected = by_resize_and_centre_crop(line, 32).astype(int)
  assert np.abs(fit(line, 32)[..., 0] - expected).max() <= 1
  assert fit(PIL.Image.new('L', (60_000, 1), 7), 224).tolist() == np.full((224, 224, 1), 7).tolist()


def test_names_of_any_bytes_can_be_told():
  assert pictures.shown(b'caf\xe9/\n.png'.decode(errors='surrogateescape')) == 'caf\\xe9/\\n.png'
  assert pictures.shown('日本 é.png') == '日本 é.png'


def test_bytes_are_decoded_without_turning(tmp_path):
  exif = PIL.Image.Exif()
  exif[274] = 6
  content = io.BytesIO()
  PIL.Image.fromarray(COLOUR).save(content, 'PNG', exif=exif)
  decoded = pictures.decode('set', 'x', content.getvalue(), (8, 8, 3))
  np.testing.assert_array_equal(decoded, COLOUR)
  with pytest.raises(UserError, match='the image number 3 cannot be read .*8x8 pixels, .* of 4x5'):
    pictures.decode('set', 'number 3', content.getvalue(), (4, 5, 3))

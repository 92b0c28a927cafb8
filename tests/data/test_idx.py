"""The files of MNIST: read as they lie, plain and packed, and the ways in which they can be
damaged."""

import gzip
import os

import numpy as np
import pytest

from jaxdistill import data
from jaxdistill.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 5, 7)).astype(np.uint8)
LABELS = (np.arange(12) % 3).astype(np.uint8)
# Where Debian's package has them.
FASHION = '/usr/share/datasets/fashion-mnist'


def idx(array, kind=8):
  lengths = b''.join(length.to_bytes(4, 'big') for length in array.shape)
  return bytes([0, 0, kind, array.ndim]) + lengths + array.tobytes()


def write(folder, packed=True, test=True, train=('train', IMAGES, LABELS)):
  splits = (train, ('t10k', IMAGES[:6], LABELS[:6])) if test else (train,)
  for name, images, labels in splits:
    for kind, array in (('images-idx3', images), ('labels-idx1', labels)):
      content = idx(array)
      file = folder / f'{name}-{kind}-ubyte{".gz" if packed else ""}'
      file.write_bytes(gzip.compress(content) if packed else content)
  return f'idx:{folder}'


@pytest.mark.parametrize('packed', [True, False])
def test_bytes_come_as_they_lie(tmp_path, packed):
  train, test = data.load(write(tmp_path, packed))
  np.testing.assert_array_equal(train.images[..., 0], IMAGES)
  np.testing.assert_array_equal(train.labels, LABELS)
  np.testing.assert_array_equal(test.images[..., 0], IMAGES[:6])
  assert train.class_names == ('0', '1', '2') and not train.flip
  np.testing.assert_allclose(train.mean, [IMAGES.mean() / 255])
  assert data.load(f'idx:{tmp_path}', image_size=8, flip=True)[0].flip
  assert data.load(f'idx:{tmp_path}', image_size=8)[1].image_shape == (8, 8, 1)


def test_other_names_colours_and_no_test(tmp_path):
  write(tmp_path, packed=False, test=False)
  for name in os.listdir(tmp_path):
    os.rename(tmp_path / name, tmp_path / f'emnist-mine-{name}'.replace('-idx', '.idx'))
  train, test = data.load(f'idx:{tmp_path}')
  assert len(train) == 9 and test.counts.tolist() == [1, 1, 1]
  colours = np.stack([IMAGES] * 3, -1)
  images = tmp_path / 'emnist-mine-train-images.idx3-ubyte'
  images.write_bytes(idx(colours))
  assert data.load(f'idx:{tmp_path}')[0].image_shape == (5, 7, 3)
  # Both forms of one file: the plain one is read.
  (tmp_path / f'{images.name}.gz').write_bytes(b'no matter what')
  assert data.load(f'idx:{tmp_path}')[0].image_shape == (5, 7, 3)
  (tmp_path / 'train-images-idx3-ubyte').write_bytes(idx(IMAGES))
  with pytest.raises(UserError, match='are both the train images; keep one set a folder'):
    data.load(f'idx:{tmp_path}')


PLAIN, PACKED = idx(IMAGES), gzip.compress(idx(IMAGES))


@pytest.mark.parametrize(
  'content, message',
  [
    (PLAIN[:-1], r'should hold 420 bytes of 12x5x7 .* holds 419: it is cut off'),
    (PLAIN + b'0', 'holds more: it is cut off or damaged; fetch it again'),
    (PACKED[:-20], 'is cut off or damaged .*fetch it again'),
    (PACKED[:60] + b'\0\0' + PACKED[62:], 'is cut off or damaged'),
    (gzip.compress(PLAIN[:-9]), 'and holds 411'),
    (b'', 'no idx file of unsigned bytes: it starts with nothing'),
    (PLAIN[:9], 'no idx file of unsigned bytes'),
    (idx(IMAGES, kind=13), 'starts with 00 00 0d 03, and 00 00 08'),
    (b'<html>not found</html>', 'starts with 3c 68 74 6d'),
    (bytes([0, 0, 8, 3]) + b'\xff' * 12, 'GiB, more than the memory'),
    (idx(IMAGES[:11]), '11 train images but 12 labels'),
    (idx(LABELS), r'have the shapes \[12\] and \[12\]'),
  ],
)
def test_a_damaged_file_is_told(tmp_path, content, message):
  name = write(tmp_path)
  (tmp_path / 'train-images-idx3-ubyte.gz').write_bytes(content)
  with pytest.raises(UserError, match=f'^idx:.*{message}'):
    data.load(name)


def test_a_folder_that_lacks_files_is_told(tmp_path):
  with pytest.raises(UserError, match='there is no such folder; give idx:PATH'):
    data.load(f'idx:{tmp_path / "none"}')
  with pytest.raises(UserError, match='there are no idx files in it'):
    data.load(f'idx:{tmp_path}')
  name = write(tmp_path)
  (tmp_path / 't10k-labels-idx1-ubyte.gz').unlink()
  with pytest.raises(UserError, match='the test labels are missing'):
    data.load(name)
  write(tmp_path, train=('train', IMAGES, LABELS + 1))
  with pytest.raises(UserError, match="class '0' has no training image"):
    data.load(name)


@pytest.mark.skipif(not os.path.isdir(FASHION), reason='needs the package dataset-fashion-mnist')
def test_fashion_mnist_is_what_it_is_known_as():
  train, test = data.load(f'idx:{FASHION}')
  assert train.counts.tolist() == [6000] * 10 and test.counts.tolist() == [1000] * 10
  np.testing.assert_allclose([*train.mean, *train.std], [0.2860, 0.3530], atol=2e-3)

"""One data set told from another: what counts, what does not, and what is read to find out."""

import os
import pathlib
import shutil

import numpy as np
import PIL.Image
import pytest

from jaxdistill.data import Dataset, identity, load, streaming
from jaxdistill.data.identity import Identity
from jaxdistill.errors import UserError

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6, 4, 4, 1), np.uint8)
NAMES = ('ant', 'bee')


def dataset(images=PIXELS, labels=(0, 0, 0, 1, 1, 1), names=NAMES, **fields):
  return Dataset(images, np.asarray(labels), names, mean=(0.5,), std=(0.25,), **fields)


def one_changed():
  images = PIXELS.copy()
  images[2, 1, 3, 0] ^= 1
  return images


@pytest.mark.parametrize(
  'other, texts',
  [
    (dict(), []),
    (dict(images=np.asfortranarray(PIXELS), labels=np.array([0, 0, 0, 1, 1, 1], np.int8)), []),
    (dict(images=streaming.Streamed.of_array(PIXELS)), []),
    (dict(images=one_changed()), ['other pixels of the training images']),
    (dict(images=PIXELS[::-1]), ['other pixels of the training images']),
    (dict(labels=[0, 0, 1, 0, 1, 1]), ['other labels of the training images']),
    (dict(names=('ant', 'wasp')), ["name of class 1: 'bee' -> 'wasp'"]),
    (dict(names=('ant', 'bee', 'cat')), ['classes: 2 -> 3']),
    (dict(flip=False), ['flip: True -> False']),
    (dict(images=PIXELS[:, :3]), ['size of the training images: 4x4x1 -> 3x4x1']),
    (dict(images=PIXELS[:5], labels=[0, 0, 0, 1, 1]), ['training images: 6 -> 5']),
  ],
)
def test_what_differs_is_named(other, texts):
  before = Identity(dataset()).to_json()
  assert Identity(dataset(**other)).differences(before, 'training') == texts


def test_statistics_count_but_for_their_last_bits():
  def of(mean):
    return Identity(Dataset(PIXELS, np.repeat([0, 1], 3), NAMES, mean=(mean,), std=(0.25,)))

  assert of(0.5 + 1e-9).differences(of(0.5).to_json(), 'test') == []
  assert of(0.4).differences(of(0.5).to_json(), 'test') == [
    'mean of the test images: [0.5] -> [0.4]'
  ]


@pytest.fixture
def photos(tmp_path):
  """A folder of bitmaps, all of one size."""
  root = tmp_path / 'photos'
  for split, count in (('train', 5), ('test', 2)):
    for name in NAMES:
      (root / split / name).mkdir(parents=True)
      for number in range(count):
        picture = PIL.Image.fromarray(RANDOM.integers(0, 256, (8, 8, 3), np.uint8))
        picture.save(root / split / name / f'{number}.bmp')
  return root


def of_folder(root, stream_above=0):
  return Identity(load(f'folder:{root}', image_size=8, stream_above=stream_above)[0])


def replace(file):
  """Changes one pixel of a bitmap, which keeps its size."""
  content = bytearray(file.read_bytes())
  content[-1] ^= 1
  file.write_bytes(content)


@pytest.fixture
def opened(monkeypatch):
  """The files whose bytes are hashed."""
  files, hashes = [], identity._hashes
  monkeypatch.setattr(identity, '_hashes', lambda read: files.extend(read) or hashes(read))
  return files


def test_files_that_seem_the_same_are_not_read(photos, opened):
  before = of_folder(photos).to_json()
  assert len(opened) == 10 and 'pixels' not in before
  opened.clear()
  again = of_folder(photos)
  assert again.differences(before, 'training') == [] and again.to_json() == before
  assert opened == []


def test_where_the_times_alone_differ_the_bytes_decide(photos, opened, tmp_path):
  before = of_folder(photos).to_json()
  for file in photos.rglob('*.bmp'):
    os.utime(file, ns=(1, 1))
  touched = of_folder(photos)
  opened.clear()
  assert touched.differences(before, 'training') == [] and len(opened) == 10
  renewed = touched.to_json()
  assert renewed['listing'] != before['listing'] and renewed['content'] == before['content']
  shutil.copytree(photos, tmp_path / 'copy', copy_function=shutil.copyfile)
  assert of_folder(tmp_path / 'copy').differences(before, 'training') == []


def test_a_picture_of_the_same_size_is_noticed(photos):
  before = of_folder(photos).to_json()
  replace(photos / 'train' / 'bee' / '3.bmp')
  assert of_folder(photos).differences(before, 'training') == [
    'other pixels of the training images'
  ]


def test_loaded_and_streamed_images_compare(photos):
  loaded, streamed = of_folder(photos, None), of_folder(photos)
  assert streamed.differences(loaded.to_json(), 'training') == []
  on_disk = lambda: load(f'folder:{photos}', image_size=8, stream_above=0)[0]
  memory, _ = load(f'folder:{photos}', image_size=8)
  assert Identity(memory, on_disk).differences(streamed.to_json(), 'training') == []
  records = [loaded.to_json(), streamed.to_json()]
  replace(photos / 'train' / 'ant' / '0.bmp')
  memory, _ = load(f'folder:{photos}', image_size=8)
  for one in (Identity(memory, on_disk), of_folder(photos)):
    for before in records:
      assert one.differences(before, 'training') == ['other pixels of the training images']


def test_a_file_that_is_gone_is_told(photos):
  images = of_folder(photos)
  (photos / 'train' / 'ant' / '0.bmp').unlink()
  with pytest.raises(UserError, match='0.bmp cannot be read'):
    images.to_json()


def test_a_stamp_follows_the_files(photos, tmp_path, monkeypatch):
  name = f'folder:{photos}'
  first = identity.stamp(name)
  assert identity.stamp(name) == first
  (photos / '.hidden').write_text('')
  replace(photos / 'test' / 'bee' / '1.bmp')
  second = identity.stamp(name)
  shutil.copy2(photos / 'train' / 'ant' / '0.bmp', photos / 'train' / 'ant' / '9.bmp')
  assert len({first, second, identity.stamp(name)}) == 3
  # A path without a root means other files in another folder.
  for folder in ('one', 'two'):
    (tmp_path / folder).mkdir()
    np.savez(tmp_path / folder / 'mine.npz', images=PIXELS)
  stamps = []
  for folder in ('one', 'two'):
    monkeypatch.chdir(tmp_path / folder)
    stamps.append(identity.stamp('npz:mine.npz'))
  assert len(set(stamps)) == 2


def test_a_stamp_notices_what_kept_its_size_and_time(tmp_path):
  file = tmp_path / 'mine.npz'
  file.write_bytes(b'one')
  before, times = identity.stamp(f'npz:{file}'), file.stat()
  file.write_bytes(b'two')
  os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
  assert identity.stamp(f'npz:{file}') != before


@pytest.mark.parametrize('made_of', ['mosaic:', 'mosaic:80:', 'patches:'])
def test_a_stamp_of_what_is_made_of_a_set_follows_its_files(photos, made_of):
  name = f'{made_of}folder:{photos}'
  before = identity.stamp(name)
  assert identity.stamp(name) == before
  replace(photos / 'train' / 'ant' / '0.bmp')
  assert identity.stamp(name) != before


def test_a_stamp_of_a_prepared_set_is_that_of_its_folder(tmp_path):
  folder = tmp_path / 'tiny' / '1.0.0'
  folder.mkdir(parents=True)
  before = identity.stamp('tiny:1.0.0', str(tmp_path))
  pathlib.Path(folder, 'tiny-train.array_record-00000-of-00001').write_bytes(b'a')
  assert identity.stamp('tiny:1.0.0', str(tmp_path)) != before

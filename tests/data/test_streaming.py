"""Images left on disk: the same numbers as loaded ones, batches in order and from any step, and
what goes wrong."""

import sys

import numpy as np
import PIL.Image
import pytest

from jaxdistill.data import Dataset, hold_out, load, samplers, statistics, streaming
from jaxdistill.errors import UserError


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Two classes of 40 and 37 images for training, and four for testing."""
  root = tmp_path_factory.mktemp('photos')
  random = np.random.default_rng(0)
  for split, counts in (('train', (40, 37)), ('test', (2, 2))):
    for name, count in zip(('ant', 'bee'), counts):
      (root / split / name).mkdir(parents=True)
      for number in range(count):
        pixels = random.integers(0, 256, (9, 12, 3)).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(root / split / name / f'{number:02}.png')
  return f'folder:{root}'


@pytest.fixture(scope='module')
def pair(folder):
  """The training set loaded and streamed."""
  return load(folder, image_size=8)[0], load(folder, image_size=8, stream_above=0)[0]


def test_streamed_set_is_the_loaded_one(pair):
  loaded, streamed = pair
  assert isinstance(streamed.images, streaming.Streamed) and isinstance(loaded.images, np.ndarray)
  np.testing.assert_array_equal(np.asarray(streamed.images), loaded.images)
  np.testing.assert_array_equal(streamed.labels, loaded.labels)
  assert (
    streamed.image_shape == (8, 8, 3)
    and len(streamed) == 77
    and streamed.images.nbytes == loaded.images.nbytes
  )
  assert (streamed.mean, streamed.std, streamed.class_names) == (
    loaded.mean,
    loaded.std,
    loaded.class_names,
  )
  assert streamed.describe() == loaded.describe() + ', streamed'


def test_rows_are_read_as_numpy_gives_them(pair):
  loaded, streamed = pair
  for index in (
    3,
    slice(2, 70, 3),
    [5, 5, 0],
    np.array([[1, 2], [76, 0]]),
    streamed.labels == 1,
    np.zeros(0, int),
  ):
    np.testing.assert_array_equal(streamed.images[index], loaded.images[index])


def test_parts_stay_on_disk(pair):
  loaded, streamed = pair
  for ours, theirs in zip(hold_out(streamed, 0.2), hold_out(loaded, 0.2)):
    assert isinstance(ours.images, streaming.Streamed) and ours.split == theirs.split
    np.testing.assert_array_equal(ours.images[:], theirs.images)
  (images, counts), (expected, expected_counts) = (
    samplers.class_major(each) for each in (streamed, loaded)
  )
  assert images.shape == expected.shape == (
    2,
    40,
    8,
    8,
    3,
  ) and counts.tolist() == expected_counts.tolist() == [40, 37]
  np.testing.assert_array_equal(images[1, :37], expected[1, :37])
  np.testing.assert_array_equal(
    images[[[0], [1]], [[39, 0], [36, 1]]], expected[[[0], [1]], [[39, 0], [36, 1]]]
  )


def test_only_sets_above_the_limit_are_streamed_and_the_test_set_never(folder):
  size = 77 * 8 * 8 * 3
  for above, on_disk in ((size, False), (size - 1, True), (None, False)):
    train, test = load(folder, image_size=8, stream_above=above)
    assert isinstance(train.images, streaming.Streamed) == on_disk and isinstance(
      test.images, np.ndarray
    )


def test_arrays_of_the_host_can_be_streamed_too():
  loaded, streamed = load('digits')[0], load('digits', stream_above=0)[0]
  np.testing.assert_array_equal(streamed.images[:50], loaded.images[:50])
  assert streamed.mean == loaded.mean


def test_a_set_without_a_test_split_is_divided_alike(tmp_path):
  for name in ('a', 'b'):
    (tmp_path / name).mkdir()
    for number in range(5):
      PIL.Image.new('L', (6, 6), 20 * number + ord(name)).save(tmp_path / name / f'{number}.png')
  (train, test), (expected, held) = (
    load(f'folder:{tmp_path}', image_size=6, stream_above=above) for above in (0, None)
  )
  np.testing.assert_array_equal(train.images[:], expected.images)
  np.testing.assert_array_equal(test.images, held.images)
  assert train.image_shape == (6, 6, 1)


def draw(step):
  rng = np.random.default_rng(step)
  positions = rng.integers(0, 77, (5, 9))
  return positions, {'labels': positions % 7}


@pytest.mark.parametrize('shape', [(5, 9), (2, 32), (3,), (33, 1)])
def test_batches_are_those_that_were_drawn(pair, shape):
  loaded, streamed = pair
  random = [np.random.default_rng(step).integers(0, 77, shape) for step in range(4)]
  batches = list(
    streaming.batches(streamed.images, lambda step: (random[step], {'twice': 2 * random[step]}), 4)
  )
  assert len(batches) == 4
  for batch, positions in zip(batches, random):
    np.testing.assert_array_equal(batch['images'], loaded.images[positions])
    np.testing.assert_array_equal(batch['twice'], 2 * positions)


def test_batches_continue_from_a_state(pair):
  _, streamed = pair
  whole = list(streaming.batches(streamed.images, draw, 6))
  first, second = (streaming.batches(streamed.images, draw, 6) for _ in range(2))
  for _ in range(4):
    next(first)
  second.set_state(first.get_state())
  for batch, expected in zip(second, whole[4:]):
    np.testing.assert_array_equal(batch['images'], expected['images'])
    np.testing.assert_array_equal(batch['labels'], expected['labels'])


def test_an_image_that_changes_or_goes_later_is_named(tmp_path):
  for name in ('a', 'b'):
    (tmp_path / name).mkdir()
    for number in range(5):
      PIL.Image.fromarray(np.full((6, 6, 3), number, np.uint8)).save(
        tmp_path / name / f'{number}.png'
      )
  streamed = load(f'folder:{tmp_path}', image_size=6, stream_above=0)[0].images
  read = lambda: list(streaming.batches(streamed, lambda step: (streamed.positions, {}), 3))
  read()
  for file in tmp_path.glob('b/*'):
    file.write_bytes(b'no image')
  with pytest.raises(UserError, match=r'the image .*b/\d.png has changed since the set was loaded'):
    read()
  for file in tmp_path.glob('b/*'):
    file.unlink()
  with pytest.raises(UserError, match=r'the image .*b/\d.png cannot be read \(No such file'):
    read()


def test_without_grain_the_way_out_is_told(folder, monkeypatch):
  monkeypatch.setitem(sys.modules, 'grain', None)
  with pytest.raises(
    UserError,
    match=r'need the package grain: install jaxdistill\[stream\] .*--config.data.stream=off',
  ):
    load(folder, image_size=8, stream_above=0)
  load(folder, image_size=8)


def test_fingerprints_tell_images_apart_without_reading(pair):
  images = pair[1].images
  never = streaming.Streamed(None, images.image_shape, images.positions, images.origin)
  other = streaming.Streamed(None, images.image_shape, images.positions, images.origin + '!')
  prints = [bytes(each.fingerprint) for each in (images, never, never.take(np.arange(76)), other)]
  assert prints[0] == prints[1] and len(set(prints)) == 3


def test_statistics_of_many_images_are_those_of_ten_thousand_evenly_spread(monkeypatch):
  monkeypatch.setattr(statistics, '_MEASURED', 3)
  images = np.arange(9, dtype=np.uint8).reshape(9, 1, 1, 1) * np.ones((1, 2, 2, 1), np.uint8)
  for each in (images, streaming.Streamed.of_array(images)):
    mean, std = statistics.measure(each)
    np.testing.assert_allclose((mean[0], std[0]), (4 / 255, np.std([0, 4, 8]) / 255))
  assert (
    Dataset(streaming.Streamed.of_array(images), np.arange(9)).mean == statistics.measure(images)[0]
  )

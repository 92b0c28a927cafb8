"""Digits and npz files: what comes in, and one sentence for what cannot."""

import numpy as np
import pytest
from PIL import Image

from jaxdistill import data
from jaxdistill.data import sources
from jaxdistill.data.sources import load
from jaxdistill.errors import UserError

RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randint(0, 256, (10, 6, 6, 3)).astype(np.uint8)
LABELS = np.repeat([0, 1], 5)


def test_digits_are_divided_once_and_for_all():
  train, test = load('digits')
  again, _ = load('digits', seed=5)
  np.testing.assert_array_equal(train.images, again.images)
  assert train.images.dtype == np.uint8 and train.image_shape == (16, 16, 1) and not train.flip
  assert len(train) + len(test) == 1797 and 0.19 < len(test) / 1797 < 0.21
  np.testing.assert_allclose(test.counts / (train.counts + test.counts), 0.2, atol=0.005)
  # A fingerprint: the split must be the same in every version and on every machine.
  assert train.labels[:12].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 0, 1, 2, 4]
  assert train.labels @ np.arange(len(train)) % 9973 == 3915


def test_digits_of_both_splits_are_all_digits():
  from sklearn.datasets import load_digits

  original = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
  train, test = load('digits', image_size=8)
  ours = np.concatenate([train.images, test.images])[..., 0]
  as_rows = lambda images: sorted(map(bytes, images))
  assert as_rows(ours) == as_rows(original)


def test_digits_are_enlarged_bilinearly():
  small, large = load('digits', image_size=8)[0].images, load('digits', image_size=16)[0].images
  padded = np.pad(small[..., 0].astype(float), ((0, 0), (1, 1), (1, 1)), mode='edge')
  near, far = 0.75, 0.25
  rows = np.stack(
    [near * padded[:, 1:-1] + far * padded[:, :-2], near * padded[:, 1:-1] + far * padded[:, 2:]], 2
  )
  rows = rows.reshape(len(small), 16, 10)
  expected = np.stack(
    [near * rows[..., 1:-1] + far * rows[..., :-2], near * rows[..., 1:-1] + far * rows[..., 2:]], 3
  )
  # Pillow rounds after each of the two directions.
  np.testing.assert_allclose(large[..., 0], expected.reshape(-1, 16, 16), atol=1.01)
  assert load('digits', image_size=28)[1].image_shape == (28, 28, 1)


@pytest.mark.parametrize(
  'arguments, message',
  [
    (dict(image_size=7), 'image_size must be at least 8, or 0 for the default; it is 7'),
    (dict(image_size=-1), 'image_size must be at least'),
    (dict(normalisation='imagenet'), "no normalisation 'imagenet'"),
    (dict(image_size='16'), "image_size is '16'; it must be a whole number"),
    (dict(image_size=16.0), 'image_size is 16.0; it must be a whole number'),
    (dict(image_size=True), 'image_size is True; it must be a whole number'),
    (dict(seed=-1), 'seed is -1; it must be at least 0'),
    (dict(seed=1.5), 'seed is 1.5; it must be a whole number'),
    (dict(flip='no'), "digits: flip is true or false; it is 'no'"),
    (dict(stream_above='1e9'), "stream_above is '1e9'; it must be a whole number"),
    (dict(stream_above=-1), 'stream_above is -1; it must be at least 0'),
    (dict(classes=['ant']), "classes is a text, .* it is \\['ant'\\]"),
    (dict(data_dir=3), "data_dir is a path, or '' for the usual place; it is 3"),
  ],
)
def test_arguments_are_checked(arguments, message):
  with pytest.raises(UserError, match=message):
    load('digits', **arguments)


@pytest.mark.parametrize('name', [None, 3, b'digits', ['digits'], IMAGES])
def test_a_name_is_a_text(name):
  with pytest.raises(UserError, match='The name of a data set is a text, such as'):
    load(name)


def _npz(tmp_path, **entries):
  np.savez(tmp_path / 'set.npz', **entries)
  return f'npz:{tmp_path / "set.npz"}'


def test_npz_with_both_splits(tmp_path):
  name = _npz(
    tmp_path,
    train_images=IMAGES,
    train_labels=LABELS,
    test_images=IMAGES[4:7],
    test_labels=LABELS[4:7, None],
    class_names=['cat', 'dog'],
    flip=False,
  )
  train, test = load(name)
  np.testing.assert_array_equal(train.images, IMAGES)
  np.testing.assert_array_equal(test.images, IMAGES[4:7])
  assert test.labels.tolist() == [0, 1, 1] and train.class_names == test.class_names == (
    'cat',
    'dog',
  )
  assert not train.flip and test.split == 'test' and train.mean == test.mean
  np.testing.assert_allclose(train.mean, IMAGES.mean((0, 1, 2)) / 255)


def test_npz_without_a_test_split_is_divided_by_class(tmp_path):
  name = _npz(tmp_path, images=IMAGES, labels=LABELS)
  train, test = load(name)
  assert train.counts.tolist() == [4, 4] and test.counts.tolist() == [1, 1] and train.flip
  rows = sorted(map(bytes, np.concatenate([train.images, test.images])))
  assert rows == sorted(map(bytes, IMAGES))
  tests = {bytes(load(name, seed=seed)[1].images) for seed in range(6)}
  assert len(tests) > 1 and bytes(load(name)[1].images) == bytes(test.images)
  # The rows of the file, for lists that name them.
  np.testing.assert_array_equal(train.images, IMAGES[train.ids.astype(int)])


def test_a_class_of_which_no_image_is_left_to_test_on_is_told_of(tmp_path):
  name = _npz(tmp_path, images=IMAGES[:7], labels=[0, 0, 0, 1, 2, 2, 2])
  lines = []
  train, test = load(name, tell=lines.append)
  assert test.counts.tolist() == [1, 0, 1]
  assert lines == [f'{name}: classes without test images: 1 (1).'] == list(train.notices)


def test_npz_floats_are_rounded_and_grey_gets_a_channel(tmp_path):
  grey = np.linspace(0, 1, 10 * 36).reshape(10, 6, 6)
  train, _ = load(
    _npz(tmp_path, train_images=grey, train_labels=LABELS, test_images=grey, test_labels=LABELS)
  )
  np.testing.assert_array_equal(train.images[..., 0], np.floor(grey * 255 + 0.5))
  integers, _ = load(_npz(tmp_path, images=IMAGES.astype(np.int64), labels=LABELS), image_size=12)
  assert integers.image_shape == (12, 12, 3)


TRAIN = dict(train_images=IMAGES, train_labels=LABELS)
NAN = (IMAGES / 255).astype(np.float32)
NAN[3, 2, 1, 0] = np.nan


@pytest.mark.parametrize(
  'entries, message',
  [
    (dict(class_names=['a']), 'images and labels missing, the file holds class_names; it needs'),
    (dict(train_images=IMAGES), 'train_labels missing'),
    (dict(train_images=IMAGES, train_labels=LABELS, test_images=IMAGES), 'test_labels missing'),
    (dict(images=IMAGES, labels=LABELS[:7]), '10 images but labels 7 labels'),
    (dict(images=IMAGES, labels=LABELS.astype(float)), 'labels must be whole numbers'),
    (
      dict(images=IMAGES, labels=np.eye(10, dtype=int)),
      'labels must be whole numbers .* shape \\[10, 10\\]',
    ),
    (dict(images=IMAGES, labels=LABELS - 1), 'labels must be 0 or more; the smallest is -1'),
    (dict(images=IMAGES, labels=LABELS * 2), "class '1' has no training image"),
    (dict(images=NAN, labels=LABELS), 'NaN or infinite pixels, the first in image 3'),
    (dict(images=IMAGES.astype(np.float32), labels=LABELS), 'floats must lie in \\[0, 1\\]'),
    (dict(images=IMAGES.astype(int) * 2, labels=LABELS), 'integers must lie in \\[0, 255\\]'),
    (
      dict(images=IMAGES > 9, labels=LABELS),
      'must be uint8 or floats in \\[0, 1\\]; they are bool',
    ),
    (
      dict(images=IMAGES[:, 0, 0], labels=LABELS),
      'must have the shape .*; the shape is \\[10, 3\\]',
    ),
    (dict(images=IMAGES.transpose(0, 3, 1, 2), labels=LABELS), 'channels must come last'),
    (dict(images=IMAGES, labels=np.arange(10)), 'every class has a single image'),
    (
      TRAIN | dict(test_images=IMAGES, test_labels=LABELS + 1),
      'test images have the label 2, and the training images',
    ),
    (TRAIN | dict(test_images=IMAGES[:, :5], test_labels=LABELS), 'give image_size'),
  ],
)
def test_npz_mistakes(tmp_path, entries, message):
  with pytest.raises(UserError, match=message):
    load(_npz(tmp_path, **entries))


def test_npz_files_that_are_none(tmp_path):
  with pytest.raises(UserError, match='there is no such file'):
    load(f'npz:{tmp_path / "nothing.npz"}')
  whole = tmp_path / 'whole.npz'
  np.savez(whole, images=IMAGES, labels=LABELS)
  objects = tmp_path / 'objects.npz'
  np.savez(objects, images=np.array([{}], object), labels=LABELS)
  single = tmp_path / 'single.npy'
  np.save(single, IMAGES)
  text, cut = tmp_path / 'text.npz', tmp_path / 'cut.npz'
  text.write_text('no arrays here')
  cut.write_bytes(whole.read_bytes()[:300])
  for file in (text, cut, objects, single):
    with pytest.raises(UserError, match='cannot be read as an npz file of plain arrays'):
      load(f'npz:{file}')


def test_public_names():
  assert (
    data.load is load and data.Dataset.__name__ == 'Dataset' and callable(data.augment.diffaugment)
  )


@pytest.mark.parametrize('name', ['digits', 'npz', 'folder'])
def test_images_larger_than_the_memory_are_refused_before_any_is_resized(tmp_path, name):
  images, labels = np.full((4, 8, 8, 3), 200, np.uint8), [0, 0, 1, 1]
  np.savez(tmp_path / 'mine.npz', images=images, labels=labels)
  for number, label in enumerate(labels):
    (tmp_path / 'photos' / str(label)).mkdir(parents=True, exist_ok=True)
    Image.fromarray(images[number]).save(tmp_path / 'photos' / str(label) / f'{number}.png')
  place = {'npz': f'npz:{tmp_path}/mine.npz', 'folder': f'folder:{tmp_path}/photos'}
  with pytest.raises(UserError, match='memory.* smaller image_size'):
    load(place.get(name, name), image_size=10**6)


def test_notices_are_told_once_a_load(monkeypatch):
  digits = sources._read_digits(8)
  monkeypatch.setattr(sources, '_read_digits', lambda _: digits._replace(notices=('one', 'two')))
  lines = []
  train, test = load('digits', image_size=8, tell=lines.append)
  assert lines == ['one', 'two'] == list(train.notices) and test.notices == train.notices
  assert train.take([0, 1]).notices == train.notices
  with pytest.warns(UserWarning, match='one') as warned:
    load('digits', image_size=8)
  assert [str(warning.message) for warning in warned] == ['one', 'two']
  assert warned[0].filename == __file__

"""Digits, npz files and folders of images: what comes in, and one sentence for what cannot."""

import numpy as np
import PIL.Image
import pytest

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
  ],
)
def test_arguments_are_checked(arguments, message):
  with pytest.raises(UserError, match=message):
    load('digits', **arguments)


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
    (dict(pictures=IMAGES), 'images and labels missing, the file holds pictures; it needs'),
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
    (TRAIN | dict(test_images=IMAGES, test_labels=LABELS + 1), 'label 2 needs at least'),
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


def _folder(root, counts, size=(9, 6), mode='RGB', suffix='.png'):
  """One colour a class, so that resizing keeps it."""
  for label, (name, count) in enumerate(counts.items()):
    (root / name).mkdir(parents=True)
    for number in range(count):
      value = 40 * label + 10
      PIL.Image.new(mode, size, value if mode == 'L' else (value, 0, 255)).save(
        root / name / f'{number}{suffix}'
      )


def test_folder_of_classes(tmp_path):
  _folder(tmp_path, {'ant': 5, 'bee': 10})
  (tmp_path / '.hidden').mkdir()
  (tmp_path / 'bee' / 'notes.txt').write_text('not an image')
  train, test = load(f'folder:{tmp_path}')
  assert train.class_names == ('ant', 'bee') and train.image_shape == (32, 32, 3)
  assert train.counts.tolist() == [4, 8] and test.counts.tolist() == [1, 2]
  np.testing.assert_array_equal(train.images[:, 5, 7, 0], 10 + 40 * train.labels)


def test_folder_with_splits_grey_images_and_numbers_for_names(tmp_path):
  _folder(tmp_path / 'train', {str(name): 1 for name in (2, 10, 1)}, mode='L', suffix='.bmp')
  _folder(tmp_path / 'val', {'10': 2}, mode='L')
  (tmp_path / 'raw').mkdir()
  train, test = load(f'folder:{tmp_path}', image_size=8)
  assert train.class_names == ('1', '2', '10') and train.image_shape == (8, 8, 1)
  assert test.labels.tolist() == [2, 2]
  # The folders were made in the order 2, 10, 1.
  assert train.images[:, 0, 0, 0].tolist() == [90, 10, 50]


def test_classes_may_be_called_train_and_test(tmp_path):
  _folder(tmp_path, {'train': 2, 'test': 2})
  assert load(f'folder:{tmp_path}')[0].class_names == ('test', 'train')


def test_folder_images_are_cut_about_the_centre(tmp_path):
  wide = np.zeros((8, 24, 3), np.uint8)
  wide[:, 8:16] = 200
  for name in ('a', 'b'):
    (tmp_path / name).mkdir()
    for number in range(2):
      PIL.Image.fromarray(wide).save(tmp_path / name / f'{number}.png')
  train, _ = load(f'folder:{tmp_path}', image_size=8)
  assert (train.images == 200).all()


def test_one_colour_image_makes_the_set_coloured(tmp_path):
  _folder(tmp_path, {'a': 2}, mode='L')
  _folder(tmp_path, {'b': 2})
  train, _ = load(f'folder:{tmp_path}')
  assert train.images[0, 0, 0].tolist() == [10, 10, 10] and train.images[1, 0, 0].tolist() == [
    10,
    0,
    255,
  ]


def test_folder_mistakes(tmp_path):
  with pytest.raises(UserError, match='there is no such folder'):
    load(f'folder:{tmp_path / "nothing"}')
  with pytest.raises(UserError, match='found 0 class folders, at least 2 are needed'):
    load(f'folder:{tmp_path}')
  _folder(tmp_path, {'ant': 2})
  with pytest.raises(UserError, match='found 1 class folders'):
    load(f'folder:{tmp_path}')
  (tmp_path / 'bee').mkdir()
  with pytest.raises(UserError, match="the class folder 'bee' in .* holds no images"):
    load(f'folder:{tmp_path}')
  (tmp_path / 'bee' / 'broken.png').write_bytes((tmp_path / 'ant' / '0.png').read_bytes()[:50])
  with pytest.raises(UserError, match='the image .*broken.png cannot be read'):
    load(f'folder:{tmp_path}')
  PIL.Image.new('I;16', (4, 4)).save(tmp_path / 'bee' / 'broken.png')
  with pytest.raises(UserError, match='broken.png has more than 8 bits a channel'):
    load(f'folder:{tmp_path}')


def test_folder_split_mistakes(tmp_path):
  _folder(tmp_path / 'train', {'a': 1, 'b': 1})
  (tmp_path / 'test').mkdir()
  with pytest.raises(UserError, match='test holds no class folder'):
    load(f'folder:{tmp_path}')
  _folder(tmp_path / 'test', {'c': 1})
  with pytest.raises(UserError, match="class folder 'c' is in test but not in train"):
    load(f'folder:{tmp_path}')


def test_public_names():
  assert (
    data.load is load and data.Dataset.__name__ == 'Dataset' and callable(data.augment.diffaugment)
  )


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

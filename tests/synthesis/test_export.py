"""Condensed sets for other programs: PNG folders with a manifest, and sets of TensorFlow
Datasets."""

import hashlib
import json

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from jaxdistill import data
from jaxdistill.condensation import Condensed
from jaxdistill.data import Dataset, folders, tfds_sets
from jaxdistill.errors import UserError
from jaxdistill.synthesis import export

SOFT = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]], np.float32)


def example(**changes):
  images = np.random.default_rng(0).random((3, 8, 8, 3))
  return Condensed(
    **(
      dict(
        images=images,
        labels=[0, 1, 2],
        class_names=('a/b', 'blue', 'c'),
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.2, 0.2),
        factor=2,
        flip=False,
        dataset='toy',
        method='m3d',
        config={'seed': 3},
      )
      | changes
    )
  )


def by_content(images, labels):
  return sorted(zip(map(bytes, images), map(int, labels)))


def test_png_files_hold_the_training_images_and_the_manifest_all_else(tmp_path):
  made = example()
  root = made.to_png(tmp_path / 'out')
  expected = made.as_dataset()
  manifest = json.loads((root / 'manifest.json').read_text())
  assert (
    manifest['factor'] == 1
    and manifest['class_names'] == ['a/b', 'blue', 'c']
    and manifest['mean'] == [0.5, 0.4, 0.3]
  )
  assert (
    manifest['config'] == {'seed': 3} and manifest['recipe'] == 'idc' and manifest['flip'] is False
  )
  assert len(manifest['images']) == 12
  for number, entry in enumerate(manifest['images']):
    content = (root / entry['file']).read_bytes()
    assert (
      entry['sha256'] == hashlib.sha256(content).hexdigest()
      and entry['label'] == expected.labels[number]
    )
    np.testing.assert_array_equal(
      np.asarray(PIL.Image.open(root / entry['file'])), expected.images[number]
    )
  assert sorted(path.name for path in root.iterdir() if path.is_dir()) == ['0-a_b', '1-blue', '2-c']
  stored = folders.read_folder(str(root), 8)
  np.testing.assert_array_equal(stored.train[0], expected.images)
  np.testing.assert_array_equal(stored.train[1], expected.labels)


def test_canvases_and_soft_labels_can_be_exported_as_they_are(tmp_path):
  made = example(
    images=np.random.default_rng(1).random((3, 8, 8, 1)), mean=(0.5,), std=(0.2,), labels=SOFT
  )
  root = made.to_png(tmp_path / 'out', decoded=False)
  manifest = json.loads((root / 'manifest.json').read_text())
  assert manifest['factor'] == 2 and len(manifest['images']) == 3
  np.testing.assert_allclose([entry['label'] for entry in manifest['images']], SOFT)
  picture = np.asarray(PIL.Image.open(root / manifest['images'][1]['file']))
  np.testing.assert_array_equal(picture, np.rint(made.images[1, :, :, 0] * 255))


NAMES = {
  'numbers in another order': ('7', '3', '10'),
  'some their own numbers': ('0', 'b', '2'),
  'duplicates': ('a', 'a', 'b'),
  'no names of folders': ('a/b', '..', ''),
  'blanks and lines': ('a\nb', ' c ', 'd\r'),
  'long': ('日' * 200, '𠀀' * 200, 'x' * 300),
  'case': ('cat', 'Cat', 'CAT'),
  'two hundred': tuple(map(str, range(200))),
  'twelve': tuple(f'class {label}' for label in range(12)),
}


def test_names_of_folders_sort_as_the_classes_do():
  assert export._folder_names(tuple('0123456789')) == list('0123456789')
  assert export._folder_names(('..', *map(str, range(1, 11))))[0] == '00-..'
  for names in NAMES.values():
    folders_made = export._folder_names(names)
    assert folders_made == sorted(folders_made) and len(set(folders_made)) == len(names)
    assert all(len(name.encode()) < 100 for name in folders_made)


@pytest.mark.parametrize('case', NAMES)
@pytest.mark.parametrize('decoded', [True, False])
def test_a_png_folder_is_read_back_as_it_was(tmp_path, case, decoded):
  names = NAMES[case]
  rng = np.random.default_rng(0)
  labels = rng.permutation(np.repeat(np.arange(len(names)), 2))
  made = example(images=rng.random((len(labels), 4, 4, 3)), labels=labels, class_names=names)
  root = made.to_png(tmp_path / 'out', decoded=decoded)
  stored = folders.read_folder(str(root), 0)
  images = made.as_dataset().images if decoded else np.rint(made.images * 255)
  np.testing.assert_array_equal(stored.train[0], images)
  np.testing.assert_array_equal(stored.train[1], made.as_dataset().labels if decoded else labels)
  assert stored.class_names == names and stored.flip is False
  assert stored.statistics == (made.mean, made.std)
  train, test = data.load(f'folder:{root}', tell=print)
  assert train.image_shape == (4, 4, 3) and (train.class_names, train.mean) == (names, made.mean)
  if not decoded:
    assert 'canvases of factor 2, taken as they are' in train.notices[0]


@pytest.mark.parametrize('channels', [1, 4])
def test_channels_are_those_of_the_set(tmp_path, channels):
  images = np.random.default_rng(0).random((6, 4, 4, channels))
  made = example(
    images=images,
    labels=[0, 0, 1, 1, 2, 2],
    mean=(0.5,) * channels,
    std=(0.2,) * channels,
    factor=1,
  )
  root = made.to_png(tmp_path / 'out')
  stored = folders.read_folder(str(root), 0)
  np.testing.assert_array_equal(stored.train[0], np.rint(made.images * 255))
  assert not stored.notices and not stored.background
  data_dir = made.to_tfds(tmp_path / 'sets', name='made').parents[1]
  train, test = data.load('made', data_dir=str(data_dir))
  assert by_content(
    np.concatenate([train.images, test.images]), np.concatenate([train.labels, test.labels])
  ) == by_content(stored.train[0], stored.train[1])


@pytest.mark.parametrize('case', NAMES)
def test_a_set_of_tensorflow_datasets_is_read_back_as_it_was(tmp_path, case):
  tfds.disable_progress_bar()
  names = NAMES[case]
  rng = np.random.default_rng(0)
  labels = rng.permutation(np.repeat(np.arange(len(names)), 2))
  made = example(images=rng.random((len(labels), 4, 4, 3)), labels=labels, class_names=names)
  folder = made.to_tfds(tmp_path / 'sets', name='made')
  stored = tfds_sets.read('made', str(tmp_path / 'sets'))
  expected = made.as_dataset()
  np.testing.assert_array_equal(stored.train[0], expected.images)
  np.testing.assert_array_equal(stored.train[1], expected.labels)
  assert stored.class_names == names and stored.test is None and stored.flip is False
  assert stored.statistics == (made.mean, made.std)
  known = tfds.builder_from_directory(folder).info.features['label'].names
  assert len(set(known)) == len(names)
  if case in ('numbers in another order', 'case', 'twelve'):
    assert tuple(known) == names


def test_an_npz_file_is_read_back_as_it_was(tmp_path):
  for number, names in enumerate(NAMES.values()):
    made = example(
      images=np.full((len(names), 2, 2, 3), 0.25), labels=np.arange(len(names)), class_names=names
    )
    again = Condensed.load(made.save(tmp_path / f'{number}.npz'))
    assert again.class_names == names and again.labels.tolist() == list(range(len(names)))


def test_a_class_without_images_is_named_and_moves_no_other(tmp_path):
  tfds.disable_progress_bar()
  made = example(labels=[0, 2, 2])
  root = made.to_png(tmp_path / 'out')
  assert set(folders.read_folder(str(root), 0).train[1]) == {0, 2}
  made.to_tfds(tmp_path, name='made')
  for name in (f'folder:{root}', 'made'):
    with pytest.raises(UserError, match="class 'blue' has no training image"):
      data.load(name, data_dir=str(tmp_path))


def test_soft_labels_are_told(tmp_path):
  tfds.disable_progress_bar()
  made = example(labels=SOFT)
  root = made.to_png(tmp_path / 'out')
  made.to_tfds(tmp_path, name='made')
  for stored in (folders.read_folder(str(root), 0), tfds_sets.read('made', str(tmp_path))):
    assert stored.train[1].tolist() == made.as_dataset().labels.tolist()
    assert 'the labels are soft; of each the likeliest class is taken' in stored.notices[0]


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  tfds.disable_progress_bar()
  made = example(labels=SOFT)
  test = Dataset(
    np.arange(5 * 192).reshape(5, 8, 8, 3).astype(np.uint8),
    np.array([0, 1, 2, 1, 0]),
    made.class_names,
  )
  root = tmp_path_factory.mktemp('sets')
  return made, test, root, made.to_tfds(root, name='small', test=test)


def test_tfds_reads_the_folder_without_tensorflow(prepared):
  made, _, root, folder = prepared
  assert folder == root / 'small' / '1.0.0'
  builder = tfds.builder_from_directory(folder)
  assert builder.info.features['label'].names == list(made.class_names)
  images, soft = made.decode()
  found = list(builder.as_data_source(split='train'))
  expected = made.as_dataset()
  assert by_content((e['image'] for e in found), (e['label'] for e in found)) == by_content(
    expected.images, expected.labels
  )
  number = {bytes(image): n for n, image in enumerate(expected.images)}
  for each in found:
    np.testing.assert_array_equal(each['soft_label'], soft[number[bytes(each['image'])]])
  assert len(tfds.data_source('small', split='test', data_dir=root)) == 5
  assert json.loads((folder / 'manifest.json').read_text())['std'] == [0.2, 0.2, 0.2]
  assert [path.name for path in root.iterdir()] == ['small']


def test_our_own_reader_takes_it_by_name(prepared):
  made, test, root, _ = prepared
  train, read = data.load('small', data_dir=str(root), tell=print)
  expected = made.as_dataset()
  assert by_content(train.images, train.labels) == by_content(expected.images, expected.labels)
  assert by_content(read.images, read.labels) == by_content(test.images, test.labels)
  assert train.class_names == made.class_names


def test_nothing_is_overwritten_and_nothing_half_is_left(tmp_path, prepared, monkeypatch):
  made, _, root, _ = prepared
  with pytest.raises(UserError, match='exists already'):
    made.to_tfds(root, name='small')
  with pytest.raises(UserError, match='exists already'):
    made.to_png(root)
  real, calls = export._png, []

  def failing(image):
    calls.append(1)
    if len(calls) > 4:
      raise OSError(28, 'No space left on device')
    return real(image)

  monkeypatch.setattr(export, '_png', failing)
  for write in (made.to_png, made.to_tfds):
    calls.clear()
    with pytest.raises(UserError, match='No space left'):
      write(tmp_path / 'out')
    assert list(tmp_path.rglob('*')) in ([], [tmp_path / 'out'])
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot be exported'):
    made.to_png(tmp_path / 'file' / 'out')


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(name='My set'), "'My set' cannot name a set"),
    (
      dict(test=Dataset(np.zeros((3, 4, 4, 3), np.uint8), np.arange(3))),
      'The condensed set has images of 8x8x3 and the test set of 4x4x3',
    ),
    (dict(test=np.zeros((3, 8, 8, 3), np.uint8)), 'The test images are a Dataset; got ndarray'),
    (
      dict(
        test=Dataset(np.zeros((3, 8, 8, 3), np.uint8), np.arange(3), ('a/b', 'c', 'blue')),
      ),
      "The condensed set numbers the classes in another order than the test set: class 1 is 'blue' "
      "there and 'c' here",
    ),
  ],
)
def test_wrong_names_of_sets_and_test_images_are_refused(tmp_path, options, message):
  with pytest.raises(UserError, match=message):
    example().to_tfds(tmp_path, **options)
  two = example(images=np.zeros((3, 8, 8, 2)), mean=(0, 0), std=(1, 1))
  with pytest.raises(UserError, match='Pictures have 1, 3 or 4 channels; this set has 2'):
    two.to_png(tmp_path / 'out')

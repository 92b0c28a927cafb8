"""A set of TensorFlow Datasets, written here and read back without TensorFlow."""

import io
import json
import os
import shutil
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from jaxdistill.data import load, streaming
from jaxdistill.data.identity import Identity
from jaxdistill.errors import UserError

IMAGES = np.random.RandomState(0).randint(0, 256, (12, 8, 8, 3)).astype(np.uint8)
LABELS = np.arange(12) % 3


def _write(root, name, splits, size=(8, 8), config=None, channels=3, images=IMAGES, ids=''):
  """A prepared set of `splits`: a dict from the name of the split to positions in `images`; `ids`
  is the feature that tells them."""

  class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version('1.2.0')
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

    def _info(self):
      features = tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(shape=(*size, channels)),
          'label': tfds.features.ClassLabel(names=['red', 'green', 'blue']),
        }
        | ({ids: tfds.features.Text()} if ids else {})
      )
      return tfds.core.DatasetInfo(
        builder=self, supervised_keys=('image', 'label'), features=features
      )

    def _split_generators(self, dl_manager):
      return {split: self._generate_examples(positions) for split, positions in splits.items()}

    def _generate_examples(self, positions):
      for n in positions:
        png = io.BytesIO()
        PIL.Image.fromarray(images[n] if channels == 3 else images[n, :, :, 0]).save(png, 'PNG')
        png.seek(0)
        called = {ids: f'train_{n:05d}'} if ids else {}
        yield n, {'image': png, 'label': int(LABELS[n]), **called}

  Tiny.name = name
  Tiny(data_dir=root, file_format='array_record').download_and_prepare()


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  tfds.disable_progress_bar()
  folder = tmp_path_factory.mktemp('tensorflow_datasets')
  _write(folder, 'tiny', {'train': range(9), 'test': range(9, 12)})
  _write(
    folder, 'mnist', {'train': range(9), 'validation': range(9, 12)}, size=(None, None), channels=1
  )
  _write(folder, 'varied', {'train': range(3), 'test': range(3)}, config='plain')
  _write(folder, 'varied', {'train': range(3), 'test': range(3)}, config='other')
  _write(folder, 'lonely', {'train': range(9)})
  _write(folder, 'heldout', {'test': range(3)})
  several = {'train': range(6), 'test': range(3), 'extra': range(2), 'validation': range(1)}
  _write(folder, 'several', several)
  return folder


def _by_content(images, labels):
  return sorted(zip(map(bytes, images), labels.tolist()))


def test_reads_what_was_written_without_tensorflow(root):
  before = 'tensorflow' in sys.modules
  train, test = load('tiny', data_dir=str(root))
  assert _by_content(train.images, train.labels) == _by_content(IMAGES[:9], LABELS[:9])
  assert _by_content(test.images, test.labels) == _by_content(IMAGES[9:], LABELS[9:])
  assert ('tensorflow' in sys.modules) == before
  assert train.class_names == ('red', 'green', 'blue') and train.flip and test.split == 'test'


@pytest.mark.parametrize('stream_above', [None, 0])
@pytest.mark.parametrize('feature', ['id', 'image/filename'])
def test_images_are_called_as_the_set_calls_them(tmp_path, feature, stream_above):
  """TensorFlow Datasets shuffles what it writes; CIFAR tells the row of the original."""
  _write(tmp_path, 'rows', {'train': range(9), 'test': range(9, 12)}, ids=feature)
  train, _ = load('rows', data_dir=str(tmp_path), stream_above=stream_above)
  rows = [int(name.removeprefix('train_')) for name in train.ids]
  assert sorted(rows) == list(range(9)) != rows
  np.testing.assert_array_equal(train.images[:], IMAGES[rows])


def test_images_can_stay_on_disk(root):
  streamed, test = load('tiny', data_dir=str(root), stream_above=0)
  train, _ = load('tiny', data_dir=str(root))
  assert isinstance(streamed.images, streaming.Streamed) and isinstance(test.images, np.ndarray)
  np.testing.assert_array_equal(streamed.labels, train.labels)
  np.testing.assert_array_equal(streamed.images[[8, 0, 3]], train.images[[8, 0, 3]])
  resized, _ = load('mnist', data_dir=str(root), image_size=4, stream_above=0)
  assert resized.images[:].shape == (9, 4, 4, 1)


def test_validation_split_stands_in_and_sizes_are_needed(root, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(root))
  with pytest.raises(UserError, match='its images differ in size; set image_size'):
    load('mnist')
  train, test = load('mnist:1.2.0', image_size=8)
  assert _by_content(test.images[..., 0], test.labels) == _by_content(
    IMAGES[9:, :, :, 0], LABELS[9:]
  )
  assert train.mean == (0.1307,) and not train.flip


def test_variants_are_named(root):
  with pytest.raises(
    UserError, match='holds the variants other, plain; name one, such as varied/other'
  ):
    load('varied', data_dir=str(root))
  assert len(load('varied/plain', data_dir=str(root))[0]) == 3


def test_train_alone_is_divided(root):
  train, test = load('lonely', data_dir=str(root))
  assert train.counts.tolist() == [2, 2, 2] and test.counts.tolist() == [1, 1, 1]
  assert _by_content(
    np.concatenate([train.images, test.images]), np.concatenate([train.labels, test.labels])
  ) == _by_content(IMAGES[:9], LABELS[:9])


def test_a_set_without_training_images_is_refused(root):
  with pytest.raises(UserError, match='heldout: needs a train split; it has test'):
    load('heldout', data_dir=str(root))


def test_further_splits_are_told(root):
  lines = []
  load('several', data_dir=str(root), tell=lines.append)
  assert lines == ['several: splits that are not read: extra (2), validation (1).']


def test_set_that_is_not_on_disk_says_how_to_get_it(tmp_path):
  with pytest.raises(UserError) as caught:
    load('cifar10', data_dir=str(tmp_path))
  assert str(tmp_path) in str(
    caught.value
  ) and 'tfds build cifar10 --file_format=array_record' in str(caught.value)


def test_unknown_name_is_told_the_nearest(tmp_path):
  with pytest.raises(UserError, match="no data set 'cifr10'; did you mean 'cifar10'"):
    load('cifr10', data_dir=str(tmp_path))
  with pytest.raises(UserError, match="no data set 'Digits'; did you mean 'digits'"):
    load('Digits', data_dir=str(tmp_path))


def test_other_file_format_is_named(root, tmp_path):
  folder = tmp_path / 'tiny' / '1.2.0'
  folder.mkdir(parents=True)
  for file in (root / 'tiny' / '1.2.0').glob('*.json'):
    (folder / file.name).write_text(file.read_text())
  info = json.loads((folder / 'dataset_info.json').read_text())
  (folder / 'dataset_info.json').write_text(json.dumps(info | {'fileFormat': 'tfrecord'}))
  with pytest.raises(
    UserError, match='is in tfrecord format, which needs TensorFlow to read; run `tfds build tiny'
  ):
    load('tiny', data_dir=str(tmp_path))


@pytest.fixture
def tiny(root, tmp_path):
  """A copy to be damaged: (data_dir, the folder of the version)."""
  shutil.copytree(root / 'tiny', tmp_path / 'tiny')
  return tmp_path, tmp_path / 'tiny' / '1.2.0'


SHARD = 'tiny-train.array_record-00000-of-00001'


@pytest.mark.parametrize(
  'file, content, message',
  [
    ('dataset_info.json', b'{"a":', 'dataset_info.json is damaged .JSONDecodeError.'),
    ('dataset_info.json', b'[]', 'dataset_info.json is damaged'),
    ('dataset_info.json', b'\xff\xfe', 'dataset_info.json is damaged'),
    (
      'dataset_info.json',
      b'{"fileFormat": "array_record"}',
      'is damaged or incomplete .ValueError',
    ),
    ('features.json', b'{', 'is damaged or incomplete .JSONDecodeError'),
    ('features.json', None, 'is damaged or incomplete'),
    (SHARD, None, 'is damaged or incomplete .*No such file'),
    (SHARD, b'', 'is damaged or incomplete'),
    (SHARD, bytes(70_000), 'is damaged or incomplete'),
  ],
)
@pytest.mark.parametrize('above', [None, 0])
def test_a_damaged_set_ends_in_one_sentence(tiny, file, content, message, above):
  root, folder = tiny
  if content is None:
    (folder / file).unlink()
  else:
    (folder / file).write_bytes(content)
  with pytest.raises(UserError, match=message) as caught:
    load('tiny', data_dir=str(root), stream_above=above)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('count', ['12', '5', '-1'])
def test_the_files_hold_as_many_examples_as_the_description_tells(tiny, count):
  root, folder = tiny
  text = (folder / 'dataset_info.json').read_text()
  assert '"9"' in text
  (folder / 'dataset_info.json').write_text(text.replace('"9"', f'"{count}"'))
  with pytest.raises(UserError, match=f'00001 holds 9 examples, where .* tells of {count}'):
    load('tiny', data_dir=str(root))


def test_a_shard_that_breaks_while_it_streams(tiny):
  root, folder = tiny
  images = load('tiny', data_dir=str(root), stream_above=0)[0].images
  content = (folder / SHARD).read_bytes()
  (folder / SHARD).write_bytes(content[:64] + bytes(2000) + content[2064:])
  with pytest.raises(UserError, match='tiny: the set in .* is damaged or incomplete'):
    images[:]


def test_versions_and_variants_that_are_not_there_are_answered_by_those_that_are(root):
  with pytest.raises(UserError, match='which holds tiny:1.2.0; name one of them'):
    load('tiny:3.0.0', data_dir=str(root))
  with pytest.raises(UserError, match='which holds varied/other:1.2.0, varied/plain:1.2.0; name'):
    load('varied/none', data_dir=str(root))


def test_a_newer_version_of_another_format_is_told(tiny):
  root, folder = tiny
  newer = root / 'tiny' / '2.0.0'
  shutil.copytree(folder, newer)
  info = json.loads((newer / 'dataset_info.json').read_text())
  (newer / 'dataset_info.json').write_text(json.dumps(info | {'fileFormat': 'tfrecord'}))
  lines = []
  load('tiny', data_dir=str(root), tell=lines.append)
  assert lines == ['tiny: 1.2.0 is read; of other file formats: 2.0.0.']


def test_a_streamed_set_is_known_by_its_files(root, tmp_path):
  shutil.copytree(root / 'tiny', tmp_path / 'tiny', copy_function=shutil.copyfile)

  def load_it():
    return load('tiny', data_dir=str(tmp_path), stream_above=0)[0]

  first = load_it()
  record = Identity(first).to_json()
  (shard,) = first.images.files
  assert shard.name.startswith('tiny-train.array_record')
  os.utime(shard, (1, 1))
  again = load_it()
  assert Identity(again).differences(record, 'training') == []
  shutil.rmtree(tmp_path / 'tiny')
  _write(tmp_path, 'tiny', {'train': range(9), 'test': range(9, 12)}, images=255 - IMAGES)
  assert 'other pixels of the training images' in Identity(load_it()).differences(
    record, 'training'
  )
  assert bytes(load_it().images.fingerprint) != bytes(first.images.fingerprint)


@pytest.mark.parametrize('above', [None, 0])
def test_transparency_is_laid_on_white_and_told(tmp_path, above):
  opaque = np.full((*IMAGES.shape[:3], 1), 255, np.uint8)
  opaque[:, :2] = 0
  pictures = np.concatenate([IMAGES, opaque], 3)
  _write(tmp_path, 'clear', {'train': range(6), 'test': range(3)}, images=pictures)
  lines = []
  train, test = load('clear', data_dir=str(tmp_path), stream_above=above, tell=lines.append)
  assert lines == ['clear: transparent pictures, laid on white: 9.']
  assert 'transparent ones on white' in train.describe()
  expected = np.where(opaque == 0, 255, IMAGES).astype(np.uint8)
  assert _by_content(train.images[:], train.labels) == _by_content(expected[:6], LABELS[:6])

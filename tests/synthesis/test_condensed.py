"""The condensed set and its file."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jaxdistill.errors import UserError
from jaxdistill.synthesis.condensed import FORMAT, Condensed


def example(**changes):
  rng = np.random.default_rng(0)
  fields = dict(
    images=rng.random((6, 4, 4, 3)),
    labels=np.repeat([0, 1, 2], 2),
    class_names=('a', 'b', 'c'),
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.2, 0.2),
    factor=2,
    flip=True,
    dataset='toy',
    method='m3d',
    recipe='idc',
    augmentation={'strategy': 'color', 'composition': 'idc'},
    config={'seed': 3},
    versions={'jax': '0'},
  )
  return Condensed(**(fields | changes))


def test_save_and_load_keep_everything(tmp_path):
  made = example()
  again = Condensed.load(made.save(tmp_path / 'set.npz'))
  for name, value in vars(made).items():
    np.testing.assert_array_equal(getattr(again, name), value) if isinstance(
      value, np.ndarray
    ) else None
    assert isinstance(value, np.ndarray) or getattr(again, name) == value, name
  assert [p.name for p in tmp_path.iterdir()] == ['set.npz']  # no temporary file stays


def test_sets_are_equal_by_content(tmp_path):
  made = example(config={'seed': 3, 'steps': (1, 2)})
  again = Condensed.load(made.save(tmp_path / 'set.npz'))
  assert made == again and hash(made) == hash(again) and len({made, again}) == 1
  pixel = made.images.copy()
  pixel[0, 0, 0, 0] += 0.25
  others = [example(images=pixel), example(labels=[0, 0, 1, 2, 1, 2]), example(dataset='other')]
  assert not any(example() == other for other in others)
  assert len({example(), *others}) == 4
  assert example() != 'toy'
  zero, negative = np.zeros((6, 4, 4, 3)), np.full((6, 4, 4, 3), -0.0)
  assert example(images=zero) == example(images=negative)
  assert hash(example(images=zero)) == hash(example(images=negative))


def test_decode_returns_labels_beside_images():
  images, labels = example().decode()
  assert images.shape == (24, 4, 4, 3)
  np.testing.assert_array_equal(labels, np.repeat([0, 1, 2], 8))


def test_counts():
  assert (example().ipc, example().num_classes) == (2, 3)


def test_picture_shows_a_class_a_row():
  made = example(images=np.zeros((6, 4, 4, 3)))
  picture = made.picture()
  assert picture.dtype == np.uint8 and picture.shape[2] == 3
  assert picture.shape[0] > picture.shape[1]  # three rows of two


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(images=np.zeros((5, 4, 4, 3))), r'images \[n, h, w, c\] and labels \[n\]'),
    (dict(images=np.full((6, 4, 4, 3), np.nan)), 'must be finite'),
    (dict(labels=np.repeat([0, 1, 3], 2)), r'must lie in 0\.\.2'),
    (dict(mean=(0.5,)), '3 channels; got 1 and 3'),
    (dict(factor=5), 'between 1 and the image side; got 5'),
    (
      dict(images=np.zeros((6, 4, 4, 3), np.uint8)),
      r'floats in units of \[0, 1\]; these are uint8',
    ),
    (dict(images=np.zeros((0, 4, 4, 3)), labels=np.zeros(0, int)), 'at least one; got'),
    (dict(labels=np.full(6, 0.5)), r'whole numbers \[n\] or soft'),
    (dict(labels=np.full((6, 2), 0.5)), 'a number for each of the 3 class names'),
    (dict(labels=np.full((6, 3), 0.4)), 'of an image sum to 1'),
    (dict(labels=np.tile([1.5, -0.5, 0], (6, 1))), 'none is negative'),
    (dict(labels=np.full((6, 3), np.nan)), 'none is negative'),
    (dict(std=(0.2, 0, 0.2)), 'every std is above 0'),
    (dict(mean=(0.2, np.nan, 0.2)), 'are finite'),
  ],
)
def test_what_does_not_fit_is_refused(changes, message):
  with pytest.raises(UserError, match=message):
    example(**changes)


def rewrite(path, **changes):
  with np.load(path) as file:
    arrays = dict(file)
  description = json.loads(str(arrays.pop('description'))) | changes
  np.savez(
    path,
    description=np.array(json.dumps({k: v for k, v in description.items() if v is not None})),
    **arrays,
  )


def test_a_newer_format_is_refused(tmp_path):
  path = example().save(tmp_path / 'set.npz')
  rewrite(path, format=FORMAT + 1)
  with pytest.raises(UserError, match=f'has format {FORMAT + 1}.*update jaxdistill'):
    Condensed.load(path)


def test_a_missing_field_is_named(tmp_path):
  path = example().save(tmp_path / 'set.npz')
  rewrite(path, factor=None)
  with pytest.raises(UserError, match='lacks factor'):
    Condensed.load(path)


def test_damaged_missing_and_foreign_files_are_refused(tmp_path):
  path = example().save(tmp_path / 'set.npz')
  whole = path.read_bytes()
  path.write_bytes(whole[: len(whole) // 2])
  with pytest.raises(UserError, match='is damaged or no .npz file'):
    Condensed.load(path)
  with pytest.raises(UserError, match='There is no condensed set at'):
    Condensed.load(tmp_path / 'other.npz')
  np.savez(tmp_path / 'foreign.npz', images=np.zeros(3))
  with pytest.raises(UserError, match='is no condensed set: it lacks labels'):
    Condensed.load(tmp_path / 'foreign.npz')


def test_an_unwritable_place_is_told(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot be written'):
    example().save(tmp_path / 'file' / 'set.npz')


SOFT = np.array(
  [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2], [0, 0, 1], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]],
  np.float32,
)


def test_soft_labels_are_kept_in_the_file_and_repeated_for_the_cells(tmp_path):
  made = Condensed.load(example(labels=SOFT).save(tmp_path / 'set.npz'))
  np.testing.assert_array_equal(made.labels, SOFT)
  np.testing.assert_array_equal(made.hard_labels, [0, 1, 0, 2, 1, 2])
  assert made.ipc == 2 and made.labels.dtype == np.float32
  images, labels = made.decode()
  hard = example(images=made.images, labels=made.hard_labels).decode()
  np.testing.assert_array_equal(images, hard[0])
  np.testing.assert_array_equal(labels.argmax(1), hard[1])
  np.testing.assert_array_equal(labels[:8], np.tile(SOFT[[0, 2]], (4, 1)))
  np.testing.assert_array_equal(
    made.picture(), example(images=made.images, labels=made.hard_labels).picture()
  )


def test_as_dataset_is_uint8_with_hard_labels():
  images = np.full((6, 4, 4, 3), 0.5)
  images[0], images[1] = -0.3, 1.2  # what a method without a clamp leaves
  made = example(images=images, labels=SOFT, factor=1).as_dataset()
  assert (made.images.dtype, made.name, made.split, made.flip) == (
    np.uint8,
    'toy',
    'condensed',
    True,
  )
  np.testing.assert_array_equal(made.labels, [0, 0, 1, 1, 2, 2])
  np.testing.assert_array_equal(made.images[:, 0, 0, 0], [0, 128, 255, 128, 128, 128])
  assert made.class_names == ('a', 'b', 'c') and made.mean == (0.5, 0.4, 0.3)
  assert len(example().as_dataset()) == 24


BYTES = np.random.default_rng(1).integers(0, 256, (4, 4, 4, 1), np.uint8)


@pytest.mark.parametrize(
  'arrays, expected',
  [
    (dict(images=BYTES, labels=[0, 1, 1, 0]), dict(factor=1, flip=True, class_names=('0', '1'))),
    (
      dict(
        images=BYTES.astype(np.int64),
        labels=[0, 1, 1, 0],
        class_names=np.array(['cat', 'dog'], 'S'),
      ),
      dict(class_names=('cat', 'dog')),
    ),
    (
      dict(images=BYTES[..., 0], labels=np.array([[0], [2], [1], [0]])),
      dict(class_names=('0', '1', '2')),
    ),
    (
      dict(
        images=BYTES / 255,
        labels=SOFT[:4],
        class_names=['x', 'y', 'z'],
        factor=2,
        flip=False,
        mean=0.1,
        std=[0.3],
      ),
      dict(factor=2, flip=False, class_names=('x', 'y', 'z'), mean=(0.1,), std=(0.3,)),
    ),
  ],
)
def test_a_plain_file_of_the_users_own_is_read(tmp_path, arrays, expected):
  np.savez(tmp_path / 'mine.npz', **arrays)
  made = Condensed.load(tmp_path / 'mine.npz')
  np.testing.assert_allclose(made.images, BYTES / 255, atol=1e-7)
  np.testing.assert_array_equal(
    made.labels, np.asarray(arrays['labels']).reshape(made.labels.shape)
  )
  expected = (
    dict(mean=(pytest.approx(BYTES.mean() / 255),), std=(pytest.approx(BYTES.std() / 255),))
    | expected
  )
  assert {name: getattr(made, name) for name in expected} == expected


def test_what_numpy_and_numbers_say_is_kept_as_plain_values(tmp_path):
  made = example(
    class_names=np.array([7, 8, 9]),
    mean=np.float32([0.5, 0.25, 0.5]),
    std=np.ones(3),
    flip=np.bool_(True),
    config={'ipc': np.int64(2), 'rates': np.arange(2)},
  )
  again = Condensed.load(made.save(tmp_path / 'set.npz'))
  assert again.class_names == ('7', '8', '9') and again.mean == (0.5, 0.25, 0.5)
  assert again.flip is True and again.config == {'ipc': 2, 'rates': [0, 1]}


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(class_names=(b'a', b'\xff', b'c')), 'no UTF-8'),
    (dict(class_names='abc'), 'class_names is a list of names'),
    (dict(flip='no'), "flip is true or false; it is 'no'"),
    (dict(mean=('0', 1, 1)), "a value of mean or std is '0'; it must be a number"),
    (dict(factor='2'), "factor is '2'; it must be a whole number"),
    (dict(mean=0.5), 'mean of a condensed set is a list of numbers, one a channel; it is 0.5'),
    (dict(std=None), 'std of a condensed set is a list of numbers, one a channel; it is None'),
    (dict(dataset=3), 'dataset of a condensed set is a text; it is 3'),
    (dict(method=b'dm'), "method of a condensed set is a text; it is b'dm'"),
    (dict(recipe=None), 'recipe of a condensed set is a text; it is None'),
    (dict(augmentation='color'), "augmentation of a condensed set is a dict; it is 'color'"),
    (dict(config=None), 'config of a condensed set is a dict; it is None'),
    (dict(versions=['jax']), r"versions of a condensed set is a dict; it is \['jax'\]"),
  ],
)
def test_a_set_that_could_not_be_read_back_is_refused_when_it_is_made(changes, message):
  with pytest.raises(UserError, match=message):
    example(**changes)


def test_a_config_that_json_lacks_is_told_before_anything_is_written(tmp_path):
  made = example(config={'method': {'classes': {1, 2}}})
  for write in (made.save, made.to_png, made.to_tfds):
    with pytest.raises(
      UserError, match='config of the condensed set cannot be kept in a file: set'
    ):
      write(tmp_path / 'set')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'changes, message',
  [
    (
      dict(clas_names=['x', 'y']),
      "no array of a plain condensed set 'clas_names'; did you mean 'class_names'",
    ),
    (dict(images=BYTES.astype(np.int64) + 1000), r'integers must lie in \[0, 255\]'),
    (
      dict(images=BYTES.astype(float)),
      r'floats must lie in \[0, 1\]: divide by 255',
    ),
    (dict(images=np.full((4, 4, 4, 1), np.nan)), 'NaN or infinite pixels, the first in image 0'),
    (dict(images=np.zeros((0, 4, 4, 1))), r'not be empty; the shape is \[0, 4, 4, 1\]'),
    (dict(images=BYTES // 128), r'store floats in \[0, 1\], or multiply by 255'),
    (dict(images=BYTES > 128), r'bool: store floats in \[0, 1\], or multiply by 255'),
    (dict(images=np.moveaxis(np.repeat(BYTES, 3, -1), -1, 1)[..., :2]), 'channels first'),
    (dict(labels=[0, 10**9, 0, 0]), 'class 1 has no image, and the last label is 1000000000'),
    (dict(labels=[1, 2, 1, 2]), 'class 0 has no image'),
    (dict(class_names=['x', 'x']), "classes 0 and 1 have the same name, 'x'"),
    (dict(class_names=np.array([b'a', b'\xff'])), 'no UTF-8'),
    (dict(flip='no'), "flip is true or false; it is 'no'"),
    (dict(mean=0.5), 'mean and std come as a pair'),
    (dict(mean=120.0, std=60.0), 'divide by 255 those of whole numbers'),
    (dict(labels=['a', 'b', 'b', 'a']), 'whole numbers'),
    (dict(labels=[0.0, 1.0, 1.0, 0.0]), 'whole numbers'),
    (dict(labels=[0, 1, 1]), 'images holds 4 images but labels 3 labels'),
    (dict(labels=[0, 1, -1, 0]), 'must be 0 or more; the smallest is -1'),
    (dict(class_names=['x']), 'label 1 needs at least 2 class names; there are 1'),
    (dict(factor=1.5), 'factor is one whole number; it is float64'),
    (dict(factor=[1, 2]), r'factor is one whole number; it is int64 of shape \[2\]'),
    (dict(mean=['a'], std=['b']), 'mean and std are numbers'),
    (dict(mean=0.5, std=0.0), 'every std is above 0'),
  ],
)
def test_a_wrong_plain_file_is_refused(tmp_path, changes, message):
  np.savez(tmp_path / 'mine.npz', **(dict(images=BYTES, labels=[0, 1, 1, 0]) | changes))
  with pytest.raises(UserError, match=message) as caught:
    Condensed.load(tmp_path / 'mine.npz')
  assert 'mine.npz' in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(format=0), 'its format is 0, which no version'),
    (dict(format='1'), "its format is '1'"),
    (dict(format=True), 'its format is True'),
    (dict(factor='2'), 'factor in its description is no int'),
    (dict(factor=True), 'factor in its description is no int'),
    (dict(flip=1), 'flip in its description is no bool'),
    (dict(class_names='abc'), 'class_names in its description is no list'),
    (dict(class_names=[1, 2, 3]), 'class_names in its description'),
    (dict(mean=['.5'] * 3), 'mean in its description'),
    (dict(config=[]), 'config in its description is no dict'),
    (dict(std=[1, 1, float('nan')]), 'are finite'),
    (dict(factor=9), 'between 1 and the image side'),
  ],
)
def test_wrong_values_in_the_description_are_refused(tmp_path, changes, message):
  path = example().save(tmp_path / 'set.npz')
  rewrite(path, **changes)
  with pytest.raises(UserError, match=f'set.npz cannot be used: .*{message}'):
    Condensed.load(path)


@pytest.mark.parametrize(
  'arrays, message',
  [
    (dict(description=np.array('{"format": 1')), 'its description is damaged'),
    (dict(description=np.array('[1]')), 'its description is damaged'),
    (dict(description=np.array('[' * 100_000)), 'its description is damaged'),
    (dict(description=np.arange(3)), 'its description is damaged'),
    (dict(images=np.array(['a'] * 6)), 'a condensed set needs images|A condensed set needs images'),
    (dict(images=np.zeros((6, 4, 4, 3), complex)), 'these are complex128'),
    (dict(labels=np.array(list('abcabc'))), 'whole numbers'),
  ],
)
def test_wrong_arrays_in_a_set_of_ours_are_refused(tmp_path, arrays, message):
  path = example().save(tmp_path / 'set.npz')
  with np.load(path) as file:
    np.savez(path, **(dict(file) | arrays))
  with pytest.raises(UserError, match=message):
    Condensed.load(path)


def test_a_file_cut_or_flipped_anywhere_gives_one_clear_sentence_or_the_same_set(tmp_path):
  made = example(images=np.random.default_rng(2).random((6, 4, 4, 3), np.float32))
  path = made.save(tmp_path / 'set.npz')
  whole = path.read_bytes()
  rng = np.random.default_rng(0)
  refused = 0
  for position in [*range(0, len(whole), 41), *range(len(whole) - 250, len(whole), 3)]:
    flipped = bytearray(whole)
    flipped[position] ^= 1 << rng.integers(8)
    for content in (bytes(flipped), whole[:position]):
      path.write_bytes(content)
      try:
        again = Condensed.load(path)
      except UserError as error:
        refused += 1
        assert '\n' not in str(error) and 'set.npz' in str(error)
      else:  # the byte was one that says nothing, such as the time of writing
        np.testing.assert_array_equal(again.images, made.images)
        assert len(content) == len(whole) and again.description() == made.description()
  assert refused > 80


def test_a_set_is_read_where_optional_packages_are_missing(tmp_path):
  example(labels=SOFT).save(tmp_path / 'set.npz')
  np.savez(tmp_path / 'mine.npz', images=BYTES, labels=[0, 1, 1, 0])
  code = f"""
import sys
for name in ('tensorflow_datasets', 'tensorflow', 'grain', 'matplotlib'):
  sys.modules[name] = None  # an import of it raises ImportError
from jaxdistill.condensation import Condensed
for name in ('set', 'mine'):
  made = Condensed.load(r'{tmp_path}/' + name + '.npz')
  print(made.decode()[0].shape, len(made.as_dataset()))"""
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
  assert done.stdout.splitlines() == ['(24, 4, 4, 3) 24', '(4, 4, 4, 1) 4'], done.stderr


def bilinear(images, size):
  """Half-pixel bilinear enlargement [n, h, w, c], edges repeated, as torch's
  interpolate(align_corners=False)."""
  for axis in (1, 2):
    small = images.shape[axis]
    centre = np.clip((np.arange(size) + 0.5) * small / size - 0.5, 0, small - 1)
    low = np.floor(centre).astype(int)
    high, share = np.minimum(low + 1, small - 1), centre - low
    share = share.reshape([-1 if a == axis else 1 for a in range(4)])
    images = np.take(images, low, axis) * (1 - share) + np.take(images, high, axis) * share
  return images


@pytest.mark.parametrize('factor', [1, 2, 4])
def test_the_file_is_decoded_with_numpy_alone(tmp_path, factor):
  images = np.random.default_rng(3).random((6, 8, 8, 3))
  made = example(images=images, factor=factor, labels=[2, 0, 1, 1, 0, 2])
  path = made.save(tmp_path / 'set.npz')
  # The lines of the family's page, with numpy for torch.
  file = np.load(path)
  info, x = json.loads(str(file['description'])), file['images']
  f, (n, h, w, c) = info['factor'], x.shape
  cells = (
    x.reshape(n, f, h // f, f, w // f, c).transpose(1, 3, 0, 5, 2, 4).reshape(-1, c, h // f, w // f)
  )
  labels = np.tile(file['labels'], f * f)
  enlarged = bilinear(cells.transpose(0, 2, 3, 1), 8)
  expected, expected_labels = made.decode()
  for label in range(3):
    np.testing.assert_allclose(
      enlarged[labels == label], expected[expected_labels == label], atol=1e-6
    )

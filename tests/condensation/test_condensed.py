"""The condensed set and its file."""

import json

import numpy as np
import pytest

from jaxdistill.condensation.condensed import FORMAT, Condensed
from jaxdistill.errors import UserError


def example(**changes):
  rng = np.random.default_rng(0)
  fields = dict(images=rng.random((6, 4, 4, 3)), labels=np.repeat([0, 1, 2], 2), class_names=('a', 'b', 'c'), mean=(.5, .4, .3),
                std=(.2, .2, .2), factor=2, flip=True, dataset='toy', method='m3d', recipe='idc',
                augmentation={'strategy': 'color', 'composition': 'idc'}, config={'seed': 3}, versions={'jax': '0'})
  return Condensed(**(fields | changes))


def test_save_and_load_keep_everything(tmp_path):
  made = example()
  again = Condensed.load(made.save(tmp_path / 'set.npz'))
  for name, value in vars(made).items():
    np.testing.assert_array_equal(getattr(again, name), value) if isinstance(value, np.ndarray) else None
    assert isinstance(value, np.ndarray) or getattr(again, name) == value, name
  assert [p.name for p in tmp_path.iterdir()] == ['set.npz']  # no temporary file stays


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


@pytest.mark.parametrize('changes, message', [
    (dict(images=np.zeros((5, 4, 4, 3))), r'images \[n, h, w, c\] and labels \[n\]'),
    (dict(images=np.full((6, 4, 4, 3), np.nan)), 'must be finite'),
    (dict(labels=np.repeat([0, 1, 3], 2)), r'must lie in 0\.\.2'),
    (dict(mean=(.5,)), '3 channels; got 1 and 3'),
    (dict(factor=5), 'between 1 and the image side; got 5'),
])
def test_what_does_not_fit_is_refused(changes, message):
  with pytest.raises(UserError, match=message):
    example(**changes)


def rewrite(path, **changes):
  with np.load(path) as file:
    arrays = dict(file)
  description = json.loads(str(arrays.pop('description'))) | changes
  np.savez(path, description=np.array(json.dumps({k: v for k, v in description.items() if v is not None})), **arrays)


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
  path.write_bytes(whole[:len(whole) // 2])
  with pytest.raises(UserError, match='is damaged or no .npz file'):
    Condensed.load(path)
  with pytest.raises(UserError, match='There is no condensed set at'):
    Condensed.load(tmp_path / 'other.npz')
  np.savez(tmp_path / 'foreign.npz', images=np.zeros(3))
  with pytest.raises(UserError, match='is no condensed set: it lacks labels, description'):
    Condensed.load(tmp_path / 'foreign.npz')


def test_an_unwritable_place_is_told(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot be written'):
    example().save(tmp_path / 'file' / 'set.npz')

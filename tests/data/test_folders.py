"""Folders of images: which files are read as what, what is told of the others, and one sentence for
what cannot be."""

import numpy as np
import PIL.Image
import pytest

from jaxdistill.data.sources import load
from jaxdistill.errors import UserError


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

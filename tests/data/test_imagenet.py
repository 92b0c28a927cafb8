"""ImageNet's subsets and Tiny-ImageNet as folders, with a few random images in the real layout."""

import numpy as np
import PIL.Image
import pytest

from jaxdistill.data import load, subsets
from jaxdistill.errors import UserError


def write(folder, count, value, suffix='.JPEG'):
  folder.mkdir(parents=True, exist_ok=True)
  for number in range(count):
    PIL.Image.new('RGB', (14, 10), (value, value, number)).save(
      folder / f'{folder.parent.name}_{number}{suffix}', quality=100
    )


def test_subsets_are_different_wordnet_ids():
  assert {name: len(subsets.names(name)) for name in subsets.SUBSETS} == {
    **dict.fromkeys(['fruit', 'idc10', 'meow', 'nette', 'squawk', 'woof', 'yellow'], 10),
    'idc100': 100,
  }
  for name in subsets.SUBSETS:
    ids = subsets.names(name)
    assert len(set(ids)) == len(ids) and all(
      each[0] == 'n' and len(each) == 9 and each[1:].isdecimal() for each in ids
    )
  assert subsets.names('idc10') == subsets.names('idc100')[:10]


def test_a_subset_of_imagenet_keeps_its_own_label_order(tmp_path):
  ids = subsets.names('meow')
  assert ids != tuple(sorted(ids))
  for value, name in enumerate([*ids, 'n00000001']):
    write(tmp_path / 'train' / name, 2, 20 * value)
    write(tmp_path / 'val' / name, 1, 20 * value)
  train, test = load(f'imagenet:{tmp_path}', classes='meow', image_size=8)
  assert train.class_names == test.class_names == ids
  np.testing.assert_allclose(train.images[:, 0, 0, 0], 20 * train.labels, atol=2)
  np.testing.assert_allclose(test.images[:, 0, 0, 0], 20 * test.labels, atol=2)
  assert train.mean == (0.485, 0.456, 0.406)
  assert load(f'imagenet:{tmp_path}')[0].num_classes == 11 and load(f'imagenet:{tmp_path}')[
    0
  ].image_shape == (128, 128, 3)
  two, _ = load(f'folder:{tmp_path}', classes=f'{ids[9]}, {ids[0]}', image_size=8)
  assert two.class_names == (ids[9], ids[0]) and two.counts.tolist() == [2, 2]
  with pytest.raises(UserError, match="no class folder 'n02096294'"):
    load(f'imagenet:{tmp_path}', classes='woof')
  with pytest.raises(UserError, match="no class folder 'mow'; did you mean 'meow'"):
    load(f'imagenet:{tmp_path}', classes='mow')


def test_classes_are_for_folders_only():
  with pytest.raises(UserError, match='digits: classes chooses among the folders of folder:PATH'):
    load('digits', classes='nette')


@pytest.fixture
def tiny(tmp_path):
  for value, name in enumerate(('n03', 'n01', 'n02')):
    write(tmp_path / 'train' / name / 'images', 2, 40 * value)
    (tmp_path / 'train' / name / f'{name}_boxes.txt').write_text('')
  write(tmp_path / 'val' / 'images', 3, 200)
  write(tmp_path / 'test' / 'images', 1, 0)
  (tmp_path / 'val' / 'val_annotations.txt').write_text(
    'val_1.JPEG\tn01\t0\t0\t9\t9\nval_0.JPEG\tn03\t0\t0\t9\t9\nval_2.JPEG\tn02\t0\t0\t9\t9\n'
  )
  return tmp_path


def test_tiny_imagenet_is_read_as_it_unpacks(tiny):
  train, test = load(f'tiny_imagenet:{tiny}', stream_above=0, tell=print)
  assert train.class_names == ('n01', 'n02', 'n03') and train.counts.tolist() == [2, 2, 2]
  assert train.image_shape == test.image_shape == (64, 64, 3) and train.std == (0.229, 0.224, 0.225)
  np.testing.assert_allclose(train.images[:][:, 0, 0, 0], [40, 40, 80, 80, 0, 0], atol=2)
  # The files of the validation set are numbered in the blue channel: 1, 2 and 0 are of the classes
  # 0, 1 and 2.
  np.testing.assert_allclose(test.images[:, 0, 0, 2], [1, 2, 0], atol=1)
  assert test.labels.tolist() == [0, 1, 2]
  part, held = load(f'tiny_imagenet:{tiny}', classes='n03,n01', tell=print)
  assert part.class_names == ('n03', 'n01') and held.labels.tolist() == [0, 1]


def test_tiny_imagenet_mistakes(tiny):
  annotations = tiny / 'val' / 'val_annotations.txt'
  annotations.write_text(annotations.read_text().replace('n02', 'n09'))
  with pytest.raises(UserError, match="names the class 'n09', which has no folder in train"):
    load(f'tiny_imagenet:{tiny}')
  annotations.unlink()
  with pytest.raises(
    UserError, match='needs train/<WordNet id>/images and val/val_annotations.txt'
  ):
    load(f'tiny_imagenet:{tiny}')


def test_tiny_imagenet_tells_what_it_does_not_read(tiny):
  write(tiny / 'val' / 'images', 4, 200)
  lines = []
  train, test = load(f'tiny_imagenet:{tiny}', tell=lines.append)
  assert len(test) == 3 and lines == [
    f"tiny_imagenet:{tiny}: 2 files are not read: 1 in the folder 'test', which has no labels "
    '(test/images/test_0.JPEG), 1 without a line in val/val_annotations.txt '
    '(val/images/val_3.JPEG).'
  ]
  assert train.notices == tuple(lines)


@pytest.mark.parametrize(
  'content, message',
  [
    (b'val_0.JPEG n01\n', r"line 1 of val/val_annotations.txt is 'val_0.JPEG n01'; it should be"),
    (b'val_0.JPEG\tn01\nval_0.JPEG\tn02\n', "line 2 .* names 'val_0.JPEG' a second time"),
    (b'../val_0.JPEG\tn01\n', 'line 1'),
    (b'\xff\xfe\x00', 'cannot be read .it is no text'),
    (b'val_9.JPEG\tn01\n', 'val_9.JPEG cannot be read .No such file'),
    (b'\n\n', 'names no image of the classes n01, n02, n03'),
  ],
)
def test_damaged_annotations(tiny, content, message):
  (tiny / 'val' / 'val_annotations.txt').write_bytes(content)
  with pytest.raises(UserError, match=message):
    load(f'tiny_imagenet:{tiny}')


def test_annotations_of_other_systems(tiny):
  annotations = tiny / 'val' / 'val_annotations.txt'
  expected = load(f'tiny_imagenet:{tiny}', tell=print)[1]
  annotations.write_bytes(b'\xef\xbb\xbf' + annotations.read_bytes().replace(b'\n', b'\r\n\r\n'))
  test = load(f'tiny_imagenet:{tiny}', tell=print)[1]
  np.testing.assert_array_equal(test.images, expected.images)


def test_a_wrapped_archive_is_named(tiny):
  with pytest.raises(UserError, match=f'it lies deeper: give tiny_imagenet:{tiny}'):
    load(f'tiny_imagenet:{tiny.parent}')


def test_imagenet_is_called_by_its_own_name(tmp_path):
  for name in ('n01', 'n02'):
    write(tmp_path / 'CLS-LOC' / 'train' / name, 2, 0)
  with pytest.raises(UserError, match=f'give imagenet:{tmp_path}/CLS-LOC'):
    load(f'imagenet:{tmp_path}')

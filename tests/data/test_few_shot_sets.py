"""miniImageNet and CUB-200 in their own layouts, as tiny trees with one colour an image."""

import numpy as np
import PIL.Image
import pytest

from jaxdistill import fscil
from jaxdistill.data import identity, load, load_splits
from jaxdistill.errors import UserError

# Not in the order of their names.
CLASSES = ('n03', 'n01', 'n04', 'n02')


def save(file, value, size=(14, 10)):
  file.parent.mkdir(parents=True, exist_ok=True)
  PIL.Image.new('RGB', size, (value, 0, 0)).save(file, quality=100)


def write_csv(root, name, counts, first=0):
  """A csv file of so many images of each class, numbered from `first`, and the images; class c has
  the red value 50 c."""
  lines = ['filename,label']
  for label, count in counts.items():
    for number in range(first, first + count):
      file = f'{label}{number:08d}.jpg'
      save(root / 'images' / file, 50 * CLASSES.index(label))
      lines.append(f'{file},{label}')
  (root / name).parent.mkdir(exist_ok=True)
  (root / name).write_text('\n'.join(lines) + '\n')


@pytest.fixture
def mini(tmp_path):
  write_csv(tmp_path, 'train.csv', dict.fromkeys(CLASSES, 3))
  write_csv(tmp_path, 'test.csv', dict.fromkeys(CLASSES[::-1], 2), first=3)
  return tmp_path


# miniImageNet.


def test_mini_classes_come_as_the_training_file_names_them(mini):
  train, test = load(f'mini:{mini}')
  assert train.class_names == test.class_names == CLASSES
  assert train.counts.tolist() == [3] * 4 and test.counts.tolist() == [2] * 4
  assert train.image_shape == test.image_shape == (84, 84, 3)
  assert train.mean == (0.485, 0.456, 0.406) and train.flip
  for images in (train, test):
    np.testing.assert_allclose(images.images[:, 0, 0, 0], 50 * images.labels, atol=2)
  assert [file.name for file in train.ids[:2]] == ['n0300000000.jpg', 'n0300000001.jpg']


def test_mini_lists_may_lie_in_a_folder_of_their_own(mini):
  expected = load(f'mini:{mini}', image_size=8)
  (mini / 'split').mkdir()
  for name in ('train.csv', 'test.csv'):
    (mini / name).rename(mini / 'split' / name)
  for images, others in zip(load(f'mini:{mini}', image_size=8), expected):
    np.testing.assert_array_equal(images.images, others.images)


def test_mini_images_to_choose_by_and_some_classes(mini):
  write_csv(mini, 'val.csv', {'n01': 1, 'n03': 1}, first=9)
  train, validation, test = load_splits(f'mini:{mini}', image_size=8, classes='n01,n03')
  assert train.class_names == ('n01', 'n03') and validation.labels.tolist() == [0, 1]
  assert test.labels.tolist() == [0, 0, 1, 1]
  with pytest.raises(UserError, match='of the classes n04, n02 there are no validation images'):
    load(f'mini:{mini}', classes='n04,n02')


def test_mini_of_disjoint_splits_is_one_set(tmp_path):
  """The split of few-shot learning, where no class is in two files."""
  write_csv(tmp_path, 'train.csv', {'n03': 5, 'n01': 5})
  write_csv(tmp_path, 'val.csv', {'n04': 5})
  write_csv(tmp_path, 'test.csv', {'n02': 5})
  lines = []
  train, test = load(f'mini:{tmp_path}', image_size=8, tell=lines.append)
  assert train.class_names == CLASSES
  assert train.counts.tolist() == [4] * 4 and test.counts.tolist() == [1] * 4
  assert (
    len(lines) == 1 and 'the csv files have different classes; they are read as one' in lines[0]
  )


def test_mini_tells_what_it_does_not_read(mini):
  save(mini / 'images' / 'other.jpg', 0)
  lines = []
  load(f'mini:{mini}', image_size=8, tell=lines.append)
  assert lines == [f'mini:{mini}: 1 file is not read: 1 that no csv file lists (images/other.jpg).']


def test_mini_may_stay_on_disk_and_is_known_again(mini):
  loaded, _ = load(f'mini:{mini}', image_size=8)
  streamed, _ = load(f'mini:{mini}', image_size=8, stream_above=0)
  np.testing.assert_array_equal(streamed.images[:], loaded.images)
  before = identity.Identity(streamed).to_json()
  assert identity.Identity(streamed).differences(before, 'training') == []
  stamp = identity.stamp(f'mini:{mini}')
  save(mini / 'images' / 'n0300000000.jpg', 200)
  assert identity.stamp(f'mini:{mini}') != stamp
  changed, _ = load(f'mini:{mini}', image_size=8, stream_above=0)
  differences = identity.Identity(changed).differences(before, 'training')
  assert 'other pixels of the training images' in differences


@pytest.mark.parametrize(
  'name, content, message',
  [
    ('train.csv', 'file,class\na.jpg,n01\n', "first line of train.csv is 'file,class'; it should"),
    ('train.csv', 'filename,label\na.jpg\n', "line 2 of train.csv is 'a.jpg'; it should be the"),
    ('train.csv', 'filename,label\n../a.jpg,n01\n', 'line 2 of train.csv'),
    ('train.csv', 'filename,label\n', 'train.csv lists no image'),
    ('train.csv', '', "first line of train.csv is ''"),
    ('test.csv', 'filename,label\nn0300000000.jpg,n03\n', 'test.csv lists n0300000000.jpg, which'),
    ('test.csv', 'filename,label\nx.jpg,n03\ny.jpg,n09\n', 'test.csv has classes that train.csv'),
    ('test.csv', 'filename,label\nx.jpg,n03\n', 'x.jpg cannot be read .No such file'),
  ],
)
def test_mini_mistakes(mini, name, content, message):
  (mini / name).write_text(content)
  with pytest.raises(UserError, match=message):
    load(f'mini:{mini}', image_size=8)


def test_mini_laid_out_otherwise(tmp_path):
  with pytest.raises(UserError, match='there is no such folder; give mini:PATH'):
    load(f'mini:{tmp_path / "none"}')
  with pytest.raises(UserError, match='needs train.csv and test.csv, here or in the folder split'):
    load(f'mini:{tmp_path}')


def test_mini_lists_of_the_published_form(mini, tmp_path):
  """Paths of another machine, by file name."""
  folder = tmp_path / 'lists'
  folder.mkdir()
  (folder / 'session_1.txt').write_text('MINI-ImageNet/train/n03/n0300000000.jpg\n')
  for number, label in enumerate(CLASSES[2:], 2):
    lines = [f'MINI-ImageNet/train/{label}/{label}{image:08d}.jpg' for image in (2, 0)]
    (folder / f'session_{number}.txt').write_text('\n'.join(lines))
  parts = fscil.sessions(*load(f'mini:{mini}', image_size=8), 2, 1, 2, indices=folder)
  assert [rows.tolist() for rows in parts.rows] == [[8, 6], [11, 9]]


# CUB-200.


@pytest.fixture
def cub(tmp_path):
  """Three classes; the images are not listed class by class."""
  root = tmp_path / 'CUB_200_2011'
  names = ('001.Auk', '002.Bulbul', '003.Crow')
  listed, split, labels = [], [], []
  for number in range(1, 13):
    label = number % 3
    file = f'{names[label]}/bird_{number:04d}.jpg'
    save(root / 'images' / file, 50 * label)
    listed.append(f'{number} {file}')
    split.append(f'{number} {int(number <= 9)}')
    labels.append(f'{number} {label + 1}')
  for name, lines in (
    ('images.txt', listed),
    ('train_test_split.txt', split),
    ('image_class_labels.txt', labels),
  ):
    (root / name).write_text('\n'.join(lines) + '\n')
  return root


def test_cub_is_divided_as_its_files_say(cub):
  train, test = load(f'cub:{cub}', image_size=8)
  assert train.class_names == ('001.Auk', '002.Bulbul', '003.Crow')
  assert train.counts.tolist() == [3] * 3 and test.counts.tolist() == [1] * 3
  for images in (train, test):
    np.testing.assert_allclose(images.images[:, 0, 0, 0], 50 * images.labels, atol=2)
  assert load(f'cub:{cub}')[0].image_shape == (224, 224, 3)
  numbers = [int(file.stem.removeprefix('bird_')) for file in train.ids]
  assert numbers == [3, 6, 9, 1, 4, 7, 2, 5, 8]


def test_cub_lists_of_the_published_form(cub, tmp_path):
  lines = [f'CUB_200_2011/images/003.Crow/bird_{number:04d}.jpg' for number in (8, 2)]
  file = tmp_path / 'session_2.txt'
  file.write_text('\n'.join(lines) + '\n')
  train, test = load(f'cub:{cub}', image_size=8)
  parts = fscil.sessions(train, test, 2, 1, 2, indices=file)
  assert parts.rows[0].tolist() == [8, 6]
  lines[0] = lines[0].replace('0008', '0011')  # of the test images
  file.write_text('\n'.join(lines) + '\n')
  with pytest.raises(UserError, match='bird_0011.jpg, which is none of the 9 training images'):
    fscil.sessions(train, test, 2, 1, 2, indices=file)


@pytest.mark.parametrize(
  'name, old, new, message',
  [
    ('images.txt', '3 001.Auk/bird_0003.jpg', '3 bird_0003.jpg', 'line 3 of images.txt is'),
    ('images.txt', '3 001.Auk/bird_0003.jpg', '3 ../bird_0003.jpg', 'line 3 of images.txt is'),
    ('images.txt', '3 001.Auk', '2 001.Auk', 'line 3 of images.txt has the number 2 once more'),
    ('images.txt', '001.Auk/bird_0003', '001.Auk/none', 'none.jpg cannot be read .No such file'),
    ('train_test_split.txt', '3 1\n', '3 yes\n', "line 3 of train_test_split.txt is '3 yes'"),
    ('train_test_split.txt', '3 1\n', '', 'the number 3 stands in one of images.txt and train_te'),
    ('image_class_labels.txt', '3 1\n', '3 0\n', "line 3 of image_class_labels.txt is '3 0'"),
    ('image_class_labels.txt', '6 1\n', '6 2\n', 'the folder 001.Auk are of the classes 1 and 2'),
  ],
)
def test_cub_mistakes(cub, name, old, new, message):
  content = (cub / name).read_text()
  assert old in content
  (cub / name).write_text(content.replace(old, new, 1))
  with pytest.raises(UserError, match=message):
    load(f'cub:{cub}', image_size=8)


def test_cub_laid_out_otherwise(cub):
  with pytest.raises(UserError, match=f'it lies deeper: give cub:{cub}'):
    load(f'cub:{cub.parent}')
  (cub / 'train_test_split.txt').unlink()
  with pytest.raises(UserError, match='has no train_test_split.txt; needs images.txt'):
    load(f'cub:{cub}')

"""Folders of images: which files are read as what, what is told of the others, and one sentence for
what cannot be."""

import os
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from jaxdistill import data
from jaxdistill.data import picture_sets, pictures
from jaxdistill.data.sources import load
from jaxdistill.errors import UserError


def _folder(root, counts, size=(9, 6), mode='RGB', suffix='.png'):
  """One colour a class, so that resizing keeps it."""
  for label, (name, count) in enumerate(counts.items()):
    (root / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
      value = 40 * label + 10
      PIL.Image.new(mode, size, value if mode == 'L' else (value, 0, 255)).save(
        root / name / f'{number}{suffix}'
      )


def test_folder_of_classes(tmp_path):
  _folder(tmp_path, {'ant': 5, 'bee': 10})
  (tmp_path / '.hidden').mkdir()
  train, test = load(f'folder:{tmp_path}')
  assert train.class_names == ('ant', 'bee') and train.image_shape == (32, 32, 3)
  assert train.counts.tolist() == [4, 8] and test.counts.tolist() == [1, 2]
  np.testing.assert_array_equal(train.images[:, 5, 7, 0], 10 + 40 * train.labels)


def test_a_class_may_begin_with_underscores(tmp_path):
  _folder(tmp_path, {'__background__': 5, 'bee': 5, '__MACOSX': 1})
  assert load(f'folder:{tmp_path}')[0].class_names == ('__background__', 'bee')


@pytest.mark.parametrize('stream_above', [None, 0])
def test_images_of_a_folder_are_called_by_their_files(tmp_path, stream_above):
  _folder(tmp_path / 'train', {'ant': 2, 'bee': 1})
  _folder(tmp_path / 'test', {'ant': 1, 'bee': 1})
  train, _ = load(f'folder:{tmp_path}', stream_above=stream_above)
  files = [str(file.relative_to(tmp_path)) for file in train.ids]
  assert files == ['train/ant/0.png', 'train/ant/1.png', 'train/bee/0.png']
  # Those of a set that is divided stay with their images.
  _folder(tmp_path / 'alone', {'ant': 5, 'bee': 5})
  train, _ = load(f'folder:{tmp_path / "alone"}', stream_above=stream_above)
  assert len(train.ids) == 8
  for file, label in zip(train.ids, train.labels):
    assert file.parent.name == train.class_names[label]


def test_folder_with_splits_grey_images_and_numbers_for_names(tmp_path):
  _folder(tmp_path / 'train', {str(name): 1 for name in (2, 10, 1)}, mode='L', suffix='.bmp')
  _folder(tmp_path / 'val', {'10': 2}, mode='L')
  (tmp_path / 'raw').mkdir()
  with pytest.warns(UserWarning, match=r'classes without test images: 2 \(1, 2\)'):
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
  whole = rf'test holds no class folder; add one for each class, or give folder:{tmp_path}/train'
  with pytest.raises(UserError, match=whole):
    load(f'folder:{tmp_path}')
  PIL.Image.new('L', (4, 4)).save(tmp_path / 'test' / 'without_a_label.png')
  with pytest.raises(UserError, match=whole):
    load(f'folder:{tmp_path}')
  _folder(tmp_path / 'test', {'c': 1, 'A': 1})
  with pytest.raises(UserError, match="class folders 'A', 'c' are in test but not in train.*'a'"):
    load(f'folder:{tmp_path}')


def loaded(place, **options):
  """(train, test, the lines that were told) with the place itself cut off."""
  lines = []
  train, test = load(f'folder:{place}', tell=lines.append, **options)
  return train, test, [line.replace(f'folder:{place}: ', '') for line in lines]


def test_what_is_not_read_is_told_in_one_line(tmp_path):
  _folder(tmp_path, {'ant': 3, 'bee': 3})
  _folder(tmp_path / 'ant', {'inside': 1})
  (tmp_path / 'ant' / 'folder.png').mkdir()
  for name in ('readme.md', 'ant/a.HEIC', 'ant/b.jp2', 'ant/nothing', 'bee/c.svg'):
    (tmp_path / name).write_text('')
  for name in ('.DS_Store', 'ant/Thumbs.db', 'bee/._0.png', 'bee/desktop.ini'):
    (tmp_path / name).write_text('')
  PIL.Image.new('RGB', (4, 4)).save(tmp_path / 'stray.png')
  PIL.Image.new('RGB', (4, 4), 'white').save(tmp_path / 'bee' / 'Z.PNG')
  train, test, lines = loaded(tmp_path)
  assert lines == [
    '7 files are not read: 2 beside the class folders (readme.md, stray.png), '
    '4 of other kinds (ant/a.HEIC, ant/b.jp2, ant/nothing and 1 more), '
    '1 in sub-folders of class folders (ant/inside/0.png).'
  ]
  assert (train.counts + test.counts).tolist() == [3, 4]
  streamed, _, again = loaded(tmp_path, stream_above=0)
  assert again == lines and streamed.notices == train.notices
  np.testing.assert_array_equal(streamed.images[:], train.images)


def test_links_pipes_and_devices_are_told_and_never_opened(tmp_path):
  _folder(tmp_path, {'ant': 3, 'bee': 3})
  (tmp_path / 'ant' / 'gone.png').symlink_to('nowhere.png')
  (tmp_path / 'ant' / 'round.png').symlink_to('round.png')
  (tmp_path / 'ant' / 'self').symlink_to(tmp_path)
  (tmp_path / 'ant' / 'good.png').symlink_to(tmp_path / 'bee' / '0.png')
  (tmp_path / 'bee' / 'endless.png').symlink_to('/dev/zero')
  os.mkfifo(tmp_path / 'bee' / 'pipe.png')
  train, test, lines = loaded(tmp_path)
  assert (train.counts + test.counts).tolist() == [4, 3]
  assert (
    lines[0].startswith(
      '5 files are not read: 2 links that lead nowhere (ant/gone.png, ant/round.png), '
    )
    and '2 pipes, sockets or devices (bee/endless.png, bee/pipe.png)' in lines[0]
  )


@pytest.mark.parametrize('name', ['valid', 'validation', 'val', 'test', 'Test', 'VAL', 'testing'])
def test_names_of_the_test_split(tmp_path, name):
  _folder(tmp_path / 'Train', {'ant': 2, 'bee': 3})
  _folder(tmp_path / name, {'ant': 1, 'bee': 2})
  train, test, lines = loaded(tmp_path)
  assert train.counts.tolist() == [2, 3] and test.counts.tolist() == [1, 2] and not lines


def test_train_alone_is_divided(tmp_path):
  _folder(tmp_path / 'train', {'ant': 5, 'bee': 10})
  _folder(tmp_path / 'raw', {'x': 2})
  train, test, lines = loaded(tmp_path)
  assert train.counts.tolist() == [4, 8] and test.counts.tolist() == [1, 2]
  assert lines == ["2 files are not read: 2 in the folder 'raw' (raw/x/0.png, raw/x/1.png)."]
  inner, _, _ = loaded(tmp_path / 'train')
  np.testing.assert_array_equal(inner.images, train.images)


def test_two_folders_of_one_meaning_are_refused(tmp_path):
  for name in ('train', 'val', 'valid'):
    _folder(tmp_path / name, {'ant': 2, 'bee': 3})
  with pytest.raises(UserError, match='the folders val and valid mean the same, validation'):
    load(f'folder:{tmp_path}')


def test_images_to_test_on_without_classes_are_told_where_others_have_them(tmp_path):
  for name in ('train', 'val'):
    _folder(tmp_path / name, {'ant': 2, 'bee': 3})
  (tmp_path / 'test').mkdir()
  PIL.Image.new('L', (4, 4)).save(tmp_path / 'test' / '0.png')
  _, test, lines = loaded(tmp_path)
  assert test.counts.tolist() == [2, 3]
  assert lines == ["1 file is not read: 1 in the folder 'test' (test/0.png)."]


@pytest.mark.parametrize(
  'build, given, message',
  [
    (['photos/cat', 'photos/dog'], '', 'the class folders lie deeper: give folder:{}/photos.'),
    (
      ['images/train/cat', 'images/train/dog', 'images/test/cat'],
      '',
      'the class folders lie deeper: give folder:{}/images.',
    ),
    (['a/b/c/cat', 'a/b/c/dog'], '', 'the class folders lie deeper: give folder:{}/a/b/c.'),
    (
      ['cat/in', 'cat/out', 'dog/in', 'dog/out'],
      '',
      'the class folders lie deeper: give folder:{0}/cat or folder:{0}/dog, or move the images of',
    ),
    (['cat', 'dog'], 'cat', 'holds 2 images itself, and a class is a folder: .* give folder:{}.'),
    (['cat', 'dog', 'emu/in'], '', "class folder 'emu' in {} holds no images itself, only folders"),
    (['cat', 'dog', 'emu/in', 'emu/out'], '', 'folders of images: give folder:{}/emu to read'),
  ],
)
def test_a_set_that_lies_elsewhere_is_named(tmp_path, build, given, message):
  for name in build:
    _folder(tmp_path / name, {'': 2})
  with pytest.raises(UserError, match=message.format(tmp_path)):
    load(f'folder:{tmp_path / given if given else tmp_path}')
  assert sum(1 for _ in tmp_path.rglob('*.png')) == 2 * len(build)


def test_a_class_of_files_that_are_not_read_is_not_to_be_removed(tmp_path):
  _folder(tmp_path, {'ant': 2, 'bee': 2})
  (tmp_path / 'emu').mkdir()
  (tmp_path / 'emu' / 'a.heic').write_text('')
  with pytest.raises(UserError, match='holds no images that are read, only a.heic; the kinds'):
    load(f'folder:{tmp_path}')


def test_class_names_of_any_kind(tmp_path):
  names = ('01', '1', '2', '10', ' a', 'b\nc', '日本')
  _folder(tmp_path / 'train', dict.fromkeys(reversed(names), 2))
  train, _, lines = loaded(tmp_path)
  assert train.class_names == names and not lines
  _folder(tmp_path / 'test', {'1': 1})
  _, _, lines = loaded(tmp_path)
  assert lines == [r'classes without test images: 6 (01, 2, 10 and 3 more).']
  _folder(tmp_path / 'test', dict.fromkeys(('01', '2', '10', ' a', '日本'), 1))
  _, _, lines = loaded(tmp_path)
  assert lines == [r'classes without test images: 1 (b\nc).']
  assert train.images[:, 0, 0, 0].tolist() == [250, 210, 170, 130, 90, 50, 10]


def test_names_that_look_alike_are_told(tmp_path):
  _folder(tmp_path, dict.fromkeys(('Cat', 'cat', 'dog', '\u00e9', 'e\u0301'), 2))
  train, _, lines = loaded(tmp_path)
  assert train.num_classes == 5 and len(lines) == 1
  assert "differ in case or writing alone: 'Cat' and 'cat', 'e\u0301' and '\u00e9'" in lines[0]


def test_names_that_are_not_utf8(tmp_path):
  _folder(tmp_path, {'ant': 2, 'bee': 3})
  root = os.fsencode(tmp_path)
  os.rename(root + b'/ant/0.png', root + b'/ant/\xe9.png')
  (tmp_path / 'bee' / '1.png').rename(os.fsdecode(root + b'/bee/\xe9.txt'))
  train, test, lines = loaded(tmp_path, classes='')
  assert lines == ['1 file is not read: 1 of other kinds (bee/\\xe9.txt).']
  os.mkdir(root + b'/caf\xe9')
  with pytest.raises(UserError, match=r'the name caf\\xe9 is not UTF-8; rename the folder'):
    load(f'folder:{tmp_path}')
  with pytest.raises(UserError, match='is not UTF-8'):
    load('folder:' + os.fsdecode(root + b'/caf\xe9'))


@pytest.mark.parametrize('path', ['', 'a\0b', 'x' * 300, '~nobody_of_this_name/x'])
def test_paths_that_are_none(path):
  with pytest.raises(UserError, match='there is no such folder|give the whole path'):
    load(f'folder:{path}')


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
  _folder(tmp_path, {'ant': 2, 'bee': 2})
  scandir = os.scandir

  def refusing(path):
    if str(path).endswith('bee'):
      raise PermissionError(13, 'Permission denied', str(path))
    return scandir(path)

  monkeypatch.setattr(os, 'scandir', refusing)
  with pytest.raises(UserError, match='the folder .*bee cannot be read .Permission denied.; see'):
    load(f'folder:{tmp_path}')


def test_transparent_pictures_are_laid_on_white_and_the_set_says_so(tmp_path):
  _folder(tmp_path, {'ant': 2, 'bee': 2})
  PIL.Image.new('RGBA', (4, 4), (0, 0, 0, 0)).save(tmp_path / 'ant' / '0.png')
  train, test, lines = loaded(tmp_path)
  assert lines == ['transparent pictures, laid on white: 1 (ant/0.png).']
  assert 'transparent ones on white' in train.describe() and test.background == 'white'
  whites = (train.images == 255).all((1, 2, 3)).sum() + (test.images == 255).all((1, 2, 3)).sum()
  assert whites == 1
  streamed, _, again = loaded(tmp_path, stream_above=0)
  assert again == lines and streamed.describe() == train.describe() + ', streamed'


def test_animations_are_told(tmp_path):
  _folder(tmp_path, {'ant': 2, 'bee': 2})
  frames = [PIL.Image.new('RGB', (4, 4), colour) for colour in ('red', 'blue')]
  frames[0].save(tmp_path / 'bee' / '0.gif', save_all=True, append_images=frames[1:])
  _, _, lines = loaded(tmp_path)
  assert lines == ['files of several pictures, of which the first is taken: 1 (bee/0.gif).']


def test_large_sets_leave_headers_of_jpegs_unread_once_they_are_known_to_be_in_colour(
  tmp_path, monkeypatch
):
  _folder(tmp_path, {'ant': 2, 'bee': 3}, suffix='.jpg')
  PIL.Image.new('RGBA', (4, 4)).save(tmp_path / 'bee' / 'last.png')
  examined = []
  examine = pictures.examine
  look = lambda where, file: examined.append(file.name) or examine(where, file)
  monkeypatch.setattr(picture_sets, '_MANY', 4)
  monkeypatch.setattr(pictures, 'examine', look)
  train, _, lines = loaded(tmp_path)
  assert examined == ['0.jpg', 'last.png'] and 'bee/last.png' in lines[0]
  assert train.image_shape == (32, 32, 3)


def test_classes_are_asked_for_once_and_have_images_to_test_on(tmp_path):
  _folder(tmp_path / 'train', {'a': 2, 'b': 2, 'c': 2})
  _folder(tmp_path / 'test', {'a': 2})
  for classes, message in (
    ('a,a', "'a' is asked for twice"),
    (',', "classes=',' names no class; leave it empty for all of them"),
    ('nette,woof', "the subset 'nette' stands alone; beside others, name its folders"),
    ('a', 'is a single class'),
    ('b,c', 'of the classes b, c there are no test images'),
  ):
    with pytest.raises(UserError, match=message):
      load(f'folder:{tmp_path}', classes=classes)


def test_names_are_text_where_the_systems_coding_is_ascii(tmp_path):
  """There Python gives the names of files as bytes in disguise."""
  for name in ('b', 'é', '日本'):
    _folder(tmp_path / 'train', {name: 2})
  (tmp_path / 'test').mkdir()
  (tmp_path / 'test' / 'é').mkdir()
  PIL.Image.new('L', (4, 4)).save(tmp_path / 'test' / 'é' / 'ü.png')
  (tmp_path / 'train' / 'ö').mkdir()
  code = (
    'import sys; from jaxdistill import data, errors\n'
    'sys.stdout.reconfigure(encoding="utf-8")\n'
    'try: data.load(sys.argv[1])\n'
    'except errors.UserError as error: print(error)\n'
    'import os; os.rmdir(os.fsencode(sys.argv[1][7:]) + b"/train/\\xc3\\xb6")\n'
    'print(data.load(sys.argv[1], tell=print)[0].class_names)\n'
  )
  environment = os.environ | {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
  process = subprocess.run(
    [sys.executable, '-c', code, f'folder:{tmp_path}'], env=environment, capture_output=True
  )
  lines = process.stdout.decode().splitlines()
  assert "the class folder 'ö' in" in lines[0] and 'holds no images; put some of' in lines[0]
  assert lines[1:] == [
    f'folder:{tmp_path}: classes without test images: 2 (b, 日本).',
    "('b', 'é', '日本')",
  ], process.stderr.decode()


def test_validation_images_beside_those_of_the_test_are_what_they_are(tmp_path):
  for split, counts in (('train', (4, 4)), ('test', (1, 2)), ('valid', (3, 0))):
    _folder(tmp_path / split, dict(zip(('ant', 'bee'), counts)))
  train, test, lines = loaded(tmp_path)
  assert test.counts.tolist() == [1, 2]
  assert lines == [
    'classes without validation images: 1 (bee).',
    '3 validation images; data.load_splits returns them.',
  ]
  told = []
  _, validation, same = data.load_splits(f'folder:{tmp_path}', stream_above=0, tell=told.append)
  assert validation.split == 'validation' and validation.counts.tolist() == [3, 0]
  assert isinstance(validation.images, np.ndarray) and len(told) == 1
  np.testing.assert_array_equal(same.images, test.images)
  assert (validation.images[:, 0, 0, 0] == 10).all()
  with pytest.raises(UserError, match="class folder 'cow' is in valid but not in train"):
    _folder(tmp_path / 'valid', {'cow': 1})
    load(f'folder:{tmp_path}')

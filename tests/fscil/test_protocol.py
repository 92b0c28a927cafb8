"""The division into sessions: sizes of the published protocols, columns, draws, fixed lists, and
every mistake in one sentence."""

import dataclasses

import numpy as np
import pytest

from jaxdistill import fscil
from jaxdistill.data import load
from jaxdistill.data.dataset import Dataset
from jaxdistill.data.streaming import Streamed
from jaxdistill.errors import UserError
from jaxdistill.fscil import lists, presets, protocol

NAMES = ('ant', 'bee', 'cat', 'dog', 'emu', 'fly', 'gnu', 'hen')


def make(labels, split='train', names=NAMES, ids=()):
  """A data set whose images tell their place: pixel 0 is the label, pixel 1 the position."""
  labels = np.asarray(labels)
  images = np.zeros((len(labels), 1, 2, 1), np.uint8)
  images[:, 0, 0, 0], images[:, 0, 1, 0] = labels % 256, np.arange(len(labels)) % 256
  return Dataset(images, labels, names, name='eight', split=split, mean=(0.5,), std=(0.5,), ids=ids)


def pair(per_class=6, tests=3):
  generator = np.random.default_rng(0)
  train = generator.permutation(np.repeat(np.arange(8), per_class))
  test = generator.permutation(np.repeat(np.arange(8), tests))
  return make(train), make(test, 'test')


def divide(**changes):
  train, test = pair()
  arguments = dict(train=train, test=test, base_classes=4, way=2, shot=3) | changes
  return protocol.sessions(**arguments)


@pytest.fixture(scope='module')
def cifar():
  """Labels in an order in which the published rows fit, as in the original: 500 and 100 a class."""
  rest = np.repeat(np.arange(100), 500)
  labels = np.full(50_000, -1)
  for part in lists.PUBLISHED['cec'].split():
    label, _, rows = part.partition(':')
    labels[[int(row) for row in rows.split(',')]] = int(label)
    rest = np.delete(rest, np.flatnonzero(rest == int(label))[:5])
  labels[labels < 0] = np.random.default_rng(0).permutation(rest)
  names = tuple(f'class {number}' for number in range(100))
  return make(labels, names=names), make(np.repeat(np.arange(100), 100), 'test', names)


# Sizes.


def test_cifar100_has_the_published_sizes(cifar):
  train, test = cifar
  preset = presets.find('cifar100')
  parts = protocol.sessions(
    train, test, preset.base_classes, preset.way, preset.shot, indices=preset.indices
  )
  assert len(parts.base) == 30_000 and parts.base.num_classes == 60
  assert (parts.base.counts == 500).all()
  assert parts.sessions == preset.sessions == 8 and parts.num_classes == preset.num_classes == 100
  assert parts.test_sizes == tuple(range(6_000, 10_001, 500))
  arrived = []
  for number in range(1, 9):
    novel = parts.novel(number)
    assert len(novel) == 25
    arrived += novel.labels.tolist()
    assert len(parts.test_of(number)) == 6_000 + 500 * number
  assert arrived == np.repeat(np.arange(60, 100), 5).tolist()


def test_the_published_rows_are_those_of_the_list(cifar):
  parts = protocol.sessions(*cifar, 60, 5, 5, indices='cec')
  assert parts.rows[0][:5].tolist() == [29774, 33344, 4815, 6772, 48317]
  assert parts.rows[7][-5:].tolist() == [30627, 33728, 4895, 6299, 47507]
  rows = np.concatenate(parts.rows)
  assert len(np.unique(rows)) == 200 and rows.max() < 50_000


def test_published_sizes_of_the_other_sets():
  for name, classes, count in (
    ('mini:x', 100, 8),
    ('cub:x', 200, 10),
    ('caltech_birds2011', 200, 10),
  ):
    preset = presets.find(name)
    assert preset.num_classes == classes and preset.shot == 5
    assert protocol.count_sessions(classes, preset.base_classes, preset.way) == count
  assert presets.find('npz:mine.npz') is None


def test_digits_is_the_default():
  preset = presets.find('digits')
  assert (preset.base_classes, preset.way, preset.shot, preset.sessions) == (4, 2, 5, 3)


# Columns.


def test_labels_are_columns_and_the_images_theirs():
  parts = divide(order=['hen', 'ant', 'cat', 'dog', 'emu', 'fly', 'gnu', 'bee'])
  assert parts.order == (7, 0, 2, 3, 4, 5, 6, 1) and parts.sizes == (4, 2, 2)
  for images, first, end in (
    (parts.base, 0, 4),
    (parts.novel(1), 4, 6),
    (parts.novel(2), 6, 8),
    (parts.test_of(0), 0, 4),
    (parts.test_of(2), 0, 8),
  ):
    assert sorted(set(images.labels.tolist())) == list(range(first, end))
    original = np.array(parts.order)[images.labels]
    np.testing.assert_array_equal(images.images[:, 0, 0, 0], original)
    assert images.num_classes == end
    assert images.class_names == tuple(NAMES[label] for label in parts.order[:end])
  assert parts.arriving(0) == (0, 4) and parts.arriving(2) == (6, 8)


def test_a_session_is_tested_on_the_first_of_all_test_images():
  parts = divide(order=3)
  assert parts.test_sizes == (12, 18, 24)
  assert (np.diff(parts.test.labels) >= 0).all()
  for number, size in enumerate(parts.test_sizes):
    np.testing.assert_array_equal(parts.test_of(number).images, parts.test.images[:size])
  # Within a class the images keep their order, by which means over batches are.
  for label in range(8):
    places = parts.test.images[parts.test.labels == label, 0, 1, 0]
    assert (np.diff(places.astype(int)) > 0).all()


def test_test_images_are_normalised_as_the_training_images_whatever_their_own_statistics():
  train, test = pair()
  brighter = dataclasses.replace(test, mean=(0.9,), std=(0.1,))
  parts = protocol.sessions(train, brighter, base_classes=4, way=2, shot=3)
  for images in (parts.test, parts.test_of(0), parts.novel(1), parts.base):
    assert (images.mean, images.std) == (train.mean, train.std)


def test_fewer_sessions_leave_classes_out():
  parts = divide(number=1)
  assert parts.num_classes == 6 and parts.sessions == 1 and parts.test_sizes == (12, 18)
  # What is left out in the order never arrives either.
  short = divide(order=[0, 1, 2, 3, 6, 7])
  assert short.order == (0, 1, 2, 3, 6, 7) and short.sessions == 1
  assert divide(base_classes=4, way=3, number=1).sizes == (4, 3)


def test_all_classes_may_be_base_classes():
  parts = divide(base_classes=8)
  assert parts.sessions == 0 and parts.test_sizes == (24,) and parts.rows == ()


# Draws.


def test_a_draw_picks_different_images_of_each_class():
  parts = divide(draw=5)
  for number, rows in enumerate(parts.rows, 1):
    first, end = parts.arriving(number)
    np.testing.assert_array_equal(
      parts.train.labels[rows], np.repeat(np.arange(first, end), parts.shot)
    )
    assert len(np.unique(rows)) == len(rows)


def test_draws_are_of_their_seed_alone():
  parts = divide(draw=0)
  again, other = parts.drawn(0), parts.drawn(1)
  alone = divide(draw=1)
  for number in range(2):
    np.testing.assert_array_equal(parts.rows[number], again.rows[number])
    np.testing.assert_array_equal(other.rows[number], alone.rows[number])
    assert set(parts.rows[number]) != set(other.rows[number])
  assert other.base is parts.base and other.test is parts.test


def test_a_class_keeps_its_images_in_another_company():
  """Another order, way, number of base classes or shot: a class's images are the same ones."""
  reference = dict(zip((4, 5), np.split(divide().rows[0], 2)))
  moved = divide(order=[0, 1, 2, 3, 6, 7, 5, 4])
  np.testing.assert_array_equal(moved.rows[1], np.concatenate([reference[5], reference[4]]))
  single = divide(base_classes=5, way=1, shot=2)
  np.testing.assert_array_equal(single.rows[0], reference[5][:2])


# Fixed lists.


def test_lists_of_positions_of_any_form():
  reference = divide(draw=9)
  flat = np.concatenate(reference.rows)
  by_class = {label: flat[reference.train.labels[flat] == label] for label in range(4, 8)}
  nested = [rows[::-1] for rows in reference.rows]
  for indices in (flat, flat.tolist(), nested, np.stack(reference.rows), by_class):
    parts = divide(indices=indices)
    for rows, expected in zip(parts.rows, reference.rows, strict=True):
      assert sorted(rows) == sorted(expected)
      np.testing.assert_array_equal(parts.train.labels[rows], reference.train.labels[expected])
  # Of a list of all sessions the first ones are taken.
  shorter = divide(indices=flat, number=1)
  np.testing.assert_array_equal(shorter.rows[0], reference.rows[0])


def test_lists_of_rows_in_files(tmp_path):
  reference = divide(draw=2)
  # As they are published: the first file is of the base.
  bases = reference.train.of_class(0)
  for number, rows in enumerate([bases, *reference.rows], 1):
    (tmp_path / f'session_{number}.txt').write_text('\n'.join(map(str, rows)) + '\n')
  (tmp_path / 'readme.md').write_text('not a list')
  together = tmp_path / 'all.txt'
  together.write_text('\n'.join(map(str, np.concatenate(reference.rows))))
  for path in (tmp_path, str(tmp_path), together):
    for rows, expected in zip(divide(indices=path).rows, reference.rows, strict=True):
      np.testing.assert_array_equal(rows, expected)
  assert divide(indices=tmp_path, number=1).sessions == 1
  (tmp_path / 'session_1.txt').unlink()
  assert len(divide(indices=tmp_path).rows) == 2


def test_rows_are_those_of_a_source_that_was_divided(tmp_path):
  images = np.zeros((40, 8, 8, 1), np.uint8)
  images[:, 0, 0, 0] = np.arange(40)
  np.savez(tmp_path / 'mine.npz', images=images, labels=np.arange(40) % 4)
  train, test = load(f'npz:{tmp_path}/mine.npz')
  kept = [int(row) for row in train.images[:, 0, 0, 0] if row >= 10][:3]
  file = tmp_path / 'list.txt'
  file.write_text('\n'.join(map(str, kept)))
  (positions,) = lists.read(file, train)
  assert train.images[positions, 0, 0, 0].tolist() == kept
  file.write_text(str(test.images[0, 0, 0, 0]))
  with pytest.raises(UserError, match='which is none of the 32 training images'):
    lists.read(file, train)
  file.write_text('a.png')
  with pytest.raises(UserError, match='give the numbers of its rows'):
    lists.read(file, train)


def test_ten_files_come_in_the_order_of_their_numbers(tmp_path):
  train, _ = pair()
  for number in range(1, 12):
    (tmp_path / f'session_{number}.txt').write_text(str(number))
  assert [part.tolist() for part in lists.read(tmp_path, train)] == [[n] for n in range(1, 12)]


def test_lists_of_file_names(tmp_path):
  train, test = pair()
  # One name in two folders, as numbered files have it.
  ids = []
  for position, label in enumerate(train.labels):
    number = (train.labels[:position] == label).sum()
    ids.append(f'/data/{NAMES[label]}/{number}.jpg')
  train = make(train.labels, ids=ids)
  reference = divide(train=train)
  names = [ids[row] for row in np.concatenate(reference.rows)]
  shorter = ['/'.join(name.split('/')[2:]) for name in names]
  elsewhere = [f'images\\train\\{name}'.replace('/', '\\') for name in shorter]
  file = tmp_path / 'list.txt'
  for lines in (names, shorter, elsewhere):
    file.write_text('\n'.join(lines))
    parts = divide(train=train, test=test, indices=file)
    np.testing.assert_array_equal(np.concatenate(parts.rows), np.concatenate(reference.rows))


def test_the_published_list_finds_its_rows_where_a_copy_knows_them(cifar):
  """Images in another order whose `ids` tell the original row, as in TensorFlow Datasets."""
  train, test = cifar
  shuffled = np.random.default_rng(1).permutation(len(train))
  ids = np.array([f'train_{row:05d}' for row in shuffled], object)
  copy = make(train.labels[shuffled], names=train.class_names, ids=ids)
  rows = np.concatenate(protocol.sessions(copy, test, 60, 5, 5, indices='cec').rows)
  original = np.concatenate(protocol.sessions(train, test, 60, 5, 5, indices='cec').rows)
  np.testing.assert_array_equal(shuffled[rows], original)
  # A subset keeps what its images are called.
  without = copy.take(np.setdiff1d(np.arange(50_000), copy.of_class(0)[:10]))
  rows = np.concatenate(protocol.sessions(without, test, 60, 5, 5, indices='cec').rows)
  assert without.ids[rows[0]] == 'train_29774'


def test_the_published_list_is_refused_for_another_order(cifar):
  train, test = cifar
  other = make(np.roll(train.labels, 1), names=train.class_names)
  message = 'row 29774, which is of class 60 there, is of class .*: this copy is in another order'
  with pytest.raises(UserError, match=message):
    protocol.sessions(other, test, 60, 5, 5, indices='cec')
  with pytest.raises(UserError, match='is not there here'):
    lists.published('cec', train.take(np.arange(40_000)))
  with pytest.raises(UserError, match="the list 'cec' is of CIFAR-100 with its 100 classes"):
    divide(indices='cec')


# Data of any origin.


def test_images_that_stay_on_disk_are_not_read_before_they_are_asked_for():
  train, test = pair()
  fetched = []

  def fetch(positions):
    fetched.extend(positions.tolist())
    return train.images[positions]

  images = Streamed(fetch, train.image_shape, np.arange(len(train)))
  streamed = dataclasses.replace(train, images=images)
  parts, loaded = divide(train=streamed), divide()
  assert isinstance(parts.base.images, Streamed) and not fetched
  np.testing.assert_array_equal(parts.novel(1).images[:], loaded.novel(1).images)
  assert sorted(fetched) == sorted(parts.rows[0].tolist())


def test_own_data_as_arrays_in_a_file(tmp_path):
  train, test = pair()
  np.savez(
    tmp_path / 'own.npz',
    train_images=train.images + 100,
    train_labels=train.labels,
    test_images=test.images + 100,
    test_labels=test.labels,
  )
  parts = protocol.sessions(*load(f'npz:{tmp_path / "own.npz"}'), base_classes=6, way=1, shot=2)
  assert parts.sizes == (6, 1, 1) and parts.novel(2).class_names == tuple('01234567')
  np.testing.assert_array_equal(parts.novel(2).images[:, 0, 0, 0], [107, 107])


# Mistakes.

SESSION = divide().rows[0].tolist()
REST = divide().rows[1].tolist()


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(base_classes=9), 'base_classes is 9, and there are 8 classes'),
    (dict(base_classes=0), 'base_classes is 0; it must be at least 1'),
    (dict(way=3), 'way=3 does not divide the 4 classes that follow the 4 base classes'),
    (dict(way=0), 'way is 0'),
    (
      dict(number=3),
      '3 sessions of 2 classes after 4 base classes need 10 classes, and there are 8',
    ),
    (dict(number=-1), 'number of sessions is -1'),
    (dict(shot=0), 'shot is 0'),
    (dict(shot=7), r"class 4 \('emu'\) has 6 training images; shot=7 needs 7"),
    (dict(draw=-1), 'draw is -1'),
    (dict(draw=0.5), 'draw is 0.5; it must be a whole number'),
    (dict(order=[0, 1, 2, 3, 4, 'ant']), r"The class 'ant' comes twice .*places 0 and 5"),
    (dict(order=['ant', 'bees']), "There is no class 'bees'; did you mean 'bee'"),
    (dict(order=[0, 8]), "There is no class '8'"),
    (dict(order=[-1]), "There is no class '-1'"),
    (dict(order='no_such_file'), 'The list no_such_file cannot be read'),
    (dict(indices='cecc'), 'no list of images cecc: neither a file, nor a .* published ones .cec.'),
    (
      dict(indices=SESSION),
      'names 6 images in 1 part.s.; 2 sessions of 6 images, 3 a class, need',
    ),
    (dict(indices=[SESSION, REST, REST]), 'in 3 part.s.;'),
    (dict(indices=[SESSION, REST[:-1]]), r"session 2 names 2 images of class 7 \('hen'\)"),
    (dict(indices=[REST, SESSION]), r"session 1 names image .*'gnu'.* arrive are emu, fly"),
    (dict(indices=[SESSION[:-1] + SESSION[:1], REST]), 'session 1 names an image twice'),
    (dict(indices=[SESSION[:-1] + [48], REST]), 'session 1 names positions .* there are 48'),
    (dict(indices=[[0.5] * 6, REST]), 'holds whole numbers'),
    (dict(indices={4: SESSION[:3]}), r"names 0 images of class 5 \('fly'\); it needs 3"),
  ],
)
def test_mistakes_are_told_in_one_sentence(changes, message):
  with pytest.raises(UserError, match=message) as raised:
    divide(**changes)
  assert str(raised.value).count('. ') <= 1


def test_sets_that_do_not_fit_are_told_of():
  train, test = pair()
  with pytest.raises(UserError, match='have different classes'):
    divide(test=make(test.labels, names=NAMES[::-1]))
  larger = Dataset(np.zeros((8, 2, 2, 1), np.uint8), np.arange(8), NAMES, mean=(0.5,), std=(1.0,))
  with pytest.raises(UserError, match=r'are \(1, 2, 1\) and test images \(2, 2, 1\)'):
    divide(test=larger)
  with pytest.raises(UserError, match=r"class 0 \('ant'\) has no training image"):
    divide(train=train.take(np.flatnonzero(train.labels)))
  with pytest.raises(UserError, match='no class of session 2 .class 6 .* has a test image'):
    divide(test=test.take(np.flatnonzero(test.labels < 6)))
  # One class of a session may lack them.
  assert divide(test=test.take(np.flatnonzero(test.labels != 6))).test_sizes == (12, 18, 21)


def test_lists_that_cannot_be_read(tmp_path):
  file = tmp_path / 'list.txt'
  for content, message in (
    (b'', 'is empty'),
    (b'\xff\xfe', 'cannot be read .it is no text'),
    (b'48', 'lists the row 48, which is none of the 48 training images of eight'),
    (b'a.png', 'by the names of their files, and eight does not know these'),
  ):
    file.write_bytes(content)
    with pytest.raises(UserError, match=message):
      divide(indices=file)
  folder = tmp_path / 'empty'
  folder.mkdir()
  with pytest.raises(UserError, match='holds no list of images; they are called session_1.txt'):
    divide(indices=folder)
  named = make(pair()[0].labels, ids=['same.png'] * 48)
  file.write_text('same.png')
  with pytest.raises(UserError, match='48 training images are called so; give their folders too'):
    lists.read(file, named)
  file.write_text('other.png')
  with pytest.raises(UserError, match='lists the file other.png, which is none of the 48'):
    lists.read(file, named)


def test_the_family_offers_it():
  assert fscil.sessions is protocol.sessions and fscil.Sessions is protocol.Sessions

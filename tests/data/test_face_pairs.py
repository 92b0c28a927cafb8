"""Pairs drawn by seed, and lists of pairs over a folder: what they hold, and each mistake told in a
sentence."""

import itertools

import numpy as np
import PIL.Image
import pytest

from jaxdistill.data import Dataset, face_pairs
from jaxdistill.errors import UserError


def numbered(counts):
  """Images that show their own number, classes mixed."""
  labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
  images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones(
    (1, 2, 2, 1), np.uint8
  )
  names = tuple(map(str, range(len(counts))))
  return Dataset(images, labels, names, mean=(0.5,), std=(0.5,), name='numbered')


def rows_of(pairs):
  """The rows of the set, that the images show, of both sides."""
  shown = pairs.images[:, 0, 0, 0].astype(int)
  return shown[pairs.left], shown[pairs.right]


@pytest.mark.parametrize('seed', range(3))
def test_drawn_pairs_are_balanced_in_every_fold_and_never_twice(seed):
  images = numbered([9, 4, 0, 12])
  pairs = face_pairs.draw(images, number=60, folds=5, seed=seed)
  left, right = rows_of(pairs)
  np.testing.assert_array_equal(images.labels[left] == images.labels[right], pairs.same)
  for fold in range(5):
    inside = pairs.fold == fold
    assert inside.sum() == 12 and pairs.same[inside].sum() == 6
  different = set(map(frozenset, zip(left, right)))
  assert len(different) == 60 and all(len(pair) == 2 for pair in different)


def test_all_pairs_that_there_are_can_be_drawn():
  images = numbered([2, 3])  # 1 + 3 pairs of one class, 6 of two
  pairs = face_pairs.draw(images, number=8, folds=1)
  left, right = rows_of(pairs)
  genuine = set(map(frozenset, zip(left[pairs.same], right[pairs.same])))
  expected = set()
  for label in (0, 1):
    expected |= set(map(frozenset, itertools.combinations(images.of_class(label), 2)))
  assert genuine == expected
  with pytest.raises(UserError, match='of one class there are only 4 different pairs, and 5 are'):
    face_pairs.draw(images, number=10, folds=1)
  with pytest.raises(UserError, match='of two classes there are only 0 different pairs'):
    face_pairs.draw(images.take_classes([1]), number=2, folds=1)


def test_one_seed_gives_one_draw_and_every_pair_is_as_likely():
  images = numbered([2, 3])
  same = [face_pairs.draw(images, number=4, folds=2, seed=7) for _ in range(2)]
  np.testing.assert_array_equal(rows_of(same[0]), rows_of(same[1]))
  counts = {}
  for seed in range(400):
    left, right = rows_of(face_pairs.draw(images, number=2, folds=1, seed=seed))
    for pair in map(frozenset, zip(left, right)):
      counts[pair] = counts.get(pair, 0) + 1
  genuine = [n for pair, n in counts.items() if len({images.labels[row] for row in pair}) == 1]
  impostors = [n for pair, n in counts.items() if len({images.labels[row] for row in pair}) == 2]
  # 400 draws among 4 and among 6: 100 and 66.7 each, four standard deviations are 35 and 30.
  assert len(genuine) == 4 and max(abs(n - 100) for n in genuine) < 35
  assert len(impostors) == 6 and max(abs(n - 400 / 6) for n in impostors) < 30


def test_only_images_that_are_paired_are_kept():
  pairs = face_pairs.draw(numbered([50, 50]), number=4, folds=2)
  assert len(pairs.images) <= 8
  assert set(np.concatenate([pairs.left, pairs.right])) == set(range(len(pairs.images)))


def test_a_number_that_does_not_divide_is_told():
  with pytest.raises(UserError, match='50 pairs cannot be half .* give a multiple of 20'):
    face_pairs.draw(numbered([9, 9]), number=50)
  with pytest.raises(UserError, match='folds is 0'):
    face_pairs.draw(numbered([9, 9]), number=50, folds=0)


def test_a_gallery_and_the_rest():
  labels = np.array([0, 1, 0, 1, 1, 0])
  gallery, probes = face_pairs.gallery_and_probes(labels, per_class=2, seed=1)
  assert sorted(labels[gallery]) == [0, 0, 1, 1] and sorted(labels[probes]) == [0, 1]
  assert sorted([*gallery, *probes]) == list(range(6))
  again, _ = face_pairs.gallery_and_probes(labels, per_class=2, seed=1)
  np.testing.assert_array_equal(gallery, again)
  with pytest.raises(UserError, match='Class 0 has 3 images: with 3 in the gallery none'):
    face_pairs.gallery_and_probes(labels, per_class=3)


# Lists.


@pytest.fixture
def folder(tmp_path):
  """FOLDER/NAME/NAME_000N.jpg, grey: 10 x the person + n."""
  for person, name in enumerate(('Ada_B', 'Cy', 'Di')):
    (tmp_path / 'lfw' / name).mkdir(parents=True)
    for number in (1, 2, 3):
      suffix = '.png' if name == 'Di' else '.jpg'
      file = tmp_path / 'lfw' / name / f'{name}_{number:04d}{suffix}'
      PIL.Image.new('RGB', (8, 10), 3 * (60 * person + 20 * number,)).save(file, quality=100)
  return tmp_path / 'lfw'


LFW = """2\t2
Ada_B\t1\t2
Cy\t1\t3
Ada_B\t1\tCy\t2
Cy\t2\tDi\t3
Di\t1\t2
Di\t1\t3
Di\t2\tAda_B\t1
Cy\t1\tAda_B\t3
"""


def listed(folder, text, name='pairs.txt', **options):
  (folder.parent / name).write_text(text)
  return face_pairs.read(folder.parent / name, folder, **{'image_size': 8} | options)


def greys(pairs):
  means = pairs.images.mean((1, 2, 3)).round().astype(int)
  return list(zip(means[pairs.left], means[pairs.right]))


def test_a_list_of_lfw(folder):
  pairs = listed(folder, LFW)
  assert pairs.images.shape == (9, 8, 8, 3)
  assert pairs.same.tolist() == [True, True, False, False] * 2
  assert pairs.fold.tolist() == [0] * 4 + [1] * 4
  expected = [(20, 40), (80, 120), (20, 100), (100, 180)]
  expected += [(140, 160), (140, 180), (160, 20), (80, 60)]
  np.testing.assert_allclose(greys(pairs), expected, atol=1)


def test_a_list_of_one_fold_has_no_number_of_folds(folder):
  pairs = listed(folder, '1\nAda_B 1 2\nAda_B 1 Cy 2\n')
  assert pairs.fold.tolist() == [0, 0] and pairs.same.tolist() == [True, False]


@pytest.mark.parametrize(
  'text, message',
  [
    ('', 'line 1 must be the number of folds'),
    ('ten 300\n', r'line 1 must be .* it is .ten 300.'),
    (LFW + 'Cy 1 2\n', '2 folds of 2 x 2 pairs are 8 lines after the first; there are 9'),
    (LFW.replace('Cy\t1\t3', 'Cy\t1'), "line 3 must be 'NAME n1 n2'"),
    (LFW.replace('Cy\t2\tDi\t3', 'Cy\t2\tDi'), "line 5 must be 'NAME1 n1 NAME2 n2'"),
    (LFW.replace('Cy\t1\t3', 'Cy\t1\tx'), "line 3 must be 'NAME n1 n2'"),
    # Of two missing ones the first.
    (
      LFW.replace('Cy\t1\t3', 'Cy\t1\t4').replace('Di\t1\t3', 'Eve\t1\t3'),
      r'line 3 names Cy/Cy_0004\.jpg, and there is no such file',
    ),
    (LFW.replace('Cy\t1\t3', '../Cy\t1\t3'), 'does not lie in'),
    ('0 0\n', 'there are no pairs'),
  ],
)
def test_mistakes_of_a_list_of_lfw(folder, text, message):
  with pytest.raises(UserError, match=message):
    listed(folder, text)


TABLE = """path1,path2,same,fold
Cy/Cy_0001.jpg,Cy/Cy_0002.jpg,1,3
Cy/Cy_0001.jpg, Di/Di_0001.png ,False,3

Di/Di_0002.png,Di/Di_0003.png,TRUE,8
Ada_B/Ada_B_0002.jpg,Di/Di_0003.png,0,8
"""


def test_a_table_with_folds(folder):
  pairs = listed(folder, TABLE, 'mine.CSV')
  assert pairs.same.tolist() == [True, False, True, False]
  assert pairs.fold.tolist() == [0, 0, 1, 1]
  np.testing.assert_allclose(greys(pairs), [(80, 100), (80, 140), (160, 180), (40, 180)], atol=1)
  assert len(pairs.images) == 6


def test_a_table_without_folds_is_dealt_by_kind(folder):
  rows = ['path1,path2,same'] + ['Cy/Cy_0001.jpg,Cy/Cy_0002.jpg,1'] * 4
  rows += ['Cy/Cy_0001.jpg,Di/Di_0002.png,0'] * 4
  pairs = listed(folder, '\n'.join(rows), 'mine.csv', folds=2)
  assert pairs.fold.tolist() == [0, 1, 0, 1] * 2


@pytest.mark.parametrize(
  'text, message',
  [
    ('', 'line 1 must be the heading path1,path2,same or path1,path2,same,fold'),
    ('a,b,same\n', "it is 'a,b,same'"),
    ('path1,path2,same\n', 'there are no pairs'),
    (TABLE.replace('False', 'maybe'), 'line 3 must be path1,path2,same,fold'),
    (TABLE.replace('1,3', '1'), 'line 2 must be'),
    (TABLE.replace(',8', ',x'), 'line 5 must be'),
    (
      TABLE.replace('Di_0002', 'Di_0009').replace('Ada_B_0002', 'Ada_B_0009'),
      r'line 5 names Di/Di_0009\.png, and there is no such file',
    ),
    (TABLE.replace('Cy/Cy_0001', '/etc/Cy_0001'), 'line 2 names .* does not lie in'),
  ],
)
def test_mistakes_of_a_table(folder, text, message):
  with pytest.raises(UserError, match=message):
    listed(folder, text, 'mine.csv')


def test_a_list_and_a_folder_that_are_not_there(folder):
  with pytest.raises(UserError, match='cannot be read'):
    face_pairs.read(folder / 'none.txt', folder, 8)
  with pytest.raises(UserError, match='there is no folder'):
    face_pairs.read(folder / 'none.txt', folder / 'none', 8)
  (folder.parent / 'pickled.csv').write_bytes(b'\x80\x04\x95 not text')
  with pytest.raises(UserError, match='it is no text'):
    face_pairs.read(folder.parent / 'pickled.csv', folder, 8)


def test_a_file_that_is_no_picture_is_told(folder):
  (folder / 'Cy' / 'Cy_0002.jpg').write_bytes(b'\x80\x04 no picture')
  with pytest.raises(UserError, match=r'Cy_0002\.jpg cannot be read'):
    listed(folder, LFW)


def test_pairs_of_rows_that_are_not_there_are_refused():
  with pytest.raises(UserError, match='rows of the 2 images'):
    zero = np.zeros(1, int)
    face_pairs.Pairs(np.zeros((2, 4, 4, 1), np.uint8), zero, zero + 2, zero == 0, zero)

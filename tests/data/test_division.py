"""Shares of the images of every class, disjoint groups of classes, orders of classes."""

import numpy as np
import pytest

from jaxdistill.data import Dataset, division, hold_out
from jaxdistill.errors import UserError

NAMES = ('ant', 'bee', 'cat', 'dog', 'elk', 'fox', 'gnu', 'hen')
COUNTS = (40, 20, 10, 7, 3, 1, 20, 20)
LABELS = np.random.RandomState(0).permutation(np.repeat(np.arange(8), COUNTS))


def numbered(labels=LABELS, split='train'):
  """A data set whose images show their position."""
  images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
  return Dataset(images, labels, NAMES, split=split, mean=(0.5,), std=(0.25,))


def positions(dataset):
  return dataset.images.ravel().tolist()


# A share of the images.


def test_a_share_of_every_class_but_at_least_one_image():
  few = division.share_of(numbered(), 0.1, seed=3)
  assert few.counts.tolist() == [4, 2, 1, 1, 1, 1, 2, 2]
  np.testing.assert_array_equal(few.labels, LABELS[positions(few)])
  assert positions(few) == sorted(positions(few))
  assert (few.mean, few.std, few.class_names) == ((0.5,), (0.25,), NAMES)


def test_all_images_are_a_share_too():
  assert positions(division.share_of(numbered(), 1.0, seed=3)) == list(range(len(LABELS)))
  assert len(division.share_of(numbered(), 0.999, seed=3)) == len(LABELS)


def test_the_seed_decides_and_smaller_shares_are_parts_of_larger_ones():
  few, same, more, other = (
    set(positions(division.share_of(numbered(), share, seed)))
    for share, seed in ((0.2, 3), (0.2, 3), (0.5, 3), (0.2, 4))
  )
  assert few == same and few < more and few != other


@pytest.mark.parametrize('share', [0, -0.1, 1.01, float('nan'), True, '1'])
def test_shares_that_are_none_are_refused(share):
  with pytest.raises(UserError, match='share'):
    division.share_of(numbered(), share)


def test_what_is_held_out_leaves_an_image_of_every_class():
  kept, _ = hold_out(numbered(), 0.9)
  assert kept.counts.min() == 1


def test_classes_of_which_nothing_is_held_out_are_told_of():
  few = Dataset(np.zeros((4, 8, 8, 1), np.uint8), [0, 1, 1, 2], mean=(0.0,), std=(1.0,))
  _, validation = hold_out(few, 0.5)
  assert validation.counts.tolist() == [0, 1, 0]
  assert validation.notices == ('arrays: classes without validation images: 2 (0, 2).',)
  assert hold_out(few.take([1, 2]).take_classes([1]), 0.5)[1].notices == ()


# Groups of classes.


def test_groups_are_disjoint_and_divide_all_splits_alike():
  groups = {'private': 3, 'public': 2, 'target': 3}
  train = division.split_classes(numbered(), groups, seed=5)
  test = division.split_classes(numbered(np.arange(8)[::-1], 'test'), groups, seed=5)
  assert list(train) == ['private', 'public', 'target']
  names = sum((part.class_names for part in train.values()), ())
  assert sorted(names) == sorted(NAMES)
  for name, part in train.items():
    assert part.class_names == test[name].class_names
    assert part.num_classes == groups[name] and part.split == f'{name} train'
    original = LABELS[positions(part)]
    assert [NAMES[label] for label in original] == [
      part.class_names[label] for label in part.labels
    ]
    assert part.counts.tolist() == [COUNTS[NAMES.index(one)] for one in part.class_names]
    assert part.mean == (0.5,)
  assert sum(map(len, train.values())) == len(LABELS)


def test_the_seed_draws_the_groups_and_none_takes_them_in_order():
  groups = {'seen': 5, 'held_out': 3}
  in_order = division.split_classes(numbered(), groups)
  assert in_order['seen'].class_names == NAMES[:5]
  assert in_order['held_out'].class_names == NAMES[5:]
  drawn = {
    division.split_classes(numbered(), groups, seed)['seen'].class_names for seed in range(6)
  }
  assert len(drawn) > 3
  assert all(list(names) == sorted(names) for names in drawn)


def test_listed_classes_keep_their_order_and_the_rest_is_drawn_from_the_others():
  groups = {'public': 4, 'target': ['hen', 0, 'cat']}
  parts = division.split_classes(numbered(), groups, seed=1)
  assert parts['target'].class_names == ('hen', 'ant', 'cat')
  hens = parts['target'].images[parts['target'].labels == 0]
  assert set(LABELS[hens.ravel()]) == {7}
  assert not set(parts['public'].class_names) & {'hen', 'ant', 'cat'}


@pytest.mark.parametrize(
  'groups, sentence',
  [
    ({'a': 5, 'b': 4}, 'a=5 . b=4 classes were asked for, and 8 are left of 8; ask for fewer'),
    ({'a': 7, 'b': ['ant', 'bee']}, 'a=7 classes were asked for, and 6 are left of 8'),
    ({'a': ['ant'], 'b': ['bee', 0]}, "'ant' is in the groups 'a' and 'b'; groups share no class"),
    ({'a': ['ant', 'ant']}, "'ant' comes twice"),
    ({'a': ['emu']}, "no class 'emu'"),
    ({'a': 0}, "number of classes of 'a' is 0; it must be at least 1"),
  ],
)
def test_groups_that_cannot_be_are_told(groups, sentence):
  with pytest.raises(UserError, match=sentence):
    division.split_classes(numbered(), groups)


# Orders of classes.


def test_orders_by_seed_and_by_file(tmp_path):
  class_order = division.class_order
  assert class_order(7, NAMES) == class_order('7', NAMES) != tuple(range(8))
  assert sorted(class_order(7, NAMES)) == list(range(8))
  assert class_order(7, NAMES) != class_order(8, NAMES)
  file = tmp_path / 'order.txt'
  file.write_text('hen\n0\n\n 3 \nbee\n')
  assert class_order(str(file), NAMES) == (7, 0, 3, 1)
  assert class_order('', NAMES) == class_order(None, NAMES) == tuple(range(8))
  # A name goes before a number.
  assert class_order(['1', '0'], ('1', '0')) == (0, 1)
  # What is no text can only be a number.
  assert class_order([2, 1, '1'], ('1', '2', '3')) == (2, 1, 0)

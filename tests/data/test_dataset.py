"""The data set itself, its statistics, its division."""

import dataclasses

import numpy as np
import pytest

from jaxdistill.data import Dataset, hold_out, statistics
from jaxdistill.errors import UserError


def _dataset(counts=(10, 20, 5), **fields):
  labels = np.repeat(np.arange(len(counts)), counts)
  images = np.random.RandomState(0).randint(0, 256, (len(labels), 4, 4, 3)).astype(np.uint8)
  return Dataset(images, labels, **fields)


def test_fields_are_completed_and_converted():
  dataset = _dataset(mean=[0.5] * 3, std=[np.float32(0.25)] * 3)
  assert (
    dataset.labels.dtype == np.int32
    and dataset.class_names == ('0', '1', '2')
    and dataset.num_classes == 3
  )
  assert (
    dataset.mean == (0.5,) * 3 and dataset.std == (0.25,) * 3 and dataset.image_shape == (4, 4, 3)
  )
  assert len(dataset) == 35 and dataset.counts.tolist() == [10, 20, 5]
  assert dataset.describe() == 'arrays (train): 35 images of 4x4x3, 3 classes of 5 to 20 images'


def test_statistics_are_those_of_the_unit_range():
  dataset = _dataset()
  unit = dataset.images.astype(np.float64) / 255
  np.testing.assert_allclose(dataset.mean, unit.mean((0, 1, 2)), rtol=1e-12)
  np.testing.assert_allclose(dataset.std, unit.std((0, 1, 2)), rtol=1e-12)


def test_constant_channel_can_be_normalised():
  mean, std = statistics.measure(np.full((2, 3, 3, 1), 51, np.uint8))
  np.testing.assert_allclose(mean, 0.2)
  assert std == (1.0,)


def test_conventions():
  images = np.random.RandomState(0).randint(0, 256, (2, 3, 3, 3)).astype(np.uint8)
  assert statistics.choose('cifar100', images, 'idc') == statistics.choose('cifar10', images, 'dm')
  assert statistics.choose('cifar100', images, 'dm') == (
    (0.5071, 0.4866, 0.4409),
    (0.2673, 0.2564, 0.2762),
  )
  assert statistics.choose('cifar10:3.0.2', images)[1] == (0.2023, 0.1994, 0.2010)
  measured = statistics.measure(images)
  assert (
    statistics.choose('cifar10', images, 'measured')
    == statistics.choose('npz:cifar10', images, 'dm')
    == measured
  )
  with pytest.raises(UserError, match="no normalisation 'icd'; did you mean 'idc'"):
    statistics.choose('cifar10', images, 'icd')


IMAGES = np.zeros((4, 4, 4, 3), np.uint8)
LABELS = np.array([0, 1, 1, 0])


def test_images_are_taken_by_positions_or_a_mask():
  images = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
  dataset = Dataset(images, np.array([0, 1, 0, 1]))
  assert dataset.take([3, 0]).images[:, 0, 0, 0].tolist() == [3, 0]
  assert dataset.take([-1]).images[:, 0, 0, 0].tolist() == [3]
  assert dataset.take(np.array([True, False, True, False])).labels.tolist() == [0, 0]
  for wrong in ([0.5], [4], [-5], np.ones(3, bool), ['a'], [[0]], [[0], [1, 2]], 1):
    with pytest.raises(UserError, match='positions from 0 to 3|one array'):
      dataset.take(wrong)


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(images=IMAGES.astype(np.float32)), 'images must be uint8 of shape .*; they are float32'),
    (dict(images=IMAGES[0]), 'of shape \\[4, 4, 3\\]'),
    (dict(images=IMAGES[:0], labels=LABELS[:0]), 'there are no images'),
    (dict(labels=LABELS[:3]), '4 images but 3 labels'),
    (dict(labels=LABELS / 2), 'labels must be integers .*; they are float64'),
    (dict(labels=LABELS - 1), 'labels must be 0 or more; the smallest is -1'),
    (
      dict(labels=LABELS + 2, class_names=('a', 'b', 'c')),
      'label 3 needs at least 4 class names; there are 3',
    ),
    (dict(mean=(0.5,), std=(0.2,)), 'mean and std need 3 values each'),
    (dict(mean=(0.5,) * 3, std=(0.2, 0.0, 0.2)), 'every std above 0'),
    (dict(mean=(0.5,) * 3, std=(0.2, np.nan, 0.2)), 'every std above 0'),
    (dict(mean=(np.inf,) * 3, std=(0.2,) * 3), 'mean and std need 3 values each'),
    (dict(mean=(0.5,) * 3), 'mean and std need 3 values each'),
    (dict(mean=0.5, std=0.5), 'mean and std need 3 values each'),
    (dict(labels=LABELS * 10**9), 'the label 1000000000 would make 1,000,000,001 classes'),
    (dict(labels=[[0], [1, 1], [1], [0]]), 'labels cannot be made one array'),
    (dict(images=[[0], [1, 1]]), 'images cannot be made one array'),
    (dict(images=IMAGES + np.uint8([0, 1, 0])), 'no value of the images is above 1'),
    (dict(class_names='ab'), "class_names is a list of names, one a class; it is 'ab'"),
    (dict(class_names=5), 'class_names is a list of names'),
    (dict(class_names=[b'a', b'\xff']), 'no UTF-8'),
    (dict(flip='no'), "flip is true or false; it is 'no'"),
    (dict(flip=None), 'flip is true or false; it is None'),
  ],
)
def test_contradictions_are_refused(fields, message):
  with pytest.raises(UserError, match=message):
    Dataset(**(dict(images=IMAGES, labels=LABELS) | fields))


def test_take_keeps_the_rest():
  dataset = _dataset(name='mine', flip=False)
  part = dataset.take([30, 2, 2], 'some')
  np.testing.assert_array_equal(part.images, dataset.images[[30, 2, 2]])
  assert part.labels.tolist() == [2, 0, 0] and part.split == 'some' and part.num_classes == 3
  assert (part.name, part.mean, part.flip) == ('mine', dataset.mean, False)
  np.testing.assert_array_equal(dataset.of_class(2), np.arange(30, 35))


def test_images_keep_what_the_source_calls_them():
  dataset = _dataset((1, 2), ids=['a.png', 'b.png', 'c.png'])
  assert dataset.take([2, 0]).ids.tolist() == ['c.png', 'a.png']
  assert dataset.take(np.array([False, True, True])).ids.tolist() == ['b.png', 'c.png']
  assert dataset.take_classes([1]).ids.tolist() == ['b.png', 'c.png']
  assert not len(_dataset((1, 2)).ids) and not len(_dataset((1, 2)).take([0]).ids)
  with pytest.raises(UserError, match='3 images need as many ids, or none; got 2'):
    _dataset((1, 2), ids=['a.png', 'b.png'])


def test_take_classes_renumbers_in_the_order_asked_for():
  dataset = _dataset(name='mine', flip=False)
  part = dataset.take_classes([2, 0], 'some')
  kept = np.flatnonzero(dataset.labels != 1)
  np.testing.assert_array_equal(part.images, dataset.images[kept])
  assert part.labels.tolist() == [{2: 0, 0: 1}[label] for label in dataset.labels[kept]]
  assert part.class_names == (dataset.class_names[2], dataset.class_names[0])
  assert (part.name, part.split, part.mean, part.flip) == ('mine', 'some', dataset.mean, False)


@pytest.mark.parametrize(
  'classes', [[], [0, 0], [3], [-1], [0.5, 1.9], [2.0], [True, False], ['a'], 1, [[0, 1]]]
)
def test_take_classes_refuses_classes_that_are_none(classes):
  with pytest.raises(UserError, match='different numbers from 0 to 2'):
    _dataset().take_classes(classes)


@pytest.mark.parametrize('share', [0.1, 0.3, 0.99])
def test_hold_out_is_stratified_disjoint_and_repeatable(share):
  dataset = dataclasses.replace(
    _dataset(), images=np.arange(35, dtype=np.uint8).reshape(35, 1, 1, 1), mean=(), std=()
  )
  rest, validation = hold_out(dataset, share, seed=3)
  assert sorted([*rest.images.ravel(), *validation.images.ravel()]) == list(range(35))
  expected = [min(max(round(share * n), 1), n - 1) for n in (10, 20, 5)]
  assert (
    validation.counts.tolist() == expected
    and validation.split == 'validation'
    and rest.split == 'train'
  )
  assert rest.mean == validation.mean == dataset.mean
  again, other = hold_out(dataset, share, seed=3)[1], hold_out(dataset, share, seed=4)[1]
  np.testing.assert_array_equal(again.images, validation.images)
  assert (other.images != validation.images).any()


def test_hold_out_leaves_every_class_an_image_or_refuses():
  rest, validation = hold_out(_dataset((1, 2, 2)), 0.9)
  assert rest.counts.tolist() == [1, 1, 1] and validation.counts.tolist() == [0, 1, 1]
  with pytest.raises(UserError, match='every class has a single image'):
    hold_out(_dataset((1, 1)), 0.5)
  with pytest.raises(UserError, match="class '1' has no training image"):
    hold_out(_dataset((3, 0, 3)), 0.5)
  for share in (0, 1, -0.1):
    with pytest.raises(UserError, match=f'between 0 and 1, both excluded; it is {share}'):
      hold_out(_dataset(), share)


def test_names_that_cannot_be_written_are_refused():
  with pytest.raises(UserError, match=r"name of class 1 is no text that can be written: 'b.udce9'"):
    Dataset(np.zeros((2, 4, 4, 1), np.uint8), [0, 1], class_names=('a', 'b\udce9'))


def test_fields_of_arrays_are_read():
  names = np.array([b'ant', 'bée'.encode()])
  dataset = Dataset(
    IMAGES, LABELS, names, mean=np.full(3, 0.5), std=np.full(3, 0.25), flip=np.bool_(False)
  )
  assert dataset.class_names == ('ant', 'bée') and dataset.flip is False
  assert (dataset.mean, dataset.std) == ((0.5,) * 3, (0.25,) * 3)


def test_dark_images_may_be_taken_out_of_others():
  images = (
    np.array([0, 1, 255], np.uint8)[:, None, None, None] * np.eye(4, dtype=np.uint8)[..., None]
  )
  dataset = Dataset(images, [0, 1, 1])
  assert dataset.take([0, 1]).images.max() == 1

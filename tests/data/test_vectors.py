"""Sets of vectors: what they hold, their statistics in float64, files, refusals, and that networks
and trainers take them."""

import numpy as np
import pytest

from jaxdistill import data, models
from jaxdistill.data import vectors
from jaxdistill.data.examples import Examples
from jaxdistill.data.vectors import Vectors
from jaxdistill.errors import UserError
from jaxdistill.experiment import datasets

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(3.0, 2.0, size=(40, 5))
LABELS = np.arange(40) % 4


def test_what_a_set_holds():
  pair = Vectors(FEATURES, LABELS, tuple('abcd'), ids=[f'row{n}' for n in range(40)])
  assert pair.features.dtype == np.float32 and pair.labels.dtype == np.int32
  assert (pair.num_features, pair.num_classes, len(pair)) == (5, 4, 40)
  assert pair.counts.tolist() == [10] * 4 and pair.flip is False
  wide = FEATURES.astype(np.float32).astype(np.float64)
  np.testing.assert_allclose(pair.mean, wide.mean(0), rtol=1e-12)
  np.testing.assert_allclose(pair.std, np.sqrt(((wide - wide.mean(0)) ** 2).mean(0)), rtol=1e-12)
  part = pair.take(LABELS == 2, 'held')
  assert part.split == 'held' and part.mean == pair.mean
  assert part.ids.tolist() == [f'row{n}' for n in range(2, 40, 4)]
  np.testing.assert_array_equal(part.features, pair.features[2::4])


def test_a_constant_feature_is_not_scaled():
  mean, std = vectors.standard(np.full((1000, 2), 0.1) + [[0.0, 1e6]])
  assert std == (1.0, 1.0)
  np.testing.assert_allclose(mean, [0.1, 1e6 + 0.1])


def test_networks_and_trainers_take_vectors_as_images_of_one_pixel():
  pair = Vectors(FEATURES, LABELS)
  examples = Examples.of(pair)
  assert examples.image_shape == pair.image_shape == (1, 1, 5)
  np.testing.assert_array_equal(examples.images[:, 0, 0], pair.features)
  assert models.build('dropout_mlp', pair.num_classes, pair.image_shape).num_classes == 4
  standardised = data.augment.normalise(examples.images, examples.mean, examples.std)
  np.testing.assert_allclose(np.mean(standardised, (0, 1, 2)), 0, atol=1e-5)
  np.testing.assert_allclose(np.std(standardised, (0, 1, 2)), 1, atol=1e-5)


@pytest.mark.parametrize(
  'features, labels, fields, message',
  [
    ([[1.0, np.nan]], [0], {}, r'feature 1 of vector 0 is nan.*fill them in'),
    ([[1e300]], [0], {}, r'feature 0 of vector 0 is inf'),
    ([1.0, 2.0], [0, 1], {}, r'features must be numbers of shape \[n, d\].*shape \[2\]'),
    ([['a']], [0], {}, 'features must be numbers'),
    (np.zeros((0, 3)), [], {}, 'there are no features'),
    ([[1.0], [2.0]], [0], {}, '2 vectors but 1 labels; there must be one label a vector'),
    ([[1.0]], [0.5], {}, 'labels must be integers of shape .*one a vector'),
    ([[1.0]], [-1], {}, 'labels must be 0 or more'),
    ([[1.0]], [2], {'class_names': ['a', 'b']}, 'label 2 needs at least 3 class names'),
    ([[1.0]], [0], {'mean': [0.0], 'std': [0.0]}, 'need 1 finite values each, one a feature'),
    ([[1.0]], [0], {'ids': ['a', 'b']}, '1 vectors need as many ids'),
    ([[1.0], [1.0, 2.0]], [0, 1], {}, 'features cannot be made one array'),
  ],
)
def test_what_is_no_set_of_vectors_is_told(features, labels, fields, message):
  with pytest.raises(UserError, match=message):
    Vectors(features, labels, **fields)


def test_positions_that_are_none_are_told():
  with pytest.raises(UserError, match='vectors are taken by positions from 0 to 39'):
    Vectors(FEATURES, LABELS).take([40])


def test_files(tmp_path):
  file = tmp_path / 'mine.npz'
  np.savez(file, features=FEATURES, labels=LABELS, class_names=list('abcd'))
  train, test = data.load(f'vectors:{file}', seed=3)
  assert len(train) == 32 and test.counts.tolist() == [2] * 4 and test.split == 'test'
  rows = np.concatenate([train.features, test.features])
  assert {row.tobytes() for row in rows} == {row.tobytes() for row in FEATURES.astype(np.float32)}
  # Nothing of the test is in the statistics.
  np.testing.assert_allclose(test.mean, train.features.mean(0, np.float64), rtol=1e-12)
  again, _ = data.load(f'vectors:{file}', seed=3)
  np.testing.assert_array_equal(again.features, train.features)
  names = ('train_features', 'train_labels', 'test_features', 'test_labels')
  np.savez(file, **dict(zip(names, (FEATURES, LABELS, FEATURES[:3], LABELS[:3]))))
  assert [len(part) for part in data.load(f'vectors:{file}')] == [40, 3]
  np.savez(file, features=FEATURES, labels=LABELS[:, None])
  assert data.load(f'vectors:{file}')[0].counts.tolist() == [8] * 4


def test_a_file_that_is_divided_calls_its_vectors_by_their_rows(tmp_path):
  file = tmp_path / 'mine.npz'
  np.savez(file, features=FEATURES, labels=LABELS)
  train, _ = data.load(f'vectors:{file}')
  rows = train.ids.astype(int)
  np.testing.assert_array_equal(train.features, FEATURES.astype(np.float32)[rows])
  np.savez(
    file,
    train_features=FEATURES,
    train_labels=LABELS,
    test_features=FEATURES[:3],
    test_labels=LABELS[:3],
  )
  assert not len(data.load(f'vectors:{file}')[0].ids)


@pytest.mark.parametrize(
  'entries, message',
  [
    ({'features': FEATURES}, 'holds features alone; features and labels come in pairs'),
    ({'test_features': FEATURES, 'test_labels': LABELS}, 'needs features and labels, or train_'),
    (
      {'feature': FEATURES, 'labels': LABELS},
      "no such entry as 'feature'; did you mean 'features'",
    ),
    ({'features': FEATURES, 'labels': LABELS + 1}, "class '0' has no training vector"),
    ({'features': FEATURES[:4], 'labels': LABELS[:4]}, 'every class has a single vector'),
    (
      dict(features=FEATURES, labels=LABELS, test_features=FEATURES[:, :2], test_labels=LABELS),
      r'row to train on has the shape \[5\] and one to test on \[2\]',
    ),
  ],
)
def test_files_that_do_not_fit_are_told(tmp_path, entries, message):
  np.savez(tmp_path / 'mine.npz', **entries)
  with pytest.raises(UserError, match=message):
    data.load(f'vectors:{tmp_path / "mine.npz"}')


def test_what_only_images_have_is_told(tmp_path):
  with pytest.raises(UserError, match='no size to change: leave image_size at 0, it is 8'):
    data.load('vectors:mine.npz', image_size=8)
  with pytest.raises(UserError, match='cannot be mirrored'):
    data.load('vectors:mine.npz', flip=True)
  file = tmp_path / 'mine.npz'
  np.savez(file, features=FEATURES, labels=LABELS)
  with pytest.raises(UserError, match='holds vectors, and this task takes images with one label'):
    datasets.load(datasets.DataSource(f'vectors:{file}'))

"""Features of random patches: against loops in float64, and what is refused."""

import numpy as np
import pytest

from jaxdistill import data
from jaxdistill.data import Dataset, patches
from jaxdistill.errors import UserError

SIDE, PATCHES, SIZE, STRIDE = 10, 6, 4, 2


@pytest.fixture(scope='module')
def images():
  pixels = np.random.RandomState(0).randint(256, size=(40, SIDE, SIDE, 3)).astype(np.uint8)
  return Dataset(pixels, np.arange(40) % 4, ids=[f'train_{n}' for n in range(40)])


def maps_by_loops(filters, image):
  """The maps of one image [rows, columns, 2 patches], patch by patch."""
  kernels = filters.kernels.astype(np.float64).reshape(-1, PATCHES)
  places = range(0, SIDE - SIZE + 1, STRIDE)
  answers = np.zeros((len(places), len(places), PATCHES))
  for row, top in enumerate(places):
    for column, left in enumerate(places):
      patch = image[top : top + SIZE, left : left + SIZE].astype(np.float64).ravel() / 255
      patch = (patch - patch.mean()) / np.sqrt(patch.var() + 10 / 255**2)
      answers[row, column] = patch @ kernels - filters.offset
  return np.concatenate([np.maximum(answers, 0), np.maximum(-answers, 0)], -1)


def test_features_are_quadrant_means_of_whitened_patches_answers(images):
  filters = patches.random_filters(images.images, PATCHES, SIZE, STRIDE)
  maps = maps_by_loops(filters, images.images[3])
  middle = len(maps) // 2
  quadrants = [
    maps[rows, columns].mean((0, 1))
    for rows, columns in (
      (slice(None, middle), slice(None, middle)),
      (slice(None, middle), slice(middle, None)),
      (slice(middle, None), slice(None, middle)),
      (slice(middle, None), slice(middle, None)),
    )
  ]
  pooled = patches._pooled(filters, images.images)[3]
  np.testing.assert_allclose(pooled, np.concatenate(quadrants), atol=1e-4)


def test_features_are_the_largest_components_and_keep_the_rows(images):
  train, test = patches.patch_features(
    images, images.take([5, 1]), 7, patches=PATCHES, size=SIZE, stride=STRIDE
  )
  deviations = train.features.std(0)
  assert (np.diff(deviations) <= 1e-5).all() and train.num_features == 7
  covariance = np.cov(train.features.T)
  np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3)
  np.testing.assert_allclose(test.features, train.features[[5, 1]], atol=1e-5)
  assert test.mean == train.mean and test.ids.tolist() == ['train_5', 'train_1']


def test_features_of_a_set_are_loaded_by_name():
  train, test = data.load('patches:digits', image_size=16)
  assert train.num_features == test.num_features == 256
  assert train.name == 'patches:digits' and len(train.class_names) == 10


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(features=99), 'at most 40 features'),
    (dict(size=9), 'patches of 9 every 2 pixels need 11'),
    (dict(features=0), 'features is 0'),
  ],
)
def test_what_cannot_be_is_refused(images, options, message):
  with pytest.raises(UserError, match=message):
    patches.patch_features(images, images, **options)

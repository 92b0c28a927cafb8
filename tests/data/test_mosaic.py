"""Mosaics: their pixels and labels, how often labels are there alone and together, seeds."""

import numpy as np
import pytest

from jaxdistill import data
from jaxdistill.data import mosaic
from jaxdistill.data.dataset import Dataset
from jaxdistill.errors import UserError

CLASSES = 6
# An image is its number: the class is the number modulo 6.
NUMBERS = Dataset(
  np.arange(60, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8),
  np.arange(60) % CLASSES,
  tuple('abcdef'),
  mean=(0.4,),
  std=(0.2,),
  flip=False,
)


def test_a_mosaic_is_four_images_and_their_classes():
  made = mosaic.mosaics(NUMBERS, 500, seed=1)
  assert made.image_shape == (4, 6, 1) and made.labels.shape == (500, CLASSES)
  assert (made.class_names, made.mean, made.std, made.flip) == (
    tuple('abcdef'),
    (0.4,),
    (0.2,),
    False,
  )
  tiles = made.images[:, ::2, ::3, 0].reshape(500, 4)
  np.testing.assert_array_equal(
    made.images[..., 0], np.kron(tiles.reshape(500, 2, 2), np.ones((2, 3), np.uint8))
  )
  for row, numbers in zip(made.labels, tiles):
    assert set(np.flatnonzero(row)) == set((numbers % CLASSES).tolist())
  assert set(tiles.ravel()) == set(range(60))
  # All images of a class are as likely: 2000 draws of 60, at four standard deviations.
  counts = np.bincount(tiles.ravel(), minlength=60)
  by_class = counts.reshape(10, CLASSES)
  expected = by_class.sum(0) / 10
  assert (np.abs(by_class - expected) < 4.5 * np.sqrt(expected)).all()


@pytest.mark.parametrize('focus, num_topics', [(0.9, 0), (0.6, 3), (0.0, 2)])
def test_labels_are_as_likely_as_the_topics_say(focus, num_topics):
  n = 20_000
  small = NUMBERS.take(range(6))
  labels = mosaic.mosaics(small, n, seed=2, focus=focus, num_topics=num_topics).labels
  shares = mosaic.topics(CLASSES, num_topics, focus, seed=2)
  none = (1 - shares) ** 4
  alone = (1 - none).mean(0)
  neither = (1 - shares[:, :, None] - shares[:, None]).clip(0) ** 4
  together = (1 - none[:, :, None] - none[:, None] + neither).mean(0)
  expected = np.where(np.eye(CLASSES, dtype=bool), alone, together)
  found = labels.T.astype(np.float64) @ labels / n
  assert (np.abs(found - expected) < 4.5 * np.sqrt(expected * (1 - expected) / n) + 1e-9).all()
  own = shares.argmax(0)
  same = (own[:, None] == own) & ~np.eye(CLASSES, dtype=bool)
  correlation = np.corrcoef(labels.T)
  if focus == 0.9:
    assert correlation[same].min() > 0.2 > -0.2 > correlation[own[:, None] != own].max()
  elif focus == 0.0:
    assert np.abs(correlation[~np.eye(CLASSES, dtype=bool)]).max() < 0.3


def test_topics_divide_the_classes():
  shares = mosaic.topics(10, 4, focus=0.8, seed=3)
  np.testing.assert_allclose(shares.sum(1), 1)
  favoured = shares > 0.08
  np.testing.assert_array_equal(favoured.sum(0), 1)
  assert sorted(favoured.sum(1)) == [2, 2, 3, 3]
  np.testing.assert_allclose(shares[~favoured], 0.02)
  assert len(mosaic.topics(100)) == 33 and len(mosaic.topics(2)) == 2


def test_seeds_and_splits_decide():
  same = [mosaic.mosaics(NUMBERS, 50, seed=4) for _ in range(2)]
  np.testing.assert_array_equal(same[0].images, same[1].images)
  other = mosaic.mosaics(NUMBERS, 50, seed=5)
  test = mosaic.mosaics(NUMBERS.take(range(60), 'test'), 50, seed=4)
  assert (other.labels != same[0].labels).any() and (test.labels != same[0].labels).any()
  assert len(mosaic.mosaics(NUMBERS)) == 60


def test_mosaics_by_name():
  train, test = data.load('mosaic:40:digits', image_size=16, seed=1)
  assert train.image_shape == (16, 16, 1) and [len(train), len(test)] == [40, 10]
  base = data.load('digits', image_size=8)[0]
  assert train.mean == test.mean == base.mean and not train.flip
  tiles = {image.tobytes() for image in base.images}
  assert {train.images[3, :8, :8].tobytes(), train.images[3, 8:, 8:].tobytes()} <= tiles
  with pytest.raises(UserError, match='image_size is 9; a mosaic .* an even number'):
    data.load('mosaic:digits', image_size=9)
  with pytest.raises(UserError, match='3 mosaics leave none to test on; give at least 4'):
    data.load('mosaic:3:digits')
  with pytest.raises(UserError, match='holds no labelled images to make mosaics of'):
    data.load('mosaic:8:mosaic:8:digits')


def test_what_makes_no_mosaics_is_told():
  with pytest.raises(UserError, match='7 topics need as many classes; there are 6'):
    mosaic.topics(6, 7)
  with pytest.raises(UserError, match='focus of topics is a share from 0 to 1; it is 1.5'):
    mosaic.topics(6, focus=1.5)
  with pytest.raises(UserError, match="class 'f' has no image"):
    mosaic.mosaics(NUMBERS.take(range(5)))

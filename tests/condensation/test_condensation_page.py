"""The pictures of a report stand beside the names of their classes."""

import numpy as np

from jaxdistill.condensation import page
from jaxdistill.data import Dataset
from jaxdistill.report import pictures


def test_a_class_of_few_real_images_has_a_row_of_its_own():
  labels = np.array([0, 1, 1, 1, 2])
  grey = np.full((5, 8, 8, 1), 100, np.uint8) + labels[:, None, None, None].astype(np.uint8)
  train = Dataset(grey, labels, ('ant', 'bee', 'cat'), mean=(0.5,), std=(0.5,))
  _, picture, names = page._real(train)
  white = np.full((8, 8, 1), 255, np.uint8)
  rows = [[grey[0], white, white], list(grey[1:4]), [grey[4], white, white]]
  expected = pictures.grid(np.concatenate(rows), columns=3)
  np.testing.assert_array_equal(picture, expected)
  assert names == ['ant', 'bee', 'cat']

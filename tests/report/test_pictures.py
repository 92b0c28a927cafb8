"""Grids of images, pixel by pixel, and their PNG files."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxdistill.errors import UserError
from jaxdistill.report import pictures


def test_grid_places_each_image_by_hand():
  # Three 1x2 images, two columns, scale 2, gap 1: rows 0-1 and 3-4, columns 0-3 and 5-8; the fourth
  # cell stays empty.
  images = np.array([[[10, 20]], [[30, 40]], [[50, 60]]], np.uint8)[..., None]
  b = 7
  expected = np.array(
    [
      [10, 10, 20, 20, b, 30, 30, 40, 40],
      [10, 10, 20, 20, b, 30, 30, 40, 40],
      [b, b, b, b, b, b, b, b, b],
      [50, 50, 60, 60, b, b, b, b, b],
      [50, 50, 60, 60, b, b, b, b, b],
    ],
    np.uint8,
  )
  picture = pictures.grid(images, 2, scale=2, gap=1, background=b)
  assert picture.dtype == np.uint8 and picture.flags.c_contiguous
  np.testing.assert_array_equal(picture, np.repeat(expected[..., None], 3, axis=-1))


def test_grid_without_gap_is_the_images_side_by_side():
  images = np.random.default_rng(0).integers(0, 256, [6, 4, 5, 3], dtype=np.uint8)
  picture = pictures.grid(images, 3, scale=1, gap=0)
  for i, image in enumerate(images):
    r, c = divmod(i, 3)
    np.testing.assert_array_equal(picture[4 * r : 4 * r + 4, 5 * c : 5 * c + 5], image)


def test_float_images_are_clipped_and_rounded():
  images = np.array([-0.2, 0.0, 0.002, 0.5, 1.0, 1.7], np.float64).reshape(1, 1, 6, 1)
  assert pictures.grid(images, scale=1)[0, :, 0].tolist() == [0, 0, 1, 128, 255, 255]


@pytest.mark.parametrize('size, cell', [(8, 64), (16, 64), (28, 56), (32, 64), (96, 96)])
def test_small_images_are_enlarged_to_the_cell(size, cell):
  assert pictures.grid(np.zeros([1, size, size, 1])).shape == (cell, cell, 3)


def test_columns_default_to_a_square_and_never_exceed_the_images():
  assert pictures.grid(np.zeros([9, 2, 2, 1]), scale=1, gap=0).shape == (6, 6, 3)
  assert pictures.grid(np.zeros([3, 2, 2, 1]), 10, scale=1, gap=0).shape == (2, 6, 3)


def test_accelerator_arrays_are_taken():
  import jax.numpy as jnp

  picture = pictures.grid(jnp.full([2, 2, 2, 3], 0.5, jnp.bfloat16), scale=1, gap=0)
  assert picture.shape == (2, 4, 3) and (picture == 128).all()


@pytest.mark.parametrize('channels, shown', [(2, [0, 0, 0]), (4, [0, 1, 2])])
def test_of_two_and_of_four_channels_the_last_is_left_out(channels, shown):
  images = np.random.default_rng(0).integers(0, 256, (1, 4, 4, channels), np.uint8)
  np.testing.assert_array_equal(pictures.grid(images, scale=1), images[0][..., shown])
  np.testing.assert_array_equal(pictures.as_uint8(images / 255.0), images[..., shown])
  with Image.open(io.BytesIO(pictures.png_bytes(images[0]))) as image:
    np.testing.assert_array_equal(np.asarray(image), images[0][..., shown])


@pytest.mark.parametrize('shape', [(4, 4, 3), (5, 4, 4, 3)])
def test_png_round_trip(shape):
  picture = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
  picture = picture if picture.ndim == 3 else pictures.grid(picture)
  with Image.open(io.BytesIO(pictures.png_bytes(picture))) as image:
    assert image.mode == 'RGB'
    np.testing.assert_array_equal(np.asarray(image), picture)


def test_png_of_a_grey_picture():
  grey = np.array([[0, 100], [200, 255]], np.uint8)
  with Image.open(io.BytesIO(pictures.png_bytes(grey))) as image:
    np.testing.assert_array_equal(np.asarray(image), np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize(
  'images, message',
  [
    (np.zeros([4, 8, 8]), r'shape \[n, h, w, c\]'),
    (np.zeros([0, 8, 8, 3]), 'at least one image'),
    (np.zeros([2, 8, 8, 5]), '1 to 4 channels'),
    (np.zeros([2, 3, 8, 8]), '1 to 4 channels'),
    (np.zeros([2, 8, 8, 3], np.int32), 'uint8, or float'),
    (np.full([2, 8, 8, 3], np.nan), 'NaN'),
  ],
)
def test_grid_refuses_what_is_no_batch_of_images(images, message):
  with pytest.raises(UserError, match=message):
    pictures.grid(images)


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(columns=0), 'columns'),
    (dict(scale=1.5), 'scale'),
    (dict(scale=0), 'scale'),
    (dict(gap=-1), 'gap'),
    (dict(background=256), 'background'),
  ],
)
def test_grid_refuses_layouts_without_sense(options, message):
  with pytest.raises(UserError, match=message):
    pictures.grid(np.zeros([2, 4, 4, 1]), **options)


@pytest.mark.parametrize('shape', [(2, 4, 4, 3), (4,), (0, 4, 3), (4, 4, 5)])
def test_png_refuses_what_is_no_picture(shape):
  with pytest.raises(UserError, match='shape'):
    pictures.png_bytes(np.zeros(shape, np.uint8))


def test_a_heat_map_is_white_at_zero_and_as_strong_on_both_sides():
  picture = pictures.heat_map([[0.0, 2.0, -2.0], [1.0, np.nan, -9.0]], limit=2.0, side=3)
  assert picture.shape == (2, 3, 3) and picture.dtype == np.uint8
  white, red, blue = picture[0].tolist()
  assert white == [255, 255, 255] and red == [178, 24, 43] and blue == [33, 102, 172]
  half, missing, beyond = picture[1].tolist()
  assert half == [216, 140, 149]  # half-way from white: 216.5, 139.5 and 149, to the even one
  assert missing == [pictures.GAP_COLOUR] * 3 and beyond == blue


def test_a_heat_map_has_whole_pixels_and_its_own_limit():
  picture = pictures.heat_map(np.diag([1.0, -4.0, 2.0]), side=10)
  assert picture.shape == (9, 9, 3)
  assert (picture[3:6, 3:6] == np.array([33, 102, 172])).all()
  assert (pictures.heat_map(np.zeros((2, 2)), side=2) == 255).all()
  assert pictures.heat_map(np.zeros((500, 2))).shape == (500, 2, 3)


@pytest.mark.parametrize('matrix, limit', [([1.0], 0), (np.zeros((0, 3)), 0), ([[1.0]], -1)])
def test_what_is_no_heat_map_is_told(matrix, limit):
  with pytest.raises(UserError, match='heat map'):
    pictures.heat_map(matrix, limit)

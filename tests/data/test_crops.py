"""Resampling against Pillow; the boxes of random resized crops, centre crops, Cutout; padding and
mirrors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdistill.data import crops, resample
from jaxdistill.data.crops import (
  CentreCrop,
  Crop,
  Cutout,
  Flip,
  ReflectCrop,
  Resize,
  ResizedCrop,
)
from jaxdistill.errors import UserError

KEY = jax.random.key(0)
PLACES = jnp.arange(1.0, 65).reshape(1, 8, 8, 1)
METHODS = dict(bilinear=Image.Resampling.BILINEAR, bicubic=Image.Resampling.BICUBIC)
_resample = jax.jit(resample.resample, static_argnums=(2, 3, 4))


def _picture(height, width):
  """A smooth picture with some noise, as floats without 8-bit rounding."""
  random = np.random.RandomState(0)
  waves = np.sin(np.arange(height) / 2)[:, None] * np.cos(np.arange(width) / 3)[None]
  return (waves + 0.2 * random.normal(size=(height, width))).astype(np.float32)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize(
  'box, shape', [((0, 0, 9, 14), (5, 6)), ((2, 3, 5, 7), (11, 8)), ((4, 0, 5, 14), (5, 3))]
)
def test_resampling_is_pillows(method, box, shape):
  picture = _picture(9, 14)
  top, left, height, width = box
  expected = Image.fromarray(picture[top : top + height, left : left + width]).resize(
    shape[::-1], METHODS[method]
  )
  out = _resample(jnp.asarray(picture)[None, :, :, None], box, shape, method)
  np.testing.assert_allclose(out[0, :, :, 0], expected, atol=2e-5)


def test_boxes_may_be_one_an_image():
  images = jax.device_put(np.float32(np.random.RandomState(0).rand(2, 9, 9, 3)))
  box = tuple(jnp.array(pair) for pair in ((0, 3), (2, 1), (4, 6), (7, 5)))
  both = _resample(images, box, (4, 4))
  for number in range(2):
    alone = _resample(images, tuple(int(side[number]) for side in box), (4, 4))
    np.testing.assert_allclose(both[number], alone[number], atol=1e-6)


def test_without_antialiasing_the_kernel_keeps_its_width():
  line = jnp.arange(8.0).reshape(1, 1, 8, 1)
  sharp = _resample(line, (0, 0, 1, 8), (1, 2), 'bilinear', False)
  assert sharp.ravel().tolist() == [1.5, 5.5]
  spike = jnp.zeros((1, 1, 8, 1)).at[0, 0, 0, 0].set(1.0)
  assert _resample(spike, (0, 0, 1, 8), (1, 2), 'bilinear', False)[0, 0, 0, 0] == 0
  assert _resample(spike, (0, 0, 1, 8), (1, 2), 'bilinear', True)[0, 0, 0, 0] > 0


def test_box_of_a_resized_crop_is_within_its_bounds():
  height, width, count = 24, 32, 4000
  crop = ResizedCrop(8, scale=(0.2, 0.9), ratio=(0.5, 1.6))
  top, left, high, wide = (
    np.asarray(side)
    for side in jax.jit(crop.box, static_argnums=(1, 2))(KEY, count, (height, width))
  )
  assert top.min() >= 0 and left.min() >= 0
  assert (top + high).max() <= height and (left + wide).max() <= width
  share = high * wide / (height * width)
  # Sides are rounded to whole pixels.
  slack = (high + wide + 1) / (2 * height * width)
  assert (share >= 0.2 - slack).all() and (share <= 0.9 + slack).all()
  assert ((wide + 0.5) / (high - 0.5) >= 0.5).all() and ((wide - 0.5) / (high + 0.5) <= 1.6).all()
  # All places that a box of a common size has are taken.
  same = (high == np.bincount(high).argmax()) & (top >= 0)
  assert set(top[same]) == set(range(height - high[same][0] + 1))


def test_area_of_small_crops_is_uniform():
  # Small boxes always fit, so that the first try is taken.
  crop = ResizedCrop(8, scale=(0.1, 0.3))
  _, _, high, wide = jax.jit(crop.box, static_argnums=(1, 2))(KEY, 4000, (200, 200))
  share, ratio = np.asarray(high * wide) / 200**2, np.log(np.asarray(wide / high))
  quartiles = [0, 0.25, 0.5, 0.75, 1]
  np.testing.assert_allclose(np.quantile(share, quartiles), np.linspace(0.1, 0.3, 5), atol=0.01)
  limit = np.log(4 / 3)
  np.testing.assert_allclose(
    np.quantile(ratio, quartiles), np.linspace(-limit, limit, 5), atol=0.03
  )
  assert abs(np.corrcoef(share, ratio)[0, 1]) < 0.06


@pytest.mark.parametrize(
  'shape, ratio, expected',
  [
    ((10, 40), (0.9, 1.2), (0, 14, 10, 12)),  # wider than allowed: 10 x 1.2
    ((40, 10), (0.8, 1.2), (14, 0, 12, 10)),  # 10 / 0.8 = 12.5 rounds to 12
  ],
)
def test_fallback_is_the_largest_centred_box(shape, ratio, expected):
  # The whole area never fits into such an image with such a ratio.
  box = ResizedCrop(8, (1.0, 1.0), ratio).box(KEY, 3, shape)
  assert [side.tolist() for side in box] == [[value] * 3 for value in expected]
  whole = ResizedCrop(8, (4.0, 4.0), (0.5, 2.0)).box(KEY, 1, (10, 12))
  assert [side.item() for side in whole] == [0, 0, 10, 12]


def test_resized_crop_shows_its_box():
  images = jax.device_put(np.float32(np.random.RandomState(1).rand(5, 12, 12, 3)))
  crop = ResizedCrop(6, method='bicubic')
  out = jax.jit(crop)(KEY, images)
  boxes = np.stack([np.asarray(side) for side in crop.box(KEY, 5, (12, 12))], axis=1)
  for image, (top, left, height, width), result in zip(np.asarray(images), boxes, out):
    for channel in range(3):
      part = image[top : top + height, left : left + width, channel]
      expected = Image.fromarray(part).resize((6, 6), Image.Resampling.BICUBIC)
      np.testing.assert_allclose(result[..., channel], expected, atol=2e-5)
  assert len(set(map(tuple, boxes.tolist()))) > 1


@pytest.mark.parametrize('padding', [0, 2])
def test_pad_and_crop_shows_every_window_of_the_padded_image(padding):
  padded = np.pad(np.asarray(PLACES[0, :, :, 0]), padding)
  windows = {
    padded[top : top + 8, left : left + 8].tobytes()
    for top, left in np.ndindex(2 * padding + 1, 2 * padding + 1)
  }
  out = jax.jit(Crop(padding))(KEY, jnp.tile(PLACES, (400, 1, 1, 1)))
  assert {np.asarray(image).tobytes() for image in out[..., 0]} == windows


def test_a_reflected_border_shows_every_window_of_the_mirrored_image():
  wide = np.asarray(PLACES[0, :5, :, 0])
  padded = np.pad(wide, 2, mode='reflect')
  windows = {padded[top : top + 5, left : left + 8].tobytes() for top, left in np.ndindex(5, 5)}
  images = jnp.tile(jnp.asarray(wide)[None, :, :, None], (400, 1, 1, 1))
  out = jax.jit(ReflectCrop(2))(KEY, images)
  assert {np.asarray(image).tobytes() for image in out[..., 0]} == windows
  zeros = np.asarray(Crop(2)(KEY, images))
  np.testing.assert_array_equal(out[zeros > 0], zeros[zeros > 0])
  with pytest.raises(UserError, match='fewer pixels than a side.*padding 5 for images of 5x8'):
    ReflectCrop(5)(KEY, images)


def test_half_of_the_images_are_mirrored():
  many = jnp.tile(PLACES, (600, 1, 1, 1))
  out = jax.jit(Flip())(KEY, many)
  mirrored = np.asarray((out == many[:, :, ::-1]).all(axis=(1, 2, 3)))
  assert 0.43 < mirrored.mean() < 0.57
  np.testing.assert_array_equal(out[~mirrored], many[~mirrored])
  assert Flip().unmirrored() is None and Crop().unmirrored() == Crop()


def test_centre_crop_after_a_zoom_is_pillows():
  picture = _picture(32, 32)
  zoomed = np.asarray(Image.fromarray(picture).resize((36, 36), Image.Resampling.BILINEAR))
  out = jax.jit(CentreCrop(32, resize=36))(None, jnp.asarray(picture)[None, :, :, None])
  np.testing.assert_allclose(out[0, :, :, 0], zoomed[2:34, 2:34], atol=2e-5)
  wide = CentreCrop(4, resize=6)(None, jnp.asarray(_picture(12, 18))[None, :, :, None])
  expected = Image.fromarray(_picture(12, 18)).resize((9, 6), Image.Resampling.BILINEAR)
  np.testing.assert_allclose(wide[0, :, :, 0], np.asarray(expected)[1:5, 2:6], atol=2e-5)
  with pytest.raises(UserError, match='of 9 pixels does not fit into images of 8 x 8'):
    CentreCrop(9)(None, PLACES)


def test_low_resolution_comes_back_at_its_size():
  picture = _picture(12, 18)
  small = Image.fromarray(picture).resize((9, 6), Image.Resampling.BICUBIC)
  images = jnp.asarray(picture)[None, :, :, None]
  np.testing.assert_allclose(jax.jit(Resize(6))(None, images)[0, :, :, 0], small, atol=2e-5)
  back = small.resize((18, 12), Image.Resampling.BICUBIC)
  np.testing.assert_allclose(jax.jit(Resize(6, back=12))(None, images)[0, :, :, 0], back, atol=4e-5)


def test_cutout_is_a_square_at_every_place_clipped():
  out = np.asarray(jax.jit(Cutout(3))(KEY, jnp.tile(PLACES, (2000, 1, 1, 1))))[..., 0]
  seen = set()
  for image in out:
    rows, columns = (np.flatnonzero((image == 0).any(axis)) for axis in (1, 0))
    assert (image == 0).sum() == len(rows) * len(columns)
    seen.add((rows[0], rows[-1], columns[0], columns[-1]))
  spans = {(max(centre - 1, 0), min(centre + 1, 7)) for centre in range(8)}
  assert seen == {(*rows, *columns) for rows in spans for columns in spans}
  np.testing.assert_array_equal(out[out != 0], np.tile(PLACES[0, :, :, 0], (2000, 1, 1))[out != 0])


def test_fields_are_checked():
  with pytest.raises(UserError, match='ResizedCrop needs scale as two numbers above 0'):
    ResizedCrop(8, scale=(0.5, 0.1))
  with pytest.raises(UserError, match="no interpolation 'bicubik'; did you mean 'bicubic'"):
    Resize(8, method='bicubik')
  with pytest.raises(UserError, match='Crop needs padding of at least 0; it is -1'):
    Crop(-1)
  assert crops.Cutout(4) == Cutout(4)


def test_a_resized_crop_of_no_size_keeps_the_sides():
  images = jax.device_put(np.float32(np.random.default_rng(0).random((4, 6, 9, 3))))
  kept = ResizedCrop(0, scale=(0.5, 1.0))(KEY, images)
  assert kept.shape == images.shape and not np.allclose(kept, images, atol=1e-2)
  square = images[:, :, :6]
  np.testing.assert_array_equal(
    ResizedCrop(0, scale=(0.5, 1.0))(KEY, square), ResizedCrop(6, scale=(0.5, 1.0))(KEY, square)
  )

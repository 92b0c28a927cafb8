"""The low view against Pillow; sizes that divide; degradations in between."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdistill.data import resolution
from jaxdistill.data.crops import Flip
from jaxdistill.data.degradations import Blur, Darken, Noise
from jaxdistill.data.photometric import Jitter
from jaxdistill.data.resolution import Lower
from jaxdistill.data.views import DiffAug
from jaxdistill.errors import UserError

KEY = jax.random.key(0)
RANDOM = np.random.RandomState(0)
FILTERS = dict(bicubic=Image.Resampling.BICUBIC, area=Image.Resampling.BOX)


def _pictures():
  """uint8 [3, 32, 32, 3]: noise, stripes of black and white, and something smooth."""
  noise = RANDOM.randint(0, 256, (32, 32, 3))
  stripes = np.broadcast_to(np.arange(32).reshape(1, 32, 1) // 3 % 2 * 255, (32, 32, 3))
  waves = 127.5 + 127.5 * np.sin(np.arange(32 * 32 * 3).reshape(32, 32, 3) / 200)
  return np.stack([noise, stripes, waves]).astype(np.uint8)


PICTURES = _pictures()
UNIT = jnp.asarray(PICTURES / np.float32(255))


def _pillow(images, size, how):
  resized = [Image.fromarray(image).resize((size, size), FILTERS[how]) for image in images]
  return np.stack([np.asarray(image) for image in resized])


@pytest.mark.parametrize('how', resolution.HOW)
@pytest.mark.parametrize('size', [2, 8, 16])
def test_low_images_are_pillows_within_two_grey_levels(how, size):
  low = jax.jit(Lower(size, how))(None, UNIT)
  expected = _pillow(PICTURES, size, how)
  assert low.shape == (3, size, size, 3) and low.min() >= 0 and low.max() <= 1
  np.testing.assert_allclose(low * 255, expected, atol=2)
  assert np.abs(low * 255 - expected).mean() < 0.6


def test_upsampled_images_are_pillows_within_two_grey_levels():
  low = jax.jit(Lower(8, 'bicubic', 'upsampled'))(None, UNIT)
  expected = _pillow(_pillow(PICTURES, 8, 'bicubic'), 32, 'bicubic')
  assert low.shape == UNIT.shape and low.min() >= 0 and low.max() <= 1
  np.testing.assert_allclose(low * 255, expected, atol=2)


def test_area_is_the_mean_of_every_block():
  low = np.asarray(Lower(8, 'area')(None, UNIT))
  for row, column in ((0, 0), (3, 5), (7, 7)):
    block = PICTURES[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] / 255
    np.testing.assert_allclose(low[:, row, column], block.mean((1, 2)), atol=1e-6)
  np.testing.assert_array_equal(Lower(32, 'area')(None, UNIT), UNIT)


def test_oblong_images_keep_their_ratio():
  images = jnp.ones((1, 12, 8, 1))
  low, shown = (
    jax.eval_shape(lambda images, lower=lower: lower(None, images), images)
    for lower in (Lower(4), Lower(2, 'area', 'upsampled'))
  )
  assert low.shape == (1, 6, 4, 1) and shown.shape == (1, 12, 8, 1)


def test_degradations_act_on_the_low_image():
  dark = jax.jit(Lower(8, 'area', degrade=(Darken(0.5),)))(KEY, UNIT)
  np.testing.assert_allclose(dark, Lower(8, 'area')(None, UNIT) / 2, atol=1e-6)
  soft = jax.jit(Lower(8, 'area', 'upsampled', (Blur(1.0), Darken(0.5))))(KEY, UNIT)
  low = Darken(0.5)(None, Blur(1.0)(None, Lower(8, 'area')(None, UNIT)))
  expected = _pillow(np.rint(np.asarray(low) * 255).astype(np.uint8), 32, 'bicubic')
  np.testing.assert_allclose(soft * 255, expected, atol=2)


def test_degradations_have_draws_of_their_own():
  twice = Lower(8, 'area', degrade=(Noise(0.1), Noise(0.1)))
  grey = UNIT / 2 + 0.25
  plain, added = Lower(8, 'area')(None, grey), jax.jit(twice)(KEY, grey)
  assert 0.12 < float((added - plain).std()) < 0.16  # one draw used twice would have 0.2
  jittered = Lower(8, degrade=(Jitter(0.4, 0.4),))
  choice = jittered.draw(KEY)
  np.testing.assert_array_equal(
    jax.jit(jittered)(KEY, UNIT, choice), jax.jit(jittered)(KEY, UNIT, choice)
  )


def test_what_is_random_is_known():
  assert not Lower(8).random and not Lower(8, degrade=(Blur(1.0), Darken(0.5))).random
  assert Lower(8, degrade=(Blur(1.0), Noise(0.1))).random
  assert Lower(8, degrade=(Flip(), Darken(0.5))).unmirrored() == Lower(8, degrade=(Darken(0.5),))


@pytest.mark.parametrize(
  'size, sides, sentence',
  [
    (12, (32, 32), '12 does not divide the images of 32 x 32; sizes that fit: 2, 4, 8, 16, 32'),
    (64, (32, 32), '64 exceeds the images of 32 x 32; sizes that fit: 2, 4, 8, 16, 32'),
    (4, (8, 13), '4 does not divide the images of 8 x 13; sizes that fit: 8'),
    (3, (1, 1), '3 exceeds the images of 1 x 1; no size fits them'),
    (1, (32, 32), '1 does not divide'),
  ],
)
def test_sizes_that_do_not_fit_are_told(size, sides, sentence):
  with pytest.raises(UserError, match=sentence):
    resolution.check_low(size, sides)


def test_mistakes_are_told():
  with pytest.raises(UserError, match='size of a low view is 1; it must be at least 2'):
    Lower(1)
  with pytest.raises(UserError, match="no way to lower a resolution 'bilinear'"):
    Lower(8, 'bilinear')
  with pytest.raises(UserError, match="no way to show a low view 'up'"):
    Lower(8, shown='up')
  with pytest.raises(UserError, match='DiffAug leaves images normalised'):
    Lower(8, degrade=(DiffAug('color'),))
  with pytest.raises(UserError, match='5 does not divide the images of 32 x 32'):
    Lower(5)(None, UNIT)

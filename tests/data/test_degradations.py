"""Blur against SciPy; noise, darkness; rotations; fixed shifts of a data set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data import Dataset, degradations
from jaxdistill.data.crops import Rotate
from jaxdistill.data.degradations import Blur, Darken, Noise
from jaxdistill.data.photometric import Jitter
from jaxdistill.data.views import DiffAug
from jaxdistill.errors import UserError

KEY = jax.random.key(0)
UNIT = jnp.asarray(np.random.RandomState(0).rand(2, 9, 12, 3), jnp.float32)
SET = Dataset(
  np.random.RandomState(1).randint(0, 256, (7, 8, 8, 3)).astype(np.uint8), np.arange(7) % 3
)


@pytest.mark.parametrize('sigma', [0.6, 2.5])
def test_blur_is_scipys(sigma):
  from scipy import ndimage

  expected = ndimage.gaussian_filter(
    np.asarray(UNIT, np.float64), (0, sigma, sigma, 0), mode='nearest', radius=None, truncate=6
  )
  blurred = jax.jit(Blur(sigma))(None, UNIT)
  np.testing.assert_allclose(blurred, expected, atol=2e-4)


def test_blur_keeps_what_is_even_and_zero_keeps_all():
  even = jnp.full((1, 5, 7, 1), 0.3)
  np.testing.assert_allclose(Blur(3.0)(None, even), even, atol=1e-6)
  np.testing.assert_array_equal(Blur(0.0)(None, UNIT), UNIT)


def test_noise_has_its_deviation_and_stays_within_the_range():
  noise = Noise(0.1)(KEY, jnp.full((3, 64, 64, 3), 0.5)) - 0.5
  np.testing.assert_allclose(noise.std((1, 2, 3)), 0.1, rtol=0.03)
  assert abs(float(noise.mean())) < 0.002
  assert (noise[0] != noise[1]).mean() > 0.99 and (noise[..., 0] != noise[..., 1]).mean() > 0.99
  border = Noise(0.5)(KEY, jnp.ones((1, 16, 16, 1)))
  assert border.max() == 1 and border.min() >= 0


def test_darkness_is_a_factor():
  np.testing.assert_array_equal(Darken(0.25)(None, UNIT), UNIT / 4)


def test_rotations_stay_within_their_angle():
  # The angle that a bright spot right of the centre has moved by.
  spot = jnp.zeros((400, 33, 33, 1)).at[:, 16, 30].set(1.0)
  turned = np.asarray(jax.jit(Rotate(20.0))(KEY, spot))[..., 0]
  down = (turned * (np.arange(33)[:, None] - 16)).sum((1, 2)) / turned.sum((1, 2))
  angle = np.rad2deg(np.arcsin(down / 14))
  assert np.abs(angle).max() < 20.5 and angle.min() < -18 and angle.max() > 18
  np.testing.assert_allclose(angle.std(), 40 / np.sqrt(12), rtol=0.06)
  np.testing.assert_array_equal(Rotate(0)(KEY, UNIT), UNIT)


def test_fixed_shift_depends_on_seed_and_position_alone():
  transforms = (Jitter(0.4, 0.4), Noise(0.05))
  first = degradations.degraded(SET, transforms, seed=3)
  np.testing.assert_array_equal(first.images, degradations.degraded(SET, transforms, seed=3).images)
  begun = degradations.degraded(SET.take(range(3)), transforms, seed=3)
  np.testing.assert_array_equal(begun.images, first.images[:3])
  other = degradations.degraded(SET, transforms, seed=4)
  assert (other.images != first.images).any((1, 2, 3)).all()
  equal = Dataset(np.full((2, 8, 8, 3), 128, np.uint8), np.array([0, 1]))
  pair = degradations.degraded(equal, transforms).images
  assert (pair[0] != pair[1]).any()
  assert first.mean == SET.mean and first.images.dtype == np.uint8
  np.testing.assert_array_equal(first.labels, SET.labels)


def test_fixed_shift_in_several_calls_is_that_of_one(monkeypatch):
  whole = degradations.degraded(SET, (Noise(0.1),))
  monkeypatch.setattr(degradations, '_CHUNK', 3)
  np.testing.assert_array_equal(degradations.degraded(SET, (Noise(0.1),)).images, whole.images)


def test_mistakes_are_told():
  with pytest.raises(UserError, match='Blur needs sigma of at least 0; it is -1'):
    Blur(-1)
  with pytest.raises(UserError, match='Darken needs factor from 0 to 1; it is 2'):
    Darken(2)
  with pytest.raises(UserError, match='Noise needs sigma of at least 0'):
    Noise(-0.1)
  with pytest.raises(UserError, match='Rotate needs degrees from 0 to 180'):
    Rotate(200)
  with pytest.raises(UserError, match='DiffAug leaves images normalised'):
    degradations.degraded(SET, (DiffAug('color'),))
  with pytest.raises(UserError, match='no operation of a view'):
    degradations.degraded(SET, (Blur,))

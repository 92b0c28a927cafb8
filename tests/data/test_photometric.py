"""Colour operations against Pillow and colorsys; the ranges, the order and the coins of the
jitter."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from jaxdistill.data import photometric
from jaxdistill.data.photometric import Grey, Jitter, Lighting, UnclippedJitter
from jaxdistill.errors import UserError

IMAGES = np.random.RandomState(0).randint(0, 256, (3, 6, 5, 3)).astype(np.uint8)
UNIT = jnp.asarray(IMAGES / np.float32(255))
GREY = UNIT[..., :1]
FACTORS = np.array([0.0, 0.7, 1.6])


@pytest.mark.parametrize('name', ['Brightness', 'Contrast', 'Color'])
def test_blends_are_pillows_up_to_rounding(name):
  operation = dict(Color=photometric.saturation).get(name) or getattr(photometric, name.lower())
  out = jax.jit(operation)(UNIT, jnp.asarray(FACTORS, jnp.float32))
  for image, factor, result in zip(IMAGES, FACTORS, out):
    expected = getattr(ImageEnhance, name)(Image.fromarray(image)).enhance(float(factor))
    np.testing.assert_allclose(result * 255, expected, atol=1.7)


def test_hue_is_colorsys():
  turns = np.array([0.5, -0.13, 0.31])
  images = UNIT.at[0, 0, 0].set(0.4).at[0, 0, 1].set(jnp.array([0.7, 0.7, 0.2]))
  out = jax.jit(photometric.hue)(images, jnp.asarray(turns, jnp.float32))
  for image, turn, result in zip(np.asarray(images, np.float64), turns, np.asarray(out)):
    for pixel, turned in zip(image.reshape(-1, 3), result.reshape(-1, 3)):
      h, s, v = colorsys.rgb_to_hsv(*pixel)
      np.testing.assert_allclose(turned, colorsys.hsv_to_rgb((h + turn) % 1, s, v), atol=1e-5)


def test_one_channel_has_no_colour_and_two_are_refused():
  for operation in (photometric.hue, photometric.saturation):
    np.testing.assert_allclose(operation(GREY, 0.3), GREY, atol=1e-6)
  np.testing.assert_array_equal(Grey(1.0)(jax.random.key(0), GREY), GREY)
  with pytest.raises(UserError, match='1 or 3 channels; these have 2'):
    photometric.contrast(UNIT[..., :2], 1.0)


@pytest.mark.parametrize('strength, low, high', [(0.4, 0.6, 1.4), (2.0, 0.0, 3.0)])
def test_factors_fill_their_range(strength, low, high):
  dim = jnp.full((2000, 1, 1, 1), 0.25)
  jitter = Jitter(brightness=strength)
  factor = np.asarray(jax.jit(jitter)(jax.random.key(0), dim, jnp.array([0]))).ravel() / 0.25
  assert low <= factor.min() and factor.max() <= high + 1e-6
  np.testing.assert_allclose(
    np.quantile(factor, [0, 0.25, 0.5, 0.75, 1]),
    np.linspace(low, high, 5),
    atol=0.06 * (high - low),
  )


def test_hue_of_the_jitter_stays_within_its_range():
  red = jnp.zeros((500, 1, 1, 3)).at[..., 0].set(1.0)
  out = np.asarray(jax.jit(Jitter(hue=0.1))(jax.random.key(0), red, jnp.array([0]))).reshape(-1, 3)
  turn = np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in out.tolist()])
  turn = np.where(turn > 0.5, turn - 1, turn)
  assert -0.1 - 1e-5 < turn.min() < -0.09 and 0.09 < turn.max() < 0.1 + 1e-5


def test_order_is_the_choice():
  jitter = Jitter(brightness=0.9, contrast=0.9)
  orders = jax.vmap(jitter.draw)(jax.random.split(jax.random.key(0), 100))
  assert 30 < (orders == jnp.array([[0, 1]])).all(1).sum() < 70
  first, second = (
    jax.jit(jitter)(jax.random.key(1), UNIT, jnp.array(order)) for order in ((0, 1), (1, 0))
  )
  assert (first != second).any()
  # Each operation keeps its factors whatever the order, and whatever else is listed.
  bright = Jitter(brightness=0.9)(jax.random.key(1), UNIT, jnp.array([0]))
  dull = Jitter(contrast=0.9)
  np.testing.assert_allclose(dull(jax.random.key(1), bright, jnp.array([0])), first, atol=1e-6)
  assert Jitter(0.4, 0.4, 0.4, 0.1).draw(jax.random.key(0)).shape == (4,)
  np.testing.assert_array_equal(Jitter()(jax.random.key(0), UNIT), UNIT)


def test_some_images_are_left_alone():
  many = jnp.tile(UNIT[:1], (1000, 1, 1, 1))
  for transform, share in ((Jitter(contrast=0.5, probability=0.8), 0.8), (Grey(0.2), 0.2)):
    out = jax.jit(transform)(jax.random.key(0), many, transform.draw(jax.random.key(1)))
    changed = np.asarray((out != many).any(axis=(1, 2, 3)))
    assert abs(changed.mean() - share) < 0.05
  grey = np.asarray(Grey(1.0)(jax.random.key(0), UNIT))
  expected = np.asarray(Image.fromarray(IMAGES[0]).convert('L'))
  np.testing.assert_allclose(grey[0] * 255, np.stack([expected] * 3, -1), atol=0.6)


def test_strengths_are_checked():
  with pytest.raises(UserError, match='Jitter needs hue from 0 to 0.5; it is 0.7'):
    Jitter(hue=0.7)
  with pytest.raises(UserError, match='Jitter needs contrast of at least 0; it is -1'):
    Jitter(contrast=-1)


def test_an_unclipped_jitter_is_the_formula_alone():
  """Brightness, contrast and saturation in this order, in float64."""
  strengths = dict(brightness=0.4, contrast=0.4, saturation=0.4)
  key, order = jax.random.key(2), jnp.arange(3)
  images = jnp.concatenate([UNIT, 1 - 0.1 * UNIT])
  out = np.asarray(jax.jit(UnclippedJitter(**strengths))(key, images, order))
  key_factor, _ = jax.random.split(key)
  expected = np.asarray(images, np.float64)
  weights = np.array([0.299, 0.587, 0.114])
  for place in range(3):
    factor = jax.random.uniform(
      jax.random.fold_in(key_factor, place), (len(images),), minval=0.6, maxval=1.4
    )
    luminance = (expected * weights).sum(-1, keepdims=True)
    base = (0, luminance.mean((1, 2, 3), keepdims=True), luminance)[place]
    expected = base + np.asarray(factor, np.float64).reshape(-1, 1, 1, 1) * (expected - base)
  np.testing.assert_allclose(out, expected, atol=1e-5)
  assert out.max() > 1.05
  clipped = jax.jit(Jitter(**strengths))(key, images, order)
  assert 0 <= clipped.min() and clipped.max() <= 1


def test_an_unclipped_jitter_leaves_the_names_of_recipes_as_they_were():
  assert repr(Jitter(0.4)) == (
    'Jitter(brightness=0.4, contrast=0.0, saturation=0.0, hue=0.0, probability=1.0)'
  )


def test_lighting_moves_along_the_principal_components():
  """Covariance of the shifts: V diag(s)^2 V' times the square of the deviation."""
  images = jnp.full((40_000, 1, 1, 3), 0.5)
  shift = np.asarray(jax.jit(Lighting(0.1))(jax.random.key(1), images), np.float64)[:, 0, 0] - 0.5
  directions = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
  )
  scaled = directions * [0.2175, 0.0188, 0.0045] * 0.1
  covariance = scaled @ scaled.T
  np.testing.assert_allclose(np.cov(shift.T), covariance, rtol=0.03)
  np.testing.assert_allclose(shift.mean(0), 0, atol=5e-4)
  # One shift for all pixels of an image, and another for the next; nothing is clipped.
  lit = np.asarray(Lighting(3.0)(jax.random.key(1), UNIT)) - np.asarray(UNIT)
  np.testing.assert_allclose(lit, lit[:, :1, :1] * np.ones_like(lit), atol=1e-6)
  assert np.abs(lit[0, 0, 0] - lit[1, 0, 0]).max() > 0.02
  assert (np.asarray(UNIT) + lit).max() > 1.01
  np.testing.assert_array_equal(Lighting(3.0)(jax.random.key(1), GREY), GREY)
  with pytest.raises(UserError, match='deviation of at least 0; it is -1'):
    Lighting(-1)

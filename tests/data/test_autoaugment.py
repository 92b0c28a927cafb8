"""The 8-bit operations against Pillow, and AutoAugment's policy: levels, probabilities, signs."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jaxdistill.data import autoaugment, eight_bit
from jaxdistill.data.autoaugment import NAMES, AutoAugment
from jaxdistill.errors import UserError

SIZE = 20


def _pictures(channels):
  """Noise, a ramp, few values, one value, and a smooth picture."""
  random = np.random.RandomState(0)
  ramp = np.arange(SIZE * SIZE).reshape(SIZE, SIZE) * 160 // (SIZE * SIZE) + 40
  waves = np.sin(np.arange(SIZE) / 3)[:, None] * np.cos(np.arange(SIZE) / 4)[None] * 100 + 128
  plain = [
    random.randint(0, 256, (SIZE, SIZE)),
    ramp,
    random.choice([3, 90, 250], (SIZE, SIZE)),
    np.full((SIZE, SIZE), 77),
    waves.astype(int),
  ]
  pictures = [np.stack([(image + 31 * c) % 256 for c in range(channels)], -1) for image in plain]
  return np.stack(pictures).astype(np.uint8)


def _affine(image, *matrix):
  return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


# Each with the magnitude that Pillow takes.
PILLOW = dict(
  invert=lambda image, m: ImageOps.invert(image),
  autocontrast=lambda image, m: ImageOps.autocontrast(image),
  equalize=lambda image, m: ImageOps.equalize(image),
  solarize=lambda image, m: ImageOps.solarize(image, m),
  posterize=lambda image, m: ImageOps.posterize(image, int(m)),
  brightness=lambda image, m: ImageEnhance.Brightness(image).enhance(1 + m),
  contrast=lambda image, m: ImageEnhance.Contrast(image).enhance(1 + m),
  saturation=lambda image, m: ImageEnhance.Color(image).enhance(1 + m),
  sharpness=lambda image, m: ImageEnhance.Sharpness(image).enhance(1 + m),
  rotate=lambda image, m: image.rotate(m, Image.Resampling.NEAREST),
  shear_x=lambda image, m: _affine(image, 1, m, 0, 0, 1, 0),
  shear_y=lambda image, m: _affine(image, 1, 0, 0, m, 1, 0),
  translate_x=lambda image, m: _affine(image, 1, 0, -m, 0, 1, 0),
  translate_y=lambda image, m: _affine(image, 1, 0, 0, 0, 1, -m),
)
_apply = jax.jit(autoaugment.apply, static_argnames='names')


def _by_pillow(name, pictures, magnitude):
  images = [Image.fromarray(picture.squeeze()) for picture in pictures]
  return np.stack([np.asarray(PILLOW[name](image, magnitude)) for image in images]).reshape(
    pictures.shape
  )


@pytest.mark.usefixtures('programs_of_users')
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('name', NAMES)
def test_operation_is_pillows(name, channels):
  pictures = _pictures(channels)
  apply = jax.jit(autoaugment.apply, static_argnames='names')
  number = jnp.full(len(pictures), NAMES.index(name))
  signs = (
    (1,) if name in ('invert', 'autocontrast', 'equalize', 'solarize', 'posterize') else (-1, 1)
  )
  for level in (0, 2, 7, 9):
    for sign in signs:
      magnitude = sign * autoaugment.magnitudes(name, SIZE, SIZE)[level]
      out = apply(
        jnp.asarray(pictures, jnp.int32), number, jnp.full(len(pictures), magnitude), (name,)
      )
      expected = _by_pillow(name, pictures, float(np.float32(magnitude))).astype(int)
      difference = np.abs(np.asarray(out) - expected)
      if name in ('rotate', 'shear_x', 'shear_y'):
        # A pixel between two others may be read from either.
        assert (difference > 0).mean() <= 0.01
      else:
        assert difference.max() <= 1 and (difference > 0).mean() <= 0.02


def test_each_image_has_its_own_operation():
  pictures = np.repeat(_pictures(3)[:1], len(NAMES) + 1, axis=0)
  number = jnp.arange(-1, len(NAMES))
  magnitude = jnp.asarray(
    [0.0, *(autoaugment.magnitudes(name, SIZE, SIZE)[7] for name in NAMES)], jnp.float32
  )
  out = np.asarray(_apply(jnp.asarray(pictures, jnp.int32), number, magnitude))
  np.testing.assert_array_equal(out[0], pictures[0])
  for place, name in enumerate(NAMES, 1):
    expected = _by_pillow(name, pictures[:1], float(magnitude[place])).astype(int)
    assert (np.abs(out[place] - expected[0]) > 1).mean() <= 0.01, name


def test_magnitudes_by_hand():
  assert autoaugment.magnitudes('translate_x', 10, 32)[9] == 14  # 150 / 331 * 32 = 14.5
  assert autoaugment.magnitudes('translate_y', 10, 32)[9] == 4
  assert autoaugment.magnitudes('solarize', 32, 32)[3] == 170
  assert autoaugment.magnitudes('posterize', 32, 32)[7] == 5
  np.testing.assert_allclose(autoaugment.magnitudes('rotate', 32, 32)[2], 20 / 3)
  np.testing.assert_allclose(autoaugment.magnitudes('contrast', 32, 32)[6], 0.6)
  np.testing.assert_allclose(autoaugment.magnitudes('shear_y', 32, 32)[8], 0.8 / 3)


def _all_results(picture):
  """Every result that the policy can give for a picture, with its probability, by Pillow."""
  probability = collections.Counter()
  for pair in autoaugment.POLICIES['cifar10']:
    states = {picture.tobytes(): 1 / 25}
    for name, chance, level in pair:
      magnitude = float(np.float32(autoaugment.magnitudes(name, SIZE, SIZE)[level]))
      unsigned = name in ('invert', 'autocontrast', 'equalize', 'solarize', 'posterize')
      following = collections.Counter()
      for state, share in states.items():
        image = np.frombuffer(state, np.uint8).reshape(1, *picture.shape)
        following[state] += share * (1 - chance)
        for sign in (1,) if unsigned else (1, -1):
          result = _by_pillow(name, image, sign * magnitude)[0].tobytes()
          following[result] += share * chance / (1 if unsigned else 2)
      states = following
    probability.update(states)
  return probability


def test_policy_gives_pillows_results_with_their_probabilities():
  count = 4000
  picture = _pictures(3)[4]
  out = jax.jit(AutoAugment())(
    jax.random.key(0), jnp.tile(jnp.asarray(picture[None]) / np.float32(255), (count, 1, 1, 1))
  )
  values = np.round(np.asarray(out) * 255)
  np.testing.assert_allclose(values, np.asarray(out) * 255, atol=1e-3)
  assert values.min() >= 0 and values.max() <= 255
  probability = _all_results(picture)
  results = np.stack([np.frombuffer(state, np.uint8) for state in probability]).astype(int)
  seen = collections.Counter()
  for value, times in collections.Counter(v.astype(np.uint8).tobytes() for v in values).items():
    distance = np.abs(results - np.frombuffer(value, np.uint8)).astype(float)
    # Two roundings in a row, and pixels that lie between two others.
    nearest = (distance > 6).mean(1).argmin()
    assert (distance[nearest] > 6).mean() < 0.02
    seen[nearest] += times
  for place, share in enumerate(probability.values()):
    tolerance = 5 * np.sqrt(share * (1 - share) / count)
    assert abs(seen[place] / count - share) < tolerance + 0.01


def test_twenty_five_pairs_and_other_names():
  assert len(autoaugment.POLICIES['cifar10']) == 25
  with pytest.raises(UserError, match="no AutoAugment policy 'cifar'; did you mean 'cifar10'"):
    AutoAugment('cifar')
  with pytest.raises(UserError, match='1 or 3 channels; these have 2'):
    eight_bit.luminance(jnp.zeros((1, 4, 4, 2), jnp.int32))

"""The views of teacher and students: one crop for all, test views, guides with a size of their
own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data import augment, paired
from jaxdistill.data.crops import Crop, Flip, Resize
from jaxdistill.data.degradations import Blur, Noise
from jaxdistill.data.mixing import Mixup
from jaxdistill.data.paired import GuideView
from jaxdistill.data.resolution import Lower
from jaxdistill.data.views import DiffAug
from jaxdistill.errors import UserError

MEAN, STD, CLASSES = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), 4
KEY = jax.random.key(3)
IMAGES = jnp.asarray(np.random.RandomState(0).randint(0, 256, (6, 16, 16, 3)), jnp.uint8)
STATISTICS = dict(mean=MEAN, std=STD, num_classes=CLASSES)
views_of = functools.partial(paired.views_of, **STATISTICS)
CROP = (Crop(4), Flip())


def prepared(built, key=KEY):
  batch = {
    'images': IMAGES,
    'labels': jnp.arange(6) % CLASSES,
    'weight': jnp.ones(6),
    'index': jnp.arange(6),
  }
  run = jax.jit(lambda key, batch: built.train.prepare(key, batch, built.train.draw(key)))
  return run(key, batch)


def unit(view):
  return augment.denormalise(view, MEAN, STD)


@pytest.mark.parametrize(
  'how, shown', [('area', 'native'), ('bicubic', 'native'), ('bicubic', 'upsampled')]
)
def test_low_view_is_the_low_image_of_the_native_view(how, shown):
  views = prepared(views_of(4, how, shown, augment=CROP))
  expected = jax.jit(Lower(4, how, shown))(None, unit(views['images']).clip(0, 1))
  np.testing.assert_allclose(unit(views['low']), expected, atol=1e-5)
  assert views['low'].shape == (6, *((4, 4) if shown == 'native' else (16, 16)), 3)
  assert (views['images'] != augment.normalise(IMAGES, MEAN, STD)).any()  # a crop there is


def test_without_a_low_size_there_is_one_view():
  built = views_of(augment=CROP)
  assert built.names == ('images',) and built.variants is None
  assert set(prepared(built)) == {'images', 'labels', 'weight', 'index'}
  assert set(built.test(IMAGES)) == {'images'}


def test_test_views_are_without_augmentation():
  test = jax.jit(views_of(8, 'area', augment=CROP).test)(IMAGES)
  np.testing.assert_allclose(test['images'], augment.normalise(IMAGES, MEAN, STD), atol=1e-5)
  blocks = np.asarray(IMAGES, np.float64).reshape(6, 8, 2, 8, 2, 3).mean((2, 4)) / 255
  np.testing.assert_allclose(unit(test['low']), blocks, atol=1e-5)


def test_guides_read_the_same_crop_under_their_own_statistics():
  ours = GuideView((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), size=24)
  built = views_of(4, augment=CROP, guides={'large': ours, 'plain': GuideView(MEAN, STD)})
  assert built.names == ('images', 'low', 'large', 'plain')
  views = prepared(built)
  np.testing.assert_allclose(views['plain'], views['images'], atol=1e-6)
  expected = jax.jit(Resize(24))(None, unit(views['images'])).clip(0, 1)
  assert views['large'].shape == (6, 24, 24, 3)
  np.testing.assert_allclose(
    augment.denormalise(views['large'], ours.mean, ours.std), expected, atol=1e-5
  )
  grey = paired.views_of(
    guides={'colour': GuideView(MEAN, STD)}, mean=(0.5,), std=(0.5,), num_classes=2
  )
  assert grey.test(IMAGES[..., :1])['colour'].shape == (6, 16, 16, 3)


def test_degradations_touch_the_low_view_alone_and_are_fixed_in_tests():
  built = views_of(4, degrade=(Noise(0.1),), seed=2)
  test, index = jax.jit(built.test), jnp.arange(6)
  views, clean = test(IMAGES, index), views_of(4).test(IMAGES)
  np.testing.assert_allclose(views['images'], clean['images'], atol=1e-6)
  assert 0.05 < float((unit(views['low']) - unit(clean['low'])).std()) < 0.15
  turned = test(IMAGES[::-1], index[::-1])
  np.testing.assert_array_equal(turned['low'][::-1], views['low'])
  other = jax.jit(views_of(4, degrade=(Noise(0.1),), seed=3).test)(IMAGES, index)
  assert (other['low'] != views['low']).any((1, 2, 3)).all()
  with pytest.raises(UserError, match='need their positions'):
    built.test(IMAGES)
  # Without chance nothing needs to be known of the images.
  assert views_of(4, degrade=(Blur(1.0),)).test(IMAGES)['low'].shape == (6, 4, 4, 3)


def test_kept_views_are_those_of_training():
  for options, count in (
    (dict(), 1),
    (dict(augment=(Flip(),)), 2),
    (dict(augment=(Flip(),), flip=False), 1),
    (dict(augment=CROP, fixed_draws=3), 3),
  ):
    built = views_of(8, 'area', keep=True, **options)
    assert built.variants.count == count
    table = jax.jit(built.variants.all_of)(IMAGES, jnp.arange(6))
    views = prepared(built)
    for name in ('images', 'low'):
      rows = table[name][np.arange(6), views['variant']]
      np.testing.assert_allclose(views[name], rows, atol=1e-5)
  assert 'variant' not in prepared(views_of(8, augment=(Flip(),)))


def test_mistakes_are_told():
  with pytest.raises(UserError, match='cannot be enumerated under Crop and Flip'):
    views_of(8, augment=CROP, keep=True)
  with pytest.raises(UserError, match='cannot be enumerated under Noise'):
    views_of(8, degrade=(Noise(0.1),), keep=True)
  with pytest.raises(UserError, match='under Mixup, which mixes'):
    views_of(8, mixing=Mixup(), keep=True)
  with pytest.raises(UserError, match='with a low size of 0 there is none'):
    views_of(degrade=(Blur(1.0),))
  with pytest.raises(UserError, match="cannot be called 'low'"):
    views_of(8, guides={'low': GuideView(MEAN, STD)})
  with pytest.raises(UserError, match='Lower acts on images in'):
    views_of(8, augment=(DiffAug('color'),))
  with pytest.raises(UserError, match='low size is -1'):
    views_of(-1)
  with pytest.raises(UserError, match='5 does not divide the images of 16 x 16'):
    views_of(5).test(IMAGES)

"""The named recipes, number by number as the public codes have them, and IDC's exceptions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import data
from jaxdistill.condensation import evaluation, protocols
from jaxdistill.data import Dataset
from jaxdistill.data.examples import Examples
from jaxdistill.data.mixing import CutMix


def numbers(recipe):
  return (
    recipe.batch,
    recipe.schedule.learning_rate,
    recipe.optimizer.momentum,
    recipe.optimizer.weight_decay,
    recipe.schedule.drop,
  )


def test_idcs_exceptions_differ_in_their_augmentation_alone():
  usual = protocols.find_recipe('idc', flip=False)
  svhn, mnist = (protocols.find_recipe(name, flip=False) for name in ('idc_svhn', 'idc_mnist'))
  assert (usual.strategy, usual.cutmix) == ('color_crop_scale_rotate', 0.5)
  assert (svhn.strategy, svhn.cutmix) == ('color_crop_cutout_scale_rotate', 0)
  assert (mnist.strategy, mnist.cutmix) == ('color_crop_scale_rotate', 0)
  for recipe in (usual, svhn, mnist):
    assert numbers(recipe) == (64, 0.01, 0.9, 5e-4, 0.2) and recipe.epochs == 1000
    assert recipe.composition == 'idc' and not recipe.transforms


def test_imagenet_has_views_of_its_own_and_cutmix_always():
  ten, hundred = (protocols.find_recipe(f'idc_imagenet{name}') for name in ('', '100'))
  assert numbers(ten) == (64, 0.01, 0.9, 5e-4, 0.2)
  assert numbers(hundred) == (128, 0.1, 0.9, 1e-4, 0.2)
  for recipe in (ten, hundred):
    crop, flip, jitter, lighting = recipe.transforms
    assert (crop.size, crop.scale, flip.probability) == (0, (0.5, 1.0), 0.5)
    assert (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) == (0.4, 0.4, 0.4, 0)
    assert not jitter.clips and lighting.deviation == 0.1
    assert recipe.mixing == CutMix(alpha=1.0, probability=1.0) and not recipe.strategy


def test_imagenets_view_is_normalised_mixed_and_of_the_images_size():
  recipe = protocols.find_recipe('idc_imagenet')
  pixels = np.random.default_rng(0).random((6, 24, 24, 3)).astype(np.float32)
  labels = np.arange(6) % 3
  views = recipe.views(Examples(pixels, labels, 3, (0.5,) * 3, (0.25,) * 3, True))
  batch = {'images': jnp.asarray(pixels), 'labels': jnp.asarray(labels), 'weight': jnp.ones(6)}
  key = jax.random.key(0)
  prepared = jax.jit(views.prepare)(key, batch, views.draw(key))
  assert prepared['images'].shape == pixels.shape
  # Beyond +-2, which clipped images would keep to: neither jitter nor lighting clips.
  assert np.abs(prepared['images']).max() > 2.05
  np.testing.assert_allclose(prepared['labels'].sum(1), 1, atol=1e-6)
  assert ((prepared['labels'] > 0) & (prepared['labels'] < 1)).any()


@pytest.mark.parametrize(
  'name, ipc, factor, classes, recipe',
  [
    ('svhn_cropped', 1, 1, '', 'idc_svhn'),
    ('svhn_cropped:3.1.0', 1, 1, '', 'idc_svhn'),
    ('svhn_cropped', 1, 2, '', 'idc'),
    ('svhn_cropped', 10, 1, '', 'idc'),
    ('mnist', 1, 2, '', 'idc_mnist'),
    ('mnist', 50, 3, '', 'idc_mnist'),
    ('mnist', 1, 1, '', 'idc'),
    ('mnist_corrupted', 1, 2, '', 'idc'),
    ('fashion_mnist', 1, 2, '', 'idc'),
    ('cifar100', 1, 1, '', 'idc'),
    ('imagenet:x', 10, 3, 'idc10', 'idc'),
    ('imagenet224:x', 10, 3, '', 'idc_imagenet'),
    ('imagenet224:x', 10, 3, 'idc100', 'idc_imagenet100'),
    ('folder:x', 1, 1, '', 'idc'),
    ('', 1, 1, '', 'idc'),
  ],
)
def test_the_recipe_of_a_set(name, ipc, factor, classes, recipe):
  assert protocols.of_set(name, ipc, factor, classes) == recipe


@pytest.mark.parametrize(
  'images, ten, hundred',
  [
    (1, 3000, 2000),
    (2, 2000, 1300),
    (10, 2000, 1300),
    (11, 1500, 1000),
    (50, 1500, 1000),
    (51, 1000, 600),
    (200, 1000, 600),
    (201, 500, 300),
    (500, 500, 300),
    (501, 300, 200),
  ],
)
def test_imagenets_epochs(images, ten, hundred):
  assert protocols.imagenet_epochs(images) == ten
  assert protocols.imagenet_epochs(images, 100) == hundred


def test_without_augmentation_nothing_of_it_is_left():
  pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)
  few = Dataset(pixels, [0, 1, 0, 1], mean=(0.5,) * 3, std=(0.5,) * 3)
  protocol = protocols.Protocol('idc_imagenet', 1, model={'name': 'mlp', 'width': 4}, augment=False)
  recipe = evaluation._training(few, few, protocol)['recipe']
  assert (recipe.transforms, recipe.mixing, recipe.strategy, recipe.cutmix) == ((), None, '', 0)


@pytest.mark.parametrize(
  'recipe', ['idc_svhn', pytest.param('idc_mnist', marks=pytest.mark.slow), 'idc_imagenet100']
)
def test_a_set_is_scored_under_an_exception(recipe):
  train, test = data.load('digits', image_size=8)
  small = {'name': 'mlp', 'width': 4, 'depth': 1}
  scores = evaluation.evaluate(
    train.take(range(20)), test.take(range(20)), recipe, seeds=1, steps=2, model=small
  )
  assert len(scores['curve']['steps']) == 2 and scores['steps'] == 2

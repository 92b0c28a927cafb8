"""Views: the published supervised view bit by bit, order of operations, keys, networks under vmap,
what passes through."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data import augment, views
from jaxdistill.data.autoaugment import AutoAugment
from jaxdistill.data.crops import (
  CentreCrop,
  Crop,
  Cutout,
  Flip,
  ReflectCrop,
  Resize,
  ResizedCrop,
  Rotate,
)
from jaxdistill.data.degradations import Blur, Darken, Noise
from jaxdistill.data.mixing import MIXINGS, CutMix, Mixup, OneOf
from jaxdistill.data.photometric import Grey, Jitter, Lighting, UnclippedJitter
from jaxdistill.data.resolution import Lower
from jaxdistill.data.transform import Transform
from jaxdistill.data.views import DiffAug, Normalise
from jaxdistill.errors import UserError

MEAN, STD, CLASSES = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), 4
ALL = 'color_crop_cutout_flip_scale_rotate'
KEY = jax.random.key(3)
make = functools.partial(views.make, mean=MEAN, std=STD, num_classes=CLASSES)


def _batch(count=6, networks=(), size=8):
  random = np.random.RandomState(0)
  return {
    'images': jnp.asarray(random.randint(0, 256, (*networks, count, size, size, 3)), jnp.uint8),
    'labels': jnp.asarray(random.randint(0, CLASSES, (*networks, count))),
    'weight': jnp.ones((*networks, count)).at[..., -1].set(0.0),
    'index': jnp.arange(np.prod((*networks, count))).reshape(*networks, count),
  }


def _prepared(built, key=KEY, batch=None, draw_key=jax.random.key(4)):
  batch = _batch() if batch is None else batch
  return jax.jit(lambda key, batch: built.prepare(key, batch, built.draw(draw_key)))(key, batch)


@pytest.mark.parametrize(
  'strategy, composition, cutmix',
  [(ALL, 'idc', 0.0), ('color_crop_flip_scale', 'idc', 0.7), ('flip_crop_cutout', 'dm', 1.0)],
)
def test_supervised_view_is_bit_equal_to_its_formula(strategy, composition, cutmix):
  built = views.diffaug(strategy, composition, cutmix, mean=MEAN, std=STD, num_classes=CLASSES)

  def formula(key, batch, choice):
    key_augment, key_cutmix = jax.random.split(key)
    images = augment.normalise(batch['images'], MEAN, STD)
    images = augment.diffaugment(
      key_augment, images, strategy, composition=composition, siamese=False, choice=choice
    )
    labels = jax.nn.one_hot(batch['labels'], CLASSES)
    if cutmix:
      images, labels = augment.cutmix(key_cutmix, images, labels, cutmix, batch['weight'])
    return {**batch, 'images': images, 'labels': labels}

  batch, keys = _batch(networks=(3,)), jax.random.split(KEY, 3)
  over_networks = (jax.jit(jax.vmap(f, in_axes=(0, 0, None))) for f in (formula, built.prepare))
  expected, prepared = over_networks
  for number in range(4):
    key = jax.random.fold_in(KEY, number)
    choice = augment.draw_choice(key, strategy, composition)
    np.testing.assert_array_equal(built.draw(key), choice)
    jax.tree.map(
      np.testing.assert_array_equal,
      prepared(keys, batch, built.draw(key)),
      expected(keys, batch, choice),
    )


def test_refused_mirrors_leave_every_operation():
  plain = views.diffaug('color_crop', 'dm', mean=MEAN, std=STD, num_classes=CLASSES)
  refused = views.diffaug(
    'flip_color_crop', 'dm', mean=MEAN, std=STD, num_classes=CLASSES, flip=False
  )
  np.testing.assert_array_equal(_prepared(refused)['images'], _prepared(plain)['images'])
  with_flip = make((Flip(1.0), Crop(2), DiffAug('flip_color')), flip=True)
  without = make((Flip(1.0), Crop(2), DiffAug('flip_color')), flip=False)
  # Crop keeps its place in the list and with it its draws.
  empty = make((Flip(0.0), Crop(2), DiffAug('color')))
  np.testing.assert_array_equal(_prepared(without)['images'], _prepared(empty)['images'])
  assert (_prepared(with_flip)['images'] != _prepared(without)['images']).any()


@pytest.mark.usefixtures('programs_of_users')
def test_border_is_black_before_normalising_and_mean_after():
  black = _prepared(make((Crop(2), Flip())))['images']
  grey = _prepared(make((Normalise(), Crop(2), Flip())))['images']
  inside = _prepared(make((Crop(0), Flip())))['images']
  border = np.asarray(grey == 0).all(-1)
  assert 0 < border.mean() < 0.6
  np.testing.assert_allclose(
    black[border], np.tile(-np.array(MEAN) / np.array(STD), (border.sum(), 1)), rtol=1e-6
  )
  np.testing.assert_allclose(black[~border], grey[~border], rtol=1e-6)
  np.testing.assert_array_equal(
    np.abs(inside - augment.normalise(_batch()['images'], MEAN, STD)[:, :, ::-1]).max((1, 2, 3))
    * np.abs(inside - augment.normalise(_batch()['images'], MEAN, STD)).max((1, 2, 3)),
    0,
  )


def test_plain_view_is_normalised_whatever_the_pixels_are_stored_as():
  batch = _batch()
  expected = augment.normalise(batch['images'], MEAN, STD)
  as_float = {**batch, 'images': batch['images'] / np.float32(255)}
  for given in (batch, as_float):
    prepared = _prepared(make(), batch=given)
    assert prepared['images'].dtype == jnp.float32
    np.testing.assert_allclose(prepared['images'], expected, atol=1e-5)
    np.testing.assert_array_equal(prepared['labels'], np.eye(CLASSES)[batch['labels']])
    for name in ('weight', 'index'):
      np.testing.assert_array_equal(prepared[name], batch[name])
  soft = jnp.full((6, CLASSES), 0.25)
  np.testing.assert_array_equal(_prepared(make(), batch={**batch, 'labels': soft})['labels'], soft)


def test_normalise_may_have_its_own_statistics():
  named = {'ours': (), 'theirs': (Normalise((0.5,) * 3, (0.5,) * 3),)}
  prepared = _prepared(make((), named))
  np.testing.assert_allclose(
    prepared['theirs'], _batch()['images'] / np.float32(127.5) - 1, atol=1e-6
  )
  np.testing.assert_allclose(
    prepared['ours'], augment.normalise(_batch()['images'], MEAN, STD), atol=1e-6
  )
  assert 'images' not in prepared


def test_views_share_what_is_common_and_differ_in_their_own():
  shared = _prepared(make((Crop(3), Flip()), {'one': (), 'two': ()}))
  np.testing.assert_array_equal(shared['one'], shared['two'])
  apart = _prepared(make((), {'one': (Crop(3), Flip()), 'two': (Crop(3), Flip())}))
  assert (apart['one'] != apart['two']).any(axis=(1, 2, 3)).mean() > 0.6
  sizes = _prepared(make((Crop(3), Flip()), {'one': (), 'low': (Resize(4, method='bilinear'),)}))
  np.testing.assert_allclose(
    Resize(4, method='bilinear')(None, sizes['one']), sizes['low'], atol=1e-5
  )


CASES = {
  'colours': ((AutoAugment(), Jitter(0.4, 0.4, 0.4, 0.1)), None),
  'resized': ((ResizedCrop(6), Flip(), Normalise(), Cutout(3)), CutMix()),
  'diffaug_mixup': ((DiffAug('color_crop', 'dm'),), Mixup(0.4, per_image=True)),
  'one_of': ((Crop(1),), OneOf((CutMix(), CutMix(probability=0.5)), (0.5, 0.4))),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', CASES)
def test_networks_under_vmap_are_as_one_by_one_and_keys_decide(name):
  transforms, mixing = CASES[name]
  built = make(transforms, {'images': (), 'again': (Flip(),)}, mixing)
  batch, keys = _batch(networks=(3,)), jax.random.split(KEY, 3)
  choices = jax.jit(built.draw)(KEY)
  together = jax.jit(jax.vmap(built.prepare, in_axes=(0, 0, None)))(keys, batch, choices)
  one = jax.jit(built.prepare)
  for number in range(3):
    single = one(keys[number], jax.tree.map(lambda a, n=number: a[n], batch), choices)
    jax.tree.map(
      lambda a, b, n=number: np.testing.assert_allclose(a[n], b, atol=2e-5), together, single
    )
  same = jax.tree.map(lambda a: a[0], batch)
  first, again, other = (one(key, same, choices)['images'] for key in (KEY, KEY, keys[0]))
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()


def test_choices_outside_of_vmap_leave_one_branch():
  built = make((DiffAug('crop_scale', 'dm'),), mixing=OneOf((Mixup(), CutMix()), (0.4, 0.4)))
  over_networks = jax.vmap(built.prepare, in_axes=(0, 0, None))
  args = jax.random.split(KEY, 3), _batch(networks=(3,)), built.draw(KEY)
  # A mapped choice would leave a select of all results and no conditional.
  assert str(jax.make_jaxpr(over_networks)(*args)).count('cond[') == 2


def test_bicubic_stays_within_the_range_of_images_before_normalising():
  batch = {**_batch(), 'images': (_batch()['images'] > 127).astype(jnp.uint8) * 255}
  built = make((Resize(16), Normalise((0.0,) * 3, (1.0,) * 3)))
  images = _prepared(built, batch=batch)['images']
  assert images.min() == 0 and images.max() == 1
  loose = make((Normalise((0.0,) * 3, (1.0,) * 3), Resize(16)))
  assert _prepared(loose, batch=batch)['images'].min() < 0


@pytest.mark.usefixtures('programs_of_users')
def test_all_views_of_a_mixed_batch_keep_one_label():
  built = make((), {'images': (), 'low': (Resize(4, back=8),)}, CutMix())
  prepared = _prepared(built, batch={**_batch(), 'weight': jnp.ones(6)})
  box = [
    (prepared[name] != _prepared(make((), {'images': (), 'low': (Resize(4, back=8),)}))[name]).any(
      -1
    )
    for name in ('images', 'low')
  ]
  np.testing.assert_array_equal(*box)
  unequal = make((), {'images': (), 'low': (Resize(4),)}, CutMix())
  with pytest.raises(UserError, match='all views must have one size'):
    _prepared(unequal)
  mixup = _prepared(make((), {'images': (), 'low': (Resize(4),)}, Mixup()))
  assert mixup['low'].shape == (6, 4, 4, 3)


def test_every_operation_takes_grey_and_oblong_images():
  transforms = (
    *(Crop(2), ReflectCrop(2), Flip(), CentreCrop(9, resize=12), AutoAugment()),
    Jitter(0.4, 0.4, 0.4, 0.1),
    *(UnclippedJitter(0.4, 0.4, 0.4), Lighting(0.1)),
    *(Rotate(20), Lower(3, 'area', 'upsampled'), Blur(0.5), Darken(0.9), Noise(0.01)),
    *(Grey(0.5), ResizedCrop(7), Resize(5, back=6), Normalise(), DiffAug('color_scale')),
    Cutout(2),
  )
  assert {type(transform) for transform in transforms} == set(views.TRANSFORMS.values())
  built = views.make(transforms, mean=MEAN[:1], std=STD[:1], num_classes=CLASSES)
  images = jnp.asarray(np.random.RandomState(0).randint(0, 256, (6, 10, 15, 1)), jnp.uint8)
  prepared = _prepared(built, batch={**_batch(), 'images': images})['images']
  assert prepared.shape == (6, 6, 6, 1) and prepared.dtype == jnp.float32
  assert np.isfinite(prepared).all() and (prepared.std(axis=(1, 2)) > 0).all()


def test_mistakes_are_told():
  with pytest.raises(UserError, match='cannot be called .labels.'):
    make((), {'labels': ()})
  with pytest.raises(UserError, match='has the name of an entry of the batch'):
    _prepared(make((), {'index': ()}))
  with pytest.raises(UserError, match='no operation of a view'):
    make((Crop,))
  with pytest.raises(UserError, match='list Normalise.. once'):
    make((Normalise(),), {'images': (Normalise(),)})
  with pytest.raises(UserError, match='DiffAug acts on normalised images; list it after'):
    make((DiffAug('color'), Normalise()))
  with pytest.raises(UserError, match=r'Jitter acts on images in \[0, 1\]; list it before'):
    make((Normalise(),), {'images': (Jitter(0.4),)})
  with pytest.raises(UserError, match=r'AutoAugment acts on images in \[0, 1\]; list it before'):
    make((DiffAug('color'), AutoAugment()))
  with pytest.raises(UserError, match="no augmentation 'colour'"):
    DiffAug('colour')
  with pytest.raises(UserError, match='a mean and a std for each channel'):
    Normalise((0.5,))


def test_operations_by_name_are_hashable_values():
  for name, kind in {**views.TRANSFORMS, **MIXINGS}.items():
    assert name == name.lower() and dataclasses.is_dataclass(kind)
  assert all(issubclass(kind, Transform) for kind in views.TRANSFORMS.values())
  first = views.TRANSFORMS['resized_crop'](8, scale=(0.2, 1.0))
  assert {first: 1}[ResizedCrop(8, (0.2, 1.0))] == 1

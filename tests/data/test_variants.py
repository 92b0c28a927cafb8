"""Views that can be enumerated: what decides them, how often each comes, tables of all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data import augment, variants, views
from jaxdistill.data.crops import CentreCrop, Crop, Cutout, Flip, Resize
from jaxdistill.data.degradations import Blur
from jaxdistill.data.mixing import CutMix
from jaxdistill.errors import UserError

MEAN, STD, CLASSES = (0.4,), (0.2,), 3
make = functools.partial(views.make, mean=MEAN, std=STD, num_classes=CLASSES)
IMAGES = jnp.asarray(np.random.RandomState(0).randint(0, 256, (12, 8, 8, 1)), jnp.uint8)
CROPPED = {'images': (), 'low': (Resize(4, method='bilinear'),)}


def batch(index):
  index = jnp.asarray(index)
  return {
    'images': IMAGES[index],
    'labels': index % CLASSES,
    'weight': jnp.ones(len(index)),
    'index': index,
    'kept': jnp.arange(len(index) * 2.0).reshape(-1, 2),
  }


@pytest.fixture(scope='module')
def drawn():
  return variants.of_draws(make((Crop(2), Flip()), CROPPED), 4, seed=5)


def test_rows_depend_on_position_and_variant_alone(drawn):
  prepare = jax.jit(drawn.views.prepare)
  index = np.array([7, 3, 7, 0, 11, 7, 7, 7])
  table = jax.jit(drawn.all_of)(IMAGES, jnp.arange(12))
  assert table['images'].shape == (12, 4, 8, 8, 1) and table['low'].shape == (12, 4, 4, 4, 1)
  for number in range(3):
    prepared = prepare(jax.random.key(number), batch(index), ())
    variant = np.asarray(prepared['variant'])
    for name in ('images', 'low'):
      np.testing.assert_allclose(prepared[name], table[name][index, variant], atol=1e-5)
    assert variant.dtype == np.int32 and variant.shape == (8,)
  # The four variants of an image are crops of their own, and those of equal images differ.
  crops = np.asarray(table['images'])
  assert len({crop.tobytes() for crop in crops[7]}) > 1
  same = drawn.all_of(jnp.broadcast_to(IMAGES[:1], IMAGES.shape), jnp.arange(12))['images']
  assert len({crop.tobytes() for crop in np.asarray(same).reshape(48, -1)}) > 12


def test_other_seeds_are_other_draws(drawn):
  other = variants.of_draws(make((Crop(2), Flip()), CROPPED), 4, seed=6)
  index, variant = jnp.arange(12), jnp.zeros(12, jnp.int32)
  of, of_other = jax.jit(drawn.of), jax.jit(other.of)
  first, second = (function(IMAGES, index, variant)['images'] for function in (of, of_other))
  assert (first != second).any((1, 2, 3)).mean() > 0.5


def test_variants_are_uniform_and_the_rest_passes_through(drawn):
  index = np.zeros(400, int)
  entries = batch(index)
  prepared = jax.jit(drawn.views.prepare)(jax.random.key(0), entries, ())
  share = np.bincount(prepared['variant'], minlength=4) / 400
  np.testing.assert_allclose(share, 0.25, atol=0.07)
  for name in ('weight', 'index', 'kept'):
    np.testing.assert_array_equal(prepared[name], entries[name])
  np.testing.assert_array_equal(prepared['labels'], np.eye(CLASSES)[index % CLASSES])


def test_networks_draw_variants_of_their_own_from_the_same_views(drawn):
  keys = jax.random.split(jax.random.key(0), 3)
  entries = batch(np.arange(12))
  networks = jax.jit(jax.vmap(drawn.views.prepare, in_axes=(0, None, None)))(keys, entries, ())
  table = jax.jit(drawn.all_of)(IMAGES, jnp.arange(12))['images']
  variant = np.asarray(networks['variant'])
  assert (variant[0] != variant[1]).any()
  np.testing.assert_allclose(networks['images'], table[np.arange(12)[None], variant], atol=1e-5)


def test_mirrors_are_two_variants():
  mirrors = variants.of_mirrors(make((CentreCrop(6),)))
  both = jax.jit(mirrors.all_of)(IMAGES, jnp.arange(12))['images']
  expected = np.asarray(augment.normalise(IMAGES[:, 1:7, 1:7], MEAN, STD))
  assert mirrors.count == 2
  np.testing.assert_allclose(both[:, 0], expected, atol=1e-6)
  np.testing.assert_allclose(both[:, 1], expected[:, :, ::-1], atol=1e-6)


def test_no_chance_is_one_variant():
  one = variants.of_draws(make(), 1)
  prepared = jax.jit(one.views.prepare)(jax.random.key(0), batch(np.arange(12)), ())
  np.testing.assert_allclose(prepared['images'], augment.normalise(IMAGES, MEAN, STD), atol=1e-6)
  np.testing.assert_array_equal(prepared['variant'], 0)


def test_steps_share_one_program(drawn):
  traced = []

  @jax.jit
  def prepare(key, entries):
    traced.append(key)
    return drawn.views.prepare(key, entries, drawn.views.draw(key))

  for number in range(3):
    prepare(jax.random.key(number), batch(np.arange(number, number + 4)))
  assert len(traced) == 1


def test_what_can_be_enumerated():
  assert variants.count((CentreCrop(6), Blur(1.0))) == 1
  assert variants.count((Flip(), Resize(4))) == 2
  assert variants.count((Crop(4), Flip()), fixed_draws=3) == 3


@pytest.mark.parametrize(
  'operations, mixing, fixed_draws, sentence',
  [
    ((Crop(4), Flip()), None, 0, 'cannot be enumerated under Crop and Flip, drawn anew in every'),
    ((Flip(0.3),), None, 0, 'cannot be enumerated under Flip'),
    ((Flip(), Cutout(2)), None, 0, 'with a fixed number of draws an image'),
    ((), CutMix(), 0, 'under CutMix, which mixes it with other images'),
    ((Crop(4),), CutMix(), 4, 'under CutMix'),
    ((Crop(4),), None, -1, 'fixed_draws is -1'),
  ],
)
def test_what_cannot_be_enumerated_is_told(operations, mixing, fixed_draws, sentence):
  with pytest.raises(UserError, match=sentence):
    variants.count(operations, mixing=mixing, fixed_draws=fixed_draws)

"""Compositions, modes and draws of DiffAug; CutMix; crop and flip; normalisation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data import augment
from jaxdistill.errors import UserError

ALL = 'color_crop_cutout_flip_scale_rotate'
KEYS = jax.random.split(jax.random.key(7), 400)


def _images(shape=(4, 8, 8, 3)):
  return jax.device_put(np.float32(np.random.RandomState(0).normal(size=shape)))


@functools.partial(jax.jit, static_argnames=('strategy', 'composition', 'siamese'))
def _diffaugment(key, images, strategy, composition='idc', siamese=True):
  return augment.diffaugment(key, images, strategy, composition=composition, siamese=siamese)


@pytest.mark.parametrize('composition', ['idc', 'dm'])
def test_empty_strategy_is_identity(composition):
  images = _images()
  np.testing.assert_array_equal(_diffaugment(KEYS[0], images, '', composition), images)


@pytest.mark.parametrize('strategy, composition', [('color_crop_cutout_flip', 'idc'), (ALL, 'dm')])
def test_siamese_treats_twins_alike_and_per_sample_does_not(strategy, composition):
  twins = jnp.tile(_images((1, 8, 8, 3)), (6, 1, 1, 1))

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(0, None))
  def both(key, images):
    return [
      augment.diffaugment(key, images, strategy, composition=composition, siamese=mode)
      for mode in (True, False)
    ]

  siamese, each = both(KEYS[:20], twins)
  np.testing.assert_array_equal(siamese, np.broadcast_to(siamese[:, :1], siamese.shape))
  # Some two of six draws differ nearly always; a flip alone agrees in one of 32.
  assert ((each != each[:, :1]).any(axis=(1, 2, 3, 4))).mean() > 0.9


@pytest.mark.parametrize('name', augment.OPERATIONS)
def test_gradient_reaches_the_pixels_through_every_operation(name):
  gradient = jax.jit(jax.grad(lambda x: (_diffaugment(KEYS[3], x, name) ** 2).sum()))(
    1 + _images() ** 2
  )
  assert np.isfinite(gradient).all() and (gradient != 0).any(axis=(1, 2, 3)).all()


def test_idc_cuts_always_and_moves_one_way():
  places = jnp.arange(1.0, 257).reshape(1, 16, 16, 1)
  many = jax.jit(jax.vmap(lambda key: augment.diffaugment(key, places, 'crop_cutout')))(KEYS)[
    ..., 0
  ]
  for image in np.asarray(many)[:, 0]:
    rows, columns = np.nonzero(image)
    values = image[rows, columns].astype(int) - 1
    # Every visible pixel moved by the same number of whole pixels, at most an eighth of the side.
    down, right = set(rows - values // 16), set(columns - values % 16)
    assert len(down) == len(right) == 1 and max(map(abs, down | right)) <= 2
    assert (image == 0).sum() >= 4 * 4


def test_crop_draws_every_shift_up_to_an_eighth_rounded():
  # 12 / 8 = 1.5 rounds up.
  places = jnp.arange(1.0, 145).reshape(1, 12, 12, 1)
  many = (
    jax.jit(jax.vmap(lambda key: augment.diffaugment(key, places, 'crop')))(KEYS)[
      :, 0, 6, 6, 0
    ].astype(int)
    - 1
  )
  shifts = set(zip((6 - many // 12).tolist(), (6 - many % 12).tolist()))
  assert shifts == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}


@pytest.mark.parametrize('size', [8, 6])
def test_cutout_box_is_uniform_and_clipped(size):
  keys = jax.random.split(jax.random.key(1), 4000)
  ones = jnp.ones((1, size, size, 1))
  gone = (
    jax.jit(jax.vmap(lambda key: augment.diffaugment(key, ones, 'cutout')))(keys)[:, 0, :, :, 0]
    == 0
  )
  rows, columns = gone.any(2), gone.any(1)
  np.testing.assert_array_equal(gone, rows[:, :, None] & columns[:, None, :])
  side = size // 2
  # Centres 0 .. size for an even side (0 .. size - 1 for an odd one), each with the same
  # probability.
  centres = np.arange(size + 1 - side % 2)
  first = centres[:, None] - side // 2
  boxes = (np.arange(size) >= first) & (np.arange(size) < first + side)
  for hidden in (rows, columns):
    np.testing.assert_allclose(hidden.mean(0), boxes.mean(0), atol=0.04)
    assert {tuple(line) for line in hidden.tolist()} == {tuple(line) for line in boxes.tolist()}


def test_dm_applies_exactly_one_operation():
  images = _images((1, 8, 8, 3))
  strategy = 'flip_color_crop_cutout'

  @jax.jit
  @jax.vmap
  def draw(key):
    alone = [augment.diffaugment(key, images, name) for name in strategy.split('_')]
    choice = augment.draw_choice(key, strategy, 'dm')
    return augment.diffaugment(key, images, strategy, composition='dm'), jnp.stack(alone), choice

  outputs, alone, choices = draw(KEYS)
  for index in range(4):
    chosen = choices == index
    assert 0.16 < chosen.mean() < 0.34
    np.testing.assert_allclose(outputs[chosen], alone[chosen, index], atol=1e-5)
  assert augment.branches(ALL, 'dm') == tuple(ALL.split('_'))


def test_idc_is_flip_color_one_geometric_cutout():
  images = _images((2, 8, 8, 3))

  @jax.jit
  @jax.vmap
  def compare(key):
    whole = augment.diffaugment(key, images, ALL, choice=1)
    parts = images
    for name in ('flip', 'color', 'scale', 'cutout'):
      parts = augment.diffaugment(key, parts, name)
    return whole, parts

  whole, parts = compare(KEYS[:20])
  np.testing.assert_allclose(whole, parts, atol=1e-5)
  assert augment.branches(ALL, 'idc') == ('crop', 'scale', 'rotate')


def test_flip_mirrors_half_of_the_images():
  images = _images((400, 2, 2, 1))
  out = _diffaugment(KEYS[0], images, 'flip', siamese=False)
  mirrored = (out == images[:, :, ::-1]).all(axis=(1, 2, 3))
  assert 0.4 < mirrored.mean() < 0.6
  np.testing.assert_array_equal(out[~mirrored], images[~mirrored])


def test_choice_outside_of_vmap_computes_one_branch_and_draws_the_same():
  images = jnp.stack([_images()] * 3)
  strategy = 'flip_crop'

  def outside(key, images):
    choice = augment.draw_choice(key, strategy, 'dm')
    return jax.vmap(
      lambda x: augment.diffaugment(key, x, strategy, composition='dm', choice=choice)
    )(images)

  # A mapped choice would leave a select of both results and no conditional.
  assert 'cond[' in str(jax.make_jaxpr(outside)(KEYS[0], images))
  compiled = jax.jit(outside)
  for key in KEYS[:6]:
    np.testing.assert_allclose(
      compiled(key, images)[0], _diffaugment(key, images[0], strategy, 'dm'), atol=1e-6
    )


def test_strategies_are_checked():
  with pytest.raises(UserError, match="no augmentation 'colour'; did you mean 'color'"):
    augment.diffaugment(KEYS[0], _images(), 'colour_crop')
  with pytest.raises(UserError, match="lists 'crop' twice"):
    augment.parse('crop_flip_crop')
  with pytest.raises(UserError, match="no composition 'icd'; did you mean 'idc'"):
    augment.branches('crop', 'icd')


def test_normalise_by_hand_and_back():
  images = np.array([0, 51, 255, 102], np.uint8).reshape(1, 1, 2, 2)
  mean, std = (0.2, 0.5), (0.1, 0.5)
  normalised = augment.normalise(images, mean, std)
  assert normalised.dtype == jnp.float32
  np.testing.assert_allclose(normalised.ravel(), [-2, -0.6, 8, -0.2], atol=1e-5)
  np.testing.assert_allclose(
    augment.normalise(images / np.float32(255), mean, std), normalised, atol=1e-5
  )
  np.testing.assert_allclose(augment.denormalise(normalised, mean, std), images / 255, atol=1e-6)


_cutmix = jax.jit(jax.vmap(augment.cutmix, in_axes=(0, None, None, None, None)))
BATCH, SIZE = 6, 8
CODED = jnp.arange(1.0, BATCH + 1).reshape(BATCH, 1, 1, 1) * jnp.ones((1, SIZE, SIZE, 2))


def test_cutmix_with_probability_zero_is_plain():
  labels = jax.nn.softmax(_images((BATCH, 3, 1, 1)).reshape(BATCH, 3))
  images, targets = _cutmix(KEYS[:50], CODED, labels, 0.0, jnp.ones(BATCH))
  np.testing.assert_array_equal(images, np.broadcast_to(CODED, images.shape))
  np.testing.assert_array_equal(targets, np.broadcast_to(labels, targets.shape))


def test_cutmix_pastes_one_box_of_the_permuted_batch_and_mixes_labels_by_area():
  weight = jnp.array([1.0, 1.0, 0.0, 2.0, 1.0, 0.0])
  valid = np.flatnonzero(weight)
  images, targets = _cutmix(KEYS, CODED, jnp.eye(BATCH), 1.0, weight)
  np.testing.assert_allclose(targets.sum(-1), 1, atol=1e-6)
  partners = []
  for batch, target in zip(np.asarray(images), np.asarray(targets)):
    # Each image is made of itself and of one other; the share of its pixels is its label.
    share = np.stack([(batch[..., 0] == n + 1).mean((1, 2)) for n in range(BATCH)], axis=1)
    np.testing.assert_allclose(target, share, atol=1e-6)
    for n in set(range(BATCH)) - set(valid):
      assert share[n, n] == 1
    changed = batch[..., 0] != np.asarray(CODED[..., 0])
    for mask in changed:
      rows, columns = mask.any(1), mask.any(0)
      np.testing.assert_array_equal(mask, rows[:, None] & columns[None])
      assert np.abs(np.diff(np.pad(rows, 1).astype(int))).sum() <= 2
    others = share * (1 - np.eye(BATCH))
    receivers = np.flatnonzero(others.sum(1))
    assert len(set(others.argmax(1)[receivers])) == len(receivers)
    partners += [(n, others[n].argmax()) for n in receivers]
  # Every valid image gives to every other one, and no padding takes part.
  assert set(partners) == {(a, b) for a in valid for b in valid if a != b}


def test_cutmix_happens_with_its_probability():
  images, _ = _cutmix(KEYS, CODED, jnp.eye(BATCH), 0.5, jnp.ones(BATCH))
  changed = (images != CODED[None]).any(axis=(1, 2, 3, 4)).mean()
  # Some boxes are too small to hold a pixel, and a permutation may be the identity.
  assert 0.38 < changed < 0.55

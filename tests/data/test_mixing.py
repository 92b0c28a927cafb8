"""Mixup and CutMix: shares, partners and padding; the choice among them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data import augment
from jaxdistill.data.mixing import CutMix, Mixup, OneOf, mixup_view
from jaxdistill.errors import UserError

COUNT = 5
# Image n is n + 1 hot in channel n: an image tells who it is made of.
IMAGES = jnp.eye(COUNT).reshape(COUNT, 1, 1, COUNT) * jnp.ones((1, 8, 8, 1))
LABELS = jnp.eye(COUNT)
WEIGHT = jnp.array([1.0, 0.0, 2.0, 1.0, 1.0])
KEYS = jax.random.split(jax.random.key(0), 300)


def _mixed(mixing, keys=KEYS, weight=WEIGHT, choice=()):
  def one(key):
    return mixing(key, IMAGES, LABELS, weight, choice)

  images, labels = jax.jit(jax.vmap(one))(keys)
  return np.asarray(images), np.asarray(labels)


@pytest.mark.parametrize('per_image', [False, True])
def test_mixup_mixes_pixels_as_it_mixes_labels(per_image):
  images, labels = _mixed(Mixup(0.7, per_image))
  np.testing.assert_allclose(images, np.broadcast_to(labels[:, :, None, None], images.shape))
  np.testing.assert_allclose(labels.sum(-1), 1, atol=1e-6)
  assert (labels >= 0).all() and ((labels > 0).sum(-1) <= 2).all()
  # The padding neither gives nor receives.
  np.testing.assert_array_equal(labels[:, 1], np.tile(np.eye(COUNT)[1], (len(KEYS), 1)))
  assert (labels[:, [0, 2, 3, 4], 1] == 0).all()
  own = labels[:, np.arange(COUNT), np.arange(COUNT)]
  receives = own[:, [0, 2, 3, 4]] < 1
  shares = [row[mask] for row, mask in zip(own[:, [0, 2, 3, 4]], receives) if mask.sum() > 1]
  alike = np.mean([np.ptp(share) < 1e-6 for share in shares])
  assert alike < 0.05 if per_image else alike == 1


@pytest.mark.parametrize('alpha', [0.3, 2.0])
def test_share_of_mixup_is_beta_distributed(alpha):
  pair = jnp.zeros(COUNT).at[:2].set(1.0)
  _, labels = _mixed(Mixup(alpha), jax.random.split(jax.random.key(1), 4000), pair)
  own = labels[:, 0, 0]
  kept = own[own < 1]  # half of the permutations of two images change nothing
  assert 0.45 < len(kept) / 4000 < 0.55
  np.testing.assert_allclose(kept.mean(), 0.5, atol=0.03)
  np.testing.assert_allclose(kept.var(), 1 / (4 * (2 * alpha + 1)), rtol=0.08)


def test_cutmix_with_alpha_one_is_the_plain_one():
  plain = jax.jit(jax.vmap(lambda key: augment.cutmix(key, IMAGES, LABELS, 0.6, WEIGHT)))(KEYS)
  for ours, theirs in zip(_mixed(CutMix(probability=0.6)), plain):
    np.testing.assert_array_equal(ours, theirs)


def test_alpha_of_cutmix_decides_how_large_boxes_are():
  kept = {}
  for alpha in (0.05, 20.0):
    _, labels = _mixed(CutMix(alpha), weight=jnp.ones(COUNT))
    kept[alpha] = np.stack([np.diag(label) for label in labels]).min(1)
  # A small alpha gives no box, or one of the image's size, which the border clips; a large one
  # boxes of half the image: 4 x 4 or 6 x 6 of 8 x 8 pixels. One permutation of 120 is the identity.
  assert (kept[0.05] == 1).mean() > 0.35 and kept[0.05].min() == 0
  assert (kept[20.0] == 1).mean() < 0.05 and kept[20.0].min() >= 1 - 36 / 64


def test_one_of_draws_with_its_probabilities_and_applies_what_it_drew():
  mixing = OneOf((Mixup(0.8), CutMix()), (0.4, 0.4))
  index, _ = jax.jit(jax.vmap(mixing.draw))(jax.random.split(jax.random.key(2), 4000))
  np.testing.assert_allclose(np.bincount(index) / 4000, [0.4, 0.4, 0.2], atol=0.03)
  images, labels = _mixed(mixing, KEYS[:40], choice=(jnp.int32(2), ((), ())))
  np.testing.assert_array_equal(images, np.broadcast_to(IMAGES, images.shape))
  soft, _ = _mixed(mixing, KEYS[:40], choice=(jnp.int32(0), ((), ())))
  hard, _ = _mixed(mixing, KEYS[:40], choice=(jnp.int32(1), ((), ())))
  assert set(np.unique(hard)) == {0, 1} and len(np.unique(soft)) > 10


def test_a_view_is_mixed_in_pairs_of_which_each_stays_the_larger_part():
  mix = jax.jit(jax.vmap(lambda key: mixup_view(key, IMAGES, WEIGHT, alpha=0.7)))
  images, share, partner = jax.tree.map(np.asarray, mix(KEYS))
  assert share.shape == (len(KEYS),) and share.min() >= 0.5
  rest = (1 - share)[:, None, None, None, None].astype(np.float64)
  pixels = np.asarray(IMAGES, np.float64)
  np.testing.assert_allclose(images, (1 - rest) * pixels + rest * pixels[partner], atol=1e-6)
  np.testing.assert_array_equal(np.sort(partner), np.tile(np.arange(COUNT), (len(KEYS), 1)))
  assert (partner[:, 1] == 1).all() and len(np.unique(partner, axis=0)) == 24
  # max(m, 1 - m) of m ~ Beta(1, 1) is uniform from 1/2 to 1.
  keys = jax.random.split(jax.random.key(3), 2000)
  uniform = jax.jit(jax.vmap(lambda key: mixup_view(key, IMAGES).share))(keys)
  np.testing.assert_allclose(
    np.quantile(uniform, [0.25, 0.5, 0.75]), [0.625, 0.75, 0.875], atol=0.02
  )


def test_fields_are_checked():
  with pytest.raises(UserError, match='needs an alpha above 0; it is -1'):
    mixup_view(KEYS[0], IMAGES, alpha=-1)
  with pytest.raises(UserError, match='Mixup needs an alpha above 0; it is 0'):
    Mixup(0)
  with pytest.raises(UserError, match='CutMix needs probability from 0 to 1; it is 2'):
    CutMix(probability=2)
  with pytest.raises(UserError, match='one probability for each of its 2 mixings'):
    OneOf((Mixup(), CutMix()), (0.7, 0.7))
  assert OneOf((Mixup(), CutMix()), (0.7, 0.3)).by_area and not OneOf((Mixup(),), (1.0,)).by_area

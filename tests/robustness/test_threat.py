"""The ball around an image, and the losses that attacks raise, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import draws
from jaxdistill.robustness import objectives, threat

SHAPE = (6, 3, 2, 2)


def arrays(seed=0):
  random = np.random.default_rng(seed)
  images = random.uniform(size=SHAPE)
  images[0], images[1] = 0.0, 1.0
  return images, images + random.normal(size=SHAPE)


def length(change, norm):
  flat = np.asarray(change, np.float64).reshape(len(change), -1)
  return np.abs(flat).max(1) if norm == 'linf' else np.sqrt((flat**2).sum(1))


@pytest.mark.parametrize('norm, eps', [('linf', 0.2), ('l2', 0.7)])
def test_projection_and_start_stay_in_the_ball_and_among_pixels(norm, eps):
  images, points = arrays()
  ball = threat.ball(eps, norm)
  keys = threat.image_keys(draws.key(0), len(images))
  images = images.astype(np.float32)
  projected = np.asarray(ball.project(jax.device_put(np.float32(points)), images))
  start = np.asarray(ball.start(jnp.asarray(images), keys))
  for result in (projected, start):
    assert result.min() >= 0 and result.max() <= 1
    assert length(result - images, norm).max() <= eps + 1e-6
    assert length(result - images, norm).min() > 0
  assert np.allclose(ball.project(jnp.asarray(projected), images), projected, atol=1e-6)


def test_the_projection_is_that_of_numpy():
  images, points = arrays(1)
  images32, points32 = jax.device_put(np.float32(images)), jax.device_put(np.float32(points))
  box = np.clip(np.clip(points, images - 0.3, images + 0.3), 0, 1)
  assert np.allclose(threat.Ball(0.3, 'linf').project(points32, images32), box, atol=1e-6)
  change = points - images
  scale = np.minimum(1, 0.5 / length(change, 'l2'))[:, None, None, None]
  inside = np.clip(images + scale * change, 0, 1)
  assert np.allclose(threat.Ball(0.5, 'l2').project(points32, images32), inside, atol=1e-6)


def test_a_start_is_uniform_in_the_ball():
  middle = jnp.full((4000, 1, 2, 1), 0.5)
  keys = threat.image_keys(draws.key(1), len(middle))
  box = np.asarray(threat.Ball(0.4, 'linf').start(middle, keys))[:, 0, :, 0] - 0.5
  assert np.abs(np.abs(box).mean() - 0.2) < 0.01 and np.abs(box).max() > 0.399
  disc = np.asarray(threat.Ball(0.4, 'l2').start(middle, keys))[:, 0, :, 0] - 0.5
  radius = np.sqrt((disc**2).sum(1)) / 0.4
  assert radius.max() <= 1 + 1e-6
  assert abs((radius < 0.5).mean() - 0.25) < 0.03  # a quarter of a disc's area


@pytest.mark.parametrize('norm', ['linf', 'l2'])
def test_the_ascent_has_length_one_however_small_the_gradient(norm):
  gradient = np.random.default_rng(2).normal(size=SHAPE)
  gradient[0] = 0
  expected = (
    np.sign(gradient)
    if norm == 'linf'
    else gradient / np.maximum(length(gradient, norm), 1e-300).reshape(-1, 1, 1, 1)
  )
  for scale in (1.0, 1e-30, 1e25):
    step = threat.Ball(1.0, norm).ascent(jax.device_put(np.float32(gradient * scale)))
    assert np.allclose(step, expected, atol=1e-6)


def test_losses_are_those_of_numpy():
  random = np.random.default_rng(3)
  logits, labels = random.normal(size=(50, 6)) * 4, random.integers(0, 6, 50)
  targets = (labels + random.integers(1, 6, 50)) % 6
  z, y, t = jax.device_put(np.float32(logits)), jnp.asarray(labels), jnp.asarray(targets)
  rows = np.arange(50)
  true, other = logits[rows, labels], logits.copy()
  other[rows, labels] = -np.inf
  ordered = np.sort(logits, axis=1)[:, ::-1]
  exponentials = np.exp(logits - logits.max(1, keepdims=True))
  p = exponentials[rows, labels] / exponentials.sum(1)
  margin = true - other.max(1)
  assert np.allclose(objectives.cross_entropy(z, y), -np.log(p), atol=1e-5)
  assert np.allclose(objectives.margin(z, y), margin, atol=1e-5)
  dlr = -margin / (ordered[:, 0] - ordered[:, 2])
  assert np.allclose(objectives.dlr(z, y), dlr, atol=1e-5)
  width = ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2
  targeted = -(true - logits[rows, targets]) / width
  assert np.allclose(objectives.targeted_dlr(z, y, t), targeted, atol=1e-5)
  assert (objectives.wrong(z, y) == (margin < 0)).all()
  assert (objectives.ranked(z, y, 3) == np.argsort(-other, axis=1)[:, :3]).all()


def test_dlr_by_hand_and_under_scaling_and_shift():
  z, y, t = jnp.array([[1.0, 4.0, 2.0, 3.0]]), jnp.array([0]), jnp.array([3])
  for logits in (z, 1e4 * z + 7):
    assert np.allclose(objectives.dlr(logits, y), 1.5)  # -(1 - 4) / (4 - 2)
    assert np.allclose(objectives.targeted_dlr(logits, y, t), 0.8)  # -(1 - 3) / (4 - (2 + 1) / 2)


def test_the_margin_where_all_other_logits_are_negative():
  """Not 3 - 0, which a product with a mask would give."""
  assert objectives.margin(jnp.array([[3.0, -2.0, -5.0]]), jnp.array([0])).tolist() == [5.0]


def test_ties_go_to_the_smaller_class():
  z = jnp.array([[1.0, 1.0, 1.0]])
  assert objectives.wrong(jnp.tile(z, (2, 1)), jnp.array([0, 1])).tolist() == [False, True]
  assert objectives.ranked(z, jnp.array([1]), 2).tolist() == [[0, 2]]


def test_keys_of_images_follow_from_their_place():
  keys = threat.image_keys(draws.key(3), 5)
  assert (
    jax.random.key_data(keys[:2]) == jax.random.key_data(threat.image_keys(draws.key(3), 2))
  ).all()
  assert len(np.unique(jax.random.key_data(threat.fold(keys, 1)), axis=0)) == 5

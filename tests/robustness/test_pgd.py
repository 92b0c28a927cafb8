"""PGD and its kin, and the schedules and projections of the others, against numpy in float64."""

import jax
import jax.numpy as jnp
import linear_network
import numpy as np
import pytest

from jaxdistill import draws
from jaxdistill.robustness import apgd, fab, objectives, pgd, square, threat

EPS = 0.1


@pytest.fixture(scope='module')
def linear():
  return linear_network.examples(20)


def reference_gradient(images, labels, weights, bias):
  """Of the cross-entropy of a linear network, float64."""
  z = images.reshape(len(images), -1).astype(np.float64) @ weights + bias
  p = np.exp(z - z.max(1, keepdims=True))
  p /= p.sum(1, keepdims=True)
  p[np.arange(len(labels)), labels] -= 1
  return (p @ weights.T.astype(np.float64)).reshape(images.shape)


def losses_of(weights, bias, labels):
  f = linear_network.network(weights, bias)
  return lambda images: objectives.cross_entropy(f(images), jnp.asarray(labels))


@pytest.mark.parametrize('norm', ['linf', 'l2'])
def test_one_step_is_that_of_numpy(linear, norm):
  images, labels, weights, bias = linear
  gradient = reference_gradient(images, labels, weights, bias)
  flat = gradient.reshape(len(images), -1)
  length = np.sqrt((flat**2).sum(1))[:, None, None, None]
  direction = np.sign(gradient) if norm == 'linf' else gradient / length
  expected = np.clip(images + 0.04 * direction, 0, 1)  # 0.04 < EPS: the ball cuts nothing
  stepped = pgd.perturb(
    losses_of(weights, bias, labels),
    jnp.asarray(images),
    draws.key(0),
    eps=EPS,
    norm=norm,
    steps=1,
    step=0.04,
    start='image',
  )
  assert np.allclose(stepped, expected, atol=1e-6)


def test_no_step_is_the_start_and_steps_raise_the_loss(linear):
  images, labels, weights, bias = linear
  loss, key = losses_of(weights, bias, labels), draws.key(1)
  run = lambda steps: pgd.perturb(loss, jnp.asarray(images), key, eps=EPS, steps=steps)
  keys = threat.image_keys(key, len(images))
  start = threat.Ball(EPS, 'linf').start(jnp.asarray(images), keys)
  assert (run(0) == start).all()
  first, last = np.asarray(loss(run(0))), np.asarray(loss(run(10)))
  assert (last >= first).mean() >= 0.99


def test_the_ascent_has_no_gradient_and_lives_in_a_jitted_step(linear):
  images, labels, weights, bias = linear

  @jax.jit
  def step(weights, key):
    def loss(weights):
      f = lambda images: images.reshape(len(images), -1) @ weights + bias[None]
      of = lambda images: objectives.cross_entropy(f(images), jnp.asarray(labels))
      moved = pgd.perturb(of, jnp.asarray(images), key, eps=EPS, steps=3)
      return of(moved).mean(), moved

    (_, moved), gradient = jax.value_and_grad(loss, has_aux=True)(weights)
    return moved, gradient

  moved, gradient = step(jnp.asarray(weights), draws.key(2))
  flat = np.asarray(moved, np.float64).reshape(len(images), -1)
  z = flat @ weights + bias
  p = np.exp(z - z.max(1, keepdims=True))
  p /= p.sum(1, keepdims=True)
  p[np.arange(len(labels)), labels] -= 1
  assert np.allclose(gradient, flat.T @ p / len(images), atol=1e-5)  # at fixed moved images


def test_the_checkpoints_of_apgd_are_those_of_the_paper():
  p = [0.0, 0.22]
  while p[-1] + max(p[-1] - p[-2] - 0.03, 0.06) <= 1:
    p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
  assert apgd.checkpoints(100) == [round(100 * share) for share in p[1:]]
  assert apgd.checkpoints(50) == [11, 21, 29, 35, 40, 44, 47, 50]
  assert all(0 < mark <= 7 for mark in apgd.checkpoints(7))


def reference_projection(point, normal, level, norm):
  """The shortest change to a hyperplane inside [0, 1], by bisection for its common speed."""
  way = -np.sign(normal) * np.sign(level)
  room = np.where(way > 0, 1 - point, point)
  speed = np.abs(normal) if norm == 'l2' else np.ones_like(normal)
  low, high = 0.0, 1e6
  for _ in range(200):
    middle = (low + high) / 2
    reached = (np.abs(normal) * np.minimum(middle * speed, room)).sum()
    low, high = (middle, high) if reached < abs(level) else (low, middle)
  return way * np.minimum(high * speed, room)


@pytest.mark.parametrize('norm', ['linf', 'l2'])
def test_the_projection_on_a_hyperplane_is_the_shortest(norm):
  random = np.random.default_rng(4)
  points = random.uniform(size=(40, 300))
  points[:10] = points[:10].round()
  normals = random.normal(size=(40, 300)) * 10.0 ** random.uniform(-3, 3, size=(40, 300))
  normals[20:, ::7] = 0
  signs = random.choice([-1.0, 1.0], 40)
  reach = np.zeros(40)
  for row in range(40):
    farthest = reference_projection(points[row], normals[row], signs[row] * 1e30, norm)
    reach[row] = np.abs(farthest * normals[row]).sum()
  levels = signs * reach * random.uniform(0, 0.95, 40)
  levels[0] = 0
  changes = np.asarray(
    fab.to_hyperplane(
      jax.device_put(np.float32(points)),
      jax.device_put(np.float32(normals)),
      jax.device_put(np.float32(levels)),
      norm,
    )
  )
  for row in range(40):
    expected = reference_projection(points[row], normals[row], levels[row], norm)
    assert np.allclose(changes[row], expected, atol=1e-4), row
    assert abs(levels[row] + changes[row] @ normals[row]) <= 1e-5 * reach[row]
  too_far = fab.to_hyperplane(
    jax.device_put(np.float32(points)),
    jax.device_put(np.float32(normals)),
    jax.device_put(np.float32(2 * reach)),
    norm,
  )
  ends = np.where(normals > 0, 0.0, np.where(normals < 0, 1.0, points))
  assert np.allclose(points + np.asarray(too_far), ends, atol=1e-6)


def test_the_sides_of_squares_shrink_on_the_published_schedule():
  sides = square.sides(32, 32, 10_000, 0.8, 'linf')
  halvings = {0: 0, 10: 0, 11: 1, 51: 2, 201: 3, 501: 4, 1001: 5, 2001: 6, 4001: 7, 8001: 9}
  for query, number in halvings.items():
    assert sides[query] == max(round(np.sqrt(0.8 / 2**number * 32 * 32)), 1)
  assert (np.diff(sides) <= 0).all()
  short = square.sides(32, 32, 100, 0.8, 'linf')  # stretched: as if 10,000
  assert short[0] == 29 and short[1] == sides[100] and short[99] == sides[9900]
  odd = square.sides(8, 6, 100, 0.8, 'l2')
  assert set(odd % 2) == {1} and odd.min() == 3 and odd.max() == 5
  assert set(square.sides(1, 1, 20, 0.8, 'l2')) == {1}


def test_a_bump_has_length_one_and_two_halves():
  for side in (1, 2, 3, 5, 9):
    change = square.bump(side)
    assert change.shape == (side, side) and np.isclose((change**2).sum(), 1)
    assert (change[: side // 2] >= 0).all() and (change[side // 2 :] <= 0).all()

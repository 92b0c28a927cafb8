"""Weight perturbations against float64 in numpy: AWP's and RWP's steps on a quadratic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.robustness import weights

# The loss 1/2 sum_l ||A_l w_l - b_l||^2 of two kernels and a bias; its gradient is linear.
GENERATOR = np.random.default_rng(0)
A = {'first': GENERATOR.normal(size=(3, 3)), 'second': GENERATOR.normal(size=(2, 2))}
W = {
  'first': {'kernel': GENERATOR.normal(size=(3, 4)), 'bias': GENERATOR.normal(size=4)},
  'second': {'kernel': GENERATOR.normal(size=(2, 5)), 'scale': GENERATOR.normal(size=5)},
}
GAMMA, RATE = 0.05, 0.3


def slope_64(w):
  """The gradients of the kernels."""
  return {name: A[name].T @ A[name] @ (kernel - 1) for name, kernel in w.items()}


def gradient(params):
  def of_layer(name):
    matrix = jax.device_put(np.float32(A[name]))
    rest = {key: jnp.ones_like(leaf) for key, leaf in params[name].items()}
    return {**rest, 'kernel': matrix.T @ matrix @ (params[name]['kernel'] - 1)}

  return {name: of_layer(name) for name in params}


PARAMS = jax.tree.map(lambda leaf: jax.device_put(np.float32(leaf)), W)
KERNELS = {name: layer['kernel'] for name, layer in W.items()}


def norm(arrays):
  return np.sqrt(sum((array**2).sum() for array in arrays))


def ascended_64(steps, by_layer):
  """w + v by the sheet, in float64."""
  u = {name: np.zeros_like(kernel) for name, kernel in KERNELS.items()}
  v = dict(u)
  for _ in range(steps):
    g = slope_64({name: KERNELS[name] + v[name] for name in v})
    u = {name: u[name] + RATE * g[name] for name in u}
    whole = norm(KERNELS.values()) / norm(u.values())
    for name in v:
      own = norm([KERNELS[name]]) / norm([u[name]])
      v[name] = GAMMA * (own if by_layer else whole) * u[name]
  return {name: KERNELS[name] + v[name] for name in v}


@pytest.mark.parametrize('norms', ['global', 'layer'])
@pytest.mark.parametrize('steps', [1, 10])
def test_the_ascent_is_that_of_float64(steps, norms):
  moved = weights.ascended(gradient, PARAMS, gamma=GAMMA, steps=steps, rate=RATE, norms=norms)
  for name, expected in ascended_64(steps, norms == 'layer').items():
    np.testing.assert_allclose(moved[name]['kernel'], expected, atol=2e-6)


def test_v_has_its_share_of_the_length_of_all_kernels_and_lives_on_them_alone():
  moved = weights.ascended(gradient, PARAMS, gamma=GAMMA, steps=3, rate=RATE)
  change = jax.tree.map(lambda new, old: np.asarray(new - old), moved, PARAMS)
  assert not change['first']['bias'].any() and not change['second']['scale'].any()
  v = norm([change[name]['kernel'] for name in KERNELS])
  assert v == pytest.approx(GAMMA * norm(KERNELS.values()), rel=1e-5)


def test_awp_gives_each_kernel_its_share():
  moved = weights.ascended(gradient, PARAMS, gamma=GAMMA, norms='layer')
  for name, kernel in KERNELS.items():
    change = np.asarray(moved[name]['kernel']) - kernel
    assert norm([change]) == pytest.approx(GAMMA * norm([kernel]), rel=1e-4)


def test_without_a_gradient_nothing_moves():
  still = lambda params: jax.tree.map(jnp.zeros_like, params)
  for norms in ('global', 'layer'):
    moved = weights.ascended(still, PARAMS, gamma=GAMMA, steps=2, norms=norms)
    jax.tree.map(np.testing.assert_array_equal, moved, PARAMS)


def test_one_step_of_rwp_points_where_awp_points_in_every_layer():
  whole, by_layer = (
    weights.ascended(gradient, PARAMS, gamma=GAMMA, norms=norms) for norms in ('global', 'layer')
  )
  for name, kernel in KERNELS.items():
    one, other = (np.asarray(w[name]['kernel']) - kernel for w in (whole, by_layer))
    cosine = (one * other).sum() / norm([one]) / norm([other])
    assert cosine == pytest.approx(1, abs=1e-4)

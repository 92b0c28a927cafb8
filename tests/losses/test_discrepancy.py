"""mmd and mean_discrepancy against a double loop in float64, and the properties that condensation
leans on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import errors, losses


def kernel_value(kernel, u, v, bandwidth):
  if kernel == 'linear':
    return float(np.dot(u, v))
  if kernel == 'polynomial':
    return float((np.dot(u, v) + 1) ** 2)
  return sum(np.exp(-float(((u - v) ** 2).sum()) / (q * bandwidth)) for q in (0.25, 0.5, 1, 2, 4))


def reference(x, y, kernel, bandwidth=None):
  """The V-statistic by the book: float64, one pair at a time."""
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  z = np.concatenate([x, y])
  pairs = [((u - v) ** 2).sum() for u in z for v in z]
  if bandwidth is None:
    bandwidth = sum(pairs) / (len(z) ** 2 - len(z))
  mean = lambda a, b: (
    sum(kernel_value(kernel, u, v, bandwidth) for u in a for v in b) / (len(a) * len(b))
  )
  return mean(x, x) - 2 * mean(x, y) + mean(y, y)


def draw(n, m, d, shift=0.5, offset=0.0, seed=0):
  rng = np.random.default_rng(seed)
  return (
    jax.device_put(np.float32(rng.normal(size=(n, d)) + offset)),
    jax.device_put(np.float32(rng.normal(size=(m, d)) + shift + offset)),
  )


distance = jax.jit(losses.mmd, static_argnames='kernel')
loss_and_gradients = jax.jit(
  jax.value_and_grad(losses.mmd, argnums=(0, 1)), static_argnames='kernel'
)


@pytest.mark.parametrize('kernel', losses.KERNELS)
@pytest.mark.parametrize('n, m', [(5, 7), (1, 3)])
def test_equals_the_double_loop(kernel, n, m):
  x, y = draw(n, m, 6)
  np.testing.assert_allclose(distance(x, y, kernel=kernel), reference(x, y, kernel), rtol=2e-5)


@pytest.mark.parametrize('kernel', losses.KERNELS)
def test_features_far_from_the_origin_keep_their_digits(kernel):
  x, y = draw(5, 7, 6, offset=300.0)
  np.testing.assert_allclose(distance(x, y, kernel=kernel), reference(x, y, kernel), rtol=1e-4)


@pytest.mark.parametrize('kernel', losses.KERNELS)
def test_gradient_equals_central_differences_of_the_double_loop(kernel):
  x, y = draw(3, 4, 2)
  z = np.concatenate([x, y]).astype(np.float64)
  bandwidth = sum(((u - v) ** 2).sum() for u in z for v in z) / (49 - 7)
  expected = np.zeros((3, 2))
  for i, j in np.ndindex(3, 2):
    for sign in (1, -1):
      moved = np.asarray(x, np.float64)
      moved[i, j] += sign * 1e-5
      expected[i, j] += sign * reference(moved, y, kernel, bandwidth) / 2e-5
  _, (gradient, _) = loss_and_gradients(x, y, kernel=kernel)
  np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('kernel', losses.KERNELS)
def test_masked_rows_do_not_exist(kernel):
  x, y = draw(6, 8, 4)
  x_mask, y_mask = jnp.array([0, 1, 1, 0, 1, 1], bool), jnp.array([1, 1, 0, 1, 1, 0, 0, 1], bool)
  x = jnp.where(x_mask[:, None], x, jnp.nan)
  y = jnp.where(y_mask[:, None], y, 1e30)
  expected, (x_expected, y_expected) = loss_and_gradients(x[x_mask], y[y_mask], kernel=kernel)
  value, (x_gradient, y_gradient) = loss_and_gradients(
    x, y, kernel=kernel, x_mask=x_mask, y_mask=y_mask
  )
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(x_gradient[x_mask], x_expected, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(y_gradient[y_mask], y_expected, rtol=1e-4, atol=1e-6)
  assert not x_gradient[~x_mask].any() and not y_gradient[~y_mask].any()


def test_ragged_classes_under_vmap_equal_one_class_at_a_time():
  x, y = (jnp.stack(s) for s in zip(*(draw(5, 6, 3, seed=seed) for seed in range(3))))
  x_counts, y_counts = [5, 2, 1], [3, 6, 4]
  x_mask = jnp.arange(5)[None, :] < jnp.array(x_counts)[:, None]
  y_mask = jnp.arange(6)[None, :] < jnp.array(y_counts)[:, None]
  together = jax.jit(jax.vmap(lambda x, y, u, v: distance(x, y, x_mask=u, y_mask=v)))(
    x, y, x_mask, y_mask
  )
  expected = [reference(x[c, : x_counts[c]], y[c, : y_counts[c]], 'gaussian') for c in range(3)]
  np.testing.assert_allclose(together, expected, rtol=2e-5)


@pytest.mark.parametrize('kernel', losses.KERNELS)
def test_a_side_without_points_costs_nothing(kernel):
  x, y = draw(3, 4, 2)
  value, gradients = loss_and_gradients(
    x, y, kernel=kernel, x_mask=jnp.zeros(3, bool), y_mask=jnp.ones(4, bool)
  )
  assert value == 0 and not any(g.any() for g in gradients)


def test_linear_kernel_is_the_distance_of_the_means():
  x, y = draw(9, 5, 40)
  expected = ((np.asarray(x, np.float64).mean(0) - np.asarray(y, np.float64).mean(0)) ** 2).sum()
  np.testing.assert_allclose(losses.mean_discrepancy(x, y), expected, rtol=1e-6)
  np.testing.assert_allclose(distance(x, y, kernel='linear'), expected, rtol=1e-6)
  np.testing.assert_allclose(reference(x, y, 'linear'), expected, rtol=1e-12)


@pytest.mark.parametrize('kernel', losses.KERNELS)
def test_a_set_is_at_distance_zero_from_itself_in_any_order(kernel):
  x, y = draw(8, 6, 5)
  value = distance(x, y, kernel=kernel)
  scale = max(kernel_value(kernel, u, u, 1.0) for u in np.asarray(x))
  assert abs(distance(x, x[::-1], kernel=kernel)) < 1e-6 * scale
  np.testing.assert_allclose(distance(x[::-1], jnp.roll(y, 2, 0), kernel=kernel), value, rtol=1e-5)
  np.testing.assert_allclose(distance(y, x, kernel=kernel), value, rtol=1e-5)


def test_a_point_is_worth_five_to_itself():
  # Two points so far apart, at a given bandwidth, that the cross terms vanish: L = k(u, u) + k(v,
  # v).
  value = distance(jnp.zeros((1, 2)), jnp.full((1, 2), 100.0), bandwidth=1.0)
  assert value == 10


@pytest.mark.parametrize('kernel', losses.KERNELS)
def test_never_negative(kernel):
  for seed in range(5):
    x, y = draw(7, 9, 3, shift=0.0, seed=seed)
    assert distance(x, y, kernel=kernel) > 0


def test_bandwidth_carries_no_gradient():
  x, y = draw(5, 6, 4)
  z = np.concatenate([x, y]).astype(np.float64)
  bandwidth = float(np.square(z[:, None] - z[None]).sum() / (11 * 10))
  value, gradients = loss_and_gradients(x, y)
  constant, expected = loss_and_gradients(x, y, bandwidth=bandwidth)
  np.testing.assert_allclose(value, constant, rtol=1e-6)
  for gradient, other in zip(gradients, expected):
    np.testing.assert_allclose(gradient, other, rtol=1e-4, atol=1e-7)


def test_higher_moments_are_seen():
  # A fair coin against a normal, both standardised: the means agree, the distributions do not.
  rng = np.random.default_rng(0)
  normal, coin = rng.normal(size=2000), rng.permutation(np.repeat([-1.0, 1.0], 1000))
  normal = (normal - normal.mean()) / normal.std()
  x, y = (jax.device_put(np.float32(s[:, None])) for s in (normal, coin))
  assert losses.mean_discrepancy(x, y) < 1e-12
  assert distance(x, y) == pytest.approx(0.41, abs=0.02)


@pytest.mark.parametrize('kernel', losses.KERNELS)
def test_equal_points_have_finite_gradients(kernel):
  x, y = draw(4, 5, 3)
  x = x.at[1].set(x[0]).at[2].set(y[0])
  value, gradients = loss_and_gradients(x, y, kernel=kernel)
  assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)
  assert all(g.any() for g in gradients)


@pytest.mark.parametrize('kernel', losses.KERNELS)
def test_a_single_point_repeated_gives_zero(kernel):
  # 0.1 is no binary fraction, so that its mean over seven copies need not be 0.1.
  value, gradients = loss_and_gradients(jnp.full((3, 4), 0.1), jnp.full((4, 4), 0.1), kernel=kernel)
  assert abs(value) < 1e-6
  assert all(np.abs(g).max() < 1e-6 for g in gradients)


def test_bfloat16_features_are_compared_in_float32():
  x, y = (s.astype(jnp.bfloat16) for s in draw(6, 6, 8))
  value = distance(x, y)
  assert value.dtype == jnp.float32
  np.testing.assert_allclose(
    value, reference(x.astype(jnp.float32), y.astype(jnp.float32), 'gaussian'), rtol=2e-5
  )


def test_mistakes_are_told_in_a_sentence():
  x, y = draw(3, 4, 2)
  with pytest.raises(errors.UserError, match="no kernel 'gausian'; did you mean 'gaussian'"):
    distance(x, y, kernel='gausian')
  with pytest.raises(errors.UserError, match=r'one d; got \(3, 2\) and \(4, 1\)'):
    distance(x, y[:, :1])
  with pytest.raises(errors.UserError, match='one entry a row'):
    losses.mean_discrepancy(x, y, x_mask=jnp.ones(4))
  with pytest.raises(errors.UserError, match=r'needs features; got \(0, 2\) and \(4, 2\)'):
    distance(x[:0], y)

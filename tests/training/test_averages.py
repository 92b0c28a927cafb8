"""The exponential average of weights, by hand and in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.errors import UserError
from jaxdistill.training import averages
from jaxdistill.training.averages import Average


@pytest.mark.parametrize('warmup', [False, True])
def test_average_of_a_walk(warmup):
  walk = np.random.default_rng(0).normal(size=(30, 3)).cumsum(0)
  average, expected = averages.init(jax.device_put(np.float32(walk[0]))), walk[0]
  update = jax.jit(averages.update, static_argnames=('decay', 'warmup'))
  for step, weights in enumerate(walk[1:]):
    average = update(average, jax.device_put(np.float32(weights)), step, decay=0.8, warmup=warmup)
    kept = min(0.8, (1 + step) / (10 + step)) if warmup else 0.8
    expected = kept * expected + (1 - kept) * weights
  np.testing.assert_allclose(average, expected, rtol=1e-5)


def test_the_warmup_ends_where_it_meets_the_decay():
  # (1 + 8) / (10 + 8) = 0.5 is the decay; before that less is kept, behind it no more.
  moved = [
    float(averages.update(jnp.float32(0), jnp.float32(1), step, decay=0.5, warmup=True))
    for step in (0, 8, 1000)
  ]
  np.testing.assert_allclose(moved, [0.9, 0.5, 0.5], rtol=1e-6)


def test_average_of_bfloat16_weights_is_float32():
  """A thousandth of a step would be lost in bfloat16, which has three digits."""
  start = {'w': jnp.ones(2, jnp.bfloat16), 'count': jnp.int32(4)}
  later = {'w': jnp.full(2, 2.0, jnp.bfloat16), 'count': jnp.int32(5)}
  average = averages.init(start)
  assert average['w'].dtype == jnp.float32 and average['count'].dtype == jnp.int32
  average = averages.update(average, later, 0, decay=0.999)
  assert average['w'].dtype == jnp.float32
  np.testing.assert_allclose(average['w'], 1.001, rtol=1e-6)
  assert int(average['count']) == 5


def test_weights_that_do_not_move_keep_their_average_bit_for_bit():
  weights = jax.random.normal(jax.random.key(0), (1000,))
  average = averages.init(weights)
  for step in range(5):
    average = averages.update(average, weights, step, decay=0.99, warmup=True)
  np.testing.assert_array_equal(average, weights)


def test_the_start_is_a_copy():
  weights = jnp.ones(3)
  average = Average(0.5).init({'params': weights, 'batch_stats': weights})
  weights.delete()  # as a step that reuses the memory of its state does
  np.testing.assert_array_equal(average['params'], np.ones(3))
  np.testing.assert_array_equal(average['batch_stats'], np.ones(3))


@pytest.mark.parametrize('statistics, mean', [('copied', 5.0), ('averaged', 2.0)])
def test_statistics(statistics, mean):
  average = Average(0.75, statistics=statistics)
  variables = {'params': {'w': jnp.float32(0)}, 'batch_stats': {'mean': jnp.float32(1)}}
  later = {'params': {'w': jnp.float32(4)}, 'batch_stats': {'mean': jnp.float32(5)}}
  averaged = average.update(average.init(variables), later, step=0)
  assert jax.tree.map(float, averaged) == {'params': {'w': 1.0}, 'batch_stats': {'mean': mean}}


def test_average_warms_up_as_the_function():
  average = Average(0.9, warmup=True)
  variables = {'params': jnp.float32(0)}
  averaged = average.update(average.init(variables), {'params': jnp.float32(1)}, step=2)
  np.testing.assert_allclose(averaged['params'], 1 - 3 / 12, rtol=1e-6)


@pytest.mark.parametrize(
  'build, word',
  [
    (lambda: Average(decay=1.0), 'decay'),
    (lambda: Average(decay=-0.1), 'decay'),
    (lambda: Average(decay=float('nan')), 'decay'),
    (lambda: averages.update(1.0, 1.0, 0, decay=2.0), 'decay'),
    (lambda: Average(statistics='copy'), "did you mean 'copied'"),
  ],
)
def test_senseless_averages_are_refused(build, word):
  with pytest.raises(UserError, match=word):
    build()

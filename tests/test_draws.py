"""Draws are those of `jax.random` under JAX's defaults, whatever its settings."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import draws

KEY = jax.random.key(7)
DRAWS = {
  'key': (lambda: draws.key(7), lambda: KEY),
  'split': (lambda: draws.split(KEY, 3), lambda: jax.random.split(KEY, 3)),
  'bits': (lambda: draws.bits(KEY, (4,)), lambda: jax.random.bits(KEY, (4,), jnp.uint32)),
  'uniform': (
    lambda: draws.uniform(KEY, (5,), -1.0, 3),
    lambda: jax.random.uniform(KEY, (5,), minval=-1.0, maxval=3),
  ),
  'normal': (lambda: draws.normal(KEY, (5,)), lambda: jax.random.normal(KEY, (5,))),
  'integers': (
    lambda: draws.integers(KEY, (6,), 0, 9),
    lambda: jax.random.randint(KEY, (6,), 0, 9),
  ),
  'coins': (
    lambda: draws.coins(KEY, 0.3, (9,)),
    lambda: jax.random.bernoulli(KEY, 0.3, (9,)),
  ),
  'signs': (
    lambda: draws.signs(KEY, (4,)),
    lambda: jax.random.rademacher(KEY, (4,), jnp.float32),
  ),
  'beta': (
    lambda: draws.beta(KEY, 0.4, 0.4, (3,)),
    lambda: jax.random.beta(KEY, 0.4, 0.4, (3,)),
  ),
  'order': (lambda: draws.order(KEY, 9), lambda: jax.random.permutation(KEY, 9)),
}
SETTINGS = (
  contextlib.nullcontext,
  lambda: jax.enable_x64(True),
  lambda: jax.default_prng_impl('rbg'),
  lambda: jax.threefry_partitionable(False),
  jax.disable_jit,
)


def plain_numbers(array):
  is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
  return np.asarray(jax.random.key_data(array) if is_key else array)


@pytest.mark.parametrize('name', DRAWS)
def test_a_draw_is_that_of_jax_under_its_defaults(name):
  draw, reference = DRAWS[name]
  expected = plain_numbers(reference())
  for setting in SETTINGS:
    with setting():
      drawn = plain_numbers(draw())
    assert drawn.dtype == expected.dtype
    np.testing.assert_array_equal(drawn, expected)


def test_an_offset_of_seeds_moves_no_key():
  before = jax.config.jax_random_seed_offset
  jax.config.update('jax_random_seed_offset', 5)
  try:
    np.testing.assert_array_equal(plain_numbers(draws.key(7)), [0, 7])
  finally:
    jax.config.update('jax_random_seed_offset', before)


def test_raw_keys_of_four_words_are_those_of_rbg():
  key = jax.random.key(7, impl='rbg')
  assert draws.typed(jax.random.key_data(key)) == key

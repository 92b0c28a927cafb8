"""Random draws, all through here: keys of one generator, numbers of stated types, whatever JAX's
settings.

Each draws what the function of that name in `jax.random` draws under JAX's defaults, as float32 or
int32; tests/test_draws.py has the values. Keys are folded and split by `jax.random` itself.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from jaxdistill import errors
from jaxdistill.numerics import steady

GENERATOR = 'threefry2x32'


def key(seed: int) -> jax.Array:
  """Returns the key of a seed, a whole number from 0 to 2^32 - 1.

  Raises:
    UserError: for any other seed.

  >>> bool((jax.random.key_data(key(7)) == jax.random.key_data(jax.random.key(7))).all())
  True
  """
  return typed(np.array([0, errors.seed(seed)], np.uint32))


@steady
def typed(data: jax.Array) -> jax.Array:
  """Returns the key of raw key data, uint32 [..., 2]; data of 4 words are those of JAX's `rbg`.

  >>> typed(jnp.array([0, 7], jnp.uint32)) == key(7)
  Array(True, dtype=bool)
  """
  return jax.random.wrap_key_data(data, impl=GENERATOR if data.shape[-1] == 2 else 'rbg')


@steady
def split(key: jax.Array, number: int = 2) -> jax.Array:
  """Returns `number` keys."""
  return jax.random.split(key, number)


@steady
def bits(key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
  """Returns uint32 numbers of random bits."""
  return jax.random.bits(key, shape, jnp.uint32)


@steady
def uniform(
  key: jax.Array,
  shape: tuple[int, ...] = (),
  minval: ArrayLike = 0.0,
  maxval: ArrayLike = 1.0,
  dtype: DTypeLike = jnp.float32,
) -> jax.Array:
  """Returns numbers uniform on [minval, maxval)."""
  return jax.random.uniform(key, shape, dtype, minval, maxval)


@steady
def normal(key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
  """Returns float32 numbers of the standard normal distribution."""
  return jax.random.normal(key, shape, jnp.float32)


@steady
def integers(
  key: jax.Array, shape: tuple[int, ...], minval: ArrayLike, maxval: ArrayLike
) -> jax.Array:
  """Returns int32 numbers uniform on minval to maxval - 1."""
  return jax.random.randint(key, shape, minval, maxval, jnp.int32)


@steady
def coins(key: jax.Array, probability: ArrayLike, shape: tuple[int, ...] = ()) -> jax.Array:
  """Returns booleans that are true with `probability`."""
  return jax.random.bernoulli(key, jnp.float32(probability), shape)


@steady
def signs(key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
  """Returns float32 numbers, -1 or 1."""
  return jax.random.rademacher(key, shape, jnp.float32)


@steady
def beta(key: jax.Array, a: float, b: float, shape: tuple[int, ...] = ()) -> jax.Array:
  """Returns float32 numbers of the distribution Beta(a, b)."""
  return jax.random.beta(key, a, b, shape, jnp.float32)


@steady
def order(key: jax.Array, size: int) -> jax.Array:
  """Returns range(size) in random order, int32."""
  return jax.random.permutation(key, size)

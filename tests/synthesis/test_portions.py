"""Classes in portions: the same numbers, in a loop where a loop is not slow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import backend
from jaxdistill.models import convolution
from jaxdistill.synthesis import portions

KERNEL = jax.device_put(np.float32(np.random.default_rng(0).normal(size=(3, 3, 2, 4))))


def of_the_library(x):
  return jnp.square(jax.vmap(lambda x: convolution.convolve(x, KERNEL))(x)).sum((1, 2, 3, 4))


def of_xla(x):
  how = dict(dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  maps = jax.vmap(lambda x: jax.lax.conv_general_dilated(x, KERNEL, (1, 1), 'SAME', **how))(x)
  return jnp.square(maps).sum((1, 2, 3, 4))


@pytest.mark.parametrize('function', [of_the_library, of_xla])
@pytest.mark.parametrize('at_once', [1, 2, 3, 5, 0])
def test_portions_give_what_all_at_once_give(function, at_once):
  x = jax.device_put(np.float32(np.random.default_rng(1).normal(size=(5, 3, 4, 4, 2))))
  y = jax.jit(portions.by_portions(function, at_once, 200_000))(x)
  np.testing.assert_allclose(y, function(x), rtol=1e-5)


def test_a_loop_on_a_cpu_has_no_convolution_that_crawls_in_it():
  x = jnp.zeros((4, 3, 4, 4, 2))
  traced = lambda function: str(jax.make_jaxpr(portions.by_portions(function, 2, 1))(x))
  with backend.compiling_for('cpu'):
    assert 'scan' in traced(of_the_library) and 'scan' not in traced(of_xla)
  with backend.compiling_for('gpu'):
    assert 'scan' in traced(of_xla)

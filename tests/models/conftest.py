"""What the tests of networks share: shapes that cost nothing, and weights that cost little."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import models


@pytest.fixture(scope='session')
def shapes():
  return _shapes


@pytest.fixture(scope='session')
def random_variables():
  return _random_variables


def _shapes(name, image_shape, num_classes=10, batch=2, **fields):
  """(variables, logits, features) as shapes, without computing anything."""
  net = models.build({'name': name, **fields}, num_classes, image_shape)
  x = jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)
  outputs, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
  return variables, *outputs


def _random_variables(net, *arguments):
  """Weights from numpy: compiling one random draw a parameter would take longer than the rest of a
  test."""
  rng = np.random.default_rng(0)
  shape = jax.eval_shape(net.init, jax.random.key(0), *arguments)
  # Put, not converted, which would compile for every shape.
  return jax.tree.map(
    lambda leaf: jax.device_put(np.float32(rng.normal(size=leaf.shape) * 0.3)), shape
  )

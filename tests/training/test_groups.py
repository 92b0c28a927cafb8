"""Rates that fall from the last layer to the first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.errors import UserError
from jaxdistill.training import groups, optim

PARAMS = {
  'patches': {'kernel': np.full((2, 3), 2.0), 'bias': np.full(3, 2.0)},
  'token': np.full((1, 1, 3), 2.0),
  'block1': {'kernel': np.full((3, 3), 2.0), 'norm': {'scale': np.full(3, 2.0)}},
  'block10': {'kernel': np.full((3, 3), 2.0)},
  'head': {'kernel': np.full((3, 1), 2.0)},
}
STAGES = (('patches', 'token'), ('block1',), ('block10',))


def test_each_stage_has_its_rate_and_vectors_do_not_decay():
  """One AdamW step from equal parameters and gradients: lr rate (1 + decay p), p = 2."""
  made = groups.layerwise(PARAMS, STAGES, decay=0.5, undecayed=('token',))
  optimizer = optim.adamw(0.1, weight_decay=0.25, groups=made)
  ones = jax.tree.map(jnp.ones_like, PARAMS)
  updates, _ = optimizer.update(ones, optimizer.init(PARAMS), PARAMS)
  expected = {
    'patches': {'kernel': -0.1 * 0.125 * 1.5, 'bias': -0.1 * 0.125},
    'token': -0.1 * 0.125,
    'block1': {'kernel': -0.1 * 0.25 * 1.5, 'norm': {'scale': -0.1 * 0.25}},
    'block10': {'kernel': -0.1 * 0.5 * 1.5},
    'head': {'kernel': -0.1 * 1.5},
  }
  jax.tree.map(lambda u, value: np.testing.assert_allclose(u, value, rtol=1e-5), updates, expected)


def test_shapes_are_enough():
  forms = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, PARAMS))
  assert groups.layerwise(forms, STAGES, 0.5) == groups.layerwise(PARAMS, STAGES, 0.5)


def test_mistakes_are_told_in_a_sentence():
  with pytest.raises(UserError, match=r"There is no parameter 'blocks'"):
    groups.layerwise(PARAMS, (('blocks',),), 0.5)
  with pytest.raises(UserError, match=r'must lie in \(0, 1\], not 1.5'):
    groups.layerwise(PARAMS, STAGES, 1.5)

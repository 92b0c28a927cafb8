"""Relation modules: the factored form is the one of the formula."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.models.relation import Relation


def test_it_is_two_layers_on_the_difference():
  rng = np.random.default_rng(0)
  anchors, features = rng.normal(size=(2, 5)), rng.normal(size=(3, 5))
  module = Relation(4, hidden=6)
  variables = module.init(jax.random.key(0), anchors, features)
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables['params'])
  relations = module.apply(variables, jnp.asarray(anchors), jnp.asarray(features))
  for i, j in np.ndindex(2, 3):
    hidden = (anchors[i] - features[j]) @ params['linear1']['kernel'] + params['bias']
    expected = np.maximum(hidden, 0) @ params['linear2']['kernel'] + params['linear2']['bias']
    np.testing.assert_allclose(relations[i, j], expected, atol=1e-5)
  shift = rng.normal(size=(1, 5))
  shifted = module.apply(variables, anchors + shift, features + shift)
  np.testing.assert_allclose(shifted, relations, atol=1e-5)

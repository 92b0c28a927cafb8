"""Features of frozen encoders, and what the base session leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import data, models
from jaxdistill.data.crops import CentreCrop
from jaxdistill.fscil import features
from jaxdistill.training import parallel


@pytest.fixture(scope='module')
def network():
  return models.build({'name': 'resnet', 'width': 2, 'depth': 8}, 10, (8, 8, 1))


@pytest.fixture(scope='module')
def variables(network):
  """Of two networks, with running statistics that are not those of the start."""
  init = lambda key: network.init(key, jnp.zeros((1, 8, 8, 1)))
  both = jax.vmap(init)(jax.random.split(jax.random.key(0), 2))
  moved = jax.tree.map(lambda leaf: leaf + 0.3, both['batch_stats'])
  return {**both, 'batch_stats': moved}


@pytest.fixture(scope='module')
def images():
  train, _ = data.load('digits', image_size=8)
  return train.take(range(7))


def by_hand(network, variables, pixels, images):
  """The embeddings of one network, in eval mode."""
  normal = (pixels / 255 - np.asarray(images.mean)) / np.asarray(images.std)
  return network.apply(variables, jnp.asarray(normal, jnp.float32), train=False)[1]['embedding']


def test_every_encoder_sees_every_image_in_eval_mode(network, variables, images):
  encoded = features.encode(network, variables, images, batch=3)
  assert encoded.shape == (2, 7, 8) and encoded.dtype == np.float32
  for seed in range(2):
    expected = by_hand(network, features.of_seed(variables, seed), images.images, images)
    np.testing.assert_allclose(encoded[seed], expected, atol=1e-5)
  four = features.encode(network, variables, images, batch=3, mesh=parallel.make_mesh(4))
  np.testing.assert_allclose(four, encoded, atol=1e-6)


def test_a_view_crops_first(network, variables, images):
  encoded = features.encode(network, variables, images, view=CentreCrop(4))
  one = features.of_seed(variables, 1)
  expected = by_hand(network, one, images.images[:, 2:6, 2:6], images)
  np.testing.assert_allclose(encoded[1], expected, atol=1e-5)


def test_class_means_and_the_head_are_what_the_base_leaves():
  rng = np.random.RandomState(0)
  vectors, labels = rng.normal(size=(2, 6, 3)).astype(np.float32), np.array([0, 1, 0, 2, 0, 2])
  variables = {'params': {'encoder': 1.0, 'head': {'rows': 2.0}}}
  start = features.leaves(vectors, labels, 5, variables)
  np.testing.assert_allclose(start.means[:, 0], vectors[:, [0, 2, 4]].mean(1), atol=1e-6)
  assert not start.means[:, 3:].any() and start.counts.tolist() == [[3, 1, 2, 0, 0]] * 2
  assert start.head == {'rows': 2.0} and start.variables is None
  assert features.leaves(vectors, labels, 5, variables, whole=True).variables is variables

"""Networks of T^r(x): rows of probabilities, copies, and what a graph makes of the layers; against
loops in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import backend, models
from jaxdistill.label_noise import annotator_layers, annotator_matrices, transition_networks
from jaxdistill.label_noise.transition_networks import AnnotatorHeads, GraphHeads, SharedHead

CLASSES, ANNOTATORS, WIDTH = 3, 5, 4
RNG = np.random.RandomState(0)
HIDDEN = jax.device_put(np.float32(RNG.standard_normal((6, WIDTH))))
WHO = jnp.asarray([[0, 3], [4, -1], [2, 1], [1, -1], [3, 4], [0, -1]])
GUESS = jnp.asarray([0, 2, 1, 1, 0, 2])
MIXING = jax.device_put(np.float32(RNG.random_sample((ANNOTATORS, ANNOTATORS))))
HEADS = {
  'shared': (SharedHead(CLASSES), ()),
  'own': (AnnotatorHeads(ANNOTATORS, CLASSES), ()),
  'graph': (GraphHeads(ANNOTATORS, CLASSES), (MIXING,)),
}


def made(name, guess=None):
  """(What the heads give, their params)."""
  heads, graph = HEADS[name]
  variables = heads.init(jax.random.key(1), HIDDEN, WHO, None, *graph)
  # Uniform on small bounds at first, so that rows would be nearly uniform, too.
  params = jax.tree.map(lambda leaf: 5 * leaf, variables['params'])
  return heads.apply({'params': params}, HIDDEN, WHO, guess, *graph), params


def by_loops(layers):
  """T^r(x) [R, n, C, C] in float64."""
  layers, hidden = np.asarray(layers, np.float64), np.asarray(HIDDEN, np.float64)
  matrices = np.zeros((len(layers), len(hidden), CLASSES, CLASSES))
  for annotator, layer in enumerate(layers):
    for row, h in enumerate(hidden):
      logits = np.tensordot(h, layer[:-1], 1) + layer[-1]
      exponentials = np.exp(logits)
      matrices[annotator, row] = exponentials / exponentials.sum(1, keepdims=True)
  return matrices


@pytest.mark.parametrize('name', HEADS)
def test_matrices_are_the_softmax_of_a_linear_layer(name):
  outputs, params = made(name)
  layers = transition_networks.layers_of(params, ANNOTATORS, MIXING)
  assert layers.shape == (ANNOTATORS, WIDTH + 1, CLASSES, CLASSES)
  matrices = np.asarray(outputs['transition'])
  assert (matrices >= 0).all() and abs(matrices.sum(-1) - 1).max() < 1e-6
  expected = by_loops(layers)
  for row, annotators in enumerate(np.asarray(WHO)):
    for place, annotator in enumerate(annotators[: matrices.shape[1]]):
      if annotator >= 0:
        np.testing.assert_allclose(matrices[row, place], expected[annotator, row], atol=2e-6)


@pytest.mark.parametrize('name', HEADS)
def test_rows_of_guessed_classes_are_those_of_the_matrices(name):
  matrices, rows = made(name)[0]['transition'], made(name, GUESS)[0]['rows']
  expected = np.asarray(matrices)[np.arange(6), :, np.asarray(GUESS)]
  np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_one_label_after_another_is_all_at_once_with_its_gradients():
  random = np.random.RandomState(2)
  inputs, layers = (
    jax.device_put(np.float32(random.standard_normal(shape)))
    for shape in ((2, 6, WIDTH + 1), (2, ANNOTATORS, WIDTH + 1, CLASSES, CLASSES))
  )
  # Two networks side by side; one annotator labels several images, and one image twice.
  who = jnp.stack([jnp.maximum(WHO, 0), jnp.full_like(WHO, 3)])
  change = jax.device_put(np.float32(random.standard_normal((2, *WHO.shape, CLASSES, CLASSES))))

  def value_and_gradients(platform):
    def of_one(inputs, layers, who, change):
      with backend.compiling_for(platform):
        logits, back = jax.vjp(lambda *args: annotator_layers.logits_of(*args, who), inputs, layers)
      return logits, *back(change)

    return jax.jit(jax.vmap(of_one))(inputs, layers, who, change)

  for one, other in zip(value_and_gradients('cpu'), value_and_gradients('gpu')):
    assert one.shape == other.shape and abs(other).max() > 1
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_copies_of_the_common_layer_are_the_common_matrix():
  outputs, params = made('shared')
  copies = {'layers': transition_networks.layers_of(params, ANNOTATORS)}
  own = HEADS['own'][0].apply({'params': copies}, HIDDEN, WHO)['transition']
  expected = np.broadcast_to(outputs['transition'], own.shape)
  np.testing.assert_allclose(own, expected, atol=1e-7)
  # And in the sums of one form, bit for bit.
  np.testing.assert_array_equal(own[0, 0], own[0, 1])


def test_a_graph_of_nobody_gives_everyone_layers_of_his_own():
  _, params = made('graph')
  layers = transition_networks.layers_of(params, ANNOTATORS, jnp.eye(ANNOTATORS))
  first, second = (np.asarray(params[name], np.float64) for name in ('first', 'second'))
  for annotator, row in enumerate(np.where(first > 0, first, 0.2 * first)):
    expected = np.tensordot(row, second, (0, 1))
    np.testing.assert_allclose(layers[annotator], expected, atol=1e-5)


def test_a_graph_of_all_gives_all_the_same_layer():
  _, params = made('graph')
  everyone = jnp.full((ANNOTATORS, ANNOTATORS), 1 / ANNOTATORS)
  layers = np.asarray(transition_networks.layers_of(params, ANNOTATORS, everyone))
  np.testing.assert_allclose(layers, np.broadcast_to(layers[:1], layers.shape), atol=1e-6)
  assert abs(layers).max() > 0.01


def test_the_trunk_stands_on_the_embedding_of_a_network():
  network = models.build({'name': 'mlp', 'width': 8}, CLASSES, (2, 2, 1))
  trunk, images = transition_networks.Trunk(network, WIDTH), jnp.asarray(RNG.rand(3, 2, 2, 1))
  variables = trunk.init(jax.random.key(0), images)
  hidden = trunk.apply(variables, images)['hidden']
  _, features = network.apply({'params': variables['params']['network']}, images)
  layer = variables['params']['linear']
  expected = np.maximum(features['embedding'] @ layer['kernel'] + layer['bias'][None], 0)
  np.testing.assert_allclose(hidden, expected, atol=1e-6)


def test_means_over_images_of_a_class_and_errors():
  _, params = made('own')
  layers = transition_networks.layers_of(params, ANNOTATORS)
  matrices, classes = by_loops(layers), np.array([0, 1, 0, 1, 1, 0])
  means = annotator_matrices.mean_confusions(layers, HIDDEN, classes)
  np.testing.assert_allclose(means[:, 0], matrices[:, classes == 0, 0].mean(1), atol=1e-6)
  np.testing.assert_allclose(means[:, 1], matrices[:, classes == 1, 1].mean(1), atol=1e-6)
  # No image is of class 2: the mean is over all.
  np.testing.assert_allclose(means[:, 2], matrices[:, :, 2].mean(1), atol=1e-6)
  laws, group = RNG.dirichlet(np.ones(CLASSES), (2, 6)), np.array([0, 0, 1, 1, 0])
  rows = matrices[:, np.arange(6), classes]
  error = annotator_matrices.rows_error(layers, HIDDEN, classes, laws, group)
  assert error == pytest.approx(np.abs(rows - laws[group]).sum(2).mean(), abs=1e-6)

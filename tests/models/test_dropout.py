"""Dropout: its share and scale, draws that belong to rows, and the perceptron that has it in a
training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill import errors, models
from jaxdistill.models import dropout, heads, normalisation
from jaxdistill.training import classifier, turns

KEY = jax.random.key(0)


def dropped(x, rate=0.25, key=KEY):
  return dropout.Dropout(rate).apply({}, x, True, rngs={'dropout': key})


def test_share_and_scale():
  x = np.random.default_rng(0).normal(size=(200, 50)).astype(np.float32)
  y = np.asarray(dropped(x))
  gone = y == 0
  assert abs(gone.mean() - 0.25) < 0.02
  np.testing.assert_allclose(y[~gone], x[~gone] / 0.75, rtol=1e-6)
  assert (gone[0] != gone[1]).any()
  other = np.asarray(dropped(x, key=jax.random.key(1))) == 0
  assert abs((gone & other).mean() - 0.0625) < 0.01
  np.testing.assert_array_equal(dropout.Dropout(0.25).apply({}, x, False), x)
  np.testing.assert_array_equal(dropout.Dropout(0.0).apply({}, x, True), x)


def test_rows_keep_their_draws_on_any_number_of_devices():
  """Two views of a batch, on four devices and on one."""
  whole = jax.jit(dropped)(jnp.ones((16, 5)))

  def two_views(part):
    with normalisation.synchronised('devices'), normalisation.weighted(jnp.ones(2)):
      return dropped(jnp.concatenate([part, part]))

  views = jax.jit(jax.vmap(two_views, axis_name='devices'))(jnp.ones((4, 2, 5)))
  np.testing.assert_array_equal(views[:, :2].reshape(8, 5), whole[:8])
  np.testing.assert_array_equal(views[:, 2:].reshape(8, 5), whole[8:])


@pytest.mark.parametrize(
  'config, image_shape, classes, expected',
  [
    # 8192 x 128 + 128, 128 x 8 + 8.
    ('dropout_mlp', (4, 4, 512), 8, 1_048_704 + 1_032),
    # Norms of 124 and 128 channels, 124 x 128 + 128, 128 x 10 + 10.
    ({'name': 'dropout_mlp', 'norm': 'batch'}, (1, 1, 124), 10, 248 + 256 + 16_000 + 1_290),
    ({'name': 'dropout_mlp', 'depth': 2, 'width': 8}, (1, 1, 4), 3, 40 + 72 + 27),
  ],
)
def test_parameters_of_the_perceptron(shapes, config, image_shape, classes, expected):
  fields = {'name': config} if isinstance(config, str) else config
  assert models.count(shapes(image_shape=image_shape, num_classes=classes, **fields)[0]) == expected


def test_the_perceptron_equals_its_formula_and_reads_vectors(random_variables):
  net = models.build({'name': 'dropout_mlp', 'width': 4, 'norm': 'batch'}, 3, (1, 1, 5))
  x = jax.random.normal(KEY, (6, 5))
  variables = random_variables(net, x)
  statistics = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.5, variables['batch_stats'])
  variables = {**variables, 'batch_stats': statistics}
  logits, features = jax.jit(net.apply)(variables, x)
  wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)

  def normalised(name, x):
    layer, moments = wide['params'][name], wide['batch_stats'][name]
    x = (x - moments['mean']) / np.sqrt(moments['var'] + 1e-5)
    return x * layer['scale'] + layer['bias']

  layer = lambda name, x: x @ wide['params'][name]['kernel'] + wide['params'][name]['bias']
  hidden = np.maximum(layer('linear1', normalised('norm1', np.asarray(x, np.float64))), 0)
  np.testing.assert_allclose(features['block1'], hidden, rtol=1e-4, atol=1e-5)
  expected = layer('classifier', normalised('norm2', hidden))
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
  as_images, _ = net.apply(variables, x[:, None, None])
  np.testing.assert_allclose(as_images, logits, rtol=1e-5, atol=1e-5)


def test_what_is_no_dropout_is_told():
  for rate in (1.0, -0.1):
    with pytest.raises(errors.UserError, match='probability from 0 to below 1; got'):
      models.build({'name': 'dropout_mlp', 'dropout': rate}, 10, (8, 8, 1))
  with pytest.raises(errors.UserError, match="dropout of the model 'dropout_mlp' is 'half'"):
    models.build({'name': 'dropout_mlp', 'dropout': 'half'}, 10, (8, 8, 1))
  net = models.build('dropout_mlp', 10, (2, 2, 1))
  x = jnp.ones((1, 2, 2, 1))
  variables = net.init(KEY, x)
  with pytest.raises(errors.UserError, match='needs random numbers in training.*or set its'):
    net.apply(variables, x, train=True)


def test_a_step_of_training_draws_by_its_key(random_variables):
  images = jax.random.normal(KEY, (8, 2, 2, 1))
  labels = jax.nn.one_hot(jnp.arange(8) % 3, 3)
  batch = {'images': images, 'labels': labels, 'weight': jnp.ones(8)}
  net = models.build({'name': 'dropout_mlp', 'width': 8}, 3, (2, 2, 1))
  assert dropout.is_random(net) and dropout.is_random(heads.attach(net, 'contrastive'))
  assert not dropout.is_random(models.build({'name': 'mlp'}, 3, (2, 2, 1)))
  game = classifier.game(net, optax.identity())
  loss = jax.jit(lambda key: turns.objective(game, game.players)(variables, batch, key).loss)
  variables = random_variables(net, images)
  first, again, other = loss(KEY), loss(KEY), loss(jax.random.key(1))
  assert first == again and first != other

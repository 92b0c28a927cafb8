"""Heads: their formulas in float64, their sizes, and any encoder below them in any training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import data, errors, losses, models
from jaxdistill.data.examples import Examples
from jaxdistill.models import convolution, heads, projection
from jaxdistill.training import classifier, parts
from jaxdistill.training.loop import fit
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run

WIDTHS = {'projector': 7, 'free_projector': 7, 'etf': 7, 'two_layer': 4, 'contrastive': 4}


def headed(name, head, image_shape=(16, 16, 1), classes=5, **fields):
  encoder = models.build({'name': name, **fields}, classes, image_shape)
  width = {'width': WIDTHS[head]} if head in WIDTHS else {}
  return heads.attach(encoder, {'name': head, **width})


def plain(variables):
  return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables['params'])


def unit(rows):
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def layer(params, x):
  return x @ params['kernel'] + params['bias']


def projected(params, f):
  """The projector in float64, layer by layer."""
  x = f
  for layer in ('1', '2'):
    linear, norm = params[f'linear{layer}'], params[f'norm{layer}']
    x = x @ linear['kernel'] + linear['bias']
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    x = x * norm['scale'] + norm['bias']
    x = np.where(x > 0, x, 0.1 * x)
  return x @ params['linear3']['kernel'] + f @ params['shortcut']['kernel']


@pytest.mark.parametrize(
  'dim, parameters',
  [
    # 640 x 1280 + 1280, two layer norms of 2 x 1280, 1280^2 + 1280, 1280 x 512, 640 x 512.
    (640, 3_448_320),
    (512, 2_365_440),
  ],
)
def test_parameters_of_the_projector(dim, parameters):
  f = jax.ShapeDtypeStruct((2, dim), jnp.float32)
  variables = jax.eval_shape(heads.Projector().init, jax.random.key(0), f)
  assert models.count(variables) == parameters
  assert set(variables['params']['linear3']) == set(variables['params']['shortcut']) == {'kernel'}


@pytest.mark.parametrize(
  'head, parameters',
  [
    (heads.LinearHead(10), 65 * 10),
    (heads.CosineHead(10), 64 * 10),
    # 64 x 128 + 128, 2 x 256, 128^2 + 128, 128 x 512, 64 x 512; rows 10 x 512.
    (heads.ProjectorHead(10), 123_648 + 5_120),
    (heads.FreeProjectorHead(10), 123_648 + 5_120),
    (heads.EtfHead(10), 123_648),
    (heads.TwoLayerHead(10), 65 * 64 + 65 * 10),
    (heads.TwoLayerHead(10, width=32), 65 * 32 + 33 * 10),
    (projection.ContrastiveHead(10), 65 * 10 + 65 * 128),
    (projection.ContrastiveHead(10, width=32, hidden=64), 65 * 10 + 65 * 64 + 65 * 32),
  ],
)
def test_parameters_of_heads(head, parameters):
  f = jax.ShapeDtypeStruct((2, 64), jnp.float32)
  assert models.count(jax.eval_shape(head.init, jax.random.key(0), f)) == parameters


@pytest.mark.parametrize('name', heads.HEADS)
def test_heads_equal_their_formulas(random_variables, name):
  head = headed('mlp', name).head
  f = jax.random.normal(jax.random.key(1), (6, 3))
  variables = random_variables(head, f)
  logits, last = head.apply(variables, f)
  params, f = plain(variables), np.asarray(f, np.float64)
  if name == 'linear':
    expected_last = f
    expected = f @ params['classifier']['kernel'] + params['classifier']['bias']
  elif name == 'cosine':
    expected_last = unit(f)
    expected = 16 * unit(f) @ unit(params['rows']).T
  elif name == 'projector':
    expected_last = unit(projected(params['projector'], f))
    expected = 16 * expected_last @ unit(params['rows']).T
  elif name == 'free_projector':
    expected_last = unit(projected(params['projector'], f))
    expected = expected_last @ params['rows'].T
  elif name == 'etf':
    expected_last = unit(projected(params['projector'], f))
    expected = expected_last @ losses.etf(5, 7)
  elif name == 'contrastive':
    expected_last = unit(layer(params['projection']['linear1'], f))
    expected = layer(params['classifier'], f)
  else:
    hidden = f @ params['hidden']['kernel'] + params['hidden']['bias']
    normal = np.vectorize(
      lambda v: np.trapezoid(np.exp(-(np.linspace(-9, v, 4001) ** 2) / 2), np.linspace(-9, v, 4001))
    )
    expected_last = hidden * normal(hidden) / np.sqrt(2 * np.pi)
    expected = expected_last @ params['classifier']['kernel'] + params['classifier']['bias']
  np.testing.assert_allclose(last, expected_last, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
  assert logits.dtype == last.dtype == jnp.float32


def test_a_projection_with_hidden_units_equals_its_formula(random_variables):
  module = projection.Projection(4, hidden=5)
  f = jax.random.normal(jax.random.key(1), (6, 3))
  variables = random_variables(module, f)
  params = plain(variables)
  hidden = np.maximum(layer(params['linear1'], np.asarray(f, np.float64)), 0)
  expected = unit(layer(params['linear2'], hidden))
  np.testing.assert_allclose(module.apply(variables, f), expected, rtol=1e-4, atol=1e-5)
  assert 0 < (hidden == 0).mean() < 1


@pytest.mark.parametrize('name', models.REGISTRY)
def test_every_encoder_takes_a_head_in_place_of_its_classifier(name):
  """Embedding and statistics are the network's own, the classifier is gone."""
  image_shape = (32, 32, 3)
  fewer = {'densenet': {'blocks': (1, 1)}, 'wrn': {'depth': 10}}.get(name, {})
  encoder = models.build({'name': name, **fewer}, 10, image_shape)
  net = heads.attach(encoder, 'cosine', num_classes=7)
  x = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
  form = lambda module: jax.eval_shape(module.init_with_output, jax.random.key(0), x)
  (_, features_alone), alone = form(encoder)
  (logits, features), variables = form(net)
  below = {collection: tree['encoder'] for collection, tree in variables.items()}
  forms = lambda tree: {path: None for path in parts.leaf_paths(tree)}
  kept = {k: v for k, v in alone['params'].items() if k != 'classifier'}
  assert forms(below['params']) == forms(kept)
  assert forms(below.get('batch_stats', {})) == forms(alone.get('batch_stats', {}))
  assert logits.shape == (2, 7) and net.num_classes == 7
  assert {k: v.shape for k, v in features.items() if k != 'projected'} == {
    k: v.shape for k, v in features_alone.items()
  }


def test_the_embedding_is_that_of_the_encoder_alone(random_variables):
  net = headed('resnet', 'projector', width=4, depth=8)
  x = jax.random.normal(jax.random.key(1), (3, 16, 16, 1))
  variables = random_variables(net.encoder, x)
  encoder = {k: v for k, v in variables['params'].items() if k != 'classifier'}
  head = random_variables(net.head, jnp.zeros((1, 16)))['params']
  stats = jax.tree.map(np.abs, variables['batch_stats'])
  with convolution.using('direct'):
    _, alone = jax.jit(net.encoder.apply)({'params': variables['params'], 'batch_stats': stats}, x)
    joined = {'params': {'encoder': encoder, 'head': head}, 'batch_stats': {'encoder': stats}}
    logits, features = jax.jit(net.apply)(joined, x)
  np.testing.assert_array_equal(features['embedding'], alone['embedding'])
  expected, last = net.head.apply({'params': head}, alone['embedding'])
  np.testing.assert_allclose(logits, expected, rtol=1e-6)
  np.testing.assert_allclose(features['projected'], last, rtol=1e-6)


def test_networks_with_a_head_train_side_by_side_and_by_parts():
  train, _ = data.load('digits', image_size=8)
  net = headed('mlp', 'cosine', (8, 8, 1), classes=10, width=8, depth=1)
  recipe = Recipe('plain', batch=16, epochs=1)
  frozen = 'encoder/linear1/bias'
  problem = classifier.setup(
    net, Examples.of(train.take(range(64))), recipe, networks=2, num_steps=3, frozen=(frozen,)
  )
  start = jax.tree.map(np.asarray, problem.state.variables['params'])
  with Run(None, progress=False) as run:
    end = fit(run, 'base', problem).variables['params']
  assert start['head']['rows'].shape == (2, 10, 8)
  moved = jax.tree.map(lambda new, old: bool(np.abs(new - old).max() > 0), end, start)
  assert moved == {'encoder': {'linear1': {'kernel': True, 'bias': False}}, 'head': {'rows': True}}


@pytest.mark.parametrize(
  'head, message',
  [
    ('cosin', "no head 'cosin'; did you mean 'cosine'"),
    ({'name': 'cosine', 'scal': 1}, "field of the head 'cosine' called 'scal'.* mean 'scale'"),
    ({'name': 'cosine', 'scale': 0}, 'scale of the head .*must be above 0'),
    ({'name': 'cosine', 'scale': 'big'}, 'scale of the head .*must be a number'),
    ({'name': 'projector', 'width': 0}, 'width of the head .*at least 1'),
    ({'name': 'etf', 'seed': -1}, 'seed of the head .*at least 0'),
    ({'name': 'etf', 'width': 9}, '10 classes needs features of at least 10 numbers; got 9'),
    ({'width': 9}, 'A head needs a name'),
  ],
)
def test_what_is_no_head_is_told(head, message):
  encoder = models.build({'name': 'mlp', 'width': 4}, 10, (8, 8, 1))
  with pytest.raises(errors.UserError, match=message):
    heads.attach(encoder, head)


def test_images_that_the_encoder_cannot_take_are_told():
  net = headed('convnet', 'cosine', (16, 16, 1))
  with pytest.raises(errors.UserError, match='depth 3 needs images of at least 8x8'):
    net.check((4, 4, 1))


def test_a_head_of_ones_own(monkeypatch):
  monkeypatch.setitem(heads.HEADS, 'mine', heads.CosineHead)
  assert headed('mlp', 'mine', (8, 8, 1)).head.scale == 16

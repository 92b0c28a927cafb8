"""The modules that losses train: parameter shapes as in the public codes, sizes, and their numbers
by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import losses
from jaxdistill.models import adapters


def shapes(module, *inputs):
  """The shapes of a module's parameters by path, and of its output."""

  def form(*arrays):
    return module.init_with_output(jax.random.key(0), *arrays)

  output, variables = jax.eval_shape(form, *(jnp.zeros(shape) for shape in inputs))
  leaves, _ = jax.tree_util.tree_flatten_with_path(variables['params'])
  by_path = {jax.tree_util.keystr(path, simple=True, separator='/'): leaf for path, leaf in leaves}
  return {path: leaf.shape for path, leaf in by_path.items()}, output


NORM = {'norm/bias': (5,), 'norm/scale': (5,)}


@pytest.mark.parametrize(
  'student, teacher, kernel, size',
  [
    ((8, 8), (4, 4), (3, 3, 3, 5), (4, 4)),
    ((4, 4), (8, 8), (4, 4, 3, 5), (8, 8)),
    ((4, 4), (4, 4), (1, 1, 3, 5), (4, 4)),
    ((7, 6), (4, 6), (4, 1, 3, 5), (4, 6)),
    ((2, 2), (8, 8), (1, 1, 3, 5), (2, 2)),
  ],
)
@pytest.mark.parametrize('relu', [True, False])
def test_regressor(student, teacher, kernel, size, relu):
  parameters, output = shapes(adapters.Regressor(5, teacher, relu), (2, *student, 3))
  assert parameters == {'conv/bias': (5,), 'conv/kernel': kernel, **NORM}
  assert output.shape == (2, *size, 5)


def test_a_regressor_ends_with_a_relu_if_asked():
  x = jax.random.normal(jax.random.key(0), (4, 3, 3, 2))
  bare, ended = (
    adapters.Regressor(2, (3, 3), relu).init_with_output(jax.random.key(1), x)[0]
    for relu in (False, True)
  )
  np.testing.assert_array_equal(ended, np.maximum(bare, 0))
  assert (np.asarray(bare) < 0).any()


def test_a_doubling_convolution_is_the_transpose_of_one_of_stride_2():
  """By its definition, as a sum over inputs: y[2 i + k - 1] += w[k] x[i]."""
  rng = np.random.default_rng(0)
  x, kernel = rng.normal(size=(2, 3, 2, 3)), rng.normal(size=(4, 4, 3, 5))
  bias = rng.normal(size=5)
  expected = np.zeros((2, 8, 6, 5))
  for i, j in np.ndindex(3, 2):
    for a, b in np.ndindex(4, 4):
      expected[:, 2 * i + a, 2 * j + b] += x[:, i, j] @ kernel[a, b]
  expected = expected[:, 1:-1, 1:-1] + bias
  params = {'kernel': jax.device_put(np.float32(kernel)), 'bias': jax.device_put(np.float32(bias))}
  y = adapters.DoublingConv(5).apply({'params': params}, jax.device_put(np.float32(x)))
  np.testing.assert_allclose(y, expected, atol=1e-5)


def test_connector_and_projection():
  parameters, output = shapes(adapters.Connector(5), (2, 4, 4, 3))
  assert parameters == {'conv/kernel': (1, 1, 3, 5), **NORM} and output.shape == (2, 4, 4, 5)
  parameters, output = shapes(adapters.Projection(5), (2, 4, 4, 3))
  assert parameters == {'linear/bias': (5,), 'linear/kernel': (3, 5)}
  assert output.shape == (2, 4, 4, 5)


@pytest.mark.parametrize('unit', [False, True])
def test_embedding(unit):
  module = adapters.Embedding(unit=unit)
  parameters, output = shapes(module, (2, 2, 2, 3))
  assert parameters == {'linear/bias': (128,), 'linear/kernel': (12, 128)}
  x = jax.random.normal(jax.random.key(0), (4, 7))
  y, _ = module.init_with_output(jax.random.key(1), x)
  assert np.allclose(np.linalg.norm(y, axis=1), 1, atol=1e-5) == unit and output.shape == (2, 128)


def test_variational_regressor():
  module = adapters.VariationalRegressor(5)
  parameters, output = shapes(module, (2, 4, 4, 3))
  assert parameters == {
    'conv1/kernel': (1, 1, 3, 5),
    'conv2/kernel': (1, 1, 5, 5),
    'conv3/kernel': (1, 1, 5, 5),
    'scale': (5,),
  }
  assert output['mean'].shape == (2, 4, 4, 5) and output['scale'].shape == (2, 5)
  started, _ = module.init_with_output(jax.random.key(0), jnp.ones((2, 1, 1, 3)))
  np.testing.assert_allclose(started['scale'][1], losses.vid_scale(5))


def fusion(**fields):
  return adapters.Fusion(
    ('stage1', 'stage2', 'embedding'), (6, 7, 8), ((8, 8), (4, 4), (1, 1)), **fields
  )


def test_fusion():
  parameters, output = shapes(fusion(), (2, 4, 4, 2), (2, 2, 2, 3), (2, 5))
  stage = lambda name, channels, features: {
    f'{name}_reduced/kernel': (1, 1, channels, 5),
    f'{name}_reduced_norm/bias': (5,),
    f'{name}_reduced_norm/scale': (5,),
    f'{name}_fused/kernel': (3, 3, 5, features),
    f'{name}_fused_norm/bias': (features,),
    f'{name}_fused_norm/scale': (features,),
  }
  attention = {}
  for name in ('stage1', 'stage2'):
    attention |= {f'{name}_attention/bias': (2,), f'{name}_attention/kernel': (1, 1, 10, 2)}
  expected = stage('stage1', 2, 6) | stage('stage2', 3, 7) | stage('embedding', 5, 8) | attention
  assert parameters == expected
  assert {name: maps.shape for name, maps in output.items()} == {
    'stage1': (2, 8, 8, 6),
    'stage2': (2, 4, 4, 7),
    'embedding': (2, 1, 1, 8),
  }
  assert shapes(fusion(width=4), (2, 4, 4, 2), (2, 2, 2, 3), (2, 5))[0][
    'stage1_reduced/kernel'
  ] == (1, 1, 2, 4)


def test_a_stage_of_the_fusion_knows_those_behind_it_alone():
  inputs = [
    jax.random.normal(jax.random.key(seed), shape)
    for seed, shape in enumerate([(2, 4, 4, 2), (2, 2, 2, 3), (2, 5)])
  ]
  module = fusion()
  variables = jax.jit(module.init)(jax.random.key(9), *inputs)

  @jax.jit
  @jax.jacrev
  def slopes(inputs):
    maps = module.apply(variables, *inputs)
    return {name: jnp.square(maps[name]).sum() for name in module.names}

  knows = {}
  for name, gradient in slopes(inputs).items():
    knows[name] = [bool(np.abs(part).max() > 0) for part in gradient]
  assert knows == {
    'stage1': [True, True, True],
    'stage2': [False, True, True],
    'embedding': [False, False, True],
  }


@pytest.mark.parametrize('size', [(4, 6), (3, 5), (2, 3), (1, 2)])
def test_nearest_pixels(size):
  maps = np.random.default_rng(0).normal(size=(2, 2, 3, 4)).astype(np.float32)
  expected = np.zeros((2, *size, 4), np.float32)
  for i, j in np.ndindex(*size):
    expected[:, i, j] = maps[:, i * 2 // size[0], j * 3 // size[1]]
  np.testing.assert_array_equal(adapters.nearest(jnp.asarray(maps), *size), expected)


def test_paraphraser_and_translator():
  parameters, output = shapes(adapters.Paraphraser(2), (1, 4, 4, 5))
  widths = [('encoder', (5, 5, 2, 2)), ('decoder', (2, 2, 5, 5))]
  expected = {}
  for name, channels in widths:
    for layer in (1, 2, 3):
      expected[f'{name}{layer}/kernel'] = (3, 3, channels[layer - 1], channels[layer])
      expected[f'{name}{layer}/bias'] = (channels[layer],)
  assert parameters == expected
  assert output['factor'].shape == (1, 4, 4, 2) and output['output'].shape == (1, 4, 4, 5)
  parameters, output = shapes(adapters.Translator(2), (1, 4, 4, 3))
  expected = {}
  for layer, channels in enumerate([(3, 3), (3, 2), (2, 2)], 1):
    expected[f'conv{layer}/kernel'] = (3, 3, *channels)
    for name in (f'conv{layer}/bias', f'norm{layer}/bias', f'norm{layer}/scale'):
      expected[name] = channels[1:]
  assert parameters == expected and output.shape == (1, 4, 4, 2)

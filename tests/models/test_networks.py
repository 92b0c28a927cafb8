"""Every registered network keeps the same promises, and each has the size its paper states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import errors, models
from jaxdistill.models import convolution
from jaxdistill.models.resnet import BasicBlock

# The smallest of each kind, on images of 16x16.
TINY = {
  'alexnet': {'width': 4},
  'cifar_resnet': {'width': 4, 'depth': 10, 'stem_padding': 0},
  'cifar_vgg': {'width': 4},
  'convnet': {'width': 4, 'depth': 2},
  'densenet': {'width': 2, 'blocks': (1, 1)},
  'dropout_mlp': {'width': 6, 'dropout': 0.0, 'norm': 'batch'},
  'face_convnet': {'width': 4},
  'imagenet_resnet': {'width': 4, 'depth': 10},
  'lenet': {'width': 3},
  'mae_vit': {'width': 8, 'depth': 1},
  'mlp': {'width': 6, 'depth': 1},
  'mobilenetv2': {'width': 4},
  'preact_resnet': {'width': 4, 'depth': 10},
  'resnet': {'width': 4, 'depth': 8},
  'resnet12': {'width': 4},
  'resnet_ap': {'width': 4},
  'shufflenet_v1': {'width': 3},
  'shufflenet_v2': {'width': 3},
  'stem_resnet': {'width': 4, 'stem': 3},
  'torchvision_resnet': {'width': 4, 'depth': 10},
  'vgg': {'width': 4},
  'vit': {'width': 8, 'depth': 1},
  'wrn': {'width': 4, 'depth': 10, 'stem': 3},
}
# So deep that the gradient compiles for long: among the slow tests.
DEEP = {'mobilenetv2', 'shufflenet_v1', 'shufflenet_v2'}


@pytest.mark.parametrize(
  'name',
  [pytest.param(name, marks=pytest.mark.slow if name in DEEP else ()) for name in models.REGISTRY],
)
def test_battery(random_variables, name):
  """Shapes, finite non-zero gradients of every parameter and of the images, float32 throughout,
  pure in its inputs."""
  net = models.build({'name': name, **TINY[name]}, 3, (16, 16, 1))
  x = jax.random.normal(jax.random.key(1), (4, 16, 16, 1))

  variables = random_variables(net, x)

  def loss(params, x):
    (logits, features), _ = net.apply(
      {**variables, 'params': params}, x, train=True, mutable=['batch_stats']
    )
    return jnp.square(logits).sum(), (logits, features)

  with convolution.using('direct'):
    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, (logits, features)), gradients = run(variables['params'], x)
  assert logits.shape == (4, 3) and logits.dtype == jnp.float32
  assert features['embedding'].ndim == 2 and len(features['embedding']) == 4
  assert 'block1' in features and all(len(f) == 4 for f in features.values())
  classifier = variables['params']['classifier']
  assert classifier['kernel'].shape == (features['embedding'].shape[1], 3)
  expected = features['embedding'] @ classifier['kernel'] + classifier['bias'][None]
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
  for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
    assert np.isfinite(gradient).all(), path
    # A bias in front of a normalisation that subtracts the mean has no effect, hence no gradient
    # worth the name.
    assert np.abs(gradient).max() > 1e-6 or ('bias' in str(path) and 'conv' in str(path)), path


@pytest.mark.parametrize('name', models.REGISTRY)
def test_bfloat16_computes_in_bfloat16_and_keeps_float32_outside(shapes, name):
  variables, logits, features = shapes(name, (16, 16, 1), dtype='bfloat16', **TINY[name])
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
  assert logits.dtype == jnp.float32
  assert all(feature.dtype == jnp.bfloat16 for feature in features.values())


@pytest.mark.parametrize('name', models.REGISTRY)
def test_what_the_config_may_say(name):
  known = models.defaults(name)
  assert {'width', 'dtype'} <= set(known)
  with pytest.raises(
    errors.UserError, match=f"no field of the model '{name}' called 'widht'; did you mean 'width'"
  ):
    models.build({'name': name, 'widht': 3}, 10, (16, 16, 1))
  for wrong in (-1, 2.5, 'wide', True):
    with pytest.raises(errors.UserError, match='width of the model .* is a whole number'):
      models.build({'name': name, 'width': wrong}, 10, (16, 16, 1))
  with pytest.raises(errors.UserError, match="'float16'; did you mean 'bfloat16'"):
    models.build({'name': name, 'dtype': 'float16'}, 10, (16, 16, 1))
  assert models.build({'name': name, 'dtype': jnp.bfloat16}, 10, (16, 16, 1)).dtype == 'bfloat16'
  for choice in {'norm', 'shortcut'} & set(known):
    with pytest.raises(
      errors.UserError, match=f"no {choice} of the model '{name}' called 'instanc'"
    ):
      models.build({'name': name, choice: 'instanc'}, 10, (16, 16, 1))


def test_unknown_network():
  with pytest.raises(errors.UserError, match="no model 'convnt'; did you mean 'convnet'"):
    models.build('convnt', 10, (32, 32, 3))
  with pytest.raises(errors.UserError, match='needs a name'):
    models.build({'width': 3}, 10, (32, 32, 3))


@pytest.mark.parametrize(
  'config, image_shape, message',
  [
    (
      {'name': 'convnet', 'depth': 4},
      (8, 8, 1),
      r'depth 4 needs images of at least 16x16 pixels; 8x8 allow .* of 3',
    ),
    ({'name': 'resnet', 'depth': 18}, (32, 32, 3), r'6 k \+ 2 .* got 18'),
    ({'name': 'resnet', 'norm': 'instance'}, (4, 4, 3), r'more than 4 pixels'),
    ({'name': 'resnet_ap'}, (8, 8, 1), r'under instance norm 16'),
    ({'name': 'resnet_ap', 'norm': 'batch'}, (7, 9, 1), r'at least 8x8'),
    (
      {'name': 'resnet_ap', 'depth': 20},
      (32, 32, 3),
      r"no depth of the model 'resnet_ap' called '20'",
    ),
  ],
)
def test_images_and_depths_that_do_not_fit(config, image_shape, message):
  with pytest.raises(errors.UserError, match=message):
    models.build(config, 10, image_shape)


@pytest.mark.parametrize(
  'config, image_shape, parameters, embedding',
  [
    # 3 x (3x3 convolution with bias + norm) + classifier: 3,840 + 147,840 + 147,840 + 20,490.
    ({'name': 'convnet'}, (32, 32, 3), 320_010, 2048),
    ({'name': 'convnet'}, (28, 28, 1), 317_706, 2048),
    ({'name': 'convnet'}, (16, 16, 1), 302_346, 512),
    ({'name': 'convnet', 'depth': 4}, (64, 64, 3), 467_850, 2048),
    ({'name': 'convnet', 'norm': 'batch'}, (32, 32, 3), 320_010, 2048),
    ({'name': 'convnet', 'norm': 'none'}, (32, 32, 3), 319_242, 2048),
    # 3072 x 128 + 128, 128 x 128 + 128, 128 x 10 + 10.
    ({'name': 'mlp'}, (32, 32, 3), 411_146, 128),
    ({'name': 'resnet', 'depth': 20}, (32, 32, 3), 269_722, 64),
    ({'name': 'resnet', 'depth': 32}, (32, 32, 3), 464_154, 64),
    ({'name': 'resnet', 'depth': 56}, (32, 32, 3), 853_018, 64),
    # Shortcut B, the one of CEC's ResNet-20, adds 16 x 32 + 2 x 32 and 32 x 64 + 2 x 64.
    ({'name': 'resnet', 'shortcut': 'B'}, (32, 32, 3), 272_474, 64),
    ({'name': 'resnet', 'width': 32}, (32, 32, 3), 1_073_962, 128),
    ({'name': 'resnet_ap'}, (224, 224, 3), 4_910_922, 512),
    ({'name': 'resnet_ap'}, (128, 128, 3), 4_903_242, 512),
    ({'name': 'resnet_ap'}, (32, 32, 3), 1_228_970, 256),
    ({'name': 'resnet_ap', 'depth': 18}, (224, 224, 3), 11_181_642, 512),
  ],
)
def test_parameters_and_embedding(shapes, config, image_shape, parameters, embedding):
  variables, _, features = shapes(image_shape=image_shape, **config)
  assert models.count(variables) == parameters
  assert features['embedding'].shape == (2, embedding)


def test_map_sides(shapes):
  sides = lambda features: [
    maps.shape[1] for name, maps in features.items() if name.startswith('block')
  ]
  for image_shape in ((28, 28, 1), (32, 32, 3)):
    assert sides(shapes('convnet', image_shape)[2]) == [16, 8, 4]
  assert sides(shapes('convnet', (28, 28, 3))[2]) == [14, 7, 3]
  assert sides(shapes('convnet', (16, 16, 1))[2]) == [8, 4, 2]
  assert sides(shapes('resnet', (32, 32, 3))[2]) == [32, 16, 8]
  assert sides(shapes('resnet', (15, 15, 3))[2]) == [15, 8, 4]
  assert sides(shapes('resnet_ap', (224, 224, 3))[2]) == [56, 28, 14, 7]
  assert sides(shapes('resnet_ap', (128, 128, 3))[2]) == [64, 32, 16, 8]
  assert sides(shapes('resnet_ap', (32, 32, 3))[2]) == [32, 16, 8, 4]


def test_convnet_starts_as_pytorch_does():
  net = models.build({'name': 'convnet', 'width': 64, 'depth': 1}, 10, (4, 4, 3))
  params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))['params']
  for layer, fan_in in (('conv1', 27), ('classifier', 256)):
    for values in params[layer].values():
      assert np.abs(values).max() <= fan_in**-0.5
    kernel = params[layer]['kernel']
    # A uniform sample's standard deviation scatters by about 0.45 / sqrt(n) of its value: four
    # times that.
    assert kernel.std() == pytest.approx((3 * fan_in) ** -0.5, rel=1.8 * kernel.size**-0.5)
    assert params[layer]['bias'].std() > 0
  assert (params['norm1']['scale'] == 1).all() and (params['norm1']['bias'] == 0).all()


def test_residual_networks_start_he_normal_over_the_fan_out():
  block = BasicBlock(64, 2, 'batch', 'A', jnp.float32)
  params = jax.jit(block.init, static_argnums=2)(
    jax.random.key(0), jnp.zeros((1, 4, 4, 32)), False
  )['params']
  assert params['conv1']['kernel'].std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
  assert set(params['conv1']) == {'kernel'}


def test_without_normalisation_convolutions_have_biases(shapes):
  variables, _, _ = shapes('resnet', (16, 16, 1), norm='none', **TINY['resnet'])
  assert 'bias' in variables['params']['stage2_block1']['conv1']


def test_convnet_equals_a_plain_numpy_network(random_variables):
  net = models.build({'name': 'convnet', 'width': 3, 'depth': 2}, 4, (4, 6, 2))
  x = jax.random.normal(jax.random.key(1), (2, 4, 6, 2))
  variables = random_variables(net, x)
  logits, features = jax.jit(net.apply)(variables, x)
  params = jax.tree.map(lambda v: np.asarray(v, np.float64), variables['params'])
  maps = np.asarray(x, np.float64)
  for block in ('1', '2'):
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
    n, h, w, _ = maps.shape
    y = np.zeros((n, h, w, 3))
    for i, j in np.ndindex(h, w):
      y[:, i, j] = np.einsum(
        'nabc,abcd->nd', padded[:, i : i + 3, j : j + 3], params['conv' + block]['kernel']
      )
    y += params['conv' + block]['bias']
    y = (y - y.mean((1, 2), keepdims=True)) / np.sqrt(y.var((1, 2), keepdims=True) + 1e-5)
    y = np.maximum(y * params['norm' + block]['scale'] + params['norm' + block]['bias'], 0)
    y = y[:, : h // 2 * 2, : w // 2 * 2]  # the second block pools maps of 2x3
    maps = y.reshape(n, h // 2, 2, w // 2, 2, 3).mean((2, 4))
    np.testing.assert_allclose(features['block' + block], maps, rtol=1e-3, atol=1e-4)
  expected = maps.reshape(2, -1) @ params['classifier']['kernel'] + params['classifier']['bias']
  np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)


def test_convnet_is_the_same_in_every_form_of_convolution(random_variables):
  # Width 40 over one channel: in patches the first norm takes its statistics from the patches, else
  # from the maps.
  net = models.build({'name': 'convnet', 'width': 40, 'depth': 1}, 4, (6, 6, 1))
  x = jax.random.normal(jax.random.key(1), (2, 6, 6, 1)) + 2
  variables = random_variables(net, x)
  outputs = {}
  for form in convolution.FORMS:
    with convolution.using(form):
      outputs[form] = jax.jit(lambda: net.apply(variables, x)[1]['block1'])()
  np.testing.assert_allclose(outputs['patches'], outputs['direct'], rtol=1e-3, atol=1e-4)
  np.testing.assert_allclose(outputs['mixed'], outputs['direct'], rtol=1e-3, atol=1e-4)


def test_shortcut_a_subsamples_and_pads_with_zeros():
  block = BasicBlock(6, 2, 'none', 'A', jnp.float32)
  x = jax.random.uniform(jax.random.key(0), (1, 4, 4, 2))
  shapes = jax.eval_shape(lambda x: block.init(jax.random.key(1), x, False), x)
  variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
  y = block.apply(variables, x, False)
  np.testing.assert_array_equal(y[..., 2:4], x[:, ::2, ::2])
  assert not y[..., :2].any() and not y[..., 4:].any()


def test_networks_with_batch_norm_record_statistics_only_when_training():
  net = models.build({'name': 'convnet', 'width': 4, 'depth': 1, 'norm': 'batch'}, 3, (4, 4, 1))
  x = jax.random.normal(jax.random.key(1), (8, 4, 4, 1)) * 3 + 1
  variables = net.init(jax.random.key(0), x)
  start = variables['batch_stats']['norm1']
  assert (start['mean'] == 0).all() and (start['var'] == 1).all()
  (_, features), changed = net.apply(variables, x, train=True, mutable=['batch_stats'])
  assert changed['batch_stats']['norm1']['mean'].any()
  _, evaluated = net.apply({'params': variables['params'], **changed}, x)
  assert np.abs(features['block1'] - evaluated['block1']).max() > 0.1


def test_parameter_table_lists_every_leaf_and_the_total(shapes):
  variables, _, _ = shapes('convnet', (32, 32, 3), norm='batch')
  lines = models.parameter_table(variables).splitlines()
  assert lines[0].split() == ['parameter', 'shape', 'number']
  assert lines[-1].split() == ['total', '320,010']
  assert 'conv2/kernel 3 x 3 x 128 x 128 147,456'.split() in [line.split() for line in lines]
  assert len({len(line) for line in lines}) == 1
  assert len(lines) == 2 + len(jax.tree.leaves(variables['params']))


def test_a_network_of_ones_own(monkeypatch):
  monkeypatch.setitem(models.REGISTRY, 'mine', 'jaxdistill.models.mlp:MLP')
  assert models.build({'name': 'mine', 'width': 5}, 2, (4, 4, 1)).width == 5

"""Residual networks of four stages for small images: pre-activation, stems with and without
padding, bottlenecks; sizes counted anew, and logits of plain NumPy networks."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import errors, models
from jaxdistill.models.resnet import BottleneckBlock


def conv(size, inputs, outputs):
  return size**2 * inputs * outputs


def norm(channels):
  return 2 * channels


def preact(blocks, channels, classes=10, ends=()):
  """Stem, blocks whose shortcut is a bare 1x1 convolution, classifier; norms of `ends` channels."""
  total, inputs = conv(3, channels, 64) + sum(map(norm, ends)), 64
  for stage, number in enumerate(blocks):
    outputs = 64 * 2**stage
    for _ in range(number):
      total += norm(inputs) + conv(3, inputs, outputs) + norm(outputs) + conv(3, outputs, outputs)
      total += conv(1, inputs, outputs) if inputs != outputs else 0
      inputs = outputs
  return total + inputs * classes + classes


def bottlenecks(blocks, stem, classes):
  """Stem of so many numbers, blocks of three convolutions, classifier."""
  total, inputs = stem + norm(64), 64
  for stage, number in enumerate(blocks):
    inner = 64 * 2**stage
    outputs = 4 * inner
    for _ in range(number):
      total += conv(1, inputs, inner) + conv(3, inner, inner) + conv(1, inner, outputs)
      total += 2 * norm(inner) + norm(outputs)
      total += conv(1, inputs, outputs) + norm(outputs) if inputs != outputs else 0
      inputs = outputs
  return total + inputs * classes + classes


FIFTY = (3, 4, 6, 3)


@pytest.mark.parametrize(
  'fields, image_shape, num_classes, expected',
  [
    # The counts that users of the public codes know: with and without the last norm.
    ({}, (32, 32, 3), 10, 11_172_170),
    ({'last_norm': False}, (32, 32, 3), 10, 11_171_146),
    ({'last_norm': False, 'stem_norm': True}, (32, 32, 3), 10, 11_171_146 + 128),
    ({'depth': 10, 'shortcut': 'raw'}, (28, 28, 1), 10, preact((1, 1, 1, 1), 1, 10, (512,))),
  ],
)
def test_parameters_of_pre_activation(shapes, fields, image_shape, num_classes, expected):
  variables, _, features = shapes('preact_resnet', image_shape, num_classes, **fields)
  assert models.count(variables) == expected
  assert features['embedding'].shape == (2, 512)


@pytest.mark.parametrize(
  'name, fields, image_shape, num_classes, expected',
  [
    ('cifar_resnet', {}, (32, 32, 3), 10, 11_173_962),
    ('cifar_resnet', {'stem_padding': 0}, (28, 28, 1), 10, 11_173_962 - 2 * 9 * 64),
    ('cifar_resnet', {'depth': 34, 'stem_padding': 0}, (32, 32, 3), 10, 21_282_122),
    ('cifar_resnet', {'depth': 50}, (32, 32, 3), 10, bottlenecks(FIFTY, 27 * 64, 10)),
    # torchvision's resnet50.
    ('torchvision_resnet', {'depth': 50}, (224, 224, 3), 1000, 25_557_032),
  ],
)
def test_parameters_of_stems_and_bottlenecks(
  shapes, name, fields, image_shape, num_classes, expected
):
  variables, _, features = shapes(name, image_shape, num_classes, **fields)
  assert models.count(variables) == expected
  assert features['embedding'].shape == (2, 2048 if fields.get('depth') == 50 else 512)


def test_map_sides_and_names(shapes):
  def sides(name, image_shape, **fields):
    features = shapes(name, image_shape, width=4, depth=10, **fields)[2]
    for stage in range(1, 5):
      assert features[f'stage{stage}_pre'].shape == features[f'block{stage}'].shape
    return [features[name].shape[1] for name in ('stem', *(f'stage{n}' for n in range(1, 5)))]

  assert sides('preact_resnet', (32, 32, 3)) == [32, 32, 16, 8, 4]
  assert sides('preact_resnet', (8, 8, 1), last_norm=False) == [8, 8, 4, 2, 1]
  assert sides('cifar_resnet', (32, 32, 3)) == [32, 32, 16, 8, 4]
  assert sides('cifar_resnet', (32, 32, 3), stem_padding=0) == [30, 30, 15, 8, 4]
  assert sides('cifar_resnet', (28, 28, 1), stem_padding=0) == [26, 26, 13, 7, 4]
  assert sides('cifar_resnet', (224, 224, 3)) == [224, 224, 112, 56, 28]
  assert sides('cifar_resnet', (3, 3, 1), stem_padding=0) == [1, 1, 1, 1, 1]


class Plain:
  """Layers in float64, of weights by their paths."""

  def __init__(self, variables, statistics):
    wide = lambda tree: jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)
    self.params, self.statistics = wide(variables['params']), wide(statistics)

  def conv(self, path, x, stride=1, padding=None):
    kernel = find(self.params, path)['kernel']
    size = len(kernel)
    padding = size // 2 if padding is None else padding
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    y = np.zeros((len(x), *((side - size) // stride + 1 for side in x.shape[1:3]), kernel.shape[3]))
    for i, j in np.ndindex(*y.shape[1:3]):
      window = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
      y[:, i, j] = np.einsum('nabc,abcd->nd', window, kernel)
    return y

  def norm(self, path, x):
    layer, moments = find(self.params, path), find(self.statistics, path)
    x = (x - moments['mean']) / np.sqrt(moments['var'] + 1e-5)
    return x * layer['scale'] + layer['bias']

  def logits(self, x):
    layer = self.params['classifier']
    return x.mean((1, 2)) @ layer['kernel'] + layer['bias']


def find(tree, path):
  for name in path.split('/'):
    tree = tree[name]
  return tree


def relu(x):
  return np.maximum(x, 0)


def applied(random_variables, config, image_shape):
  """(the logits, the features, the same weights for plain layers, the images)."""
  net = models.build(config, 3, image_shape)
  x = jax.random.normal(jax.random.key(1), (2, *image_shape))
  variables = random_variables(net, x)
  statistics = jax.tree.map(lambda leaf: np.abs(leaf) + 0.5, variables['batch_stats'])
  logits, features = jax.jit(net.apply)({**variables, 'batch_stats': statistics}, x)
  return logits, features, Plain(variables, statistics), np.asarray(x, np.float64)


@pytest.mark.parametrize(
  'fields',
  [{}, {'stem_norm': True, 'last_norm': False}, {'shortcut': 'raw'}],
  ids=['adversarial', 'contrastive', 'raw'],
)
def test_pre_activation_equals_a_plain_network(random_variables, fields):
  config = {'name': 'preact_resnet', 'width': 2, 'depth': 10, **fields}
  logits, features, plain, x = applied(random_variables, config, (9, 8, 1))
  x = plain.conv('conv', x)
  x = relu(plain.norm('stem_norm', x)) if 'stem_norm' in fields else x
  for stage in range(1, 5):
    name, stride = f'stage{stage}_block1', 2 if stage > 1 else 1
    normalised = plain.norm(f'{name}/norm1', x)
    if stage > 1:
      np.testing.assert_allclose(
        features[f'stage{stage - 1}_pre'], normalised, rtol=1e-3, atol=1e-4
      )
    active = relu(normalised)
    y = relu(plain.norm(f'{name}/norm2', plain.conv(f'{name}/conv1', active, stride)))
    y = plain.conv(f'{name}/conv2', y)
    read = x if fields.get('shortcut') == 'raw' else active
    x = y + (plain.conv(f'{name}/conv_shortcut', read, stride) if stage > 1 else x)
    np.testing.assert_allclose(features[f'stage{stage}'], x, rtol=1e-3, atol=1e-3)
  x = x if fields.get('last_norm') is False else relu(plain.norm('norm', x))
  np.testing.assert_allclose(features['embedding'], x.mean((1, 2)), rtol=1e-3, atol=1e-3)
  np.testing.assert_allclose(logits, plain.logits(x), rtol=1e-3, atol=1e-3)


def residual(plain, name, x, strides):
  """The sum behind a block of convolutions with these strides, each with a norm."""
  y = x
  for number, stride in enumerate(strides, 1):
    y = plain.conv(f'{name}conv{number}', relu(y) if number > 1 else y, stride)
    y = plain.norm(f'{name}norm{number}', y)
  if 'conv_shortcut' in (find(plain.params, name.rstrip('/')) if name else plain.params):
    x = plain.conv(f'{name}conv_shortcut', x, max(strides))
    x = plain.norm(f'{name}norm_shortcut', x)
  return y + x


def test_a_stem_without_padding_equals_a_plain_network(random_variables):
  config = {'name': 'cifar_resnet', 'width': 1, 'depth': 10, 'stem_padding': 0}
  logits, features, plain, x = applied(random_variables, config, (7, 6, 2))
  x = relu(plain.norm('norm', plain.conv('conv', x, padding=0)))
  for stage in range(1, 5):
    before = residual(plain, f'stage{stage}_block1/', x, (2 if stage > 1 else 1, 1))
    np.testing.assert_allclose(features[f'stage{stage}_pre'], before, rtol=1e-3, atol=1e-3)
    x = relu(before)
  np.testing.assert_allclose(logits, plain.logits(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('channels, stride', [(3, 2), (8, 1)])
def test_a_bottleneck_equals_a_plain_one(random_variables, channels, stride):
  block = BottleneckBlock(2, stride, 'batch', 'B', jnp.float32)
  x = jax.random.normal(jax.random.key(1), (2, 5, 4, channels))
  evaluated = types.SimpleNamespace(init=lambda key, x: block.init(key, x, False))
  variables = random_variables(evaluated, x)
  assert ('conv_shortcut' in variables['params']) == (channels == 3)
  statistics = jax.tree.map(lambda leaf: np.abs(leaf) + 0.5, variables['batch_stats'])
  total = block.apply({**variables, 'batch_stats': statistics}, x, False)
  expected = residual(Plain(variables, statistics), '', np.asarray(x, np.float64), (1, stride, 1))
  np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  'config, image_shape, message',
  [
    ({'name': 'preact_resnet', 'norm': 'instance'}, (8, 8, 3), 'more than 8 pixels a side'),
    ({'name': 'preact_resnet', 'depth': 50}, (32, 32, 3), "no depth of the model .* called '50'"),
    (
      {'name': 'preact_resnet', 'last_norm': 'no'},
      (32, 32, 3),
      "no last_norm of the model 'preact_resnet' called 'no'",
    ),
    ({'name': 'cifar_resnet', 'stem_padding': 2}, (32, 32, 3), 'no stem_padding of the model'),
    ({'name': 'cifar_resnet', 'stem_padding': 0}, (2, 9, 3), 'at least 3x3 pixels; got 2x9'),
    (
      {'name': 'cifar_resnet', 'stem_padding': 0, 'norm': 'instance'},
      (10, 10, 3),
      'more than 10 pixels a side',
    ),
  ],
)
def test_what_does_not_fit_is_told_by_networks_for_small_images(config, image_shape, message):
  with pytest.raises(errors.UserError, match=message):
    models.build(config, 10, image_shape)

"""The networks of the cross-architecture table: sizes counted anew or published, map sides, modes,
refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import config, errors, models
from jaxdistill.condensation import settings
from jaxdistill.models import architectures, convolution
from jaxdistill.synthesis import engine

IMAGES = ((28, 28, 1), (32, 32, 3), (16, 16, 1))


def conv(size, inputs, outputs, bias=True):
  return size**2 * inputs * outputs + (outputs if bias else 0)


def linear(inputs, outputs):
  return inputs * outputs + outputs


def norm(channels):
  return 2 * channels


def alexnet(channels, classes):
  sizes = [(5, channels, 128), (5, 128, 192), (3, 192, 256), (3, 256, 192), (3, 192, 192)]
  return sum(conv(*size) for size in sizes) + linear(192 * 4 * 4, classes)


def lenet(channels, classes):
  return (
    conv(5, channels, 6)
    + conv(5, 6, 16)
    + linear(16 * 5 * 5, 120)
    + linear(120, 84)
    + linear(84, classes)
  )


def vgg(channels, classes, widths):
  total = linear(widths[-1], classes)
  for outputs in widths:
    total += conv(3, channels, outputs) + norm(outputs)
    channels = outputs
  return total


def densenet(image_channels, classes, growth, blocks):
  channels = 2 * growth
  total = conv(3, image_channels, channels, bias=False)
  for stage, layers in enumerate(blocks):
    for _ in range(layers):
      total += norm(channels) + conv(1, channels, 4 * growth, bias=False)
      total += norm(4 * growth) + conv(3, 4 * growth, growth, bias=False)
      channels += growth
    if stage < len(blocks) - 1:
      total += norm(channels) + conv(1, channels, channels // 2, bias=False)
      channels //= 2
  return total + norm(channels) + linear(channels, classes)


def vit(channels, classes, patches, patch, width, depth, hidden):
  block = (
    2 * norm(width)
    + linear(width, 3 * width)
    + linear(width, width)
    + linear(width, hidden)
    + linear(hidden, width)
  )
  return (
    conv(patch, channels, width)
    + patches * width
    + depth * block
    + norm(width)
    + linear(width, classes)
  )


def resnet12(channels, classes, widths=(64, 160, 320, 640)):
  total = linear(widths[-1], classes)
  for outputs in widths:
    total += conv(3, channels, outputs, bias=False) + 2 * conv(3, outputs, outputs, bias=False)
    total += conv(1, channels, outputs, bias=False) + 4 * norm(outputs)
    channels = outputs
  return total


def mae_vit(channels, classes, patch, width, depth):
  """Without learned positions; a class token."""
  return vit(channels, classes, 0, patch, width, depth, 4 * width) + width


VGG11 = (64, 128, 256, 256, 512, 512, 512, 512)
VGG16 = (64, 64, 128, 128, 256, 256, 256, *[512] * 6)


@pytest.mark.parametrize(
  'name, image_shape, expected, embedding',
  [
    ('ConvNet-3', (32, 32, 3), 320_010, 2048),
    ('ConvNet-3-BN', (32, 32, 3), 320_010, 2048),
    # PyTorch's ResNet-18 with a 3x3 stem, as in the public CIFAR repositories.
    ('ResNet-18', (32, 32, 3), 11_173_962, 512),
    # Stem 928, stages 18,560 + 57,728 + 230,144 + 919,040, classifier 2,570, added up on paper.
    ('ResNet-10', (32, 32, 3), 1_228_970, 256),
    # 9,217,728 weights and 2,752 biases of convolutions, 5,504 of normalisations, 5,130 of the
    # classifier.
    ('VGG-11', (32, 32, 3), 9_231_114, 512),
    ('VGG-11', (28, 28, 1), vgg(1, 10, VGG11), 512),
    ('VGG-11', (16, 16, 1), vgg(1, 10, VGG11), 512),
    ('VGG-11', (64, 64, 3), vgg(3, 10, VGG11), 512),
    ('AlexNet', (32, 32, 3), alexnet(3, 10), 3072),
    ('AlexNet', (28, 28, 1), alexnet(1, 10), 3072),
    # DM's table: a scale and a shift for each channel of AlexNet's convolutions; as many for VGG's
    # and ResNet's as instance norm has, or the CIFAR repositories count.
    ('AlexNet-BN', (32, 32, 3), alexnet(3, 10) + 2 * 960, 3072),
    ('AlexNet-BN', (28, 28, 1), alexnet(1, 10) + 2 * 960, 3072),
    ('VGG-11-BN', (32, 32, 3), 9_231_114, 512),
    ('ResNet-18-BN', (32, 32, 3), 11_173_962, 512),
    # The public CIFAR repositories give 1.0 million for growth 12.
    ('DenseNet', (32, 32, 3), densenet(3, 10, 12, (6, 12, 24, 16)), 384),
    ('MLP', (28, 28, 1), linear(784, 128) + linear(128, 128) + linear(128, 10), 128),
    # The classic count of LeNet-5.
    ('LeNet', (28, 28, 1), 61_706, 84),
    ('LeNet', (32, 32, 3), lenet(3, 10), 84),
    ('ViT', (32, 32, 3), vit(3, 10, 64, 4, 192, 6, 768), 192),
    ('ViT', (28, 28, 1), vit(1, 10, 49, 4, 192, 6, 768), 192),
    ('ViT', (16, 16, 1), vit(1, 10, 16, 4, 192, 6, 768), 192),
    ('ViT', (64, 64, 3), vit(3, 10, 64, 8, 192, 6, 768), 192),
  ],
)
def test_parameters_and_embedding_of_the_table(shapes, name, image_shape, expected, embedding):
  variables, logits, features = shapes(image_shape=image_shape, **architectures.find(name))
  assert models.count(variables) == expected
  assert logits.shape == (2, 10) and logits.dtype == jnp.float32
  assert features['embedding'].shape == (2, embedding)


@pytest.mark.parametrize(
  'name, image_shape, expected, embedding',
  [
    # 12.4 million without the classifier.
    ('ResNet-12', (32, 32, 3), 12_424_320 + 6_410, 640),
    ('ResNet-12', (84, 84, 3), resnet12(3, 10), 640),
    ('ResNet-12', (8, 8, 1), resnet12(1, 10), 640),
    # torchvision's resnet18 with ten classes.
    ('ResNet-18', (84, 84, 3), 11_181_642, 512),
    ('ResNet-18-CIFAR', (32, 32, 3), 11_173_962, 512),
    ('ResNet-20', (32, 32, 3), 272_474, 64),
    ('ViT-32', (32, 32, 3), mae_vit(3, 10, 4, 192, 6), 192),
    ('ViT-S16', (224, 224, 3), mae_vit(3, 10, 16, 384, 12), 384),
    ('ViT-B16', (224, 224, 3), mae_vit(3, 10, 16, 768, 12), 768),
  ],
)
def test_parameters_and_embedding_of_the_encoders(shapes, name, image_shape, expected, embedding):
  config = architectures.find(name, architectures.ENCODERS)
  variables, logits, features = shapes(image_shape=image_shape, **config)
  assert models.count(variables) == expected
  assert logits.shape == (2, 10)
  assert features['embedding'].shape == (2, embedding)


@pytest.mark.parametrize(
  'fields, image_shape, num_classes, expected',
  [
    # torchvision's resnet18 and resnet34.
    ({'name': 'imagenet_resnet'}, (224, 224, 3), 1000, 11_689_512),
    ({'name': 'imagenet_resnet', 'depth': 34}, (224, 224, 3), 1000, 21_797_672),
    ({'name': 'torchvision_resnet'}, (84, 84, 3), 1000, 11_689_512),
    ({'name': 'torchvision_resnet', 'depth': 34}, (32, 32, 3), 1000, 21_797_672),
    # timm's vit_small_patch16_224 and vit_base_patch16_224, which learn their positions.
    (
      {'name': 'mae_vit', 'width': 384, 'depth': 12, 'patch': 16, 'positions': 'learned'},
      (224, 224, 3),
      1000,
      22_050_664,
    ),
    (
      {'name': 'mae_vit', 'width': 768, 'depth': 12, 'patch': 16, 'positions': 'learned'},
      (224, 224, 3),
      1000,
      86_567_656,
    ),
    # Table 2 of the DenseNet paper: 0.8 million for depth 100 with growth 12.
    (
      {'name': 'densenet', 'blocks': (16, 16, 16)},
      (32, 32, 3),
      10,
      densenet(3, 10, 12, (16, 16, 16)),
    ),
    ({'name': 'vgg', 'depth': 16, 'norm': 'batch'}, (32, 32, 3), 100, vgg(3, 100, VGG16)),
    ({'name': 'vgg', 'norm': 'none'}, (32, 32, 3), 10, 9_231_114 - 2 * sum(VGG11)),
    (
      {'name': 'alexnet', 'norm': 'batch'},
      (32, 32, 3),
      10,
      alexnet(3, 10) + 2 * (128 + 192 + 256 + 192 + 192),
    ),
    # Width 3, the half LeNet: 3, 8, 60 and 42 units.
    (
      {'name': 'lenet', 'width': 3},
      (32, 32, 1),
      10,
      conv(5, 1, 3) + conv(5, 3, 8) + linear(200, 60) + linear(60, 42) + linear(42, 10),
    ),
    (
      {'name': 'vit', 'width': 512, 'heads': 8, 'expansion': 1},
      (32, 32, 3),
      10,
      vit(3, 10, 64, 4, 512, 6, 512),
    ),
  ],
)
def test_parameters_of_variants(shapes, fields, image_shape, num_classes, expected):
  variables, _, _ = shapes(image_shape=image_shape, num_classes=num_classes, **fields)
  assert models.count(variables) == expected


@pytest.mark.parametrize(
  'name, expected',
  [
    ('ResNet-10', ([28, 14, 7, 4], [32, 16, 8, 4], [16, 8, 4, 2])),
    ('VGG-11', ([16, 8, 4, 2, 1], [16, 8, 4, 2, 1], [8, 4, 2, 2, 1])),
    ('AlexNet', ([16, 8, 4], [16, 8, 4], [8, 4, 2])),
    ('DenseNet', ([28, 14, 7, 3], [32, 16, 8, 4], [16, 8, 4, 2])),
    ('LeNet', ([14, 5], [14, 5], [6, 1])),
    ('ViT', ([7] * 6, [8] * 6, [4] * 6)),
  ],
)
def test_map_sides(shapes, name, expected):
  for image_shape, sides in zip(IMAGES, expected):
    fewer = (
      {'blocks': (1, 1, 1, 1)} if name == 'DenseNet' else {}
    )  # the sides do not depend on them
    features = shapes(image_shape=image_shape, **architectures.find(name) | fewer)[2]
    maps = [block for key, block in features.items() if key.startswith('block') and block.ndim == 4]
    assert [each.shape[1] for each in maps] == [each.shape[2] for each in maps] == sides


def test_stems_and_what_is_left_of_larger_images(shapes):
  side = lambda name, size, block: shapes(name, (size, size, 3), width=4)[2][block].shape[1]
  assert [side('imagenet_resnet', size, 'block1') for size in (64, 128, 224)] == [64, 64, 56]
  assert [side('torchvision_resnet', size, 'block1') for size in (32, 84, 224)] == [8, 21, 56]
  assert [side('resnet12', 32, f'block{stage}') for stage in (1, 2, 3, 4)] == [16, 8, 4, 2]
  assert [side('resnet12', size, 'block4') for size in (2, 8, 15, 84)] == [1, 1, 1, 5]
  assert [side('vgg', size, 'block5') for size in (2, 3, 8, 64)] == [1, 1, 1, 2]


@pytest.mark.parametrize(
  'fields, image_shape, message',
  [
    ({'name': 'vgg'}, (1, 9, 3), 'at least 2x2 pixels; got 1x9'),
    ({'name': 'vgg', 'depth': 12}, (32, 32, 3), "no depth of the model 'vgg' called '12'"),
    (
      {'name': 'alexnet'},
      (7, 32, 3),
      'three times and needs images of at least 8x8 pixels; got 7x32',
    ),
    ({'name': 'alexnet', 'width': 5}, (32, 32, 3), 'an even number.*got 5'),
    ({'name': 'lenet'}, (15, 32, 3), 'at least 16x16 pixels; got 15x32'),
    (
      {'name': 'imagenet_resnet', 'norm': 'instance'},
      (8, 8, 1),
      'more than 8 pixels a side.*got 8x8',
    ),
    ({'name': 'densenet'}, (7, 9, 1), 'of 4 stages needs images of at least 8x8 pixels'),
    ({'name': 'densenet', 'norm': 'instance'}, (8, 8, 1), 'under instance norm 16'),
    (
      {'name': 'densenet', 'blocks': 6},
      (32, 32, 3),
      r'whole numbers such as \(6, 12, 24, 16\); got 6',
    ),
    ({'name': 'densenet', 'blocks': '666'}, (32, 32, 3), "whole numbers such as .*got '666'"),
    ({'name': 'densenet', 'blocks': ()}, (32, 32, 3), r'whole numbers such as .*got \(\)'),
    (
      {'name': 'densenet', 'blocks': (6, 0)},
      (32, 32, 3),
      'blocks .* whole number from 1 up; got 0',
    ),
    ({'name': 'vit', 'width': 10}, (32, 32, 3), 'divisible by its number of heads; got 10 and 4'),
    ({'name': 'vit'}, (31, 31, 3), 'No patch from 4x4 up cuts images of 31x31'),
    ({'name': 'vit', 'patch': 5}, (32, 32, 3), '5x5 do not divide 32x32'),
    ({'name': 'mae_vit', 'patch': 16}, (84, 84, 3), '16x16 do not divide 84x84: set the field'),
    ({'name': 'mae_vit', 'width': 10}, (32, 32, 3), 'divisible by 4 .* got 10 and 1'),
    ({'name': 'mae_vit', 'heads': 5}, (32, 32, 3), 'number of heads; got 192 and 5'),
    (
      {'name': 'mae_vit', 'pool': 'max'},
      (32, 32, 3),
      "no pool of the model 'mae_vit' called 'max'",
    ),
    ({'name': 'resnet12', 'width': 5}, (32, 32, 3), 'an even number; got 5'),
    ({'name': 'resnet12', 'norm': 'instance'}, (15, 15, 3), 'at least 16 pixels .* got 15x15'),
    (
      {'name': 'torchvision_resnet', 'norm': 'instance'},
      (32, 32, 3),
      'more than 32 pixels a side.*got 32x32',
    ),
  ],
)
def test_what_does_not_fit_is_told(fields, image_shape, message):
  with pytest.raises(errors.UserError, match=message):
    models.build(fields, 10, image_shape)


def test_lookup_ignores_case_and_hands_out_copies():
  found = architectures.find('resnet-10')
  assert found == {'name': 'imagenet_resnet', 'depth': 10, 'width': 32}
  found['width'] = 4
  assert architectures.find('RESNET-10')['width'] == 32
  with pytest.raises(errors.UserError, match="no architecture 'vgg11'; did you mean 'VGG-11'"):
    architectures.find('vgg11')
  with pytest.raises(errors.UserError, match="no architecture 'VGG-11'.* Valid: ResNet-12,"):
    architectures.find('VGG-11', architectures.ENCODERS)


def test_matching_refuses_the_networks_that_couple_samples():
  coupling = set()
  for name in architectures.ARCHITECTURES:
    try:
      engine.check_network(models.build(architectures.find(name), 10, (32, 32, 3)))
    except errors.UserError as error:
      assert "use model.norm='instance', 'group' or 'none' in place of 'batch'" in str(error)
      coupling.add(name)
  with_batch_norm = {name for name in architectures.ARCHITECTURES if name.endswith('-BN')}
  assert with_batch_norm == {'ConvNet-3-BN', 'ResNet-18-BN', 'VGG-11-BN', 'AlexNet-BN'}
  assert coupling == with_batch_norm | {'ResNet-10', 'ResNet-18', 'DenseNet'}


def test_batch_norm_in_the_names_of_dms_table_records_statistics(shapes):
  for name, layers in (('AlexNet-BN', 5), ('VGG-11-BN', 8), ('ResNet-18-BN', 20)):
    variables, _, _ = shapes(image_shape=(32, 32, 3), **architectures.find(name))
    assert len(jax.tree.leaves(variables['batch_stats'])) == 2 * layers, name


def test_a_smoke_run_never_enlarges_a_network():
  widths = {
    name: config.load(f'm3d:cifar10,model={name},quick').model.width for name in settings.MODELS
  }
  assert widths.pop('lenet') == 6 and widths.pop('densenet') == 12
  assert set(widths.values()) == {16}
  assert config.load('m3d:cifar10,model=densenet,quick').model.blocks == (1, 1, 1, 1)
  loaded = config.load('m3d:cifar10,model=densenet')
  again = config.from_json(config.to_json(loaded))
  assert models.build(again.model, 10, (32, 32, 3)).blocks == (6, 12, 24, 16)


@pytest.mark.parametrize(
  'fields',
  [
    {'name': 'densenet', 'width': 2, 'blocks': (1,)},
    {'name': 'alexnet', 'width': 2, 'norm': 'batch'},
  ],
)
def test_batch_norm_records_only_when_training(random_variables, fields):
  net = models.build(fields, 3, (8, 8, 1))
  x = jax.random.normal(jax.random.key(1), (8, 8, 8, 1)) * 3 + 1
  variables = random_variables(net, x)
  start = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), variables['batch_stats'])
  variables = {**variables, 'batch_stats': start}
  with convolution.using('direct'):
    (trained, _), changed = jax.jit(lambda v: net.apply(v, x, train=True, mutable=['batch_stats']))(
      variables
    )
    evaluated, _ = jax.jit(net.apply)(variables, x)
  moved = jax.tree.map(
    lambda new, old: float(jnp.abs(new - old).max()), changed['batch_stats'], start
  )
  assert min(jax.tree.leaves(moved)) > 0
  assert np.abs(trained - evaluated).max() > 0.01


def test_a_dense_layer_keeps_all_that_came_before(random_variables):
  net = models.build(
    {'name': 'densenet', 'width': 2, 'blocks': (1, 1), 'norm': 'none'}, 3, (4, 4, 1)
  )
  x = jax.random.normal(jax.random.key(0), (2, 4, 4, 1))
  variables = random_variables(net, x)
  features = jax.jit(net.apply)(variables, x)[1]
  layer = variables['params']['conv']
  stem = convolution.convolve(x, layer['kernel']) + layer['bias'].reshape(1, 1, 1, -1)
  np.testing.assert_allclose(features['block1'][..., :4], stem, rtol=1e-4, atol=1e-5)
  assert features['block1'].shape[-1] == 6


def test_resnet12_equals_a_plain_numpy_network(random_variables):
  net = models.build({'name': 'resnet12', 'width': 2, 'norm': 'batch'}, 3, (16, 18, 1))
  x = jax.random.normal(jax.random.key(1), (2, 16, 18, 1))
  variables = random_variables(net, x)
  stats = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.5, variables['batch_stats'])
  logits, features = jax.jit(net.apply)({**variables, 'batch_stats': stats}, x)
  to_float64 = lambda tree: jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)
  params, stats, maps = to_float64(variables['params']), to_float64(stats), to_float64(x)
  leaky = lambda y: np.maximum(y, 0.1 * y)

  def layer(stage, name, x):
    kernel = params[stage][f'conv{name}']['kernel']
    size = len(kernel)
    padded = np.pad(x, ((0, 0), *[(size // 2, size // 2)] * 2, (0, 0)))
    y = np.zeros((*x.shape[:3], kernel.shape[-1]))
    for i, j in np.ndindex(size, size):
      y += padded[:, i : i + x.shape[1], j : j + x.shape[2]] @ kernel[i, j]
    norm, moments = params[stage][f'norm{name}'], stats[stage][f'norm{name}']
    return (y - moments['mean']) / np.sqrt(moments['var'] + 1e-5) * norm['scale'] + norm['bias']

  for number in range(1, 5):
    stage = f'stage{number}'
    y = leaky(layer(stage, '2', leaky(layer(stage, '1', maps))))
    y = leaky(layer(stage, '3', y) + layer(stage, '_shortcut', maps))
    height, width = y.shape[1] // 2, y.shape[2] // 2
    y = y[:, : 2 * height, : 2 * width].reshape(2, height, 2, width, 2, -1)
    maps = y.max((2, 4))
    np.testing.assert_allclose(features[f'block{number}'], maps, rtol=1e-3, atol=1e-4)
  classifier = params['classifier']
  expected = maps.mean((1, 2)) @ classifier['kernel'] + classifier['bias']
  np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)


def test_vit_equals_a_plain_numpy_network(random_variables):
  net = models.build(
    {'name': 'vit', 'width': 4, 'depth': 1, 'heads': 2, 'expansion': 2, 'patch': 2}, 3, (4, 6, 1)
  )
  x = jax.random.normal(jax.random.key(1), (2, 4, 6, 1))
  variables = random_variables(net, x)
  logits, features = jax.jit(net.apply)(variables, x)
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables['params'])
  apply = lambda layer, x: x @ layer['kernel'] + layer['bias']

  def layer_norm(layer, x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * layer[
      'scale'
    ] + layer['bias']

  pixels = (
    np.asarray(x, np.float64).reshape(2, 2, 2, 3, 2).transpose(0, 1, 3, 2, 4).reshape(2, 6, 4)
  )
  tokens = (
    pixels @ params['patches']['kernel'].reshape(4, 4)
    + params['patches']['bias']
    + params['positions']
  )
  block = params['block1']
  qkv = apply(block['qkv'], layer_norm(block['norm1'], tokens))
  heads = []
  for head in range(2):
    query, key, value = (
      qkv[..., 4 * part + 2 * head : 4 * part + 2 * head + 2] for part in range(3)
    )
    scores = np.exp(query @ key.transpose(0, 2, 1) / np.sqrt(2))
    heads.append(scores / scores.sum(-1, keepdims=True) @ value)
  tokens = tokens + apply(block['out'], np.concatenate(heads, -1))
  hidden = apply(block['expand'], layer_norm(block['norm2'], tokens))
  # GELU by the integral of the normal density.
  normal = np.vectorize(
    lambda v: np.trapezoid(np.exp(-(np.linspace(-12, v, 4001) ** 2) / 2), np.linspace(-12, v, 4001))
  )
  tokens = tokens + apply(block['contract'], hidden * normal(hidden) / np.sqrt(2 * np.pi))
  np.testing.assert_allclose(features['block1'], tokens.reshape(2, 2, 3, 4), rtol=1e-3, atol=1e-4)
  expected = apply(params['classifier'], layer_norm(params['norm'], tokens).mean(1))
  np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)

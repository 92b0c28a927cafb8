"""The networks of the literature on distillation: published sizes, maps, and features by name."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import errors, models
from jaxdistill.models import convolution
from jaxdistill.models.named import NAMED


def conv(size, inputs, outputs, bias=False):
  return size**2 * inputs * outputs + (outputs if bias else 0)


def norm(channels):
  return 2 * channels


def resnet(depth, stem, width, classes=100):
  """Stem, three stages of basic blocks with a 1x1 convolution where the shape changes."""
  total, inputs = conv(3, 3, stem) + norm(stem), stem
  for outputs in (width, 2 * width, 4 * width):
    for _ in range((depth - 2) // 6):
      total += conv(3, inputs, outputs) + conv(3, outputs, outputs) + 2 * norm(outputs)
      total += conv(1, inputs, outputs) + norm(outputs) if inputs != outputs else 0
      inputs = outputs
  return total + inputs * classes + classes


def wrn(depth, factor, classes=100):
  total, inputs = conv(3, 3, 16), 16
  for outputs in (16 * factor, 32 * factor, 64 * factor):
    for _ in range((depth - 4) // 6):
      total += norm(inputs) + conv(3, inputs, outputs) + norm(outputs) + conv(3, outputs, outputs)
      total += conv(1, inputs, outputs) if inputs != outputs else 0
      inputs = outputs
  return total + norm(inputs) + inputs * classes + classes


def vgg(layers, classes=100):
  total, inputs = 0, 3
  for outputs, number in zip((64, 128, 256, 512, 512), layers):
    for _ in range(number):
      total += conv(3, inputs, outputs, bias=True) + norm(outputs)
      inputs = outputs
  return total + inputs * classes + classes


def mobilenetv2(factor, expansion, classes=100):
  """Table 2 of the paper: every convolution with a norm, depthwise ones of 9 numbers a channel."""
  stem = int(32 * factor)
  total, inputs = conv(3, 3, stem) + norm(stem), stem
  rows = [(1, 16, 1), *((expansion, *row) for row in TABLE)]
  for widening, channels, blocks in rows:
    outputs = int(channels * factor)
    for _ in range(blocks):
      inner = widening * inputs
      total += conv(1, inputs, inner) + 9 * inner + conv(1, inner, outputs)
      total += 2 * norm(inner) + norm(outputs)
      inputs = outputs
  return total + conv(1, inputs, 1280) + norm(1280) + 1280 * classes + classes


TABLE = ((24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1))


def shufflenet_v1(classes=100):
  """Units of three groups; the first sees the stem ungrouped, and the first of a stage has its
  input beside it."""
  total, inputs = conv(1, 3, 24) + norm(24), 24
  for channels, blocks in ((240, 4), (480, 8), (960, 4)):
    for block in range(blocks):
      outputs = channels if block else channels - inputs
      inner = outputs // 4
      total += conv(1, inputs, inner) // (1 if inputs == 24 else 3) + 9 * inner
      total += conv(1, inner, outputs) // 3 + 2 * norm(inner) + norm(outputs)
      inputs = channels
  return total + inputs * classes + classes


def shufflenet_v2(classes=100):
  total, inputs = conv(1, 3, 24) + norm(24), 24
  for half, blocks in ((58, 4), (116, 8), (232, 4)):
    right = conv(1, half, half) + 9 * half + 3 * norm(half)
    total += 9 * inputs + norm(inputs) + conv(1, inputs, half) + norm(half)
    total += conv(1, inputs, half) + right
    total += (blocks - 1) * (conv(1, half, half) + right)
    inputs = 2 * half
  return total + conv(1, inputs, 1024) + norm(1024) + 1024 * classes + classes


# Name -> parameters with 100 classes counted anew, the published number of millions, the sides of
# stem and stages at 32 pixels, and the channels there.
PUBLISHED = {
  'resnet8': (resnet(8, 16, 16), None, (32, 32, 16, 8), (16, 16, 32, 64)),
  'resnet20': (resnet(20, 16, 16), 0.278, (32, 32, 16, 8), (16, 16, 32, 64)),
  'resnet32': (resnet(32, 16, 16), 0.473, (32, 32, 16, 8), (16, 16, 32, 64)),
  'resnet56': (resnet(56, 16, 16), 0.862, (32, 32, 16, 8), (16, 16, 32, 64)),
  'resnet110': (resnet(110, 16, 16), 1.737, (32, 32, 16, 8), (16, 16, 32, 64)),
  'resnet8x4': (resnet(8, 32, 64), 1.234, (32, 32, 16, 8), (32, 64, 128, 256)),
  'resnet32x4': (resnet(32, 32, 64), 7.434, (32, 32, 16, 8), (32, 64, 128, 256)),
  'wrn_16_2': (wrn(16, 2), 0.703, (32, 32, 16, 8), (16, 32, 64, 128)),
  'wrn_28_10': (wrn(28, 10), 36.537, (32, 32, 16, 8), (16, 160, 320, 640)),
  'wrn_34_10': (wrn(34, 10), 46.218, (32, 32, 16, 8), (16, 160, 320, 640)),
  'wrn_40_1': (wrn(40, 1), 0.570, (32, 32, 16, 8), (16, 16, 32, 64)),
  'wrn_40_2': (wrn(40, 2), 2.255, (32, 32, 16, 8), (16, 32, 64, 128)),
  'vgg8': (vgg((1, 1, 1, 1, 1)), 3.965, (32, 16, 8, 4, 4), (64, 128, 256, 512, 512)),
  'vgg13': (vgg((2, 2, 2, 2, 2)), 9.462, (32, 16, 8, 4, 4), (64, 128, 256, 512, 512)),
  # The three as the public tables give them, in two digits.
  'mobilenetv2_half': (mobilenetv2(0.5, 6), 0.81, (16, 16, 8, 4, 2), (16, 12, 16, 48, 160)),
  'shufflenet_v1': (shufflenet_v1(), 0.95, (32, 16, 8, 4), (24, 240, 480, 960)),
  'shufflenet_v2': (shufflenet_v2(), 1.36, (32, 16, 8, 4), (24, 116, 232, 464)),
}


# One of every kind for what does not depend on the depth.
KINDS = (
  'resnet8',
  'resnet8x4',
  'wrn_16_2',
  'vgg8',
  'mobilenetv2_half',
  'shufflenet_v1',
  'shufflenet_v2',
)


def forms(name, side, classes=10):
  """(variables, features) as shapes, traced once."""
  net = models.build(name, classes, (side, side, 3))
  x = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
  init = lambda x: net.init_with_output(jax.random.key(0), x)
  (logits, features), variables = jax.eval_shape(init, x)
  assert logits.shape == (2, classes)
  return variables, features


def named_stages(features):
  """The maps of stem and stages, in order."""
  stages = sorted(name for name in features if re.fullmatch(r'stage\d', name))
  return [features[name] for name in ('stem', *stages)]


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_sizes_and_maps(name):
  counted, millions, sides, channels = PUBLISHED[name]
  variables, features = forms(name, 32, classes=100)
  assert models.count(variables) == counted
  digits = 2 if name.startswith(('mobile', 'shuffle')) else 3
  assert millions is None or round(counted / 1e6, digits) == millions
  maps = named_stages(features)
  assert [m.shape for m in maps] == [(2, s, s, c) for s, c in zip(sides, channels)]
  expected = {'stem', 'embedding'}
  for stage in range(1, len(maps)):
    assert features[f'stage{stage}_pre'].shape == maps[stage].shape
    assert features[f'block{stage}'].shape == maps[stage].shape
    expected |= {f'stage{stage}', f'stage{stage}_pre', f'block{stage}'}
  assert set(features) == expected


@pytest.mark.parametrize('name', KINDS)
@pytest.mark.parametrize('side', [16, 8, 4])
def test_small_images(name, side):
  _, features = forms(name, side)
  sides = [m.shape[1] for m in named_stages(features)]
  full = PUBLISHED[name][2]
  assert sides == [max(side * whole // 32, 1) for whole in full]
  last = {'mobilenetv2_half': 1280, 'shufflenet_v2': 1024}
  assert features['embedding'].shape == (2, last.get(name, PUBLISHED[name][3][-1]))


def test_every_short_name_is_of_a_kind_and_takes_the_sizes():
  for name in NAMED:
    for side in (32, 16, 8, 4):
      models.build(name, 10, (side, side, 3))


def test_the_fourth_pool_of_a_vgg_is_for_larger_images():
  side = lambda size: [m.shape[1] for m in named_stages(forms('vgg8', size)[1])]
  assert side(64) == [64, 32, 16, 8, 4] and side(1) == [1, 1, 1, 1, 1]


SMALL = {
  'resnet': {'width': 4, 'depth': 8, 'shortcut': 'B'},
  'stem_resnet': {'width': 4, 'depth': 8, 'stem': 3},
  'imagenet_resnet': {'width': 4, 'depth': 10},
  'cifar_vgg': {'width': 4},
  'shufflenet_v1': {'width': 3},
  'shufflenet_v2': {'width': 3},
}


@pytest.mark.parametrize('name', SMALL)
def test_a_stage_is_the_relu_of_what_is_called_before_it(random_variables, name):
  net = models.build({'name': name, **SMALL[name]}, 3, (8, 8, 3))
  x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
  variables = random_variables(net, x)
  statistics = jax.tree.map(lambda leaf: np.abs(leaf) + 0.5, variables['batch_stats'])
  with convolution.using('direct'):
    _, features = jax.jit(net.apply)({**variables, 'batch_stats': statistics}, x)
  for key in [key for key in features if key.endswith('_pre')]:
    before = np.asarray(features[key])
    np.testing.assert_array_equal(features[key.removesuffix('_pre')], np.maximum(before, 0))
    assert before.min() < 0
  assert float(features['stem'].min()) >= 0


def test_a_wide_network_hands_on_raw_sums_and_the_next_norm_of_them(random_variables):
  net = models.build({'name': 'wrn', 'width': 4, 'depth': 10, 'stem': 3}, 3, (8, 8, 3))
  x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
  variables = random_variables(net, x)
  statistics = jax.tree.map(lambda leaf: np.abs(leaf) + 0.5, variables['batch_stats'])
  with convolution.using('direct'):
    _, features = jax.jit(net.apply)({**variables, 'batch_stats': statistics}, x)
  weights, moments = jax.tree.map(np.asarray, (variables['params'], statistics))
  for stage in (1, 2, 3):
    scale, moment = (
      tree[f'stage{stage + 1}_block1']['norm1'] if stage < 3 else tree['norm']
      for tree in (weights, moments)
    )
    raw = np.asarray(features[f'stage{stage}'], np.float64)
    expected = (raw - moment['mean']) / np.sqrt(moment['var'] + 1e-5) * scale['scale']
    np.testing.assert_allclose(
      features[f'stage{stage}_pre'], expected + scale['bias'], rtol=1e-4, atol=1e-5
    )
    assert raw.min() < 0
  pooled = np.maximum(np.asarray(features['stage3_pre']), 0).mean((1, 2))
  np.testing.assert_allclose(features['embedding'], pooled, rtol=1e-5, atol=1e-6)


def test_linear_bottlenecks_have_no_relu(random_variables):
  net = models.build({'name': 'mobilenetv2', 'width': 4, 'expansion': 2}, 3, (8, 8, 3))
  x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
  # Wider draws: the fixture's would fade away in seventeen blocks.
  variables = jax.tree.map(lambda leaf: 4 * np.asarray(leaf), random_variables(net, x))
  statistics = jax.tree.map(lambda leaf: np.abs(leaf) + 0.5, variables['batch_stats'])
  _, features = jax.jit(net.apply)({**variables, 'batch_stats': statistics}, x)
  assert float(features['stage1'].min()) < 0
  for stage in (1, 2, 3, 4):
    maps = features[f'stage{stage}']
    np.testing.assert_array_equal(maps, features[f'stage{stage}_pre'])
  assert float(features['stem'].min()) >= 0


def test_short_names_take_fields_and_are_told():
  assert models.build({'name': 'resnet20', 'norm': 'group'}, 10, (8, 8, 3)).norm == 'group'
  same = models.build({'name': 'resnet', 'depth': 20, 'shortcut': 'B'}, 10, (8, 8, 3))
  assert repr(models.build('resnet20', 10, (8, 8, 3))) == repr(same)
  assert models.build(dict(models.defaults('wrn_40_1'), name='wrn'), 10, (8, 8, 3)).width == 16
  with pytest.raises(errors.UserError, match="no model 'resnet21'; did you mean 'resnet"):
    models.build('resnet21', 10, (8, 8, 3))
  with pytest.raises(errors.UserError, match="no field of the model 'wrn_40_2' called 'widt'"):
    models.build({'name': 'wrn_40_2', 'widt': 1}, 10, (8, 8, 3))


@pytest.mark.parametrize(
  'config, image_shape, message',
  [
    ({'name': 'wrn', 'depth': 20}, (32, 32, 3), r'depth of a wrn is 6 k \+ 4 .* got 20'),
    ({'name': 'wrn', 'norm': 'instance'}, (4, 4, 3), 'more than 4 pixels a side'),
    ({'name': 'vgg8', 'norm': 'instance'}, (8, 8, 3), 'at least 16 pixels on one side'),
    ({'name': 'cifar_vgg', 'depth': 12}, (32, 32, 3), "no depth of the model 'cifar_vgg' called"),
    ({'name': 'mobilenetv2', 'width': 1}, (32, 32, 3), 'width of a mobilenetv2 is at least 2'),
    ({'name': 'mobilenetv2', 'norm': 'instance'}, (16, 16, 3), 'more than 16 pixels a side'),
    ({'name': 'shufflenet_v1', 'width': 2}, (32, 32, 3), 'width of a shufflenet_v1 is at least 3'),
    ({'name': 'shufflenet_v2', 'norm': 'instance'}, (8, 8, 3), 'more than 8 pixels a side'),
    ({'name': 'stem_resnet', 'depth': 9}, (32, 32, 3), r'6 k \+ 2 .* got 9'),
    (
      {'name': 'resnet20', 'depth': 56},
      (32, 32, 3),
      'has depth 20, and beside its name depth is 56',
    ),
    ({'name': 'wrn_16_2', 'width': 8}, (32, 32, 3), "has width 32, .* and 'wrn' takes any width"),
  ],
)
def test_what_does_not_fit_is_told_by_staged_networks(config, image_shape, message):
  with pytest.raises(errors.UserError, match=message):
    models.build(config, 10, image_shape)


def test_a_network_of_ones_own_may_take_a_short_name(monkeypatch):
  monkeypatch.setitem(models.REGISTRY, 'resnet20', 'jaxdistill.models.mlp:MLP')
  assert type(models.build({'name': 'resnet20', 'width': 5}, 2, (4, 4, 1))).__name__ == 'MLP'


def test_a_network_made_narrow_has_a_name_that_says_so():
  fields = {**models.defaults('wrn_16_2'), 'name': 'wrn_16_2'}
  narrow = models.of_width(fields, 8)
  assert (narrow['name'], narrow['depth'], narrow['width']) == ('wrn', 16, 8)
  assert models.build(narrow, 10, (8, 8, 3)).width == 8
  assert models.of_width(fields, 32) == fields
  assert models.of_width({'name': 'resnet8'}, 4) == {'name': 'resnet8', 'width': 4}

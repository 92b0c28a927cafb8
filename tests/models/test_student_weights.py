"""Checkpoints of the public codes of distillation: by their names, a network here gives the logits
of an independent one."""

import math

import jax
import numpy as np
import pytest
import torch_students

from jaxdistill import errors, models
from jaxdistill.models import safetensors, weights

SMALL = {
  'resnet': ({'depth': 14, 'width': 4, 'shortcut': 'B'}, torch_students.resnet),
  'stem_resnet': ({'depth': 8, 'width': 4, 'stem': 3}, torch_students.resnet),
  'wrn': ({'depth': 16, 'width': 4, 'stem': 4}, torch_students.wrn),
  'cifar_vgg': ({'depth': 13, 'width': 2}, torch_students.vgg),
  'mobilenetv2': ({'width': 4, 'expansion': 2}, torch_students.mobilenet),
  'shufflenet_v1': ({'width': 3}, torch_students.shufflenet_v1),
  'shufflenet_v2': ({'width': 3}, torch_students.shufflenet_v2),
}
FULL = {
  'resnet20': torch_students.resnet,
  'resnet8x4': torch_students.resnet,
  'wrn_16_2': torch_students.wrn,
  'vgg8': torch_students.vgg,
  'mobilenetv2_half': torch_students.mobilenet,
  'shufflenet_v1': torch_students.shufflenet_v1,
  'shufflenet_v2': torch_students.shufflenet_v2,
}


def drawn(network, x):
  """Weights under which maps keep their size from layer to layer."""
  rng = np.random.default_rng(0)
  form = jax.eval_shape(network.init, jax.random.key(0), x)

  def draw(path, leaf):
    name = path[-1].key
    values = rng.normal(size=leaf.shape)
    if name == 'kernel':
      values *= math.sqrt(2 / math.prod(leaf.shape[:-1]))
    elif name in ('scale', 'var'):
      values = rng.uniform(0.5, 1.5, leaf.shape)
    else:
      values *= 0.2
    return np.asarray(values, np.float32)

  return jax.tree_util.tree_map_with_path(draw, form)


def published(path, network, variables):
  """A file as PyTorch would write it, counters of batches among the numbers."""
  weights.save(path, network, variables, names='published')
  state = dict(safetensors.read(path))
  for name in list(state):
    if name.endswith('running_mean'):
      state[name.replace('running_mean', 'num_batches_tracked')] = np.array(7)
  safetensors.write(path, state)
  return state


def images(side):
  return np.random.default_rng(1).normal(size=(2, side, side, 3)).astype(np.float32)


def agree(logits, expected):
  np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize('name', SMALL)
def test_logits_of_published_names(tmp_path, name):
  fields, reference = SMALL[name]
  network = models.build({'name': name, **fields}, 5, (8, 8, 3))
  variables, path = drawn(network, images(8)), tmp_path / 'weights.safetensors'
  state = published(path, network, variables)
  loaded = weights.load(path, network, variables)
  jax.tree.map(np.testing.assert_array_equal, loaded, dict(variables))
  logits, _ = jax.jit(network.apply)(loaded, images(8))
  wide = images(8).astype(np.float64).transpose(0, 3, 1, 2)
  agree(logits, reference(torch_students.WithNumpy(state), wide))


@pytest.mark.parametrize('name', FULL)
def test_full_networks_equal_pytorch(tmp_path, name):
  torch = pytest.importorskip('torch')
  network = models.build(name, 100, (32, 32, 3))
  variables, path = drawn(network, images(32)), tmp_path / 'weights.safetensors'
  state = published(path, network, variables)
  with torch.no_grad():
    layers = torch_students.WithTorch(state)
    expected = FULL[name](layers, images(32).transpose(0, 3, 1, 2)).numpy()
  logits, _ = jax.jit(network.apply)(weights.load(path, network, variables), images(32))
  agree(logits, expected)


@pytest.mark.parametrize(
  'name, missing',
  [
    ('resnet', 'layer2.0.downsample.0.weight'),
    ('wrn', 'block1.layer.0.bn1.weight'),
    ('cifar_vgg', 'block0.3.weight'),
    ('mobilenetv2', 'blocks.2.0.conv.3.weight'),
    ('shufflenet_v1', 'layer3.1.conv2.weight'),
    ('shufflenet_v2', 'conv2.weight'),
  ],
)
def test_a_missing_tensor_is_told(tmp_path, name, missing):
  network = models.build({'name': name, **SMALL[name][0]}, 5, (8, 8, 3))
  variables, path = drawn(network, images(8)), tmp_path / 'weights.safetensors'
  state = published(path, network, variables)
  del state[missing]
  safetensors.write(path, state)
  with pytest.raises(errors.UserError, match=f"holds no '{missing}', which the network needs"):
    weights.load(path, network, variables)


def test_a_foreign_file_is_told(tmp_path):
  """That of a network of another kind, and that of a deeper one."""
  path = tmp_path / 'weights.safetensors'
  fields, _ = SMALL['resnet']
  network = models.build({'name': 'resnet', **fields}, 5, (8, 8, 3))
  variables = drawn(network, images(8))
  published(path, network, variables)
  other = models.build({'name': 'wrn', **SMALL['wrn'][0]}, 5, (8, 8, 3))
  with pytest.raises(errors.UserError, match="holds no 'block1.layer.0.bn1.running_mean'"):
    weights.load(path, other, drawn(other, images(8)))
  shallow = models.build({'name': 'resnet', **fields, 'depth': 8}, 5, (8, 8, 3))
  with pytest.raises(
    errors.UserError, match="architecture: the network has no place for 'layer1.1"
  ):
    weights.load(path, shallow, drawn(shallow, images(8)))
  wide = models.build({'name': 'resnet', **fields, 'width': 8}, 5, (8, 8, 3))
  with pytest.raises(errors.UserError, match="'bn1.running_mean' is 4 where the network has 8"):
    weights.load(path, wide, drawn(wide, images(8)))


def test_a_teachers_depthwise_layers_have_the_published_layout(tmp_path):
  network = models.build({'name': 'mobilenetv2', 'width': 4}, 5, (8, 8, 3))
  state = published(tmp_path / 'w.safetensors', network, drawn(network, images(8)))
  assert state['blocks.1.0.conv.3.weight'].shape == (12, 1, 3, 3)
  assert (
    state['conv1.0.weight'].shape == (4, 3, 3, 3) and state['classifier.0.weight'].shape[0] == 5
  )

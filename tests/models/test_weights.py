"""Weights from files: published ones give the logits of independent networks, own ones come back
bit for bit, foreign ones are told."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_layout

from jaxdistill import errors, models
from jaxdistill.models import heads, mae, safetensors, torch_names, weights

RESNET = {'name': 'torchvision_resnet', 'width': 4, 'depth': 10}
VIT = {'name': 'mae_vit', 'width': 8, 'depth': 2, 'heads': 2, 'patch': 4}
IMAGE = (16, 16, 3)


def build(fields, classes=5, image_shape=IMAGE):
  return models.build(fields, classes, image_shape)


def form(network, *arguments, image_shape=IMAGE):
  return jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((2, *image_shape)), *arguments)


@functools.cache
def images(image_shape=IMAGE):
  return np.random.default_rng(1).normal(size=(2, *image_shape)).astype(np.float32)


def resnet_state():
  return torch_layout.resnet_state(np.random.default_rng(0), 4, (1, 1, 1, 1), 5)


def vit_state(**fields):
  return torch_layout.vit_state(np.random.default_rng(0), 8, 2, 4, (4, 4), **fields)


def in_float64(state):
  return {name: array.astype(np.float64) for name, array in state.items()}


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'weights.safetensors'


# Published weights.


def test_logits_of_a_torchvision_resnet(path):
  network, state = build(RESNET), resnet_state()
  safetensors.write(path, state)
  loaded = weights.load(path, network, form(network))
  logits, _ = jax.jit(network.apply)(loaded, images())
  expected = torch_layout.resnet(in_float64(state), images().astype(np.float64))
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('learned', [False, True])
def test_logits_of_timms_vision_transformer(path, learned):
  fields = {'pool': 'cls', 'positions': 'learned'} if learned else {'pool': 'cls'}
  network, state = build(VIT | fields), vit_state(classes=5, learned=learned)
  safetensors.write(path, state)
  loaded = weights.load(path, network, form(network))
  logits, _ = jax.jit(network.apply)(loaded, images())
  wide = in_float64(state)
  tokens = torch_layout.vit(wide, images().astype(np.float64), heads=2)
  expected = torch_layout.linear(wide, 'head', tokens[:, 0])
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_an_mae_checkpoint_below_a_head(path):
  """The decoder of the checkpoint is left out, the head keeps what it was."""
  state = vit_state() | {'mask_token': np.ones((1, 1, 4)), 'decoder_pred.bias': np.ones(3)}
  safetensors.write(path, state)
  network = heads.attach(build(VIT), 'cosine')
  loaded = weights.load(path, network, form(network))
  assert set(loaded['params']) == {'encoder'}
  rows = jnp.ones((5, 8))
  variables = {'params': loaded['params'] | {'head': {'rows': rows}}}
  _, features = jax.jit(network.apply)(variables, images())
  tokens = torch_layout.vit(in_float64(state), images().astype(np.float64), heads=2)
  np.testing.assert_allclose(features['embedding'], tokens[:, 1:].mean(1), rtol=1e-4, atol=1e-4)
  encoder = build(VIT)
  alone = weights.load(path, encoder, form(encoder), classifier=False)
  np.testing.assert_array_equal(alone['params']['cls'], loaded['params']['encoder']['cls'])


def test_a_classifier_of_other_classes_is_left_out(path):
  safetensors.write(path, resnet_state())
  network = build(RESNET, classes=9)
  loaded = weights.load(path, network, form(network), classifier=False)
  assert 'classifier' not in loaded['params'] and 'stage4_block1' in loaded['params']
  with pytest.raises(errors.UserError, match=r"another architecture: 'fc.bias' is 5 .* 9\."):
    weights.load(path, network, form(network))


@pytest.mark.parametrize('dtype', [jnp.bfloat16, np.float16, np.float64])
def test_weights_of_other_precision_become_float32(path, dtype):
  state = vit_state(classes=5)
  safetensors.write(path, {name: array.astype(dtype) for name, array in state.items()})
  network = build(VIT)
  loaded = weights.load(path, network, form(network))
  assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {np.dtype(np.float32)}
  expected = state['norm.bias'].astype(dtype).astype(np.float32)
  np.testing.assert_array_equal(loaded['params']['norm']['bias'], expected)


@pytest.mark.parametrize('fields', [RESNET, VIT | {'positions': 'learned'}])
def test_published_names_come_back(path, random_variables, fields):
  network = build(fields)
  variables = random_variables(network, images())
  weights.save(path, network, variables, names='published')
  loaded = weights.load(path, network, variables)
  jax.tree.map(np.testing.assert_array_equal, loaded, dict(variables))
  state = resnet_state() if fields is RESNET else vit_state(classes=5, learned=True)
  shapes = {name: array.shape for name, array in safetensors.read(path).items()}
  assert shapes == {n: a.shape for n, a in state.items() if 'num_batches' not in n}


def test_a_resnet_of_bottlenecks_has_torchvisions_names():
  """Those of resnet50: 53 convolutions, as many norms of four arrays, a classifier of two."""
  network = build({'name': 'torchvision_resnet', 'depth': 50}, 1000)
  shapes = {}
  for collection, tree in form(network).items():
    for path, form_of_leaf in jax.tree_util.tree_leaves_with_path(tree):
      leaf = jax.tree_util.keystr(path, simple=True, separator='/')
      shapes[f'{collection}/{leaf}'] = form_of_leaf.shape
  names, _ = torch_names.names(torch_names.find(network), shapes, beside=False)
  assert len(set(names.values())) == 53 + 4 * 53 + 2
  by_name = {names[leaf]: shape for leaf, shape in shapes.items()}
  assert by_name['conv1.weight'] == (7, 7, 3, 64)
  assert by_name['layer1.0.downsample.0.weight'] == (1, 1, 64, 256)
  assert by_name['layer3.5.conv2.weight'] == (3, 3, 256, 256)
  assert by_name['layer4.2.bn3.running_var'] == (2048,)
  assert by_name['fc.weight'] == (2048, 1000)


# With PyTorch itself, in its full sizes.


def torch_resnet(state, x):
  torch = pytest.importorskip('torch')
  f = torch.nn.functional
  state = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}

  def norm(name, x):
    moments = state[f'{name}.running_mean'], state[f'{name}.running_var']
    return f.batch_norm(x, *moments, state[f'{name}.weight'], state[f'{name}.bias'])

  def conv(name, x, stride, padding):
    return f.conv2d(x, state[f'{name}.weight'], stride=stride, padding=padding)

  x = f.relu(norm('bn1', conv('conv1', x, 2, 3)))
  x = f.max_pool2d(x, 3, 2, 1)
  for stage, block in np.ndindex(4, 2):
    name, stride = f'layer{stage + 1}.{block}', 2 if stage and not block else 1
    y = f.relu(norm(f'{name}.bn1', conv(f'{name}.conv1', x, stride, 1)))
    y = norm(f'{name}.bn2', conv(f'{name}.conv2', y, 1, 1))
    if f'{name}.downsample.0.weight' in state:
      x = norm(f'{name}.downsample.1', conv(f'{name}.downsample.0', x, stride, 0))
    x = f.relu(x + y)
  return f.linear(x.mean((2, 3)), state['fc.weight'], state['fc.bias'])


def torch_vit(state, x, depth, heads):
  torch = pytest.importorskip('torch')
  f = torch.nn.functional
  state = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
  linear = lambda name, x: f.linear(x, state[f'{name}.weight'], state[f'{name}.bias'])
  norm = lambda name, x: f.layer_norm(
    x, x.shape[-1:], state[f'{name}.weight'], state[f'{name}.bias'], 1e-6
  )
  kernel = state['patch_embed.proj.weight']
  x = f.conv2d(x, kernel, state['patch_embed.proj.bias'], stride=kernel.shape[-1])
  x = x.flatten(2).transpose(1, 2)
  x = torch.cat([state['cls_token'].expand(len(x), -1, -1), x], 1) + state['pos_embed']
  for name in (f'blocks.{block}' for block in range(depth)):
    n, tokens, width = x.shape
    qkv = linear(f'{name}.attn.qkv', norm(f'{name}.norm1', x))
    query, key, value = qkv.reshape(n, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
    y = f.scaled_dot_product_attention(query, key, value).transpose(1, 2)
    x = x + linear(f'{name}.attn.proj', y.reshape(n, tokens, width))
    y = f.gelu(linear(f'{name}.mlp.fc1', norm(f'{name}.norm2', x)))
    x = x + linear(f'{name}.mlp.fc2', y)
  return linear('head', norm('norm', x)[:, 0])


@pytest.mark.parametrize('size', [84, pytest.param(224, marks=pytest.mark.slow)])
def test_resnet18_equals_pytorch(path, size):
  torch = pytest.importorskip('torch')
  state = torch_layout.resnet_state(np.random.default_rng(0), 64, (2, 2, 2, 2), 1000)
  shape = (size, size, 3)
  x = images(shape)
  with torch.no_grad():
    expected = torch_resnet(state, torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
  safetensors.write(path, state)
  network = build({'name': 'torchvision_resnet'}, 1000, shape)
  loaded = weights.load(path, network, form(network, image_shape=shape))
  logits, _ = jax.jit(network.apply)(loaded, x)
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('width', [384, pytest.param(768, marks=pytest.mark.slow)])
def test_vision_transformers_equal_pytorch(path, width):
  torch = pytest.importorskip('torch')
  state = torch_layout.vit_state(
    np.random.default_rng(0), width, 12, 16, (14, 14), classes=1000, learned=width == 384
  )
  shape = (224, 224, 3)
  x = images(shape)[:1]
  with torch.no_grad():
    nchw = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    expected = torch_vit(state, nchw, 12, width // 64).numpy()
  safetensors.write(path, state)
  fields = {'name': 'mae_vit', 'width': width, 'depth': 12, 'patch': 16, 'pool': 'cls'}
  fields['positions'] = 'learned' if width == 384 else 'fixed'
  network = build(fields, 1000, shape)
  loaded = weights.load(path, network, form(network, image_shape=shape))
  logits, _ = jax.jit(network.apply)(loaded, x)
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


# Own names.


def test_own_weights_come_back_bit_for_bit(path, random_variables):
  network = build({'name': 'resnet12', 'width': 2})
  variables = random_variables(network, images())
  weights.save(path, network, variables)
  loaded = weights.load(path, network, form(network))
  assert set(loaded) == {'params', 'batch_stats'}
  jax.tree.map(np.testing.assert_array_equal, loaded, dict(variables))
  alone = weights.load(path, network, form(network), classifier=False)
  assert 'classifier' not in alone['params'] and 'classifier' in loaded['params']


def test_an_encoder_goes_from_one_network_to_another(path, random_variables):
  encoder = build(VIT)
  masking = mae.random_masking(jax.random.key(0), 2, 16)
  autoencoder = mae.MaskedAutoencoder(encoder, mae.Decoder(6, width=8, depth=1))
  headed = heads.attach(encoder, 'two_layer')
  variables = random_variables(autoencoder, images(), masking)
  weights.save(path, autoencoder, variables)
  pretrained = variables['params']['encoder']
  equal = lambda one, other: jax.tree.map(np.testing.assert_array_equal, one, dict(other))
  loaded = weights.load(path, autoencoder, form(autoencoder, masking))
  equal(loaded['params'], variables['params'])
  # Below a head, and alone: the decoder is left behind.
  with_head = weights.load(path, headed, form(headed))
  assert set(with_head['params']) == {'encoder'}
  equal(with_head['params']['encoder'], pretrained)
  alone = weights.load(path, encoder, form(encoder), classifier=False)
  equal(alone['params'], pretrained)
  # And from an encoder alone, whose classifier is left behind.
  weights.save(path, encoder, random_variables(encoder, images()))
  with_head = weights.load(path, headed, form(headed))
  assert 'classifier' not in with_head['params']['encoder']
  # With its own head, if wanted.
  complete = random_variables(headed, images())
  weights.save(path, headed, complete)
  equal(weights.load(path, headed, form(headed))['params'], complete['params'])
  assert set(weights.load(path, headed, form(headed), classifier=False)['params']) == {'encoder'}


# What is told.


@pytest.mark.parametrize(
  'fields, change, message',
  [
    (RESNET, {'layer2.0.conv1.weight': None}, "holds no 'layer2.0.conv1.weight', which the net"),
    (RESNET, {'layer1.1.conv1.weight': np.ones(1)}, "no place for 'layer1.1.conv1.weight'"),
    (
      RESNET,
      {'conv1.weight': np.ones((4, 3, 3, 3))},
      "of another architecture: 'conv1.weight' is 4x3x3x3 where the network has 4x3x7x7",
    ),
    (RESNET, {'fc.bias': np.full(5, np.nan)}, "numbers in 'fc.bias' that are not finite"),
    (RESNET, {'fc.bias': None}, "no 'fc.bias'.* Pass classifier=False to leave the classifier out"),
    (RESNET | {'norm': 'group'}, {}, "no place for 'bn1.running_mean'"),
    (RESNET | {'depth': 18}, {}, "holds no 'layer1.1.bn1.running_mean'"),
    (
      {'name': 'imagenet_resnet', 'width': 4, 'depth': 10},
      {},
      "'conv1.weight' is 4x3x7x7 .* 4x3x3x3",
    ),
    (VIT, {}, "holds no 'blocks.0.mlp.fc2.bias', which the network needs, but 'bn1.bias'"),
    ({'name': 'mlp'}, {}, 'No published names are known for a MLP'),
  ],
)
def test_foreign_weights_are_told(path, fields, change, message):
  state = resnet_state() | change
  safetensors.write(path, {name: array for name, array in state.items() if array is not None})
  network = build(fields)
  with pytest.raises(errors.UserError, match=message) as told:
    weights.load(path, network, form(network))
  assert str(path) in str(told.value)


@pytest.mark.parametrize(
  'fields, state, message',
  [
    (VIT, {'learned': True}, "are learned ones: build the network with positions='learned'"),
    (VIT | {'width': 12}, {}, "'pos_embed' is 1x17x8 where a token has 12 numbers"),
    (VIT | {'positions': 'learned'}, {'grid': (2, 2)}, "'pos_embed' is 1x5x8 .* 1x17x8"),
    (VIT | {'depth': 1}, {}, "no place for 'blocks.1"),
  ],
)
def test_foreign_transformers_are_told(path, fields, state, message):
  arguments = {'width': 8, 'depth': 2, 'patch': 4, 'grid': (4, 4), 'classes': 5} | state
  safetensors.write(path, torch_layout.vit_state(np.random.default_rng(0), **arguments))
  network = build(fields)
  with pytest.raises(errors.UserError, match=message):
    weights.load(path, network, form(network))


def test_fixed_positions_of_other_images_do_no_harm(path):
  safetensors.write(path, torch_layout.vit_state(np.random.default_rng(0), 8, 2, 4, (2, 2), 5))
  network = build(VIT)
  assert 'positions' not in weights.load(path, network, form(network))['params']


def test_own_weights_of_another_network_are_told(path, random_variables):
  small, large = (build({'name': 'mlp', 'width': width}) for width in (3, 4))
  weights.save(path, small, random_variables(small, images()))
  with pytest.raises(errors.UserError, match="'params/classifier/kernel' is 3x5 where .* 4x5"):
    weights.load(path, large, form(large))
  deeper = build({'name': 'mlp', 'width': 3, 'depth': 3})
  with pytest.raises(errors.UserError, match="holds no 'params/linear3/bias'"):
    weights.load(path, deeper, form(deeper))
  flatter = build({'name': 'mlp', 'width': 3, 'depth': 1})
  with pytest.raises(errors.UserError, match="no place for 'params/linear2/bias'"):
    weights.load(path, flatter, form(flatter))


def test_what_cannot_be_saved_is_told(path, tmp_path):
  network = build({'name': 'mlp', 'width': 3})
  with pytest.raises(errors.UserError, match="no kind of names 'timm'"):
    weights.save(path, network, {}, names='timm')
  with pytest.raises(errors.UserError, match='No published names are known for a MLP'):
    weights.save(path, network, {}, names='published')
  with pytest.raises(errors.UserError, match='cannot be written'):
    weights.save(tmp_path / 'nowhere' / 'w.safetensors', network, {})


# The file format.


def test_a_file_written_by_hand_is_read(path):
  header = {
    '__metadata__': {'format': 'pt'},
    'b': {'dtype': 'I64', 'shape': [], 'data_offsets': [8, 16]},
    'a': {'dtype': 'F32', 'shape': [2, 1], 'data_offsets': [0, 8]},
    'empty': {'dtype': 'F16', 'shape': [0, 3], 'data_offsets': [16, 16]},
  }
  text = json.dumps(header).encode()
  numbers = np.array([1.5, -2], '<f4').tobytes() + np.array(7, '<i8').tobytes()
  path.write_bytes(len(text).to_bytes(8, 'little') + text + numbers)
  arrays = safetensors.read(path)
  assert sorted(arrays) == ['a', 'b', 'empty'] and arrays['empty'].shape == (0, 3)
  assert arrays['a'].tolist() == [[1.5], [-2]] and arrays['b'] == 7 and arrays['b'].shape == ()


def test_what_is_written_is_read(path):
  arrays = {
    'a': np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not contiguous
    'b/c': np.array(True),
    'd': jnp.arange(3, dtype=jnp.bfloat16),
    'e': np.zeros((0, 2), np.int32),
  }
  safetensors.write(path, arrays)
  for name, array in safetensors.read(path).items():
    assert array.dtype == arrays[name].dtype and array.shape == arrays[name].shape
    np.testing.assert_array_equal(array, np.asarray(arrays[name]))
  length = int.from_bytes(path.read_bytes()[:8], 'little')
  assert length % 8 == 0


def header(**entry):
  text = json.dumps({'a': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]} | entry}).encode()
  return len(text).to_bytes(8, 'little') + text


@pytest.mark.parametrize(
  'content',
  [
    b'',
    b'PK\x03\x04 a checkpoint of PyTorch',
    (2**40).to_bytes(8, 'little') + b'{}',
    header(),
    header() + bytes(7),
    header(shape=[3]) + bytes(8),
    header(data_offsets=[8, 0]) + bytes(8),
    header(data_offsets=[-8, 0]) + bytes(8),
    header(data_offsets='ab') + bytes(8),
    header(shape=[-1, -2]) + bytes(8),
    (2).to_bytes(8, 'little') + b'[]',
    (4).to_bytes(8, 'little') + b'\xff\xfe{}',
  ],
)
def test_damaged_files_are_told(path, content):
  path.write_bytes(content)
  with pytest.raises(errors.UserError, match='is no whole safetensors file'):
    safetensors.read(path)


def test_numbers_of_a_type_that_is_not_read_are_told(path):
  path.write_bytes(header(dtype='F8_E4M3') + bytes(8))
  with pytest.raises(errors.UserError, match="holds 'a' as F8_E4M3, a type that is not read; wr"):
    safetensors.read(path)
  path.write_bytes(header(dtype='U32') + bytes([1, 0, 0, 0, 2, 0, 0, 0]))
  assert safetensors.read(path)['a'].tolist() == [1, 2]


def test_missing_files_are_told(tmp_path):
  with pytest.raises(errors.UserError, match=r'weights .*nowhere\S+ cannot be read \(No such file'):
    safetensors.read(tmp_path / 'nowhere.safetensors')
  with pytest.raises(errors.UserError, match=r'cannot be read \(Is a directory'):
    safetensors.read(tmp_path)

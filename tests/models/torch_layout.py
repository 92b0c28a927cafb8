"""Networks in float64 NumPy, from weights by the names and in the layout of torchvision and timm:
what published weights mean, written down a second time."""

import math

import numpy as np


def linear(state, name, x):
  return x @ state[f'{name}.weight'].T + state[f'{name}.bias']


def layer_norm(state, name, x, epsilon=1e-6):
  deviation = x - x.mean(-1, keepdims=True)
  x = deviation / np.sqrt((deviation**2).mean(-1, keepdims=True) + epsilon)
  return x * state[f'{name}.weight'] + state[f'{name}.bias']


def gelu(x):
  return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def attention(state, name, x, heads):
  n, tokens, width = x.shape
  size = width // heads
  qkv = linear(state, f'{name}.qkv', x)
  outputs = []
  for head in range(heads):
    query, key, value = (qkv[..., part * width + head * size :][..., :size] for part in range(3))
    scores = np.einsum('nqd,nkd->nqk', query, key) / math.sqrt(size)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    outputs.append(scores / scores.sum(-1, keepdims=True) @ value)
  return linear(state, f'{name}.proj', np.concatenate(outputs, -1))


def blocks(state, prefix, x, heads):
  depth = 0
  while f'{prefix}.{depth}.norm1.weight' in state:
    name = f'{prefix}.{depth}'
    x = x + attention(state, f'{name}.attn', layer_norm(state, f'{name}.norm1', x), heads)
    hidden = gelu(linear(state, f'{name}.mlp.fc1', layer_norm(state, f'{name}.norm2', x)))
    x = x + linear(state, f'{name}.mlp.fc2', hidden)
    depth += 1
  return x


def patch_tokens(state, images):
  """Tokens of NHWC images, patch by patch, without positions."""
  kernel = state['patch_embed.proj.weight']
  patch = kernel.shape[-1]
  rows, columns = images.shape[1] // patch, images.shape[2] // patch
  tokens = []
  for a, b in np.ndindex(rows, columns):
    part = images[:, a * patch : (a + 1) * patch, b * patch : (b + 1) * patch]
    tokens.append(np.einsum('nhwc,dchw->nd', part, kernel))
  return np.stack(tokens, 1) + state['patch_embed.proj.bias']


def vit(state, images, heads, keep=None):
  """Tokens behind the last norm, the class token first."""
  tokens = patch_tokens(state, images) + state['pos_embed'][:, 1:]
  if keep is not None:
    tokens = np.stack([row[positions] for row, positions in zip(tokens, keep)])
  cls = np.repeat(state['cls_token'] + state['pos_embed'][:, :1], len(tokens), 0)
  x = blocks(state, 'blocks', np.concatenate([cls, tokens], 1), heads)
  return layer_norm(state, 'norm', x)


def decoder(state, tokens, keep, heads):
  """What MAE's decoder makes of tokens with the class token first, at every position."""
  embedded = linear(state, 'decoder_embed', tokens)
  length = state['decoder_pos_embed'].shape[1] - 1
  x = np.tile(state['mask_token'], (len(tokens), length, 1))
  for row, positions in enumerate(keep):
    x[row, positions] = embedded[row, 1:]
  x = np.concatenate([embedded[:, :1], x], 1) + state['decoder_pos_embed']
  x = layer_norm(state, 'decoder_norm', blocks(state, 'decoder_blocks', x, heads))
  return linear(state, 'decoder_pred', x)[:, 1:]


def positions(grid, width):
  """MAE's fixed positions with a row of zeros first, number by number: [1, 1 + patches, width]."""
  quarter = width // 4
  table = np.zeros((1, 1 + grid[0] * grid[1], width))
  for row, column in np.ndindex(*grid):
    for i in range(quarter):
      frequency = 1 / 10000 ** (i / quarter)
      numbers = table[0, 1 + row * grid[1] + column]
      numbers[i] = math.sin(column * frequency)
      numbers[quarter + i] = math.cos(column * frequency)
      numbers[2 * quarter + i] = math.sin(row * frequency)
      numbers[3 * quarter + i] = math.cos(row * frequency)
  return table


def conv(state, name, x, stride):
  kernel = state[f'{name}.weight']
  size = kernel.shape[-1]
  x = np.pad(x, ((0, 0), *[(size // 2, size // 2)] * 2, (0, 0)))
  sides = [(side - size) // stride + 1 for side in x.shape[1:3]]
  y = np.zeros((len(x), *sides, len(kernel)))
  for i, j in np.ndindex(*sides):
    part = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
    y[:, i, j] = np.einsum('nhwc,dchw->nd', part, kernel)
  return y


def batch_norm(state, name, x):
  scale = state[f'{name}.weight'] / np.sqrt(state[f'{name}.running_var'] + 1e-5)
  return (x - state[f'{name}.running_mean']) * scale + state[f'{name}.bias']


def max_pool(x):
  """3x3 by 2 with one pixel of padding."""
  x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
  sides = [(side - 3) // 2 + 1 for side in x.shape[1:3]]
  y = np.zeros((len(x), *sides, x.shape[-1]))
  for i, j in np.ndindex(*sides):
    y[:, i, j] = x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2))
  return y


def resnet(state, images):
  """Logits of a torchvision ResNet of basic blocks, the stem of 224 pixels."""
  relu = lambda x: np.maximum(x, 0)
  x = max_pool(relu(batch_norm(state, 'bn1', conv(state, 'conv1', images, 2))))
  for stage in range(1, 5):
    block = 0
    while f'layer{stage}.{block}.conv1.weight' in state:
      name, stride = f'layer{stage}.{block}', 2 if stage > 1 and not block else 1
      y = relu(batch_norm(state, f'{name}.bn1', conv(state, f'{name}.conv1', x, stride)))
      y = batch_norm(state, f'{name}.bn2', conv(state, f'{name}.conv2', y, 1))
      if f'{name}.downsample.0.weight' in state:
        x = conv(state, f'{name}.downsample.0', x, stride)
        x = batch_norm(state, f'{name}.downsample.1', x)
      x = relu(x + y)
      block += 1
  return linear(state, 'fc', x.mean((1, 2)))


def resnet_state(rng, width, blocks, classes, channels=3):
  """Random weights of a torchvision ResNet of basic blocks: its names, its shapes."""
  state = _conv_state(rng, 'conv1', channels, width, 7) | _batch_norm_state(rng, 'bn1', width)
  inputs = width
  for stage, number in enumerate(blocks, 1):
    outputs = width * 2 ** (stage - 1)
    for block in range(number):
      name = f'layer{stage}.{block}'
      state |= _conv_state(rng, f'{name}.conv1', inputs, outputs, 3)
      state |= _batch_norm_state(rng, f'{name}.bn1', outputs)
      state |= _conv_state(rng, f'{name}.conv2', outputs, outputs, 3)
      state |= _batch_norm_state(rng, f'{name}.bn2', outputs)
      if inputs != outputs:
        state |= _conv_state(rng, f'{name}.downsample.0', inputs, outputs, 1)
        state |= _batch_norm_state(rng, f'{name}.downsample.1', outputs)
      inputs = outputs
  return _single(state | _linear_state(rng, 'fc', inputs, classes))


def vit_state(rng, width, depth, patch, grid, classes=0, channels=3, learned=False):
  """Random weights of timm's vision transformer; `classes=0`: without a classifier, as MAE's."""
  state = {
    'cls_token': rng.normal(size=(1, 1, width)),
    'pos_embed': positions(grid, width),
    'patch_embed.proj.weight': rng.normal(size=(width, channels, patch, patch)) / patch,
    'patch_embed.proj.bias': rng.normal(size=width) * 0.1,
  }
  if learned:
    state['pos_embed'] = rng.normal(size=state['pos_embed'].shape)
  state |= _blocks_state(rng, 'blocks', width, depth) | _layer_norm_state(rng, 'norm', width)
  return _single(state | (_linear_state(rng, 'head', width, classes) if classes else {}))


def _blocks_state(rng, prefix, width, depth):
  state = {}
  for name in (f'{prefix}.{block}' for block in range(depth)):
    state |= _layer_norm_state(rng, f'{name}.norm1', width)
    state |= _linear_state(rng, f'{name}.attn.qkv', width, 3 * width)
    state |= _linear_state(rng, f'{name}.attn.proj', width, width)
    state |= _layer_norm_state(rng, f'{name}.norm2', width)
    state |= _linear_state(rng, f'{name}.mlp.fc1', width, 4 * width)
    state |= _linear_state(rng, f'{name}.mlp.fc2', 4 * width, width)
  return state


def _single(state):
  return {name: np.asarray(array, np.float32) for name, array in state.items()}


def _linear_state(rng, name, inputs, outputs):
  weight = rng.normal(size=(outputs, inputs)) / math.sqrt(inputs)
  return {f'{name}.weight': weight, f'{name}.bias': rng.normal(size=outputs) * 0.1}


def _conv_state(rng, name, inputs, outputs, size):
  scale = math.sqrt(2 / (inputs * size**2))
  return {f'{name}.weight': rng.normal(size=(outputs, inputs, size, size)) * scale}


def _layer_norm_state(rng, name, width):
  return {f'{name}.weight': rng.uniform(0.5, 1.5, width), f'{name}.bias': rng.normal(size=width)}


def _batch_norm_state(rng, name, width):
  return {
    **_layer_norm_state(rng, name, width),
    f'{name}.running_mean': rng.normal(size=width) * 0.1,
    f'{name}.running_var': rng.uniform(0.5, 1.5, width),
    f'{name}.num_batches_tracked': np.array(7),
  }

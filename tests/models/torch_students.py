"""The networks of the public codes of distillation as functions of their state_dicts: PyTorch's
names, layouts and order of layers, in NumPy's float64 or with PyTorch itself."""

import numpy as np

MOBILENET_STRIDES = (1, 1, 2, 2, 1, 2, 1)


class WithNumpy:
  """Layers on NCHW maps in float64."""

  def __init__(self, state):
    self.state = {name: np.asarray(array, np.float64) for name, array in state.items()}

  def conv(self, name, x, stride=1, groups=1):
    kernel = self.state[f'{name}.weight']
    pad, size = kernel.shape[-1] // 2, kernel.shape[-1]
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    sides = [(side - size) // stride + 1 for side in x.shape[2:]]
    y = np.zeros((len(x), len(kernel), *sides))
    parts, kernels = np.split(x, groups, 1), np.split(kernel, groups)
    for i, j in np.ndindex(*sides):
      a, b = i * stride, j * stride
      windows = [part[:, :, a : a + size, b : b + size] for part in parts]
      products = [np.einsum('nchw,dchw->nd', *pair) for pair in zip(windows, kernels)]
      y[:, :, i, j] = np.concatenate(products, 1)
    bias = self.state.get(f'{name}.bias')
    return y if bias is None else y + bias[:, None, None]

  def norm(self, name, x):
    mean, var = self.state[f'{name}.running_mean'], self.state[f'{name}.running_var']
    scale = self.state[f'{name}.weight'] / np.sqrt(var + 1e-5)
    shift = self.state[f'{name}.bias'] - mean * scale
    return x * scale[:, None, None] + shift[:, None, None]

  def linear(self, name, x):
    return x @ self.state[f'{name}.weight'].T + self.state[f'{name}.bias']

  def relu(self, x):
    return np.maximum(x, 0)

  def pool(self, x):
    height, width = (side // 2 for side in x.shape[2:])
    return x.reshape(*x.shape[:2], height, 2, width, 2).max((3, 5))

  def average(self, x):
    """3x3 by 2, the padding counts."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    sides = [(side - 3) // 2 + 1 for side in x.shape[2:]]
    y = np.zeros((*x.shape[:2], *sides))
    for i, j in np.ndindex(*sides):
      y[:, :, i, j] = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].sum((2, 3)) / 9
    return y

  def cat(self, maps):
    return np.concatenate(maps, 1)

  def shuffle(self, x, groups):
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h, w).transpose(0, 2, 1, 3, 4).reshape(x.shape)

  def numpy(self, x):
    return x


class WithTorch(WithNumpy):
  """The same with PyTorch's own functions."""

  def __init__(self, state):
    import torch

    self.torch = torch
    self.f = torch.nn.functional
    self.state = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}

  def conv(self, name, x, stride=1, groups=1):
    x = x if isinstance(x, self.torch.Tensor) else self.torch.from_numpy(np.array(x))
    kernel, bias = self.state[f'{name}.weight'], self.state.get(f'{name}.bias')
    return self.f.conv2d(x, kernel, bias, stride, kernel.shape[-1] // 2, groups=groups)

  def norm(self, name, x):
    moments = self.state[f'{name}.running_mean'], self.state[f'{name}.running_var']
    return self.f.batch_norm(x, *moments, self.state[f'{name}.weight'], self.state[f'{name}.bias'])

  def linear(self, name, x):
    return self.f.linear(x, self.state[f'{name}.weight'], self.state[f'{name}.bias'])

  def relu(self, x):
    return self.f.relu(x)

  def pool(self, x):
    return self.f.max_pool2d(x, 2)

  def average(self, x):
    return self.f.avg_pool2d(x, 3, 2, 1)

  def cat(self, maps):
    return self.torch.cat(maps, 1)

  def shuffle(self, x, groups):
    return self.f.channel_shuffle(x, groups)

  def numpy(self, x):
    return x.numpy()


def count(state, form):
  """How many numbers from 0 make names like `form` in a state_dict."""
  number = 0
  while any(name.startswith(form.format(number)) for name in state):
    number += 1
  return number


def resnet(layers, x):
  x = layers.relu(layers.norm('bn1', layers.conv('conv1', x)))
  for stage in (1, 2, 3):
    for block in range(count(layers.state, f'layer{stage}.{{}}.')):
      name, stride = f'layer{stage}.{block}', 2 if stage > 1 and not block else 1
      y = layers.norm(f'{name}.bn1', layers.conv(f'{name}.conv1', x, stride))
      y = layers.norm(f'{name}.bn2', layers.conv(f'{name}.conv2', layers.relu(y)))
      if f'{name}.downsample.0.weight' in layers.state:
        x = layers.conv(f'{name}.downsample.0', x, stride)
        x = layers.norm(f'{name}.downsample.1', x)
      x = layers.relu(y + x)
  return layers.linear('fc', x.mean((2, 3)))


def wrn(layers, x):
  x = layers.conv('conv1', x)
  for stage in (1, 2, 3):
    for block in range(count(layers.state, f'block{stage}.layer.{{}}.')):
      name, stride = f'block{stage}.layer.{block}', 2 if stage > 1 and not block else 1
      active = layers.relu(layers.norm(f'{name}.bn1', x))
      y = layers.relu(layers.norm(f'{name}.bn2', layers.conv(f'{name}.conv1', active, stride)))
      y = layers.conv(f'{name}.conv2', y)
      changes = f'{name}.convShortcut.weight' in layers.state
      x = y + (layers.conv(f'{name}.convShortcut', active, stride) if changes else x)
  x = layers.relu(layers.norm('bn1', x))
  return layers.linear('fc', x.mean((2, 3)))


def vgg(layers, x):
  for block in range(5):
    for layer in range(0, 3 * 4, 3):
      name = f'block{block}.{layer}'
      if f'{name}.weight' in layers.state:
        x = layers.relu(layers.norm(f'block{block}.{layer + 1}', layers.conv(name, x)))
    x = layers.pool(x) if block < 3 else x
  return layers.linear('classifier', x.mean((2, 3)))


def mobilenet(layers, x):
  x = layers.relu(layers.norm('conv1.1', layers.conv('conv1.0', x, 2)))
  for row, stride_of_row in enumerate(MOBILENET_STRIDES):
    for block in range(count(layers.state, f'blocks.{row}.{{}}.')):
      name, stride = f'blocks.{row}.{block}.conv', 1 if block else stride_of_row
      y = layers.relu(layers.norm(f'{name}.1', layers.conv(f'{name}.0', x)))
      groups = len(layers.state[f'{name}.3.weight'])
      y = layers.relu(layers.norm(f'{name}.4', layers.conv(f'{name}.3', y, stride, groups)))
      y = layers.norm(f'{name}.7', layers.conv(f'{name}.6', y))
      x = x + y if stride == 1 and x.shape[1] == y.shape[1] else y
  x = layers.relu(layers.norm('conv2.1', layers.conv('conv2.0', x)))
  return layers.linear('classifier.0', x.mean((2, 3)))


def shufflenet_v1(layers, x):
  x = layers.relu(layers.norm('bn1', layers.conv('conv1', x)))
  for stage in (1, 2, 3):
    for block in range(count(layers.state, f'layer{stage}.{{}}.')):
      name = f'layer{stage}.{block}'
      groups = 1 if x.shape[1] == 24 else 3
      y = layers.relu(layers.norm(f'{name}.bn1', layers.conv(f'{name}.conv1', x, 1, groups)))
      y = layers.shuffle(y, groups)
      y = layers.conv(f'{name}.conv2', y, 1 if block else 2, y.shape[1])
      y = layers.relu(layers.norm(f'{name}.bn2', y))
      y = layers.norm(f'{name}.bn3', layers.conv(f'{name}.conv3', y, 1, 3))
      x = layers.relu(y + x if block else layers.cat([y, layers.average(x)]))
  return layers.linear('linear', x.mean((2, 3)))


def shufflenet_v2(layers, x):
  step = lambda name, number, x, *how: layers.norm(
    f'{name}.bn{number}', layers.conv(f'{name}.conv{number}', x, *how)
  )
  x = layers.relu(layers.norm('bn1', layers.conv('conv1', x)))
  for stage in (1, 2, 3):
    for block in range(count(layers.state, f'layer{stage}.{{}}.')):
      name = f'layer{stage}.{block}'
      if block:
        half = x.shape[1] // 2
        left, right, first, stride = x[:, :half], x[:, half:], 1, 1
      else:
        left = layers.relu(step(name, 2, step(name, 1, x, 2, x.shape[1])))
        right, first, stride = x, 3, 2
      right = layers.relu(step(name, first, right))
      right = step(name, first + 1, right, stride, right.shape[1])
      right = layers.relu(step(name, first + 2, right))
      x = layers.shuffle(layers.cat([left, right]), 2)
  x = layers.relu(layers.norm('bn2', layers.conv('conv2', x)))
  return layers.linear('linear', x.mean((2, 3)))

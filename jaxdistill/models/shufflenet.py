"""ShuffleNet, both versions, for small images."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import normalisation, pooling, stages
from jaxdistill.models.convolution import Conv, convolve
from jaxdistill.models.linear import Linear
from jaxdistill.numerics import settled

_STEM = 24
_BLOCKS = (4, 8, 4)  # of each stage
_GROUPS = 3  # of the first version
_LAST = 1024  # channels of the second version's last convolution


def shuffled(x: jax.Array, groups: int) -> jax.Array:
  """Channels dealt out again: of channel j of group i of x, [n, h, w, groups * m], becomes channel
  groups * j + i.

  >>> shuffled(jnp.arange(6).reshape(1, 1, 1, 6), 2).ravel().tolist()
  [0, 3, 1, 4, 2, 5]
  """
  form = x.shape
  return x.reshape(*form[:3], groups, -1).swapaxes(3, 4).reshape(form)


class ShuffleNetV1(nn.Module):
  """1x1 stem of 24 channels, three stages of 4, 8 and 4 units with grouped 1x1 convolutions (three
  groups) and a channel shuffle, global average, linear classifier.

  Stages have 12 width * (1, 2, 4) channels, so 240, 480 and 960 for width 20, on maps of side h/2,
  h/4 and h/8 (rounded up); any size works, down to single pixels. With 100 classes there are
  949,258 parameters. PyTorch's default initialisation.

  Attributes:
    num_classes: outputs.
    width: channels of one group in a bottleneck of the first stage, at least 3.
    norm: 'instance', 'batch', 'group' or 'none'.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'stem', 'stage1' ... 'stage3' and 'stage1_pre' ...
    as `models.stages` has them, 'block1' ... 'block3' like 'stage1' ..., 'embedding'
    [n, 48 width]).

  Source: Zhang et al., CVPR 2018, in the form of the public code of Tian et al., ICLR 2020 (CRD),
  which has a ReLU behind the depthwise convolution and no stride before the first stage.

  >>> import jax, jax.numpy as jnp
  >>> net = ShuffleNetV1(num_classes=10, width=3)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 16, 16, 3)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 16, 16, 3)))
  >>> features['stage1'].shape, features['embedding'].shape
  ((2, 8, 8, 36), (2, 144))
  """

  num_classes: int
  width: int = 20
  norm: str = 'batch'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'norm': normalisation.NAMES}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for too few channels, and for maps that end as one pixel under instance
    norm."""
    if self.width < 3:
      raise errors.UserError(f'The width of a shufflenet_v1 is at least 3; got {self.width}.')
    _check_norm('shufflenet_v1', self.norm, image_shape)

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    layers = _Layers(self.norm, dtype, train)
    x = nn.relu(layers(x.astype(dtype), _STEM, ''))
    features = {'stem': x}
    for stage, blocks in enumerate(_BLOCKS, 1):
      channels = 4 * _GROUPS * self.width * 2 ** (stage - 1)
      for block in range(1, blocks + 1):
        unit = GroupedUnit(
          channels,
          block == 1,
          1 if stage == block == 1 else _GROUPS,
          self.norm,
          dtype,
          name=f'stage{stage}_block{block}',
        )
        before = unit(x, train)
        x = nn.relu(before)
      features |= stages.named(stage, before, x)
    features['embedding'] = pooling.global_average(x)
    return Linear(self.num_classes, name='classifier')(features['embedding']), features


class ShuffleNetV2(nn.Module):
  """1x1 stem of 24 channels, three stages of 4, 8 and 4 units that split the channels, 1x1
  convolution to 1024, global average, linear classifier.

  Stages have 2 width * (1, 2, 4) channels, so 116, 232 and 464 for width 58, on maps of side h/2,
  h/4 and h/8 (rounded up); any size works, down to single pixels. With 100 classes there are
  1,355,528 parameters. PyTorch's default initialisation.

  Attributes:
    num_classes: outputs.
    width: channels of either half in the first stage: 58 for the paper's 1x network, 24 for 0.5x.
    norm: 'instance', 'batch', 'group' or 'none'.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'stem', 'stage1' ... 'stage3' and 'stage1_pre' ...
    as `models.stages` has them, 'block1' ... 'block3' like 'stage1' ..., 'embedding' [n, 1024]).

  Source: Ma et al., ECCV 2018, in the form of the public code of Tian et al., ICLR 2020 (CRD), with
  a 1x1 stem and no stride before the first stage. There the maps before the ReLU are not shuffled
  yet; here they are, so that their channels are those behind it.

  >>> import jax, jax.numpy as jnp
  >>> net = ShuffleNetV2(num_classes=10, width=4)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 16, 16, 3)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 16, 16, 3)))
  >>> features['stage1'].shape, features['embedding'].shape
  ((2, 8, 8, 8), (2, 1024))
  """

  num_classes: int
  width: int = 58
  norm: str = 'batch'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'norm': normalisation.NAMES}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for maps that end as one pixel under instance norm."""
    _check_norm('shufflenet_v2', self.norm, image_shape)

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    layers = _Layers(self.norm, dtype, train)
    x = nn.relu(layers(x.astype(dtype), _STEM, ''))
    features = {'stem': x}
    for stage, blocks in enumerate(_BLOCKS, 1):
      half = self.width * 2 ** (stage - 1)
      for block in range(1, blocks + 1):
        unit = SplitUnit(half, block == 1, self.norm, dtype, name=f'stage{stage}_block{block}')
        before = unit(x, train)
        x = nn.relu(before)
      features |= stages.named(stage, before, x)
    features['embedding'] = pooling.global_average(nn.relu(layers(x, _LAST, '_last')))
    return Linear(self.num_classes, name='classifier')(features['embedding']), features


class GroupedUnit(nn.Module):
  """1x1 convolution to a quarter of the channels, ReLU, shuffle, depthwise 3x3, ReLU, 1x1
  convolution, plus the input; the ReLU behind is the caller's.

  With a stride the input is averaged over 3x3 windows by 2 and stands beside the maps, which then
  have so many channels fewer.
  """

  features: int
  strides: bool
  groups_in: int
  norm: str
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    layers = _Layers(self.norm, self.dtype, train)
    features = self.features - (x.shape[-1] if self.strides else 0)
    inner = features // 4
    y = nn.relu(layers(x, inner, 1, groups=self.groups_in))
    y = shuffled(y, self.groups_in)
    y = nn.relu(layers(y, inner, 2, size=3, stride=2 if self.strides else 1, groups=inner))
    y = layers(y, features, 3, groups=_GROUPS)
    if not self.strides:
      return y + x
    return jnp.concatenate([y, _average(x)], -1)


class SplitUnit(nn.Module):
  """The second half of the channels through 1x1 convolution, ReLU, depthwise 3x3 and 1x1
  convolution, beside the first half, shuffled; the ReLU behind is the caller's (the first half is
  behind one already).

  With a stride all channels go through both branches, the first a depthwise 3x3 and a 1x1
  convolution.
  """

  half: int
  strides: bool
  norm: str
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    layers = _Layers(self.norm, self.dtype, train)
    if self.strides:
      left = layers(x, x.shape[-1], 1, size=3, stride=2, groups=x.shape[-1])
      left = layers(left, self.half, 2)
      right, first = x, 3
    else:
      left, right, first = x[..., : self.half], x[..., self.half :], 1
    stride = 2 if self.strides else 1
    right = nn.relu(layers(right, self.half, first))
    right = layers(right, self.half, first + 1, size=3, stride=stride, groups=self.half)
    right = layers(right, self.half, first + 2)
    return shuffled(jnp.concatenate([left, right], -1), 2)


class _Layers:
  """Makes 'conv<name>' and 'norm<name>' of the module that is being called: norm(conv(x))."""

  def __init__(self, norm: str, dtype: jnp.dtype, train: bool):
    self.norm, self.dtype, self.train = norm, dtype, train

  def __call__(self, x, channels, name, *, size=1, stride=1, groups=1):
    conv = Conv(
      channels,
      (size, size),
      (stride, stride),
      padding=size // 2,
      use_bias=self.norm == 'none',
      dtype=self.dtype,
      feature_group_count=groups,
      name=f'conv{name}',
    )
    return normalisation.norm(self.norm, self.dtype)(name=f'norm{name}')(conv(x), self.train)


def _average(x):
  """Means of 3x3 windows by 2; the pixel of padding around counts as zeros, as in PyTorch."""
  channels = x.shape[-1]
  kernel = jnp.full((3, 3, 1, channels), 1 / 9, x.dtype)
  return convolve(x, kernel, (2, 2), 1, channels)


def _check_norm(name, norm, image_shape):
  if norm == 'instance' and max(image_shape[:2]) <= 8:
    raise errors.UserError(
      f'Under instance norm a {name} needs images of more than 8 pixels a side, else its last maps '
      f'are one pixel that normalises to zero; got {image_shape[0]}x{image_shape[1]}.'
    )

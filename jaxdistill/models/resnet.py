"""Residual networks for small images."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import initializers, normalisation, pooling, stages
from jaxdistill.models.convolution import Conv
from jaxdistill.models.linear import Linear
from jaxdistill.numerics import settled

# Channels behind a bottleneck for one inside.
EXPANSION = 4


class ResNet(nn.Module):
  """The CIFAR ResNet of 6 k + 2 layers: 3x3 stem, three stages of k basic blocks, global average,
  linear classifier.

  Stages have width, 2 width and 4 width channels on maps of side h, h/2 and h/4 (rounded up); the
  first block of the second and third stage strides by 2. With ten classes, shortcut A and width 16
  depths 20, 32 and 56 have 269,722, 464,154 and 853,018 parameters. Convolutions start He-normal
  over the fan-out and have no bias unless there is no normalisation.

  Attributes:
    num_classes: outputs.
    width: channels of the stem and the first stage; 16 k widens the paper's network k times.
    depth: 20, 32, 44, 56, ...
    norm: 'instance', 'batch', 'group' or 'none'.
    shortcut: where the shape changes, 'A' takes every second pixel and fills new channels with
      zeros (no parameters), 'B' is a 1x1 convolution with normalisation, as in the ResNet-20 of
      CEC's code (Zhang et al., CVPR 2021).
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'stem', 'stage1' ... 'stage3' and 'stage1_pre' ...
    as `models.stages` has them, 'block1' ... 'block3' like 'stage1' ..., 'embedding' [n, 4 width]).

  Source: He et al., CVPR 2016, section 4.2. The paper does not say where option A puts the zeros:
    here half on either
  side of the channels, as public PyTorch versions do.

  >>> import jax, jax.numpy as jnp
  >>> net = ResNet(num_classes=10, width=4, depth=8)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 8, 8, 3)))
  >>> (logits, features) = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 8, 8, 3)))
  >>> logits.shape, features['stage3'].shape
  ((2, 10), (2, 2, 2, 16))
  """

  num_classes: int
  width: int = 16
  depth: int = 20
  norm: str = 'batch'
  shortcut: str = 'A'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'norm': normalisation.NAMES, 'shortcut': ('A', 'B')}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for a depth that is not 6 k + 2, and for maps that end as one pixel under
    instance norm."""
    if self.depth < 8 or self.depth % 6 != 2:
      raise errors.UserError(
        f'The depth of a resnet is 6 k + 2 (8, 14, 20, 32, 44, 56, ...); got {self.depth}.'
      )
    if self.norm == 'instance' and max(image_shape[:2]) <= 4:
      raise errors.UserError(
        'Under instance norm a resnet needs images of more than 4 pixels a side, else its last '
        f'maps are one pixel that normalises to zero; got {image_shape[0]}x{image_shape[1]}.'
      )

  @property
  def stem_width(self) -> int:
    """Channels of the stem."""
    return self.width

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    norm = normalisation.norm(self.norm, dtype)
    conv = bare_conv(self.stem_width, 3, 1, self.norm, dtype, 'conv')
    x = normalisation.conv_norm_relu(conv, norm(name='norm'), x.astype(dtype), train)
    features = {'stem': x}
    for stage in (1, 2, 3):
      for block in range(1, (self.depth - 2) // 6 + 1):
        stride = 2 if stage > 1 and block == 1 else 1
        total = BasicBlock(
          self.width * 2 ** (stage - 1),
          stride,
          self.norm,
          self.shortcut,
          dtype,
          name=f'stage{stage}_block{block}',
        )(x, train)
        x = nn.relu(total)
      features |= stages.named(stage, total, x)
    features['embedding'] = pooling.global_average(x)
    return Linear(self.num_classes, name='classifier')(features['embedding']), features


class StemResNet(ResNet):
  """The same with a stem of a width of its own and a 1x1 convolution where the shape changes:
  ResNet-8x4 and ResNet-32x4 of the literature on distillation.

  With 100 classes depths 8 and 32 have 1,233,540 and 7,433,860 parameters. Attributes as those of
  ResNet, and

  Attributes:
    stem: channels of the stem.

  Source: the public code of Tian et al., ICLR 2020 (CRD).

  >>> import jax, jax.numpy as jnp
  >>> net = StemResNet(num_classes=10, stem=2, width=4)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 8, 8, 3)))
  >>> _, features = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 8, 8, 3)))
  >>> features['stem'].shape, features['stage1'].shape
  ((2, 8, 8, 2), (2, 8, 8, 4))
  """

  width: int = 64
  depth: int = 8
  shortcut: str = 'B'
  stem: int = 32

  @property
  def stem_width(self) -> int:
    """Channels of the stem."""
    return self.stem


class BasicBlock(nn.Module):
  """norm(conv(ReLU(norm(conv(x))))) + shortcut(x), two 3x3 convolutions, the first with the stride;
  the ReLU behind the sum is the caller's."""

  features: int
  stride: int
  norm: str
  shortcut: str
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    norm = normalisation.norm(self.norm, self.dtype)
    conv = bare_conv(self.features, 3, self.stride, self.norm, self.dtype, 'conv1')
    y = normalisation.conv_norm_relu(conv, norm(name='norm1'), x, train)
    y = norm(name='norm2')(bare_conv(self.features, 3, 1, self.norm, self.dtype, 'conv2')(y), train)
    return y + _shortcut(self, x, self.features, train)


class BottleneckBlock(nn.Module):
  """norm(1x1 conv(a(3x3 conv(a(1x1 conv(x)))))) + shortcut(x) with a = ReLU(norm(.)): `features`
  channels inside and four times as many behind it; the stride is the 3x3 convolution's, and the
  ReLU behind the sum the caller's.

  Source: He et al., CVPR 2016, figure 5; the place of the stride is that of torchvision.
  """

  features: int
  stride: int
  norm: str
  shortcut: str
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    norm = normalisation.norm(self.norm, self.dtype)
    widened = EXPANSION * self.features
    y = x
    for number, size, stride in ((1, 1, 1), (2, 3, self.stride)):
      conv = bare_conv(self.features, size, stride, self.norm, self.dtype, f'conv{number}')
      y = normalisation.conv_norm_relu(conv, norm(name=f'norm{number}'), y, train)
    y = norm(name='norm3')(bare_conv(widened, 1, 1, self.norm, self.dtype, 'conv3')(y), train)
    return y + _shortcut(self, x, widened, train)


def _shortcut(block, x, features, train):
  """x of a block that is being applied, in the shape of its output."""
  if block.stride == 1 and x.shape[-1] == features:
    return x
  if block.shortcut == 'A':
    new = features - x.shape[-1]
    channels = (new // 2, new - new // 2)
    return jnp.pad(x[:, :: block.stride, :: block.stride], ((0, 0), (0, 0), (0, 0), channels))
  x = bare_conv(features, 1, block.stride, block.norm, block.dtype, 'conv_shortcut')(x)
  return normalisation.norm(block.norm, block.dtype)(name='norm_shortcut')(x, train)


def bare_conv(
  features: int,
  size: int,
  stride: int,
  norm: str,
  dtype: jnp.dtype,
  name: str,
  feature_group_count: int = 1,
  padding: int | None = None,
) -> Conv:
  """The convolution of residual networks: He-normal over the fan-out, a bias only where no
  normalisation follows; padding None keeps the size of the maps but for the stride."""
  return Conv(
    features,
    (size, size),
    (stride, stride),
    padding=size // 2 if padding is None else padding,
    use_bias=norm == 'none',
    kernel_init=initializers.he_normal_fan_out,
    dtype=dtype,
    feature_group_count=feature_group_count,
    name=name,
  )

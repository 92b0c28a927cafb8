"""MobileNetV2 for small images."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import normalisation, pooling, stages
from jaxdistill.models.linear import Linear
from jaxdistill.models.resnet import bare_conv
from jaxdistill.numerics import settled

# Expansion (0: that of the network), channels at full width, blocks and stride of the seven rows of
# the paper's table 2, the second with stride 1, and the stage that a row ends (0: none).
ROWS = (
  (1, 16, 1, 1, 0),
  (0, 24, 2, 1, 1),
  (0, 32, 3, 2, 2),
  (0, 64, 4, 2, 0),
  (0, 96, 3, 1, 3),
  (0, 160, 3, 2, 0),
  (0, 320, 1, 1, 4),
)
_FULL = 32  # channels of the stem at full width
_LAST = 1280


class MobileNetV2(nn.Module):
  """3x3 stem by 2, seventeen inverted residual blocks, 1x1 convolution, global average, linear
  classifier.

  A block expands 1x1, convolves depthwise 3x3 and contracts 1x1, the last without a ReLU; it adds
  its input where the shape stays. 32 pixels shrink to 16 in the stem and to 16, 8, 4 and 2 in the
  four stages; any size works, down to single pixels. With 100 classes and half the width (16)
  there are 812,836 parameters. Convolutions start He-normal over the fan-out, the classifier
  normal with a standard deviation of 0.01 and biases of 0.

  Attributes:
    num_classes: outputs.
    width: channels of the stem: 32 for the full network, 16 for the half one.
    expansion: by how much a block widens its input.
    norm: 'instance', 'batch', 'group' or 'none'.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'stem', 'stage1' ... 'stage4' the linear bottlenecks
    behind rows 2, 3, 5 and 7 of the paper's table; 'stage1_pre' ... and 'block1' ... are the same
    maps, see `models.stages`; 'embedding' [n, 1280]).

  Source: Sandler et al., CVPR 2018, table 2, with stride 1 in its second row and a ReLU in place of
  ReLU6, as in the public code of Tian et al., ICLR 2020 (CRD).

  >>> import jax, jax.numpy as jnp
  >>> net = MobileNetV2(num_classes=10, width=4)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 32, 32, 3)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 32, 32, 3)))
  >>> [features[f'stage{stage}'].shape[1:] for stage in (1, 2, 3, 4)]
  [(16, 16, 3), (8, 8, 4), (4, 4, 12), (2, 2, 40)]
  """

  num_classes: int
  width: int = 16
  expansion: int = 6
  norm: str = 'batch'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'norm': normalisation.NAMES}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for no channels, and for maps that end as one pixel under instance
    norm."""
    if self.width < 2:
      raise errors.UserError(
        f'The width of a mobilenetv2 is at least 2, its stem has 32 in full; got {self.width}.'
      )
    if self.norm == 'instance' and max(image_shape[:2]) <= 16:
      raise errors.UserError(
        'Under instance norm a mobilenetv2 needs images of more than 16 pixels a side, else its '
        f'last maps are one pixel that normalises to zero; got {image_shape[0]}x{image_shape[1]}.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    norm = normalisation.norm(self.norm, dtype)
    conv = bare_conv(self.width, 3, 2, self.norm, dtype, 'conv')
    x = normalisation.conv_norm_relu(conv, norm(name='norm'), x.astype(dtype), train)
    features = {'stem': x}
    for row, (expansion, channels, blocks, stride, stage) in enumerate(ROWS, 1):
      for block in range(1, blocks + 1):
        x = InvertedResidual(
          channels * self.width // _FULL,
          expansion or self.expansion,
          stride if block == 1 else 1,
          self.norm,
          dtype,
          name=f'row{row}_block{block}',
        )(x, train)
      features |= stages.named(stage, x, x) if stage else {}
    last = max(_LAST * self.width // _FULL, _LAST)
    conv = bare_conv(last, 1, 1, self.norm, dtype, 'conv_last')
    x = normalisation.conv_norm_relu(conv, norm(name='norm_last'), x, train)
    features['embedding'] = pooling.global_average(x)
    classifier = Linear(
      self.num_classes,
      kernel_init=nn.initializers.normal(0.01),
      bias_init=nn.initializers.zeros,
      name='classifier',
    )
    return classifier(features['embedding']), features


class InvertedResidual(nn.Module):
  """1x1 convolution to `expansion` times the channels, depthwise 3x3 with the stride, each with
  norm and ReLU, then 1x1 and norm; plus the input where the shape stays."""

  features: int
  expansion: int
  stride: int
  norm: str
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    norm = normalisation.norm(self.norm, self.dtype)
    inner = self.expansion * x.shape[-1]
    expand = bare_conv(inner, 1, 1, self.norm, self.dtype, 'conv1')
    y = normalisation.conv_norm_relu(expand, norm(name='norm1'), x, train)
    depthwise = bare_conv(inner, 3, self.stride, self.norm, self.dtype, 'conv2', inner)
    y = normalisation.conv_norm_relu(depthwise, norm(name='norm2'), y, train)
    y = bare_conv(self.features, 1, 1, self.norm, self.dtype, 'conv3')(y)
    y = norm(name='norm3')(y, train)
    return y + x if self.stride == 1 and x.shape[-1] == self.features else y

"""The residual networks of ImageNet, with stems for smaller images."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import normalisation, pooling, stages
from jaxdistill.models.linear import Linear
from jaxdistill.models.resnet import BasicBlock, BottleneckBlock, bare_conv
from jaxdistill.numerics import settled

# Depth -> blocks of each stage; from `_BOTTLENECKS_FROM` layers on they are bottlenecks.
BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
_BOTTLENECKS_FROM = 50


class ImageNetResNet(nn.Module):
  """Stem, four stages of basic blocks or of bottlenecks, global average, linear classifier.

  The stem follows the longer side of the image: up to 64 pixels a 3x3 convolution, up to 128 the
  same and a 3x3 max pool by 2, above that a 7x7 convolution by 2 and the max pool. Stages have
  width * (1, 2, 4, 8) channels; the first block of the second, third and fourth strides by 2 (sides
  round up), with a 1x1 convolution and normalisation in the shortcut. At depth 50 the blocks are
  bottlenecks, and every stage hands on four times as many channels. With ten classes and 32x32x3,
  ResNet-18 has 11,173,962 parameters and ResNet-10 of width 32 has 1,228,970. Convolutions start
  He-normal over the fan-out and have no bias unless there is no normalisation.

  Attributes:
    num_classes: outputs.
    width: channels of the stem and the first stage.
    depth: 10, 18, 34 or 50.
    norm: 'instance', 'batch', 'group' or 'none'.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'stem', 'stage1' ... 'stage4' and 'stage1_pre' ...
    as `models.stages` has them, 'block1' ... 'block4' like 'stage1' ..., 'embedding' [n, 8 width],
    at depth 50 [n, 32 width]).

  Source: He et al., CVPR 2016, table 1; ResNet-10 (width 32 for CIFAR), the stems and the
  initialisation as in the public code of Kim et al., ICML 2022 (IDC). The public code of Dataset
  Condensation starts its ResNet-18 by PyTorch's defaults.

  >>> import jax, jax.numpy as jnp
  >>> net = ImageNetResNet(num_classes=10, width=4, depth=10)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((1, 224, 224, 3)))
  >>> features['block1'].shape, features['block4'].shape, features['embedding'].shape
  ((1, 56, 56, 4), (1, 7, 7, 32), (1, 32))
  """

  num_classes: int
  width: int = 64
  depth: int = 18
  norm: str = 'batch'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'norm': normalisation.NAMES, 'depth': tuple(BLOCKS)}
  # Longer sides of images up to which the stem has a 3x3 convolution, and up to which no pool.
  small_up_to: ClassVar[tuple[int, int]] = (128, 64)
  stem_padding: ClassVar[int | None] = None  # half the size of its kernel

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for maps that end as one pixel under instance norm."""
    if self.norm == 'instance' and max(image_shape[:2]) <= 8:
      raise errors.UserError(
        'Under instance norm an imagenet_resnet needs images of more than 8 pixels a side, '
        'else its '
        f'last maps are one pixel that normalises to zero; got {image_shape[0]}x{image_shape[1]}.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    side = max(x.shape[1:3])
    size, stride = (7, 2) if side > self.small_up_to[0] else (3, 1)
    conv = bare_conv(self.width, size, stride, self.norm, dtype, 'conv', padding=self.stem_padding)
    norm = normalisation.norm(self.norm, dtype)(name='norm')
    x = normalisation.conv_norm_relu(conv, norm, x.astype(dtype), train)
    if side > self.small_up_to[1]:
      x = pooling.max_pool(x, window=3, stride=2, padding=1)
    features = {'stem': x}
    kind = BottleneckBlock if self.depth >= _BOTTLENECKS_FROM else BasicBlock
    for stage, blocks in enumerate(BLOCKS[self.depth], 1):
      for block in range(1, blocks + 1):
        stride = 2 if stage > 1 and block == 1 else 1
        total = kind(
          self.width * 2 ** (stage - 1),
          stride,
          self.norm,
          'B',
          dtype,
          name=f'stage{stage}_block{block}',
        )(x, train)
        x = nn.relu(total)
      features |= stages.named(stage, total, x)
    features['embedding'] = pooling.global_average(x)
    return Linear(self.num_classes, name='classifier')(features['embedding']), features


class TorchvisionResNet(ImageNetResNet):
  """The same with the stem of 224 pixels, a 7x7 convolution by 2 and a 3x3 max pool by 2, at every
  image size: the form whose published weights `models.weights` reads.

  With 1000 classes depths 18, 34 and 50 have 11,689,512, 21,797,672 and 25,557,032 parameters.
  Attributes as those of ImageNetResNet.

  Source: He et al., CVPR 2016, table 1, as in torchvision. At 84 pixels it is the network that CEC
  (Zhang et al., CVPR 2021) trains on miniImageNet.

  >>> import jax, jax.numpy as jnp
  >>> net = TorchvisionResNet(num_classes=10, width=4)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 84, 84, 3)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((1, 84, 84, 3)))
  >>> features['block1'].shape, features['block4'].shape
  ((1, 21, 21, 4), (1, 3, 3, 32))
  """

  small_up_to: ClassVar[tuple[int, int]] = (0, 0)

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for maps that end as one pixel under instance norm."""
    if self.norm == 'instance' and max(image_shape[:2]) <= 32:
      raise errors.UserError(
        'Under instance norm a torchvision_resnet needs images of more than 32 pixels a side, else '
        f'its last maps are one pixel that normalises to zero; got {image_shape[0]}x'
        f'{image_shape[1]}.'
      )


class CifarResNet(ImageNetResNet):
  """The same with a 3x3 convolution by 1 and no pool for a stem at every image size, with or
  without padding: at 32 pixels the stages have maps of side 32, 16, 8, 4, or of 30, 15, 8, 4.

  With ten classes and three channels depths 18, 34 and 50 have 11,173,962, 21,282,122 and
  23,520,842 parameters. Attributes as those of ImageNetResNet, and

  Attributes:
    stem_padding: pixels of zeros around the image before the stem, 0 or 1.

  Source: the ResNet-18 and -34 of the public codes of learning from noisy labels. Those of CCC
  (Zhang et al., AAAI 2024) and TAIDTM (Li et al., TPAMI 2024) have a stem without padding; they
  start by PyTorch's defaults, and here as all networks of this file.

  >>> import jax, jax.numpy as jnp
  >>> net = CifarResNet(num_classes=10, width=4, depth=10, stem_padding=0)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((1, 28, 28, 1)))
  >>> features['stem'].shape, features['block4'].shape
  ((1, 26, 26, 4), (1, 4, 4, 32))
  """

  stem_padding: int = 1
  choices: ClassVar[dict] = {**ImageNetResNet.choices, 'stem_padding': (0, 1)}
  small_up_to: ClassVar[tuple[int, int]] = (2**31, 2**31)

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for images that the stem leaves nothing of, and for maps that end as one
    pixel under instance norm."""
    lost = 2 * (1 - self.stem_padding)
    if min(image_shape[:2]) <= lost:
      raise errors.UserError(
        'A cifar_resnet with stem_padding 0 needs images of at least 3x3 pixels; got '
        f'{image_shape[0]}x{image_shape[1]}.'
      )
    if self.norm == 'instance' and max(image_shape[:2]) <= 8 + lost:
      raise errors.UserError(
        f'Under instance norm a cifar_resnet needs images of more than {8 + lost} pixels a side, '
        'else its last maps are one pixel that normalises to zero; got '
        f'{image_shape[0]}x{image_shape[1]}.'
      )

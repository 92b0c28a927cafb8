"""ResNetAP: a residual network that shrinks its maps by average pooling, for condensing larger
images."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import normalisation, pooling
from jaxdistill.models.linear import Linear
from jaxdistill.models.resnet import bare_conv
from jaxdistill.numerics import settled


class ResNetAP(nn.Module):
  """Stem, four stages of basic blocks with every stride replaced by average pooling, global
  average, linear classifier.

  The stem follows the longer side of the image: above 128 pixels a 7x7 convolution and a pool by 4,
  from 65 to 128 pixels a 3x3 convolution and a pool by 2, below that a 3x3 convolution alone.
  Stages have width * (1, 2, 4, 8) channels; the second, third and fourth halve the maps (rounded
  down). Convolutions start He-normal over the fan-out and have no bias unless there is no
  normalisation.

  Attributes:
    num_classes: outputs.
    width: channels of the stem and the first stage; 0: 64 above 64 pixels and 32 up to that (the
      CIFAR variant).
    depth: 10 or 18, that is one or two blocks a stage.
    norm: 'instance', 'batch', 'group' or 'none'.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'block1' ... 'block4' the maps behind each stage,
    'embedding' [n, 8 width]).

  Source: Kim et al., ICML 2022 (IDC), appendix and public code, where width 64 is also used at 64
    pixels.

  >>> import jax, jax.numpy as jnp
  >>> net = ResNetAP(num_classes=10, width=4)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
  >>> (logits, features) = jax.eval_shape(net.apply, shapes, jnp.zeros((1, 224, 224, 3)))
  >>> features['block1'].shape, features['block4'].shape, features['embedding'].shape
  ((1, 56, 56, 4), (1, 7, 7, 32), (1, 32))
  """

  num_classes: int
  width: int = 0
  depth: int = 10
  norm: str = 'instance'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'norm': normalisation.NAMES, 'depth': (10, 18)}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError where the last maps would vanish, or normalise to zero."""
    _, pool, _ = _stem(image_shape)
    last = [side // pool // 8 for side in image_shape[:2]]
    if min(last) < 1 or (self.norm == 'instance' and max(last) < 2):
      raise errors.UserError(
        'A resnet_ap halves its maps three times and needs images of at least 8x8 pixels, under '
        'instance norm 16 on one side; '
        f'got {image_shape[0]}x{image_shape[1]}.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    size, pool, width = _stem(x.shape[1:])
    width = self.width or width
    conv = bare_conv(width, size, 1, self.norm, dtype, 'conv')
    norm = normalisation.norm(self.norm, dtype)(name='norm')
    x = normalisation.conv_norm_relu(conv, norm, x.astype(dtype), train, window=pool)
    features = {}
    for stage in (1, 2, 3, 4):
      for block in range(1, (self.depth - 2) // 8 + 1):
        pool = 2 if stage > 1 and block == 1 else 1
        x = PooledBlock(
          width * 2 ** (stage - 1), pool, self.norm, dtype, name=f'stage{stage}_block{block}'
        )(x, train)
      features[f'block{stage}'] = x
    features['embedding'] = pooling.global_average(x)
    return Linear(self.num_classes, name='classifier')(features['embedding']), features


class PooledBlock(nn.Module):
  """A basic block whose maps shrink behind the first ReLU and, in the shortcut, at its 1x1
  convolution."""

  features: int
  pool: int
  norm: str
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    norm = normalisation.norm(self.norm, self.dtype)
    conv = bare_conv(self.features, 3, 1, self.norm, self.dtype, 'conv1')
    y = normalisation.conv_norm_relu(conv, norm(name='norm1'), x, train, window=self.pool)
    y = bare_conv(self.features, 3, 1, self.norm, self.dtype, 'conv2')(y)
    y = norm(name='norm2')(y, train)
    if self.pool > 1 or x.shape[-1] != self.features:
      # The public code pools behind the 1x1 convolution; the two commute, and this order takes a
      # quarter of the work.
      x = bare_conv(self.features, 1, 1, self.norm, self.dtype, 'conv_shortcut')(
        pooling.average_pool(x, self.pool)
      )
      x = norm(name='norm_shortcut')(x, train)
    return nn.relu(y + x)


def _stem(image_shape) -> tuple[int, int, int]:
  """Kernel size, pool and width of the stem."""
  side = max(image_shape[:2])
  if side > 128:
    return 7, 4, 64
  return (3, 2, 64) if side > 64 else (3, 1, 32)

"""The residual network of few-shot learning."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import normalisation, pooling
from jaxdistill.models.linear import Linear
from jaxdistill.models.resnet import bare_conv
from jaxdistill.numerics import settled

# Channels of the stages, in halves of the width.
_STAGES = (2, 5, 10, 20)
_SLOPE = 0.1  # of the leaky ReLU


class ResNet12(nn.Module):
  """Four stages of one block each, global average, linear classifier.

      block(x) = max_pool(a(norm(conv(a(norm(conv(a(norm(conv(x)))))))) + norm(conv1x1(x))))

  with 3x3 convolutions and a = leaky ReLU of slope 0.1. Stages have width * (1, 2.5, 5, 10)
  channels, here 64, 160, 320 and 640; the pool halves the side (rounded down), maps of one pixel a
  side stay. Without the classifier it has 12,424,320 parameters for images of three channels.
  Convolutions start He-normal over the fan-out and have no bias unless there is no normalisation;
  there is no dropout.

  Attributes:
    num_classes: outputs.
    width: channels of the first stage, an even number.
    norm: 'instance', 'batch', 'group' or 'none'.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'block1' ... 'block4' the maps behind each pool,
    'embedding' [n, 10 width]).

  Source: Lee et al., CVPR 2019 (MetaOptNet), without dropout as in Yang et al., ICLR 2023
  (NC-FSCIL). Images of less than 16 pixels a side are our choice.

  >>> import jax, jax.numpy as jnp
  >>> net = ResNet12(num_classes=10, width=4)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 32, 32, 3)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 32, 32, 3)))
  >>> [features[f'block{stage}'].shape[1] for stage in range(1, 5)], features['embedding'].shape
  ([16, 8, 4, 2], (2, 40))
  """

  num_classes: int
  width: int = 64
  norm: str = 'batch'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'norm': normalisation.NAMES}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for an odd width, and for maps of one pixel under instance norm."""
    if self.width % 2:
      raise errors.UserError(f'The width of a resnet12 is an even number; got {self.width}.')
    if self.norm == 'instance' and max(image_shape[:2]) < 16:
      raise errors.UserError(
        'Under instance norm a resnet12 needs images of at least 16 pixels a side, else its last '
        f'maps are one pixel that normalises to zero; got {image_shape[0]}x{image_shape[1]}.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    x = x.astype(dtype)
    features = {}
    for stage, halves in enumerate(_STAGES, 1):
      x = _Block(self.width * halves // 2, self.norm, dtype, name=f'stage{stage}')(x, train)
      features[f'block{stage}'] = x
    features['embedding'] = pooling.global_average(x)
    return Linear(self.num_classes, name='classifier')(features['embedding']), features


class _Block(nn.Module):
  """Three 3x3 convolutions, a shortcut by a 1x1 convolution, and a 2x2 max pool."""

  features: int
  norm: str
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    norm = normalisation.norm(self.norm, self.dtype)

    def layer(x, size, name):
      conv = bare_conv(self.features, size, 1, self.norm, self.dtype, f'conv{name}')
      return norm(name=f'norm{name}')(conv(x), train)

    y = nn.leaky_relu(layer(x, 3, '1'), _SLOPE)
    y = nn.leaky_relu(layer(y, 3, '2'), _SLOPE)
    y = nn.leaky_relu(layer(y, 3, '3') + layer(x, 1, '_shortcut'), _SLOPE)
    return pooling.max_pool(y) if min(y.shape[1:3]) > 1 else y

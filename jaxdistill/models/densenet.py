"""Densely connected networks."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import normalisation, pooling
from jaxdistill.models.convolution import Conv
from jaxdistill.models.linear import Linear
from jaxdistill.numerics import settled

# Channels of the 1x1 convolution in front of every 3x3, in growths.
BOTTLENECK = 4


class DenseNet(nn.Module):
  """3x3 stem, stages in which every layer adds `width` channels to all that came before, global
  average, classifier.

  A layer is [normalisation, ReLU, 1x1 convolution to 4 width channels, normalisation, ReLU, 3x3
  convolution to width channels]; its output joins its input. Between stages a normalisation, ReLU
  and 1x1 convolution halve the channels (rounded down) and an average pool halves the maps. The
  stem has 2 width channels. With ten classes and 32x32x3 the default has 1,000,618 parameters and a
  384-d embedding. Convolutions have no bias unless there is no normalisation, and PyTorch's default
  initialisation.

  Attributes:
    num_classes: outputs.
    width: channels that every layer adds, the growth rate k of the paper.
    blocks: layers of every stage.
    norm: 'instance', 'batch', 'group' or 'none'.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'block1', 'block2', ... the maps behind each stage,
    the last of them normalised; 'embedding' [n, d]).

  Source: Huang et al., CVPR 2017 (DenseNet-BC). Growth 12 in stages of 6, 12, 24 and 16 layers is
  the DenseNet of Kim et al., ICML 2022 (IDC), which they call DenseNet-121; blocks=(16, 16, 16) is
  the paper's own of 100 layers for CIFAR.

  >>> import jax, jax.numpy as jnp
  >>> net = DenseNet(num_classes=10, width=4, blocks=(1, 2))
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 8, 8, 3)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 8, 8, 3)))
  >>> features['block1'].shape, features['block2'].shape, features['embedding'].shape
  ((2, 8, 8, 12), (2, 4, 4, 14), (2, 14))
  """

  num_classes: int
  width: int = 12
  blocks: tuple[int, ...] = (6, 12, 24, 16)
  norm: str = 'batch'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'norm': normalisation.NAMES}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError where the last maps would vanish, or normalise to zero."""
    halvings = len(self.blocks) - 1
    least = 2**halvings
    last = [side // least for side in image_shape[:2]]
    if min(last) < 1 or (self.norm == 'instance' and max(last) < 2):
      raise errors.UserError(
        f'A densenet of {len(self.blocks)} stages needs images of at least {least}x{least} pixels, '
        f'under instance norm {2 * least} on one side; got {image_shape[0]}x{image_shape[1]}.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    norm = normalisation.norm(self.norm, dtype)
    features = {}
    x = _conv(2 * self.width, 3, self.norm, dtype, 'conv')(x.astype(dtype))
    for stage, layers in enumerate(self.blocks, 1):
      for layer in range(1, layers + 1):
        x = DenseLayer(self.width, self.norm, dtype, name=f'stage{stage}_layer{layer}')(x, train)
      if stage < len(self.blocks):
        features[f'block{stage}'] = x
        # The pool and the 1x1 convolution commute, and in this order they take a quarter of the
        # work.
        x = pooling.average_pool(nn.relu(norm(name=f'norm{stage}')(x, train)))
        x = _conv(x.shape[-1] // 2, 1, self.norm, dtype, f'conv{stage}')(x)
    features[f'block{len(self.blocks)}'] = x = nn.relu(norm(name='norm')(x, train))
    features['embedding'] = pooling.global_average(x)
    return Linear(self.num_classes, name='classifier')(features['embedding']), features


class DenseLayer(nn.Module):
  """[x, conv3x3(ReLU(norm(conv1x1(ReLU(norm(x))))))] along the channels."""

  growth: int
  norm: str
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    norm = normalisation.norm(self.norm, self.dtype)
    y = nn.relu(norm(name='norm1')(x, train))
    y = _conv(BOTTLENECK * self.growth, 1, self.norm, self.dtype, 'conv1')(y)
    y = nn.relu(norm(name='norm2')(y, train))
    return jnp.concatenate([x, _conv(self.growth, 3, self.norm, self.dtype, 'conv2')(y)], axis=-1)


def _conv(features, size, norm, dtype, name):
  return Conv(
    features, (size, size), padding=size // 2, use_bias=norm == 'none', dtype=dtype, name=name
  )

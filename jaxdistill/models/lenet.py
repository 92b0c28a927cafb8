"""LeNet-5 with today's layers."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import framing, pooling
from jaxdistill.models.convolution import Conv
from jaxdistill.models.linear import Linear
from jaxdistill.numerics import settled


class LeNet(nn.Module):
  """2 x [5x5 convolution without padding, ReLU, 2x2 max pool], two hidden linear layers with ReLU,
  linear classifier.

  At the width of the paper the layers have 6 and 16 channels and 120 and 84 units; they scale
  together, so that width 3 is the half LeNet of the data-free papers (3, 8, 60, 42). Images of
  32x32 shrink to 14 and 5 pixels; 28x28x1 gets two pixels of padding and does the same. With ten
  classes it has 62,006 parameters at 32x32x3 and 61,706 at 28x28x1. PyTorch's default
  initialisation.

  Attributes:
    num_classes: outputs.
    width: channels of the first convolution; the others are 8/3 (rounded down), 20 and 14 times as
      wide.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'block1', 'block2' the maps behind each pool,
    'block3', 'block4' the hidden units, 'embedding' = the last of them).

  Source: LeCun et al., Proc. IEEE 1998, in the form of the public code of Zhao et al., ICLR 2021
    (Dataset Condensation).

  >>> import jax, jax.numpy as jnp
  >>> net = LeNet(num_classes=10)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 28, 28, 1)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 28, 28, 1)))
  >>> features['block2'].shape, features['embedding'].shape
  ((2, 5, 5, 16), (2, 84))
  """

  num_classes: int
  width: int = 6
  dtype: str = 'float32'
  choices: ClassVar[dict] = {}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for images of which the convolutions leave nothing."""
    if min(framing.sides(image_shape)) < 16:
      raise errors.UserError(
        f'A lenet needs images of at least 16x16 pixels; got {image_shape[0]}x{image_shape[1]}.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    features = {}
    padding = framing.margin(x.shape[1:])
    x = x.astype(dtype)
    for block, channels in enumerate((self.width, self.width * 8 // 3), 1):
      x = pooling.max_pool(
        nn.relu(Conv(channels, (5, 5), padding=padding, dtype=dtype, name=f'conv{block}')(x))
      )
      features[f'block{block}'] = x
      padding = 0
    x = x.reshape(len(x), -1)
    for block, units in enumerate((self.width * 20, self.width * 14), 3):
      x = nn.relu(Linear(units, dtype=dtype, name=f'linear{block - 2}')(x))
      features[f'block{block}'] = x
    features['embedding'] = x
    return Linear(self.num_classes, name='classifier')(x), features

"""ConvNet-D, the network that condensed sets are made and scored with."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import framing, normalisation
from jaxdistill.models.convolution import Conv
from jaxdistill.models.linear import Linear
from jaxdistill.numerics import settled


class ConvNet(nn.Module):
  """D x [3x3 convolution, normalisation, ReLU, 2x2 average pool], flattened into a linear
  classifier.

  [n, h, w, c] -> maps of side h/2, h/4, ... h/2^D (halves rounded down) -> embedding of width *
  (h/2^D) * (w/2^D) numbers. Images of 28x28x1 get three pixels of padding in the first convolution,
  so that their maps are 32, 16, 8, 4 as for 32x32. With ten classes, depth 3 and 32x32x3 it has
  320,010 parameters and a 2048-d embedding; papers take depth 3 at 28 and 32 pixels, 4 at 64, 5 at
  128. PyTorch's default initialisation.

  Attributes:
    num_classes: outputs.
    width: channels of every convolution.
    depth: number of blocks.
    norm: 'instance', 'batch', 'group' or 'none'.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'block1' ... 'blockD' the maps behind each pool,
    'embedding' [n, d]).

  Source: Gidaris & Komodakis, CVPR 2018, in the form of Zhao et al., ICLR 2021 (Dataset
  Condensation) and its public code. The flattening runs over height, width, channel, so that an
  imported PyTorch classifier would have to be permuted.

  >>> import jax, jax.numpy as jnp
  >>> net = ConvNet(num_classes=10, width=4)
  >>> (logits, features), _ = net.init_with_output(jax.random.key(0), jnp.zeros((2, 16, 16, 1)))
  >>> logits.shape, features['embedding'].shape, sorted(features)
  ((2, 10), (2, 16), ['block1', 'block2', 'block3', 'embedding'])
  """

  num_classes: int
  width: int = 128
  depth: int = 3
  norm: str = 'instance'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'norm': normalisation.NAMES}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError where the image is too small for the depth."""
    side = min(framing.sides(image_shape))
    deepest = side.bit_length() - 1
    if self.depth > deepest:
      least = 2**self.depth
      raise errors.UserError(
        f'A convnet of depth {self.depth} needs images of at least {least}x{least} pixels; '
        f'{image_shape[0]}x{image_shape[1]} allow a depth of {deepest} at most.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    norm = normalisation.norm(self.norm, dtype)
    features = {}
    padding = 1 + framing.margin(x.shape[1:])
    x = x.astype(dtype)
    for block in range(1, self.depth + 1):
      conv = Conv(self.width, padding=padding, dtype=dtype, name=f'conv{block}')
      x = normalisation.conv_norm_relu(conv, norm(name=f'norm{block}'), x, train, window=2)
      features[f'block{block}'] = x
      padding = 1
    features['embedding'] = x.reshape(len(x), -1)
    return Linear(self.num_classes, name='classifier')(features['embedding']), features

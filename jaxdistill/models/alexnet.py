"""AlexNet for small images."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import framing, normalisation, pooling
from jaxdistill.models.convolution import Conv
from jaxdistill.models.linear import Linear
from jaxdistill.numerics import settled

# Of every convolution: channels in halves of the width, side of the kernel, whether a pool follows.
_LAYERS = ((2, 5, True), (3, 5, True), (4, 3, False), (3, 3, False), (3, 3, True))


class AlexNet(nn.Module):
  """Five convolutions with ReLU, three of them with a 2x2 max pool behind, flattened into one
  linear classifier.

  Channels are width * (1, 1.5, 2, 1.5, 1.5), kernels 5x5, 5x5 and 3x3 for the rest, with padding
  that keeps the sides. Images of 32x32 shrink to 16, 8 and 4 pixels; 28x28x1 gets four pixels of
  padding in the first convolution and does the same. With ten classes and 32x32x3 it has 1,872,202
  parameters and a 3072-d embedding. PyTorch's default initialisation, no dropout.

  Attributes:
    num_classes: outputs.
    width: channels of the first convolution, an even number.
    norm: between convolution and ReLU: 'instance', 'batch', 'group' or 'none'.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'block1' ... 'block3' the maps behind each pool,
    'embedding' [n, d]).

  Source: Krizhevsky et al., NeurIPS 2012, in the form of the public code of Zhao et al., ICLR 2021
  (Dataset Condensation), without normalisation; that of Zhao & Bilen, WACV 2023 (DM) adds batch
  norm.

  >>> import jax, jax.numpy as jnp
  >>> net = AlexNet(num_classes=10, width=4)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 16, 16, 1)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 16, 16, 1)))
  >>> features['block3'].shape, features['embedding'].shape
  ((2, 2, 2, 6), (2, 24))
  """

  num_classes: int
  width: int = 128
  norm: str = 'none'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'norm': normalisation.NAMES}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for an odd width and for images that three pools leave nothing of."""
    if self.width % 2:
      raise errors.UserError(
        'The width of an alexnet is an even number, because layers have one and a half times '
        'as many '
        f'channels; got {self.width}.'
      )
    if min(image_shape[:2]) < 8:
      raise errors.UserError(
        'An alexnet halves its maps three times and needs images of at least 8x8 pixels; '
        f'got {image_shape[0]}x{image_shape[1]}.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    norm = normalisation.norm(self.norm, dtype)
    features = {}
    margin = framing.margin(x.shape[1:])
    x = x.astype(dtype)
    for layer, (halves, size, pooled) in enumerate(_LAYERS, 1):
      conv = Conv(
        halves * self.width // 2,
        (size, size),
        padding=size // 2 + margin,
        dtype=dtype,
        name=f'conv{layer}',
      )
      x = normalisation.conv_norm_relu(conv, norm(name=f'norm{layer}'), x, train)
      margin = 0
      if pooled:
        x = pooling.max_pool(x)
        features[f'block{len(features) + 1}'] = x
    features['embedding'] = x.reshape(len(x), -1)
    return Linear(self.num_classes, name='classifier')(features['embedding']), features

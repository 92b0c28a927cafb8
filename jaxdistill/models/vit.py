"""A small vision transformer."""

import functools
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import normalisation
from jaxdistill.models.convolution import Conv
from jaxdistill.models.linear import Linear
from jaxdistill.numerics import settled

# What the network chooses for itself: patches of at least this side, and no more of them than this.
_SMALLEST, _MOST = 4, 64
# Standard deviation at which the positions start.
_POSITIONS = 0.02


class ViT(nn.Module):
  """Patches as tokens + learned positions, depth x pre-norm transformer block, layer norm, mean,
  linear classifier.

    x <- x + attention(norm(x)),   x <- x + linear(GELU(linear(norm(x))))

  The mean over the patches takes the place of a class token. With ten classes and 32x32x3 (64
  patches of 4x4) it has 2,693,578 parameters and a 192-d embedding. Linear layers start by
  PyTorch's defaults, positions at N(0, 0.02^2); no dropout.

  Attributes:
    num_classes: outputs.
    width: numbers of a token, divisible by `heads`.
    depth: number of blocks.
    heads: of the attention.
    expansion: hidden units of a block's perceptron, in widths.
    patch: side of a patch; 0: the smallest from 4 up that divides both sides of the image into at
      most 64 patches.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'block1' ... 'blockD' the tokens behind each block
    as maps [n, h / patch, w / patch, width], 'embedding' [n, width]).

  Source: Dosovitskiy et al., ICLR 2021. The size, the mean and the patches are our own choice for
  16 to 64 pixels; the ViT of DC-Bench (Cui et al., NeurIPS 2022) is about width 512, heads 8 and
  expansion 1 with a class token and dropout.

  >>> import jax, jax.numpy as jnp
  >>> net = ViT(num_classes=10, width=8, depth=1)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 28, 28, 1)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 28, 28, 1)))
  >>> features['block1'].shape, features['embedding'].shape
  ((2, 7, 7, 8), (2, 8))
  """

  num_classes: int
  width: int = 192
  depth: int = 6
  heads: int = 4
  expansion: int = 4
  patch: int = 0
  dtype: str = 'float32'
  choices: ClassVar[dict] = {}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError where the heads do not divide the width, or no patch the image."""
    if self.width % self.heads:
      raise errors.UserError(
        f'The width of a vit is divisible by its number of heads; got {self.width} and '
        f'{self.heads}.'
      )
    height, width, _ = image_shape
    patch = self.patch or _patch(height, width)
    if not patch:
      raise errors.UserError(
        f'No patch from {_SMALLEST}x{_SMALLEST} up cuts images of {height}x{width} into 2 to '
        f'{_MOST} '
        'equal patches for a vit: enlarge the images, or set the field patch.'
      )
    if height % patch or width % patch:
      raise errors.UserError(
        f'A vit cuts images into equal patches; {patch}x{patch} do not divide {height}x{width}.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    patch = self.patch or _patch(*x.shape[1:3])
    x = Conv(self.width, (patch, patch), (patch, patch), padding=0, dtype=dtype, name='patches')(
      x.astype(dtype)
    )
    map_shape = x.shape
    x = x.reshape(map_shape[0], -1, self.width)
    positions = self.param('positions', nn.initializers.normal(_POSITIONS), (1, *x.shape[1:]))
    x = x + positions.astype(dtype)
    features = {}
    for block in range(1, self.depth + 1):
      x = Block(self.heads, self.expansion * self.width, dtype, name=f'block{block}')(x)
      features[f'block{block}'] = x.reshape(map_shape)
    x = layer_norm(dtype, 'norm')(x)
    features['embedding'] = x.astype(jnp.float32).mean(1).astype(dtype)
    return Linear(self.num_classes, name='classifier')(features['embedding']), features


class Block(nn.Module):
  """Self-attention and a perceptron of one hidden layer, each behind a layer norm and added to its
  input [n, tokens, d].

  Attributes:
    heads: of the attention.
    hidden: units of the perceptron.
    dtype: of the computation.
    epsilon: of the layer norms.
    linear: what makes the linear layers, with their initialisers.
  """

  heads: int
  hidden: int
  dtype: jnp.dtype
  epsilon: float = normalisation.EPSILON
  linear: Callable[..., nn.Module] = Linear

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    n, tokens, width = x.shape
    norm = functools.partial(layer_norm, self.dtype, epsilon=self.epsilon)
    linear = functools.partial(self.linear, dtype=self.dtype)
    y = linear(3 * width, name='qkv')(norm(name='norm1')(x))
    query, key, value = jnp.moveaxis(y.reshape(n, tokens, 3, self.heads, -1), 2, 0)
    y = jax.nn.dot_product_attention(query, key, value).reshape(n, tokens, width)
    x = x + linear(width, name='out')(y)
    y = linear(self.hidden, name='expand')(norm(name='norm2')(x))
    return x + linear(width, name='contract')(nn.gelu(y, approximate=False))


def layer_norm(dtype: jnp.dtype, name: str, epsilon: float = normalisation.EPSILON) -> nn.LayerNorm:
  """The layer norm of transformers."""
  return nn.LayerNorm(epsilon=epsilon, dtype=dtype, name=name)


def _patch(height: int, width: int) -> int:
  """The side of a patch that suits the image, or 0."""
  fits = (
    side
    for side in range(_SMALLEST, max(height, width) // 2 + 1)
    if not height % side and not width % side and height * width // side**2 <= _MOST
  )
  return next(fits, 0)

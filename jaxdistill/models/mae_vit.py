"""The vision transformer of masked autoencoders: fixed positions, a class token, timm's layout."""

import functools
import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.models.convolution import Conv
from jaxdistill.models.linear import Linear
from jaxdistill.models.vit import Block, layer_norm
from jaxdistill.numerics import settled

EPSILON = 1e-6  # of the layer norms
# Standard deviation at which tokens and learned positions start.
TOKENS = nn.initializers.normal(0.02)
# The linear layers of a masked autoencoder.
XavierLinear = functools.partial(
  Linear, kernel_init=nn.initializers.xavier_uniform(), bias_init=nn.initializers.zeros
)
_HEAD = 64  # numbers of a token that one head takes, where the number of heads is not given
_RATIO = 10000.0  # about that of the longest to the shortest wave of the positions


class MaeViT(nn.Module):
  """Patches as tokens + positions, a class token, depth x pre-norm transformer block, layer norm,
  mean or class token, linear classifier.

  ViT-S/16 is width 384, depth 12, patch 16; ViT-B/16 width 768: with 1000 classes 21,975,016 and
  86,416,360 parameters, and 75,648 and 151,296 more with learned positions at 224 pixels. The
  defaults are for 32 pixels: 64 tokens of 192 numbers. Linear layers start Xavier-uniform, biases
  at 0, the class token at N(0, 0.02^2); no dropout.

  Attributes:
    num_classes: outputs.
    width: numbers of a token, divisible by `heads` and by 4.
    depth: number of blocks.
    heads: of the attention; 0: one for every 64 numbers of the width.
    expansion: hidden units of a block's perceptron, in widths.
    patch: side of a patch.
    pool: what the embedding is: 'mean' of the patches' tokens behind the last norm, or 'cls', the
      class token.
    positions: 'fixed' sines and cosines, see `waves`, or 'learned' from N(0, 0.02^2) as timm's
      supervised networks have them.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'block1' ... 'blockD' the patches' tokens behind
    each block as maps [n, h / patch, w / patch, width], 'tokens' [n, patches, width] and 'cls'
    [n, width] behind the last norm, 'embedding' [n, width]). Where only k patches are kept, blocks
    and 'tokens' are [n, k, width].

  Source: Dosovitskiy et al., ICLR 2021; He et al., CVPR 2022 (MAE), whose public code pools before
  the last norm in fine-tuning, here behind it. The defaults are our choice.

  >>> import jax, jax.numpy as jnp
  >>> net = MaeViT(num_classes=10, width=8, depth=1)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 32, 32, 3)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 32, 32, 3)))
  >>> features['block1'].shape, features['tokens'].shape, features['embedding'].shape
  ((2, 8, 8, 8), (2, 64, 8), (2, 8))
  """

  num_classes: int
  width: int = 192
  depth: int = 6
  heads: int = 0
  expansion: int = 4
  patch: int = 4
  pool: str = 'mean'
  positions: str = 'fixed'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'pool': ('mean', 'cls'), 'positions': ('fixed', 'learned')}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError where the heads or 4 do not divide the width, or the patch the image."""
    heads = self.heads or _heads(self.width)
    if self.width % heads or self.width % 4:
      raise errors.UserError(
        'The width of a mae_vit is divisible by 4 and by its number of heads; got '
        f'{self.width} and {heads}.'
      )
    height, width, _ = image_shape
    if height % self.patch or width % self.patch:
      raise errors.UserError(
        f'A mae_vit cuts images into equal patches; {self.patch}x{self.patch} do not divide '
        f'{height}x{width}: set the field patch.'
      )

  def grid(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns the patches of an image [..., h, w, c] along its height and its width."""
    height, width = image_shape[-3:-1]
    return height // self.patch, width // self.patch

  @settled()
  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool = False, keep: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits and features; `keep`: the positions [n, k] of the patches that enter, None for
    all."""
    dtype = jnp.dtype(self.dtype)
    patch = (self.patch, self.patch)
    x = Conv(
      self.width,
      patch,
      patch,
      padding=0,
      kernel_init=_flat_xavier,
      bias_init=nn.initializers.zeros,
      dtype=dtype,
      name='patches',
    )(x.astype(dtype))
    rows, map_shape = len(x), x.shape
    x = x.reshape(rows, -1, self.width)
    positions = self._positions(map_shape[1:3]).astype(dtype)
    x = x + positions[:, 1:]
    if keep is not None:
      x = jnp.take_along_axis(x, keep[:, :, None], axis=1)
      map_shape = x.shape
    cls = self.param('cls', TOKENS, (1, 1, self.width)).astype(dtype) + positions[:, :1]
    x = jnp.concatenate([jnp.broadcast_to(cls, (rows, 1, self.width)), x], axis=1)
    features = {}
    heads, hidden = self.heads or _heads(self.width), self.expansion * self.width
    for block in range(1, self.depth + 1):
      x = Block(heads, hidden, dtype, EPSILON, XavierLinear, name=f'block{block}')(x)
      features[f'block{block}'] = x[:, 1:].reshape(map_shape)
    x = layer_norm(dtype, 'norm', EPSILON)(x)
    features['cls'], features['tokens'] = x[:, 0], x[:, 1:]
    mean = features['tokens'].astype(jnp.float32).mean(1).astype(dtype)
    features['embedding'] = mean if self.pool == 'mean' else features['cls']
    return Linear(self.num_classes, name='classifier')(features['embedding']), features

  def _positions(self, grid):
    """What is added to the class token and to the patches, [1, 1 + patches, width]."""
    if self.positions == 'learned':
      return self.param('positions', TOKENS, (1, 1 + math.prod(grid), self.width))
    return jnp.asarray(np.pad(waves(grid, self.width), ((1, 0), (0, 0)))[None])


def waves(grid: tuple[int, int], width: int) -> np.ndarray:
  """Returns fixed positions: sines and cosines of the column, then of the row, of every patch.

  With q = width / 4 and frequencies w_i = 10000^(-i / q), i = 0 ... q - 1, the patch in row a and
  column b has the numbers sin(b w), cos(b w), sin(a w), cos(a w), each for all q frequencies. A
  class token has zeros.

  Args:
    grid: patches along height and width.
    width: numbers of a token, divisible by 4.

  Returns:
    float32 [patches, width], row by row.

  Source: the public code of He et al., CVPR 2022 (MAE), whose first half is the column too.

  >>> [round(float(number), 3) for number in waves((2, 2), 4)[1]]   # of row 0, column 1
  [0.841, 0.54, 0.0, 1.0]
  """
  quarter = width // 4
  frequencies = _RATIO ** (-np.arange(quarter) / quarter)
  rows, columns = np.indices(grid).reshape(2, -1, 1)
  x, y = columns * frequencies, rows * frequencies
  return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1).astype(np.float32)


def _heads(width: int) -> int:
  return max(1, width // _HEAD)


def _flat_xavier(key, shape, dtype=jnp.float32):
  """Xavier-uniform over the patch as one flat input."""
  flat = (math.prod(shape[:-1]), shape[-1])
  return nn.initializers.xavier_uniform()(key, flat, dtype).reshape(shape)

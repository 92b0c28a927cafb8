"""Masked autoencoding: random masks of static shape, the decoder that fills in what is missing, and
images as patches."""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import draws, errors
from jaxdistill.models import heads
from jaxdistill.models.mae_vit import EPSILON, TOKENS, XavierLinear, waves
from jaxdistill.models.vit import Block, layer_norm
from jaxdistill.numerics import settled, steady

_HEAD = 32  # numbers of a token that one head of the decoder takes


class Masking(NamedTuple):
  """Which L tokens of n images are kept.

  keep: int [n, k], their positions, in random order.
  restore: int [n, L], where each position stands among the kept tokens with the masked ones behind.
  masked: float32 [n, L], 1 where a token is masked, else 0.
  """

  keep: jax.Array
  restore: jax.Array
  masked: jax.Array


@steady
def random_masking(key: jax.Array, rows: int, tokens: int, ratio: float = 0.75) -> Masking:
  """Draws for every image a set of kept tokens, all sets of k = round((1 - ratio) L) as likely.

  k is at least 1 and does not depend on the draw, so that shapes are static.

  Args:
    key: of the draw.
    rows: images, n.
    tokens: L of an image.
    ratio: share that is masked, in [0, 1).

  Source: He et al., CVPR 2022 (MAE), which rounds k down.

  >>> masking = random_masking(jax.random.key(0), rows=2, tokens=8)
  >>> masking.keep.shape, masking.restore.shape, masking.masked.sum(1).tolist()
  ((2, 2), (2, 8), [6.0, 6.0])
  """
  kept = count_kept(tokens, ratio)
  order = jnp.argsort(draws.uniform(key, (rows, tokens)), axis=1)
  restore = jnp.argsort(order, axis=1)
  return Masking(order[:, :kept], restore, (restore >= kept).astype(jnp.float32))


def count_kept(tokens: int, ratio: float) -> int:
  """Returns how many of so many tokens are kept.

  Raises:
    UserError: for a ratio that is not in [0, 1).

  >>> count_kept(64, 0.75), count_kept(4, 0.9)
  (16, 1)
  """
  errors.real_numbers(**{'mask ratio': ratio})
  if not 0 <= ratio < 1:
    raise errors.UserError(f'The mask ratio is {ratio}; it must be at least 0 and below 1.')
  return max(1, round((1 - ratio) * tokens))


@steady
def take(tokens: jax.Array, keep: jax.Array) -> jax.Array:
  """Returns the tokens [n, k, d] at the positions `keep` [n, k] of [n, L, d].

  >>> take(jnp.arange(6.).reshape(1, 3, 2), jnp.array([[2, 0]])).tolist()
  [[[4.0, 5.0], [0.0, 1.0]]]
  """
  return jnp.take_along_axis(tokens, keep[:, :, None], axis=1)


class Decoder(nn.Module):
  """Linear layer, mask tokens where a token is missing, fixed positions, depth x transformer block,
  layer norm, linear output.

  The defaults are those of MAE's decoder, 512 numbers a token and 8 blocks of 16 heads. Linear
  layers start Xavier-uniform, the mask token at N(0, 0.02^2).

  Attributes:
    outputs: numbers for every position: patch * patch * channels for pixels, the encoder's width
      for its features.
    width: numbers of a token, divisible by `heads` and by 4.
    depth: number of blocks.
    heads: of the attention; 0: one for every 32 numbers of the width.
    expansion: hidden units of a block's perceptron, in widths.
    dtype: of the computation.

  Source: He et al., CVPR 2022 (MAE).

  >>> tokens, masking = jnp.ones((2, 4, 6)), random_masking(jax.random.key(0), 2, 16)
  >>> decode = lambda t: Decoder(5, width=8, depth=1).init_with_output(
  ...   jax.random.key(0), t, masking.restore, (4, 4))[0]
  >>> jax.eval_shape(decode, tokens).shape
  (2, 16, 5)
  """

  outputs: int
  width: int = 512
  depth: int = 8
  heads: int = 0
  expansion: int = 4
  dtype: str = 'float32'

  def check(self) -> None:
    """Raises a UserError where the heads or 4 do not divide the width."""
    heads = self._heads()
    if self.width % heads or self.width % 4:
      raise errors.UserError(
        "The width of a masked autoencoder's decoder is divisible by 4 and by its number of heads; "
        f'got {self.width} and {heads}.'
      )

  @settled()
  @nn.compact
  def __call__(
    self,
    tokens: jax.Array,
    restore: jax.Array,
    grid: tuple[int, int],
    cls: jax.Array | None = None,
  ) -> jax.Array:
    """Returns float32 [n, L, outputs], one row for every position, kept or masked.

    Args:
      tokens: the kept ones, [n, k, d].
      restore: int [n, L], see `Masking`.
      grid: patches along height and width, L together.
      cls: the class token [n, d], which the others may look at; None: there is none.
    """
    dtype = jnp.dtype(self.dtype)
    (rows, kept, _), length = tokens.shape, math.prod(grid)
    embed = XavierLinear(self.width, dtype=dtype, name='embed')
    mask = self.param('mask', TOKENS, (1, 1, self.width)).astype(dtype)
    missing = jnp.broadcast_to(mask, (rows, length - kept, self.width))
    if cls is None:
      x = take(jnp.concatenate([embed(tokens), missing], axis=1), restore)
    else:
      known = embed(jnp.concatenate([cls[:, None], tokens], axis=1))
      x = take(jnp.concatenate([known[:, 1:], missing], axis=1), restore)
    x = x + jnp.asarray(waves(grid, self.width), dtype)[None]
    if cls is not None:
      x = jnp.concatenate([known[:, :1], x], axis=1)
    for block in range(1, self.depth + 1):
      hidden = self.expansion * self.width
      x = Block(self._heads(), hidden, dtype, EPSILON, XavierLinear, name=f'block{block}')(x)
    x = layer_norm(dtype, 'norm', EPSILON)(x)[:, -length:]
    return XavierLinear(self.outputs, name='output')(x)

  def _heads(self):
    return self.heads or max(1, self.width // _HEAD)


class MaskedAutoencoder(nn.Module):
  """An encoder that sees the kept patches alone, and a decoder that fills in the others.

  Attributes:
    encoder: a `mae_vit.MaeViT`, whose classifier is neither made nor run, so that its variables are
      those of the encoder in `heads.Headed`.
    decoder: a `Decoder`.

  Source: He et al., CVPR 2022 (MAE).

  >>> from jaxdistill import models
  >>> encoder = models.build({'name': 'mae_vit', 'width': 8, 'depth': 1}, 10, (16, 16, 1))
  >>> net = MaskedAutoencoder(encoder, Decoder(4 * 4 * 1, width=8, depth=1))
  >>> masking = random_masking(jax.random.key(0), rows=2, tokens=16)
  >>> form = lambda x: net.init_with_output(jax.random.key(0), x, masking)
  >>> (pixels, features), variables = jax.eval_shape(form, jnp.zeros((2, 16, 16, 1)))
  >>> pixels.shape, features['tokens'].shape, sorted(variables['params'])
  ((2, 16, 16), (2, 4, 8), ['decoder', 'encoder'])
  """

  encoder: nn.Module
  decoder: Decoder

  @settled()
  @nn.compact
  def __call__(
    self, x: jax.Array, masking: Masking, train: bool = False
  ) -> tuple[jax.Array, dict[str, Any]]:
    """Returns what is decoded for every patch, float32 [n, L, outputs], and the encoder's
    features."""
    features = heads.encode(self.encoder, x, train, keep=masking.keep)
    grid = self.encoder.grid(x.shape)
    return self.decoder(features['tokens'], masking.restore, grid, features['cls']), features


@steady
def patchify(images: jax.Array, patch: int) -> jax.Array:
  """Cuts images [n, h, w, c] into patches [n, patches, patch * patch * c], from left to right and
  from top to bottom, the pixels of each likewise.

  >>> patchify(jnp.arange(8.).reshape(1, 2, 4, 1), 2).tolist()
  [[[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]]
  """
  n, height, width, channels = images.shape
  x = images.reshape(n, height // patch, patch, width // patch, patch, channels)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, -1, patch * patch * channels)


@steady
def unpatchify(patches: jax.Array, grid: tuple[int, int], patch: int) -> jax.Array:
  """Returns the images that `patchify` cut.

  >>> unpatchify(patchify(jnp.arange(8.).reshape(1, 2, 4, 1), 2), (1, 2), 2)[0, :, :, 0].tolist()
  [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]
  """
  n = len(patches)
  x = patches.reshape(n, *grid, patch, patch, -1).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(n, grid[0] * patch, grid[1] * patch, -1)


@steady
def pixel_targets(images: jax.Array, patch: int, normalise: bool = True) -> jax.Array:
  """Returns what a decoder is to paint: the pixels of every patch, float32 [n, patches, patch *
  patch * c], less their mean and by their standard deviation where `normalise` says so.

  The variance is the unbiased one, and 1e-6 is added to it.

  Source: He et al., CVPR 2022 (MAE), table 1d, with the constants of its public code.

  >>> targets = pixel_targets(jnp.array([0., 0., 2., 2.]).reshape(1, 2, 2, 1), 2)[0, 0]
  >>> [round(float(target), 3) for target in targets]   # +-1 / sqrt(4 / 3)
  [-0.866, -0.866, 0.866, 0.866]
  """
  pixels = patchify(images.astype(jnp.float32), patch)
  if not normalise:
    return pixels
  deviation = pixels - pixels.mean(-1, keepdims=True)
  variance = jnp.square(deviation).sum(-1, keepdims=True) / max(pixels.shape[-1] - 1, 1)
  return deviation * jax.lax.rsqrt(variance + EPSILON)

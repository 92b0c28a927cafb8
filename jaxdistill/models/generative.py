"""A classifier whose features can be reconstructed from a few of them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill.models import heads, mae
from jaxdistill.models.mae import Decoder, Masking
from jaxdistill.numerics import settled


class GenerativeClassifier(nn.Module):
  """A vision transformer with a head, and beside it a decoder that is given some of its output
  tokens and answers for all of them.

  Unlike in `mae.MaskedAutoencoder` the encoder always sees the whole image: tokens are masked
  behind it. Without a masking the decoder does not run, and the network is that of `heads.Headed`,
  with the same variables 'encoder' and 'head'.

  Attributes:
    encoder: a `mae_vit.MaeViT`.
    head: a module embedding -> (logits, projected).
    decoder: with as many outputs as a token has numbers.

  Returns:
    (logits float32 [n, classes], features: those of `heads.Headed`, and with a masking 'decoded'
    float32 [n, L, width]).

  Source: the base phase of Co-Memory (Bao et al., arXiv 2601.07117), by summaries of it.

  >>> from jaxdistill import models
  >>> encoder = models.build({'name': 'mae_vit', 'width': 8, 'depth': 1}, 10, (16, 16, 1))
  >>> head = heads.TwoLayerHead(10)
  >>> net = GenerativeClassifier(encoder, head, Decoder(8, width=12, depth=1))
  >>> images, masking = jnp.zeros((2, 16, 16, 1)), mae.random_masking(jax.random.key(0), 2, 16)
  >>> variables = jax.eval_shape(net.init, jax.random.key(0), images)
  >>> logits, features = jax.eval_shape(net.apply, variables, images, masking=masking)
  >>> sorted(variables['params']), logits.shape, features['decoded'].shape
  (['decoder', 'encoder', 'head'], (2, 10), (2, 16, 8))
  """

  encoder: nn.Module
  head: nn.Module
  decoder: Decoder

  @property
  def num_classes(self) -> int:
    """Outputs of the head."""
    return self.head.num_classes

  @settled()
  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool = False, masking: Masking | None = None
  ) -> tuple[jax.Array, dict[str, Any]]:
    features = heads.encode(self.encoder, x, train)
    logits, projected = self.head(features['embedding'])
    features = {**features, 'projected': projected}
    tokens = features['tokens']
    if masking is None and self.is_initializing():
      everything = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape[:2])
      masking = Masking(everything, everything, jnp.zeros(tokens.shape[:2]))
    if masking is not None:
      kept, grid = mae.take(tokens, masking.keep), self.encoder.grid(x.shape)
      features['decoded'] = self.decoder(kept, masking.restore, grid)
    return logits, features

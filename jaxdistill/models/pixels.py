"""A network behind its normalisation, for those who change images in their own units."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class OfPixels(nn.Module):
  """A network that is called on images in [0, 1] and normalises them itself.

      x -> network((x - mean) / std)

  Its variables are the network's own, under the same names, so that either reads what the other has
  learned.

  Attributes:
    network: of `models.build`.
    mean, std: per channel, of images in [0, 1].

  >>> from jaxdistill import models
  >>> net = models.build({'name': 'mlp', 'width': 4, 'depth': 1}, 3, (2, 2, 1))
  >>> images = jnp.full((1, 2, 2, 1), 0.5)
  >>> (logits, _), variables = OfPixels(net, (0.25,), (0.5,)).init_with_output(jax.random.key(0),
  ...   images)
  >>> bool((net.apply(variables, images)[0] == logits).all())  # (.5 - .25) / .5 = .5
  True
  """

  network: nn.Module
  mean: tuple[float, ...]
  std: tuple[float, ...]

  def setup(self):
    nn.share_scope(self, self.network)

  def __call__(self, images: jax.Array, train: bool = False):
    """Returns what the network does."""
    mean, std = (jnp.asarray(values).reshape(1, 1, 1, -1) for values in (self.mean, self.std))
    return self.network((images - mean) / std, train=train)

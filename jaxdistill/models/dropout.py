"""Dropout whose draws belong to the rows of a batch, not to the devices that hold them."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import draws, errors
from jaxdistill.models import normalisation

# What flax calls the stream of random numbers.
STREAM = 'dropout'


class Dropout(nn.Module):
  """y = m x / (1 - rate) in training, every m 0 with probability `rate` and else 1; else y = x.

  The draws of a row depend on its place in the whole batch, so that a batch that is spread over
  devices (`normalisation.synchronised`) gets those that it gets on one.

  Attributes:
    rate: probability, in [0, 1).

  Raises:
    UserError: in training, where no random numbers are given.

  Source: Srivastava et al., JMLR 2014, scaled in training as in PyTorch.

  >>> import jax, jax.numpy as jnp
  >>> y = Dropout(0.5).apply({}, jnp.ones((4, 9)), True, rngs={'dropout': jax.random.key(0)})
  >>> sorted(set(y.ravel().tolist())), Dropout(0.5).apply({}, jnp.ones((1, 2)), False).tolist()
  ([0.0, 2.0], [[1.0, 1.0]])
  """

  rate: float

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    if not train or not self.rate:
      return x
    if not self.has_rng(STREAM):
      raise errors.UserError(
        'A network with dropout needs random numbers in training: call '
        f'apply(variables, x, train=True, rngs={{{STREAM!r}: key}}), or set its dropout to 0.'
      )
    key = self.make_rng(STREAM)

    def of_row(row):
      return draws.coins(jax.random.fold_in(key, row), 1 - self.rate, x.shape[1:])

    kept = jax.vmap(of_row)(normalisation.row_numbers(len(x)))
    return jnp.where(kept, x / (1 - self.rate), 0).astype(x.dtype)


def is_random(network: nn.Module) -> bool:
  """Returns whether a network draws random numbers in training: it, or the encoder below its head,
  says so by an attribute `random`.

  >>> is_random(Dropout(0.5))
  False
  """
  return bool(getattr(getattr(network, 'encoder', network), 'random', False))

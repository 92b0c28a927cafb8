"""Relation modules: what one feature is to another, as a vector that is learned."""

import flax.linen as nn
import jax

from jaxdistill.models import initializers
from jaxdistill.models.linear import Linear


class Relation(nn.Module):
  """F(a, b) = W2 ReLU(W1 (a - b) + c1) + c2 of all pairs of anchors a and features b.

  W1 (a - b) is W1 a - W1 b, so that every feature is multiplied once, not once a pair. A vector
  added to both sides changes nothing.

  Attributes:
    width: r, numbers of a relation.
    hidden: units between.

  Returns:
    [A, n, width] for anchors [A, d] and features [n, d].

  Source: two layers on a difference as in CRRCD (Zhang et al., TCSVT 2023) after CRCD (Zhu et al.,
  CVPR 2021); the widths are our choice.

  >>> import jax.numpy as jnp
  >>> form = lambda a, b: Relation(4, hidden=3).init_with_output(jax.random.key(0), a, b)[0]
  >>> jax.eval_shape(form, jnp.ones((2, 5)), jnp.ones((7, 5))).shape
  (2, 7, 4)
  """

  width: int = 128
  hidden: int = 128

  @nn.compact
  def __call__(self, anchors: jax.Array, features: jax.Array, train: bool = False) -> jax.Array:
    del train
    width = anchors.shape[-1]
    project = Linear(self.hidden, use_bias=False, name='linear1')
    bias = self.param('bias', initializers.torch_uniform(width), (self.hidden,))
    difference = project(anchors)[:, None] - project(features)[None]
    return Linear(self.width, name='linear2')(nn.relu(difference + bias.reshape(1, 1, -1)))

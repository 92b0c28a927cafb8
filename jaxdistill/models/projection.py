"""Projections for contrastive losses, alone and beside a classifier."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill.losses import prototypes
from jaxdistill.models.linear import Linear


class Projection(nn.Module):
  """z = v / ||v|| with v = W f + b, or v = W2 ReLU(W1 f + b1) + b2 where there are hidden units:
  what contrastive losses compare.

  Attributes:
    width: numbers of z.
    hidden: units between; 0: a linear projection.

  Parameters: 'linear1' and, with hidden units, 'linear2'. PyTorch's default initialisation.

  Source: Chen et al., ICML 2020 (SimCLR) and He et al., CVPR 2020 (MoCo), whose width is 128. That
  of Sel-CL (Li et al., CVPR 2022) is linear; its other form has as many hidden units as f numbers.

  >>> import jax, jax.numpy as jnp
  >>> head, f = Projection(2), jnp.array([[0., 4.]])
  >>> head.apply({'params': {'linear1': {'kernel': jnp.eye(2), 'bias': jnp.array([3., 0.])}}}, f)
  Array([[0.6, 0.8]], dtype=float32)
  """

  width: int = 128
  hidden: int = 0

  @nn.compact
  def __call__(self, features: jax.Array) -> jax.Array:
    x = features.astype(jnp.float32)
    if self.hidden:
      x = nn.relu(Linear(self.hidden, name='linear1')(x))
    return prototypes.unit(Linear(self.width, name='linear2' if self.hidden else 'linear1')(x))


class ContrastiveHead(nn.Module):
  """logits = W^T f + b; 'projected' is the unit vector of a `Projection` of the same embedding f.

  Attributes:
    num_classes: outputs.
    width: numbers of 'projected'.
    hidden: units of the projection; 0: it is linear.

  Parameters: 'classifier' and 'projection'.

  Source: the two heads of Sel-CL (Li et al., CVPR 2022), after MOIT (Ortego et al., CVPR 2021).

  >>> import jax, jax.numpy as jnp
  >>> form = lambda f: ContrastiveHead(3, width=8).init_with_output(jax.random.key(0), f)
  >>> (logits, z), variables = jax.eval_shape(form, jnp.ones((2, 5)))
  >>> logits.shape, z.shape, sorted(variables['params'])
  ((2, 3), (2, 8), ['classifier', 'projection'])
  """

  num_classes: int
  width: int = 128
  hidden: int = 0

  @nn.compact
  def __call__(self, embedding: jax.Array) -> tuple[jax.Array, jax.Array]:
    embedding = embedding.astype(jnp.float32)
    projected = Projection(self.width, self.hidden, name='projection')(embedding)
    return Linear(self.num_classes, name='classifier')(embedding), projected

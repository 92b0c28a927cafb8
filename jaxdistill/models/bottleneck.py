"""Small networks on features: two linear layers with a batch norm, and a classifier alone."""

import flax.linen as nn
import jax

from jaxdistill.models import normalisation
from jaxdistill.models.linear import Linear


class Bottleneck(nn.Module):
  """a = ReLU(W2 ReLU(BN(W1 h + b1)) + b2), features [n, D] made to `width` numbers.

  The last ReLU is there because what a network pools has passed one: no student whose features are
  not negative comes nearer to a target of either sign than cosines of about 0.7.

  Attributes:
    width: of the output.
    hidden: units between.

  Source: the adaptation module of Bridge Distillation (Ge et al., TIP 2020) in our form.

  >>> import jax.numpy as jnp
  >>> form = lambda h: Bottleneck(3, hidden=4).init_with_output(jax.random.key(0), h)[0]
  >>> jax.eval_shape(form, jnp.ones((2, 5))).shape
  (2, 3)
  """

  width: int = 128
  hidden: int = 512

  @nn.compact
  def __call__(self, features: jax.Array, train: bool = False) -> jax.Array:
    x = Linear(self.hidden, name='linear1')(features)
    # The layer reads maps: a vector is one pixel.
    maps = x.reshape(len(x), 1, 1, self.hidden)
    x = normalisation.norm('batch')(name='norm')(maps, train).reshape(x.shape)
    return nn.relu(Linear(self.width, name='linear2')(nn.relu(x)))


class Classifier(nn.Module):
  """{'logits': W f + b}, whose one layer is called as that of every network is: 'classifier'.

  Attributes:
    num_classes: outputs.

  >>> import jax.numpy as jnp
  >>> form = lambda f: Classifier(3).init_with_output(jax.random.key(0), f)
  >>> outputs, variables = jax.eval_shape(form, jnp.ones((2, 5)))
  >>> outputs['logits'].shape, list(variables['params'])
  ((2, 3), ['classifier'])
  """

  num_classes: int

  @nn.compact
  def __call__(self, features: jax.Array, train: bool = False) -> dict[str, jax.Array]:
    del train
    return {'logits': Linear(self.num_classes, name='classifier')(features)}

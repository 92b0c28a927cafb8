"""Guided modules: what a stage of a network knows, brought to a width at which two networks
compare."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill.models import normalisation, pooling
from jaxdistill.models.convolution import Conv
from jaxdistill.models.linear import Linear


class Guided(nn.Module):
  """1x1 convolution, batch norm, ReLU, depthwise 3x3 convolution, batch norm, ReLU, global average,
  linear to `width`: g; and a linear classifier of g: q.

  Both convolutions keep the number of channels.

  Attributes:
    num_classes: of q.
    width: numbers of g.

  Returns:
    {'guided': g [n, width], 'logits': q [n, num_classes]} of maps [n, h, w, c] of any size.

  Source: simple modules between the blocks of teacher and student are EvoKD's (Zhang et al., TCSVT
  2021); what they hold is our choice.

  >>> import jax.numpy as jnp
  >>> form = lambda maps: Guided(3, width=5).init_with_output(jax.random.key(0), maps)[0]
  >>> outputs = jax.eval_shape(form, jnp.ones((2, 4, 4, 6)))
  >>> outputs['guided'].shape, outputs['logits'].shape
  ((2, 5), (2, 3))
  """

  num_classes: int
  width: int = 128

  @nn.compact
  def __call__(self, maps: jax.Array, train: bool = False) -> dict[str, jax.Array]:
    norm = normalisation.norm('batch')
    x, channels = maps.astype(jnp.float32), maps.shape[-1]
    x = Conv(channels, (1, 1), use_bias=False, name='conv1')(x)
    x = nn.relu(norm(name='norm1')(x, train))
    x = Conv(channels, use_bias=False, feature_group_count=channels, name='conv2')(x)
    x = nn.relu(norm(name='norm2')(x, train))
    guided = Linear(self.width, name='linear')(pooling.global_average(x))
    return {'guided': guided, 'logits': Linear(self.num_classes, name='classifier')(guided)}

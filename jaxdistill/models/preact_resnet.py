"""Pre-activation residual networks of four stages for small images."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import normalisation, pooling, stages
from jaxdistill.models.imagenet_resnet import BLOCKS
from jaxdistill.models.linear import Linear
from jaxdistill.models.resnet import bare_conv
from jaxdistill.models.wrn import PreActivationBlock
from jaxdistill.numerics import settled

_DEPTHS = (10, 18, 34)  # those of basic blocks


class PreActResNet(nn.Module):
  """3x3 stem, four stages of pre-activation blocks, norm, ReLU, global average, linear classifier.

  Stages have width * (1, 2, 4, 8) channels on maps of side h, h/2, h/4 and h/8 (rounded up); where
  the shape changes the shortcut is a 1x1 convolution without normalisation. With ten classes and
  three channels depth 18 has 11,172,170 parameters; 1,024 fewer without the last norm, 128 more
  with one behind the stem. Convolutions start He-normal over the fan-out and have no bias unless
  there is no normalisation.

  Attributes:
    num_classes: outputs.
    width: channels of the stem and the first stage.
    depth: 10, 18 or 34.
    norm: 'instance', 'batch', 'group' or 'none'.
    stem_norm: whether norm and ReLU follow the stem.
    last_norm: whether they follow the last stage; else the raw sums are averaged.
    shortcut: what its convolution reads, 'active' what the first convolution of the block reads,
      'raw' what the block reads.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'stem', behind its ReLU if it has one; 'stage1' ...
    'stage4' (and 'block1' ...) the raw sums behind each stage; 'stage1_pre' ... the same behind the
    next norm, behind the last stage without one the raw sums again; 'embedding' [n, 8 width]).

  Source: He et al., ECCV 2016. The defaults are the network of adversarial training (Madry-type
  codes for CIFAR); Sel-CL (Li et al., CVPR 2022) has stem_norm=True and last_norm=False.

  >>> import jax, jax.numpy as jnp
  >>> net = PreActResNet(num_classes=10, width=4, depth=10, last_norm=False)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 16, 16, 3)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 16, 16, 3)))
  >>> logits.shape, features['stage4'].shape, features['stage1_pre'].shape
  ((2, 10), (2, 2, 2, 32), (2, 16, 16, 4))
  """

  num_classes: int
  width: int = 64
  depth: int = 18
  norm: str = 'batch'
  stem_norm: bool = False
  last_norm: bool = True
  shortcut: str = 'active'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {
    'norm': normalisation.NAMES,
    'depth': _DEPTHS,
    'stem_norm': (False, True),
    'last_norm': (False, True),
    'shortcut': ('active', 'raw'),
  }
  pre_activation: ClassVar[bool] = True

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for maps that end as one pixel under instance norm."""
    if self.norm == 'instance' and max(image_shape[:2]) <= 8:
      raise errors.UserError(
        'Under instance norm a preact_resnet needs images of more than 8 pixels a side, else its '
        f'last maps are one pixel that normalises to zero; got {image_shape[0]}x{image_shape[1]}.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    norm = normalisation.norm(self.norm, dtype)
    stem = bare_conv(self.width, 3, 1, self.norm, dtype, 'conv')
    x = x.astype(dtype)
    if self.stem_norm:
      x = normalisation.conv_norm_relu(stem, norm(name='stem_norm'), x, train)
    else:
      x = stem(x)
    features = {'stem': x}
    last = len(BLOCKS[self.depth])
    for stage, blocks in enumerate(BLOCKS[self.depth], 1):
      for block in range(1, blocks + 1):
        layer = PreActivationBlock(
          self.width * 2 ** (stage - 1),
          2 if stage > 1 and block == 1 else 1,
          self.norm,
          dtype,
          self.shortcut,
          name=f'stage{stage}_block{block}',
        )
        total, normalised = layer(x, train)
        if stage > 1 and block == 1:
          features |= stages.named(stage - 1, normalised, x)
        x = total
    normalised = norm(name='norm')(x, train) if self.last_norm else x
    features |= stages.named(last, normalised, x)
    features['embedding'] = pooling.global_average(nn.relu(normalised) if self.last_norm else x)
    return Linear(self.num_classes, name='classifier')(features['embedding']), features

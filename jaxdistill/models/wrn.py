"""Wide residual networks, whose normalisation and ReLU come before the convolutions."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import normalisation, pooling, stages
from jaxdistill.models.linear import Linear
from jaxdistill.models.resnet import bare_conv
from jaxdistill.numerics import settled


class WideResNet(nn.Module):
  """WRN-d-k for small images: 3x3 stem, three stages of (d - 4) / 6 pre-activation blocks, norm,
  ReLU, global average, linear classifier; no dropout.

  Stages have width, 2 width and 4 width channels, width = 16 k, on maps of side h, h/2 and h/4
  (rounded up). With 100 classes WRN-40-2, WRN-16-2 and WRN-40-1 have 2,255,156, 703,284 and 569,780
  parameters; with ten classes WRN-28-10 and WRN-34-10, the networks of the papers on adversarial
  training, have 36,479,194 and 46,160,474. Convolutions start He-normal over the fan-out and have
  no bias unless there is no normalisation; the bias of the classifier starts at 0.

  Attributes:
    num_classes: outputs.
    width: channels of the first stage, 16 k.
    depth: 10, 16, 22, 28, 34, 40, ...
    norm: 'instance', 'batch', 'group' or 'none'.
    stem: channels of the stem.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'stem' the maps of the stem, which has no ReLU,
    'stage1' ... 'stage3' (and 'block1' ...) the raw sums behind each stage, 'stage1_pre' ... the
    same behind the next norm, 'embedding' [n, 4 width]).

  Source: Zagoruyko & Komodakis, BMVC 2016, in the form of the public code of Tian et al., ICLR 2020
  (CRD); the names of the features are those of `models.stages`.

  >>> import jax, jax.numpy as jnp
  >>> net = WideResNet(num_classes=10, width=4, depth=10)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 8, 8, 3)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 8, 8, 3)))
  >>> logits.shape, features['stage3'].shape, features['stage1_pre'].shape
  ((2, 10), (2, 2, 2, 16), (2, 8, 8, 4))
  """

  num_classes: int
  width: int = 32
  depth: int = 40
  norm: str = 'batch'
  stem: int = 16
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'norm': normalisation.NAMES}
  pre_activation: ClassVar[bool] = True

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for a depth that is not 6 k + 4, and for maps that end as one pixel under
    instance norm."""
    if self.depth < 10 or self.depth % 6 != 4:
      raise errors.UserError(
        f'The depth of a wrn is 6 k + 4 (10, 16, 22, 28, 40, ...); got {self.depth}.'
      )
    if self.norm == 'instance' and max(image_shape[:2]) <= 4:
      raise errors.UserError(
        'Under instance norm a wrn needs images of more than 4 pixels a side, else its last maps '
        f'are one pixel that normalises to zero; got {image_shape[0]}x{image_shape[1]}.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    x = bare_conv(self.stem, 3, 1, self.norm, dtype, 'conv')(x.astype(dtype))
    features = {'stem': x}
    for stage in (1, 2, 3):
      for block in range(1, (self.depth - 4) // 6 + 1):
        stride = 2 if stage > 1 and block == 1 else 1
        width = self.width * 2 ** (stage - 1)
        layer = PreActivationBlock(
          width, stride, self.norm, dtype, name=f'stage{stage}_block{block}'
        )
        total, normalised = layer(x, train)
        if stage > 1 and block == 1:
          features |= stages.named(stage - 1, normalised, x)
        x = total
    normalised = normalisation.norm(self.norm, dtype)(name='norm')(x, train)
    features |= stages.named(3, normalised, x)
    features['embedding'] = pooling.global_average(nn.relu(normalised))
    classifier = Linear(self.num_classes, bias_init=nn.initializers.zeros, name='classifier')
    return classifier(features['embedding']), features


class PreActivationBlock(nn.Module):
  """conv(ReLU(norm(conv(a)))) + shortcut with a = ReLU(norm(x)), two 3x3 convolutions, the first
  with the stride.

  The shortcut is x, or a 1x1 convolution where the shape changes: of a ('active'), or of x ('raw').

  Returns:
    (the sum, norm(x)).
  """

  features: int
  stride: int
  norm: str
  dtype: jnp.dtype
  shortcut: str = 'active'

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
    norm = normalisation.norm(self.norm, self.dtype)
    normalised = norm(name='norm1')(x, train)
    active = nn.relu(normalised)
    conv = bare_conv(self.features, 3, self.stride, self.norm, self.dtype, 'conv1')
    y = normalisation.conv_norm_relu(conv, norm(name='norm2'), active, train)
    y = bare_conv(self.features, 3, 1, self.norm, self.dtype, 'conv2')(y)
    if self.stride == 1 and x.shape[-1] == self.features:
      return y + x, normalised
    shortcut = bare_conv(self.features, 1, self.stride, self.norm, self.dtype, 'conv_shortcut')
    return y + shortcut(active if self.shortcut == 'active' else x), normalised

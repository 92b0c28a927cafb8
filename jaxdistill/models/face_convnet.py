"""Plain small convolutional networks for small faces: the students of Bridge Distillation and of
Selective KD."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import framing, normalisation, pooling, stages
from jaxdistill.models.convolution import Conv
from jaxdistill.models.linear import Linear
from jaxdistill.numerics import settled

# Channels of the 3x3 convolutions by stage; a pool stands between two stages.
_CHANNELS = {
  'bridge': ((16, 32, 32), (64, 64), (128,)),
  'selective': ((32, 32), (64, 64), (128, 128), (256,)),
}


class FaceConvNet(nn.Module):
  """3x3 convolutions with normalisation and ReLU in stages, 2x2 max pools between them, global
  average, linear embedding, linear classifier.

  'bridge': 16, 32, 32 | 64, 64 | 128 channels; 160,464 parameters before the classifier for images
  of three channels, which has 129 a class: 165,624 with 40 classes.
  'selective': 32, 32 | 64, 64 | 128, 128 | 256 channels; 615,776 before the classifier.

  Attributes:
    num_classes: outputs.
    form: 'bridge' or 'selective'.
    width: numbers of the embedding.
    norm: 'instance', 'batch', 'group' or 'none'.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'stage1' ..., 'stage1_pre' ..., see `models.stages`,
    'embedding' [n, width], by the cosine of which faces are compared).

  Source: both are our choice. Bridge Distillation (Ge et al., TIP 2020) has a student of 0.21
  million parameters; Selective KD (Ge et al., TIP 2019) has convolutions of 3x3, batch norm, a
  global average and an embedding of 128 numbers.

  >>> import jax, jax.numpy as jnp
  >>> from jaxdistill import models
  >>> def parameters(form):
  ...   net = FaceConvNet(num_classes=40, form=form)
  ...   return models.count(jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3))))
  >>> parameters('bridge'), parameters('selective')
  (165624, 620936)
  """

  num_classes: int
  form: str = 'bridge'
  width: int = 128
  norm: str = 'batch'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'form': tuple(_CHANNELS), 'norm': normalisation.NAMES}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError where the pools leave no pixel."""
    least = 2 ** (len(_CHANNELS[self.form]) - 1)
    if min(framing.sides(image_shape)) < least:
      raise errors.UserError(
        f'A face_convnet of the form {self.form!r} needs images of at least {least}x{least} '
        f'pixels; got {image_shape[0]}x{image_shape[1]}.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    norm = normalisation.norm(self.norm, dtype)
    features, x = {}, x.astype(dtype)
    for stage, channels in enumerate(_CHANNELS[self.form], 1):
      x = pooling.max_pool(x) if stage > 1 else x
      for layer, width in enumerate(channels, 1):
        conv = Conv(
          width,
          padding=1,
          use_bias=self.norm == 'none',
          dtype=dtype,
          name=f'stage{stage}_conv{layer}',
        )
        before = norm(name=f'stage{stage}_norm{layer}')(conv(x), train)
        x = nn.relu(before)
      features |= stages.named(stage, before, x)
    embedding = Linear(self.width, name='embedding')(pooling.global_average(x)).astype(dtype)
    features['embedding'] = embedding
    return Linear(self.num_classes, name='classifier')(embedding), features

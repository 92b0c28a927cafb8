"""VGG for small images."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import framing, initializers, normalisation, pooling, stages
from jaxdistill.models.convolution import Conv
from jaxdistill.models.linear import Linear
from jaxdistill.numerics import settled

# Depth -> 3x3 convolutions of each stage (Simonyan & Zisserman, configurations A, B, D and E); the
# linear layer counts as three there.
LAYERS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(nn.Module):
  """Five stages of [3x3 convolution, normalisation, ReLU] with a 2x2 max pool behind each, then one
  linear classifier.

  Stages have width * (1, 2, 4, 8, 8) channels. Images of 32x32 shrink to 16, 8, 4, 2 and 1 pixel;
  28x28x1 gets three pixels of padding in the first convolution and does the same. A pool that would
  leave less than two pixels to another stage is left out, because instance norm turns a single
  pixel into zero: 16x16 shrinks to 8, 4, 2, 2 and 1. What is left of larger images is averaged.
  With ten classes and 32x32x3, VGG-11 has 9,231,114 parameters and a 512-d embedding. PyTorch's
  default initialisation, no dropout.

  Attributes:
    num_classes: outputs.
    width: channels of the first stage.
    depth: 11, 13, 16 or 19, counted as in the paper.
    norm: 'instance', 'batch', 'group' or 'none'.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'block1' ... 'block5' the maps behind each stage,
    'embedding' [n, 8 width]).

  Source: Simonyan & Zisserman, ICLR 2015, in the form of the public code of Zhao et al., ICLR 2021
  (Dataset Condensation), which takes 28 and 32 pixels only. Other sizes, that is the pools left out
  and the average, are our own choice.

  >>> import jax, jax.numpy as jnp
  >>> net = VGG(num_classes=10, width=4)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 16, 16, 1)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 16, 16, 1)))
  >>> [features[f'block{stage}'].shape[1] for stage in range(1, 6)], features['embedding'].shape
  ([8, 4, 2, 2, 1], (2, 32))
  """

  num_classes: int
  width: int = 64
  depth: int = 11
  norm: str = 'instance'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'norm': normalisation.NAMES, 'depth': tuple(LAYERS)}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError where there is nothing to pool."""
    if min(image_shape[:2]) < 2:
      raise errors.UserError(
        f'A vgg needs images of at least 2x2 pixels; got {image_shape[0]}x{image_shape[1]}.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    norm = normalisation.norm(self.norm, dtype)
    features = {}
    padding = 1 + framing.margin(x.shape[1:])
    x = x.astype(dtype)
    for stage, layers in enumerate(LAYERS[self.depth], 1):
      for layer in range(1, layers + 1):
        conv = Conv(
          self.width * min(2 ** (stage - 1), 8),
          padding=padding,
          dtype=dtype,
          name=f'stage{stage}_conv{layer}',
        )
        x = normalisation.conv_norm_relu(conv, norm(name=f'stage{stage}_norm{layer}'), x, train)
        padding = 1
      last = stage == len(LAYERS[self.depth])
      if min(x.shape[1:3]) >= (2 if last else 4):
        x = pooling.max_pool(x)
      features[f'block{stage}'] = x
    features['embedding'] = pooling.global_average(x)
    return Linear(self.num_classes, name='classifier')(features['embedding']), features


class CifarVGG(nn.Module):
  """The VGG of the literature on distillation: five blocks of [3x3 convolution, normalisation,
  ReLU], a 2x2 max pool behind the first three, global average, one linear classifier.

  Blocks have width * (1, 2, 4, 8, 8) channels. Images of more than 32 pixels are pooled behind the
  fourth block too; a pool that would leave less than one pixel is left out. With 100 classes VGG-8
  and VGG-13 have 3,965,028 and 9,462,180 parameters. Convolutions start He-normal over the fan-out
  with biases of 0, the classifier normal with a standard deviation of 0.01.

  Attributes:
    num_classes: outputs.
    width: channels of the first block.
    depth: 8, 11, 13, 16 or 19, counted as in the paper.
    norm: 'instance', 'batch', 'group' or 'none'.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'stem' the first block's maps, 'stage1' ... 'stage4'
    those of the others before their pool, 'stage1_pre' ... before their ReLU, see `models.stages`;
    'block1' ... like 'stage1' ..., 'embedding' [n, 8 width]).

  Source: Simonyan & Zisserman, ICLR 2015, in the form of the public code of Tian et al., ICLR 2020
  (CRD), which has the fourth pool at 64 pixels alone; other sizes are our own choice.

  >>> import jax, jax.numpy as jnp
  >>> net = CifarVGG(num_classes=10, width=4)
  >>> shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 32, 32, 3)))
  >>> logits, features = jax.eval_shape(net.apply, shapes, jnp.zeros((2, 32, 32, 3)))
  >>> [features[f'stage{stage}'].shape[1] for stage in range(1, 5)], features['embedding'].shape
  ([16, 8, 4, 4], (2, 32))
  """

  num_classes: int
  width: int = 64
  depth: int = 8
  norm: str = 'batch'
  dtype: str = 'float32'
  choices: ClassVar[dict] = {'norm': normalisation.NAMES, 'depth': (8, *LAYERS)}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for maps that end as one pixel under instance norm."""
    if self.norm == 'instance' and max(image_shape[:2]) < 16:
      raise errors.UserError(
        'Under instance norm a cifar_vgg needs images of at least 16 pixels on one side, else its '
        f'last maps are one pixel that normalises to zero; got {image_shape[0]}x{image_shape[1]}.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype = jnp.dtype(self.dtype)
    norm = normalisation.norm(self.norm, dtype)
    layers = LAYERS.get(self.depth, (1,) * 5)
    pools = 4 if max(x.shape[1:3]) > 32 else 3
    features = {}
    x = x.astype(dtype)
    for stage in range(5):
      block = f'stage{stage}' if stage else 'stem'
      for layer in range(1, layers[stage] + 1):
        conv = Conv(
          self.width * min(2**stage, 8),
          padding=1,
          kernel_init=initializers.he_normal_fan_out,
          bias_init=nn.initializers.zeros,
          dtype=dtype,
          name=f'{block}_conv{layer}',
        )
        before = norm(name=f'{block}_norm{layer}')(conv(x), train)
        x = nn.relu(before)
      features |= stages.named(stage, before, x) if stage else {'stem': x}
      if stage < pools and min(x.shape[1:3]) > 1:
        x = pooling.max_pool(x)
    features['embedding'] = pooling.global_average(x)
    classifier = Linear(
      self.num_classes,
      kernel_init=nn.initializers.normal(0.01),
      bias_init=nn.initializers.zeros,
      name='classifier',
    )
    return classifier(features['embedding']), features

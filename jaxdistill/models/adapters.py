"""Modules that some losses of a student and its teacher train beside the student, so that features
of two networks compare: regressors, embeddings, connectors, fusion, factors.

All are called as module(features, ..., train), compute in float32 and start as PyTorch's layers do,
unless their text says otherwise.

Source: the shapes are those of the public codes RepDistiller and mdistiller.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill.losses import rows, vid_scale
from jaxdistill.models import initializers, normalisation
from jaxdistill.models.convolution import Conv, convolve
from jaxdistill.models.linear import Linear

# N(0, 2 / (kh kw c_out)), which OFD's connector starts with.
_he_normal = initializers.he_normal_fan_out
# Uniform on +-sqrt(3 / fan_in), with which ReviewKD's convolutions start.
_lecun_uniform = nn.initializers.variance_scaling(1.0, 'fan_in', 'uniform')
_SLOPE = 0.1  # of the leaky ReLU of FT
_WIDEST = 512  # channels of ReviewKD's fusion at most


class Regressor(nn.Module):
  """ReLU(BN(conv(F_s))), a map of the teacher's shape from a student's map: FitNet's regressor, and
  AB's connector without its ReLU.

  A student's map of twice the teacher's side goes through a 3x3 convolution of stride 2, one of
  half of it through a transposed 4x4 convolution of stride 2, another one that is no smaller
  through a convolution without padding of 1 + h_s - h_t by 1 + w_s - w_t pixels. What is smaller
  otherwise keeps its size under a 1x1 convolution, and the teacher's map has to be averaged down to
  it (our choice; the public code refuses it).

  Attributes:
    features: channels of the teacher's map.
    size: (height, width) of the teacher's map.
    relu: whether a ReLU ends it.

  Source: Romero et al., ICLR 2015; Heo et al., AAAI 2019; sizes as in RepDistiller.

  >>> form = lambda side: jax.eval_shape(
  ...   lambda x: Regressor(5, (8, 8)).init_with_output(jax.random.key(0), x)[0],
  ...   jnp.ones((2, side, side, 3)))
  >>> [form(side).shape for side in (16, 8, 4, 2)]
  [(2, 8, 8, 5), (2, 8, 8, 5), (2, 8, 8, 5), (2, 2, 2, 5)]
  """

  features: int
  size: tuple[int, int]
  relu: bool = True

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    x = x.astype(jnp.float32)
    (height, width), (to_height, to_width) = x.shape[1:3], self.size
    if (height, width) == (2 * to_height, 2 * to_width):
      x = Conv(self.features, (3, 3), (2, 2), padding=1, name='conv')(x)
    elif (2 * height, 2 * width) == (to_height, to_width):
      x = DoublingConv(self.features, name='conv')(x)
    elif height >= to_height and width >= to_width:
      size = (1 + height - to_height, 1 + width - to_width)
      x = Conv(self.features, size, padding='VALID', name='conv')(x)
    else:
      x = Conv(self.features, (1, 1), name='conv')(x)
    x = _batch_norm('norm')(x, train)
    return nn.relu(x) if self.relu else x


class DoublingConv(nn.Module):
  """A transposed 4x4 convolution of stride 2 and padding 1, which doubles the side of a map:
  y[2i + a] = sum over the two taps k with 2i + a = 2j + k - 1 of w[k] x[j], likewise across.

  Every one of the four outputs of a pixel is a 2x2 convolution.

  Attributes:
    features: number of output channels.

  >>> form = lambda x: DoublingConv(3).init_with_output(jax.random.key(0), x)[0]
  >>> jax.eval_shape(form, jnp.ones((1, 2, 4, 5))).shape
  (1, 4, 8, 3)
  """

  features: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    # PyTorch takes the outputs for the fan-in of a transposed convolution.
    init = initializers.torch_uniform(16 * self.features)
    kernel = self.param('kernel', init, (4, 4, x.shape[-1], self.features))
    bias = self.param('bias', init, (self.features,))
    # The taps of x[j - 1] and x[j], and of x[j] and x[j + 1], with the padding that they need.
    taps, pads = ((3, 1), (2, 0)), ((1, 0), (0, 1))
    lines = []
    for down in (0, 1):
      parts = []
      for across in (0, 1):
        part = kernel[jnp.array(taps[down])][:, jnp.array(taps[across])]
        parts.append(convolve(x, part, padding=(pads[down], pads[across])))
      lines.append(jnp.stack(parts, 3))
    n, h, w, _ = x.shape
    y = jnp.stack(lines, 2).reshape(n, 2 * h, 2 * w, self.features)
    return y + bias.reshape(1, 1, 1, -1)


class Connector(nn.Module):
  """BN(1x1 convolution of F_s), a student's map with the teacher's channels: OFD's connector.

  Attributes:
    features: channels of the teacher's map.

  Source: Heo et al., ICCV 2019, as RepDistiller and mdistiller have it: no bias, He-normal.

  >>> form = lambda x: Connector(5).init_with_output(jax.random.key(0), x)[0]
  >>> jax.eval_shape(form, jnp.ones((2, 4, 4, 3))).shape
  (2, 4, 4, 5)
  """

  features: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    x = x.astype(jnp.float32)
    conv = Conv(self.features, (1, 1), use_bias=False, kernel_init=_he_normal, name='conv')
    return _batch_norm('norm')(conv(x), train)


class Projection(nn.Module):
  """W f + b along the channels, of vectors [n, d] or maps [n, h, w, c]: the teacher's width where a
  loss needs one and the networks have two (our choice where the method has no adapter).

  Attributes:
    features: the teacher's width.

  >>> form = lambda x: Projection(5).init_with_output(jax.random.key(0), x)[0]
  >>> [jax.eval_shape(form, jnp.ones(shape)).shape for shape in ((2, 4, 4, 3), (2, 3))]
  [(2, 4, 4, 5), (2, 5)]
  """

  features: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    del train
    return Linear(self.features, name='linear')(x)


class Embedding(nn.Module):
  """W f + b of the flattened features [n, ...], of length 1 if `unit`: what CC and CRD compare.

  Attributes:
    width: of the embedding.
    unit: whether it is divided by its length.

  Source: Peng et al., ICCV 2019 (CC); Tian, Krishnan & Isola, ICLR 2020 (CRD, unit), 128 numbers.

  >>> form = lambda x: Embedding().init_with_output(jax.random.key(0), x)[0]
  >>> jax.eval_shape(form, jnp.ones((2, 2, 2, 3))).shape
  (2, 128)
  """

  width: int = 128
  unit: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    del train
    y = Linear(self.width, name='linear')(rows.flat(x))
    return rows.directions(y) if self.unit else y


class VariationalRegressor(nn.Module):
  """VID's normal distribution of the teacher's map given the student's: three 1x1 convolutions
  without bias, two ReLUs between them, all with the teacher's channels; and a scale a channel.

  Attributes:
    features: channels of the teacher's map.

  Returns:
    {'mean': [n, h, w, features], 'scale': [n, features], the same in every row}, see `losses.vid`.

  Source: Ahn et al., CVPR 2019, as RepDistiller has it.

  >>> form = lambda x: VariationalRegressor(5).init_with_output(jax.random.key(0), x)[0]
  >>> jax.eval_shape(form, jnp.ones((2, 4, 4, 3)))['mean'].shape
  (2, 4, 4, 5)
  """

  features: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
    del train
    x = x.astype(jnp.float32)
    for layer in (1, 2, 3):
      x = Conv(self.features, (1, 1), use_bias=False, name=f'conv{layer}')(x)
      x = nn.relu(x) if layer < 3 else x
    scale = self.param('scale', lambda key: jnp.asarray(vid_scale(self.features)))
    return {'mean': x, 'scale': jnp.broadcast_to(scale[None], (len(x), self.features))}


class Fusion(nn.Module):
  """ReviewKD's fusion: the student's maps from the last one up, each with what the later ones have
  handed on.

  A stage x becomes BN(1x1 conv(x)); but for the last one it is a x + b y, where y is what the stage
  behind handed on, brought to the size of x by its nearest pixels, and (a, b) = sigmoid(1x1
  conv([x, y])), two numbers a pixel. At the size of the teacher's map that is handed on, and its
  BN(3x3 conv) is compared with the teacher's map.

  Attributes:
    names: of the stages, in the order in which they are given.
    features: channels of the teacher's maps.
    sizes: (height, width) of the teacher's maps; (1, 1) of a vector.
    width: channels on the way; 0: those of the student's last stage, 512 at most.

  Returns:
    The maps to be compared by the names of the stages; a vector is a map of 1x1.

  Source: Chen et al., CVPR 2021, as mdistiller has it.

  >>> fusion = Fusion(('stage2', 'embedding'), (5, 6), ((4, 4), (1, 1)))
  >>> form = lambda *x: fusion.init_with_output(jax.random.key(0), *x)[0]
  >>> maps = jax.eval_shape(form, jnp.ones((2, 4, 4, 3)), jnp.ones((2, 3)))
  >>> {name: of_stage.shape for name, of_stage in sorted(maps.items())}
  {'embedding': (2, 1, 1, 6), 'stage2': (2, 4, 4, 5)}
  """

  names: tuple[str, ...]
  features: tuple[int, ...]
  sizes: tuple[tuple[int, int], ...]
  width: int = 0

  @nn.compact
  def __call__(self, *stages: jax.Array, train: bool = False) -> dict[str, jax.Array]:
    maps, behind = {}, None
    width = self.width or min(stages[-1].shape[-1], _WIDEST)
    for name, features, size, x in reversed(
      list(zip(self.names, self.features, self.sizes, stages, strict=True))
    ):
      x = x.reshape(len(x), 1, 1, -1) if x.ndim == 2 else x
      conv = Conv(width, (1, 1), use_bias=False, kernel_init=_lecun_uniform, name=f'{name}_reduced')
      x = _batch_norm(f'{name}_reduced_norm')(conv(x.astype(jnp.float32)), train)
      if behind is not None:
        y = nearest(behind, *x.shape[1:3])
        both = jnp.concatenate([x, y], -1)
        shares = nn.sigmoid(Conv(2, (1, 1), name=f'{name}_attention')(both))
        x = shares[..., :1] * x + shares[..., 1:] * y
      behind = nearest(x, *size)
      conv = Conv(
        features,
        (3, 3),
        padding=1,
        use_bias=False,
        kernel_init=_lecun_uniform,
        name=f'{name}_fused',
      )
      maps[name] = _batch_norm(f'{name}_fused_norm')(conv(behind), train)
    return maps


def nearest(maps: jax.Array, height: int, width: int) -> jax.Array:
  """Returns maps [n, h, w, c] at another size: pixel i is pixel floor(i h / height), likewise
  across.

  >>> nearest(jnp.arange(2.0).reshape(1, 2, 1, 1), 4, 1).ravel().tolist()
  [0.0, 0.0, 1.0, 1.0]
  """
  _, h, w, _ = maps.shape
  if (h, w) == (height, width):
    return maps
  if height % h == 0 and width % w == 0:
    return maps.repeat(height // h, 1).repeat(width // w, 2)
  down, across = jnp.arange(height) * h // height, jnp.arange(width) * w // width
  return maps[:, down][:, :, across]


class Paraphraser(nn.Module):
  """FT's autoencoder of the teacher's maps: three 3x3 convolutions to `factors` channels and three
  back, each with a leaky ReLU (slope 0.1).

  It is trained before the student, on the mean squared difference of 'output' and the map.

  Attributes:
    factors: channels of the factor; RepDistiller takes half of the teacher's.

  Returns:
    {'factor': [n, h, w, factors], 'output': [n, h, w, c]}.

  Source: Kim et al., NeurIPS 2018, as RepDistiller has it. Its transposed convolutions of stride 1
  are convolutions here; they differ in nothing but the order of the weights.

  >>> form = lambda x: Paraphraser(2).init_with_output(jax.random.key(0), x)[0]
  >>> sides = jax.eval_shape(form, jnp.ones((1, 4, 4, 5)))
  >>> sides['factor'].shape, sides['output'].shape
  ((1, 4, 4, 2), (1, 4, 4, 5))
  """

  factors: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
    del train
    channels, x = x.shape[-1], x.astype(jnp.float32)
    factor = x
    for layer, width in enumerate((channels, self.factors, self.factors), 1):
      factor = nn.leaky_relu(Conv(width, padding=1, name=f'encoder{layer}')(factor), _SLOPE)
    x = factor
    for layer, width in enumerate((self.factors, channels, channels), 1):
      x = nn.leaky_relu(Conv(width, padding=1, name=f'decoder{layer}')(x), _SLOPE)
    return {'factor': factor, 'output': x}


class Translator(nn.Module):
  """FT's student side: three 3x3 convolutions with BN and a leaky ReLU (slope 0.1) from the
  student's map to `factors` channels.

  Attributes:
    factors: channels of the teacher's factor.

  Source: Kim et al., NeurIPS 2018, as RepDistiller has it.

  >>> form = lambda x: Translator(2).init_with_output(jax.random.key(0), x)[0]
  >>> jax.eval_shape(form, jnp.ones((1, 4, 4, 5))).shape
  (1, 4, 4, 2)
  """

  factors: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    widths = (x.shape[-1], self.factors, self.factors)
    x = x.astype(jnp.float32)
    for layer, width in enumerate(widths, 1):
      x = Conv(width, padding=1, name=f'conv{layer}')(x)
      x = nn.leaky_relu(_batch_norm(f'norm{layer}')(x, train), _SLOPE)
    return x


def _batch_norm(name):
  return normalisation.norm('batch')(name=name)

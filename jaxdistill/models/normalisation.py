"""Normalisation layers, numerically as PyTorch's: statistics in float32 whatever the dtype, then
one multiply-add.

All are called as layer(x, train) on NHWC maps and return the dtype of the computation. Scale starts
at 1, bias at 0.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import backend, errors
from jaxdistill.models import chunks, first_block, fused, pooling
from jaxdistill.models.convolution import NARROW, Hints, Maps
from jaxdistill.models.fused import EPSILON

# Share of the running statistics that a batch leaves in place; PyTorch calls 1 minus this the
# momentum.
KEPT = 0.9
# Of the maps that are in the cache at once, where `InstanceNorm` takes a few images at a time.
_BYTES = 4 * 2**20
# In place of a sum of weights that is 0.
_LEAST = 1e-12
# Groups of 'group', as in the condensation codes.
GROUPS = 4

_axis: contextvars.ContextVar[str | None] = contextvars.ContextVar(
  'axis of the batch', default=None
)
_weight: contextvars.ContextVar[jax.Array | None] = contextvars.ContextVar(
  'weight of the rows', default=None
)


@contextlib.contextmanager
def synchronised(axis: str | None) -> Iterator[None]:
  """Inside, while per-device code is traced, batch normalisation takes the statistics of all
  devices along an axis.

  Every device holds as many rows of the batch, some of which may only fill it up (`weighted`); the
  layer then computes what one device would for the whole. With None a device takes those of its own
  part. With an axis, flax's own BatchNorm is refused as in `weighted`.
  """
  with _holding(_axis, axis), _no_other_layer(axis is not None):
    yield


def row_numbers(count: int) -> jax.Array:
  """Returns where `count` rows that a network is given stand in the whole batch: int [count].

  Inside `synchronised` the devices hold its rows in order, as many each. Several views of the rows
  that are `weighted` are numbered one whole view behind another.

  >>> row_numbers(3).tolist()
  [0, 1, 2]
  """
  axis, weight = _axis.get(), _weight.get()
  own = count if weight is None or count % len(weight) else len(weight)
  first, whole = 0, own
  if axis is not None:
    first, whole = jax.lax.axis_index(axis) * own, jax.lax.axis_size(axis) * own
  view, row = jnp.divmod(jnp.arange(count), own)
  return view * whole + first + row


@contextlib.contextmanager
def weighted(weight: jax.Array | None) -> Iterator[None]:
  """Inside, while a network is traced, batch normalisation counts every row by its weight.

  A row of weight 0 (which fills up a short batch) enters no statistics, whatever it holds; one of
  weight w counts as w rows. With None all rows count alike.

  Args:
    weight: float [n], of the rows that the network is given. Several views of a batch may go
      through it together, one whole view behind another: k n rows.

  >>> layer = BatchNorm()
  >>> x = jnp.array([1., 3., 100.]).reshape(3, 1, 1, 1)
  >>> variables = layer.init(jax.random.key(0), x)
  >>> with weighted(jnp.array([1., 1., 0.])):
  ...   y, _ = layer.apply(variables, x, train=True, mutable=['batch_stats'])
  >>> y[:2].ravel().round(3).tolist()
  [-1.0, 1.0]

  Raises:
    UserError: inside, a network takes the statistics of a batch by flax's own BatchNorm, which
      would count such rows, and those of one device alone where the batch is spread.
  """
  with _holding(_weight, weight), _no_other_layer(weight is not None):
    yield


@contextlib.contextmanager
def _holding(variable: contextvars.ContextVar, value) -> Iterator[None]:
  token = variable.set(value)
  try:
    yield
  finally:
    variable.reset(token)


@contextlib.contextmanager
def _no_other_layer(is_needed: bool) -> Iterator[None]:
  """Inside, flax's BatchNorm is refused while it trains, if the statistics need this module's."""
  if not is_needed:
    yield
    return
  with nn.intercept_methods(_refuse_other):
    yield


def _refuse_other(call, args, kwargs, context):
  layer = context.module
  if isinstance(layer, nn.BatchNorm) and context.method_name == '__call__':
    given = kwargs.get('use_running_average', args[1] if len(args) > 1 else None)
    if not (layer.use_running_average if given is None else given):
      raise errors.UserError(
        f"The layer {'/'.join(layer.path)} is flax's BatchNorm, which devices cannot share a batch "
        'under, and which counts rows that only fill a batch up: take '
        'jaxdistill.models.normalisation.BatchNorm in its place.'
      )
  return call(*args, **kwargs)


def norm(name: str, dtype=None) -> Callable[..., nn.Module]:
  """Returns the constructor of a normalisation layer.

  Args:
    name: 'instance', 'batch', 'group' (four groups) or 'none'.
    dtype: of what the layer returns; None: that of its input.

  Raises:
    UserError: there is no layer of that name.

  >>> import jax, jax.numpy as jnp
  >>> layer = norm('instance')(name='norm1')
  >>> y, _ = layer.init_with_output(jax.random.key(0), jnp.arange(8.).reshape(1, 2, 2, 2))
  >>> [round(float(v), 3) for v in y[0, :, :, 0].ravel()]
  [-1.342, -0.447, 0.447, 1.342]
  """
  if name not in _LAYERS:
    raise errors.unknown('normalisation', name, _LAYERS)
  return functools.partial(_LAYERS[name], dtype=dtype)


def conv_norm_relu(
  conv: nn.Module, layer: nn.Module, x: jax.Array, train: bool, window: int = 1
) -> jax.Array:
  """Returns relu(layer(conv(x), train)), its mean over windows of `window` pixels a side, where the
  layer is one of this module and `conv` a `convolution.Conv`.

  Instance norm does it in one pass on accelerators, and gets told what the convolution knows of its
  maps.

  >>> from jaxdistill.models.convolution import Conv
  >>> class Block(nn.Module):
  ...   @nn.compact
  ...   def __call__(self, x):
  ...     return conv_norm_relu(Conv(8), InstanceNorm(), x, False, window=2)
  >>> Block().init_with_output(jax.random.key(0), jnp.ones((1, 6, 6, 3)))[0].shape
  (1, 3, 3, 8)
  """
  if not isinstance(layer, InstanceNorm):
    return pooling.average_pool(nn.relu(layer(conv(x), train)), window)
  return layer(x, train, conv(x, deferred=True), relu=True, window=window)


class InstanceNorm(nn.Module):
  """Every channel of every image by its own mean and variance: y = scale (x - m) / sqrt(v + 1e-5) +
  bias.

  m and v (biased) are taken over height and width, so images never touch each other: images of
  different classes may share one call. The same as GroupNorm with one channel in a group; there are
  no running statistics, and `train` changes nothing.

  Source: Ulyanov et al., arXiv 1607.08022, in the affine form of the condensation papers' ConvNet.
  """

  dtype: jnp.dtype | None = None

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    train: bool = False,
    before: Maps | None = None,
    *,
    relu: bool = False,
    window: int = 1,
  ) -> jax.Array:
    """Normalises x, or before(x), of which the layer before also tells what it knows; `relu`,
    `window`: of a ReLU and an average pool behind it."""
    images_enter = before is not None and x.shape[-1] <= NARROW
    before = before or (lambda x: (x, Hints()))
    maps = jax.eval_shape(lambda x: before(x)[0], x)
    scale, bias = _parameters(self, maps.shape[-1])
    dtype = self.dtype or maps.dtype

    def on_a_cpu(x):
      x, hints = before(x)
      y = _scaled(x, *(hints.statistics or _moments(x, (1, 2))), scale, bias, dtype)
      return pooling.average_pool(nn.relu(y) if relu else y, window)

    if backend.platform() == 'gpu' and images_enter and relu:
      images = before.padded(x)
      if first_block.fits(images.shape[1:], before.kernel.shape, before.strides, window):
        norm = (scale.reshape(-1), bias.reshape(-1))
        y = first_block.block(images, before.kernel, *norm, _by_layers, window)
        return y.astype(dtype)
    if backend.platform() != 'cpu':
      x, hints = before(x)
      y = fused.instance_norm(x, scale, bias, hints.reference, relu=relu, window=window)
      return y.astype(dtype)
    if not images_enter:
      return on_a_cpu(x)
    # Wide maps of images of few channels cost more to write and read than to compute again: they
    # stay in the cache, and are not kept for the gradient.
    size = chunks.size(len(x), maps.size // len(x) * maps.dtype.itemsize, _BYTES)
    return chunks.over(jax.checkpoint(on_a_cpu), x, size)


def _by_layers(images, kernel, scale, bias, window):
  """`first_block.block` by a convolution and what follows it."""
  maps, hints = Maps(kernel, None, (1, 1), 'VALID', images.dtype)(images)
  scale, bias = (weight.reshape(1, 1, 1, -1) for weight in (scale, bias))
  return fused.instance_norm(maps, scale, bias, hints.reference, relu=True, window=window)


class GroupNorm(nn.Module):
  """Groups of neighbouring channels of every image by their common mean and biased variance (Wu &
  He, ECCV 2018)."""

  groups: int = GROUPS
  dtype: jnp.dtype | None = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    n, height, width, channels = x.shape
    if channels % self.groups:
      raise errors.UserError(
        f'Group normalisation needs a number of channels divisible by {self.groups}; '
        f'got {channels}.'
      )
    moments = _moments(x.reshape(n, height, width, self.groups, -1), (1, 2, 4))
    return _affine(
      self,
      x,
      *(jnp.repeat(s.reshape(n, 1, 1, -1), channels // self.groups, axis=3) for s in moments),
    )


class BatchNorm(nn.Module):
  """Every channel by the mean and variance of the whole batch; running statistics when `train` is
  False.

  As in PyTorch the batch is normalised by the biased variance while the running variance takes the
  unbiased one (flax's own layer keeps the biased one), and a batch moves the running statistics by
  a tenth. They live in the collection 'batch_stats', which must be mutable when `train` is True.

  The batch is that of all devices inside `synchronised`, and its rows count by their weight inside
  `weighted`. With weights w of the n rows, p pixels each:

      mean = sum w x / (p sum w)      variance = sum w (x - mean)^2 / (p sum w)
      the running variance takes variance · p sum w / (p sum w - 1)

  Source: Ioffe & Szegedy, ICML 2015; torch.nn.BatchNorm2d for the constants.
  """

  dtype: jnp.dtype | None = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    shape = (1, 1, 1, x.shape[-1])
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, shape[-1:], jnp.float32)
    running_variance = self.variable('batch_stats', 'var', jnp.ones, shape[-1:], jnp.float32)
    if not train:
      return _affine(
        self, x, running_mean.value.reshape(shape), running_variance.value.reshape(shape)
      )
    mean, variance, count = _batch_moments(x)
    if not self.is_initializing():
      running_mean.value = _move(running_mean.value, mean)
      running_variance.value = _move(running_variance.value, variance * _unbiased(count))
    return _affine(self, x, mean, variance)


class Identity(nn.Module):
  """No normalisation."""

  dtype: jnp.dtype | None = None

  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    return x.astype(self.dtype or x.dtype)


_LAYERS = {'instance': InstanceNorm, 'batch': BatchNorm, 'group': GroupNorm, 'none': Identity}
NAMES = tuple(_LAYERS)


def _moments(x, axes):
  """Mean and biased variance in float32, axes kept.

  Taken about the first pixel: a mean of squares about 0 loses all digits where the mean is large
  against the spread, and deviations from the mean cost a second pass over the maps, in the gradient
  too. About any point of the map one pass keeps the digits, and a constant map gets exactly 0.
  Neither moment depends on that point, so no gradient goes through it.
  """
  if x.dtype.itemsize < 4:  # whose own rounding is coarser
    return fused.moments(x, axes)
  first = tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(x.ndim))
  return fused.moments(x, axes, jax.lax.stop_gradient(x.astype(jnp.float32)[first]))


def _batch_moments(x):
  """Mean and biased variance of a batch as the contexts have it, [1, 1, 1, c], and the number of
  pixels that they are of: an int where no weight says otherwise."""
  axis, weight = _axis.get(), _weight.get()
  count = x.size // x.shape[-1]
  if weight is None:
    share = 1.0
    mean, variance = _moments(x, (0, 1, 2))
  else:
    weight = _of_rows(weight, len(x))
    real = weight.sum()
    mean, variance = _weighted_moments(x, weight, real)
    mean_real = real if axis is None else jax.lax.pmean(real, axis)
    # Of one device as against the others; exactly 1 where no row is missing, so that a full batch
    # gets the bits that it gets without weights.
    share = real / jnp.maximum(mean_real, _LEAST)
    count *= mean_real / len(x)
  if axis is None:
    return mean, variance, count
  own, mean = mean, jax.lax.pmean(share * mean, axis)
  variance = jax.lax.pmean(share * (variance + jnp.square(own - mean)), axis)
  return mean, variance, count * jax.lax.axis_size(axis)


def _weighted_moments(x, weight, total):
  """The same as `_moments` over rows, height and width, with a weight [n] of the rows, whose sum is
  `total`; 0 and 0 where that is 0."""
  wide, weight = x.astype(jnp.float32), weight.reshape(-1, 1, 1, 1)
  # A row of weight 0 may hold anything: what is not selected has no gradient either.
  wide = jnp.where(weight > 0, wide, 0.0)
  first = jax.lax.dynamic_slice_in_dim(wide, jnp.argmax(weight > 0), 1)[:, :1, :1]
  reference = jax.lax.stop_gradient(first)
  offset = wide - reference
  full = len(x) / jnp.maximum(total, _LEAST)  # exactly 1 for a full batch
  mean = (weight * offset).mean((0, 1, 2), keepdims=True) * full
  square = (weight * jnp.square(offset)).mean((0, 1, 2), keepdims=True) * full
  return reference + mean, jnp.maximum(square - jnp.square(mean), 0.0)


def _of_rows(weight, rows):
  """The weight of each of `rows`, which are one whole view of the batch behind another."""
  views, rest = divmod(rows, len(weight))
  if rest:
    raise errors.UserError(
      f'Batch normalisation got {rows} rows where the batch has {len(weight)}: it needs to know '
      'the weight of each. Give a network whole views of the batch, one behind another, or say '
      'the weights of its rows with models.normalisation.weighted(...).'
    )
  return jnp.tile(weight.astype(jnp.float32), views)


def _unbiased(count):
  """The factor that makes a biased variance of so many numbers an unbiased one; 1 for one."""
  if isinstance(count, int):
    return count / max(count - 1, 1)
  return count / jnp.maximum(count - 1, 1)


def _affine(layer, x, mean, variance):
  """Declares scale and bias and applies them."""
  return _scaled(x, mean, variance, *_parameters(layer, x.shape[-1]), layer.dtype or x.dtype)


def _scaled(x, mean, variance, scale, bias, dtype):
  """Scale and bias: one multiply-add per number, the rest is done per channel."""
  slope = scale * jax.lax.rsqrt(variance + EPSILON)
  return (fused.whole(x).astype(jnp.float32) * slope + (bias - mean * slope)).astype(dtype)


def _parameters(layer, channels):
  """Declares scale and bias, and returns them as [1, 1, 1, channels]."""
  scale = layer.param('scale', nn.initializers.ones, (channels,))
  bias = layer.param('bias', nn.initializers.zeros, (channels,))
  return scale.reshape(1, 1, 1, -1), bias.reshape(1, 1, 1, -1)


def _move(running, batch):
  return KEPT * running + (1 - KEPT) * batch.reshape(-1)

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

from jaxdistill import errors

EPSILON = 1e-5
# Share of the running statistics that a batch leaves in place; PyTorch calls 1 minus this the
# momentum.
KEPT = 0.9
# Groups of 'group', as in the condensation codes.
GROUPS = 4

_axis: contextvars.ContextVar[str | None] = contextvars.ContextVar(
  'axis of the batch', default=None
)


@contextlib.contextmanager
def synchronised(axis: str | None) -> Iterator[None]:
  """Inside, while per-device code is traced, batch normalisation takes the statistics of all
  devices along an axis.

  Every device holds an equal part of the batch; the layer then computes what one device would for
  the whole. With None a device takes those of its own part.
  """
  token = _axis.set(axis)
  try:
    yield
  finally:
    _axis.reset(token)


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


def behind(conv: nn.Module, layer: nn.Module, x: jax.Array, train: bool) -> jax.Array:
  """Returns layer(conv(x), train), where the layer is one of this module and `conv` a
  `convolution.Conv`.

  A convolution over few channels can tell the statistics of its maps for less than it takes to read
  them: instance norm takes them from there.
  """
  if not isinstance(layer, InstanceNorm):
    return layer(conv(x), train)
  x, statistics = conv(x, with_statistics=True)
  return layer(x, train, statistics)


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
    self, x: jax.Array, train: bool = False, statistics: tuple[jax.Array, jax.Array] | None = None
  ) -> jax.Array:
    """`statistics`: mean and variance [n, 1, 1, c] where the layer below knows them already."""
    return _affine(self, x, *(statistics or _moments(x, (1, 2))))


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
    mean, variance = _moments(x, (0, 1, 2))
    count, axis = x.size // x.shape[-1], _axis.get()
    if axis is not None:
      own, mean = mean, jax.lax.pmean(mean, axis)
      variance = jax.lax.pmean(variance + jnp.square(own - mean), axis)
      count *= jax.lax.axis_size(axis)
    if not self.is_initializing():
      running_mean.value = _move(running_mean.value, mean)
      running_variance.value = _move(running_variance.value, variance * (count / max(count - 1, 1)))
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
  wide = x.astype(jnp.float32)
  first = tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(x.ndim))
  reference = jax.lax.stop_gradient(wide[first])
  offset = wide - reference
  mean = offset.mean(axes, keepdims=True)
  variance = jnp.square(offset).mean(axes, keepdims=True) - jnp.square(mean)
  return reference + mean, jnp.maximum(variance, 0.0)


def _affine(layer, x, mean, variance):
  """Declares scale and bias and applies them: one multiply-add per number, the rest is done per
  channel."""
  shape = (1, 1, 1, x.shape[-1])
  scale = layer.param('scale', nn.initializers.ones, shape[-1:]).reshape(shape)
  bias = layer.param('bias', nn.initializers.zeros, shape[-1:]).reshape(shape)
  slope = scale * jax.lax.rsqrt(variance + EPSILON)
  return (x.astype(jnp.float32) * slope + (bias - mean * slope)).astype(layer.dtype or x.dtype)


def _move(running, batch):
  return KEPT * running + (1 - KEPT) * batch.reshape(-1)

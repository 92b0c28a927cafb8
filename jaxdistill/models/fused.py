"""Instance norm, ReLU and average pooling as one function, for accelerators.

Such layers are bound by memory there: the least is to write a convolution's map once and to read
it once for its moments, once to normalise, rectify and pool it, and twice in the gradient, each
time beside a pooled map. Left to itself the compiler keeps masks, float32 copies and upsampled
gradients; so the gradient is written down here, and what it needs of the map is computed anew in
each pass.
"""

import functools

import jax
import jax.numpy as jnp

from jaxdistill import backend

EPSILON = 1e-5


def instance_norm(
  x: jax.Array,
  scale: jax.Array,
  bias: jax.Array,
  reference: jax.Array | None = None,
  *,
  relu: bool = False,
  window: int = 1,
) -> jax.Array:
  """Mean over windows of relu(scale (x - m) / sqrt(v + 1e-5) + bias), of every channel of every
  image.

  m and v (biased) are taken over height and width, in one pass and in float32:
    m = r + mean(x - r),   v = mean((x - r)^2) - mean(x - r)^2
  about a number r near the map, which keeps the digits where the mean is large against the spread.
  With z = scale (x - m) / s + bias, s = sqrt(v + 1e-5), u the incoming gradient spread over the
  windows where z > 0 (p = height width pixels):
    A = sum u,   B = sum u (x - m) / s
    dx = scale / s (u - A / p - (x - m) / s B / p),   dscale = sum_n B,   dbias = sum_n A
  Forward-mode derivatives are not defined.

  Args:
    x: [n, h, w, c].
    scale, bias: float32 [1, 1, 1, c].
    reference: r, float32 [n, 1, 1, c]; None: 0, which is enough for narrower types than float32,
      whose own rounding is coarser.
    relu: whether what is negative becomes 0.
    window: side of the windows, which do not overlap; 1: no pooling. What is left over at the right
      and bottom edge counts in m and v alone.

  Returns:
    [n, h // window, w // window, c] in the dtype of `x`.

  Source: Ulyanov et al., arXiv 1607.08022, for the norm; the gradient is the chain rule.

  >>> x = jnp.array([1., 3., 5., 7.]).reshape(1, 2, 2, 1)
  >>> one, zero = jnp.ones((1, 1, 1, 1)), jnp.zeros((1, 1, 1, 1))
  >>> round(float(instance_norm(x, one, zero, relu=True, window=2)[0, 0, 0, 0]), 3)
  0.447
  """
  return _instance_norm(x, scale, bias, reference, relu, window)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _instance_norm(x, scale, bias, reference, relu, window):
  return _forward(x, scale, bias, reference, relu, window)[0]


def _forward(x, scale, bias, reference, relu, window):
  mean, variance = moments(x, (1, 2), reference)
  spread = jnp.sqrt(variance + EPSILON)
  x = whole(x)
  y = _normalised(x, scale, bias, mean, spread)
  y = jnp.maximum(y, 0) if relu else y
  return window_mean(y, window).astype(x.dtype), (x, scale, bias, mean, spread, reference)


def _backward(relu, window, residuals, dy):
  x, scale, bias, mean, spread, reference = residuals

  def incoming(x, dy):
    spread_out = spread_over_windows(dy, window, x.shape).astype(jnp.float32)
    if not relu:
      return spread_out
    return jnp.where(_normalised(x, scale, bias, mean, spread) > 0, spread_out, 0.0)

  def deviation(x):
    return (x.astype(jnp.float32) - mean) / spread

  u = incoming(x, dy)
  total = u.sum((1, 2), keepdims=True)
  along = (u * deviation(x)).sum((1, 2), keepdims=True)
  # Known only after the sums, so that the second pass computes `u` anew in place of reading it.
  x, dy, total, along = jax.lax.optimization_barrier((x, dy, total, along))
  pixels = x.shape[1] * x.shape[2]
  dx = scale / spread * (incoming(x, dy) - total / pixels - deviation(x) * along / pixels)
  d_reference = None if reference is None else jnp.zeros_like(reference)
  return dx.astype(x.dtype), along.sum(0, keepdims=True), total.sum(0, keepdims=True), d_reference


_instance_norm.defvjp(_forward, _backward)


def moments(
  x: jax.Array, axes: tuple[int, ...], reference: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
  """Mean and biased variance over some axes, which are kept: float32, in one pass, about
  `reference` (None: about 0).

  >>> mean, variance = moments(jnp.array([[1., 3.]]), (1,), jnp.ones((1, 1)))
  >>> mean.tolist(), variance.tolist()
  ([[2.0]], [[1.0]])
  """
  reference = 0.0 if reference is None else reference
  offset = x.astype(jnp.float32) - reference
  mean = offset.mean(axes, keepdims=True)
  variance = jnp.square(offset).mean(axes, keepdims=True) - jnp.square(mean)
  return reference + mean, jnp.maximum(variance, 0.0)


def _normalised(x, scale, bias, mean, spread):
  slope = scale / spread
  return x.astype(jnp.float32) * slope + (bias - mean * slope)


def whole(x: jax.Array) -> jax.Array:
  """Returns `x` as it lies in memory, where the compiler would rather keep it in a wider type.

  On a TPU a convolution computes in float32, and whoever reads its bfloat16 map in float32 gets
  that, in an array of its own, twice as large. Sums over `x` itself are taken on the way, though.

  >>> whole(jnp.ones(2)).tolist()
  [1.0, 1.0]
  """
  narrow = x.dtype.itemsize < 4
  return jax.lax.optimization_barrier(x) if narrow and backend.platform() == 'tpu' else x


def window_mean(x: jax.Array, window: int) -> jax.Array:
  """Mean over windows that do not overlap: float32 [n, h, w, c] -> [n, h // window, w // window,
  c].

  >>> window_mean(jnp.arange(4.).reshape(1, 2, 2, 1), 2).tolist()
  [[[[1.5]]]]
  """
  if window == 1:
    return x
  sides = (1, window, window, 1)
  return jax.lax.reduce_window(x, 0.0, jax.lax.add, sides, sides, 'VALID') / window**2


def spread_over_windows(dy: jax.Array, window: int, shape: tuple[int, ...]) -> jax.Array:
  """The gradient of `window_mean`: what comes in at a window, over its number of pixels, at each of
  them; 0 where no window is.

  >>> spread_over_windows(jnp.full((1, 1, 1, 1), 4.), 2, (1, 2, 3, 1))[0, :, :, 0].tolist()
  [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
  """
  if window == 1:
    return dy
  n, height, width, channels = dy.shape
  dy = (dy.astype(jnp.float32) / window**2).astype(dy.dtype)
  rest = [side - window * short for side, short in zip(shape[1:3], (height, width))]
  zero = jnp.zeros((), dy.dtype)
  if backend.platform() == 'tpu':
    # A broadcast would be written out there; windows over numbers far apart are fused.
    reach = [(window - 1, window - 1 + left, window - 1) for left in rest]
    apart = jax.lax.pad(dy, zero, ((0, 0, 0), *reach, (0, 0, 0)))
    sides = (1, window, window, 1)
    return jax.lax.reduce_window(apart, zero, jax.lax.add, sides, (1, 1, 1, 1), 'VALID')
  dx = jnp.broadcast_to(dy[:, :, None, :, None], (n, height, window, width, window, channels))
  dx = dx.reshape(n, height * window, width * window, channels)
  return jax.lax.pad(dx, zero, ((0, 0, 0), *((0, left, 0) for left in rest), (0, 0, 0)))

"""Average and max pooling."""

import functools
import itertools

import jax
import jax.numpy as jnp

from jaxdistill import backend
from jaxdistill.models import fused


def average_pool(x: jax.Array, window: int = 2) -> jax.Array:
  """Mean over windows that do not overlap; what is left over at the right and bottom edge is
  dropped.

  Written for a CPU as the mean of window**2 strided slices: XLA fuses these with the layers around
  them, and both directions are faster there than a window reduction. Elsewhere that is fused too,
  with a gradient of its own. The sum is taken in float32.

  Args:
    x: [n, h, w, c].
    window: side of the window.

  Returns:
    [n, h // window, w // window, c] in the dtype of `x`; odd sizes floor as in PyTorch's AvgPool2d.

  >>> import jax.numpy as jnp
  >>> average_pool(jnp.arange(10.).reshape(1, 2, 5, 1))[0, :, :, 0]
  Array([[3., 5.]], dtype=float32)
  """
  if backend.platform() != 'cpu':
    return _average_pool(x, window)
  height, width = x.shape[1] // window * window, x.shape[2] // window * window
  wide = x.astype(jnp.float32)
  corners = itertools.product(range(window), repeat=2)
  total = sum(wide[:, i:height:window, j:width:window] for i, j in corners)
  return (total / window**2).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _average_pool(x, window):
  return fused.window_mean(x.astype(jnp.float32), window).astype(x.dtype)


def _average_forward(x, window):
  # Of x its shape alone is needed.
  return _average_pool(x, window), jnp.zeros((0, *x.shape[1:]), x.dtype)


def _average_backward(window, like, dy):
  return (fused.spread_over_windows(dy, window, (len(dy), *like.shape[1:])),)


_average_pool.defvjp(_average_forward, _average_backward)


def max_pool(x: jax.Array, window: int = 2, stride: int = 0, padding: int = 0) -> jax.Array:
  """Largest number of every window, as PyTorch's MaxPool2d: sizes floor, padding never wins, NaN
  always does.

  y[n, i, j, c] = max over a, b < window of x[n, i stride + a - padding, j stride + b - padding, c]

  Where several numbers of a window are the largest, the gradient goes to the first of them in
  reading order, as in PyTorch. Written as comparisons of strided slices for the reason given at
  `average_pool`; a window reduction's gradient scatters, which is slow on a CPU.

  Args:
    x: [n, h, w, c].
    window: side of the window.
    stride: distance of the windows; 0: `window`, so that they do not overlap.
    padding: cells around the image that count as minus infinity, half a window at most.

  Returns:
    [n, (h + 2 padding - window) // stride + 1, the same of w, c] in the dtype of `x`.

  >>> import jax.numpy as jnp
  >>> max_pool(jnp.arange(10.).reshape(1, 2, 5, 1))[0, :, :, 0]
  Array([[6., 8.]], dtype=float32)
  """
  stride = stride or window
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=-jnp.inf)
  # One past the last top row, and the last left column, of a window.
  bottom, right = ((side - window) // stride * stride + 1 for side in x.shape[1:3])
  largest = x[:, :bottom:stride, :right:stride]
  for i, j in itertools.islice(itertools.product(range(window), repeat=2), 1, None):
    other = x[:, i : i + bottom : stride, j : j + right : stride]
    largest = jnp.where((other > largest) | jnp.isnan(other), other, largest)
  return largest


def global_average(x: jax.Array) -> jax.Array:
  """Mean of each channel over the whole map, in float32: [n, h, w, c] -> [n, c] in the dtype of
  `x`.

  >>> import jax.numpy as jnp
  >>> global_average(jnp.arange(4.).reshape(1, 2, 2, 1))
  Array([[1.5]], dtype=float32)
  """
  return x.astype(jnp.float32).mean((1, 2)).astype(x.dtype)

"""Average pooling."""

import jax
import jax.numpy as jnp


def average_pool(x: jax.Array, window: int = 2) -> jax.Array:
  """Mean over windows that do not overlap; what is left over at the right and bottom edge is dropped.

  Written as the mean of window**2 strided slices: XLA fuses these with the layers around them, and both directions are
  faster on a CPU than a window reduction. The sum is taken in float32.

  Args:
    x: [n, h, w, c].
    window: side of the window.

  Returns:
    [n, h // window, w // window, c] in the dtype of `x`; odd sizes floor as in PyTorch's AvgPool2d.

  >>> import jax.numpy as jnp
  >>> average_pool(jnp.arange(10.).reshape(1, 2, 5, 1))[0, :, :, 0]
  Array([[3., 5.]], dtype=float32)
  """
  height, width = x.shape[1] // window * window, x.shape[2] // window * window
  wide = x.astype(jnp.float32)
  corners = [(i, j) for i in range(window) for j in range(window)]
  total = sum(wide[:, i:height:window, j:width:window] for i, j in corners)
  return (total / window ** 2).astype(x.dtype)


def global_average(x: jax.Array) -> jax.Array:
  """Mean of each channel over the whole map, in float32: [n, h, w, c] -> [n, c] in the dtype of `x`.

  >>> import jax.numpy as jnp
  >>> global_average(jnp.arange(4.).reshape(1, 2, 2, 1))
  Array([[1.5]], dtype=float32)
  """
  return x.astype(jnp.float32).mean((1, 2)).astype(x.dtype)

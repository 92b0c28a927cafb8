"""Convolutions of stride 1 as one matrix product over shifts along both axes, for CPUs.

A matrix product is slow where its factor is short on one side: each number of the other array is
laid out anew for few multiplications. kh*kw shifts side by side make a factor [kh kw c, d], which
for 16 channels in and out is 144 by 16. Here the kw shifts along the width lie side by side in the
input and the kh shifts along the height in the output: the factor is [kw c, kh d], 48 by 48, and
the input's array a third as large.
  Q[i, j, a] = sum_b x[i, j+b] kernel[a, b],   y[i, j] = sum_a Q[i+a, j, a].
A few images at a time go through all of it, in a compiled loop, so that they stay in the cache.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdistill.models import chunks

# Of both arrays between input and output, for the images that are taken together: measured on a CPU
# with 1 MB of cache a core, 16 to 64 channels.
_BYTES = 2 * 2**20


def fits(kernel_shape: Sequence[int], strides: Sequence[int], pads) -> bool:
  """Whether a convolution can be computed so.

  >>> fits((3, 3, 8, 8), (1, 1), ((1, 1), (1, 1))), fits((3, 3, 8, 8), (1, 1), ((3, 3), (3, 3)))
  (True, False)
  """
  inside = all(max(pair) < side for pair, side in zip(pads, kernel_shape[:2]))
  return tuple(strides) == (1, 1) and inside and tuple(kernel_shape[:2]) != (1, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: jax.Array, kernel: jax.Array, pads) -> jax.Array:
  """2-D cross-correlation as `convolution.convolve` has it, of stride 1.

  Args:
    x: float32 [n, h, w, c].
    kernel: [kh, kw, c, d].
    pads: ((top, bottom), (left, right)), each less than the kernel's side.

  Returns:
    [n, h', w', d].

  >>> x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))
  >>> convolve(x, kernel, ((1, 1), (1, 1)))[0, :, :, 0].tolist()[1]
  [6.0, 9.0, 9.0, 6.0]
  """
  height = kernel.shape[0]
  factor = jnp.moveaxis(kernel, 0, 2).reshape(-1, height * kernel.shape[3])

  def convolved(x):
    shifts = _along_width(jnp.pad(x, ((0, 0), pads[0], (0, 0), (0, 0))), kernel, pads)
    products = shifts.reshape(-1, len(factor)) @ factor
    products = products.reshape(*shifts.shape[:3], height, -1)
    rows = shifts.shape[1] - height + 1
    return sum(products[:, a : a + rows, :, a] for a in range(height))

  return chunks.over(convolved, x, _at_once(x, kernel))


def _forward(x, kernel, pads):
  return convolve(x, kernel, pads), (x, kernel)


def _backward(pads, residuals, dy):
  x, kernel = residuals
  (top, bottom), (left, right) = pads
  height, width = (side - 1 for side in kernel.shape[:2])
  opposite = ((height - top, height - bottom), (width - left, width - right))
  dx = convolve(dy, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), opposite)
  return dx, kernel_gradient(x, kernel, pads, dy)


convolve.defvjp(_forward, _backward)


def kernel_gradient(x: jax.Array, kernel: jax.Array, pads, dy: jax.Array) -> jax.Array:
  """The gradient of `convolve` by its kernel: d kernel[a, b] = sum_ij x[i, j+b]^T dy[i-a, j].

  Args:
    x, kernel, pads: as for `convolve`; of the kernel the shape alone counts.
    dy: of its output.

  >>> x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))
  >>> dy = convolve(x, kernel, ((1, 1), (1, 1)))
  >>> kernel_gradient(x, kernel, ((1, 1), (1, 1)), dy)[:, :, 0, 0].tolist()[1]
  [80.0, 100.0, 80.0]
  """
  height, width, inputs, outputs = kernel.shape
  (top, bottom), _ = pads
  around = (height - 1 - top, height - 1 - bottom)

  def product(x, dy):
    shifts = _along_width(x, kernel, pads)
    dy = jnp.pad(dy, ((0, 0), around, (0, 0), (0, 0)))
    # Row i of the input meets row i - a of the output.
    last, rows = height - 1, x.shape[1]
    lower = [dy[:, last - a : last - a + rows] for a in range(height)]
    lower = jnp.concatenate(lower, -1)
    return shifts.reshape(-1, shifts.shape[-1]).T @ lower.reshape(-1, lower.shape[-1])

  total = chunks.total(product, (x, dy), _at_once(x, kernel))
  return jnp.moveaxis(total.reshape(width, inputs, height, outputs), 2, 0)


def _along_width(x, kernel, pads):
  """The kw shifts along the width side by side: [n, h, w', kw c]."""
  x = jnp.pad(x, ((0, 0), (0, 0), pads[1], (0, 0)))
  width = x.shape[2] - kernel.shape[1] + 1
  return jnp.concatenate([x[:, :, b : b + width] for b in range(kernel.shape[1])], -1)


def _at_once(x, kernel):
  """How many images are in the cache together."""
  height, width, inputs, outputs = kernel.shape
  numbers = x.shape[1] * x.shape[2] * (width * inputs + height * outputs)
  return chunks.size(len(x), 4 * numbers, _BYTES)

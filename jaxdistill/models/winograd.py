"""3x3 convolutions with 16 products where there would be 36, for CPUs.

Winograd's F(2x2, 3x3): every 2x2 tile of the output comes from a 4x4 tile of the input,
  Y = A^T [(G g G^T) . (B^T d B)] A,
where . multiplies number by number, each as a matrix over channels. The transforms only add; the
products are 16 plain matrix products over all tiles. A few images at a time go through all of it,
so that what stands between input and output stays in the cache; in a compiled loop, in which matrix
products keep their speed.

Source: Lavin & Gray, CVPR 2016, for the algorithm; the portions are ours.
"""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.models import chunks

# The transformed input of one portion, which is read by 16 products and written by none: measured
# on a CPU with 2 MB of cache a core, 128 channels, maps of 16 and 8 pixels a side.
_BYTES = 8 * 2**20

_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)


def fits(kernel_shape: Sequence[int], strides: Sequence[int], pads) -> bool:
  """Whether a convolution can be computed so.

  >>> fits((3, 3, 8, 8), (1, 1), ((1, 1), (1, 1))), fits((3, 3, 8, 8), (2, 2), ((1, 1), (1, 1)))
  (True, False)
  """
  most = max(max(pair) for pair in pads)
  return tuple(kernel_shape[:2]) == (3, 3) and tuple(strides) == (1, 1) and most <= 2


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: jax.Array, kernel: jax.Array, pads) -> jax.Array:
  """2-D cross-correlation as `convolution.convolve` has it, of stride 1.

  Args:
    x: float32 [n, h, w, c].
    kernel: [3, 3, c, d].
    pads: ((top, bottom), (left, right)), each at most 2.

  Returns:
    [n, h', w', d].

  >>> x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))
  >>> convolve(x, kernel, ((1, 1), (1, 1)))[0, :, :, 0].tolist()[1]
  [6.0, 9.0, 9.0, 6.0]
  """
  factors = jnp.einsum('ia,jb,abcd->ijcd', _G, _G, kernel, precision=jax.lax.Precision.HIGHEST)
  return chunks.over(lambda x: _convolve(x, factors, pads), x, _at_once(x, kernel, pads))


def _forward(x, kernel, pads):
  return convolve(x, kernel, pads), (x, kernel)


def _backward(pads, residuals, dy):
  x, kernel = residuals
  opposite = tuple((2 - low, 2 - high) for low, high in pads)
  dx = convolve(dy, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), opposite)
  return dx, _kernel_gradient(x, kernel, pads, dy)


convolve.defvjp(_forward, _backward)


def _kernel_gradient(x, kernel, pads, dy):
  """dg = G^T [sum over tiles of (B^T d B)^T (A dY A^T)] G."""

  def products(x, dy):
    inputs, outputs = _input_tiles(x, pads), _output_gradients(dy)
    return jnp.stack([a.T @ b for a, b in zip(inputs, outputs)])

  total = chunks.total(products, (x, dy), _at_once(x, kernel, pads)).reshape(
    4, 4, *kernel.shape[2:]
  )
  precise = jax.lax.Precision.HIGHEST
  return jnp.einsum('ia,jb,ijcd->abcd', _G, _G, total, precision=precise)


def _convolve(x, factors, pads):
  height, width = _sides(x.shape, pads)
  tiles = (len(x), -(-height // 2), -(-width // 2), factors.shape[-1])
  flat = factors.reshape(16, *factors.shape[2:])
  products = [tile @ factor for tile, factor in zip(_input_tiles(x, pads), flat)]
  corners = _along_both(_out, [products[row : row + 4] for row in range(0, 16, 4)])
  # [n, tiles down, 2, tiles across, 2, d]
  y = jnp.stack([_side_by_side(row, tiles) for row in corners], axis=2)
  return y.reshape(tiles[0], 2 * tiles[1], 2 * tiles[2], -1)[:, :height, :width]


def _side_by_side(row, tiles):
  return jnp.stack([corner.reshape(tiles) for corner in row], axis=3)


def _input_tiles(x, pads):
  """B^T d B of all tiles d: 16 arrays [tiles, c]."""
  height, width = _sides(x.shape, pads)
  (top, bottom), (left, right) = pads
  x = jnp.pad(x, ((0, 0), (top, bottom + height % 2), (left, right + width % 2), (0, 0)))
  down, across = height + height % 2 - 1, width + width % 2 - 1
  return _flat(_along_both(_in, _grid(lambda i, j: x[:, i : i + down : 2, j : j + across : 2], 4)))


def _output_gradients(dy):
  """A dY A^T of all tiles dY: 16 arrays [tiles, d]."""
  dy = jnp.pad(dy, ((0, 0), (0, dy.shape[1] % 2), (0, dy.shape[2] % 2), (0, 0)))
  return _flat(_along_both(_back, _grid(lambda i, j: dy[:, i::2, j::2], 2)))


def _grid(part, side):
  """part(i, j), row by row."""
  rows = []
  for i in range(side):
    rows.append([part(i, j) for j in range(side)])
  return rows


def _along_both(transform, rows):
  """M x M^T for the transform x -> M x of columns."""
  columns = [transform(column) for column in zip(*rows)]
  return [transform(row) for row in zip(*columns)]


def _flat(rows):
  tiles = itertools.chain.from_iterable(rows)
  return [tile.reshape(-1, tile.shape[-1]) for tile in tiles]


def _in(d):
  """B^T d."""
  return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]


def _out(m):
  """A^T m."""
  return m[0] + m[1] + m[2], m[1] - m[2] - m[3]


def _back(y):
  """A y."""
  return y[0], y[0] + y[1], y[0] - y[1], -y[1]


def _at_once(x, kernel, pads):
  """How many images are in the cache together: 16 numbers of 4 bytes for every four pixels."""
  height, width = _sides(x.shape, pads)
  return chunks.size(len(x), 16 * height * width * max(kernel.shape[2:]), _BYTES)


def _sides(shape, pads):
  return tuple(side + sum(pair) - 2 for side, pair in zip(shape[1:3], pads))

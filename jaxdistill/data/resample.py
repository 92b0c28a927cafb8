"""Boxes of images brought to another size by bilinear or bicubic interpolation, with the box of
each image as data."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxdistill.errors import unknown
from jaxdistill.numerics import steady


@steady
def resample(
  images: jax.Array,
  box: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike],
  shape: tuple[int, int],
  method: str = 'bilinear',
  antialias: bool = True,
) -> jax.Array:
  """Cuts a box out of each image [n, h, w, c] and brings it to `shape` (height, width).

  Along each axis out(o) = sum_i k((i + 1/2 - p(o)) / s) x(i) / sum_i k(...), over the pixels i of
  the box alone, with p(o) = first + (o + 1/2) r, r = box side / new side and s = max(r, 1), or s =
  1 without `antialias`. k is the triangle max(1 - |d|, 0) or the cubic of Keys (1981) with a =
  -1/2. Bicubic values may overshoot the range of the image.

  Args:
    images: float.
    box: (top, left, height, width) in pixels, each a scalar or [n], possibly traced.
    shape: of the result.
    method: 'bilinear' or 'bicubic'.
    antialias: whether the kernel widens when the image shrinks.

  Source: the definitions of Pillow's `Image.resize`, whose rounding to 8 bits between the axes and
    at the end is left out.

  >>> resample(jnp.arange(4.).reshape(1, 1, 4, 1), (0, 2, 1, 2), (1, 1))[0, 0, 0].tolist()
  [2.5]
  """
  if method not in KERNELS:
    raise unknown('interpolation', method, KERNELS)

  def one(image, top, left, height, width):
    rows = _weights(top, height, image.shape[0], shape[0], method, antialias)
    columns = _weights(left, width, image.shape[1], shape[1], method, antialias)
    # Full precision: tensor cores would keep ten bits of a pixel.
    return jnp.einsum('ph,hwc,qw->pqc', rows, image, columns, precision=jax.lax.Precision.HIGHEST)

  box = [jnp.asarray(side, jnp.float32) for side in box]
  return jax.vmap(one, in_axes=(0, *(0 if side.ndim else None for side in box)))(images, *box)


def _weights(first, extent, size, new_size, method, antialias):
  """The matrix [new size, size] of one axis."""
  ratio = extent / new_size
  stretch = jnp.maximum(ratio, 1.0) if antialias else 1.0
  centre = first + (jnp.arange(new_size) + 0.5) * ratio
  pixel = jnp.arange(size) + 0.5
  weights = KERNELS[method]((pixel[None] - centre[:, None]) / stretch)
  weights = jnp.where(((pixel > first) & (pixel < first + extent))[None], weights, 0)
  return weights / weights.sum(1, keepdims=True)


def _triangle(distance):
  return jnp.maximum(1 - jnp.abs(distance), 0)


def _cubic(distance):
  x = jnp.abs(distance)
  near = (1.5 * x - 2.5) * x * x + 1
  far = ((-0.5 * x + 2.5) * x - 4) * x + 2
  return jnp.where(x < 1, near, jnp.where(x < 2, far, 0))


KERNELS = dict(bilinear=_triangle, bicubic=_cubic)

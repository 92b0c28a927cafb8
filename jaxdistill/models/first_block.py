"""The first block of a network on an NVIDIA GPU as one kernel: 3x3 convolution of images, instance
norm, ReLU and average pooling, without the convolution's map ever being written.

An image has one or three numbers a pixel, the map behind its convolution 128. Left to the compiler,
a library's call writes that map, one kernel reads it for its moments and one to normalise and pool
it: more than half of what a step of condensation moves. Here a kernel works on one image, computes
the map from the image's patches as often as it is needed, which the tensor cores hardly notice, and
writes the pooled map alone. So does the gradient with respect to the image.

Elsewhere, and where the weights have a gradient (their own form of it is a large sum over images),
the block is computed by the layers' usual means, which are also the reference of the tests.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from jaxdistill.models.fused import EPSILON

_SIZE = 3  # side of the convolution's kernel
_MOST_CHANNELS = 3  # of images: wider inputs are no longer cheap to read again
_LEAST_FEATURES = 16  # of a matrix product of the tensor cores
_LEAST_NUMBERS = 16  # of a patch, with its padding
_ROWS = 64  # pooled pixels that are computed at once
_WARPS = 4  # 8 were slower both ways on an H100
_STAGES = 1  # of the pipeline of a kernel's loops


@dataclasses.dataclass(frozen=True)
class Form:
  """Sizes of a block, which a kernel is compiled for.

  Attributes:
    height, width, channels: of a padded image.
    features: channels of the map.
    window: side of the pooling windows; 1: no pooling.
    rows: pooled pixels that are computed at once, a power of two.
  """

  height: int
  width: int
  channels: int
  features: int
  window: int
  rows: int = _ROWS

  @property
  def pooled_sides(self) -> tuple[int, int]:
    """Height and width of the pooled map."""
    return (self.height - _SIZE + 1) // self.window, (self.width - _SIZE + 1) // self.window

  @property
  def pooled(self) -> int:
    """Pixels of the pooled map."""
    return self.pooled_sides[0] * self.pooled_sides[1]

  @property
  def pixels(self) -> int:
    """Pixels of the map."""
    return self.pooled * self.window**2

  @property
  def numbers(self) -> int:
    """Numbers of a patch."""
    return _SIZE**2 * self.channels

  @property
  def padded_numbers(self) -> int:
    """Numbers of a patch with zeros up to a power of two."""
    return max(_LEAST_NUMBERS, 1 << (self.numbers - 1).bit_length())

  @property
  def chunks(self) -> int:
    """Groups of `rows` pooled pixels."""
    return -(-self.pooled // self.rows)

  @property
  def offsets(self) -> tuple[tuple[int, int], ...]:
    """Places in a pooling window."""
    return tuple(itertools.product(range(self.window), repeat=2))


def fits(
  image_shape: tuple[int, int, int],
  kernel_shape: tuple[int, ...],
  strides: tuple[int, int],
  window: int,
) -> bool:
  """Returns whether the kernel computes such a block.

  Args:
    image_shape: (height, width, channels) of a padded image.
    kernel_shape, strides: of the convolution.
    window: side of the pooling windows.

  >>> fits((34, 34, 3), (3, 3, 3, 128), (1, 1), 2), fits((34, 34, 64), (3, 3, 64, 64), (1, 1), 2)
  (True, False)
  """
  height, width, channels = image_shape
  features = kernel_shape[-1]
  return (
    tuple(kernel_shape[:3]) == (_SIZE, _SIZE, channels)
    and tuple(strides) == (1, 1)
    and channels <= _MOST_CHANNELS
    and features >= _LEAST_FEATURES
    and features & (features - 1) == 0
    and min(height, width) >= _SIZE
    and not (height - _SIZE + 1) % window
    and not (width - _SIZE + 1) % window
  )


def block(
  x: jax.Array,
  kernel: jax.Array,
  scale: jax.Array,
  bias: jax.Array,
  otherwise: Callable[..., jax.Array],
  window: int,
) -> jax.Array:
  """Mean over windows of relu(scale (y - m) / sqrt(v + 1e-5) + bias), y the convolution of padded
  images, m and v the mean and biased variance of each of its channels over an image.

  y - m is computed as the convolution of patches minus their mean, which keeps the digits where
  images are far from 0 against their spread; a bias of the convolution drops out.

  Args:
    x: padded images [n, h, w, c], see `fits`.
    kernel: of the convolution, [3, 3, c, d].
    scale, bias: of the norm, float32 [d].
    otherwise: the same function of (x, kernel, scale, bias, window) by other means, for what is not
      compiled for an NVIDIA GPU and for gradients of the weights.
    window: side of the windows.

  Returns:
    [n, (h - 2) / window, (w - 2) / window, d] in the dtype of `x`.

  Source: the layers are those of the condensation papers' ConvNet; that the map is not kept is our
  choice.
  """
  return _block(x, kernel, scale, bias, otherwise, window)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _block(x, kernel, scale, bias, otherwise, window):
  return _pooled(x, kernel, scale, bias, otherwise, window)[0]


def _pooled(x, kernel, scale, bias, otherwise, window):
  """The pooled map, and what the gradient wants of it where it is the kernel's."""
  form = Form(*x.shape[1:], kernel.shape[-1], window)

  def by_layers(x, kernel, scale, bias):
    rows = len(x)
    kept = jnp.zeros((rows, form.padded_numbers)), jnp.ones((rows, form.features))
    return otherwise(x, kernel, scale, bias, window), *kept

  return jax.lax.platform_dependent(
    x, kernel, scale, bias, cuda=functools.partial(forward, form), default=by_layers
  )


def _begin(x, kernel, scale, bias, otherwise, window):
  """Forward with what the gradient needs; weights that have one take the other form."""
  values = tuple(argument.value for argument in (x, kernel, scale, bias))
  if any(argument.perturbed for argument in (kernel, scale, bias)):
    return jax.vjp(lambda *values: otherwise(*values, window), *values)
  y, *moments = _pooled(*values, otherwise, window)
  return y, (*values, *moments)


def _finish(otherwise, window, kept, dy):
  if not isinstance(kept, tuple):
    return kept(dy)
  x, kernel, scale, bias, mean, spread = kept
  form = Form(*x.shape[1:], kernel.shape[-1], window)

  def by_layers(x, kernel, scale, bias, mean, spread, dy):
    _, pull = jax.vjp(lambda x: otherwise(x, kernel, scale, bias, window), x)
    return pull(dy)[0]

  dx = jax.lax.platform_dependent(
    x,
    kernel,
    scale,
    bias,
    mean,
    spread,
    dy,
    cuda=functools.partial(backward, form),
    default=by_layers,
  )
  return dx, *(jnp.zeros_like(weight) for weight in (kernel, scale, bias))


_block.defvjp(_begin, _finish, symbolic_zeros=True)


# The kernels.


def forward(
  form: Form,
  x: jax.Array,
  kernel: jax.Array,
  scale: jax.Array,
  bias: jax.Array,
  interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the pooled map [n, h', w', d], the mean patch of each image [n, k] and the spread
  sqrt(v + 1e-5) of its channels [n, d]; arguments as in `block`.

  Args:
    interpret: whether the kernel is simulated, for tests on a CPU.
  """
  rows = len(x)
  out = [
    jax.ShapeDtypeStruct((rows, form.pooled, form.features), x.dtype),
    jax.ShapeDtypeStruct((rows, form.features), jnp.float32),
  ]
  mean = mean_patches(form, x)
  y, spread = _call(
    functools.partial(_forward_kernel, form),
    [x.reshape(rows, -1), mean],
    [_matrix(form, kernel, x.dtype), scale, bias],
    out,
    'first_block',
    interpret,
  )
  return y.reshape(rows, *form.pooled_sides, form.features), mean, spread


def mean_patches(form: Form, x: jax.Array) -> jax.Array:
  """Returns the mean patch of each padded image [n, h, w, c], float32 [n, k]: sums over all pixels
  less those over the edges that a place of the patch does not reach."""
  by_row = _sums_over_places(x.astype(jnp.float32), 1)
  sums = _sums_over_places(by_row, 2)
  mean = sums.transpose(2, 1, 0, 3).reshape(len(x), form.numbers) / form.pixels
  return jnp.pad(mean, ((0, 0), (0, form.padded_numbers - form.numbers)))


def _sums_over_places(x, axis):
  """Sums over an axis as the three places of a patch meet it, [3, ...] without the axis."""
  side = x.shape[axis]
  whole, sums = x.sum(axis), []
  for place in range(_SIZE):
    before = jax.lax.slice_in_dim(x, 0, place, axis=axis).sum(axis)
    behind = jax.lax.slice_in_dim(x, side - _SIZE + 1 + place, side, axis=axis).sum(axis)
    sums.append(whole - before - behind)
  return jnp.stack(sums)


def backward(
  form: Form,
  x: jax.Array,
  kernel: jax.Array,
  scale: jax.Array,
  bias: jax.Array,
  mean: jax.Array,
  spread: jax.Array,
  dy: jax.Array,
  interpret: bool = False,
) -> jax.Array:
  """Returns the gradient with respect to the padded images, from that of the pooled map; `mean` and
  `spread` are those of `forward`."""
  rows, (height, width) = len(x), form.pooled_sides
  out = jax.ShapeDtypeStruct((rows, form.pixels, form.padded_numbers), x.dtype)
  (patches,) = _call(
    functools.partial(_backward_kernel, form),
    [x.reshape(rows, -1), mean, spread, dy.reshape(rows, form.pooled, form.features)],
    [_matrix(form, kernel, x.dtype), scale, bias],
    [out],
    'first_block_gradient',
    interpret,
  )
  # The gradient of the patches goes back to the pixels that they are of: nine shifted sums.
  sides = (form.window, form.window, height, width, _SIZE, _SIZE, form.channels)
  patches = patches[..., : form.numbers].reshape(rows, *sides).astype(jnp.float32)
  patches = patches.transpose(0, 3, 1, 4, 2, 5, 6, 7)
  patches = patches.reshape(rows, height * form.window, width * form.window, *sides[4:])
  dx = jnp.zeros(x.shape, jnp.float32)
  for down, right in itertools.product(range(_SIZE), repeat=2):
    edges = [(0, 0, 0), *((shift, _SIZE - 1 - shift, 0) for shift in (down, right)), (0, 0, 0)]
    dx += jax.lax.pad(patches[:, :, :, down, right], jnp.float32(0), edges)
  return dx.astype(x.dtype)


def _matrix(form, kernel, dtype):
  """The convolution's kernel as a matrix, with rows of zeros for the padding of a patch."""
  matrix = kernel.reshape(form.numbers, form.features).astype(dtype)
  return jnp.pad(matrix, ((0, form.padded_numbers - form.numbers), (0, 0)))


def _call(kernel, images, weights, out, name, interpret):
  """Runs a kernel once an image: it sees the image's own part of `images` and `out`, and the whole
  of the weights."""

  def own(array):
    rest = (0,) * (len(array.shape) - 1)
    return pl.BlockSpec((None, *array.shape[1:]), lambda image: (image, *rest))

  def shared(array):
    return pl.BlockSpec(array.shape, lambda image: (0,) * array.ndim)

  return pl.pallas_call(
    kernel,
    grid=(len(images[0]),),
    in_specs=[*map(own, images), *map(shared, weights)],
    out_specs=list(map(own, out)),
    out_shape=out,
    name=name,
    interpret=interpret,
    compiler_params=triton.CompilerParams(num_warps=_WARPS, num_stages=_STAGES),
  )(*images, *weights)


def _forward_kernel(form, x, mean, matrix, scale, bias, y, spread):
  weights, mean_patch = matrix[:, :], mean[:]

  def add_products(chunk, total):
    for offset in form.offsets:
      centred = _centred(form, x, mean_patch, chunk, offset)
      total += jnp.dot(centred.T, centred, preferred_element_type=jnp.float32)
    return total

  # The map is linear in the patches: their covariance C gives its variance, w^T C w a channel.
  zeros = jnp.zeros((form.padded_numbers, form.padded_numbers), jnp.float32)
  covariance = jax.lax.fori_loop(0, form.chunks, add_products, zeros) / form.pixels
  wide = weights.astype(jnp.float32)
  spreading = jnp.dot(covariance, wide, precision=jax.lax.Precision.HIGHEST)
  spread_of_map = jnp.sqrt(jnp.maximum((spreading * wide).sum(0), 0.0) + EPSILON)
  slope, shift = (scale[:] / spread_of_map)[None, :], bias[:][None, :]

  def write(chunk, _):
    total = jnp.zeros((form.rows, form.features), jnp.float32)
    for offset in form.offsets:
      deviation = _deviation(form, x, weights, mean_patch, chunk, offset)
      total += jnp.maximum(deviation * slope + shift, 0.0)
    _store(form, y, chunk, (total / form.window**2).astype(x.dtype))
    return 0

  jax.lax.fori_loop(0, form.chunks, write, 0)
  spread[:] = spread_of_map


def _backward_kernel(form, x, mean, spread, dy, matrix, scale, bias, d_patches):
  """d map = scale / spread (u - mean(u) - z mean(u z)), u the incoming gradient where the ReLU lets
  it through, z the normalised map, means over the pixels."""
  weights, mean_patch = matrix[:, :], mean[:]
  slope, shift = (scale[:] / spread[:])[None, :], bias[:][None, :]

  def incoming(chunk):
    rows, columns, mask = _places(form, chunk, form.features)
    arriving = triton.load(dy.at[rows, columns], mask=mask, other=0.0)
    return arriving.astype(jnp.float32) / form.window**2

  def passed(arriving, deviation):
    return jnp.where(deviation * slope + shift > 0, arriving, 0.0)

  def add(chunk, sums):
    total, along = sums
    arriving = incoming(chunk)
    for offset in form.offsets:
      deviation = _deviation(form, x, weights, mean_patch, chunk, offset)
      u = passed(arriving, deviation)
      total += u.sum(0)
      along += (u * deviation).sum(0)
    return total, along

  # Sums kept by row to the end would take registers that are not there: 20 % slower.
  zeros = jnp.zeros(form.features, jnp.float32)
  total, along = jax.lax.fori_loop(0, form.chunks, add, (zeros, zeros))
  total = (total / form.pixels)[None, :]
  along = (along / form.pixels / jnp.square(spread[:]))[None, :]

  def write(chunk, _):
    arriving = incoming(chunk)
    for number, offset in enumerate(form.offsets):
      deviation = _deviation(form, x, weights, mean_patch, chunk, offset)
      d_map = slope * (passed(arriving, deviation) - total - deviation * along)
      of_patches = jnp.dot(d_map.astype(x.dtype), weights.T, preferred_element_type=jnp.float32)
      _store(form, d_patches, chunk, of_patches.astype(x.dtype), number * form.pooled)
    return 0

  jax.lax.fori_loop(0, form.chunks, write, 0)


def _patches(form, x, chunk, offset):
  """Patches [rows, k] of the pixels at one place of their pooling windows, float32, and which of
  their numbers are real."""
  pooled, mask = _pooled_pixels(form, chunk)
  number, channels = jnp.arange(form.padded_numbers, dtype=jnp.int32), form.channels
  place = number // channels
  within = (place // _SIZE * form.width + place % _SIZE) * channels + number % channels
  columns = form.pooled_sides[1]
  row = pooled // columns * form.window + offset[0]
  column = pooled % columns * form.window + offset[1]
  first = (row * form.width + column) * channels
  real = mask[:, None] & (number < form.numbers)[None, :]
  patches = triton.load(x.at[first[:, None] + within[None, :]], mask=real, other=0.0)
  return patches.astype(jnp.float32), real


def _centred(form, x, mean_patch, chunk, offset):
  """Patches less their mean, in the type of the images; 0 where nothing is real."""
  patches, real = _patches(form, x, chunk, offset)
  return jnp.where(real, patches - mean_patch[None, :], 0.0).astype(x.dtype)


def _deviation(form, x, weights, mean_patch, chunk, offset):
  """The map less its mean, float32 [rows, features], for pixels as in `_patches`."""
  centred = _centred(form, x, mean_patch, chunk, offset)
  return jnp.dot(centred, weights, preferred_element_type=jnp.float32)


def _pooled_pixels(form, chunk):
  pooled = chunk * form.rows + jnp.arange(form.rows, dtype=jnp.int32)
  return pooled, pooled < form.pooled


def _places(form, chunk, columns):
  """Where the rows of a chunk lie in an array [pooled, columns], and which of them are real."""
  pooled, mask = _pooled_pixels(form, chunk)
  column = jnp.arange(columns, dtype=jnp.int32)
  return pooled[:, None], column[None, :], jnp.broadcast_to(mask[:, None], (form.rows, columns))


def _store(form, array, chunk, values, first_row=0):
  rows, columns, mask = _places(form, chunk, values.shape[1])
  triton.store(array.at[first_row + rows, columns], values, mask=mask)

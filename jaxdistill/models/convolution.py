"""How a convolution is computed: the one place that chooses a form for a backend.

Five forms give the same numbers to float tolerance and very different times:

  direct   XLA's convolution. The best on GPU and TPU.
  patches  kh*kw shifted copies side by side, then one matrix product. Keeps its speed inside
  compiled loops and under
           `vmap` over weights, where XLA:CPU's convolution falls by one to two orders of magnitude
           (a loop body gets no multi-threaded convolution; `vmap` over weights makes a grouped
           one). Needs kh*kw times the memory.
  mixed    XLA's convolution for the output and the input gradient, matrix products for the weight
           gradient (XLA:CPU's own hardly shares the work among cores): that of `rows` where it can
           compute it, else kh*kw of them. Inputs of few channels go through `patches`.

  winograd  fewer products, a few images at a time (`models/winograd.py`): 3x3, stride 1, float32.
  On a CPU half the time of the others for many channels, in loops too.

  rows      shifts along the width in the input, along the height in the output (`models/rows.py`):
  stride 1, float32. On a CPU an eighth of the time of patches for 16 channels, in loops too.

Grouped convolutions have the first three. Patches are multiply-adds of the kh*kw shifted views for
depthwise ones and a matrix product a group for the others, which take XLA's output where they can.

BUILD_NOTES.md has the measured table; `python -m launch.benchmark --only=convolution` makes it
again. A caller that builds a compiled loop or maps over weights says so with `inside_loop()`;
`using(form)` overrides everything.
"""

import contextlib
import contextvars
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import backend, errors
from jaxdistill.models import initializers, rows, winograd

FORMS = ('direct', 'patches', 'mixed', 'winograd', 'rows')
# Those that cannot compute every convolution, and their modules.
_PARTICULAR = {'winograd': winograd, 'rows': rows}
# Up to this many input channels maps are worth computing twice rather than keeping (`Hints`).
NARROW = 16
# Up to this many input channels the patches are no dearer than XLA:CPU's convolution (measured at 3
# and 16 channels).
FEW = 4
# From this many channels on, in and out, Winograd's form takes half the time of the others on a CPU
# (measured at 64 and 128); for fewer it gains nothing that its compilation would not cost.
WIDE = 64

_override: contextvars.ContextVar[str | None] = contextvars.ContextVar(
  'convolution_form', default=None
)
_in_loop: contextvars.ContextVar[bool] = contextvars.ContextVar(
  'convolution_in_loop', default=False
)


@contextlib.contextmanager
def using(form: str):
  """Computes every convolution traced inside the block in this `form`.

  >>> with using('patches'):
  ...   choose(128)
  'patches'
  """
  if form not in FORMS:
    raise errors.unknown('form of convolution', form, FORMS)
  token = _override.set(form)
  try:
    yield
  finally:
    _override.reset(token)


@contextlib.contextmanager
def inside_loop():
  """Says that what is traced in this block runs inside a compiled loop or under `vmap` over
  weights."""
  token = _in_loop.set(True)
  try:
    yield
  finally:
    _in_loop.reset(token)


def choose(in_channels: int, out_channels: int = 0, fitting: Sequence[str] = ()) -> str:
  """Returns the form for a convolution of so many channels for the platform that is compiled for,
  at trace time.

  `fitting`: those of 'winograd' and 'rows' that can compute it. A form that was asked for and
  cannot is 'patches'.
  """
  asked = _override.get()
  if asked:
    return 'patches' if asked in _PARTICULAR and asked not in fitting else asked
  if backend.platform() != 'cpu':
    return 'direct'
  if 'winograd' in fitting and min(in_channels, out_channels) >= WIDE:
    return 'winograd'
  if in_channels <= FEW:
    return 'patches'
  if _in_loop.get():
    return 'rows' if 'rows' in fitting else 'patches'
  return 'mixed'


def _fitting(x, kernel, strides, pads):
  """The forms of `_PARTICULAR` that can compute a convolution."""
  if x.dtype != jnp.float32:
    return ()
  return tuple(
    form for form, module in _PARTICULAR.items() if module.fits(kernel.shape, strides, pads)
  )


def choose_grouped(depthwise: bool) -> str:
  """Returns the form for a grouped convolution, depthwise or not, for the platform that is compiled
  for: 'direct', 'patches' (multiply-adds or products of the shifted views), or 'mixed', XLA's for
  the output alone."""
  if _override.get():
    return _override.get() if _override.get() in ('direct', 'mixed') else 'patches'
  if backend.platform() != 'cpu':
    return 'direct'
  return 'patches' if depthwise or _in_loop.get() else 'mixed'


def convolve(
  x: jax.Array,
  kernel: jax.Array,
  strides: tuple[int, int] = (1, 1),
  padding: str | int | Sequence[tuple[int, int]] = 'SAME',
  feature_group_count: int = 1,
) -> jax.Array:
  """2-D cross-correlation: y[n,i,j,d] = sum_{a,b,c} x[n, i*s+a-p, j*s+b-p, c] kernel[a,b,c,d].

  Args:
    x: [n, h, w, c].
    kernel: [kh, kw, c / feature_group_count, d].
    strides: of both axes.
    padding: 'SAME', 'VALID', a number for all sides, or ((top, bottom), (left, right)).
    feature_group_count: into so many groups of neighbours the channels of input and output are cut,
      and an output sees the inputs of its own group; c: a depthwise convolution.

  Returns:
    [n, h', w', d] in the dtype of `x`.

  >>> import jax.numpy as jnp
  >>> float(convolve(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)))[0, 1, 1, 0])
  9.0
  """
  pads = _pads(x.shape[1:3], kernel.shape[:2], strides, padding)
  if feature_group_count > 1:
    form = choose_grouped(depthwise=kernel.shape[2] == 1)
    ways = {'direct': _direct, 'mixed': _mixed_groups, 'patches': _by_groups}
    return ways[form](x, kernel, strides, pads, feature_group_count)
  form = choose(*kernel.shape[2:], _fitting(x, kernel, strides, pads))
  if form in _PARTICULAR:
    return _PARTICULAR[form].convolve(x, kernel, pads)
  if form == 'patches':
    return _by_patches(x, kernel, strides, pads)
  if form == 'mixed':
    return _mixed(x, kernel, strides, pads)
  return _direct(x, kernel, strides, pads)


def output_statistics(
  x: jax.Array, kernel: jax.Array, bias: jax.Array | None, strides, padding
) -> tuple[jax.Array, jax.Array]:
  """Mean and biased variance of every output channel over the map, from the input's patches.

  The output is linear in the patches P, so with their mean m and covariance C over the map
    mean = m kernel + bias,   variance_d = kernel_d^T C kernel_d.
  For an input of few channels this is far less work than two passes over a wide output (on a CPU
  half the time of a first layer with instance norm), and exact up to rounding.

  Args:
    x: [n, h, w, c] with few channels.
    kernel: [kh, kw, c, d].
    bias: [d] or None.
    strides, padding: as for `convolve`.

  Returns:
    (mean, variance), float32 [n, 1, 1, d].

  >>> import jax.numpy as jnp
  >>> x = jnp.arange(4.).reshape(1, 2, 2, 1)
  >>> mean, variance = output_statistics(x, jnp.full((1, 1, 1, 1), 2.), jnp.ones(1), (1, 1), 'SAME')
  >>> float(mean[0, 0, 0, 0]), float(variance[0, 0, 0, 0])
  (4.0, 5.0)
  """
  x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)
  patches = extract_patches(
    x, kernel.shape[:2], strides, _pads(x.shape[1:3], kernel.shape[:2], strides, padding)
  )
  patches = patches.reshape(len(x), -1, patches.shape[-1])
  flat = kernel.reshape(-1, kernel.shape[-1])
  centre = patches.mean(1, keepdims=True)
  deviation = patches - centre
  precise = jax.lax.Precision.HIGHEST
  covariance = (
    jnp.einsum('npi,npj->nij', deviation, deviation, precision=precise) / patches.shape[1]
  )
  variance = (jnp.einsum('nij,jd->nid', covariance, flat, precision=precise) * flat[None]).sum(1)
  mean = jnp.matmul(centre[:, 0], flat, precision=precise)
  mean = mean if bias is None else mean + bias.astype(jnp.float32)[None, :]
  return mean[:, None, None, :], variance[:, None, None, :]


def first_pixel(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, strides, padding):
  """The output's pixel at the top left, from the input: float32 [n, 1, 1, d]; no gradient goes
  through it.

  Moments are taken about it. Read from the output itself it would have to be there first, and the
  sums could not be taken on the way out of the convolution.

  Args: as for `output_statistics`, of any number of channels.

  >>> import jax.numpy as jnp
  >>> x, kernel = jnp.arange(4.).reshape(1, 2, 2, 1), jnp.ones((3, 3, 1, 1))
  >>> float(first_pixel(x, kernel, None, (1, 1), 'SAME')[0, 0, 0, 0])
  6.0
  """
  pads = _pads(x.shape[1:3], kernel.shape[:2], strides, padding)
  (top, _), (left, _) = pads
  height, width = kernel.shape[0] - top, kernel.shape[1] - left
  if min(height, width) <= 0:  # it lies in the padding
    pixel = jnp.zeros((len(x), kernel.shape[-1]), jnp.float32)
  else:
    corner = x[:, :height, :width].astype(jnp.float32)
    corner_kernel = kernel[top : top + corner.shape[1], left : left + corner.shape[2]]
    # Too little for a matrix product, whose call would cost more.
    pixel = (corner[..., None] * corner_kernel.astype(jnp.float32)[None]).sum((1, 2, 3))
  pixel = pixel if bias is None else pixel + bias.astype(jnp.float32)[None]
  return jax.lax.stop_gradient(pixel)[:, None, None, :]


def extract_patches(
  x: jax.Array, size: tuple[int, int], strides: tuple[int, int], pads
) -> jax.Array:
  """Lays the kh*kw shifted views of `x` side by side: [n, h', w', kh*kw*c], in the order of a
  reshaped kernel."""
  return jnp.concatenate(_shifts(x, size, strides, pads), axis=-1)


def _pads(shape, size, strides, padding):
  if isinstance(padding, int):
    return ((padding, padding), (padding, padding))
  if isinstance(padding, str):
    return tuple(jax.lax.padtype_to_pads(shape, size, strides, padding))
  return tuple(tuple(pair) for pair in padding)


def _shifts(x, size, strides, pads):
  x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
  out = [(x.shape[1 + axis] - size[axis]) // strides[axis] + 1 for axis in (0, 1)]
  stop = [(out[axis] - 1) * strides[axis] + 1 for axis in (0, 1)]
  return [
    x[:, a : a + stop[0] : strides[0], b : b + stop[1] : strides[1]]
    for a, b in itertools.product(range(size[0]), range(size[1]))
  ]


def _direct(x, kernel, strides, pads, feature_group_count=1):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    strides,
    pads,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=feature_group_count,
  )


def _by_groups(x, kernel, strides, pads, groups):
  """A grouped convolution. XLA:CPU takes 5 to 30 times as long for depthwise ones and for the
  gradients of all."""
  size, (inputs, outputs) = kernel.shape[:2], kernel.shape[2:]
  shifts = _shifts(x, size, strides, pads)
  if inputs == 1 and outputs == groups:
    # Sums in float32, as XLA's; views and sums are fused into one pass.
    taps = kernel.reshape(-1, 1, 1, 1, outputs).astype(jnp.float32)
    total = sum(view.astype(jnp.float32) * tap for view, tap in zip(shifts, taps))
    return total.astype(x.dtype)
  patches = jnp.stack(shifts, 3).reshape(-1, len(shifts), groups, inputs)
  taps = kernel.reshape(len(shifts), inputs, groups, outputs // groups)
  flat = jnp.einsum('mtgc,tcgd->mgd', patches, taps)
  return flat.reshape(*shifts[0].shape[:3], outputs)


def _by_patches(x, kernel, strides, pads):
  patches = extract_patches(x, kernel.shape[:2], strides, pads)
  flat = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
  return flat.reshape(*patches.shape[:3], kernel.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _mixed(x, kernel, strides, pads):
  return _direct(x, kernel, strides, pads)


def _mixed_forward(x, kernel, strides, pads):
  return _direct(x, kernel, strides, pads), (x, kernel)


def _mixed_backward(strides, pads, residuals, dy):
  x, kernel = residuals
  _, pull = jax.vjp(lambda x: _direct(x, kernel, strides, pads), x)
  if 'rows' in _fitting(x, kernel, strides, pads):
    return pull(dy)[0], rows.kernel_gradient(x, kernel, pads, dy)
  flat = dy.reshape(-1, dy.shape[-1])
  # d kernel[a, b] = (view of x shifted by a, b)^T dy: one plain matrix product for each of the
  # kh*kw shifts.
  d_kernel = [
    shift.reshape(-1, x.shape[-1]).T @ flat for shift in _shifts(x, kernel.shape[:2], strides, pads)
  ]
  return pull(dy)[0], jnp.stack(d_kernel).reshape(kernel.shape)


_mixed.defvjp(_mixed_forward, _mixed_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _mixed_groups(x, kernel, strides, pads, groups):
  return _direct(x, kernel, strides, pads, groups)


def _mixed_groups_forward(x, kernel, strides, pads, groups):
  return _direct(x, kernel, strides, pads, groups), (x, kernel)


def _mixed_groups_backward(strides, pads, groups, residuals, dy):
  _, pull = jax.vjp(lambda x, kernel: _by_groups(x, kernel, strides, pads, groups), *residuals)
  return pull(dy)


_mixed_groups.defvjp(_mixed_groups_forward, _mixed_groups_backward)


class Hints(NamedTuple):
  """What a convolution can tell a norm behind it for less than reading its maps costs; None: it
  cannot.

  statistics: mean and biased variance of every channel of each map, [n, 1, 1, d].
  reference: a number near each of them, [n, 1, 1, d].
  """

  statistics: tuple[jax.Array, jax.Array] | None = None
  reference: jax.Array | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Maps:
  """What a convolution layer makes of images, not yet made.

  Attributes:
    kernel: [kh, kw, c / feature_group_count, d], in `dtype`. bias: [d] or None.
    strides, padding, feature_group_count: as for `convolve`.
    dtype: of the computation.
  """

  kernel: jax.Array
  bias: jax.Array | None
  strides: tuple[int, int]
  padding: str | int | Sequence[tuple[int, int]]
  dtype: jnp.dtype
  feature_group_count: int = 1

  def of(self, x: jax.Array) -> jax.Array:
    """Returns the maps of images [n, h, w, c]."""
    how = (self.kernel, self.strides, self.padding, self.feature_group_count)
    y = convolve(x.astype(self.dtype), *how)
    return y if self.bias is None else y + self.bias.astype(self.dtype).reshape(1, 1, 1, -1)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, Hints]:
    """Returns the maps of images, and what a norm behind them may know."""
    if self.feature_group_count > 1:
      return self.of(x), Hints()
    how = (x.astype(self.dtype), self.kernel, self.bias, self.strides, self.padding)
    return self.of(x), _hints(*how)

  def padded(self, x: jax.Array) -> jax.Array:
    """Returns images with their padding, in the type of the computation."""
    pads = _pads(x.shape[1:3], self.kernel.shape[:2], self.strides, self.padding)
    return jnp.pad(x.astype(self.dtype), ((0, 0), *pads, (0, 0)))


class Conv(nn.Module):
  """Convolution layer with PyTorch's default initialisation.

  y = x * kernel + bias, kernel and bias ~ U(+-1/sqrt(kh kw c)) unless other initialisers are given,
  c the input channels that an output sees.

  Attributes:
    features: number of output channels.
    kernel_size: (kh, kw).
    strides: of both axes.
    padding: 'SAME', 'VALID', a number for all sides, or ((top, bottom), (left, right)).
    use_bias: whether a bias is added.
    kernel_init: initialiser of the kernel; None: PyTorch's default.
    bias_init: initialiser of the bias; None: PyTorch's default.
    dtype: of the computation; parameters stay float32. None: that of the input.
    feature_group_count: groups of channels, see `convolve`; it divides those of input and output.
  """

  features: int
  kernel_size: tuple[int, int] = (3, 3)
  strides: tuple[int, int] = (1, 1)
  padding: str | int | Sequence[tuple[int, int]] = 'SAME'
  use_bias: bool = True
  kernel_init: Callable | None = None
  bias_init: Callable | None = None
  dtype: jnp.dtype | None = None
  feature_group_count: int = 1

  @nn.compact
  def __call__(self, x: jax.Array, deferred: bool = False):
    """Returns the maps; `deferred` the `Maps` that makes them, for images of the form of `x`."""
    if x.shape[-1] % self.feature_group_count or self.features % self.feature_group_count:
      raise errors.UserError(
        f'{self.feature_group_count} groups do not divide the {x.shape[-1]} and {self.features} '
        'channels of a convolution.'
      )
    inputs = x.shape[-1] // self.feature_group_count
    fan_in = self.kernel_size[0] * self.kernel_size[1] * inputs
    kernel = self.param(
      'kernel',
      self.kernel_init or initializers.torch_uniform(fan_in),
      (*self.kernel_size, inputs, self.features),
    )
    bias = None
    if self.use_bias:
      bias = self.param(
        'bias', self.bias_init or initializers.torch_uniform(fan_in), (self.features,)
      )
    dtype = jnp.dtype(self.dtype or x.dtype)
    kernel = kernel.astype(dtype)
    maps = Maps(kernel, bias, self.strides, self.padding, dtype, self.feature_group_count)
    return maps if deferred else maps.of(x)


def _hints(x, kernel, bias, strides, padding):
  how = (x, kernel, bias, strides, padding)
  narrow = x.shape[-1] <= NARROW
  if backend.platform() != 'cpu':
    # Images may be far from 0 against their spread; maps behind a norm are not.
    return Hints(reference=first_pixel(*how) if narrow and x.dtype.itemsize >= 4 else None)
  cheap = choose(x.shape[-1]) == 'patches' and 4 * math.prod(kernel.shape[:3]) <= kernel.shape[3]
  return Hints(statistics=output_statistics(*how) if cheap else None)

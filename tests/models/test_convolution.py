"""Every form of a convolution against a loop in float64, and the statistics of its output."""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import backend
from jaxdistill.errors import UserError
from jaxdistill.models import convolution, normalisation, rows, winograd

CASES = [
  ((2, 6, 5, 3), (3, 3, 3, 4), (1, 1), 'SAME'),
  ((1, 7, 7, 2), (3, 3, 2, 3), (2, 2), 1),
  ((1, 6, 6, 1), (1, 1, 1, 2), (2, 2), 'VALID'),
  ((1, 5, 5, 1), (3, 3, 1, 2), (1, 1), ((3, 3), (3, 3))),
  ((1, 8, 8, 17), (3, 3, 17, 2), (1, 1), 'SAME'),
  ((3, 5, 8, 2), (3, 3, 2, 3), (1, 1), ((2, 0), (1, 2))),
]


def arrays(x_shape, kernel_shape):
  rng = np.random.default_rng(0)
  return rng.normal(size=x_shape).astype(np.float32), rng.normal(size=kernel_shape).astype(
    np.float32
  )


def by_hand(x, kernel, strides, padding):
  x, kernel = x.astype(np.float64), kernel.astype(np.float64)
  kh, kw = kernel.shape[:2]
  if padding == 'SAME':
    padding = ((kh // 2, kh // 2), (kw // 2, kw // 2))  # stride 1 and odd kernels only
  elif padding == 'VALID':
    padding = ((0, 0), (0, 0))
  elif isinstance(padding, int):
    padding = ((padding,) * 2,) * 2
  x = np.pad(x, ((0, 0), *padding, (0, 0)))
  height, width = ((x.shape[1 + a] - kernel.shape[a]) // strides[a] + 1 for a in (0, 1))
  out = np.zeros((len(x), height, width, kernel.shape[-1]))
  for i in range(height):
    for j in range(width):
      window = x[:, i * strides[0] : i * strides[0] + kh, j * strides[1] : j * strides[1] + kw]
      out[:, i, j] = np.einsum('nabc,abcd->nd', window, kernel)
  return out


@pytest.mark.parametrize('form', convolution.FORMS)
@pytest.mark.parametrize('case', CASES)
def test_every_form_is_the_same_correlation(form, case):
  x_shape, kernel_shape, strides, padding = case
  x, kernel = arrays(x_shape, kernel_shape)
  with convolution.using(form):
    y = jax.jit(lambda x, k: convolution.convolve(x, k, strides, padding))(x, kernel)
  np.testing.assert_allclose(y, by_hand(x, kernel, strides, padding), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('case', [*CASES[:3], CASES[-1]])
def test_every_form_has_the_same_gradients(case):
  x_shape, kernel_shape, strides, padding = case
  x, kernel = arrays(x_shape, kernel_shape)
  gradients = {}
  for form in convolution.FORMS:
    with convolution.using(form):
      total = lambda x, k: jnp.sin(convolution.convolve(x, k, strides, padding)).sum()
      gradients[form] = jax.jit(jax.grad(total, argnums=(0, 1)))(x, kernel)
  for form in convolution.FORMS:
    for ours, direct in zip(gradients[form], gradients['direct']):
      np.testing.assert_allclose(ours, direct, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  'form, two_images', [(winograd, 16 * 6 * 5 * 4 * 2), (rows, 4 * 6 * 5 * (9 + 12) * 2)]
)
def test_a_form_takes_a_few_images_at_a_time_and_kernels_of_several_networks(
  form, two_images, monkeypatch
):
  monkeypatch.setattr(form, '_BYTES', two_images)
  x, _ = arrays((5, 6, 5, 3), (3, 3, 3, 4))
  kernels = np.random.default_rng(1).normal(size=(2, 3, 3, 3, 4)).astype(np.float32)
  pads = ((1, 1), (1, 1))

  def total(convolve):
    return lambda x, k: jnp.sin(convolve(x, k)).sum()

  portions = total(lambda x, k: form.convolve(x, k, pads))
  direct = total(lambda x, k: convolution._direct(x, k, (1, 1), pads))
  each = lambda f: jax.jit(jax.vmap(jax.value_and_grad(f, argnums=(0, 1)), (None, 0)))(x, kernels)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
    each(portions),
    each(direct),
  )


@pytest.mark.parametrize(
  'channels, dtype, strides, form',
  [
    ((64, 128), 'float32', (1, 1), 'winograd'),
    ((64, 128), 'bfloat16', (1, 1), 'mixed'),
    ((64, 128), 'float32', (2, 2), 'mixed'),
    ((32, 128), 'float32', (1, 1), 'mixed'),
    ((16, 16), 'float32', (1, 1), 'mixed'),
    ((3, 128), 'float32', (1, 1), 'patches'),
  ],
)
def test_the_form_on_a_cpu(channels, dtype, strides, form, monkeypatch):
  chosen = []
  choose = convolution.choose
  monkeypatch.setattr(convolution, 'choose', lambda *how: chosen.append(choose(*how)) or chosen[-1])
  x = jax.ShapeDtypeStruct((2, 8, 8, channels[0]), dtype)
  kernel = jax.ShapeDtypeStruct((3, 3, *channels), dtype)
  with backend.compiling_for('cpu'):
    jax.eval_shape(lambda x, k: convolution.convolve(x, k, strides, 1), x, kernel)
  assert chosen == [form]


@pytest.mark.parametrize('strides, padding', [((1, 1), 'SAME'), ((2, 2), 1), ((1, 1), 3)])
def test_statistics_from_patches_are_those_of_the_output(strides, padding):
  x, kernel = arrays((2, 8, 8, 2), (3, 3, 2, 5))
  bias = np.arange(5.0)
  y = by_hand(x, kernel, strides, ((1, 1), (1, 1)) if padding == 'SAME' else padding) + bias
  mean, variance = convolution.output_statistics(
    jnp.asarray(x), jnp.asarray(kernel), jnp.asarray(bias), strides, padding
  )
  np.testing.assert_allclose(mean, y.mean((1, 2), keepdims=True), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(variance, y.var((1, 2), keepdims=True), rtol=1e-4)


def test_a_large_mean_does_not_spoil_the_variance():
  x, kernel = arrays((1, 8, 8, 1), (3, 3, 1, 2))
  far = jnp.asarray(x + 1000)
  _, variance = convolution.output_statistics(far, jnp.asarray(kernel), None, (1, 1), 'VALID')
  np.testing.assert_allclose(
    variance,
    by_hand(np.asarray(far), kernel, (1, 1), 'VALID').var((1, 2), keepdims=True),
    rtol=1e-3,
  )


def test_layer_starts_like_pytorch_and_counts_its_parameters():
  layer = convolution.Conv(64)
  params = layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))['params']
  assert params['kernel'].shape == (3, 3, 3, 64) and params['bias'].shape == (64,)
  bound = 1 / np.sqrt(27)
  assert (
    abs(np.asarray(params['kernel'])).max() <= bound
    and abs(np.asarray(params['bias'])).max() <= bound
  )
  np.testing.assert_allclose(np.std(params['kernel']), 1 / np.sqrt(3 * 27), rtol=0.05)


def test_layer_returns_statistics_only_where_they_are_cheap():
  x = jnp.asarray(arrays((2, 6, 6, 1), (1, 1, 1, 1))[0])

  class Deferred(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
      return convolution.Conv(self.features)(x, deferred=True)(x)

  wide, narrow = Deferred(36), Deferred(8)
  y, (statistics, _) = wide.apply(wide.init(jax.random.key(0), x), x)
  np.testing.assert_allclose(statistics[0], y.mean((1, 2), keepdims=True), atol=1e-5)
  np.testing.assert_allclose(statistics[1], y.var((1, 2), keepdims=True), rtol=1e-4)
  assert narrow.apply(narrow.init(jax.random.key(0), x), x)[1].statistics is None


def test_bfloat16_computation_keeps_float32_parameters():
  layer = convolution.Conv(4, dtype=jnp.bfloat16)
  variables = layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
  assert layer.apply(variables, jnp.zeros((1, 4, 4, 3))).dtype == jnp.bfloat16


def test_loops_take_no_convolution_of_xla_on_a_cpu_and_an_override_wins():
  assert convolution.choose(128) == 'mixed' and convolution.choose(3) == 'patches'
  with convolution.inside_loop():
    assert convolution.choose(128) == 'patches'
    assert convolution.choose(16, 16, ('winograd', 'rows')) == 'rows'
    assert convolution.choose(3, 16, ('winograd', 'rows')) == 'patches'
    with convolution.using('direct'):
      assert convolution.choose(128) == 'direct'
  assert convolution.choose(128) == 'mixed'


def test_unknown_form_is_refused():
  with pytest.raises(UserError, match="no form of convolution 'patch'; did you mean 'patches'"):
    with convolution.using('patch'):
      pass


GROUPED = [
  ((2, 5, 6, 4), (3, 3, 1, 4), 4, (1, 1), 1),  # depthwise
  ((2, 5, 6, 4), (3, 3, 1, 4), 4, (2, 2), 1),
  ((2, 4, 5, 3), (3, 3, 1, 6), 3, (1, 1), 1),  # depthwise, two outputs a channel
  ((2, 4, 3, 6), (1, 1, 2, 9), 3, (1, 1), 0),
  ((1, 7, 5, 6), (3, 3, 3, 4), 2, (2, 2), ((1, 0), (2, 1))),
  ((2, 1, 1, 4), (3, 3, 1, 4), 4, (2, 2), 1),  # a single pixel
]


def grouped_by_hand(x, kernel, groups, strides, padding):
  inputs, outputs = np.split(x, groups, -1), np.split(kernel, groups, -1)
  parts = [by_hand(part, kernels, strides, padding) for part, kernels in zip(inputs, outputs)]
  return np.concatenate(parts, -1)


@pytest.mark.parametrize('case', GROUPED)
def test_grouped_forms_are_the_same_correlation_with_the_same_gradients(case):
  x_shape, kernel_shape, groups, strides, padding = case
  x, kernel = arrays(x_shape, kernel_shape)

  def total(x, kernel):
    y = convolution.convolve(x, kernel, strides, padding, groups)
    return jnp.sin(y).sum(), y

  results = {}
  for form in ('direct', 'patches', 'mixed'):
    with convolution.using(form):
      results[form] = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(x, kernel)
  expected = grouped_by_hand(x, kernel, groups, strides, padding)
  for gradients, y in results.values():
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    for ours, direct in zip(gradients, results['direct'][0]):
      np.testing.assert_allclose(ours, direct, rtol=1e-4, atol=1e-4)


def test_kernels_of_several_networks_go_through_grouped_forms_together():
  x, _ = arrays((2, 4, 4, 4), (3, 3, 1, 4))
  kernels = np.random.default_rng(1).normal(size=(3, 3, 3, 1, 4)).astype(np.float32)
  y = jax.vmap(lambda k: convolution.convolve(x, k, (1, 1), 1, 4))(kernels)
  for kernel, maps in zip(kernels, y):
    np.testing.assert_allclose(maps, grouped_by_hand(x, kernel, 4, (1, 1), 1), atol=1e-4)


@pytest.mark.parametrize(
  'platform, in_loop, depthwise, grouped',
  [
    ('cpu', False, 'patches', 'mixed'),
    ('cpu', True, 'patches', 'patches'),
    ('gpu', True, 'direct', 'direct'),
    ('tpu', False, 'direct', 'direct'),
  ],
)
def test_the_form_of_grouped_convolutions_follows_the_platform(
  platform, in_loop, depthwise, grouped
):
  with backend.compiling_for(platform):
    with convolution.inside_loop() if in_loop else contextlib.nullcontext():
      assert convolution.choose_grouped(depthwise=True) == depthwise
      assert convolution.choose_grouped(depthwise=False) == grouped
      program = str(
        jax.make_jaxpr(lambda x, k: convolution.convolve(x, k, (1, 1), 1, 4))(
          jnp.zeros((1, 4, 4, 4)), jnp.zeros((3, 3, 1, 4))
        )
      )
  assert ('conv_general_dilated' in program) == (depthwise == 'direct')


def test_depthwise_sums_are_those_of_float32():
  """Of bfloat16 numbers 256 + 1 + ... + 1 would stay 256."""
  x = np.ones((1, 3, 3, 2))
  x[0, 0, 0] = 256
  maps = convolution.convolve(
    jnp.asarray(x, jnp.bfloat16), jnp.ones((3, 3, 1, 2), jnp.bfloat16), (1, 1), 'VALID', 2
  )
  assert maps.dtype == jnp.bfloat16 and maps.ravel().tolist() == [264, 264]


def test_a_grouped_layer_starts_by_the_channels_that_an_output_sees():
  layer = convolution.Conv(64, feature_group_count=64)
  params = layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))['params']
  assert params['kernel'].shape == (3, 3, 1, 64)
  assert 0.3 < np.abs(params['kernel']).max() <= 1 / 3
  with pytest.raises(UserError, match='3 groups do not divide the 4 and 6 channels'):
    convolution.Conv(6, feature_group_count=3).init(jax.random.key(0), jnp.zeros((1, 4, 4, 4)))


@pytest.mark.parametrize('platform', ['cpu', 'gpu'])
def test_a_norm_behind_a_grouped_layer_takes_its_moments_from_the_maps(platform):
  """Few channels enter, and what is known of them for a whole kernel holds for no grouped one."""

  class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
      conv = convolution.Conv(64, padding=1, use_bias=False, feature_group_count=2)
      return normalisation.conv_norm_relu(conv, normalisation.InstanceNorm(), x, False)

  x = jnp.asarray(arrays((2, 6, 6, 2), (1, 1, 1, 1))[0])
  kernel = jax.random.normal(jax.random.key(0), (3, 3, 1, 64))
  norm = {'scale': jnp.ones(64), 'bias': jnp.zeros(64)}
  with backend.compiling_for(platform):
    y = Block().apply({'params': {'Conv_0': {'kernel': kernel}, 'InstanceNorm_0': norm}}, x)
  maps = grouped_by_hand(np.asarray(x), np.asarray(kernel), 2, (1, 1), 1)
  spread = np.sqrt(maps.var((1, 2), keepdims=True) + 1e-5)
  expected = np.maximum((maps - maps.mean((1, 2), keepdims=True)) / spread, 0)
  np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)

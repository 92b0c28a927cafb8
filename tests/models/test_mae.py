"""Masked autoencoding: masks, patches, and encoder and decoder against plain NumPy networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_layout

from jaxdistill import errors, models
from jaxdistill.models import heads, mae, mae_vit

TINY = {'name': 'mae_vit', 'width': 8, 'depth': 2, 'heads': 2, 'expansion': 2, 'patch': 2}
IMAGE = (4, 6, 3)


def transposed(layer):
  return {'weight': np.asarray(layer['kernel'], np.float64).T, 'bias': np.asarray(layer['bias'])}


def normed(layer):
  return {'weight': np.asarray(layer['scale']), 'bias': np.asarray(layer['bias'])}


def named(parts):
  """{'a': {'weight': ...}} -> {'a.weight': ...}."""
  state = {}
  for name, layer in parts.items():
    state |= {f'{name}.{field}': np.asarray(value, np.float64) for field, value in layer.items()}
  return state


def of_blocks(params, prefix):
  parts, block = {}, 1
  while f'block{block}' in params:
    layers, name = params[f'block{block}'], f'{prefix}.{block - 1}'
    parts |= {f'{name}.norm{i}': normed(layers[f'norm{i}']) for i in (1, 2)}
    parts[f'{name}.attn.qkv'] = transposed(layers['qkv'])
    parts[f'{name}.attn.proj'] = transposed(layers['out'])
    parts[f'{name}.mlp.fc1'] = transposed(layers['expand'])
    parts[f'{name}.mlp.fc2'] = transposed(layers['contract'])
    block += 1
  return parts


def of_encoder(params, grid):
  kernel = np.asarray(params['patches']['kernel']).transpose(3, 2, 0, 1)
  parts = of_blocks(params, 'blocks')
  parts['patch_embed.proj'] = {'weight': kernel, 'bias': params['patches']['bias']}
  parts['norm'] = normed(params['norm'])
  cls = np.asarray(params['cls'], np.float64)
  return named(parts) | {
    'cls_token': cls,
    'pos_embed': torch_layout.positions(grid, cls.shape[-1]),
  }


def of_decoder(params, grid):
  parts = of_blocks(params, 'decoder_blocks')
  parts['decoder_embed'], parts['decoder_pred'] = map(
    transposed, (params['embed'], params['output'])
  )
  parts['decoder_norm'] = normed(params['norm'])
  mask = np.asarray(params['mask'], np.float64)
  return named(parts) | {
    'mask_token': mask,
    'decoder_pos_embed': torch_layout.positions(grid, mask.shape[-1]),
  }


@pytest.fixture(scope='module')
def images():
  return jax.random.normal(jax.random.key(1), (2, *IMAGE))


@pytest.mark.parametrize('pool', ['mean', 'cls'])
def test_the_encoder_equals_a_plain_numpy_network(random_variables, images, pool):
  net = models.build(TINY | {'pool': pool}, 3, IMAGE)
  variables = random_variables(net, images)
  logits, features = jax.jit(net.apply)(variables, images)
  tokens = torch_layout.vit(of_encoder(variables['params'], (2, 3)), np.asarray(images), heads=2)
  np.testing.assert_allclose(features['cls'], tokens[:, 0], rtol=1e-3, atol=1e-4)
  np.testing.assert_allclose(features['tokens'], tokens[:, 1:], rtol=1e-3, atol=1e-4)
  embedding = tokens[:, 1:].mean(1) if pool == 'mean' else tokens[:, 0]
  np.testing.assert_allclose(features['embedding'], embedding, rtol=1e-3, atol=1e-4)
  classifier = transposed(variables['params']['classifier'])
  expected = embedding @ classifier['weight'].T + classifier['bias']
  np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)
  assert features['block1'].shape == features['block2'].shape == (2, 2, 3, 8)


def test_encoder_and_decoder_of_kept_patches_equal_plain_numpy_networks(random_variables, images):
  encoder = models.build(TINY, 3, IMAGE)
  net = mae.MaskedAutoencoder(encoder, mae.Decoder(5, width=12, depth=2, heads=3))
  keep = jnp.array([[4, 1], [0, 5]])
  order = jnp.concatenate([keep, jnp.array([[0, 2, 3, 5], [1, 2, 3, 4]])], 1)
  masking = mae.Masking(keep, jnp.argsort(order, 1), jnp.zeros((2, 6)))
  variables = random_variables(net, images, masking)
  decoded, features = jax.jit(net.apply)(variables, images, masking)
  params = variables['params']
  tokens = torch_layout.vit(of_encoder(params['encoder'], (2, 3)), np.asarray(images), 2, keep)
  np.testing.assert_allclose(features['tokens'], tokens[:, 1:], rtol=1e-3, atol=1e-4)
  expected = torch_layout.decoder(of_decoder(params['decoder'], (2, 3)), tokens, keep, heads=3)
  np.testing.assert_allclose(decoded, expected, rtol=1e-3, atol=1e-4)
  assert 'classifier' not in params['encoder']


def test_kept_patches_do_not_see_the_masked_ones(random_variables, images):
  net = models.build(TINY, 3, IMAGE)
  variables = random_variables(net, images)
  keep = jnp.array([[0, 4], [0, 4]])
  changed = images.at[:, :2, 2:].set(7.0)  # patches 1 and 2
  kept = jax.jit(lambda x: net.apply(variables, x, keep=keep)[1]['tokens'])
  tokens = [kept(x) for x in (images, changed)]
  np.testing.assert_array_equal(*tokens)
  every = jax.jit(lambda x: net.apply(variables, x)[1]['tokens'])
  assert np.abs(every(images) - every(changed))[:, [0, 4]].max() > 1e-3


def test_without_a_mask_the_order_of_the_kept_patches_is_undone(random_variables, images):
  """All patches kept in any order are the whole image to encoder and decoder."""
  encoder = models.build(TINY, 3, IMAGE)
  net = mae.MaskedAutoencoder(encoder, mae.Decoder(2, width=8, depth=1))
  plain, shuffled = jnp.tile(jnp.arange(6), (2, 1)), jnp.array([[3, 1, 5, 0, 2, 4]] * 2)
  maskings = [mae.Masking(o, jnp.argsort(o, 1), jnp.zeros((2, 6))) for o in (plain, shuffled)]
  variables, apply = random_variables(net, images, maskings[0]), jax.jit(net.apply)
  first, second = (apply(variables, images, masking)[0] for masking in maskings)
  np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)


def test_a_decoder_without_a_class_token():
  decoder = mae.Decoder(3, width=8, depth=1)
  tokens, restore = jnp.ones((2, 2, 4)), jnp.array([[0, 2, 3, 1], [3, 2, 1, 0]])
  decode = lambda tokens, cls: decoder.init_with_output(
    jax.random.key(0), tokens, restore, (2, 2), cls
  )[0]
  without = jax.eval_shape(lambda tokens: decode(tokens, None), tokens)
  assert without.shape == (2, 4, 3) and without.dtype == jnp.float32
  assert jax.eval_shape(decode, tokens, jnp.ones((2, 4))).shape == (2, 4, 3)


def test_masks_have_one_size_and_undo_themselves():
  masking = mae.random_masking(jax.random.key(3), rows=50, tokens=12, ratio=0.75)
  assert masking.keep.shape == (50, 3)
  np.testing.assert_array_equal(masking.masked.sum(1), 9)
  for keep, restore, masked in zip(*map(np.asarray, masking)):
    assert sorted(restore) == list(range(12))
    np.testing.assert_array_equal(np.flatnonzero(masked == 0), np.sort(keep))
    # Position p stands at restore[p] of what is kept and what is not.
    np.testing.assert_array_equal(restore[keep], np.arange(3))
  # Every position is kept a quarter of the time: 12.5 of 50, standard deviation 3.1.
  kept = 50 - masking.masked.sum(0)
  assert (
    kept.min() >= 1 and kept.max() <= 25 and len({tuple(row) for row in masking.keep.tolist()}) > 40
  )


@pytest.mark.parametrize(
  'tokens, ratio, kept', [(64, 0.75, 16), (196, 0.75, 49), (6, 0.75, 2), (4, 0.99, 1), (9, 0, 9)]
)
def test_how_many_are_kept(tokens, ratio, kept):
  assert mae.count_kept(tokens, ratio) == kept


@pytest.mark.parametrize('ratio', [1, -0.1, float('nan'), 'half'])
def test_a_ratio_that_masks_everything_is_told(ratio):
  with pytest.raises(errors.UserError, match='mask ratio is .*; it must be'):
    mae.count_kept(16, ratio)


def test_taken_tokens_carry_the_gradient_of_their_positions_alone():
  keep = jnp.array([[2, 0]])
  gradient = jax.jit(jax.grad(lambda tokens: mae.take(tokens, keep).sum()))(jnp.ones((1, 4, 2)))
  np.testing.assert_array_equal(gradient[0, :, 0], [1, 0, 1, 0])


def test_patches_and_back(images):
  patches = mae.patchify(images, 2)
  assert patches.shape == (2, 6, 12)
  np.testing.assert_array_equal(patches[1, 4], np.asarray(images[1, 2:4, 2:4]).reshape(-1))
  np.testing.assert_array_equal(mae.unpatchify(patches, (2, 3), 2), images)


def test_pixel_targets_have_mean_0_and_variance_1(images):
  targets = np.asarray(mae.pixel_targets(images, 2))
  np.testing.assert_allclose(targets.mean(-1), 0, atol=1e-6)
  np.testing.assert_allclose(targets.var(-1, ddof=1), 1, rtol=1e-3)
  np.testing.assert_array_equal(
    mae.pixel_targets(images, 2, normalise=False), mae.patchify(images, 2)
  )
  assert np.isfinite(mae.pixel_targets(jnp.ones((1, 4, 4, 1)), 2)).all()


@pytest.mark.parametrize('grid, width', [((2, 3), 8), ((14, 14), 768)])
def test_fixed_positions(grid, width):
  expected = torch_layout.positions(grid, width)[0, 1:]
  np.testing.assert_allclose(mae_vit.waves(grid, width), expected, atol=1e-6)


def test_linear_layers_start_xavier_uniform(images):
  net = models.build(TINY | {'width': 64, 'heads': 0}, 3, IMAGE)
  params = jax.jit(net.init)(jax.random.key(0), images)['params']
  for kernel, fans in (
    (params['patches']['kernel'], 12 + 64),
    (params['block1']['qkv']['kernel'], 64 + 192),
  ):
    bound = (6 / fans) ** 0.5
    assert 0.9 * bound < np.abs(kernel).max() <= bound
    assert kernel.std() == pytest.approx(bound / 3**0.5, rel=0.1)
  assert not params['block1']['qkv']['bias'].any() and not params['patches']['bias'].any()


def test_a_masked_autoencoder_hands_its_encoder_to_a_classifier(images):
  """The same sub-tree serves pre-training and fine-tuning."""
  encoder = models.build(TINY, 3, IMAGE)
  autoencoder = mae.MaskedAutoencoder(encoder, mae.Decoder(12, width=8, depth=1))
  masking = mae.random_masking(jax.random.key(0), 2, 6)
  pretrained = jax.eval_shape(autoencoder.init, jax.random.key(0), images, masking)['params']
  tuned = jax.eval_shape(heads.attach(encoder, 'two_layer').init, jax.random.key(0), images)
  assert jax.tree.map(lambda leaf: leaf.shape, pretrained['encoder']) == jax.tree.map(
    lambda leaf: leaf.shape, tuned['params']['encoder']
  )


def test_decoders_that_cannot_be_are_told():
  with pytest.raises(errors.UserError, match='divisible by 4 and by its number of heads; got 10'):
    mae.Decoder(3, width=10).check()

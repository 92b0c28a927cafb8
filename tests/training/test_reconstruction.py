"""What masked autoencoders learn: both objectives against NumPy in float64, their switches, and
their limits. Where nothing asks for attention the transformers have no block, which compiles
sooner."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data.examples import Examples
from jaxdistill.errors import UserError
from jaxdistill.models import heads, mae
from jaxdistill.models.generative import GenerativeClassifier
from jaxdistill.models.mae_vit import MaeViT
from jaxdistill.training import classifier as classifiers
from jaxdistill.training import loop, parallel, reconstruction, turns
from jaxdistill.training.averages import Average
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run
from jaxdistill.training.schedules import Schedule

SHAPE, ROWS, TOKENS, WIDTH, CLASSES = (8, 8, 1), 6, 16, 8, 3
KEY = jax.random.key(5)


def encoder(depth=0):
  return MaeViT(CLASSES, width=WIDTH, depth=depth, patch=2)


@functools.cache
def batch():
  rng = np.random.default_rng(0)
  images = rng.normal(size=(ROWS, *SHAPE)).astype(np.float32)
  labels = np.eye(CLASSES, dtype=np.float32)[np.arange(ROWS) % CLASSES]
  return {'images': images, 'labels': labels, 'weight': np.float32([1, 1, 1, 1, 1, 0])}


class Handed(nn.Module):
  """A decoder that gives the tokens that it was given, each in its place, and 0 elsewhere."""

  @nn.compact
  def __call__(self, tokens, restore, grid, cls=None):
    missing = jnp.zeros((len(tokens), restore.shape[1] - tokens.shape[1], tokens.shape[2]))
    return mae.take(jnp.concatenate([tokens, missing], axis=1), restore)


@functools.cache
def classifier(decoder=None):
  """(network, its variables)."""
  decoder = decoder or mae.Decoder(WIDTH, width=12, depth=0)
  network = GenerativeClassifier(encoder(), heads.TwoLayerHead(CLASSES), decoder)
  return network, jax.jit(network.init)(jax.random.key(1), batch()['images'])


@functools.cache
def autoencoder(depth=0):
  network = mae.MaskedAutoencoder(encoder(depth), mae.Decoder(4, width=12, depth=depth))
  masking = mae.random_masking(KEY, ROWS, TOKENS)
  return network, jax.jit(network.init)(jax.random.key(1), batch()['images'], masking)


def outcome(objective, variables, rows=None):
  return jax.jit(objective)(variables, rows or batch(), KEY)


def gradient(objective, variables):
  loss = lambda params: objective({**variables, 'params': params}, batch(), KEY).loss
  return jax.jit(jax.grad(loss))(variables['params'])


def largest(tree):
  return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


# Masks.


@pytest.mark.parametrize('ratio, kept', [(0.75, 4), (0.5, 8), (0.0, 16), (0.99, 1)])
def test_masks_have_their_counts_and_are_put_back_in_order(ratio, kept):
  masking = reconstruction.draw_masking(KEY, ROWS, TOKENS, ratio)
  assert masking.keep.shape == (ROWS, kept)
  np.testing.assert_array_equal(masking.masked.sum(1), TOKENS - kept)
  for keep, masked in zip(np.asarray(masking.keep), np.asarray(masking.masked)):
    np.testing.assert_array_equal(np.flatnonzero(masked == 0), np.sort(keep))
  tokens = jnp.arange(1.0, ROWS * TOKENS + 1).reshape(ROWS, TOKENS, 1)
  back = Handed().apply({}, mae.take(tokens, masking.keep), masking.restore, (4, 4))
  np.testing.assert_array_equal(back, tokens * (1 - masking.masked)[..., None])


def test_every_row_and_every_key_has_a_mask_of_its_own():
  masks = reconstruction.draw_masking(KEY, 40, TOKENS, 0.75).masked
  assert len(np.unique(masks, axis=0)) > 30
  np.testing.assert_allclose(masks.mean(0), 0.75, atol=0.3)
  others = reconstruction.draw_masking(jax.random.key(6), 40, TOKENS, 0.75).masked
  assert not np.array_equal(masks, others)
  # A row's mask does not depend on how many others there are.
  few = reconstruction.draw_masking(KEY, 3, TOKENS, 0.75).masked
  np.testing.assert_array_equal(few, masks[:3])


# Pixels.


@pytest.mark.parametrize('normalise', [True, False])
def test_the_loss_of_pixels_is_that_of_its_formula(normalise):
  network, variables = autoencoder()
  loss = outcome(reconstruction.pixels(network, normalise_target=normalise), variables).loss
  masking = reconstruction.draw_masking(KEY, ROWS, TOKENS, 0.75)
  decoded, _ = network.apply(variables, batch()['images'], masking)
  losses = []
  for row in range(5):  # the last one has no weight
    for place in np.flatnonzero(masking.masked[row]):
      top, left = 2 * (place // 4), 2 * (place % 4)
      patch = batch()['images'][row, top : top + 2, left : left + 2].ravel().astype(np.float64)
      if normalise:
        patch = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
      losses.append(np.mean((np.asarray(decoded[row, place], np.float64) - patch) ** 2))
  assert len(losses) == 5 * 12
  assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_masked_patch_is_not_seen():
  network, variables = autoencoder(depth=1)
  masking = reconstruction.draw_masking(KEY, ROWS, TOKENS, 0.75)
  hidden = mae.unpatchify(jnp.repeat(masking.masked[..., None], 4, -1), (4, 4), 2)
  images = batch()['images']
  apply = jax.jit(lambda images: network.apply(variables, images, masking)[0])
  np.testing.assert_array_equal(apply(images), apply(images + 9 * hidden))
  assert largest(apply(images) - apply(images + 9 * (1 - hidden))) > 1e-3


@functools.cache
def pretrained(average=None, **options):
  """(losses by step, variables to be scored) of a short pre-training."""
  rng = np.random.default_rng(3)
  # Darker to the left, and noise: a patch's place tells most of it.
  tones = 32 * np.indices(SHAPE)[1][None] + rng.integers(0, 9, (20, *SHAPE))
  examples = Examples(tones.astype(np.uint8), np.zeros(20, np.int32), 1, (0.5,), (0.25,))
  recipe = Recipe(
    'short',
    batch=8,
    schedule=Schedule('constant', 0.02),
    optimizer=Optimizer('adamw'),
    average=average,
  )
  network, _ = autoencoder()
  objective = reconstruction.pixels(network, normalise_target=False)
  problem = reconstruction.setup(network, examples, recipe, objective, **options)
  with Run(progress=False, log_every=1) as run:
    state = loop.fit(run, 'pretrain', problem)
    return [line['loss'] for line in run.curve('pretrain')], state.scored


def test_pre_training_learns():
  curve, variables = pretrained(num_steps=40)
  assert np.mean(curve[-5:]) < 0.5 * np.mean(curve[:5])
  assert sorted(variables['params']) == ['decoder', 'encoder']


def test_a_recipes_average_is_kept_beside_the_weights():
  curve, averaged = pretrained(Average(0.999), num_steps=2)
  plain_curve, plain = pretrained(num_steps=2)
  assert curve == plain_curve
  gaps = jax.tree.map(lambda one, other: one - other, averaged['params'], plain['params'])
  assert largest(gaps) > 1e-4


def test_four_devices_share_a_batch_and_its_masks():
  spread, _ = pretrained(num_steps=4, mesh=parallel.make_mesh(4))
  assert spread == pytest.approx(pretrained(num_steps=40)[0][:4], rel=1e-5)


# Features.


@functools.cache
def gradients_by_alpha():
  """The gradients for alpha = 0 and 1."""
  network, variables = classifier()
  return [gradient(reconstruction.features(network, alpha=float(a)), variables) for a in (0, 1)]


def test_without_reconstruction_it_is_a_classifiers_training():
  network, variables = classifier()
  found = gradients_by_alpha()[0]
  plain = heads.Headed(network.encoder, network.head)
  params = {name: variables['params'][name] for name in ('encoder', 'head')}
  game = classifiers.game(plain, optimizer=None)
  expected = gradient(turns.objective(game, game.players), {'params': params})
  assert largest(expected['encoder']) > 0.01
  for name in ('encoder', 'head'):
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
    jax.tree.map(close, found[name], expected[name])
  assert largest(found['decoder']) == 0


def test_without_classification_the_head_does_not_move():
  found = gradients_by_alpha()[1]
  assert largest(found['head']) == 0
  assert largest(found['encoder']) > 0.01 and largest(found['decoder']) > 0.01


def test_nothing_masked_and_handed_on_leaves_nothing_to_reconstruct():
  network, variables = classifier(Handed())
  for stop_target in (True, False):
    objective = reconstruction.features(network, alpha=1.0, mask_ratio=0.0, stop_target=stop_target)
    assert float(outcome(objective, variables).loss) == 0
  assert float(outcome(reconstruction.features(network, alpha=1.0), variables).loss) > 0.1


@pytest.mark.parametrize('recon_on', reconstruction.RECONSTRUCTED)
@pytest.mark.parametrize('normalise', [True, False])
def test_the_loss_of_features_is_that_of_its_formula(recon_on, normalise):
  network, variables = classifier()
  fields = dict(alpha=0.3, recon_on=recon_on, normalise_target=normalise, label_smoothing=0.1)
  result = outcome(reconstruction.features(network, **fields), variables)
  masking = reconstruction.draw_masking(KEY, ROWS, TOKENS, 0.75)
  logits, outputs = network.apply(variables, batch()['images'], masking=masking)
  target = np.asarray(outputs['tokens'], np.float64)[:5]
  if normalise:
    target = target - target.mean(-1, keepdims=True)
    target /= np.sqrt((target**2).mean(-1, keepdims=True) + 1e-6)
  squares = ((np.asarray(outputs['decoded'], np.float64)[:5] - target) ** 2).mean(-1)
  counted = np.asarray(masking.masked)[:5] if recon_on == 'masked' else np.ones((5, TOKENS))
  reconstructed = (squares * counted).sum() / counted.sum()
  logits, labels = np.asarray(logits, np.float64)[:5], batch()['labels'][:5]
  log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  entropy = -((0.9 * labels + 0.1 / CLASSES) * log_p).sum(1).mean()
  assert float(result.metrics['reconstruction']) == pytest.approx(reconstructed, rel=1e-5)
  assert float(result.metrics['classification']) == pytest.approx(entropy, rel=1e-5)
  assert float(result.loss) == pytest.approx(0.3 * reconstructed + 0.7 * entropy, rel=1e-5)


def test_a_constant_target_has_no_gradient():
  """With a decoder that hands on what it gets, the whole gradient is that of the target: every
  token that is masked is compared with 0."""
  network, variables = classifier(Handed())
  fields = dict(alpha=1.0, recon_on='masked')
  stopped = gradient(reconstruction.features(network, **fields), variables)
  live = gradient(reconstruction.features(network, stop_target=False, **fields), variables)
  assert largest(stopped) == 0 and largest(live) > 0.01


def test_columns_of_classes_to_come_have_no_part():
  network, variables = classifier()
  objective = reconstruction.features(network, alpha=0.0, num_classes=2)
  found = gradient(objective, variables)['head']['classifier']
  assert float(jnp.abs(found['kernel'][:, 2]).max()) == 0
  assert float(jnp.abs(found['kernel'][:, :2]).min()) > 0


def test_mistakes_are_told_in_a_sentence():
  network, _ = classifier()
  for fields, words in (
    (dict(alpha=1.5), 'alpha is 1.5; it must lie between 0 and 1'),
    (dict(mask_ratio=1.0), 'The mask ratio is 1.0'),
    (dict(recon_on='some'), "recon_on, 'some'"),
    (dict(recon_on='masked', mask_ratio=0.0), "recon_on can only be 'all'"),
  ):
    with pytest.raises(UserError, match=words):
      reconstruction.features(network, **fields)
  with pytest.raises(UserError, match='nothing to learn'):
    reconstruction.pixels(autoencoder()[0], mask_ratio=0.0)

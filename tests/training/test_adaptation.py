"""Running statistics of target images: the modes of adaptation, by their formulas and by what they
must not depend on."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill import data, errors, models
from jaxdistill.data import degradations
from jaxdistill.data.degradations import Blur, Darken, Noise
from jaxdistill.training import adaptation
from jaxdistill.training.adaptation import adapt_batch_stats


@pytest.fixture(scope='module')
def network():
  """A network with two batch norms whose running statistics are those of some source images."""
  net = models.build({'name': 'convnet', 'norm': 'batch', 'width': 8, 'depth': 2}, 3, (8, 8, 1))
  source = jax.random.normal(jax.random.key(0), (64, 8, 8, 1))
  variables = net.init(jax.random.key(1), source)
  return net, adapt_batch_stats(net, variables, [source], mode='full')


@pytest.fixture(scope='module')
def target():
  noise = np.random.default_rng(0).normal(size=(96, 8, 8, 1))
  # Contrast that differs from image to image, so that it matters which of them share a batch.
  contrast = np.random.default_rng(1).uniform(0.2, 3.0, size=(96, 1, 1, 1))
  return (0.3 * contrast * noise + 1.0).astype(np.float32)


def leaves(variables):
  return jax.tree.leaves(variables['batch_stats'])


def logits(net, variables, images):
  return net.apply(variables, images, False)[0]


def test_a_rate_of_0_is_plain_evaluation_bit_for_bit(network, target):
  net, source = network
  for adapted in (
    adapt_batch_stats(net, source, [target[:64], target[64:]], mode='online', rate=0.0),
    adapt_batch_stats(net, source, [target], mode='source'),
  ):
    for before, after in zip(leaves(source), leaves(adapted), strict=True):
      np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(logits(net, source, target), logits(net, adapted, target))


def test_a_rate_of_1_is_the_training_mode_of_the_batch(network, target):
  net, source = network
  (expected, _), _ = net.apply(source, target, True, mutable=['batch_stats'])
  for mode, rate in (('batch', 0.3), ('online', 1.0), ('full', 0.3)):
    adapted = adapt_batch_stats(net, source, [target], mode=mode, rate=rate)
    np.testing.assert_allclose(logits(net, adapted, target), expected, rtol=1e-4, atol=1e-5)
    assert adapted['params'] is source['params']
  streamed = adapt_batch_stats(net, source, [target[:48], target[48:]], mode='batch')
  last = adapt_batch_stats(net, source, [target[48:]], mode='batch')
  for one, other in zip(leaves(streamed), leaves(last), strict=True):
    np.testing.assert_array_equal(one, other)


class OneLayer(nn.Module):
  """flax's own batch norm on images."""

  @nn.compact
  def __call__(self, x, train=False):
    return nn.BatchNorm(use_running_average=not train, name='norm')(x).mean((1, 2)), {}


def test_the_average_by_hand():
  net = OneLayer()
  first, second = np.array([0.0, 2.0]).reshape(2, 1, 1, 1), np.array([4.0, 4.0]).reshape(2, 1, 1, 1)
  source = net.init(jax.random.key(0), first)
  adapted = adapt_batch_stats(net, source, [first, second], rate=0.25)['batch_stats']['norm']
  # Means 1 and 4, biased variances 1 and 0, from 0 and 1.
  np.testing.assert_allclose(adapted['mean'], [0.75 * 0.25 + 1.0])
  np.testing.assert_allclose(adapted['var'], [0.75 * (0.75 * 1.0 + 0.25)])
  pooled = adapt_batch_stats(net, source, [first, second], mode='full')['batch_stats']['norm']
  np.testing.assert_allclose([pooled['mean'][0], pooled['var'][0]], [2.5, np.var([0, 2, 4, 4])])
  weighted = (np.concatenate([first, [[[[np.nan]]]]]), np.array([1.0, 1.0, 0.0], np.float32))
  padded = adapt_batch_stats(net, source, [weighted], mode='batch')['batch_stats']['norm']
  np.testing.assert_allclose([padded['mean'][0], padded['var'][0]], [1.0, 1.0])


def test_full_statistics_know_no_order(network, target):
  net, source = network
  embedded = []
  for seed in (0, 1):
    batches = adaptation.shuffled(target, batch=40, seed=seed)
    adapted = adapt_batch_stats(net, source, batches, mode='full')
    embedded.append(logits(net, adapted, target))
  np.testing.assert_allclose(*embedded, atol=1e-5)
  whole = adapt_batch_stats(net, source, [target], mode='full')
  np.testing.assert_allclose(embedded[0], logits(net, whole, target), atol=1e-5)
  # The stream's order matters to 'online'.
  forth, back = (
    adapt_batch_stats(net, source, [target[part] for part in order], rate=0.5)
    for order in ((slice(48), slice(48, 96)), (slice(48, 96), slice(48)))
  )
  assert max(np.abs(one - other).max() for one, other in zip(leaves(forth), leaves(back))) > 1e-3


def test_a_shift_of_contrast_and_light_is_undone(network):
  """A convolution is linear: behind the first normalisation nothing is left of a factor, nor of a
  shift away from the border."""
  net, source = network
  images = jax.random.normal(jax.random.key(2), (256, 8, 8, 1))
  shifted = 0.2 * images
  expected = logits(net, source, images)
  plain = np.abs(logits(net, source, shifted) - expected).mean()
  for mode, rate in (('full', 0.1), ('online', 0.5)):
    batches = [shifted[start : start + 64] for start in range(0, 256, 64)]
    adapted = adapt_batch_stats(net, source, batches, mode=mode, rate=rate)
    assert np.abs(logits(net, adapted, shifted) - expected).mean() < 0.3 * plain
  # Images as those of the source move the statistics by no more than sampling noise.
  adapted = adapt_batch_stats(net, source, [images], mode='full')
  assert np.abs(logits(net, adapted, images) - expected).mean() < 0.3 * plain


def unit(images):
  return np.float32(images / 255 - 0.5)


@pytest.fixture(scope='module')
def reader():
  """A network that has learned to read digits, its statistics those of all its images; and as many
  other digits."""
  train, _ = data.load('digits', image_size=8)
  seen, others = train.take(np.arange(700)), train.take(np.arange(700, 1400))
  images, labels = jnp.asarray(unit(seen.images)), jnp.asarray(seen.labels)
  net = models.build({'name': 'convnet', 'norm': 'batch', 'width': 8, 'depth': 2}, 10, (8, 8, 1))
  optimizer = optax.sgd(0.1, 0.9)

  @jax.jit
  def step(variables, state, rows):
    def loss(params):
      whole = {**variables, 'params': params}
      (logits, _), moved = net.apply(whole, images[rows], True, mutable=['batch_stats'])
      entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()
      return entropy, moved

    gradient, moved = jax.grad(loss, has_aux=True)(variables['params'])
    updates, state = optimizer.update(gradient, state)
    return {'params': optax.apply_updates(variables['params'], updates), **moved}, state

  variables = dict(jax.jit(net.init)(jax.random.key(0), images[:2]))
  state, random = optimizer.init(variables['params']), np.random.default_rng(0)
  for _ in range(60):
    variables, state = step(variables, state, random.choice(700, 100, replace=False))
  return net, adapt_batch_stats(net, variables, [images], 'full'), others


def read(reader, images, mode):
  """The accuracy on images to which the network adapts in a mode, and its statistics then."""
  net, variables, others = reader
  batches = [(unit(part), weight) for part, weight in adaptation.shuffled(images, 128)]
  adapted = adapt_batch_stats(net, variables, batches, mode)
  right = np.asarray(logits(net, adapted, unit(images))).argmax(-1) == others.labels
  return right.mean(), adapted['batch_stats']


def test_images_like_those_of_the_source_change_next_to_nothing(reader):
  """Means move by less than three standard errors of two sets of 700 images, were all pixels of an
  image alike; of 700 answers a handful changes."""
  images = reader[2].images
  plain, source = read(reader, images, 'source')
  accuracy, statistics = read(reader, images, 'full')
  assert plain > 0.9 and abs(accuracy - plain) < 0.01
  for layer, before in source.items():
    moved = np.abs(statistics[layer]['mean'] - before['mean']) / np.sqrt(before['var'])
    assert moved.max() < 3 * np.sqrt(2 / 700), layer


def test_a_shift_that_costs_accuracy_is_largely_regained(reader):
  shifted = degradations.degraded(reader[2], (Blur(0.5), Darken(0.5), Noise(0.05))).images
  before, _ = read(reader, reader[2].images, 'source')
  plain, online, full = (read(reader, shifted, mode)[0] for mode in ('source', 'online', 'full'))
  drop = before - plain
  assert drop > 0.3 and online > plain + 0.1 and full > plain + drop / 2


def test_bad_arguments(network, target):
  net, source = network
  with pytest.raises(errors.UserError, match='mode of adaptation'):
    adapt_batch_stats(net, source, [target], mode='offline')
  with pytest.raises(errors.UserError, match='a share from 0 to 1'):
    adapt_batch_stats(net, source, [target], rate=2.0)
  for mode in ('online', 'full'):
    with pytest.raises(errors.UserError, match='at least one batch'):
      adapt_batch_stats(net, source, [], mode=mode)
  with pytest.raises(errors.UserError, match='running statistics'):
    adapt_batch_stats(net, {'params': source['params']}, [target])
  assert adaptation.label('full').endswith('(transductive)')

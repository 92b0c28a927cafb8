"""Perturbed inputs and weights, and twins, in a game: against numpy in float64, and numbers by
hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill.data.examples import Examples
from jaxdistill.data.views import Views, soft_labels
from jaxdistill.errors import UserError
from jaxdistill.models import linear, normalisation
from jaxdistill.training import parallel, players
from jaxdistill.training.game import (
  Game,
  Part,
  PerturbedView,
  PerturbedWeights,
  Player,
  Term,
)
from jaxdistill.training.recipe import Recipe

SHAPE, CLASSES, IMAGES = (3, 3, 1), 3, 6
EXAMPLES = Examples(
  np.random.default_rng(0).integers(0, 256, (IMAGES, *SHAPE)).astype(np.uint8),
  (np.arange(IMAGES) % CLASSES).astype(np.int32),
  CLASSES,
  (0.5,),
  (0.25,),
)
RECIPE = Recipe('whole', batch=IMAGES, epochs=2)
EPS, GAMMA, RATE, DECAY = 0.1, 0.05, 0.5, 0.01
SGD = optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(RATE))


def plain(batch):
  """Images in [0, 1] as they are, in one order."""
  return {**batch, 'images': batch['images'] / 255, 'labels': soft_labels(batch['labels'], CLASSES)}


VIEWS = Views(lambda key: (), lambda key, batch, choices: plain(batch))


class Linear(nn.Module):
  """A linear classifier; perhaps behind batch normalisation."""

  normalised: bool = False

  @nn.compact
  def __call__(self, x, train=False):
    if self.normalised:
      x = normalisation.norm('batch')(name='norm')(x, train)
    return linear.Linear(CLASSES, name='classifier')(x.reshape(len(x), -1)), {}


def mean(values, weight):
  return (values * weight).sum() / jnp.maximum(weight.sum(), 1e-12)


def entropy(part):
  def loss(scene):
    losses = optax.softmax_cross_entropy(scene[part]['logits'], scene.batch['labels'])
    return mean(losses, scene.batch['weight'])

  return loss


CE = Term('ce', entropy('net'))


def sign_step(respond, batch, keys):
  """One signed step on the cross-entropy."""

  def loss(images):
    return optax.softmax_cross_entropy(respond(images)['logits'], batch['labels']).sum()

  return batch['images'] + EPS * jnp.sign(jax.grad(loss)(batch['images']))


def noisy(respond, batch, keys):
  draw = lambda key, image: image + EPS * jax.random.normal(key, image.shape)
  return jax.vmap(draw)(keys, batch['images'])


def norm_step(standpoint):
  """One step of length GAMMA ||w|| up the gradient, all weights together."""
  params = standpoint.params
  slope = standpoint.gradient(params)
  scale = GAMMA * optax.tree.norm(params) / optax.tree.norm(slope)
  return jax.tree.map(lambda w, g: w + scale * g, params, slope)


def game(change=None, move=None, normalised=False, optimizer=SGD):
  view = 'changed' if change else 'images'
  perturbed = PerturbedWeights((CE,), move) if move else None
  return Game(
    {'net': Part(Linear(normalised), view)},
    (Player('net', ('net',), (CE,), optimizer, perturb_weights=perturbed),),
    perturb_inputs={'changed': PerturbedView('net', change)} if change else {},
  )


def ready(asked, **options):
  options = {'views': VIEWS, 'seed': 3, 'num_steps': 2, **options}
  return players.problem(asked, EXAMPLES, RECIPE, **options)


def advanced(asked, steps=1, **options):
  """(State before, state after some steps, metrics of the last)."""
  made = ready(asked, **options)

  @jax.jit
  def step(state, inputs):
    key = jax.random.wrap_key_data(state.key)
    return made.step(state, made.source.sample(inputs, key, state.step))

  state = made.state
  for _ in range(steps):
    state, metrics = step(state, made.source.data)
  return made.state, jax.tree.map(np.asarray, state), metrics


def weights(state):
  layer = state.variables['params']['net']['classifier']
  return np.asarray(layer['kernel'][0], np.float64), np.asarray(layer['bias'][0], np.float64)


def softmax(logits):
  exponentials = np.exp(logits - logits.max(1, keepdims=True))
  return exponentials / exponentials.sum(1, keepdims=True)


IMAGES_64 = EXAMPLES.images.reshape(IMAGES, -1) / 255.0
LABELS_64 = np.eye(CLASSES)[EXAMPLES.labels]


def gradient_64(x, kernel, bias):
  """The gradient of the mean cross-entropy of a linear classifier."""
  error = (softmax(x @ kernel + bias) - LABELS_64) / IMAGES
  return x.T @ error, error.sum(0)


def test_images_are_changed_against_the_network_as_it_stands():
  before, after, metrics = advanced(game(sign_step))
  kernel, bias = weights(before)
  error = softmax(IMAGES_64 @ kernel + bias) - LABELS_64
  changed = IMAGES_64 + EPS * np.sign(error @ kernel.T)
  slopes = gradient_64(changed, kernel, bias)
  for learned, weight, slope in zip(weights(after), (kernel, bias), slopes):
    np.testing.assert_allclose(learned, weight - RATE * (slope + DECAY * weight), atol=1e-6)
  losses = -np.log((softmax(changed @ kernel + bias) * LABELS_64).sum(1))
  np.testing.assert_allclose(metrics['ce'], losses.mean(), rtol=1e-5)


def test_a_gradient_is_taken_at_perturbed_weights_and_the_step_made_from_ones_own():
  before, after, _ = advanced(game(move=norm_step))
  own = weights(before)
  slopes = gradient_64(IMAGES_64, *own)
  norm = lambda arrays: np.sqrt(sum((array**2).sum() for array in arrays))
  scale = GAMMA * norm(own) / norm(slopes)
  away = [weight + scale * slope for weight, slope in zip(own, slopes)]
  for learned, weight, at, slope in zip(weights(after), own, away, gradient_64(IMAGES_64, *away)):
    np.testing.assert_allclose(learned, weight - RATE * (slope + DECAY * at), atol=1e-6)


def test_images_are_changed_before_weights_are():
  """The climb sees the changed images, made at the weights as they were."""
  before, after, _ = advanced(game(sign_step, norm_step))
  own = weights(before)
  error = softmax(IMAGES_64 @ own[0] + own[1]) - LABELS_64
  changed = IMAGES_64 + EPS * np.sign(error @ own[0].T)
  slopes = gradient_64(changed, *own)
  norm = lambda arrays: np.sqrt(sum((array**2).sum() for array in arrays))
  scale = GAMMA * norm(own) / norm(slopes)
  away = [weight + scale * slope for weight, slope in zip(own, slopes)]
  for learned, weight, at, slope in zip(weights(after), own, away, gradient_64(changed, *away)):
    np.testing.assert_allclose(learned, weight - RATE * (slope + DECAY * at), atol=1e-6)


def test_weights_that_do_not_move_stay_bit_for_bit_whatever_they_are_perturbed_by():
  before, after, _ = advanced(game(sign_step, norm_step, optimizer=optax.sgd(0.0)), steps=2)
  for learned, weight in zip(weights(after), weights(before)):
    np.testing.assert_array_equal(learned, weight)


@pytest.mark.usefixtures('programs_of_users')
def test_no_perturbation_at_all_has_the_bits_of_plain_training():
  stay = game(lambda respond, batch, keys: batch['images'], lambda standpoint: standpoint.params)
  (_, perturbed, _), (_, plainly, _) = advanced(stay, 2), advanced(game(), 2)
  for learned, expected in zip(weights(perturbed), weights(plainly)):
    np.testing.assert_array_equal(learned, expected)


def test_statistics_move_once_at_the_perturbed_weights_and_images():
  """By a tenth, towards the moments of the changed images."""
  asked = game(noisy, norm_step, normalised=True)
  _, after, _ = advanced(asked)
  kept = after.variables['batch_stats']['net']['norm']
  moved = 10 * float(kept['mean'][0, 0])
  assert moved == pytest.approx(IMAGES_64.mean(), abs=0.1)
  # One step leaves a tenth of the batch's variance beside nine tenths of 1.
  variance = 10 * (float(kept['var'][0, 0]) - 0.9)
  assert variance == pytest.approx(IMAGES_64.var() * 54 / 53 + EPS**2, abs=0.02)


@pytest.mark.parametrize('spread', [pytest.param('networks', marks=pytest.mark.slow), 'batch'])
def test_four_devices_perturb_as_one(spread):
  """Noise by row, signs and norms of the whole batch; six rows over four devices."""

  def both(respond, batch, keys):
    return sign_step(respond, {**batch, 'images': noisy(respond, batch, keys)}, keys)

  asked = game(both, norm_step, normalised=True)
  _, alone, metrics = advanced(asked, 2, networks=2)
  mesh = parallel.make_mesh(4)
  _, several, lines = advanced(asked, 2, networks=2, mesh=mesh, spread=spread)
  np.testing.assert_allclose(lines['loss'], metrics['loss'], rtol=1e-5)
  pairs = zip(jax.tree.leaves(several.variables), jax.tree.leaves(alone.variables))
  for learned, expected in pairs:
    np.testing.assert_allclose(learned[:2], expected, atol=1e-5)


def twins(views=('images', 'images')):
  """A network on two views, the second through a twin."""
  network = Linear(normalised=True)
  twin = Term('twin', entropy('other'))
  return Game(
    {'net': Part(network, views[0]), 'other': Part(network, views[1], twin_of='net')},
    (Player('net', ('net',), (CE, twin), SGD),),
  )


def test_a_twin_has_the_weights_of_its_part_and_hands_its_gradient_on():
  """Twice the same view is twice the gradient."""
  doubled = game(normalised=True, optimizer=optax.chain(optax.scale(2.0), SGD))
  before, after, metrics = advanced(twins())
  assert set(before.variables['params']) == {'net'}
  assert metrics['ce'] == metrics['twin']
  slope = lambda state, start: (weights(state)[0] - weights(start)[0]) / RATE
  _, expected, _ = advanced(doubled)
  kernel = weights(before)[0]
  # The decay is not doubled.
  np.testing.assert_allclose(
    slope(after, before) + DECAY * kernel, slope(expected, before) + DECAY * kernel, atol=1e-5
  )


def test_a_twin_moves_the_statistics_further():
  """Mean 0 -> .1 m -> .09 m + .1 m."""
  _, once, _ = advanced(game(normalised=True))
  _, twice, _ = advanced(twins())
  means = [s.variables['batch_stats']['net']['norm']['mean'] for s in (once, twice)]
  np.testing.assert_allclose(means[1], 1.9 * means[0], rtol=1e-5)


def in_pairs(player, **fields):
  return Game({'net': Part(Linear()), 'b': Part(Linear())}, player, **fields)


def mover(name, perturbed=None):
  return Player(name, (name,), (Term('ce', entropy(name)),), SGD, perturb_weights=perturbed)


@pytest.mark.parametrize(
  'make, error, sentence',
  [
    (
      lambda: PerturbedView('net', noisy, mode='train'),
      UserError,
      "no mode of a part under a perturbation 'train'",
    ),
    (
      lambda: PerturbedWeights((Term('t', entropy('net'), memory=lambda key: {}),), norm_step),
      ValueError,
      'has no memory',
    ),
    (
      lambda: in_pairs((mover('net', PerturbedWeights((CE,), norm_step)), mover('b'))),
      ValueError,
      "'net' with perturbed weights moves in turn",
    ),
    (
      lambda: Game(
        {'net': Part(Linear())}, (mover('net'),), perturb_inputs={'x': PerturbedView('nett', noisy)}
      ),
      UserError,
      "did you mean 'net'",
    ),
    (
      lambda: Game(
        {'net': Part(Linear()), 'b': Part(Linear(True), twin_of='net')}, (mover('net'),)
      ),
      ValueError,
      "'b' is the twin of no part before it",
    ),
    (
      lambda: Game({'b': Part(Linear(), twin_of='net'), 'net': Part(Linear())}, (mover('net'),)),
      ValueError,
      "'b' is the twin of no part before it",
    ),
  ],
)
def test_a_mistake_is_told_in_a_sentence(make, error, sentence):
  with pytest.raises(error, match=sentence):
    make()


def test_weights_are_perturbed_of_a_player_in_turn():
  perturbed = PerturbedWeights((CE,), norm_step)
  asked = in_pairs((mover('b'), mover('net', perturbed)), in_turn=True)
  _, together, _ = advanced(asked)
  _, alone, _ = advanced(game(move=norm_step))
  for learned, expected in zip(weights(together), weights(alone)):
    np.testing.assert_allclose(learned, expected, atol=1e-6)

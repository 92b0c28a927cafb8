"""AT, TRADES, AWP and RWP inside the engine: their steps against float64, their masks, their bounds
and what makes one of them another."""

import functools

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
from jaxdistill.robustness import methods, risks, rwp
from jaxdistill.robustness.method import ADVERSARIAL, NET, Setting
from jaxdistill.robustness.threat import Ball
from jaxdistill.training import players
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.scene import Scene

SHAPE, CLASSES, IMAGES = (3, 3, 1), 3, 6
GENERATOR = np.random.default_rng(0)
EXAMPLES = Examples(
  GENERATOR.integers(0, 256, (IMAGES, *SHAPE)).astype(np.uint8),
  (np.arange(IMAGES) % CLASSES).astype(np.int32),
  CLASSES,
  (0.0,),
  (1.0,),
)
RECIPE = Recipe('whole', batch=IMAGES, epochs=1)
EPS, RATE, BETA = 0.1, 0.5, 6.0
PIXELS = EXAMPLES.images.reshape(IMAGES, -1) / 255.0
LABELS = np.eye(CLASSES)[EXAMPLES.labels]


def plain(batch):
  labels = soft_labels(batch['labels'], CLASSES)
  return {**batch, 'images': batch['images'] / 255, 'labels': labels}


VIEWS = Views(lambda key: (), lambda key, batch, choices: plain(batch))


class Linear(nn.Module):
  """A linear classifier: its attack needs one step, from anywhere, as its sign does not change."""

  @nn.compact
  def __call__(self, x, train=False):
    return linear.Linear(CLASSES, name='classifier')(x.reshape(len(x), -1)), {}


class Normed(nn.Module):
  """The same behind batch normalisation, whose running statistics begin at 0 and 1."""

  @nn.compact
  def __call__(self, x, train=False):
    x = normalisation.norm('batch')(name='norm')(x.reshape(len(x), 1, 1, -1), train)
    return linear.Linear(CLASSES, name='classifier')(x.reshape(len(x), -1)), {}


def setting(learning_rate=RATE, epoch_steps=1, network=Linear):
  return Setting(network(), Ball(EPS, 'linf'), optax.sgd(learning_rate), epoch_steps, steps=10)


@functools.cache
def advanced(name, steps=1, learning_rate=RATE, epoch_steps=1, network=Linear, **fields):
  """(State before, state after some steps, metrics of the last)."""
  method = methods.make(setting(learning_rate, epoch_steps, network), {'name': name, **fields})
  ready = players.problem(
    method.game, EXAMPLES, RECIPE, views=VIEWS, seed=3, num_steps=max(steps, 1)
  )

  @jax.jit
  def step(state, inputs):
    key = jax.random.wrap_key_data(state.key)
    return ready.step(state, ready.source.sample(inputs, key, state.step))

  state, metrics = ready.state, None
  for _ in range(steps):
    state, metrics = step(state, ready.source.data)
  return ready.state, jax.tree.map(np.asarray, state), metrics


def layer(state):
  """Kernel and bias, in float64."""
  layer = state.variables['params'][NET]['classifier']
  return np.asarray(layer['kernel'][0], np.float64), np.asarray(layer['bias'][0], np.float64)


def arrays(state):
  return [np.asarray(leaf) for leaf in jax.tree.leaves(state.variables)]


def softmax(logits):
  exponentials = np.exp(logits - logits.max(1, keepdims=True))
  return exponentials / exponentials.sum(1, keepdims=True)


def losses_64(x, kernel, bias):
  return -np.log((softmax(x @ kernel + bias) * LABELS).sum(1))


def gradient_64(x, kernel, bias, mask=1.0):
  """Of the masked mean cross-entropy, divided by all images."""
  error = (softmax(x @ kernel + bias) - LABELS) * np.reshape(mask, (-1, 1)) / IMAGES
  return x.T @ error, error.sum(0)


def attacked_64(kernel, bias, steps=40):
  """Where PGD ends: the corner that the signs lead to, as long as they do not change on the way."""
  x = PIXELS
  for _ in range(steps):
    error = softmax(x @ kernel + bias) - LABELS
    x = np.clip(x + EPS * np.sign(error @ kernel.T), PIXELS - EPS, PIXELS + EPS).clip(0, 1)
  return x


# A linear network's corner is reached in four steps of EPS, whatever the start.
REACH = dict(attack_steps=6, step_size=2 * EPS)


def test_at_minimises_the_loss_of_the_attacked_images():
  before, after, metrics = advanced('at', **REACH)
  own = layer(before)
  x = attacked_64(*own)
  for learned, weight, slope in zip(layer(after), own, gradient_64(x, *own)):
    np.testing.assert_allclose(learned, weight - RATE * slope, atol=1e-6)
  assert float(metrics['loss']) == pytest.approx(losses_64(x, *own).mean(), rel=1e-5)


def test_rwp_masks_climbs_and_steps_as_in_float64():
  """Ten ascents on the images below c_min, divided by the whole batch; the gradient at w + v."""
  gamma, rate = 0.05, 0.3
  before, after, metrics = advanced('rwp', gamma=gamma, rate=rate, c_min=1.2, ascents=10, **REACH)
  own = layer(before)
  x = attacked_64(*own)
  at_start = losses_64(x, *own)
  assert 0 < (at_start < 1.2).sum() < IMAGES, 'the mask must matter'
  kernel, bias = own
  u, v = np.zeros_like(kernel), np.zeros_like(kernel)
  left = []
  for _ in range(10):
    below = losses_64(x, kernel + v, bias) < 1.2
    left.append(below.sum())
    u = u + rate * gradient_64(x, kernel + v, bias, below)[0]
    v = gamma * np.linalg.norm(kernel) / np.linalg.norm(u) * u
  away = (kernel + v, bias)
  for learned, weight, slope in zip(layer(after), own, gradient_64(x, *away)):
    np.testing.assert_allclose(learned, weight - RATE * slope, atol=2e-6)
  assert float(metrics['loss']) == pytest.approx(losses_64(x, *away).mean(), rel=1e-5)
  # The climb raises what it looks at, and ever fewer images are left.
  masked = at_start < 1.2
  assert losses_64(x, *away)[masked].mean() > at_start[masked].mean()
  assert left[-1] <= left[0]


def test_trades_minimises_its_two_terms():
  before, after, metrics = advanced('trades', beta=BETA, **REACH)
  own = layer(before)

  def loss_64(kernel, bias, attacked):
    clean, adversarial = (softmax(x @ kernel + bias) for x in (PIXELS, attacked))
    divergence = (clean * np.log(clean / adversarial)).sum(1)
    return (losses_64(PIXELS, kernel, bias) + BETA * divergence).mean()

  # The attack's own points, from what the step reports: its loss at them is the largest in reach.
  corners = [np.clip(PIXELS + EPS * s, 0, 1) for s in (-1, 1)]
  assert float(metrics['loss']) > max(loss_64(*own, x) for x in (PIXELS, *corners)) - 1e-5
  _, moved, _ = advanced('trades', beta=0.0, **REACH)
  for learned, weight, slope in zip(layer(moved), own, gradient_64(PIXELS, *own)):
    np.testing.assert_allclose(learned, weight - RATE * slope, atol=1e-6)
  assert np.abs(layer(after)[0] - layer(moved)[0]).max() > 1e-3


@pytest.mark.usefixtures('programs_of_users')
@pytest.mark.parametrize('fields', [dict(c_min=0.0), dict(c_min=-1.0), dict(gamma=0.0)], ids=str)
def test_without_images_below_c_min_or_without_length_rwp_is_at_bit_for_bit(fields):
  (_, one, _), (_, other, _) = advanced('rwp', 2, **fields, **REACH), advanced('at', 2, **REACH)
  jax.tree.map(np.testing.assert_array_equal, arrays(one), arrays(other))


def test_the_whole_machinery_with_nothing_below_c_min_has_the_numbers_of_at():
  """No image has a loss this small, so v is 0 in a program that computes it."""
  (_, one, _), (_, other, _) = (
    advanced('rwp', 2, c_min=1e-30, ascents=2, **REACH),
    advanced('at', 2, **REACH),
  )
  for mine, expected in zip(arrays(one), arrays(other)):
    np.testing.assert_allclose(mine, expected, atol=1e-7)


@pytest.mark.usefixtures('programs_of_users')
@pytest.mark.parametrize('over', ['at', 'trades'])
def test_one_unmasked_step_scaled_by_layer_is_awp_bit_for_bit(over):
  fields = dict(over=over, gamma=0.02, **REACH)
  (_, one, _), (_, other, _) = (
    advanced('rwp', 2, c_min=1e9, ascents=1, rate=1.0, norms='layer', **fields),
    advanced('awp', 2, **fields),
  )
  jax.tree.map(np.testing.assert_array_equal, arrays(one), arrays(other))


def test_the_rate_of_one_ascent_does_not_matter():
  (_, one, _), (_, other, _) = (
    advanced('rwp', 1, ascents=1, rate=rate, **REACH) for rate in (0.01, 0.1)
  )
  for mine, expected in zip(arrays(one), arrays(other)):
    np.testing.assert_allclose(mine, expected, atol=1e-6)


def test_a_network_that_does_not_move_is_restored_bit_for_bit():
  before, after, _ = advanced('rwp', 2, learning_rate=0.0, **REACH)
  jax.tree.map(np.testing.assert_array_equal, arrays(before), arrays(after))


def test_weights_are_perturbed_after_the_warm_up():
  """One step an epoch: the first is AT's, the second is not."""
  options = dict(epoch_steps=1, **REACH)
  for steps, same in ((1, True), (2, False)):
    (_, one, _), (_, other, _) = (
      advanced('rwp', steps, warmup=1, gamma=0.1, c_min=9.0, **options),
      advanced('at', steps, **options),
    )
    difference = max(np.abs(a - b).max() for a, b in zip(arrays(one), arrays(other)))
    assert (difference < 1e-6) == same


def test_a_warm_up_ends_before_the_training_where_anything_is_perturbed():
  methods.make(setting(), dict(name='rwp', warmup=9))
  methods.make(setting(), dict(name='rwp', warmup=10, gamma=0.0))


def test_a_mask_counts_images_below_c_min_over_the_whole_batch():
  """Losses log 3 and about .1 and 2.1: those below 1.5, over the weight of three images."""
  logits = jnp.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [9.0, 0.0, 0.0]])
  batch = {'labels': jnp.eye(3)[jnp.zeros(4, int)], 'weight': jnp.array([1.0, 1.0, 1.0, 0.0])}
  risk = risks.risk('at', setting(), BETA, 1, 0.0, 'eval')
  scene = Scene({NET: {'logits': logits}}, batch)
  losses = -np.log(softmax(np.asarray(logits, np.float64))[:, 0])
  expected = (losses[0] + losses[1]) / 3
  assert float(rwp.fitted(risk, 1.5).loss(scene)) == pytest.approx(expected, rel=1e-5)


def test_the_losses_of_trades_are_those_of_float64():
  clean, adversarial = np.random.default_rng(1).normal(size=(2, 4, CLASSES))
  p, q = softmax(clean), softmax(adversarial)
  labels = np.eye(CLASSES)[[0, 1, 2, 0]]
  expected = -np.log((p * labels).sum(1)) + BETA * (p * np.log(p / q)).sum(1)
  risk = risks.risk('trades', setting(), BETA, 1, 0.0, 'eval')
  outputs = {NET: {'logits': jnp.asarray(clean)}, ADVERSARIAL: {'logits': jnp.asarray(adversarial)}}
  scene = Scene(outputs, {'labels': jnp.asarray(labels), 'weight': jnp.ones(4)})
  np.testing.assert_allclose(risk.losses(scene), expected, rtol=1e-4)


@pytest.mark.parametrize('start', ['at', 'trades'])
def test_attacked_images_stay_in_the_ball_and_in_the_pixels(start):
  """Whatever the start and however long the steps, and every image by its own key."""
  risk = risks.risk(start, setting(), BETA, 3, 0.3, 'eval')
  view = risk.views[ADVERSARIAL]
  weight = jnp.asarray(np.random.default_rng(2).normal(size=(9, CLASSES)), jnp.float32)
  respond = lambda images: {'logits': images.reshape(len(images), -1) @ weight}
  images = jnp.asarray(PIXELS.reshape(-1, *SHAPE), jnp.float32)
  batch = {'images': images, 'labels': jnp.asarray(LABELS, jnp.float32)}
  keys = jax.random.split(jax.random.key(0), IMAGES)
  changed = np.asarray(view.change(respond, batch, keys))
  assert np.abs(changed - np.asarray(images)).max() <= EPS + 1e-6
  assert changed.min() >= 0 and changed.max() <= 1
  few = {name: entry[:2] for name, entry in batch.items()}
  np.testing.assert_allclose(view.change(respond, few, keys[:2]), changed[:2], atol=1e-6)


def running_mean(**fields):
  """Running mean [pixels] of a network with batch normalisation after a step, its layer before."""
  before, after, _ = advanced(network=Normed, **fields)
  return np.asarray(after.variables['batch_stats'][NET]['norm']['mean'][0], float), layer(before)


def test_an_attack_in_eval_mode_is_by_running_statistics_and_moves_none():
  """They move once, to the mean of the images where the attack ends that sees 0 and 1."""
  mean, (kernel, bias) = running_mean(name='at', attack_bn='eval', **REACH)
  x = attacked_64(kernel / np.sqrt(1 + normalisation.EPSILON), bias)
  np.testing.assert_allclose(mean, (1 - normalisation.KEPT) * x.mean(0), atol=1e-6)


@pytest.mark.parametrize('over', ['at', 'trades'])
def test_an_attack_in_train_mode_is_by_those_of_its_batch_and_moves_none(over):
  """However many steps it has, the running mean moves as often: by a tenth of the ball at most."""
  few, many = (
    running_mean(name=over, attack_bn='train', attack_steps=steps, step_size=EPS)[0]
    for steps in (1, 6)
  )
  moves = {'at': 1, 'trades': 2}[over]
  moved = (1 - normalisation.KEPT**moves) * PIXELS.mean(0)
  reach = (1 - normalisation.KEPT) * EPS + 1e-6
  for mean in (few, many):
    assert np.abs(mean - moved).max() < reach
  ends = [running_mean(name=over, attack_bn=mode, **REACH)[0] for mode in ('eval', 'train')]
  assert np.abs(ends[0] - ends[1]).max() > 1e-4


@pytest.mark.parametrize(
  'method, sentence',
  [
    (dict(name='rwpp'), "no method of adversarial training 'rwpp'; did you mean 'rwp'"),
    (dict(name='rwp', gamma=-0.1), 'gamma is -0.1; it must be at least 0'),
    (dict(name='rwp', ascents=0), 'ascents is 0; it must be at least 1'),
    (dict(name='rwp', rate=0.0), 'rate is 0.0; it must be above 0'),
    (dict(name='awp', warmup=-1), 'warmup is -1; it must be at least 0'),
    (dict(name='awp', warmup=10), 'warmup is 10 epochs of 1 steps, and there are 10 steps'),
    (dict(name='rwp', warmup=12), 'lower method.warmup, or raise robustness.epochs'),
    (dict(name='awp', over='mart'), "no over 'mart'"),
    (dict(name='trades', beta=-1), 'beta is -1; it must be at least 0'),
    (dict(name='at', step_size=-0.1), 'step_size is -0.1; it must be at least 0'),
    (dict(name='at', attack_steps=-1), 'attack_steps is -1'),
    (dict(name='at', attack_bn='test'), "no attack_bn 'test'. Valid: eval, train"),
    (dict(name='at', c_min=1.0), "no field of method at 'c_min'"),
  ],
)
def test_a_mistake_in_a_method_ends_in_one_sentence(method, sentence):
  with pytest.raises(UserError, match=sentence):
    methods.make(setting(), method)

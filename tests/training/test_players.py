"""Games: who moves what in a step, guides, memories, shared batches, devices; against separate
trainings and numbers by hand."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill.data.crops import Crop
from jaxdistill.data.examples import Examples
from jaxdistill.models import linear, normalisation
from jaxdistill.training import classifier, learner, players
from jaxdistill.training.game import Game, Part, Player, Term
from jaxdistill.training.recipe import Recipe

SHAPE, CLASSES, IMAGES = (4, 4, 1), 3, 10
RNG = np.random.default_rng(0)
EXAMPLES = Examples(
  RNG.integers(0, 256, (IMAGES, *SHAPE)).astype(np.uint8),
  (np.arange(IMAGES) % CLASSES).astype(np.int32),
  CLASSES,
  (0.5,),
  (0.25,),
)
# Every second batch is short.
RECIPE = Recipe('tiny', batch=8, epochs=5, transforms=(Crop(1),))
SGD = optax.chain(
  optax.add_decayed_weights(0.01), optax.trace(0.9), optax.scale_by_learning_rate(0.05)
)


class Net(nn.Module):
  """A linear classifier behind batch normalisation."""

  width: int = 4

  @nn.compact
  def __call__(self, x, train=False):
    x = normalisation.norm('batch')(name='norm')(x, train).reshape(len(x), -1)
    x = linear.Linear(self.width, name='map')(x)
    return linear.Linear(CLASSES, name='classifier')(x), {'embedding': x}


class Map(nn.Module):
  """A linear map of an embedding."""

  width: int = 4

  @nn.compact
  def __call__(self, x):
    return linear.Linear(self.width, name='map')(x)


def mean(values, weight):
  return (values * weight).sum() / jnp.maximum(weight.sum(), 1e-12)


def entropy(part):
  def loss(scene):
    losses = optax.softmax_cross_entropy(scene[part]['logits'], scene.batch['labels'])
    return mean(losses, scene.batch['weight'])

  return loss


def gap(part, other, output='logits'):
  def loss(scene):
    distance = jnp.square(scene[part][output] - scene[other][output]).sum(-1)
    return mean(distance, scene.batch['weight'])

  return loss


CE = Term('ce', entropy('student'))
KD = Term('kd', gap('student', 'teacher'), weight=0.5)


def player(name, *terms, trains=None, optimizer=SGD, **fields):
  return Player(name, trains or (name,), terms, optimizer, **fields)


STUDENT = {'student': Part(Net())}
ALONE = Game(STUDENT, (player('student', CE),))
PUPIL = Game(STUDENT, (player('student', CE, KD),), {'teacher': Part(Net())})


@functools.cache
def teacher():
  return Net().init(jax.random.key(5), jnp.zeros((1, *SHAPE)))


def problem(game, **options):
  options = {'networks': 2, 'num_steps': 6, 'seed': 3, **options}
  if 'teacher' in game.guides:
    options = {'guide_variables': {'teacher': teacher()}} | options
  return players.problem(game, EXAMPLES, RECIPE, **options)


def advance(made, steps=3):
  """(State, metrics of each step) after some steps."""

  @jax.jit
  def step(state, inputs):
    batch = made.source.sample(inputs, jax.random.wrap_key_data(state.key), state.step)
    return made.step(state, batch)

  state, metrics = made.state, []
  for _ in range(steps):
    state, measured = step(state, made.source.data)
    metrics.append({name: float(value) for name, value in measured.items()})
  return jax.tree.map(np.asarray, state), metrics


def assert_same(tree, other):
  jax.tree.map(np.testing.assert_array_equal, tree, other)


def assert_close(tree, other, **tolerance):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), tree, other)


def first(tree, networks=1):
  return jax.tree.map(lambda leaf: leaf[:networks], tree)


def part(state, name):
  return players.part_variables(state.variables, name)


def test_one_part_one_player_and_one_term_are_supervised_training():
  """The game of a classifier has the numbers and the layout that an objective gave it."""

  def objective(variables, batch, key):
    (logits, _), moved = Net().apply(variables, batch['images'], True, mutable=['batch_stats'])
    loss = mean(optax.softmax_cross_entropy(logits, batch['labels']), batch['weight'])
    return learner.Outcome(loss, {}, moved)

  settings = dict(networks=2, num_steps=6)
  by_game, metrics = advance(classifier.setup(Net(), EXAMPLES, RECIPE, **settings))
  by_objective, _ = advance(
    classifier.setup(Net(), EXAMPLES, RECIPE, objective=objective, **settings)
  )
  assert jax.tree.structure(by_game) == jax.tree.structure(by_objective)
  assert_close(by_game, by_objective, atol=1e-6)
  assert sorted(metrics[0]) == ['loss', 'train_accuracy']


def test_terms_are_reported_raw_and_weighted():
  _, metrics = advance(problem(PUPIL), steps=1)
  (line,) = metrics
  assert sorted(line) == ['ce', 'kd', 'kd_weighted', 'loss', 'student_accuracy']
  assert line['kd_weighted'] == pytest.approx(0.5 * line['kd'])
  assert line['loss'] == pytest.approx(line['ce'] + line['kd_weighted'])

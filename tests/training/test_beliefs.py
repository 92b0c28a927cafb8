"""What a game keeps beside its networks: beliefs about the whole data, copies that follow a
network, rows by beliefs, and a standpoint that knows them; against numbers by hand."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill.data.examples import Examples
from jaxdistill.data.views import Views, soft_labels
from jaxdistill.errors import UserError
from jaxdistill.models import dropout, normalisation
from jaxdistill.training import averages, loop, parallel, players
from jaxdistill.training.game import Game, Part, PerturbedWeights, Player, Term
from jaxdistill.training.problem import Refresh
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run

IMAGES, CLASSES = 4, 2
EXAMPLES = Examples(
  np.arange(IMAGES, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 1, 1), np.uint8),
  np.zeros(IMAGES, np.int32),
  CLASSES,
  (0.5,),
  (0.25,),
)
VIEWS = Views(
  lambda key: (),
  lambda key, batch, choices: {
    **batch,
    'images': batch['images'].astype(jnp.float32),
    'labels': soft_labels(batch['labels'], CLASSES),
  },
)


class Number(nn.Module):
  """One weight w, 1 at first, whatever it reads: 'output' [n] of w times the pixel."""

  normalised: bool = False

  @nn.compact
  def __call__(self, x, train=False):
    if self.normalised:
      x = normalisation.norm('batch')(name='norm')(x, train)
    weight = self.param('w', lambda key: jnp.ones(()))
    return {'output': weight * x.reshape(len(x))}


NUMBER = Number()
# What is believed of row i at first: i.
TARGETS = {'targets': lambda key: jnp.arange(float(IMAGES))}


def towards_targets(scene):
  targets = scene.beliefs['targets'][scene.batch['index']]
  return -(scene['net']['output'] * 0 + targets * scene['net']['output']).mean()


def game(loss=towards_targets, parts=None, beliefs=TARGETS, perturbed=None, rate=1.0):
  player = Player('', ('net',), (Term('loss', loss),), optax.sgd(rate), perturb_weights=perturbed)
  return Game(parts or {'net': Part(NUMBER)}, (player,), beliefs=beliefs)


def ready(asked, batch=IMAGES, **options):
  recipe = Recipe('whole', batch=batch, epochs=3)
  return players.problem(asked, EXAMPLES, recipe, **{'views': VIEWS, 'num_steps': 3, **options})


def fitted(problem):
  with Run(progress=False) as run:
    return jax.tree.map(np.asarray, loop.fit(run, 'phase', problem))


def weight(state, part='net'):
  return state.variables['params'][part]['w']


def test_terms_see_the_beliefs_of_their_rows_and_steps_leave_them():
  # The gradient of -mean(t_i w x_i) is -mean(t_i x_i) = -(0 + 1 + 4 + 9) / 4.
  end = fitted(ready(game(rate=0.1)))
  np.testing.assert_allclose(weight(end), [1 + 3 * 0.1 * 14 / 4], rtol=1e-6)
  np.testing.assert_array_equal(end.variables['beliefs']['targets'], [np.arange(4)])


def test_each_network_has_beliefs_of_its_own_that_a_refresh_changes():
  problem = ready(game(rate=0.1), networks=2)

  def doubled(state):
    beliefs = jax.tree.map(
      lambda leaf: leaf * jnp.array([[2.0], [0.0]]), state.variables['beliefs']
    )
    return state.replace(variables={**state.variables, 'beliefs': beliefs})

  problem = dataclasses.replace(problem, refresh=Refresh(doubled, every=2, first=2))
  end = fitted(problem)
  np.testing.assert_allclose(weight(end), [1 + 0.35 * 4, 1 + 0.35 * 2], rtol=1e-6)


def test_beliefs_are_averaged_with_no_weights():
  recipe = Recipe('averaged', batch=IMAGES, epochs=3, average=averages.Average(0.5))
  problem = players.problem(game(), EXAMPLES, recipe, views=VIEWS, num_steps=1)
  assert set(problem.state.average) == {'params'}
  assert set(problem.state.scored) == {'params', 'beliefs'}


def test_a_copy_follows_its_network_without_a_gradient():
  parts = {
    'net': Part(NUMBER),
    'copy': Part(NUMBER, follows='net', momentum=0.75, mode='batch'),
  }

  def loss(scene):  # its gradient would be there if the copy had one
    return -(scene['net']['output'] + 7 * scene['copy']['output']).mean()

  problem = ready(game(loss, parts), num_steps=2)
  assert weight(problem.state, 'copy') == weight(problem.state)
  end = fitted(problem)
  # w: 1, 2.5, 4; its copy: 1, .75 + .25 * 2.5, ...
  np.testing.assert_allclose(weight(end), [4.0])
  np.testing.assert_allclose(
    weight(end, 'copy'), [0.75 * (0.75 + 0.25 * 2.5) + 0.25 * 4], rtol=1e-6
  )


def test_a_copy_in_batch_mode_moves_no_statistics():
  module = Number(normalised=True)
  parts = {'net': Part(module), 'copy': Part(module, follows='net', mode='batch')}
  loss = lambda scene: (scene['net']['output'] - scene['copy']['output']).mean()
  problem = ready(game(loss, parts), num_steps=2)
  end = fitted(problem)
  statistics = end.variables['batch_stats']
  jax.tree.map(
    np.testing.assert_array_equal,
    statistics['copy'],
    jax.tree.map(np.asarray, problem.state.variables['batch_stats']['copy']),
  )
  assert not np.array_equal(statistics['net']['norm']['mean'], statistics['copy']['norm']['mean'])


@pytest.mark.parametrize('networks', [1, 4])
def test_beliefs_decide_which_rows_a_step_takes(networks):
  def drawn(key, step, beliefs):
    rows = jnp.argsort(-beliefs['targets'])[:2]
    return rows, jnp.ones(2)

  loss = lambda scene: -scene['net']['output'].mean()
  mesh = parallel.make_mesh(networks) if networks > 1 else None
  problem = ready(game(loss), drawn=drawn, num_steps=1, networks=networks, mesh=mesh)
  # The rows with the largest targets are 3 and 2, with pixels 3 and 2.
  np.testing.assert_allclose(weight(fitted(problem)), np.full(networks, 1 + 2.5))


def test_rows_by_beliefs_of_one_network_are_shared_where_batches_are():
  drawn = lambda key, step, beliefs: (jnp.array([3, 3]), jnp.ones(2))
  loss = lambda scene: -scene['net']['output'].mean()
  problem = ready(game(loss), drawn=drawn, num_steps=1, networks=2, batches='shared')
  np.testing.assert_allclose(weight(fitted(problem)), [4.0, 4.0])


def test_a_standpoint_answers_at_other_weights_and_knows_beliefs_and_step():
  def move(standpoint):
    twice = jax.tree.map(lambda w: 2 * w, standpoint.params)
    answer = standpoint.answer('net', twice, jnp.ones((1, 1)))
    return jax.tree.map(
      lambda w: w + answer['output'][0] + standpoint.beliefs['targets'][3] + standpoint.step,
      standpoint.params,
    )

  # L = mean(w^2 x): gradient 2 w mean(x) = 3 w, taken at w + 2 w + 3 + step.
  loss = lambda scene: (
    scene['net']['output'] ** 2 / jnp.maximum(scene.batch['images'].ravel(), 1)
  ).mean()
  seen = Term('seen', loss)
  end = fitted(ready(game(loss, perturbed=PerturbedWeights((seen,), move), rate=0.1), num_steps=2))
  first = 1 - 0.1 * 3 * (3 * 1 + 3 + 0)
  np.testing.assert_allclose(weight(end), [first - 0.1 * 3 * (3 * first + 3 + 1)], rtol=1e-5)


@pytest.mark.parametrize('place, decayed', [('moved', 3.0), ('own', 1.0)])
def test_a_decay_is_of_the_moved_weights_or_of_ones_own(place, decayed):
  move = lambda standpoint: jax.tree.map(lambda w: 3 * w, standpoint.params)
  loss = lambda scene: 0 * scene['net']['output'].mean()
  perturbed = PerturbedWeights((Term('seen', loss),), move, decay_at=place)
  optimizer = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(1.0))
  player = Player('', ('net',), (Term('loss', loss),), optimizer, perturb_weights=perturbed)
  end = fitted(ready(Game({'net': Part(NUMBER)}, (player,)), num_steps=1))
  np.testing.assert_allclose(weight(end), [1 - 0.1 * decayed], rtol=1e-6)


def test_a_gradient_can_be_differentiated():
  """One step of meta-learning: where the climb ends depends on a gradient's gradient."""

  def move(standpoint):
    def length(params):
      return optax.tree.norm(standpoint.gradient(params)) ** 2 / 2

    return jax.tree.map(lambda w, g: w + g, standpoint.params, jax.grad(length)(standpoint.params))

  loss = lambda scene: (
    scene['net']['output'] ** 2 / jnp.maximum(scene.batch['images'].ravel(), 1)
  ).mean()
  perturbed = PerturbedWeights((Term('seen', loss),), move)
  end = fitted(ready(game(loss, perturbed=perturbed, rate=0.1), num_steps=1))
  # |3 w|^2 / 2 has the gradient 9 w.
  np.testing.assert_allclose(weight(end), [1 - 0.1 * 3 * 10], rtol=1e-5)


class Dropped(nn.Module):
  """One weight behind dropout."""

  random: bool = True

  @nn.compact
  def __call__(self, x, train=False):
    x = dropout.Dropout(0.5)(x.reshape(len(x)), train)
    return {'output': self.param('w', lambda key: jnp.ones(())) * x}


@pytest.mark.parametrize('module', [Number(normalised=True), Dropped()])
def test_images_of_a_standpoint_are_no_rows_of_a_short_batch(module):
  """Two rows of three in the second batch are no rows; all five images count alike."""

  def move(standpoint):
    answer = standpoint.answer('net', standpoint.params, jnp.arange(5.0).reshape(5, 1, 1, 1))
    return jax.tree.map(lambda w: w + answer['output'].sum(), standpoint.params)

  loss = lambda scene: 0 * scene['net']['output'].mean()
  perturbed = PerturbedWeights((Term('seen', loss),), move)
  decay = optax.chain(optax.add_decayed_weights(1.0), optax.sgd(1.0))
  player = Player('', ('net',), (Term('loss', loss),), decay, perturb_weights=perturbed)
  end = fitted(ready(Game({'net': Part(module)}, (player,)), batch=3, num_steps=2))
  w = weight(end)
  if isinstance(module, Number):
    # Normalised images add up to 0: what decays is w itself.
    np.testing.assert_allclose(w, 0.0, atol=1e-5)
  else:
    # Each w is lowered by w times twice the pixels that were not dropped, a whole number.
    np.testing.assert_allclose(w, np.round(w), atol=1e-4)


def test_wrong_games_are_refused():
  other = Number()
  refused = [
    ({'net': Part(NUMBER), 'copy': Part(Number(True), follows='net')}, ('net',), 'follows no part'),
    ({'net': Part(other), 'copy': Part(other, follows='net')}, ('net', 'copy'), 'nobody trains it'),
  ]
  for parts, trains, sentence in refused:
    with pytest.raises(ValueError, match=sentence):
      Game(parts, (Player('', trains, (Term('loss', towards_targets),), optax.sgd(1.0)),))
  with pytest.raises(UserError, match='from 0 to 1'):
    Part(NUMBER, follows='net', momentum=1.5)
  with pytest.raises(UserError, match='place of a decay'):
    PerturbedWeights((), lambda standpoint: standpoint.params, decay_at='there')

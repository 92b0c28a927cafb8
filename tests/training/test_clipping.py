"""The gradient of a term, cut to a norm before it is added: numbers by hand, on one device and on
four."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxdistill.data.examples import Examples
from jaxdistill.data.views import Views, soft_labels
from jaxdistill.errors import UserError
from jaxdistill.training import parallel, players
from jaxdistill.training.clipping import clipped
from jaxdistill.training.game import Game, Part, Player, Term
from jaxdistill.training.recipe import Recipe

IMAGES, CLASSES = 6, 2
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


class Two(nn.Module):
  """Outputs 'x' = u x and 'y' = v x of the pixel x, weights 0 at first."""

  @nn.compact
  def __call__(self, x):
    weights = self.param('w', nn.initializers.zeros, (2,))
    pixel = x.reshape(len(x))
    return {'x': weights[0] * pixel, 'y': weights[1] * pixel}


def mean(scene, name):
  weight = scene.batch['weight']
  return (scene['net'][name] * weight).sum() / jnp.maximum(weight.sum(), 1e-12)


# Gradients by (u, v), with pixels of mean 2.5: (2.5, 0) and, before the cut, (7.5, 10).
PLAIN = Term('plain', lambda scene: mean(scene, 'x'))
CUT = Term('cut', lambda scene: 3 * mean(scene, 'x') + 4 * mean(scene, 'y'), clip=1.0)


def step_of(*terms, **options):
  player = Player('', ('net',), terms, optax.sgd(1.0))
  problem = players.problem(
    Game({'net': Part(Two())}, (player,)),
    EXAMPLES,
    Recipe('whole', batch=IMAGES, epochs=1),
    views=VIEWS,
    num_steps=1,
    **options,
  )

  @jax.jit
  def step(state, data):
    batch = problem.source.sample(data, jax.random.wrap_key_data(state.key), state.step)
    return problem.step(state, batch)

  state, metrics = step(problem.state, problem.source.data)
  return np.asarray(state.variables['params']['net']['w']), metrics


def test_a_cut_gradient_is_added_to_the_rest():
  weights, metrics = step_of(PLAIN, CUT)
  np.testing.assert_allclose(weights, [[-2.5 - 0.6, -0.8]], rtol=1e-6)
  assert sorted(metrics) == ['cut', 'loss', 'plain']


def test_a_short_gradient_stays():
  weights, _ = step_of(PLAIN, Term('cut', CUT.loss, 0.01, clip=1.0))
  np.testing.assert_allclose(weights, [[-2.5 - 0.075, -0.1]], rtol=1e-6)


def test_terms_of_one_norm_are_cut_together():
  weights, _ = step_of(CUT, Term('also', lambda scene: 4 * mean(scene, 'y'), clip=1.0))
  np.testing.assert_allclose(weights, [-np.array([[3, 8]]) / np.hypot(3, 8)][0], rtol=1e-6)


def test_the_norm_is_that_of_the_whole_batch():
  weights, _ = step_of(PLAIN, CUT, mesh=parallel.make_mesh(4), spread='batch')
  np.testing.assert_allclose(weights, [[-3.1, -0.8]], rtol=1e-6)


def test_a_tree_is_cut_by_its_global_norm():
  gradient = jax.grad(
    lambda tree: (clipped(tree, 2.0)['a'] * 3 + clipped(tree, 9.0)['b'] * 4).sum()
  )
  tree = {'a': jnp.zeros(1), 'b': jnp.zeros(1)}
  np.testing.assert_allclose(gradient(tree)['a'], [2.0])
  np.testing.assert_allclose(gradient(tree)['b'], [4.0])


def test_a_norm_below_0_is_refused():
  with pytest.raises(UserError, match='clip of a term is -1'):
    Term('cut', CUT.loss, clip=-1)

"""Base networks: what they are trained for against float64, and the published numbers of how."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import models
from jaxdistill.errors import UserError
from jaxdistill.fscil import base, recipes
from jaxdistill.losses import prototypes

SHAPE, BASE, COLUMNS, ROWS = (8, 8, 1), 3, 5, 6


def network(head, **fields):
  """(network, its variables)."""
  encoder = models.build({'name': 'mlp', 'width': 4, 'depth': 1, **fields}, COLUMNS, SHAPE)
  model = base.network(encoder, head, COLUMNS, width=7)
  return model, jax.jit(model.init)(jax.random.key(0), batch()['images'])


def batch():
  """Images whose labels are mixtures of two base classes; the last one has no weight."""
  rng = np.random.default_rng(0)
  one, other = np.eye(COLUMNS)[rng.integers(0, BASE, (2, ROWS))]
  return {
    'images': rng.normal(size=(ROWS, *SHAPE)).astype(np.float32),
    'labels': (0.7 * one + 0.3 * other).astype(np.float32),
    'weight': np.float32([1, 1, 1, 1, 1, 0]),
  }


@pytest.mark.parametrize('head', ['cosine', 'linear'])
def test_cross_entropy_is_over_the_base_columns_alone(head):
  (model, variables), given = network(head), batch()
  logits = np.asarray(model.apply(variables, given['images'])[0], np.float64)[:5, :BASE]
  log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  expected = -(given['labels'][:5, :BASE] * log_p).sum(1).mean()

  def loss(params):
    return base.objective(model, BASE)({'params': params}, given, jax.random.key(1)).loss

  value, gradient = jax.jit(jax.value_and_grad(loss))(variables['params'])
  assert float(value) == pytest.approx(expected, rel=1e-5)
  by_class = gradient['head']['rows' if head == 'cosine' else 'classifier']
  by_class = by_class if head == 'cosine' else by_class['kernel'].T
  assert np.abs(by_class[:BASE]).max(1).min() > 0 and not np.asarray(by_class[BASE:]).any()


def test_an_etf_head_is_trained_by_dot_regression_of_mixed_labels():
  (model, variables), given = network('etf'), batch()
  outcome = jax.jit(base.objective(model, BASE))(variables, given, jax.random.key(1))
  h = np.asarray(model.apply(variables, given['images'])[1]['projected'], np.float64)[:5]
  dots = h @ prototypes.etf(COLUMNS, 7)
  expected = 5 * (given['labels'][:5] * (dots - 1) ** 2).sum(1).mean()
  assert float(outcome.loss) == pytest.approx(expected, rel=1e-5)
  right = dots.argmax(1) == given['labels'][:5].argmax(1)
  assert float(outcome.metrics['train_accuracy']) == pytest.approx(right.mean())


def test_running_statistics_move_in_base_training():
  (model, variables), given = network('cosine', name='convnet', norm='batch'), batch()
  objective = jax.jit(base.objective(model, BASE))
  moved = objective(variables, given, jax.random.key(1)).moved['batch_stats']
  before, after = map(jax.tree.leaves, (variables['batch_stats'], moved))
  assert all(np.abs(old - new).max() > 1e-6 for old, new in zip(before, after, strict=True))


def test_checks_ask_the_base_columns_alone():
  (model, variables), images = network('cosine'), batch()['images']
  logits, _ = base.BaseColumns(model, BASE).apply(variables, images)
  np.testing.assert_array_equal(logits, model.apply(variables, images)[0][:, :BASE])


# How: the numbers of public code.


def rates(name, images=50_000, epochs=()):
  recipe = recipes.find(name)
  steps, per_epoch = recipe.steps(images), recipe.steps(images) // recipe.epochs
  places = jnp.asarray(epochs, jnp.int32) * per_epoch
  return jax.vmap(recipe.learning_rate(images, steps))(places).tolist()


def test_the_rates_of_base_training_are_the_published_ones():
  assert rates('cec', epochs=(0, 59, 60, 69, 70)) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])
  # A cosine over all epochs; half of it is left in the middle.
  assert rates('teen', epochs=(0, 300)) == pytest.approx([0.1, 0.05], rel=1e-2)
  cosine = rates('nc_fscil', epochs=(0, 2, 100))
  assert cosine[0] < 0.01 and cosine[1:] == pytest.approx([0.25, 0.125], rel=2e-2)
  # A quarter at 20, 30, 35, 40 and 45 of 50 epochs of a set that is repeated ten times.
  expected = 0.25 * np.array([1, 0.25, 0.25**2, 0.25**3, 0.25**4, 0.25**5])
  assert rates('nc_fscil_mini', epochs=(190, 210, 310, 360, 410, 460)) == pytest.approx(expected)
  assert rates('nc_fscil_cub', images=3000, epochs=(40,)) == pytest.approx([0.0125], rel=0.3)


@pytest.mark.parametrize(
  'name, batch_size, epochs, nesterov',
  [
    ('cec', 128, 100, True),
    ('teen', 256, 600, True),
    ('nc_fscil', 512, 200, False),
    ('nc_fscil_mini', 512, 500, False),
    ('nc_fscil_cub', 512, 80, False),
  ],
)
def test_the_numbers_of_base_training_are_the_published_ones(name, batch_size, epochs, nesterov):
  recipe = recipes.find(name)
  optimizer = recipe.optimizer
  assert (recipe.batch, recipe.epochs, optimizer.nesterov) == (batch_size, epochs, nesterov)
  assert (optimizer.name, optimizer.momentum, optimizer.weight_decay) == ('sgd', 0.9, 5e-4)
  if name.startswith('nc_fscil'):
    mixup, cutmix = recipe.mixing.mixings
    assert (mixup.alpha, cutmix.alpha) == (0.8, 1.0)
    assert recipe.mixing.probabilities == (0.4, 0.4)


def test_an_unknown_recipe_is_told():
  with pytest.raises(UserError, match="no recipe of base training 'cek'; did you mean 'cec'"):
    recipes.find('cek')

"""Probabilities of every example's classes by a network that has not learned from it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors, models
from jaxdistill.data import Dataset, Vectors, samplers
from jaxdistill.data.examples import Examples
from jaxdistill.errors import UserError
from jaxdistill.experiment import arguments
from jaxdistill.label_noise import evidence, looking, presets, recipes
from jaxdistill.numerics import settled
from jaxdistill.training import classifier, features, loop, parallel, players
from jaxdistill.training.problem import Problem
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run

# The belief that says which examples a network learns from.
LEARNS = 'learns'
_EXAMPLES_A_CALL = 500


class _Training(NamedTuple):
  """What is trained on which examples."""

  network: nn.Module
  examples: Examples
  recipe: Recipe


@settled()
def out_of_sample(
  train: Dataset | Vectors,
  labels: np.ndarray | None = None,
  folds: int = 5,
  model: str | Mapping[str, Any] = '',
  seed: int = 0,
  *,
  recipe: str = '',
  epochs: int = 0,
  progress: bool = False,
) -> np.ndarray:
  """Returns probabilities float32 [n, C] of every example by a network that learned from the other
  folds: what `quality` and `find_issues` need.

  A network's answers to examples that it was fitted to mislead: it knows wrong labels by heart, and
  is as sure of them as of right ones.

  The folds hold equal shares of each class. All networks learn in one program, side by side, by
  cross-entropy; each is what it would be alone.

  Args:
    train: the examples; their own labels are the observed ones where no others are given.
    labels: int [n], some of them wrong.
    folds: networks, at least 2.
    model: a network of `models.build`, by name or with its fields; '': the data set's usual one.
    seed: of folds and networks.
    recipe: how it is trained, one of this family's; '': the data set's.
    epochs: passes over what a network learns from; 0: the recipe's.
    progress: whether to draw a bar.

  Raises:
    UserError: fewer examples than folds, labels that do not fit, or a network or recipe that does
      not exist.

  >>> from jaxdistill import data
  >>> train, _ = data.load('digits', image_size=8)
  >>> model = {'name': 'mlp', 'width': 8, 'depth': 1}
  >>> out_of_sample(train.take(range(60)), folds=2, model=model, epochs=1).shape
  (60, 10)
  """
  if not isinstance(train, Dataset | Vectors):
    raise UserError(
      'out_of_sample takes a Dataset or Vectors, whose examples have one label each; got '
      f'{type(train).__name__}.'
    )
  errors.whole('folds', folds, at_least=2)
  errors.seed(seed)
  labels = evidence.class_labels(train.labels if labels is None else labels, train.num_classes)
  if len(labels) != len(train):
    raise UserError(f'There are {len(labels)} labels; {train.name} has {len(train)} examples.')
  if len(train) < folds:
    raise UserError(f'{train.name} has {len(train)} examples; ask for at most as many folds.')
  fold = folds_of(labels, folds, seed)
  training = _training(train, labels, model, recipe, epochs)
  learns = fold[None] != np.arange(folds)[:, None]
  with Run(progress=progress) as run:
    state = loop.fit(run, 'out_of_sample', problem(*training, learns, seed))
  variables = parallel.on_host(state.scored)
  variables = {name: tree for name, tree in variables.items() if name != 'beliefs'}
  return _held_out(training, variables, fold)


def folds_of(labels: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
  """Returns the fold of every example, int [n]: of each class, and of all examples, the folds have
  as many up to one.

  >>> np.bincount(folds_of(np.array([0, 0, 0, 1, 1, 1]), 3)).tolist()
  [2, 2, 2]
  """
  order = np.random.default_rng(seed).permutation(len(labels))
  by_class = order[np.argsort(np.asarray(labels)[order], kind='stable')]
  fold = np.empty(len(labels), np.int64)
  fold[by_class] = np.arange(len(labels)) % folds
  return fold


def problem(
  network: nn.Module, examples: Examples, recipe: Recipe, learns: np.ndarray, seed: int
) -> Problem:
  """Returns the training of networks side by side, each on examples of its own.

  Args:
    network: without weights.
    examples: all of them.
    recipe: how they train.
    learns: bool [R, n], the examples of each network.
    seed: of the networks.
  """
  most = int(learns.sum(1).max())
  game = classifier.game(network, recipe.optimizer.build(recipe.learning_rate(most), recipe.groups))
  everything = {LEARNS: lambda key: jnp.ones(len(examples), bool)}
  batch = min(recipe.batch, most)

  def drawn(key, step, beliefs):
    reached = jnp.cumsum(beliefs[LEARNS])
    ranks, weight = samplers.epoch_batch(key, step, reached[-1], batch)
    return jnp.searchsorted(reached, ranks + 1).astype(jnp.int32), weight

  return players.problem(
    dataclasses.replace(game, beliefs=everything),
    examples,
    recipe,
    networks=len(learns),
    seed=seed,
    num_steps=recipe.steps(most),
    initial={'beliefs': {LEARNS: learns}},
    drawn=drawn,
  )


def _training(train, labels, model, recipe, epochs):
  """Network, examples and recipe, what is usual for the data where nothing is said."""
  usual = presets.find('vectors:' if isinstance(train, Vectors) else train.name)
  if isinstance(model, str):
    fields = arguments.network(model, usual.model)
  else:
    fields = arguments.network_of(model)
  network = models.build(fields, train.num_classes, train.image_shape)
  recipe = recipes.find(recipe or usual.recipe, epochs=epochs)
  if isinstance(train, Vectors):
    recipe = dataclasses.replace(recipe, transforms=())
  elif not train.flip:
    recipe = recipe.unmirrored()
  examples = dataclasses.replace(Examples.of(train), labels=labels.astype(np.int32))
  return _Training(network, examples, recipe)


def _held_out(training, variables, fold):
  """What each network answers to the examples of its fold, in calls of one size."""
  examples = training.examples
  forward = looking.answering(training.network)
  mean, std = (jnp.asarray(numbers, jnp.float32) for numbers in (examples.mean, examples.std))
  folds = int(fold.max()) + 1
  probabilities = np.zeros((len(fold), examples.num_classes), np.float32)
  size = min(int(np.bincount(fold).max()), _EXAMPLES_A_CALL)
  for number in range(folds):
    one = jax.tree.map(lambda leaf, number=number: jnp.asarray(leaf[number]), variables)
    rows = np.flatnonzero(fold == number)
    # Folds differ by one example; the shorter one repeats its last.
    padded = rows[np.minimum(np.arange(-(-len(rows) // size) * size), len(rows) - 1)]

    def answer(places, padded=padded, one=one):
      logits = forward(one, examples.images[padded[places]], mean, std)['logits']
      return jax.nn.softmax(logits)

    probabilities[rows] = features.in_chunks(answer, len(padded), size)[: len(rows)]
  return probabilities

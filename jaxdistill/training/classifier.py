"""Supervised training of several networks at once: evaluation of condensed sets, experts, teachers.

A `Recipe` says how; `setup` makes of it a problem that is ready for the loop, and `train` runs it
and scores the networks on the way. They share nothing but the clock, see `training.replicas`.
"""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxdistill import draws, errors, files
from jaxdistill.data import Dataset
from jaxdistill.data.examples import Examples
from jaxdistill.losses import classification
from jaxdistill.numerics import settled
from jaxdistill.training import loop, parallel, parts, players, replicas, scorer
from jaxdistill.training.game import Game, Part, Player, Term
from jaxdistill.training.learner import Learner, Objective
from jaxdistill.training.problem import Problem
from jaxdistill.training.recipe import Recipe


class Scores(NamedTuple):
  """What `train` gives.

  columns: accuracies [R] in [0, 1] on the test set, see `columns`.
  checked: 'steps' [k] of the checks, accuracies 'test' [k, R] and, with validation images,
    'validation' [k, R].
  variables: of the networks, leading axis R. steps: of the training. seconds: it took, in this
    process.
  """

  columns: dict[str, np.ndarray]
  checked: dict[str, np.ndarray]
  variables: Any
  steps: int
  seconds: float


@settled()
def setup(
  model: nn.Module,
  examples: Examples,
  recipe: Recipe,
  *,
  networks: int = 1,
  seed: int = 0,
  num_steps: int = 0,
  learning_rates: Sequence[float] = (),
  sets: int = 1,
  mesh: Mesh | None = None,
  way: str = 'auto',
  spread: str = 'auto',
  owned: tuple[str, ...] = (),
  frozen: tuple[str, ...] = (),
  objective: Objective | None = None,
  initial: Mapping[str, Any] | None = None,
) -> Problem:
  """Returns the training of `networks` networks on labelled images, ready for the loop.

  One step of each network: draw its batch, normalise, augment, mix, cross-entropy, optimiser.

  Args:
    model: a network of `models.build`.
    examples: the training set.
    recipe: how to train.
    networks: R.
    seed: of weights, order and views.
    num_steps: 0: the recipe's epochs.
    learning_rates: one a network in place of the recipe's; () for the recipe's.
    sets: training sets of equal length, which the examples hold one behind another: network number
      i learns from the set i % sets alone.
    mesh: the devices; None: the default one.
    way: how the networks share a program, see `replicas.Options`.
    spread: 'networks', 'batch' or 'auto', see `replicas.choose_spread`.
    owned, frozen: parts of the network that are trained and that stay as they are, by path, see
      `training.parts`; () for all and for none.
    objective: what is minimised; None: the cross-entropy of the network's logits.
    initial: variables that every network starts with, or a part of them; None: random ones.

  Returns:
    The problem, whose state is a `replicas.State`. It reports the mean loss and the accuracy on the
    training images over the networks.

  Raises:
    UserError: a way or spread of another name.
  """
  images = len(examples) // sets
  num_steps = errors.whole('num_steps', num_steps) or recipe.steps(images)
  options = replicas.Options(
    networks,
    # The learning rate is the last factor of an update: a network's own one is reached by scaling.
    scales=tuple(
      np.asarray(learning_rates, np.float32) / np.float32(recipe.schedule.learning_rate)
    ),
    clear_momentum_at=recipe.boundaries(images, num_steps) if recipe.clear_momentum else (),
    average=recipe.average,
    mesh=mesh,
    way=way,
    spread=replicas.choose_spread(spread, networks, mesh),
    first_rows=tuple(images * (number % sets) for number in range(networks)) if sets > 1 else (),
  )
  return replicas.problem(
    learner(model, recipe, examples, owned, frozen, sets, objective, initial),
    recipe.optimizer.build(recipe.learning_rate(images, num_steps), recipe.groups),
    options,
    {'images': examples.images, 'labels': np.asarray(examples.labels)},
    num_steps=num_steps,
    seed=seed,
    epoch_steps=recipe.epoch_steps(images),
  )


def learner(
  model: nn.Module,
  recipe: Recipe,
  examples: Examples,
  owned: tuple[str, ...] = (),
  frozen: tuple[str, ...] = (),
  sets: int = 1,
  objective: Objective | None = None,
  initial: Mapping[str, Any] | None = None,
) -> Learner:
  """Returns what one network does: draws shuffled batches, sees them as the recipe says, and
  follows the objective; arguments as in `setup`."""
  # A learner gives gradients; who moves by them has the optimiser.
  still = optax.identity()
  plain = players.learner(
    game(model, still, recipe.label_smoothing, owned, frozen),
    {'images': examples.images, 'labels': examples.labels},
    recipe,
    recipe.views(examples),
    images=len(examples) // sets,
  )
  chosen = {}
  if initial is not None:
    chosen['init'] = lambda key: parts.replace(plain.init(key), initial)
  if objective is not None:
    chosen |= dict(objective=objective, owned=owned, frozen=frozen)
  return dataclasses.replace(plain, **chosen)


def game(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  label_smoothing: float = 0.0,
  owned: tuple[str, ...] = (),
  frozen: tuple[str, ...] = (),
) -> Game:
  """Returns the training of one classifier as a game: one part without a name, one player, and the
  cross-entropy of the logits for the view 'images' as its only term.

  Batch normalisation takes the statistics of the batch and moves its running ones. Reported is the
  accuracy on the training images too, as 'train_accuracy'.

  Args:
    model: a network of `models.build`.
    optimizer: of its weights.
    label_smoothing: share of the label spread over all classes.
    owned, frozen: parts of the network that are trained and that stay as they are.
  """

  def cross_entropy(scene):
    return classification.cross_entropy(
      scene['']['logits'],
      scene.batch['labels'],
      weight=scene.batch['weight'],
      label_smoothing=label_smoothing,
    )

  player = Player('', owned, (Term('loss', cross_entropy),), optimizer, frozen)
  return Game({'': Part(model)}, (player,))


@settled()
def train(
  run,
  name: str,
  model: nn.Module,
  examples: Examples,
  recipe: Recipe,
  *,
  test: Dataset,
  validation: Dataset | None = None,
  networks: int = 1,
  seed: int = 0,
  num_steps: int = 0,
  checks: int = 6,
  learning_rates: Sequence[float] = (),
  sets: int = 1,
  mesh: Mesh | None = None,
  way: str = 'auto',
  spread: str = 'auto',
  keep_final: bool = False,
) -> Scores:
  """Trains `networks` networks on a set and scores them on real images.

  Args:
    run: the run that keeps metrics and checkpoints (`training.run.Run`).
    name: of the phase.
    model, examples, recipe, seed, num_steps, learning_rates, sets, mesh, way, spread: see `setup`.
    test: images to score on; they never influence the training.
    validation: held-out images to choose a check by.
    networks: R.
    checks: at most so often the networks are scored, evenly spread, the last time at the end.
    keep_final: whether the final state stays in the run's checkpoints.

  Returns:
    Scores.

  Raises:
    UserError: when the loss stops being finite.
  """
  errors.whole('checks', checks, at_least=1)
  started = time.perf_counter()
  problem = setup(
    model,
    examples,
    recipe,
    networks=networks,
    seed=seed,
    num_steps=num_steps,
    learning_rates=learning_rates,
    sets=sets,
    mesh=mesh,
    way=way,
    spread=spread,
  )
  splits = {'test': test} if validation is None else {'test': test, 'validation': validation}
  scorers = {
    split: scorer.Scorer(model, Examples.of(real).normalised_as(examples), way=way)
    for split, real in splits.items()
  }

  def measure(state):
    return scorer.reported(
      {split: score(state.scored)[:networks] for split, score in scorers.items()}
    )

  every = max(1, math.ceil(problem.num_steps / checks))
  state = loop.fit(
    run, name, problem, evaluate=loop.Evaluation(measure, every), keep_final=keep_final
  )
  checked = scorer.checked(run.history(name), scorers)
  variables = jax.tree.map(lambda a: parallel.gather(a)[:networks], state.scored)
  return Scores(
    columns(**{split: checked[split] for split in scorers}),
    checked,
    variables,
    problem.num_steps,
    time.perf_counter() - started,
  )


def rules(
  model: nn.Module, examples: Examples, recipe: Recipe, num_steps: int = 0, sets: int = 1
) -> dict[str, Any]:
  """Returns what decides a training and was decided otherwise by the first version, whose scores
  and networks are found by hashes; {} where both train alike, so that they are found still.

  Arguments as for `setup`.
  """
  images, decided = len(examples) // sets, {}
  before = dataclasses.replace(recipe, drop_at_epochs=False, drop_delay=0, extra_epochs=0)
  steps = num_steps or recipe.steps(images)
  drops = recipe.boundaries(images, steps)
  earlier_steps = num_steps or before.steps(images)
  if (steps, drops) != (earlier_steps, before.boundaries(images, earlier_steps)):
    decided |= {'steps': steps, 'drops': drops}
  short = images % min(recipe.batch, images) and not recipe.drop_last
  if short and steps >= recipe.epoch_steps(images) and _couples_rows(model, examples.image_shape):
    decided['statistics'] = 'of weighted rows'
  return decided


def _couples_rows(model, image_shape):
  """Whether a network takes statistics of a batch."""
  return 'batch_stats' in jax.eval_shape(model.init, draws.key(0), jnp.zeros((1, *image_shape)))


def settle(run, phase: str, rules: Mapping[str, Any]) -> str:
  """Returns the name under which the result of a phase is kept in the run, that of the phase but
  where an earlier version has left a result by other rules.

  What such a version has left of the phase is not gone on with: its checkpoints are deleted.

  Args:
    run: the run (`training.run.Run`).
    phase: the name of the phase.
    rules: what `rules` gives, and more of its kind.
  """
  if not rules:
    return phase
  named = f'{phase}-{files.content_hash([], rules)}'

  def begin():
    run.discard(phase)
    if not run.has(phase):
      return phase
    run.say(f'{phase}: what an earlier version has computed by other rules is computed anew.')
    return named

  return run.once(f'rules/{named}', begin)


def columns(test: np.ndarray, validation: np.ndarray | None = None) -> dict[str, np.ndarray]:
  """Returns what a table may report of each network: accuracies [R] on the test set.

  'last' at the end of the training; 'best_test' at the network's best check on the test set, which
  the test images thereby chose; with validation images 'selected', at its best check on those.

  Args:
    test, validation: [k, R] accuracies at the k checks of R networks.

  >>> test, validation = np.array([[0.5], [0.7], [0.6]]), np.array([[0.8], [0.2], [0.3]])
  >>> {name: values.item() for name, values in columns(test, validation).items()}
  {'last': 0.6, 'selected': 0.5, 'best_test': 0.7}
  """
  chosen = (
    {} if validation is None else {'selected': test[validation.argmax(0), np.arange(test.shape[1])]}
  )
  return {'last': test[-1], **chosen, 'best_test': test.max(0)}

"""What the tasks of this family do with their work: train the networks of a method, a phase of the
one loop, and look at them under attack on the way."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxdistill.numerics import settled
from jaxdistill.robustness.method import NET, Method
from jaxdistill.robustness.under_attack import Attacked
from jaxdistill.robustness.work import Work
from jaxdistill.training import loop, parallel, players, scorer
from jaxdistill.training.problem import Problem
from jaxdistill.training.run import Run

# Behind the name of a set: its accuracies without an attack.
CLEAN = '_clean'


class Networks(NamedTuple):
  """R networks of one method.

  variables: leading axis R. steps: [k] of the checks. robust, clean: accuracies [k, R] at them by
    set: 'test', 'train' (images that they learned from) and, where there are any, 'validation'.
  seconds: that the training took.
  """

  variables: Any
  steps: np.ndarray
  robust: Mapping[str, np.ndarray]
  clean: Mapping[str, np.ndarray]
  seconds: float


@settled()
def train(run: Run, work: Work, method: Method, name: str) -> Networks:
  """Trains the networks of a method, or goes on with them.

  Args:
    run: keeps metrics and checkpoints under the phase `name`.
    work, method: what is trained, and how.
    name: of the method in the table.

  Raises:
    UserError: a loss that is not finite.
  """
  training = problem(work, method)
  state = loop.fit(run, name, training, evaluate=_evaluation(work, training.num_steps))
  splits = tuple(_splits(work))
  checks = scorer.checked(run.history(name), [*splits, *(f'{split}{CLEAN}' for split in splits)])
  return Networks(
    players.part_variables(on_host(work, state), NET),
    checks['steps'],
    {split: checks[split] for split in splits},
    {split: checks[f'{split}{CLEAN}'] for split in splits},
    run.timing(name).get('seconds', 0.0),
  )


def problem(work: Work, method: Method) -> Problem:
  """Returns the training of a method's networks, ready for the loop or for an estimate."""
  training = players.problem(
    method.game,
    work.learned,
    work.recipe,
    views=work.views,
    networks=work.fields.robustness.seeds,
    seed=work.fields.seed,
    num_steps=work.steps,
    mesh=work.mesh,
    way=work.way,
    rows=work.rows,
  )
  return dataclasses.replace(training, epoch_steps=work.epoch_steps)


def on_host(work: Work, state: Any) -> Any:
  """Returns the variables of the real networks of a state, as numpy arrays."""
  seeds = work.fields.robustness.seeds
  return parallel.on_host(state.scored, slice(seeds))


def _splits(work):
  splits = {'test': work.test, 'train': work.seen}
  return splits if work.validation is None else {**splits, 'validation': work.validation}


def _evaluation(work: Work, num_steps: int) -> loop.Evaluation:
  """The checks of the networks while they train."""
  asked = work.fields.robustness
  attacked = {
    split: Attacked(
      work.network,
      work.examples(images),
      work.ball,
      asked.pgd_steps,
      seed=work.fields.seed,
      way=work.way,
    )
    for split, images in _splits(work).items()
  }

  def measure(state):
    variables = players.part_variables(state.scored, NET)
    accuracies = {}
    for split, score in attacked.items():
      of_split = score(variables)
      accuracies[split] = of_split.robust[: asked.seeds]
      accuracies[f'{split}{CLEAN}'] = of_split.clean[: asked.seeds]
    return scorer.reported(accuracies)

  return loop.Evaluation(measure, max(1, math.ceil(num_steps / asked.checks)))

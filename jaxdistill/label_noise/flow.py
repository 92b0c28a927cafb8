"""What the tasks of this family do with their work: a method's phases one after the other in the
one loop, refreshes of what is thought of the training set in between, checks on the way."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.label_noise import knn, looking, scoring
from jaxdistill.label_noise.answers import Answers, answer_of
from jaxdistill.label_noise.looking import Looking
from jaxdistill.label_noise.method import NET, Believed, Method, Phase
from jaxdistill.label_noise.work import Work
from jaxdistill.numerics import settled
from jaxdistill.training import loop, outputs, parallel, players
from jaxdistill.training.learner import BELIEFS
from jaxdistill.training.problem import Problem, Refresh
from jaxdistill.training.run import Run

# Between the seeds of two phases of a method.
_PHASES_APART = 1_000_003
# Neighbours that vote, where there are so many examples.
_NEIGHBOURS = 200


class Networks(NamedTuple):
  """What a method has come to.

  variables: of the last phase, leading axis seeds x members. checks: by name, see
    `scoring.measure`: 'steps' [k] and values [k, seeds]. probabilities: of the test examples,
    [seeds, n, C]. believed: of the training examples. seconds: of the trainings. parameters: of
    what makes one answer. neighbours: accuracies [seeds] of a vote of the nearest, see
    `Phase.embedding`; None: no phase asks for it.
  """

  variables: Any
  checks: Mapping[str, np.ndarray]
  probabilities: np.ndarray
  believed: Believed
  seconds: float
  parameters: int
  neighbours: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Ended:
  """Phases that have ended, by name.

  Attributes:
    variables: their last ones, leading axis seeds x members.
    checks: of those that were checked, see `scoring.checked`, counted on from the first phase.
    answers: how these were asked, compiled.
    seconds: of their trainings.
  """

  variables: dict[str, Any] = dataclasses.field(default_factory=dict)
  checks: dict[str, Mapping[str, np.ndarray]] = dataclasses.field(default_factory=dict)
  answers: dict[str, Answers] = dataclasses.field(default_factory=dict)
  seconds: dict[str, float] = dataclasses.field(default_factory=dict)


@settled()
def train(run: Run, work: Work, method: Method, name: str) -> Networks:
  """Trains the networks of a method, or goes on with them.

  Args:
    run: keeps metrics and checkpoints under the phases `name`.PHASE.
    work, method: what is trained, and how.
    name: of the method in the table.

  Raises:
    UserError: a loss that is not finite.
  """
  ended = train_phases(run, work, method, name, checks_of(work, method))
  last = method.phases[-1]
  variables = ended.variables[last.name]
  neighbours = None
  for phase in method.phases:
    if phase.embedding:
      neighbours = _neighbours(work, method, phase, ended.variables[phase.name])
  # Those of its checks, which are compiled.
  answers = ended.answers.get(last.name) or answers_of(work, method, last)
  believed = method.believe(variables, look_of(work, last)) if method.believe else Believed()
  if believed.labels is None:
    learned = answers(variables, work.examples(work.train))
    believed = dataclasses.replace(believed, labels=learned)
  parameters = sum(leaf[0].size for leaf in jax.tree.leaves(variables['params']))
  return Networks(
    variables,
    scoring.joined(list(ended.checks.values())),
    answers(variables, work.examples(work.test)),
    believed_of_seeds(believed, work.fields.learning.seeds, method.members),
    sum(ended.seconds.values()),
    parameters * method.members,
    neighbours,
  )


@settled()
def train_phases(
  run: Run,
  work: Work,
  method: Method,
  name: str,
  checks: Mapping[str, int] | None = None,
  known: Ended | None = None,
) -> Ended:
  """Trains the phases of a method one after the other, or goes on with them.

  Args:
    run: keeps metrics and checkpoints under the phases `name`.PHASE.
    work, method: what is trained, and how.
    name: of the method.
    checks: how often a phase is checked, by name; none of the others.
    known: phases that need not be trained again, by their names.

  Returns:
    These and the known ones.

  Raises:
    UserError: a loss that is not finite.
  """
  checks, known = checks or {}, known or Ended()
  ended = Ended(**{name: dict(by_phase) for name, by_phase in vars(known).items()})
  before = 0
  for number, phase in enumerate(method.phases):
    if phase.name not in ended.variables:
      initial = phase.begin(ended.variables, look_of(work, phase)) if phase.begin else None
      training = problem(work, method, number, initial)
      label, evaluation = phase_name(name, phase), ()
      if phase.name in checks:
        answers = answers_of(work, method, phase)
        due = max(1, math.ceil(training.num_steps / checks[phase.name]))
        evaluation = loop.Evaluation(_measure(work, method, phase, answers), due)
        ended.answers[phase.name] = answers
      state = loop.fit(run, label, training, evaluate=evaluation)
      ended.variables[phase.name] = _on_host(work, method, state)
      ended.seconds[phase.name] = run.timing(label).get('seconds', 0.0)
      if phase.name in checks:
        ended.checks[phase.name] = scoring.checked(run.history(label), before)
    before += phase.epochs * _epoch_steps(work, phase)
  return ended


def checks_of(work: Work, method: Method) -> dict[str, int]:
  """Returns how often each phase whose networks answer is checked: as many times in all as the
  config asks for, shared out by the phases' lengths."""
  scored = [phase for phase in method.phases if phase.scored]
  epochs = sum(phase.epochs for phase in scored)
  checks = work.fields.learning.checks
  return {phase.name: max(1, round(checks * phase.epochs / epochs)) for phase in scored}


def look_of(work: Work, phase: Phase) -> Looking:
  """Returns what answers for the parts of a phase."""
  return Looking(phase.game, sets(work))


def phase_name(name: str, phase: Phase) -> str:
  """Returns how a run calls a phase of a method."""
  return f'{name}.{phase.name}'


def problems(work: Work, method: Method) -> Iterator[tuple[str, Problem]]:
  """Yields the trainings of a method from fresh weights, for estimates."""
  for number, phase in enumerate(method.phases):
    yield phase.name, problem(work, method, number, None)


def problem(work: Work, method: Method, number: int, initial: Mapping[str, Any] | None) -> Problem:
  """Returns the training of phase `number`, ready for the loop or for an estimate."""
  phase = method.phases[number]
  epoch_steps = _epoch_steps(work, phase)
  training = players.problem(
    phase.game,
    sets(work)[phase.on],
    work.recipe.changed(batch=phase.batch),
    tables=phase.tables,
    views=phase.views or work.views({'images': work.weak}),
    networks=work.fields.learning.seeds * method.members,
    seed=(work.fields.seed + number * _PHASES_APART) % errors.SEEDS,
    num_steps=phase.epochs * epoch_steps,
    mesh=work.mesh,
    initial=initial,
    drawn=phase.rows,
  )
  refresh = None
  if phase.refresh is not None:
    function = _refreshed(phase, look_of(work, phase))
    refresh = Refresh(function, phase.every * epoch_steps, phase.first * epoch_steps)
  return dataclasses.replace(training, epoch_steps=epoch_steps, refresh=refresh)


def _epoch_steps(work, phase):
  recipe = work.recipe.changed(batch=phase.batch)
  return recipe.epoch_steps(len(sets(work)[phase.on]))


def sets(work: Work) -> dict[str, Any]:
  """Returns the examples that there are, by name."""
  listed = {'train': work.train, 'validation': work.validation, 'trusted': work.trusted}
  return {name: work.examples(one) for name, one in listed.items() if one is not None}


def _on_host(work, method, state):
  """The variables of the networks of a state as numpy arrays, without those that only fill up the
  devices."""
  networks = work.fields.learning.seeds * method.members
  return parallel.on_host(state.scored, slice(networks))


def believed_of_seeds(believed: Believed, seeds: int, members: int) -> Believed:
  """Returns beliefs a seed, the mean over its members, of those of all networks; what is one a seed
  stays."""

  def per_seed(array):
    if array is None:
      return None
    array = np.asarray(array)
    if len(array) == seeds:
      return array
    array = array.reshape(seeds, members, *array.shape[1:])
    return array.all(1) if array.dtype == bool else array.mean(1)

  fields = {item.name: getattr(believed, item.name) for item in dataclasses.fields(Believed)}
  return Believed(**{name: per_seed(array) for name, array in fields.items()})


def _refreshed(phase, look):
  """What the loop does with a state between two steps."""

  def refresh(state):
    variables = parallel.on_host(state.variables)
    beliefs = phase.refresh(variables, look, int(state.step))
    placed = {
      name: jax.tree.map(_in_place_of, state.variables[BELIEFS][name], tree)
      for name, tree in beliefs.items()
    }
    merged = {**state.variables[BELIEFS], **placed}
    return state.replace(variables={**state.variables, BELIEFS: merged})

  return refresh


def _in_place_of(leaf, values):
  """New values where an array lies, in its type."""
  values = np.asarray(values, leaf.dtype)
  if values.shape != leaf.shape:
    raise ValueError(f'A refresh gave {values.shape} in place of {leaf.shape}.')
  placed = jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: values[index])
  return jnp.asarray(placed)


def answers_of(work: Work, method: Method, phase: Phase) -> Answers:
  """Returns what the networks of a phase answer to whole sets."""
  answer = answer_of(method, phase.game, work.is_multilabel)
  return Answers(answer, method.members, work.fields.learning.seeds)


def _neighbours(work, method, phase, variables):
  """The accuracy of a vote of neighbours in an embedding, [seeds], the mean over members."""
  forward = looking.answering(phase.game.parts[NET].module)
  of_part = outputs.part_variables(variables, NET)
  learned, tested = (
    looking.over_set(forward, of_part, work.examples(one))[phase.embedding]
    for one in (work.train, work.test)
  )
  labels = work.evidence.labels
  accuracies = [
    knn.knn_accuracy(
      train,
      labels,
      test,
      work.test.labels,
      min(_NEIGHBOURS, len(labels)),
      classes=work.evidence.classes,
    )
    for train, test in zip(learned, tested)
  ]
  return np.reshape(accuracies, (-1, method.members)).mean(1)


def _measure(work, method, phase, answers):
  """What a check asks of a state of a phase."""
  look, selects = look_of(work, phase), any(one.chosen for one in method.phases)

  def chosen(state):
    if phase.chosen is None:
      return np.ones((work.fields.learning.seeds, len(work.train)), bool)
    rows = phase.chosen(_on_host(work, method, state), look)
    believed = Believed(confident=rows)
    return believed_of_seeds(believed, work.fields.learning.seeds, method.members).confident

  def measure(state):
    asked = {
      split: answers(state.scored, examples)
      for split, examples in (('test', work.examples(work.test)), *_scored_sets(work))
    }
    return scoring.measure(work, asked, chosen(state) if selects else None)

  return measure


def _scored_sets(work):
  known = sets(work)
  return [(split, known[split]) for split in ('train', 'validation') if split in known]

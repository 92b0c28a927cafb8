"""What the tasks of this family do with their work: get a teacher, and take the students of a
method through its stages, each a phase of the one loop."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill.data.examples import Examples
from jaxdistill.data.paired import LOW, NATIVE, PairedViews
from jaxdistill.distillation import keeping, seeing, teachers
from jaxdistill.distillation.method import TEACHER, Method, Stage
from jaxdistill.distillation.teachers import Teacher
from jaxdistill.distillation.work import Work
from jaxdistill.errors import unknown
from jaxdistill.numerics import settled
from jaxdistill.training import hosts, loop, parallel, players, pretrained, scorer
from jaxdistill.training.players import Game
from jaxdistill.training.problem import Problem
from jaxdistill.training.run import Run


class Students(NamedTuple):
  """R students of one method.

  variables: leading axis R. steps: [k] of the checks. test, validation: accuracies [k, R] at them;
    validation None where nothing is held out. seconds: that all stages took.
  """

  variables: Any
  steps: np.ndarray
  test: np.ndarray
  validation: np.ndarray | None
  seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class Flow:
  """Where the students of a method stand between two stages.

  Attributes:
    work: what the run works on.
    teacher: frozen.
    method: with its stages.
    ended: variables of every part after each stage that has ended, by its name, leading axis R.
  """

  work: Work
  teacher: Teacher
  method: Method
  ended: Mapping[str, Any]

  @property
  def guides(self) -> dict[str, Teacher]:
    """The teacher and the further guides of the method, by name."""
    return {TEACHER: self.teacher, **self.method.guides}

  @functools.cached_property
  def views(self) -> PairedViews:
    """Those of the students and of all guides."""
    further = self.method.guides
    return self.work.views_with(further) if further else self.work.paired

  @property
  def labels(self) -> np.ndarray:
    """Of the students' images, int [N]."""
    return self.work.train.labels

  def features(
    self,
    name: str,
    view: str = '',
    outputs: Sequence[str] = ('embedding',),
  ) -> dict[str, np.ndarray]:
    """Returns what a network sees in every image of the students, float32 [N, ...] by output: in
    eval mode and without augmentation.

    A table of images is one for all students side by side; so of a part that they trained each for
    itself, that of the first counts.

    Args:
      name: 'teacher', a further guide, or a part of an earlier stage that reads a view.
      view: that a part reads; '': its own. A guide's is what it always reads.
      outputs: their names.

    Raises:
      UserError: a part, an output or a view that does not exist.
    """
    train = self.work.train
    if name in self.guides:
      guide = self.guides[name]
      seen = self.work.teacher_seeing(guide)
      return seeing.outputs(seen, guide.variables, train.images, outputs)
    stage = self._stage_of(name)
    part = stage.parts[name]
    view = view or part.view
    if view not in (NATIVE, LOW)[: 1 + bool(self.work.fields.distillation.low)]:
      raise unknown('view', view, self.work.paired.names)
    variables = players.part_variables(self.ended[stage.name], name)
    first = jax.tree.map(lambda leaf: np.asarray(leaf)[0], variables)
    return seeing.outputs(self.work.seeing(part.module, view), first, train.images, outputs)

  def _stage_of(self, part: str) -> Stage:
    stages = [stage for stage in self.method.stages if stage.name in self.ended]
    named = [stage for stage in stages if part in stage.parts]
    if not named:
      known = set().union(*(stage.parts for stage in stages))
      raise unknown('part of an earlier stage', part, {*self.guides, *known})
    return named[-1]


@settled()
def get_teacher(run: Run, work: Work) -> Teacher:
  """Returns the teacher of a run: given, trained, or read back."""
  if work.given is not None:
    return work.given
  return teachers.train(
    run,
    work.training,
    work.taught,
    work.teacher_test,
    mesh=work.mesh,
    directory=pretrained.directory(run, work.fields.run.experts),
  )


def is_trained(run: Run, work: Work) -> bool:
  """Whether nothing is left of the teacher's training."""
  directory = pretrained.directory(run, work.fields.run.experts)
  # The first process alone knows of the folder.
  return work.given is not None or hosts.first(
    'kept teacher',
    lambda: teachers.are_kept(directory, work.training, work.taught, work.teacher_test),
  )


@settled()
def students(run: Run, work: Work, teacher: Teacher, method: Method, name: str) -> Students:
  """Takes the students through all stages of a method.

  A run that is killed and started again takes the ended stages from their checkpoints, computes
  what lies between them once more, and so ends bit for bit the same.

  Args:
    run: keeps metrics and checkpoints under the phases NAME/STAGE.
    work, teacher, method: see `Flow`.
    name: of the method in the table.

  Raises:
    UserError: a loss that is not finite.
  """
  flow, seconds = Flow(work, teacher, method, {}), 0.0
  for stage, phase in zip(method.stages, phases_of(method, name), strict=True):
    last = stage is method.stages[-1]
    problem = stage_problem(flow, stage)
    evaluate = _evaluation(work, method, problem.num_steps) if last else ()
    state = loop.fit(run, phase, problem, evaluate=evaluate)
    seconds += run.timing(phase).get('seconds', 0.0)
    flow = dataclasses.replace(flow, ended={**flow.ended, stage.name: on_host(work, state)})
  checks = scorer.checked(run.history(f'{name}/{method.stages[-1].name}'), _splits(work))
  variables = players.part_variables(flow.ended[method.stages[-1].name], method.student)
  return Students(variables, checks['steps'], checks['test'], checks.get('validation'), seconds)


def phases_of(method: Method, name: str) -> list[str]:
  """Returns the names of the phases of a run that a method's stages are, in their order."""
  return [f'{name}/{stage.name}' for stage in method.stages]


def stage_problem(flow: Flow, stage: Stage) -> Problem:
  """Returns one stage, ready for the loop or for an estimate."""
  work, asked = flow.work, flow.work.fields.distillation
  game = stage_game(flow, stage)
  tables = dict(stage.tables(flow)) if stage.tables else {}
  guides = {name: flow.guides[name].variables for name in game.guides}
  if guides and flow.views.variants is not None:
    tables |= keeping.outputs(work, flow.views, flow.guides, game, tables)
  return players.problem(
    game,
    Examples.of(work.train),
    work.recipe,
    guide_variables=guides,
    tables=tables,
    views=flow.views.train,
    networks=asked.seeds,
    seed=work.fields.seed,
    num_steps=max(1, round(stage.share * work.steps)),
    mesh=work.mesh,
    batches=asked.batches,
    initial=_initial(flow, stage),
  )


def stage_game(flow: Flow, stage: Stage) -> Game:
  """Returns the parts, players and guides of one stage.

  Raises:
    UserError: a guide that does not exist.
  """
  guides = {}
  for name in stage.guides:
    if name not in flow.guides:
      raise unknown('guide', name, flow.guides)
    statistics = flow.work.fields.teaching.normalisation if name == TEACHER else 'running'
    view = name if name in flow.views.names else NATIVE
    guides[name] = flow.guides[name].part(statistics, view)
  return Game(stage.parts, stage.players, guides, in_turn=stage.in_turn)


def _initial(flow: Flow, stage: Stage) -> dict[str, Any] | None:
  """What parts start with that earlier stages have left, leading axis R."""
  initial = {}
  for part, source in stage.start.items():
    for collection, tree in players.part_variables(flow.ended[source], part).items():
      initial.setdefault(collection, {})[part] = tree
  return initial or None


def on_host(work: Work, state: Any) -> Any:
  """Returns the variables of the real students of a state, as numpy arrays: those that are scored,
  with the averaged weights where there are any."""
  seeds = work.fields.distillation.seeds
  return parallel.on_host(state.scored, slice(seeds))


def _splits(work: Work) -> dict[str, Any]:
  splits = {'test': work.test}
  return splits if work.validation is None else {**splits, 'validation': work.validation}


def _evaluation(work: Work, method: Method, num_steps: int) -> loop.Evaluation:
  """The checks of the students' accuracy while they train."""
  seeds = work.fields.distillation.seeds
  student = work.seeing(method.stages[-1].parts[method.student].module, work.student_view)
  scorers = {}
  for split, images in _splits(work).items():
    scorers[split] = scorer.Scorer(student, work.unit_examples(images))

  def measure(state):
    variables = players.part_variables(state.scored, method.student)
    return scorer.reported({split: score(variables)[:seeds] for split, score in scorers.items()})

  return loop.Evaluation(measure, max(1, math.ceil(num_steps / work.fields.distillation.checks)))

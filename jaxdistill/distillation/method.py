"""What a distillation method is: the phases that lead to a student, each with its networks and what
they learn.

A method's file has one function, (pair, *, fields with defaults) -> Method, which knows the teacher
and the student by their forms alone. What is trained how belongs to `training.players`; when, on
which images and from what it starts stands here.
"""

import dataclasses
import itertools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from jaxdistill.distillation.teachers import Teacher
from jaxdistill.errors import UserError, brief
from jaxdistill.training.players import Part, Player
from jaxdistill.training.run import check_name

# Names of the student's part and of the guide in every game of this family.
STUDENT, TEACHER = 'student', 'teacher'


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
  """A teacher and a student, and the training that lies before them: all that a method is made for.

  Attributes:
    student: the network, without weights; it gives (logits, features).
    student_form: its outputs of one image on its view by name: 'logits' [1, C], 'embedding' [1, d],
      'stage1' [1, h, w, c] ...
    teacher_form: likewise of the teacher on native images.
    teacher: the network; None: a function is the teacher, of which the form alone is known.
    num_classes: C.
    images: N, of the training set.
    labels: int [N], its classes.
    batch: images a step.
    steps: of the recipe.
    epoch_steps: steps of one of the recipe's epochs, a pass over all images, whatever the share of
      them that the students see.
    low: side of the student's images before they are shown; 0: native.
    student_view: the view that the student reads, one of `views`.
    views: that a step computes: 'images', native, and 'low' where the student reads smaller ones.
    optimizer: steps -> the recipe's optimiser over so many steps.
    assistant: a network between the two, which reads native images.
    assistant_form: its outputs of one native image; None: they have the student's form.
    teacher_variables: of the teacher's network; None: a function is the teacher.
    other_classes: what tells the teacher's classes from the student's; '': they are the same.
    form_of: guide -> its outputs of one image of the students, by name, as shapes; of a further
      guide, see `Method`.
  """

  student: nn.Module
  student_form: Mapping[str, jax.ShapeDtypeStruct]
  teacher_form: Mapping[str, jax.ShapeDtypeStruct]
  teacher: nn.Module | None
  num_classes: int
  images: int
  labels: np.ndarray
  batch: int
  steps: int
  epoch_steps: int
  low: int
  student_view: str
  views: tuple[str, ...]
  optimizer: Callable[[int], optax.GradientTransformation]
  assistant: nn.Module
  assistant_form: Mapping[str, jax.ShapeDtypeStruct] | None = None
  teacher_variables: Mapping[str, Any] | None = None
  other_classes: str = ''
  form_of: Callable[[Teacher], Mapping[str, jax.ShapeDtypeStruct]] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
  """One phase of a method: a phase of the training loop.

  Attributes:
    name: of the phase, such as 'assistant' or 'student'; no two of a method share one.
    parts: the networks by name, in the order of computing.
    players: who trains which of them for what.
    guides: the frozen networks beside them that all students share, by name: 'teacher', and those
      of the method's `guides`.
    start: part -> the earlier stage whose final part of this name it starts from, to be trained on,
      or to stay as it is where no player trains it.
    tables: flow (`flow.Flow`) -> arrays [N, ...] by name, computed before the stage from its
      images: further entries of the batch; None: none.
    share: of the recipe's steps.
    in_turn: whether the players move one after the other in a step, see `players.Game`.
  """

  name: str
  parts: Mapping[str, Part]
  players: tuple[Player, ...]
  guides: tuple[str, ...] = (TEACHER,)
  start: Mapping[str, str] = dataclasses.field(default_factory=dict)
  tables: Callable[[Any], Mapping[str, np.ndarray]] | None = None
  share: float = 1.0
  in_turn: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
  """A way to distil.

  Attributes:
    stages: in their order; the last one leaves the student.
    student: the part that is the student.
    reconstruction: whether it follows a paper that could not be read whole, so that some of it is
      our choice.
    label: for tables; '': that of its name.
    guides: further guides beside the teacher, by the names under which stages and terms see them:
      what `load_teacher` or `of_function` returns, best once for all methods that are made. Each
      reads the native crop at a size and under statistics of its own; a network normalises its
      batches by its running statistics.

  Raises:
    UserError: stages of one name or of a name that no phase can have; a guide that is none, whose
      name is not its own, or that nothing can ask for.
  """

  stages: tuple[Stage, ...]
  student: str = STUDENT
  reconstruction: bool = False
  label: str = ''
  guides: Mapping[str, Teacher] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    names = [stage.name for stage in self.stages]
    for name in map(check_name, names):
      if names.count(name) > 1:
        raise UserError(
          f'Two stages of the method are called {name!r}; each needs a name of its own.'
        )
    parts: dict[str, Collection[str]] = {}
    for stage in self.stages:
      for part, source in stage.start.items():
        if part not in parts.get(source, ()):
          raise UserError(
            f'The part {part!r} of the stage {stage.name!r} starts from a stage {source!r}, but no '
            f'earlier stage of that name has it; earlier ones: {", ".join(parts) or "none"}.'
          )
      parts[stage.name] = stage.parts
    for name, guide in self.guides.items():
      if not name.isidentifier() or name == TEACHER:
        raise UserError(
          f'A further guide is called by letters, digits and _, and not {TEACHER!r}; got {name!r}.'
        )
      if not isinstance(guide, Teacher):
        raise UserError(
          f'The guide {name!r} is to be what load_teacher or of_function returns; got '
          f'{brief(repr(guide))}.'
        )
      if not any(name in stage.guides or stage.tables for stage in self.stages):
        raise UserError(f'No stage of the method names its guide {name!r}; put it in Stage.guides.')

  @property
  def has_live_teacher(self) -> bool:
    """Whether a teacher is trained beside the student, so that the frozen one does not teach."""
    players = itertools.chain.from_iterable(stage.players for stage in self.stages)
    return any(TEACHER in player.trains for player in players)

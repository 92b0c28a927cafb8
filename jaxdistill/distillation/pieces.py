"""What a term of a student's loss brings along, and how the features that it compares are chosen by
name.

A network names its maps 'stage1', 'stage2' ... behind their last ReLU, 'stage1_pre' ... before it,
'stem' what the first stage reads, and 'embedding' what the classifier reads. One that has 'block1'
... in place of stages is read alike.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.distillation.method import STUDENT, TEACHER, Pair, Stage
from jaxdistill.losses import rows
from jaxdistill.models import adapters
from jaxdistill.training.players import Part, Player, Scene, Term

CLASSIFIER = f'{STUDENT}/classifier'
# Of the recipe's steps, for the phase that comes before the student's own: 30 epochs of 240.
FIRST_SHARE = 0.125
# Of the recipe by which the published warm-ups are given, `recipes.RECIPES['crd240']`.
EPOCHS = 240


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
  """What one term by name brings to the training of a student.

  Attributes:
    terms: of the student's player; they report under the name of the term.
    parts: adapters beside the student, which its player trains, by name. One that is also a part of
      the first stage starts as that has left it, and stays so.
    first: a stage before the student's own; None: there is none. Where the student is a part of it,
      it starts as that has left it.
  """

  terms: tuple[Term, ...] = ()
  parts: Mapping[str, Part] = dataclasses.field(default_factory=dict)
  first: Stage | None = None


def weighted(
  pair: Pair, name: str, loss: Callable, weight: float, warmup: int = 0, memory=None
) -> Term:
  """Returns a term whose weight rises linearly at the beginning.

  In epoch e, from 1, it is weight * min(e / warmup, 1). In a training of fewer than 240 epochs e
  counts 240th parts of it: a warm-up of 20 epochs, meant for 240, is a twelfth of any shorter
  training, which would else end within it.

  Args:
    pair: for the steps of an epoch and of the training.
    name: of the term.
    loss, memory: see `players.Term`.
    weight: at the end.
    warmup: epochs of 240; 0: the weight is there from the start.

  Raises:
    UserError: for a weight that is no number, or a warm-up that is no whole one.

  Source: the rise by the epoch is that of mdistiller; the share of a shorter training is our
  choice.

  >>> import types
  >>> short = types.SimpleNamespace(steps=120, epoch_steps=40)  # 3 epochs: half a step a part
  >>> weight = weighted(short, 'dkd', None, 6.0, warmup=20).weight
  >>> [round(float(weight(step)), 2) for step in (0, 1, 5, 10, 119)]
  [0.3, 0.9, 3.3, 6.0, 6.0]
  """
  errors.real_numbers(weight=weight)
  errors.whole('warmup', warmup)
  length = max(1, min(pair.steps, EPOCHS * pair.epoch_steps))

  def schedule(step):
    # What is long past does not leave the whole numbers of 32 bits.
    step = jnp.minimum(step, -(-warmup * length // EPOCHS))
    epoch = EPOCHS * step // length + 1
    return weight * jnp.minimum(epoch / warmup, 1.0)

  return Term(name, loss, schedule if warmup else float(weight), memory)


def is_published(number: float) -> bool:
  """Whether a field asks for the number that is published for the student: one below 0."""
  errors.real_numbers(weight=number)
  return number < 0


def check_momentum(momentum: float) -> None:
  """Raises `UserError` for a momentum by which a memory would not follow the features.

  >>> check_momentum(7)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: momentum is 7; it is from 0 to below 1, the share of what a ...
  """
  errors.real_numbers(momentum=momentum)
  if not 0 <= momentum < 1:
    raise errors.UserError(
      f'momentum is {momentum}; it is from 0 to below 1, the share of what a memory keeps.'
    )


def labels(scene: Scene) -> jax.Array:
  """Returns the classes of the rows, int [n]; of a mixed image the class of its larger share."""
  return jnp.argmax(scene.batch['labels'], -1)


def first_stage(
  pair: Pair,
  name: str,
  parts: Mapping[str, Part],
  trains: tuple[str, ...],
  terms: tuple[Term, ...],
  share: float,
) -> Stage:
  """Returns a stage before the student's own, of one player, which leaves the student's classifier
  alone.

  Args:
    pair: whose recipe it follows, over the share of its steps.
    name: of the stage.
    parts: its networks.
    trains: those that are trained.
    terms: what for.
    share: of the recipe's steps.
  """
  errors.real_numbers(share=share)
  if share <= 0:
    raise errors.UserError(f'The share of the steps of the phase {name} is {share}, not above 0.')
  steps = max(1, round(share * pair.steps))
  frozen = (CLASSIFIER,) if STUDENT in trains else ()
  player = Player(name, trains, terms, pair.optimizer(steps), frozen)
  return Stage(name, parts, (player,), share=share)


def student_part(pair: Pair) -> Part:
  """Returns the student as a part."""
  return Part(pair.student, view=pair.student_view)


def regressors(
  pair: Pair, name: str, pairs: Sequence[tuple[str, str]], relu: bool = True
) -> dict[str, Part]:
  """Returns one regressor to the teacher's map a stage, by name and number."""
  parts = {}
  for number, (student, teacher) in enumerate(pairs, 1):
    *size, channels = form(pair, TEACHER, teacher)
    module = adapters.Regressor(channels, tuple(size), relu)
    parts[f'{name}{number}'] = Part(module, reads=reading(STUDENT, student))
  return parts


def projections(
  pair: Pair, name: str, pairs: Sequence[tuple[str, str]]
) -> tuple[dict[str, Part], list[Callable[[Scene], jax.Array]]]:
  """Returns projections to the teacher's width of those features that need one, by name and number,
  and how every one of the student's features, projected, is read from a scene."""
  parts, reads = {}, []
  for number, (student, teacher) in enumerate(pairs, 1):
    width = form(pair, TEACHER, teacher)[-1]
    if form(pair, STUDENT, student)[-1] == width:
      reads.append(_output(STUDENT, student))
      continue
    part = f'{name}{number}'
    parts[part] = Part(adapters.Projection(width), reads=reading(STUDENT, student))
    reads.append(_output(part, 'output'))
  return parts, reads


def embeddings(
  pair: Pair, name: str, width: int, student: str, teacher: str, unit: bool = False
) -> dict[str, Part]:
  """Returns trained embeddings of a feature of either network, the student's first.

  Args:
    pair: whose features.
    name: before the names of the parts.
    width: numbers of an embedding.
    student, teacher: names of the features.
    unit: whether embeddings have length 1.

  Raises:
    UserError: a feature that does not exist, or no width.
  """
  errors.whole('width', width, at_least=1)
  vectors(pair, student, teacher)
  return {
    f'{name}_student': Part(adapters.Embedding(width, unit), reads=reading(STUDENT, student)),
    f'{name}_teacher': Part(adapters.Embedding(width, unit), reads=reading(TEACHER, teacher)),
  }


def averaged(name: str, height: int, width: int) -> Callable[[Scene], tuple]:
  """Returns what makes a map of the student's the argument of an adapter, averaged down to a size
  if it is larger."""

  def reads(scene):
    maps = scene[STUDENT][name]
    return (rows.pooled(maps, min(maps.shape[1], height), min(maps.shape[2], width)),)

  return reads


def _output(part, name):
  return lambda scene: scene[part][name]


def reading(part: str, *names: str) -> Callable[[Scene], tuple]:
  """Returns what makes some outputs of a part the arguments of an adapter."""
  return lambda scene: tuple(scene[part][name] for name in names)


def form(pair: Pair, side: str, name: str) -> tuple[int, ...]:
  """Returns the shape of a feature of the student or the teacher for one image, without its row.

  Raises:
    UserError: a feature that the network does not give, with those that it gives.
  """
  outputs = pair.student_form if side == STUDENT else pair.teacher_form
  if name not in outputs:
    raise errors.unknown(f'feature of the {side}', name, outputs)
  return tuple(outputs[name].shape[1:])


def check_classes(pair: Pair, label: str) -> None:
  """Raises `UserError` where student and teacher do not tell the same classes apart."""
  student, teacher = (form(pair, side, 'logits')[-1] for side in (STUDENT, TEACHER))
  differ = pair.other_classes
  if student != teacher and not differ:
    differ = f'the student has {student} of them and the teacher {teacher}'
  if differ:
    raise errors.UserError(
      f'{label} compares logits of the same classes; {differ}: take a teacher of these classes, or '
      'a method that compares features alone.'
    )


def vectors(pair: Pair, student: str, teacher: str) -> tuple[int, int]:
  """Returns how many numbers the chosen features of both networks have, flattened.

  Raises:
    UserError: a feature that does not exist.
  """
  sizes = []
  for side, name in ((STUDENT, student), (TEACHER, teacher)):
    size = 1
    for length in form(pair, side, name):
      size *= length
    sizes.append(size)
  return sizes[0], sizes[1]


def last_maps(pair: Pair, label: str, student: str = '', teacher: str = '') -> tuple[str, str]:
  """Returns the names of one map of either network; '' is the last stage."""
  (chosen,) = stages(pair, label, _tuple(student), _tuple(teacher), last=1)
  return chosen


def stages(
  pair: Pair,
  label: str,
  student: Sequence[str] = (),
  teacher: Sequence[str] = (),
  *,
  last: int = 0,
  least: int = 1,
  stem: bool = False,
  before_relu: tuple[str, ...] = (),
) -> list[tuple[str, str]]:
  """Returns the names (student's, teacher's) of the maps that are compared, in their order.

  Where a side has more stages than the other one, its last ones count. A teacher of whom nothing is
  said has the student's names, if it has them all.

  Args:
    pair: whose.
    label: of the method, for messages.
    student, teacher: names; () for all stages.
    last: so many of the stages at most; 0: all.
    least: so many there must be.
    stem: whether the stem comes before them.
    before_relu: the sides whose maps are those before the ReLU, where nothing is said.

  Raises:
    UserError: a feature that does not exist or is no map, two numbers of names, or a network that
      has none or too few.
  """
  if student and not teacher and all(name in pair.teacher_form for name in student):
    teacher = student
  chosen = []
  for side, names in ((STUDENT, tuple(student)), (TEACHER, tuple(teacher))):
    names = names or _usual(pair, side, label, stem, side in before_relu)
    for name in names:
      if len(form(pair, side, name)) != 3:
        raise errors.UserError(
          f'{label} compares maps [h, w, c]; the feature {name!r} of the {side} has the shape '
          f'{form(pair, side, name)}.'
        )
    chosen.append(names)
  if student and teacher and len(student) != len(teacher):
    raise errors.UserError(
      f'{label} compares feature by feature; got {len(student)} names of the student and '
      f'{len(teacher)} of the teacher.'
    )
  number = min(map(len, chosen)) if not last else min(*map(len, chosen), last)
  if number < least:
    raise errors.UserError(
      f'{label} compares {least} maps of a network or more; {", ".join(chosen[0])} of the student '
      f'and {", ".join(chosen[1])} of the teacher are too few.'
    )
  return list(zip(*(names[-number:] for names in chosen)))


def _usual(pair, side, label, stem, before_relu):
  """All stages of a network, and its stem."""
  outputs = pair.student_form if side == STUDENT else pair.teacher_form
  ending = '_pre' if before_relu else ''
  for word in ('stage', 'block'):
    names = [name for name in outputs if re.fullmatch(rf'{word}\d+{ending}', name)]
    names = [name for name in names if len(form(pair, side, name)) == 3]
    if names:
      names.sort(key=lambda name: int(re.sub(r'\D', '', name)))
      return (*(['stem'] if stem and 'stem' in outputs else []), *names)
  kind = 'maps before their ReLU, such as stage1_pre' if before_relu else 'maps, such as stage1'
  raise errors.UserError(
    f'{label} compares {kind}; the {side} gives none, but {", ".join(sorted(outputs))}.'
  )


def _tuple(name):
  return (name,) if name else ()

"""Terms with a phase of their own before the student's: AB and FSP, after which the student has but
to learn the labels, and FT, whose paraphraser learns the teacher's maps.

`share` is that phase's of the recipe's steps; it follows the recipe over them (the public code
keeps the learning rate).
`warmup` is that of `pieces.weighted`, in epochs of 240.
"""

from jaxdistill import errors, losses
from jaxdistill.distillation.method import Pair
from jaxdistill.distillation.pieces import (
  FIRST_SHARE,
  STUDENT,
  TEACHER,
  Piece,
  first_stage,
  form,
  last_maps,
  projections,
  reading,
  regressors,
  stages,
  student_part,
  weighted,
)
from jaxdistill.losses import rows
from jaxdistill.models import adapters
from jaxdistill.training.players import Part, Term


def ab(
  pair: Pair,
  *,
  weight: float = 1.0,
  margin: float = 1.0,
  share: float = FIRST_SHARE,
  student: tuple[str, ...] = (),
  teacher: tuple[str, ...] = (),
) -> Piece:
  """AB: the student's body, with connectors where shapes differ, learns on which side of 0 the
  teacher's neurons are, in all stages before their ReLU."""
  pairs = stages(pair, 'AB', student, teacher, before_relu=(STUDENT, TEACHER))
  unequal = [
    names for names in pairs if form(pair, STUDENT, names[0]) != form(pair, TEACHER, names[1])
  ]
  connectors = regressors(pair, 'ab_connector', unequal, relu=False)
  connected = dict(zip(unequal, connectors))

  def loss(scene):
    maps, goals = [], []
    for names in pairs:
      part = connected.get(names)
      connected_maps = scene[part]['output'] if part else scene[STUDENT][names[0]]
      of_student, of_teacher = rows.of_one_size(connected_maps, scene[TEACHER][names[1]])
      maps.append(of_student)
      goals.append(of_teacher)
    return losses.ab(maps, goals, margin, scene.batch['weight'])

  term = weighted(pair, 'ab', loss, weight)
  parts = {STUDENT: student_part(pair), **connectors}
  return Piece(first=first_stage(pair, 'ab', parts, (STUDENT, *connectors), (term,), share))


def fsp(
  pair: Pair,
  *,
  weight: float = 1.0,
  share: float = FIRST_SHARE,
  student: tuple[str, ...] = (),
  teacher: tuple[str, ...] = (),
) -> Piece:
  """FSP: the student's body learns the teacher's flow from the stem on and from stage to stage;
  where channels differ its maps go through a 1x1 convolution (our choice)."""
  pairs = stages(pair, 'FSP', student, teacher, stem=True, least=2)
  parts, reads = projections(pair, 'fsp_projection', pairs)

  def loss(scene):
    projected = [read(scene) for read in reads]
    goals = [scene[TEACHER][name] for _, name in pairs]
    return losses.fsp(projected, goals, scene.batch['weight'])

  term = weighted(pair, 'fsp', loss, weight)
  trained = {STUDENT: student_part(pair), **parts}
  return Piece(first=first_stage(pair, 'fsp', trained, tuple(trained), (term,), share))


def ft(
  pair: Pair,
  *,
  weight: float = 200.0,
  warmup: int = 0,
  factors: float = 0.5,
  power: int = 1,
  share: float = FIRST_SHARE,
  student: str = '',
  teacher: str = '',
) -> Piece:
  """FT: the student's translator learns the factors of the teacher's last maps, of which there are
  `factors` times as many as channels."""
  errors.positive_numbers(factors=factors)
  student, teacher = last_maps(pair, 'FT', student, teacher)
  number = max(1, int(form(pair, TEACHER, teacher)[-1] * factors))
  paraphraser = Part(adapters.Paraphraser(number), reads=reading(TEACHER, teacher))
  translator = Part(adapters.Translator(number), reads=reading(STUDENT, student))
  name = 'ft_paraphraser'

  def reconstruction(scene):
    return losses.fitnet(scene[name]['output'], scene[TEACHER][teacher], scene.batch['weight'])

  def loss(scene):
    factors = scene['ft_translator']['output'], scene[name]['factor']
    return losses.ft(*factors, power, scene.batch['weight'])

  terms = (Term('reconstruction', reconstruction),)
  return Piece(
    (weighted(pair, 'ft', loss, weight, warmup),),
    {name: paraphraser, 'ft_translator': translator},
    first_stage(pair, name, {name: paraphraser}, (name,), terms, share),
  )

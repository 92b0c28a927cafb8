"""Terms that compare maps stage by stage: FitNet, AT, NST, VID, ReviewKD and OFD; and KDSVD, which
compares what one stage is to the next.

`student` and `teacher` are the names of the features that are compared; () for those of the paper.
`warmup` is that of `pieces.weighted`, in epochs of 240.
"""

import jax.numpy as jnp

from jaxdistill import losses
from jaxdistill.distillation.method import Pair
from jaxdistill.distillation.pieces import (
  STUDENT,
  TEACHER,
  Piece,
  averaged,
  form,
  is_published,
  projections,
  reading,
  regressors,
  stages,
  weighted,
)
from jaxdistill.distillation.students import published
from jaxdistill.errors import UserError
from jaxdistill.losses import rows
from jaxdistill.models import adapters
from jaxdistill.models.stages import last_norm
from jaxdistill.training.players import Part

# Of ReviewKD by the student, from its paper and mdistiller.
_REVIEW = {
  'resnet20': 0.6,
  'resnet32': 1.0,
  'resnet8x4': 5.0,
  'wrn_16_2': 5.0,
  'wrn_40_1': 5.0,
  'shufflenet_v2': 8.0,
}
_OTHER_REVIEW = 1.0  # our choice


def fitnet(
  pair: Pair,
  *,
  weight: float = 100.0,
  warmup: int = 0,
  student: tuple[str, ...] = (),
  teacher: tuple[str, ...] = (),
) -> Piece:
  """FitNet: the hint of the second stage, through a regressor; of several stages the sum."""
  pairs = stages(pair, 'FitNet', student, teacher)
  if not student and not teacher:
    pairs = pairs[:2][-1:]
  parts = regressors(pair, 'fitnet_regressor', pairs)

  def loss(scene):
    total = 0
    for part, (_, name) in zip(parts, pairs):
      maps = rows.of_one_size(scene[part]['output'], scene[TEACHER][name])
      total += losses.fitnet(*maps, scene.batch['weight'])
    return total

  return Piece((weighted(pair, 'fitnet', loss, weight, warmup),), parts)


def at(
  pair: Pair,
  *,
  weight: float = 1000.0,
  warmup: int = 0,
  student: tuple[str, ...] = (),
  teacher: tuple[str, ...] = (),
) -> Piece:
  """AT: attention maps of all stages."""
  return _of_maps(pair, 'at', 'AT', losses.attention_transfer, student, teacher, weight, warmup)


def nst(
  pair: Pair,
  *,
  weight: float = 50.0,
  warmup: int = 0,
  student: tuple[str, ...] = (),
  teacher: tuple[str, ...] = (),
) -> Piece:
  """NST: the distribution of channels of all stages."""
  return _of_maps(pair, 'nst', 'NST', losses.nst, student, teacher, weight, warmup)


def vid(
  pair: Pair,
  *,
  weight: float = 1.0,
  warmup: int = 0,
  student: tuple[str, ...] = (),
  teacher: tuple[str, ...] = (),
) -> Piece:
  """VID: the likelihood of the teacher's maps of all stages, by a regressor a stage."""
  pairs, parts = stages(pair, 'VID', student, teacher), {}
  for number, (student_name, teacher_name) in enumerate(pairs, 1):
    height, width, channels = form(pair, TEACHER, teacher_name)
    reads = averaged(student_name, height, width)
    parts[f'vid_regressor{number}'] = Part(adapters.VariationalRegressor(channels), reads=reads)

  def loss(scene):
    total = 0
    for part, (_, name) in zip(parts, pairs):
      normal = scene[part]
      arguments = (scene[TEACHER][name], normal['scale'][0], scene.batch['weight'])
      total += losses.vid(normal['mean'], *arguments)
    return total

  return Piece((weighted(pair, 'vid', loss, weight, warmup),), parts)


def reviewkd(
  pair: Pair,
  *,
  weight: float = -1.0,
  warmup: int = 20,
  student: tuple[str, ...] = (),
  teacher: tuple[str, ...] = (),
  embedding: bool = True,
) -> Piece:
  """ReviewKD: maps of all stages, each fused with those behind it, against the teacher's before
  their ReLU, and the embeddings; a weight below 0 is the published one of the student."""
  if is_published(weight):
    weight = published(pair.student, _REVIEW, _OTHER_REVIEW)
  with_pre = any(name.endswith('_pre') for name in pair.teacher_form)
  before = (TEACHER,) if with_pre else ()
  pairs = stages(pair, 'ReviewKD', student, teacher, before_relu=before)
  pairs += [('embedding', 'embedding')] * embedding
  forms = [form(pair, TEACHER, name) for _, name in pairs]
  names = tuple(name for name, _ in pairs)
  fusion = adapters.Fusion(
    names,
    tuple(shape[-1] for shape in forms),
    tuple(shape[:2] if len(shape) == 3 else (1, 1) for shape in forms),
  )

  def loss(scene):
    fused, goals = [], []
    for student_name, teacher_name in pairs:
      fused.append(scene['reviewkd_fusion'][student_name])
      goals.append(scene[TEACHER][teacher_name].reshape(fused[-1].shape))
    return losses.reviewkd(fused, goals, scene.batch['weight'])

  parts = {'reviewkd_fusion': Part(fusion, reads=reading(STUDENT, *names))}
  return Piece((weighted(pair, 'reviewkd', loss, weight, warmup),), parts)


def ofd(
  pair: Pair,
  *,
  weight: float = 0.001,
  warmup: int = 0,
  student: tuple[str, ...] = (),
  teacher: tuple[str, ...] = (),
) -> Piece:
  """OFD: maps of all stages before their ReLU, the student's through connectors, against the
  teacher's above a margin a channel, which the scale and bias of its batch norms tell."""
  pairs = stages(pair, 'OFD', student, teacher, before_relu=(STUDENT, TEACHER))
  if pair.teacher is None or pair.teacher_variables is None:
    raise UserError(
      "OFD takes its margins from the teacher's batch norms; a function has none, take a network."
    )
  parts, margins = {}, []
  for number, (student_name, teacher_name) in enumerate(pairs, 1):
    connector = adapters.Connector(form(pair, TEACHER, teacher_name)[-1])
    parts[f'ofd_connector{number}'] = Part(connector, reads=reading(STUDENT, student_name))
    scale, bias = last_norm(pair.teacher, pair.teacher_variables, teacher_name)
    margins.append(losses.ofd_margin(jnp.asarray(scale), jnp.asarray(bias)))

  def loss(scene):
    maps, goals = [], []
    for part, (_, name) in zip(parts, pairs):
      of_student, of_teacher = rows.of_one_size(scene[part]['output'], scene[TEACHER][name])
      maps.append(of_student)
      goals.append(of_teacher)
    return losses.ofd(maps, goals, margins, scene.batch['weight'])

  return Piece((weighted(pair, 'ofd', loss, weight, warmup),), parts)


def kdsvd(
  pair: Pair,
  *,
  weight: float = 1.0,
  warmup: int = 0,
  vectors: int = 1,
  student: tuple[str, ...] = (),
  teacher: tuple[str, ...] = (),
) -> Piece:
  """KDSVD: leading singular vectors of consecutive stages, `vectors` of them; where channels differ
  the student's go through a 1x1 convolution (our choice)."""
  pairs = stages(pair, 'KDSVD', student, teacher, least=2)
  parts, reads = projections(pair, 'kdsvd_projection', pairs)

  def loss(scene):
    projected = [read(scene) for read in reads]
    goals = [scene[TEACHER][name] for _, name in pairs]
    return losses.kdsvd(projected, goals, vectors, scene.batch['weight'])

  return Piece((weighted(pair, 'kdsvd', loss, weight, warmup),), parts)


def _of_maps(pair, name, label, compare, student, teacher, weight, warmup):
  """A term of a loss of the bare maps of several stages."""
  pairs = stages(pair, label, student, teacher)

  def loss(scene):
    maps = [[], []]
    for student_name, teacher_name in pairs:
      maps[0].append(scene[STUDENT][student_name])
      maps[1].append(scene[TEACHER][teacher_name])
    return compare(*maps, scene.batch['weight'])

  return Piece((weighted(pair, name, loss, weight, warmup),))

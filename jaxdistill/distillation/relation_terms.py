"""Terms that compare what the images of a batch are to each other: SP, CC, RKD, PKT, HORKD and its
orders. The batch is that of all devices.

`student` and `teacher` name one feature each.
`warmup` is that of `pieces.weighted`, in epochs of 240.
"""

from jaxdistill import losses
from jaxdistill.distillation.method import Pair
from jaxdistill.distillation.pieces import (
  STUDENT,
  TEACHER,
  Piece,
  embeddings,
  last_maps,
  projections,
  vectors,
  weighted,
)


def sp(
  pair: Pair, *, weight: float = 3000.0, warmup: int = 0, student: str = '', teacher: str = ''
) -> Piece:
  """SP: similarities of the last maps."""
  student, teacher = last_maps(pair, 'SP', student, teacher)
  return _of_features(pair, 'sp', losses.similarity_preserving, weight, warmup, student, teacher)


def pkt(
  pair: Pair,
  *,
  weight: float = 30000.0,
  warmup: int = 0,
  student: str = 'embedding',
  teacher: str = 'embedding',
) -> Piece:
  """PKT: similarities as probabilities."""
  return _of_features(pair, 'pkt', losses.pkt, weight, warmup, student, teacher)


def rkd(
  pair: Pair,
  *,
  weight: float = 1.0,
  warmup: int = 0,
  distance: float = 25.0,
  angle: float = 50.0,
  student: str = 'embedding',
  teacher: str = 'embedding',
) -> Piece:
  """RKD: distances of pairs and angles of triples, with a weight each."""

  def compare(of_student, of_teacher, weight):
    return losses.rkd(of_student, of_teacher, distance, angle, weight)

  return _of_features(pair, 'rkd', compare, weight, warmup, student, teacher)


def cc(
  pair: Pair,
  *,
  weight: float = 0.02,
  warmup: int = 0,
  width: int = 128,
  student: str = 'embedding',
  teacher: str = 'embedding',
) -> Piece:
  """CC: differences of two trained embeddings of `width` numbers, of consecutive images."""
  parts = embeddings(pair, 'cc', width, student, teacher)

  def loss(scene):
    scene = scene.gathered()
    embedded = [scene[part]['output'] for part in parts]
    return losses.correlation_congruence(*embedded, scene.batch['weight'])

  return Piece((weighted(pair, 'cc', loss, weight, warmup),), parts)


def point(
  pair: Pair,
  *,
  weight: float = 1.0,
  warmup: int = 0,
  student: str = 'embedding',
  teacher: str = 'embedding',
) -> Piece:
  """Order 1 of HORKD: the directions of the features, the student's projected where the teacher's
  are wider or narrower."""
  return _of_features(
    pair, 'point', losses.point_order, weight, warmup, student, teacher, one_width=True
  )


def group(
  pair: Pair,
  *,
  weight: float = 1.0,
  warmup: int = 0,
  temperature: float = 0.1,
  student: str = 'embedding',
  teacher: str = 'embedding',
) -> Piece:
  """Order 4 of HORKD: who stands how near to whom."""

  def compare(of_student, of_teacher, weight):
    return losses.group_order(of_student, of_teacher, temperature, weight)

  return _of_features(pair, 'group', compare, weight, warmup, student, teacher)


def horkd(
  pair: Pair,
  *,
  weight: float = 1.0,
  warmup: int = 0,
  order1: float = 1.0,
  order2: float = 25.0,
  order3: float = 50.0,
  order4: float = 0.0,
  temperature: float = 0.1,
  student: str = 'embedding',
  teacher: str = 'embedding',
) -> Piece:
  """Orders 1 to 4 of HORKD, with a weight each, of a student with one guide; the method of this
  name has an assistant too. Where widths differ order 1 has its features projected, the others take
  them as they are."""
  vectors(pair, student, teacher)
  parts, reads = {}, []
  if order1:
    parts, reads = projections(pair, 'horkd_projection', [(student, teacher)])

  def loss(scene):
    scene = scene.gathered()
    of_teacher, weight = scene[TEACHER][teacher], scene.batch['weight']
    orders = (0.0, order2, order3, order4, temperature)
    total = losses.horkd(scene[STUDENT][student], of_teacher, *orders, weight)
    for read in reads:
      total += order1 * losses.point_order(read(scene), of_teacher, weight)
    return total

  return Piece((weighted(pair, 'horkd', loss, weight, warmup),), parts)


def _of_features(pair, name, compare, weight, warmup, student, teacher, one_width=False):
  """A term of a loss of one feature of either network, of the whole batch."""
  vectors(pair, student, teacher)
  parts, reads = {}, [lambda scene: scene[STUDENT][student]]
  if one_width:
    parts, reads = projections(pair, f'{name}_projection', [(student, teacher)])

  def loss(scene):
    scene = scene.gathered()
    return compare(reads[0](scene), scene[TEACHER][teacher], weight=scene.batch['weight'])

  return Piece((weighted(pair, name, loss, weight, warmup),), parts)

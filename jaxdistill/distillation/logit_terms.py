"""Terms that compare what student and teacher say of the classes: KD, DKD and DIST.

`warmup` is that of `pieces.weighted`, in epochs of 240.
"""

from jaxdistill import losses
from jaxdistill.distillation.method import Pair
from jaxdistill.distillation.pieces import (
  STUDENT,
  TEACHER,
  Piece,
  check_classes,
  is_published,
  labels,
  weighted,
)
from jaxdistill.distillation.students import published

# Of DKD by the student: `configs/cifar100/dkd` of mdistiller.
_BETA = {
  'resnet8x4': 8.0,
  'shufflenet_v1': 8.0,
  'shufflenet_v2': 8.0,
  'wrn_16_2': 6.0,
  'wrn_40_1': 6.0,
  'vgg8': 6.0,
  'mobilenetv2_half': 6.0,
}
_OTHER_BETA = 2.0  # resnet20, resnet32; of other students it is our choice


def kd(
  pair: Pair,
  *,
  weight: float = 1.0,
  warmup: int = 0,
  temperature: float = 4.0,
  standardize: bool = False,
) -> Piece:
  """KD beside other terms; alone it goes with weight 0.9 and 0.1 for the labels.

  `standardize` both logits first, for which Sun et al. (CVPR 2024) take weight 9 and temperature 2.
  """
  check_classes(pair, 'KD')

  def loss(scene):
    weight = scene.batch['weight']
    return losses.kd(*_logits(scene), temperature, weight, standardize)

  return Piece((weighted(pair, 'kd', loss, weight, warmup),))


def dkd(
  pair: Pair,
  *,
  weight: float = 1.0,
  warmup: int = 20,
  alpha: float = 1.0,
  beta: float = -1.0,
  temperature: float = 4.0,
  standardize: bool = False,
) -> Piece:
  """DKD: `alpha` for the true class against the others, `beta` among the others; below 0 it is the
  published one of the student."""
  check_classes(pair, 'DKD')
  if is_published(beta):
    beta = published(pair.student, _BETA, _OTHER_BETA)

  def loss(scene):
    weight = scene.batch['weight']
    arguments = (labels(scene), alpha, beta, temperature, weight, standardize)
    return losses.dkd(*_logits(scene), *arguments)

  return Piece((weighted(pair, 'dkd', loss, weight, warmup),))


def dist(
  pair: Pair,
  *,
  weight: float = 2.0,
  warmup: int = 0,
  beta: float = 1.0,
  gamma: float = 1.0,
  temperature: float = 4.0,
) -> Piece:
  """DIST: correlations in an image (`beta`) and in a class over the batch (`gamma`)."""
  check_classes(pair, 'DIST')

  def loss(scene):
    scene = scene.gathered()
    return losses.dist(*_logits(scene), temperature, beta, gamma, scene.batch['weight'])

  return Piece((weighted(pair, 'dist', loss, weight, warmup),))


def _logits(scene):
  return scene[STUDENT]['logits'], scene[TEACHER]['logits']

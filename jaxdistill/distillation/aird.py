"""AIRD: adaptable instance-relation distillation (Shi et al., IJCNN 2024). Reconstruction: the
equations of the paper could not be read.

A student of small faces learns where the teacher puts every face (instances) and how the faces of a
batch lie to each other (relations). At test time its batch normalisation adapts to the faces that
it meets, see `training.adaptation`.
"""

from jaxdistill import errors, losses
from jaxdistill.distillation import pieces
from jaxdistill.distillation.labelled import label_term
from jaxdistill.distillation.method import Method, Pair, Stage
from jaxdistill.distillation.pieces import STUDENT, TEACHER, reading, student_part
from jaxdistill.models.adapters import Projection
from jaxdistill.training.players import PROTOTYPES, Part, Player, Term

_PROJECTION = 'student_to_teacher'


def method(
  pair: Pair,
  *,
  alpha: float = 1.0,
  beta: float = 1.0,
  temperature: float = 0.1,
  prototypes: bool = True,
  scale: float = 64.0,
) -> Method:
  """Returns AIRD's distillation, in one phase.

      L     = CE + α L_IlD + β L_RlD
      L_IlD = mean_i (1 - cos(s_i, t_i)) + mean_i CE(scale · cos(s_i, W), y_i)
      L_RlD = mean_i KL(p^t_i ‖ p^s_i)
              + mean_i -log exp(cos(s_i, t_i) / τ) / Σ_{j = i or y_j ≠ y_i} exp(cos(s_i, t_j) / τ)

  with the pooled features s and t, the rows W of the teacher's classifier, frozen, and p_i the
  softmax over j ≠ i of cos(f_i, f_j) / τ. Where s is of another width than t it goes through a
  linear projection first. With α = β = 0 it is the plain training of a small network.

  Args:
    pair: whom it is for.
    alpha: α, of the instances; 0 leaves them out.
    beta: β, of the relations; 0 leaves them out.
    temperature: τ.
    prototypes: whether the second term of L_IlD is there. It needs a teacher of the same classes
      whose last layer is linear, and is left out where the teacher is a function without it or has
      other classes.
    scale: of that term's cosines.

  Raises:
    UserError: a number that is none.

  Source: that there are an instance and a relation loss is known of the paper; their forms, the
  prototypes, τ and all weights are our choice.
  """
  errors.real_numbers(alpha=alpha, beta=beta, temperature=temperature, scale=scale)
  width, teacher_width = pieces.vectors(pair, 'embedding', 'embedding')
  parts, source = {STUDENT: student_part(pair)}, (STUDENT, 'embedding')
  if width != teacher_width and (alpha or beta):
    parts[_PROJECTION] = Part(Projection(teacher_width), reads=reading(STUDENT, 'embedding'))
    source = (_PROJECTION, 'output')

  def sides(scene):
    return scene[source[0]][source[1]], scene[TEACHER]['embedding']

  def instance(scene):
    # ||s/|s| - t/|t|||² is 2 (1 - cos).
    return losses.point_order(*sides(scene), weight=scene.batch['weight']) / 2

  def to_prototypes(scene):
    logits = losses.cosine_logits(sides(scene)[0], scene[TEACHER][PROTOTYPES], scale)
    return losses.cross_entropy(logits, scene.batch['labels'], weight=scene.batch['weight'])

  def relation(scene):
    scene = scene.gathered()
    return losses.group_order(*sides(scene), temperature, weight=scene.batch['weight'])

  def contrast(scene):
    scene = scene.gathered()
    classes = pieces.labels(scene)
    return losses.cross_contrast(*sides(scene), classes, temperature, scene.batch['weight'])

  terms = [label_term(STUDENT)]
  if alpha:
    terms.append(Term('instance', instance, alpha))
    if prototypes and _has_prototypes(pair):
      terms.append(Term('prototypes', to_prototypes, alpha))
  if beta:
    terms += [Term('relation', relation, beta), Term('contrast', contrast, beta)]
  player = Player(STUDENT, tuple(parts), tuple(terms), pair.optimizer(pair.steps))
  return Method((Stage(STUDENT, parts, (player,)),), reconstruction=True)


def _has_prototypes(pair):
  same_number = pair.teacher_form['logits'].shape[-1] == pair.num_classes
  same_classes = same_number and not pair.other_classes
  return same_classes and (pair.teacher is not None or PROTOTYPES in pair.teacher_form)

"""EvoKD: evolutionary knowledge distillation (Zhang et al., TCSVT 2021). Reconstruction: the
equations of the paper could not be read.

The teacher is learned together with the student: it trains on the labels, and the student follows
the teacher of that very step, so that the gap between the two stays small. Guided modules on either
side make what the stages know comparable.
"""

import dataclasses

from jaxdistill import errors, losses
from jaxdistill.distillation import pieces
from jaxdistill.distillation.labelled import cross_entropy, label_term, logit_kd
from jaxdistill.distillation.method import Method, Pair, Stage
from jaxdistill.distillation.pieces import STUDENT, TEACHER, reading, student_part, weighted
from jaxdistill.models.guided import Guided
from jaxdistill.training.players import Part, Player, Term


def method(
  pair: Pair,
  *,
  alpha: float = 1.0,
  beta: float = 1.0,
  gamma: float = 1.0,
  eta: float = 1.0,
  teacher_eta: float = 0.5,
  temperature: float = 4.0,
  stages: int = 3,
  width: int = 128,
  warmup: int = 10,
) -> Method:
  """Returns EvoKD: one phase of two players.

      L_T = CE(z^T) + η_T Σ_m CE(q^T_m)                        trains the teacher and its modules
      L_S = CE(z^S) + α KD(z^S, z^T) + Σ_m (β ‖ĝ^S_m - ĝ^T_m‖² + γ KD(q^S_m, q^T_m) + η CE(q^S_m))

  with the logits z, and the numbers g_m and the logits q_m that the guided module of stage m makes
  of its maps, `models.guided`; ĝ is g / ‖g‖, KD that of `losses.kd`. To the student all that the
  teacher gives is constant. Both train from scratch with batch statistics, and both move at once,
  on the outputs of the same step.

  Args:
    pair: whom it is for; its teacher lends its form alone.
    alpha: α; 0 leaves a term out, here as in the next ones.
    beta: β.
    gamma: γ.
    eta: η of the student's modules.
    teacher_eta: η_T of the teacher's.
    temperature: of both KD.
    stages: M, the last ones of both networks, as many as both have at most; 0: no modules.
    width: numbers of g.
    warmup: epochs, of 240, over which α, β and γ rise linearly; a shorter training takes the same
      share of it, see `pieces.weighted`. 0: they are there from the start.

  Raises:
    UserError: a teacher that is no network of this library, or of other classes.

  Source: that the teacher is learned online and that simple modules stand between the blocks is the
  paper's; what the modules hold, all terms but the first two, the weights and the warm-up are our
  choice.
  """
  if pair.teacher is None:
    raise errors.UserError(
      'EvoKD trains its teacher beside the student, so the teacher must be a network by name; a '
      'function has nothing to train.'
    )
  errors.whole('stages', stages)
  errors.whole('width', width, at_least=1)
  errors.real_numbers(eta=eta, teacher_eta=teacher_eta)
  # It learns the students' classes itself, so that their number alone must fit.
  pieces.check_classes(dataclasses.replace(pair, other_classes=''), 'EvoKD')
  guided = pieces.stages(pair, 'EvoKD', last=stages) if stages else []
  parts = {
    TEACHER: Part(pair.teacher),
    STUDENT: student_part(pair),
  }
  modules = {TEACHER: [], STUDENT: []}
  for number, (of_student, of_teacher) in enumerate(guided, 1):
    for side, name in ((TEACHER, of_teacher), (STUDENT, of_student)):
      modules[side].append(f'{side}_guided{number}')
      parts[modules[side][-1]] = Part(Guided(pair.num_classes, width), reads=reading(side, name))

  def guided_kd(scene):
    sides = zip(modules[STUDENT], modules[TEACHER])
    return sum(logit_kd(*modules_of, temperature)(scene) for modules_of in sides)

  def guided_features(scene):
    total = 0
    for sides in zip(modules[STUDENT], modules[TEACHER]):
      features = (scene[side]['guided'] for side in sides)
      total += losses.point_order(*features, weight=scene.batch['weight'])
    return total

  def guided_labels(side):
    return lambda scene: sum(cross_entropy(module)(scene) for module in modules[side])

  teacher_terms, student_terms = [label_term(TEACHER)], [label_term(STUDENT)]
  if guided and teacher_eta:
    teacher_terms.append(Term('guided_labels', guided_labels(TEACHER), teacher_eta))
  rising = dict(kd=(logit_kd(STUDENT, TEACHER, temperature), alpha))
  if guided:
    rising |= dict(guided_features=(guided_features, beta), guided_kd=(guided_kd, gamma))
  for name, (loss, weight) in rising.items():
    if weight:
      student_terms.append(weighted(pair, name, loss, weight, warmup))
  if guided and eta:
    student_terms.append(Term('guided_labels', guided_labels(STUDENT), eta))
  players = (
    Player(TEACHER, (TEACHER, *modules[TEACHER]), tuple(teacher_terms), pair.optimizer(pair.steps)),
    Player(STUDENT, (STUDENT, *modules[STUDENT]), tuple(student_terms), pair.optimizer(pair.steps)),
  )
  return Method((Stage(STUDENT, parts, players, guides=()),), reconstruction=True)

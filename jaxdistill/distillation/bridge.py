"""Bridge Distillation (Ge et al., TIP 2020). Reconstruction: the equations of the paper could not
be read.

A teacher of private faces is all that is left of them. Public faces are the bridge to a small
student of small faces, in two steps: the teacher's features are adapted to public native images,
where they become few and discriminative; then the student meets the adapted features with the small
copies of the same images.
"""

from typing import Literal

import optax

from jaxdistill import errors, losses
from jaxdistill.distillation import pieces
from jaxdistill.distillation.labelled import label_term
from jaxdistill.distillation.method import Method, Pair, Stage
from jaxdistill.distillation.pieces import STUDENT, TEACHER, reading, student_part
from jaxdistill.models.adapters import Projection
from jaxdistill.models.bottleneck import Bottleneck, Classifier
from jaxdistill.training.players import PROTOTYPES, Part, Player, Term

_ADAPTER, _DECODER = 'adapter', 'decoder'
_ADAPTATION = 'adaptation'


def method(
  pair: Pair,
  *,
  recover: float = 1.0,
  recovered: Literal['features', 'predictions'] = 'features',
  hidden: int = 512,
  adaptation_share: float = 1 / 3,
  adaptation_rate: float = 0.1,
  regress: float = 1.0,
  classify: float = 1.0,
  temperature: float = 4.0,
) -> Method:
  """Returns Bridge Distillation, in two phases on the public images, which are the students'.

      L_1 = CE(C1(a_i), y_i) + λ_1 ‖V(a_i) - h_i‖² / D       trains A, C1 and V on native images
      L_2 = CE(C2(s_i), y_i) + λ_2 ‖ŝ_i - â_i‖²              trains the student, C2 being its own

  as means over the images, with the teacher's feature h_i [D] of the native image, a_i = A(h_i) of
  the student's width d (two linear layers, a batch norm and a ReLU between them and a ReLU behind,
  as the student's pooled features have passed one), the linear V and C1, and the student's feature
  s_i of the small image; ŝ is s / ‖s‖. C2 starts as C1. The private images appear nowhere but in
  the teacher's weights, and its batch normalisation keeps their statistics.

  The targets a_i come from the native crop that the small one is made of: A is applied to the
  teacher's feature of the same view, which is read from a table where views can be enumerated.

  Args:
    pair: whom it is for.
    recover: λ_1; 0 leaves the second term out, a linear probe through A.
    recovered: what V(a) recovers: the 'features' h, or the teacher's 'predictions' of its own
      classes from h, in place of the distance by KL at a temperature.
    hidden: units of A between its layers.
    adaptation_share: of the recipe's steps, for the first phase.
    adaptation_rate: its learning rate as a factor of the recipe's.
    regress: λ_2; 0 is the training of a small network that starts from C1.
    classify: weight of the label's term in L_2; 0: the regression alone.
    temperature: of 'predictions'.

  Raises:
    UserError: a number out of its range, nothing to learn, or predictions of a teacher without a
      linear last layer.

  Source: the two steps, classification and regression in either, and compact features are the
  paper's; the forms of both losses, A, V, unit length, C2's start, all numbers are our choice.
  """
  errors.real_numbers(
    recover=recover, regress=regress, classify=classify, adaptation_rate=adaptation_rate
  )
  if not (adaptation_share > 0 and adaptation_rate > 0):
    raise errors.UserError(
      'adaptation_share and adaptation_rate are above 0; got '
      f'{adaptation_share} and {adaptation_rate}.'
    )
  errors.whole('hidden', hidden, at_least=1)
  if not regress and not classify:
    raise errors.UserError(
      'Nothing is left for the student to learn: regress and classify are both 0.'
    )
  if recovered == 'predictions' and pair.teacher is None and PROTOTYPES not in pair.teacher_form:
    raise errors.UserError(
      "recovered='predictions' needs the teacher's last, linear layer, which a function does not "
      "tell; take recovered='features'."
    )
  width, teacher_width = pieces.vectors(pair, 'embedding', 'embedding')
  adapter = Bottleneck(width, hidden)
  reads_teacher = reading(TEACHER, 'embedding')

  def features(scene):
    return losses.fitnet(*_recovered(scene), scene.batch['weight'])

  def predictions(scene):
    # The logits of V(a) are those of h, but for what the last layer makes of the difference.
    after, before = _recovered(scene)
    logits = scene[TEACHER]['logits']
    changed = logits + (after - before) @ scene[TEACHER][PROTOTYPES].T
    return losses.kd(changed, logits, temperature, scene.batch['weight'])

  first_parts = {
    _ADAPTER: Part(adapter, reads=reads_teacher),
    # Under the student's name, so that it is what the student's classifier starts as.
    STUDENT: Part(Classifier(pair.num_classes), reads=reading(_ADAPTER, 'output')),
  }
  first_terms = [label_term(STUDENT)]
  if recover:
    first_parts[_DECODER] = Part(Projection(teacher_width), reads=reading(_ADAPTER, 'output'))
    loss = features if recovered == 'features' else predictions
    first_terms.append(Term('recover', loss, recover))
  steps = max(1, round(adaptation_share * pair.steps))
  optimizer = optax.chain(pair.optimizer(steps), optax.scale(adaptation_rate))
  first = Stage(
    _ADAPTATION,
    first_parts,
    (Player(_ADAPTATION, tuple(first_parts), tuple(first_terms), optimizer),),
    share=adaptation_share,
  )

  def regression(scene):
    sides = scene[STUDENT]['embedding'], scene[_ADAPTER]['output']
    return losses.point_order(*sides, weight=scene.batch['weight'])

  terms = [label_term(STUDENT, classify)] if classify else []
  if regress:
    terms.append(Term('regress', regression, regress))
  second = Stage(
    STUDENT,
    {
      STUDENT: student_part(pair),
      _ADAPTER: Part(adapter, reads=reads_teacher, mode='eval'),
    },
    (Player(STUDENT, (STUDENT,), tuple(terms), pair.optimizer(pair.steps)),),
    start={STUDENT: _ADAPTATION, _ADAPTER: _ADAPTATION},
  )
  return Method((first, second), reconstruction=True)


def _recovered(scene):
  """V(a) and h."""
  return scene[_DECODER]['output'], scene[TEACHER]['embedding']

"""Selective KD: selective knowledge distillation (Ge et al., TIP 2019). Reconstruction: the
equations of the paper could not be read.

Not all features of a teacher are worth copying. A student of small faces is first trained on its
own; then the informative features are chosen by a sparse graph, once, and the student is fine-tuned
on two tasks: to regress the chosen features and to tell the identity.
"""

import jax.numpy as jnp
import optax

from jaxdistill import errors
from jaxdistill.distillation import pieces, sparse_selection
from jaxdistill.distillation.labelled import label_term
from jaxdistill.distillation.method import Method, Pair, Stage
from jaxdistill.distillation.pieces import STUDENT, TEACHER, reading, student_part
from jaxdistill.losses import rows
from jaxdistill.models.adapters import Projection
from jaxdistill.training.players import Part, Player, Term

CHOSEN = 'chosen'
_MIMIC, _SELECTED = 'mimic', 'selected'


def method(
  pair: Pair,
  *,
  regress: float = 1.0,
  share: float = 0.7,
  neighbours: int = 5,
  smoothness: float = 0.02,
  exact_up_to: int = 50_000,
  first_share: float = 0.5,
  tuning_rate: float = 0.1,
) -> Method:
  """Returns Selective KD, in two phases.

      L_1 = CE(s)
      L_2 = CE(s) + λ Σ_b α_b ‖r_b / ‖r_b‖ - f_b / ‖f_b‖‖² / max(Σ_b α_b, 1),  r_b = R(s_b)

  with the student's feature s_b, the teacher's f_b, the linear mimic layer R, which is dropped at
  test, and the choice α of `sparse_selection`, made between the phases from the teacher's features
  of the native training images. Images that are not chosen still give the label's term.

  Args:
    pair: whom it is for.
    regress: λ.
    share: κ, the share of images that is kept.
    neighbours: k, of the graph.
    smoothness: λ_p, of its edges.
    exact_up_to: images up to which the choice is the minimum, see `sparse_selection.select`.
    first_share: of the recipe's steps, for the first phase; the second one has the rest.
    tuning_rate: the second phase's learning rate as a factor of the recipe's.

  Raises:
    UserError: a number out of its range, or images of one class, which have no margin.

  Source: a student that is first trained on its own, a choice by a sparse graph and the two tasks
  are the paper's; the energy of the choice, the form of L_2, unit length and all numbers are our
  choice. With R(s_b) of any length the gradient grows with the student's features: on digits this
  diverged within ten steps, to students at chance.
  """
  errors.real_numbers(regress=regress, first_share=first_share, tuning_rate=tuning_rate)
  if not 0 < first_share < 1 or tuning_rate <= 0:
    raise errors.UserError(
      f'first_share lies between 0 and 1, tuning_rate above 0; got {first_share} and {tuning_rate}.'
    )
  sparse_selection.check(pair.labels, share, neighbours, smoothness, exact_up_to)
  _, teacher_width = pieces.vectors(pair, 'embedding', 'embedding')
  student = student_part(pair)

  def optimizer(share, rate):
    steps = max(1, round(share * pair.steps))
    return optax.chain(pair.optimizer(steps), optax.scale(rate))

  first = Stage(
    STUDENT,
    {STUDENT: student},
    (Player(STUDENT, (STUDENT,), (label_term(STUDENT),), optimizer(first_share, 1.0)),),
    guides=(),
    share=first_share,
  )

  def choose(flow):
    features = flow.features(TEACHER)['embedding']
    chosen = sparse_selection.select(
      features, flow.labels, share, neighbours, smoothness, exact_up_to
    ).chosen
    return {CHOSEN: chosen.astype('float32')}

  parts = {
    STUDENT: student,
    _MIMIC: Part(Projection(teacher_width), reads=reading(STUDENT, 'embedding')),
  }
  terms = (label_term(STUDENT), Term('regress', regression, regress))
  second = Stage(
    _SELECTED,
    parts,
    (Player(STUDENT, tuple(parts), terms, optimizer(1 - first_share, tuning_rate)),),
    start={STUDENT: STUDENT},
    tables=choose,
    share=1 - first_share,
  )
  return Method((first, second), reconstruction=True)


def regression(scene):
  """The second term of L_2, over the whole batch; a row of weight 0 counts nowhere."""
  scene = scene.gathered()
  weight = scene.batch['weight'] * scene.batch[CHOSEN]
  mimicked, target = (
    rows.kept(side, weight) for side in (scene[_MIMIC]['output'], scene[TEACHER]['embedding'])
  )
  distance = jnp.square(rows.directions(mimicked) - rows.directions(target)).sum(-1)
  return (weight * distance).sum() / jnp.maximum(weight.sum(), 1)

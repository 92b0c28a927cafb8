"""HORKD: look one and more, hybrid order relational knowledge (Ge et al., AAAI 2020).
Reconstruction: the equations of the paper could not be read.

A student of small images learns what images are to each other: every one alone ("look one"), in
pairs, in triplets and in larger groups ("more"). An assistant, of the student's form but on native
images, stands between the teacher and the student, so that one step is one of capacity and the
other one of resolution.
"""

import functools

from jaxdistill import errors, losses
from jaxdistill.distillation.labelled import label_term, logit_kd
from jaxdistill.distillation.method import Method, Pair, Stage
from jaxdistill.distillation.pieces import (
  STUDENT,
  TEACHER,
  check_classes,
  reading,
  student_part,
  vectors,
)
from jaxdistill.models.adapters import Projection
from jaxdistill.training.players import Part, Player, Term

ASSISTANT = 'assistant'


def method(
  pair: Pair,
  *,
  order1: float = 1.0,
  order2: float = 25.0,
  order3: float = 50.0,
  order4: float = 0.0,
  temperature: float = 0.1,
  assistant: float = 0.5,
  assistant_share: float = 1.0,
  gamma: float = 1.0,
  kd: float = 0.0,
  kd_temperature: float = 4.0,
) -> Method:
  """Returns HORKD, in two phases.

      L_A = CE + Σ_o λ_o L_o(a; t)                               the assistant, on native images
      L_S = γ CE + Σ_o λ_o ((1 - ρ) L_o(s; t) + ρ L_o(s; a))     the student, the assistant frozen

  with the pooled features t, a, s and L_1 to L_4 of `losses.point_order`, `losses.rkd_distance`,
  `losses.rkd_angle` and `losses.group_order`. For L_1 the learner's features go through a linear
  projection where the guide's are of another width. With order1 = 0 and ρ = 0 it is RKD, with
  order1 alone a hint.

  Args:
    pair: whom it is for.
    order1, order2, order3, order4: λ_o; an order of weight 0 is not computed.
    temperature: of the softmax over similarities in L_4.
    assistant: ρ, its share from 0 to 1; 0: there is no assistant.
    assistant_share: of the recipe's steps, for the assistant.
    gamma: γ, weight of the student's cross-entropy.
    kd: weight of KD with the teacher's logits beside it; 0: none.
    kd_temperature: of that.

  Raises:
    UserError: a share out of range, or nothing to learn.

  Source: streams, orders and assistant are the paper's. Orders 2 and 3 are RKD's, with the weights
  of RepDistiller. Our choice: γ, λ_1, the form of order 4 and that it is off, ρ, unit length and
  the projection in order 1, the assistant being trained first.
  """
  errors.real_numbers(assistant=assistant, assistant_share=assistant_share, gamma=gamma)
  if not 0 <= assistant <= 1 or assistant_share <= 0:
    raise errors.UserError(
      f'assistant is a share from 0 to 1, assistant_share above 0; got {assistant} and '
      f'{assistant_share}.'
    )
  if not any((gamma, kd, order1, order2, order3, order4)):
    raise errors.UserError(
      'Nothing is left for the student to learn: gamma, kd and all orders are 0.'
    )
  orders = _Orders(dict(point=order1, pair=order2, triplet=order3, group=order4), temperature)
  width, teacher_width = vectors(pair, 'embedding', 'embedding')
  assistant_width = (pair.assistant_form or pair.student_form)['embedding'].shape[-1]
  stages, terms = [], [label_term(STUDENT, gamma)]
  parts = {STUDENT: student_part(pair)}
  if kd:
    check_classes(pair, 'HORKD with KD')
    terms.append(Term('kd', logit_kd(STUDENT, TEACHER, kd_temperature), kd))
  if assistant:
    taught = {ASSISTANT: Part(pair.assistant)}
    taught_terms = [label_term(ASSISTANT)]
    orders.add(taught, taught_terms, ASSISTANT, TEACHER, assistant_width, teacher_width, 1.0)
    steps = max(1, round(assistant_share * pair.steps))
    player = Player(ASSISTANT, tuple(taught), tuple(taught_terms), pair.optimizer(steps))
    stages.append(Stage(ASSISTANT, taught, (player,), share=assistant_share))
  trained = dict(parts)
  orders.add(trained, terms, STUDENT, TEACHER, width, teacher_width, 1 - assistant)
  if assistant:
    orders.add(trained, terms, STUDENT, ASSISTANT, width, assistant_width, assistant)
    parts[ASSISTANT] = Part(pair.assistant, mode='eval')
  player = Player(STUDENT, tuple(trained), tuple(terms), pair.optimizer(pair.steps))
  start = {ASSISTANT: ASSISTANT} if assistant else {}
  stages.append(Stage(STUDENT, {**parts, **trained}, (player,), start=start))
  return Method(tuple(stages), reconstruction=True)


class _Orders:
  """The terms of all orders that have a weight."""

  def __init__(self, weights, temperature):
    losses_of = dict(
      point=losses.point_order,
      pair=losses.rkd_distance,
      triplet=losses.rkd_angle,
      group=functools.partial(losses.group_order, temperature=temperature),
    )
    self.weights = weights
    self.losses = losses_of

  def add(self, parts, terms, learner, guide, width, guide_width, share):
    """Adds what a learner learns from a guide, as far as its share, to its terms and its parts."""
    projection = f'{learner}_to_{guide}'
    if width != guide_width and share * self.weights['point']:
      parts[projection] = Part(Projection(guide_width), reads=reading(learner, 'embedding'))
    for order, weight in self.weights.items():
      if share * weight:
        source = (learner, 'embedding')
        if order == 'point' and projection in parts:
          source = (projection, 'output')
        loss = functools.partial(_imitation, self.losses[order], source, guide)
        terms.append(Term(f'{guide}_{order}', loss, share * weight))


def _imitation(loss, source, guide, scene):
  """A loss of the learner's features, an output of a part, given the guide's, over the whole
  batch."""
  scene = scene.gathered()
  part, output = source
  return loss(scene[part][output], scene[guide]['embedding'], weight=scene.batch['weight'])

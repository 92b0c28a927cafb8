"""CRRCD: cross-resolution relational contrastive distillation (Zhang et al., TCSVT 2023), after
CRCD (Zhu et al., CVPR 2021). Reconstruction: of the paper a summary was at hand.

What the teacher's feature of an image is to the *student's* feature of another one, through a
learned relation module, is to be what it is to the teacher's. The right image is told from images
of other classes.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxdistill import draws, errors, losses
from jaxdistill.distillation import pieces
from jaxdistill.distillation.labelled import label_term, logit_kd
from jaxdistill.distillation.method import Method, Pair, Stage
from jaxdistill.distillation.pieces import STUDENT, TEACHER, reading, student_part
from jaxdistill.losses import rows
from jaxdistill.models.adapters import Embedding
from jaxdistill.models.relation import Relation
from jaxdistill.training import replicas
from jaxdistill.training.players import Part, Player, Term

_OWN, _CROSS, _TERM = 'relation_teacher', 'relation_cross', 'relation'
_EMBEDDED = {STUDENT: 'relation_student_embedding', TEACHER: 'relation_teacher_embedding'}
# Of the cosines, where nothing is said: that of a public third party, and that of CRD.
_TEMPERATURES = {'batch': 0.1, 'bank': 0.07}
_WIDTH = 128
_NEGATIVES, _MOMENTUM = 512, 0.5


def method(
  pair: Pair,
  *,
  alpha: float = 1.0,
  beta: float = 2.0,
  form: Literal['batch', 'bank'] = 'batch',
  temperature: float = 0.0,
  kd_temperature: float = 4.0,
  width: int = 128,
  hidden: int = 128,
  embedding: int = 0,
  other_classes: bool = True,
  negatives: int = _NEGATIVES,
  momentum: float = _MOMENTUM,
) -> Method:
  """Returns CRRCD, in one phase.

      v^t_ij = F^t(ê^t_i, ê^t_j),  v^ts_ij = F^ts(ê^t_i, ê^s_j),  F(a, b) = W2 ReLU(W1 (a - b))
      L_rcd = -mean_{i ≠ j} [ log h(v^t_ij, v^ts_ij) + Σ_k log(1 - h(v^t_ij, v^ts_ik)) ]
      L = CE + α KD + β L_rcd

  with the pooled features e, brought to length 1, the relation modules F^t and F^ts of
  `models.relation`, which are trained with the student, and the critic h. The anchor is the
  teacher's feature on both sides. To the student the teacher is constant; F^t has a gradient.
  Without L_rcd it is KD.

  Args:
    pair: whom it is for.
    alpha: α; 0: no KD.
    beta: β; 0: no relations.
    form: 'batch': h = σ(cos / τ), k the images of the batch of other classes than j. 'bank': h =
      s / (s + n Z / N) with s = exp(cos / τ), k from n rows of a bank with the student's features
      of all N training images, which follows the features by an average; Z is N times the mean of s
      in the first batch, as in CRD.
    temperature: τ; 0: 0.1 in the batch, 0.07 with a bank.
    kd_temperature: of KD.
    width: of a relation.
    hidden: units of a relation module.
    embedding: width of linear embeddings of both networks' features before the relation; 0: none,
      but 128 where the features are of two widths.
    other_classes: whether negatives are of other classes than j alone, or all images but i and j.
    negatives: n, rows of the bank that a step draws for all its pairs.
    momentum: of the bank's average.

  Raises:
    UserError: a number out of its range, numbers of a bank where there is none, or KD between
      different classes.

  Source: relation modules, anchors and the contrast are the paper's. The sigmoid, its τ and β are
  those of a third party's public code, the bank that of CRCD and CRD, whose terms hold one image's
  features, not relations. Our choice: negatives of other classes, features of length 1, α, all
  widths, negatives shared by the pairs of a step.
  """
  errors.real_numbers(alpha=alpha, beta=beta, temperature=temperature)
  pieces.check_momentum(momentum)
  if form != 'bank' and (negatives, momentum) != (_NEGATIVES, _MOMENTUM):
    raise errors.UserError(
      f"negatives and momentum are of a bank, and form is {form!r}; take form='bank', or leave "
      f'them at {_NEGATIVES} and {_MOMENTUM}.'
    )
  for name, number in dict(width=width, hidden=hidden).items():
    errors.whole(name, number, at_least=1)
  errors.whole('embedding', embedding)
  parts = {STUDENT: student_part(pair)}
  terms = [label_term(STUDENT)]
  if alpha:
    pieces.check_classes(pair, 'CRRCD')
    terms.append(Term('kd', logit_kd(STUDENT, TEACHER, kd_temperature), alpha))
  if beta:
    widths = pieces.vectors(pair, 'embedding', 'embedding')
    embedding = embedding or (_WIDTH if widths[0] != widths[1] else 0)
    for side in (STUDENT, TEACHER) if embedding else ():
      parts[_EMBEDDED[side]] = Part(Embedding(embedding, True), reads=reading(side, 'embedding'))
    bank = None
    if form == 'bank':
      bank = _Bank(pair.images, embedding or widths[0], negatives, momentum)
    module = Relation(width, hidden)
    parts[_OWN] = Part(module, reads=_pairs(TEACHER))
    parts[_CROSS] = Part(module, reads=_pairs(STUDENT, bank))
    temperature = temperature or _TEMPERATURES[form]
    loss = _contrast(temperature, other_classes, bank)
    terms.append(Term(_TERM, loss, beta, bank and bank.first))
  player = Player(STUDENT, tuple(parts), tuple(terms), pair.optimizer(pair.steps))
  return Method((Stage(STUDENT, parts, (player,)),), reconstruction=True)


def _features(scene, side):
  """ê of a network, [n, d] of length 1."""
  if _EMBEDDED[side] in scene.outputs:
    return scene[_EMBEDDED[side]]['output']
  return rows.directions(scene[side]['embedding'])


def _pairs(side, bank=None):
  """What a relation module reads: this device's anchors, the teacher's, and one side's features of
  the whole batch, with the bank's behind them."""

  def reads(scene):
    features = _features(scene.gathered(), side)
    if bank is not None:
      features = jnp.concatenate([features, bank.rows(scene)])
    return _features(scene, TEACHER), features

  return reads


def _contrast(temperature, other_classes, bank):
  """L_rcd of the scene, with the bank's new memory where there is one."""

  def loss(scene):
    everyone = scene.gathered()
    weight = everyone.batch['weight']
    own, cross = scene[_OWN]['output'], scene[_CROSS]['output']
    classes = pieces.labels(everyone) if other_classes else None
    # A term with a memory sees the whole batch, another one its own anchors.
    anchors = jnp.arange(len(own)) if scene.is_whole else replicas.row_numbers(len(own))
    settings = dict(temperature=temperature, anchors=anchors, weight=weight)
    if bank is None:
      return losses.relational_contrast(own, cross, classes, **settings)
    cross, negatives = cross[:, : len(weight)], cross[:, len(weight) :]
    memory = bank.settled(scene.memory, own, negatives, temperature, weight)
    value = losses.relational_contrast(
      own,
      cross,
      classes,
      noise=bank.negatives * jnp.exp(memory['log_z']),
      negatives=negatives,
      negative_labels=memory['labels'][memory['drawn']] if other_classes else None,
      images=everyone.batch['index'],
      negative_images=memory['drawn'],
      **settings,
    )
    return value, bank.moved(memory, everyone)

  return loss


def _next_row(weight):
  """The next row with a weight, from each that has one on: int [n]; behind the last the first."""
  there = weight > 0
  order = jnp.argsort(~there, stable=True)
  return order[jnp.cumsum(there) % jnp.maximum(there.sum(), 1)]


class _Bank:
  """The student's features of all training images, and the rows that the next step draws."""

  def __init__(self, images, width, negatives, momentum):
    self.images, self.width, self.momentum = images, width, momentum
    self.negatives = errors.whole('negatives', negatives, at_least=1)

  def first(self, key):
    """Random directions, of no class."""
    key, key_drawn = draws.split(key)
    features = draws.normal(key, (self.images, self.width))
    return {
      'student': rows.directions(features),
      'labels': jnp.full(self.images, -1, jnp.int32),
      'drawn': self.draw(key_drawn),
      'log_z': jnp.zeros(()),
      'ready': jnp.zeros((), bool),
    }

  def draw(self, key):
    return draws.integers(key, (self.negatives,), 0, self.images)

  def rows(self, scene):
    """The drawn ones, [negatives, width]."""
    memory = scene.memory[_TERM]
    return memory['student'][memory['drawn']]

  def settled(self, memory, own, negatives, temperature, weight):
    """The memory with log z, which the first batch of two rows sets: over every anchor, with the
    next row for its partner; rows of weight 0 are neither."""
    partners = own[jnp.arange(len(own)), _next_row(weight)]
    cosines = (rows.directions(partners)[:, None] * rows.directions(negatives)).sum(-1)
    scores = rows.kept(jnp.exp(cosines / temperature), weight)
    mean = (rows.share(weight)[:, None] * scores).sum() / self.negatives
    log_z = jax.lax.stop_gradient(jnp.log(jnp.maximum(mean, jnp.finfo(mean.dtype).tiny)))
    ready = memory['ready'] | ((weight > 0).sum() > 1)
    log_z = jnp.where(memory['ready'] | ~ready, memory['log_z'], log_z)
    return {**memory, 'log_z': log_z, 'ready': ready}

  def moved(self, memory, scene):
    """The memory after the batch: its rows follow the features, and others are drawn."""
    weight, index = scene.batch['weight'], scene.batch['index']
    features = jax.lax.stop_gradient(_features(scene, STUDENT))
    average = self.momentum * memory['student'][index] + (1 - self.momentum) * features
    place = jnp.where(weight > 0, index, self.images)
    entered = {'student': rows.directions(average), 'labels': pieces.labels(scene)}
    changed = {
      name: memory[name].at[place].set(values, mode='drop') for name, values in entered.items()
    }
    return {**memory, **changed, 'drawn': self.draw(scene.key)}

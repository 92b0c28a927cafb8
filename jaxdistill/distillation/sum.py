"""A weighted sum of terms: cross-entropy of the labels, and any terms of the teacher; most of the
classical methods are one.

  L = gamma CE(z_s, y) + sum over terms of weight times loss

Adapters of the terms are trained with the student, by its optimiser. Terms with a phase of their
own have it before, one after the other.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jaxdistill import errors, losses
from jaxdistill.distillation import terms as by_name
from jaxdistill.distillation.method import Method, Pair, Stage
from jaxdistill.distillation.pieces import STUDENT, TEACHER, student_part
from jaxdistill.training.players import Player, Term

# The classical methods as sums: their terms, and what differs from the defaults. Source:
# RepDistiller and mdistiller; AB goes on with KD, as its paper does.
CLASSICAL: Mapping[str, Mapping[str, Any]] = MappingProxyType(
  {
    'alone': dict(terms=()),
    'kd': dict(terms=('kd',), gamma=0.1, fields={'kd': {'weight': 0.9}}),
    'ab': dict(terms=('ab', 'kd'), gamma=0.1, fields={'kd': {'weight': 0.9}}),
    **{
      name: dict(terms=(name,))
      for name in (
        'at',
        'cc',
        'crd',
        'dist',
        'dkd',
        'fitnet',
        'fsp',
        'ft',
        'kdsvd',
        'nst',
        'ofd',
        'pkt',
        'reviewkd',
        'rkd',
        'sp',
        'vid',
      )
    },
  }
)

# Of the labels beside KD under the recipe of ImageNet, as RepDistiller's author gives it.
_IMAGENET_GAMMA = 0.5


def classical(name: str, recipe: str = '') -> dict[str, Any]:
  """Returns what a classical method says of its sum, under a recipe of `recipes.RECIPES`.

  >>> classical('kd', 'crd240')['gamma'], classical('kd', 'imagenet')['gamma']
  (0.1, 0.5)
  """
  said = dict(CLASSICAL[name])
  if name == 'kd' and recipe == 'imagenet':
    said['gamma'] = _IMAGENET_GAMMA
  return said


def method(
  pair: Pair,
  *,
  terms: tuple[str, ...] = ('kd',),
  gamma: float = 1.0,
  fields: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Method:
  """Returns the training of a student by a sum of terms.

  Args:
    pair: teacher and student.
    terms: names, see `terms.TERMS`; () for the student alone. A text joins them by +.
    gamma: weight of the cross-entropy.
    fields: of the terms, by their names: {'crd': {'weight': 0.8}}.

  Raises:
    UserError: a term or a field that does not exist, fields of a term that is not in the sum, a
      feature that a network does not give, or nothing to learn.
  """
  names = by_name.names_of(terms)
  errors.real_numbers(gamma=gamma)
  for name in fields:
    if name not in names:
      raise errors.unknown('term of this sum', name, names)
  pieces = {name: by_name.make(pair, name, fields.get(name, {})) for name in names}
  stages = _first_stages(pieces)
  taught = _terms(pieces)
  learned = (*_cross_entropy(gamma), *taught)
  if not learned:
    raise errors.UserError(
      'Nothing is left for the student to learn: gamma is 0 and no term has a loss of its own.'
    )
  parts, kept = {STUDENT: student_part(pair)}, {}
  for piece in pieces.values():
    parts |= piece.parts
    if piece.first:
      kept |= dict.fromkeys(set(piece.parts) & set(piece.first.parts), piece.first.name)
  trains = tuple(name for name in parts if name not in kept)
  player = Player(STUDENT, trains, learned, pair.optimizer(pair.steps))
  start = {**kept, **_start(stages)}
  guides = (TEACHER,) if taught else ()
  student = Stage(STUDENT, parts, (player,), guides=guides, start=start)
  label = ' + '.join(by_name.LABELS[name] for name in names) or 'Alone'
  return Method((*stages, student), STUDENT, label=label)


def _cross_entropy(gamma):
  if not gamma:
    return ()

  def loss(scene):
    batch = scene.batch
    return losses.cross_entropy(scene[STUDENT]['logits'], batch['labels'], weight=batch['weight'])

  return (Term('cross_entropy', loss, float(gamma)),)


def _terms(pieces):
  terms = []
  for piece in pieces.values():
    terms += piece.terms
  return terms


def _first_stages(pieces) -> list[Stage]:
  """The stages before the student's, each going on with the student that the last one has left."""
  stages = []
  for piece in pieces.values():
    if piece.first is None:
      continue
    before = _start(stages) if STUDENT in piece.first.parts else {}
    stages.append(dataclasses.replace(piece.first, start={**piece.first.start, **before}))
  return stages


def _start(stages):
  """Where the student goes on, after some stages."""
  trained = [stage.name for stage in stages if STUDENT in stage.parts]
  return {STUDENT: trained[-1]} if trained else {}

"""The terms of a student's loss by name; each module is imported when it is asked for.

A term is a function (pair, *, fields with defaults) -> `Piece`. Any of them may be summed, see
`distillation.sum`, and `register` adds one of your own.
"""

from collections.abc import Callable, Iterable, Mapping

from jaxdistill import registry
from jaxdistill.distillation.method import Pair
from jaxdistill.distillation.pieces import Piece
from jaxdistill.errors import UserError

__all__ = ['LABELS', 'TERMS', 'Piece', 'check', 'defaults', 'make', 'names_of', 'register']

_LOGITS = 'jaxdistill.distillation.logit_terms'
_MAPS = 'jaxdistill.distillation.map_terms'
_RELATIONS = 'jaxdistill.distillation.relation_terms'
_CONTRAST = 'jaxdistill.distillation.contrast_terms'
_PHASED = 'jaxdistill.distillation.phased_terms'
TERMS = registry.Registry(
  'distillation term',
  {
    'ab': f'{_PHASED}:ab',
    'at': f'{_MAPS}:at',
    'cc': f'{_RELATIONS}:cc',
    'crd': f'{_CONTRAST}:crd',
    'crd_batch': f'{_CONTRAST}:crd_batch',
    'crd_queue': f'{_CONTRAST}:crd_queue',
    'dist': f'{_LOGITS}:dist',
    'dkd': f'{_LOGITS}:dkd',
    'fitnet': f'{_MAPS}:fitnet',
    'fsp': f'{_PHASED}:fsp',
    'ft': f'{_PHASED}:ft',
    'group': f'{_RELATIONS}:group',
    'horkd': f'{_RELATIONS}:horkd',
    'kd': f'{_LOGITS}:kd',
    'kdsvd': f'{_MAPS}:kdsvd',
    'nst': f'{_MAPS}:nst',
    'ofd': f'{_MAPS}:ofd',
    'pkt': f'{_RELATIONS}:pkt',
    'point': f'{_RELATIONS}:point',
    'reviewkd': f'{_MAPS}:reviewkd',
    'rkd': f'{_RELATIONS}:rkd',
    'sp': f'{_RELATIONS}:sp',
    'vid': f'{_MAPS}:vid',
  },
  labels={
    'ab': 'AB',
    'at': 'AT',
    'cc': 'CC',
    'crd': 'CRD',
    'crd_batch': 'CRD in the batch',
    'crd_queue': 'CRD with a queue',
    'dist': 'DIST',
    'dkd': 'DKD',
    'fitnet': 'FitNet',
    'fsp': 'FSP',
    'ft': 'FT',
    'group': 'HORKD order 4',
    'horkd': 'HORKD orders',
    'kd': 'KD',
    'kdsvd': 'KDSVD',
    'nst': 'NST',
    'ofd': 'OFD',
    'pkt': 'PKT',
    'point': 'HORKD order 1',
    'reviewkd': 'ReviewKD',
    'rkd': 'RKD',
    'sp': 'SP',
    'vid': 'VID',
  },
)
LABELS = TERMS.labels


def register(name: str, term: Callable[..., Piece], label: str = '') -> None:
  """Adds a term of your own, which sums can then name; under a name given before, it takes the
  place of that one.

  Args:
    name: what `terms` of a sum say.
    term: (pair, *, fields) -> Piece; every field has a default.
    label: how tables and reports call it; '': the name.

  Raises:
    UserError: for the name of a term that jaxdistill brings.

  >>> import jax.numpy as jnp
  >>> from jaxdistill import losses
  >>> from jaxdistill.training.players import Term
  >>> def squares(pair, *, weight=1.0):
  ...   def loss(scene):
  ...     logits = scene['student']['logits'], scene['teacher']['logits']
  ...     return losses.fitnet(*logits, scene.batch['weight'])
  ...   return Piece((Term('squares', loss, weight),))
  >>> register('squares', squares, 'Squared differences')
  >>> defaults('squares'), LABELS['squares']
  ({'weight': 1.0}, 'Squared differences')
  >>> del TERMS['squares']
  """
  TERMS.register(name, term, label)


def names_of(terms: str | Iterable[str]) -> tuple[str, ...]:
  """Returns the names of terms, which a text joins by +.

  Raises:
    UserError: for a term that does not exist, or one that is there twice.

  >>> names_of('kd+crd'), names_of(''), names_of(['kd'])
  (('kd', 'crd'), (), ('kd',))
  """
  names = terms.split('+') if isinstance(terms, str) else terms
  names = tuple(name.strip() for name in names if name.strip())
  for name in names:
    TERMS.find(name)
    if names.count(name) > 1:
      raise UserError(f'The term {name!r} is there twice; give it once, with the sum of weights.')
  return names


def make(pair: Pair, name: str, fields: Mapping[str, object]) -> Piece:
  """Returns what a term brings along, by its name and fields.

  Raises:
    UserError: for a term, a field or a choice that does not exist, or a pair that the term cannot
      compare.
  """
  check(name, fields)
  return registry.call(TERMS.find(name), pair, given=fields)


def check(name: str, fields: Mapping[str, object]) -> None:
  """Raises `UserError` for a term or a field that does not exist.

  >>> check('kd', {'temprature': 4})
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no field of term kd 'temprature'; did you mean ...
  """
  registry.check([TERMS.find(name)], fields, f'term {name}')


def defaults(name: str) -> dict[str, object]:
  """Returns the fields of a term with their defaults.

  >>> defaults('kd')
  {'weight': 1.0, 'warmup': 0, 'temperature': 4.0, 'standardize': False}
  """
  return registry.defaults(TERMS.find(name))

"""The methods of this family by name; each module is imported when it is asked for.

A method's module has a function `method(pair, *, fields with defaults) -> method.Method`, whose
fields are the section `method` of a config.
"""

import types
from collections.abc import Callable, Mapping

from jaxdistill import registry
from jaxdistill.distillation import terms
from jaxdistill.distillation.method import Method, Pair
from jaxdistill.distillation.sum import CLASSICAL
from jaxdistill.training.run import check_name

METHODS = registry.Registry(
  'distillation method',
  {
    'aird': 'jaxdistill.distillation.aird:method',
    'bridge': 'jaxdistill.distillation.bridge:method',
    'crrcd': 'jaxdistill.distillation.crrcd:method',
    'evokd': 'jaxdistill.distillation.evokd:method',
    'horkd': 'jaxdistill.distillation.horkd:method',
    'selective': 'jaxdistill.distillation.selective:method',
    'sum': 'jaxdistill.distillation.sum:method',
  },
  labels={
    'aird': 'AIRD',
    'bridge': 'Bridge',
    'crrcd': 'CRRCD',
    'evokd': 'EvoKD',
    'horkd': 'HORKD',
    'selective': 'Selective KD',
    'sum': 'Sum of terms',
  },
)
LABELS = METHODS.labels
# Students without a teacher: a sum of no terms.
ALONE = types.MappingProxyType({'name': 'sum', 'terms': ()})


def register(name: str, method: Callable[..., Method], label: str = '') -> None:
  """Adds a method of your own, which configs can then name; under a name given before, it takes the
  place of that one.

  Args:
    name: what `method.name` of a config says.
    method: the factory, (pair, *, fields of the config's section `method`) -> method.Method; every
      field has a default.
    label: how tables and reports call it; '': the name.

  Raises:
    UserError: for the name of a method that jaxdistill brings.

  >>> def idle(pair, *, weight=1.0):
  ...   return Method(stages=())
  >>> register('idle', idle)
  >>> defaults('idle')
  {'weight': 1.0}
  >>> del METHODS['idle']
  """
  METHODS.register(name, method, label)


def make(pair: Pair, method: Mapping[str, object]) -> Method:
  """Returns a method for a pair from its section of the config, `name` and the method's own fields.

  Raises:
    UserError: for a method, a field or a choice that does not exist, or what the method itself
      refuses.
  """
  check(method)
  return registry.call(find(method['name']), pair, given=_fields(method))


def check(method: Mapping[str, object]) -> None:
  """Raises `UserError` for a method or a field that does not exist, for a value that is none of
  those that the signature lists (typing.Literal), or for a name that no phase can have.

  >>> check({'name': 'nothing'})
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no distillation method 'nothing'. Valid: ...
  """
  name = method['name']
  registry.check([find(name)], _fields(method), f'method {name}')
  check_name(name_of(method))


def find(name: str) -> Callable[..., Method]:
  """Returns the factory of a method."""
  return METHODS.find(name)


def defaults(name: str) -> dict[str, object]:
  """Returns the fields of a method's own with their defaults."""
  return registry.defaults(find(name))


def name_of(method: Mapping[str, object]) -> str:
  """Returns the name of a method in a table: a sum goes by its terms.

  >>> name_of({'name': 'sum', 'terms': ('kd', 'crd')}), name_of(ALONE)
  ('kd+crd', 'alone')
  """
  if method['name'] != 'sum':
    return str(method['name'])
  names = tuple(method.get('terms', ('kd',)))
  known = {tuple(fields['terms']): name for name, fields in CLASSICAL.items()}
  return known.get(names, '+'.join(names))


def label_of(method: Mapping[str, object]) -> str:
  """Returns how tables call a method; a sum by its terms.

  >>> label_of({'name': 'horkd'}), label_of(ALONE)
  ('HORKD', 'Alone')
  """
  if method['name'] != 'sum':
    return LABELS.get(method['name'], str(method['name']))
  named = [terms.LABELS.get(term, term) for term in method.get('terms', ('kd',))]
  return ' + '.join(named) or 'Alone'


def _fields(method: Mapping[str, object]) -> dict[str, object]:
  return {field: value for field, value in method.items() if field != 'name'}

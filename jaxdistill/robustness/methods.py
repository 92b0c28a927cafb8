"""The methods of this family by name; each module is imported when it is asked for.

A method's module has a function `method(setting, *, fields with defaults) -> method.Method`, whose
fields are the section `method` of a config.
"""

from collections.abc import Callable, Mapping

from jaxdistill import registry
from jaxdistill.robustness.method import Method, Setting

METHODS = registry.Registry(
  'method of adversarial training',
  {
    'at': 'jaxdistill.robustness.at:method',
    'awp': 'jaxdistill.robustness.awp:method',
    'rwp': 'jaxdistill.robustness.rwp:method',
    'standard': 'jaxdistill.robustness.standard:method',
    'trades': 'jaxdistill.robustness.trades:method',
  },
  labels={
    'at': 'AT',
    'awp': 'AWP',
    'rwp': 'RWP',
    'standard': 'Standard training',
    'trades': 'TRADES',
  },
)
LABELS = METHODS.labels


def register(name: str, method: Callable[..., Method], label: str = '') -> None:
  """Adds a method of your own, which configs can then name; under a name given before, it takes the
  place of that one.

  Args:
    name: what `method.name` of a config says.
    method: the factory, (setting, *, fields of the config's section `method`) -> method.Method;
      every field has a default.
    label: how tables and reports call it; '': the name.

  Raises:
    UserError: for the name of a method that jaxdistill brings.

  >>> from jaxdistill.robustness import standard
  >>> def lazy(setting, *, weight=1.0):
  ...   return standard.method(setting)
  >>> register('lazy', lazy)
  >>> defaults('lazy')
  {'weight': 1.0}
  >>> del METHODS['lazy']
  """
  METHODS.register(name, method, label)


def make(setting: Setting, method: Mapping[str, object]) -> Method:
  """Returns a method for a setting from its section of the config, `name` and the method's own
  fields.

  Raises:
    UserError: for a method, a field or a choice that does not exist, or what the method itself
      refuses.
  """
  check(method)
  return registry.call(find(method['name']), setting, given=_fields(method))


def check(method: Mapping[str, object]) -> None:
  """Raises `UserError` for a method or a field that does not exist, or for a value that is none of
  those that the signature lists (typing.Literal).

  >>> check({'name': 'at', 'attack_bn': 'none'})
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no attack_bn 'none'. Valid: eval, train.
  """
  name = method['name']
  registry.check([find(name)], _fields(method), f'method {name}')


def find(name: str) -> Callable[..., Method]:
  """Returns the factory of a method."""
  return METHODS.find(name)


def defaults(name: str) -> dict[str, object]:
  """Returns the fields of a method's own with their defaults."""
  return registry.defaults(find(name))


def label_of(method: Mapping[str, object]) -> str:
  """Returns how tables call a method, with what it is put over where that is not AT.

  >>> label_of({'name': 'rwp', 'over': 'trades'}), label_of({'name': 'awp', 'over': 'at'})
  ('RWP over TRADES', 'AWP')
  """
  name = str(method['name'])
  label, over = LABELS.get(name, name), method.get('over', 'at')
  return label if over == 'at' else f'{label} over {LABELS.get(over, over)}'


def _fields(method: Mapping[str, object]) -> dict[str, object]:
  return {field: value for field, value in method.items() if field != 'name'}

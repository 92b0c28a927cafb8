"""The attacks by name, and what is made from their fields."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxdistill import errors, registry
from jaxdistill.robustness import iteration, threat

# Factories of (number of classes, fields) -> an Attack, or a tuple of them, each of which gets the
# images that those before it left right.
ATTACKS = registry.Registry(
  'attack',
  {
    'fgsm': 'jaxdistill.robustness.fgsm:attack',
    'pgd': 'jaxdistill.robustness.pgd:attack',
    'pgd20': 'jaxdistill.robustness.pgd:pgd20',
    'pgd100': 'jaxdistill.robustness.pgd:pgd100',
    'cw': 'jaxdistill.robustness.cw:attack',
    'apgd_ce': 'jaxdistill.robustness.apgd:ce',
    'apgd_dlr': 'jaxdistill.robustness.apgd:dlr',
    'apgd_t': 'jaxdistill.robustness.apgd:targeted',
    'fab_t': 'jaxdistill.robustness.fab:targeted',
    'square': 'jaxdistill.robustness.square:attack',
    'autoattack': 'jaxdistill.robustness.autoattack:attack',
  },
  labels={
    'fgsm': 'FGSM',
    'pgd': 'PGD',
    'pgd20': 'PGD-20',
    'pgd100': 'PGD-100',
    'cw': 'C&W',
    'apgd_ce': 'APGD-CE',
    'apgd_dlr': 'APGD-DLR',
    'apgd_t': 'APGD-T',
    'fab_t': 'FAB-T',
    'square': 'Square',
    'autoattack': 'AutoAttack',
  },
)


class Chosen(NamedTuple):
  """An attack by name with all its fields.

  Args:
    name: in the registry.
    factory: that makes it; two names of one attack have the same.
    fields: all that the factory takes.
  """

  name: str
  factory: Callable
  fields: Mapping[str, Any]

  def make(self, classes: int) -> tuple[iteration.Attack, ...]:
    """Returns the attacks to run one after the other, on logits of so many classes."""
    made = self.factory(classes, **self.fields)
    return (made,) if isinstance(made, iteration.Attack) else tuple(made)


def choose(name: str, eps: float, norm: str, given: Mapping[str, Any]) -> Chosen:
  """Returns the attack of a name with these fields.

  Raises:
    UserError: an unknown attack, norm or field, fields that are no mapping, an eps that cannot be,
      or a ball of the attack's own among its fields.

  >>> choose('pgd100', 0.1, 'linf', {}).fields['steps']
  100
  >>> choose('pgd', 0.1, 'linf', {'restart': 3})
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no field of attack pgd 'restart'; did you mean '...
  """
  if not isinstance(name, str):
    raise errors.unknown('attack', name, ATTACKS)
  factory = ATTACKS.find(name)
  if not isinstance(given, Mapping):
    raise errors.UserError(
      f"The fields of attack {name} are values by name, such as {{'steps': 10}}; got "
      f'{errors.brief(repr(given))}.'
    )
  threat.ball(eps, norm)
  for field in ('eps', 'norm'):
    if field in given:
      raise errors.UserError(
        f'The fields of attack {name} give {field}, and the ball is that of the whole evaluation: '
        f'give {field}= to the evaluation.'
      )
  registry.check([factory], given, f'attack {name}')
  fields = registry.defaults(factory) | dict(given) | dict(eps=eps, norm=norm)
  return Chosen(name, getattr(factory, 'func', factory), fields)

"""The methods of condensation by name; each module is imported when it is asked for.

A method is a function `plugs` that fills the plug points of the engine and, where networks are to
be trained on the real images first, a function `wants` beside it that says which.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn

from jaxdistill import registry
from jaxdistill.synthesis import engine
from jaxdistill.training.pretrained import Wanted

METHODS = registry.Registry(
  'condensation method',
  {name: f'jaxdistill.synthesis.{name}' for name in ('dance', 'dm', 'm3d')},
  labels={'dance': 'DANCE', 'dm': 'DM', 'm3d': 'M3D'},
)
LABELS = METHODS.labels


class _Own(NamedTuple):
  """A method of the user's, in place of a module."""

  plugs: Callable
  wants: Callable | None


def register(name: str, plugs: Callable, label: str = '', wants: Callable | None = None) -> None:
  """Adds a method of your own, which configs can then name; under a name given before, it takes the
  place of that one.

  Args:
    name: what `method.name` of a config says.
    plugs: the factory, (model, image_shape, *, fields of the method's config) -> engine.Plugs;
      every field has a default.
    label: how tables and reports call it; '': the name.
    wants: (*, fields of the method's config) -> pretrained.Wanted, the networks that are trained on
      the real set before; the plugs' `draw` gets them as its first argument. None: no networks.
      Each of the two functions takes the fields that it needs.

  Raises:
    UserError: for the name of a method that jaxdistill brings.

  >>> register('dm', lambda model, image_shape: None)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: The name 'dm' belongs to a condensation method of jaxdistill; ...
  """
  METHODS.register(name, _Own(plugs, wants), label)


def plugs(
  method: Mapping[str, object], model: nn.Module, image_shape: tuple[int, int, int]
) -> engine.Plugs:
  """Returns the plug points of a method from its section of the config, `name` and the method's own
  fields.

  Raises:
    UserError: for a method or a field that does not exist.

  >>> from jaxdistill import models
  >>> model = models.build({'name': 'convnet', 'width': 4, 'depth': 1}, 2, (8, 8, 1))
  >>> plugs({'name': 'm3d', 'kernels': 'linear'}, model, (8, 8, 1))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no field of method m3d 'kernels'; did you mean 'kernel'? ...
  """
  check(method)
  return registry.call(find(method['name']), model, image_shape, given=_fields(method))


def wants(method: Mapping[str, object]) -> Wanted | None:
  """Returns the networks that a method wants before it condenses; None for a method without, where
  each class is condensed as it would be alone.

  Raises:
    UserError: for a method or a field that does not exist.

  >>> wants({'name': 'dance', 'experts': 3}).number, wants({'name': 'dm'})
  (3, None)
  """
  check(method)
  factory = _wants(method['name'])
  return registry.call(factory, given=_fields(method)) if factory else None


def check(method: Mapping[str, object]) -> None:
  """Raises `UserError` for a method or a field that does not exist, or for a value that is none of
  those that the method's signature lists (typing.Literal).

  >>> check({'name': 'm3d', 'kernel': 'gausian'})
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no kernel 'gausian'; did you mean 'gaussian'? Valid: ...
  """
  name = method['name']
  registry.check(
    filter(None, (find(name), _wants(name))),
    _fields(method),
    f'method {name}',
    f'start from its config, --config={name}',
  )


def find(name: str) -> Callable:
  """Returns the factory of a method's plug points.

  >>> find('dm').__module__
  'jaxdistill.synthesis.dm'
  """
  return METHODS.find(name).plugs


def _wants(name: str) -> Callable | None:
  return getattr(METHODS.find(name), 'wants', None)


def _fields(method: Mapping[str, object]) -> dict[str, object]:
  return {field: value for field, value in method.items() if field != 'name'}

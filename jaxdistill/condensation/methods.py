"""The methods of this family by name; each module is imported when it is asked for."""

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill import errors
from jaxdistill.data import Dataset
from jaxdistill.synthesis import engine
from jaxdistill.training.problem import Problem
from jaxdistill.training.run import Run

METHODS = {name: f'jaxdistill.condensation.{name}' for name in ('dance', 'dm', 'm3d')}
LABELS = {'dance': 'DANCE', 'dm': 'DM', 'm3d': 'M3D'}
# Methods that users add with `register`, each in place of a module.
_REGISTERED: dict[str, types.SimpleNamespace] = {}


def register(name: str, plugs: Callable, label: str = '') -> None:
  """Adds a method of your own, which configs can then name; under a name given before, it takes the
  place of that one.

  Args:
    name: what `method.name` of a config says.
    plugs: the factory, (model, image_shape, *, fields of the method's config) -> engine.Plugs;
      every field has a default.
    label: how tables and reports call it; '': the name.

  Raises:
    UserError: for the name of a method that jaxdistill brings.

  >>> register('dm', lambda model, image_shape: None)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: The name 'dm' belongs to a method of jaxdistill; give yours ...
  """
  if name in METHODS and name not in _REGISTERED:
    raise errors.UserError(
      f'The name {name!r} belongs to a method of jaxdistill; give yours another one.'
    )
  _REGISTERED[name] = types.SimpleNamespace(plugs=plugs)
  METHODS[name], LABELS[name] = plugs.__module__, label or name


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
  fields = dict(method)
  return find(fields.pop('name'))(model, image_shape, **fields)


def check(method: Mapping[str, object]) -> None:
  """Raises `UserError` for a method or a field that does not exist, or for a value that is none of
  those that the method's signature lists (typing.Literal).

  >>> check({'name': 'm3d', 'kernel': 'gausian'})
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no kernel 'gausian'; did you mean 'gaussian'? Valid: ...
  """
  fields = dict(method)
  name = fields.pop('name')
  valid = {
    parameter.name: _choices(parameter.annotation)
    for parameter in inspect.signature(find(name)).parameters.values()
    if parameter.kind == parameter.KEYWORD_ONLY
  }
  for field, value in fields.items():
    if not valid:
      raise errors.UserError(
        f'There is no field of method {name} {field!r}, it has none of its own; '
        f'start from its config, --config={name}.'
      )
    if field not in valid:
      raise errors.unknown(f'field of method {name}', field, valid)
    if valid[field] and value not in valid[field]:
      raise errors.unknown(field, value, valid[field])


def _choices(annotation: Any) -> tuple[Any, ...]:
  return typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()


def find(name: str):
  """Returns the factory of a method's plug points.

  >>> find('dm').__module__
  'jaxdistill.condensation.dm'
  """
  if name not in METHODS:
    raise errors.unknown('condensation method', name, METHODS)
  return _module(name).plugs


def prepares(name: str) -> bool:
  """Whether a method first trains networks on the real set; if not, each class is condensed as it
  would be alone.

  >>> prepares('dance'), prepares('dm')
  (True, False)
  """
  return hasattr(_module(name), 'prepare')


def prepare(
  config: ConfigDict, train: Dataset, run: Run, mesh: Mesh | None, model: nn.Module
) -> Any:
  """Returns the networks that a method makes before it condenses (the experts of DANCE), () for a
  method without."""
  return (
    _module(config.method.name).prepare(config, train, run, mesh, model)
    if prepares(config.method.name)
    else ()
  )


def preparation(
  config: ConfigDict, train: Dataset, mesh: Mesh | None, model: nn.Module
) -> Problem | None:
  """Returns the training that `prepare` would run, None for a method without, for estimates."""
  return (
    _module(config.method.name).preparation(config, train, mesh, model)
    if prepares(config.method.name)
    else None
  )


def is_prepared(config: ConfigDict, train: Dataset, run: Run, model: nn.Module) -> bool:
  """Returns whether `prepare` would find its networks ready, for estimates."""
  tells = getattr(_module(config.method.name), 'is_prepared', None)
  return tells is not None and tells(config, train, run, model)


def untrained(config: ConfigDict, image_shape: tuple[int, int, int], model: nn.Module) -> Any:
  """Returns a stand-in for what `prepare` makes, of the same form, for estimates."""
  return (
    _module(config.method.name).untrained(config, image_shape, model)
    if prepares(config.method.name)
    else ()
  )


def _module(name: str):
  return _REGISTERED.get(name) or importlib.import_module(METHODS[name])

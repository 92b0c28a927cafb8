"""The methods of this family by name; each module is imported when it is asked for."""

import importlib
import inspect
from collections.abc import Mapping

import flax.linen as nn

from jaxdistill import errors
from jaxdistill.condensation import engine

METHODS = {'dm': 'jaxdistill.condensation.dm', 'm3d': 'jaxdistill.condensation.m3d'}
LABELS = {'dm': 'DM', 'm3d': 'M3D'}


def plugs(method: Mapping[str, object], model: nn.Module, image_shape: tuple[int, int, int]) -> engine.Plugs:
  """Returns the plug points of a method from its section of the config, `name` and the method's own fields.

  Raises:
    UserError: for a method or a field that does not exist.

  >>> from jaxdistill import models
  >>> model = models.build({'name': 'convnet', 'width': 4, 'depth': 1}, 2, (8, 8, 1))
  >>> plugs({'name': 'm3d', 'kernels': 'linear'}, model, (8, 8, 1))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no field of method m3d 'kernels'; did you mean 'kernel'? ...
  """
  fields = dict(method)
  factory = find(fields.pop('name'))
  valid = [name for name, parameter in inspect.signature(factory).parameters.items() if parameter.kind == parameter.KEYWORD_ONLY]
  for field in fields:
    if not valid:
      raise errors.UserError(f'There is no field of method {method["name"]} {field!r}, it has none of its own; '
                             f'start from its config, --config={method["name"]}.')
    if field not in valid:
      raise errors.unknown(f'field of method {method["name"]}', field, valid)
  return factory(model, image_shape, **fields)


def find(name: str):
  """Returns the factory of a method's plug points.

  >>> find('dm').__module__
  'jaxdistill.condensation.dm'
  """
  if name not in METHODS:
    raise errors.unknown('condensation method', name, METHODS)
  return importlib.import_module(METHODS[name]).plugs

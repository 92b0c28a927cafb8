"""The checks that the configs of every family have in common, beyond those of `schema`."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxdistill import files
from jaxdistill.errors import UserError, unknown
from jaxdistill.experiment import schema
from jaxdistill.training.run import check_name


def check_values(cls: type, config: Mapping[str, Any]) -> None:
  """Raises `UserError` for a value that `schema.check_values` refuses, or a folder of trained
  networks that cannot be made."""
  schema.check_values(cls, config)
  files.check_folder('run.experts', config.get('run', {}).get('experts', ''))


def check_methods(
  config: Mapping[str, Any],
  check: Callable[[Mapping[str, Any]], None],
  example: str,
  kind: str = 'method',
) -> None:
  """Raises `UserError` where the methods of a config are not named, are refused themselves, or have
  names that no phase can have.

  Args:
    config: with a section `method`, or the fields of `sections.Several`, which must name methods
      that have a section.
    check: refuses the section of a method.
    example: of methods in a comparison, 'alone+kd'.
    kind: what they are called.
  """
  for name, method in _methods(config, example, kind).items():
    if 'name' not in method:
      raise UserError(f'The {kind} {name} needs a field name, which {kind} it is.')
    check(method)
    check_name(name)


def check_single(config: Mapping[str, Any], family: str, file: str) -> None:
  """Raises `UserError` where the config of a user's file is of another family, or of several
  methods.

  >>> check_single(dict(family='robustness', compared=('at',)), 'robustness', 'my.py')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: my.py is no config of one method of the family robustness: its ...
  """
  if config.get('family') != family or 'method' not in config:
    raise UserError(
      f'{file} is no config of one method of the family {family}: its field family says '
      f'{config.get("family", "nothing")}, and its section method is '
      f'{"there" if "method" in config else "not there"}.'
    )


def _methods(config, example, kind):
  """The section of each method of a config by its name."""
  if 'method' in config:
    return {config['method'].get('name', 'method'): config['method'].to_dict()}
  compared, members = config['compared'], config['members']
  if not compared:
    raise UserError(f'A comparison needs {kind}s: methods={example} behind the data set.')
  for name in compared:
    if name not in members:
      raise unknown('section of members', name, members)
  return {name: members[name].to_dict() for name in compared}

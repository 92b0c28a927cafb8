"""The checks of a config before any work: what would fail later, told in one sentence."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill import files
from jaxdistill.errors import UserError, unknown
from jaxdistill.experiment import datasets, schema
from jaxdistill.numerics import settled
from jaxdistill.robustness import attacks, learning, methods, sections
from jaxdistill.robustness import work as works
from jaxdistill.robustness.work import Work
from jaxdistill.training import parallel


@settled()
def check(config: ConfigDict) -> None:
  """Raises `UserError` for what would fail later, cheapest first: fields, values, then the data
  set, the network, and the methods for them."""
  check_fields(config)
  check_values(config)
  mesh = parallel.make_mesh(config.run.devices)
  fields = sections.of_config(config)
  check_parts(works.make(fields, *datasets.load(fields.data), mesh))


def check_fields(config: ConfigDict) -> None:
  """Raises `UserError` for a field that is missing or that the config's task does not read."""
  schema.check_fields(sections.CONFIGS[config.task], config)


def check_values(config: ConfigDict) -> None:
  """Raises `UserError` for a field whose value is of the wrong type, out of range or no valid name;
  of the fields that the config's task has."""
  schema.check_values(sections.CONFIGS[config.task], config)
  for name in ('rows', 'experts'):
    files.check_folder(f'run.{name}', config.run[name])
  for name, method in of_methods(config).items():
    if 'name' not in method:
      raise UserError(f'The method {name} needs a field name, which method it is.')
    methods.check(method)
  # What the sections themselves refuse.
  asked = sections.of_config(config).robustness
  for name in asked.attacks:
    attacks.choose(name, asked.eps, asked.norm, {})


def of_methods(config: ConfigDict) -> dict[str, Mapping[str, Any]]:
  """Returns the section of each method of a config by its name.

  Raises:
    UserError: a comparison of none.
  """
  if 'method' in config:
    return {config.method.get('name', 'method'): config.method.to_dict()}
  if not config.compared:
    raise UserError('A comparison needs methods: methods=at+rwp behind the data set.')
  for name in config.compared:
    if name not in config.members:
      raise unknown('section of members', name, config.members)
  return {name: config.members[name].to_dict() for name in config.compared}


def check_parts(work: Work) -> None:
  """Raises `UserError` where classes, methods or attacks do not go together."""
  asked = work.fields.robustness
  for name in asked.attacks:
    attacks.choose(name, asked.eps, asked.norm, {}).make(work.train.num_classes)
  for section in learning.methods_of(work.fields).values():
    methods.make(work.setting, section)

"""The checks of a config before any work: what would fail later, told in one sentence."""

from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill.experiment import checking, datasets, running, schema
from jaxdistill.numerics import settled
from jaxdistill.robustness import attacks, methods, sections
from jaxdistill.robustness import work as works
from jaxdistill.robustness.work import Work
from jaxdistill.training import parallel
from jaxdistill.training.run import Run


@settled()
def check(config: ConfigDict) -> None:
  """Raises `UserError` for what would fail later, cheapest first: fields, values, then the data
  set, the network, and the methods for them."""
  check_fields(config)
  check_values(config)
  check_parts(load(sections.of_config(config)))


def load(fields: sections.Config, run: Run | None = None, mesh: Mesh | None = None) -> Work:
  """Returns what a run of a config works on; without a mesh on the devices of the config."""
  mesh = mesh or parallel.make_mesh(fields.run.devices)
  return works.make(fields, *datasets.load(fields.data, run), mesh)


def check_fields(config: ConfigDict) -> None:
  """Raises `UserError` for a field that is missing or that the config's task does not read."""
  schema.check_fields(sections.CONFIGS[config.task], config)


def check_values(config: ConfigDict) -> None:
  """Raises `UserError` for a field whose value is of the wrong type, out of range or no valid name;
  of the fields that the config's task has."""
  checking.check_values(sections.CONFIGS[config.task], config)
  checking.check_methods(config, methods.check, example='at+rwp')
  # What the sections themselves refuse.
  asked = sections.of_config(config).robustness
  for name in asked.attacks:
    attacks.choose(name, asked.eps, asked.norm, {})


def check_parts(work: Work) -> None:
  """Raises `UserError` where classes, methods or attacks do not go together."""
  asked = work.fields.robustness
  for name in asked.attacks:
    attacks.choose(name, asked.eps, asked.norm, {}).make(work.train.num_classes)
  for section in running.methods_of(work.fields).values():
    methods.make(work.setting, section)

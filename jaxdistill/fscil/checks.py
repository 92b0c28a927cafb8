"""The checks of a config before any work: what would fail later, told in one sentence."""

from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill import errors
from jaxdistill.data import Dataset
from jaxdistill.errors import UserError, unknown
from jaxdistill.experiment import checking, datasets, schema
from jaxdistill.experiment.running import methods_of
from jaxdistill.fscil import flow, memory, methods, sections
from jaxdistill.fscil import stage as stages
from jaxdistill.fscil.stage import Stage
from jaxdistill.numerics import settled
from jaxdistill.training import parallel
from jaxdistill.training.run import Run

# Memories that cost nothing where nobody reads them.
_UNREAD = ('means', 'none')


@settled()
def check(config: ConfigDict) -> None:
  """Raises `UserError` for what would fail later, cheapest first: fields, values, then the data
  set, its division into sessions, and the base networks that are to be taken.

  >>> from jaxdistill.fscil import settings
  >>> config = settings.defaults(settings.Arguments(way=4), 'ncm')
  >>> check(config)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: digits: way=4 does not divide the 6 classes that follow the ...
  """
  check_fields(config)
  check_values(config)
  parallel.make_mesh(config.run.devices)
  fields = sections.of_config(config)
  train, _, test = datasets.load(fields.data)
  check_parts(fields, train, test)


def load(fields: sections.Config, run: Run | None = None, mesh: Mesh | None = None) -> Stage:
  """Returns what a run of a config works on; without a mesh on the devices of the config."""
  train, _, test = datasets.load(fields.data, run)
  return stages.stage(fields, train, test, mesh or parallel.make_mesh(fields.run.devices))


def check_fields(config: ConfigDict) -> None:
  """Raises `UserError` for a field that is missing or that the config's task does not read."""
  schema.check_fields(sections.CONFIGS[config.task], config)


def check_values(config: ConfigDict) -> None:
  """Raises `UserError` for a field whose value is of the wrong type, out of range or no valid name;
  of the fields that the config's task has."""
  protocol = config.protocol
  if not (protocol.base_classes and protocol.way and protocol.shot):
    raise UserError(
      f'Nothing is settled of how the classes of {config.data.name} arrive: give base_classes=, '
      'way= and shot= behind the data set.'
    )
  checking.check_values(sections.CONFIGS[config.task], config)
  if config.data.validation_share:
    raise UserError(
      f'data.validation_share is {config.data.validation_share}; it must be 0 here, as a fixed '
      'list counts all training images: base_training.select=val holds out base images, the share '
      'base_training.held_out of them.'
    )
  if protocol.indices and protocol.draws > 1:
    raise UserError(
      f'protocol.draws is {protocol.draws}, but the list protocol.indices={protocol.indices} fixes '
      'the images: take 1 draw, or no list.'
    )
  base, alpha = config.base_training, config.generative.alpha
  if alpha and base.given and not (base.epochs or base.steps):
    raise UserError(
      f'generative.alpha is {alpha}, and base networks that are given stay as they are: train them '
      'on by base_training.epochs=30, or set generative.alpha=0.'
    )
  checking.check_methods(config, methods.check, example='ncm+pki', kind='learner')
  errors.positive_numbers(**{'base_training.fit_learning_rate': base.fit_learning_rate})
  for name, replay in memories_of(config).items():
    if 'name' not in replay:
      raise UserError(f'The memory of {name} needs a field name, which memory it is.')
    memory.check(replay)
    learner = config.method.name if 'method' in config else config.members[name].name
    if not methods.reads_memory(learner) and replay['name'] not in _UNREAD:
      raise UserError(
        f'The learner {learner} reads no memory, and one of {replay["name"]} would be made for '
        f'nothing: leave memory={replay["name"]} out, or take another learner.'
      )


def memories_of(config: ConfigDict) -> dict:
  """Returns the section of each learner's memory by the learner's name."""
  if 'method' in config:
    return {config.method.name: config.replay.to_dict()}
  for name in config.compared:
    if name not in config.memories:
      raise unknown('section of memories', name, config.memories)
  return {name: config.memories[name].to_dict() for name in config.compared}


def check_parts(fields: sections.Config, train: Dataset, test: Dataset) -> None:
  """Raises `UserError` where the division into sessions, the network, the base networks, the
  learners or the memory do not go with the data."""
  stage = stages.stage(fields, train, test, mesh=None)
  _ = fields.protocol.rate_factors
  flow.check_source(stage)
  for name, method in methods_of(fields).items():
    flow.check_learner(stage, name, method)

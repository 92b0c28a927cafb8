"""The checks of a config before any work: what would fail later, told in one sentence."""

from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill.distillation import (
  flow,
  keeping,
  methods,
  running,
  sections,
  standing,
  teachers,
  verifying,
)
from jaxdistill.distillation import work as works
from jaxdistill.distillation.flow import Flow
from jaxdistill.distillation.work import Work
from jaxdistill.experiment import checking, datasets, schema
from jaxdistill.numerics import settled
from jaxdistill.training import parallel
from jaxdistill.training.run import Run


@settled()
def check(config: ConfigDict) -> None:
  """Raises `UserError` for what would fail later, cheapest first: fields, values, then the data
  set, the views, the networks, the teacher that is to be taken, the methods for this pair, and
  what is verified."""
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
  checking.check_methods(config, methods.check, example='alone+kd')
  # What the sections themselves refuse.
  sections.of_config(config)


def check_parts(work: Work) -> None:
  """Raises `UserError` where the teacher, the methods, the kept outputs, the pairs, what adapts to
  them or the devices do not go with the data and the networks."""
  teacher = standing.teacher(work)
  teacher.part(work.fields.teaching.normalisation)
  if work.given is None:
    teachers.check(work.training, work.taught, work.mesh)
  else:
    teacher.check_fits(work.teacher_shape(teacher))
  _ = work.paired
  for section in running.methods_of(work.fields).values():
    begun = Flow(work, teacher, methods.make(work.pair(teacher), section), {})
    for guide in begun.method.guides.values():
      guide.check_fits(work.teacher_shape(guide))
      work.form_of(guide)
    for stage in begun.method.stages:
      game = flow.stage_game(begun, stage)
      asked = {}
      if stage.tables is None:  # a term that does not fit the networks
        asked = keeping.asked(work, begun.views, begun.guides, game, {})
      if game.guides and begun.views.variants is not None:
        keeping.check(work, begun.views, begun.guides, game, asked)
  form = teachers.variables_form(work.student, work.student_shape)
  verifying.check(work.fields.verification, work.pairs, work.fields.model['name'], form)
  _ = work.wanted

"""Stand-ins for what a run has not trained yet, of the same form, for estimates."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from jaxdistill.data.paired import LOW
from jaxdistill.distillation import flow, teachers
from jaxdistill.distillation.flow import Flow
from jaxdistill.distillation.method import Method
from jaxdistill.distillation.teachers import Teacher
from jaxdistill.distillation.work import Work, outputs_form
from jaxdistill.training import parallel
from jaxdistill.training.problem import Problem


def teacher(work: Work) -> Teacher:
  """Returns the teacher that is given, else one that has learned nothing."""
  if work.given is not None:
    return work.given
  model = work.training.build(work.taught)
  form = teachers.variables_form(model, work.taught.image_shape)
  variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), form)
  return Teacher(
    work.training.network['name'],
    work.taught.num_classes,
    model,
    variables,
    class_names=work.taught.class_names,
  )


class _Blank(Flow):
  """A flow whose networks see the same in every image."""

  def features(
    self,
    name: str,
    view: str = '',
    outputs: Sequence[str] = ('embedding',),
  ) -> dict[str, np.ndarray]:
    """Returns ones of the form of `Flow.features`."""
    work, count = self.work, len(self.work.train)
    if name in self.guides:
      form = work.form_of(self.guides[name])
    else:
      part = self._stage_of(name).parts[name]
      reads = view or part.view
      shape = work.student_shape if reads == LOW else work.train.image_shape
      form = outputs_form(part.module, shape)
    return {key: np.ones((count, *form[key].shape[1:]), np.float32) for key in outputs}


def problems(work: Work, guide: Teacher, method: Method) -> Iterator[tuple[str, Problem]]:
  """Yields (stage, its problem) of a method, each stage from an untrained one before it.

  For devices that are only compiled for, stages that start from others are left out, as nothing of
  those is there.
  """
  current = _Blank(work, guide, method, {})
  for stage in method.stages:
    remote = parallel.is_remote(work.mesh)
    if remote and (stage.start or stage.tables):
      continue
    problem = flow.stage_problem(current, stage)
    yield stage.name, problem
    if not remote and len(method.stages) > 1:
      ended = {**current.ended, stage.name: flow.on_host(work, problem.state)}
      current = dataclasses.replace(current, ended=ended)

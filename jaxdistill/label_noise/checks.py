"""The checks of a config before any work: what would fail later, told in one sentence."""

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill.errors import UserError
from jaxdistill.experiment import checking, datasets, running, schema
from jaxdistill.label_noise import methods, sections
from jaxdistill.label_noise import work as works
from jaxdistill.label_noise.work import Work
from jaxdistill.numerics import settled
from jaxdistill.training import parallel
from jaxdistill.training.run import Run


@settled()
def check(config: ConfigDict) -> None:
  """Raises `UserError` for what would fail later, cheapest first: fields, values, then the data
  set, the labels, the network, and the methods for them."""
  check_fields(config)
  check_values(config)
  check_parts(load(sections.of_config(config)))


def load(fields: sections.Config, run: Run | None = None, mesh: Mesh | None = None) -> Work:
  """Returns what a run of a config works on; without a mesh on the devices of the config."""
  mesh = mesh or parallel.make_mesh(fields.run.devices)
  train, _, test = datasets.load(fields.data, run, takes=works.SETS, held_out=False)
  return works.make(fields, train, test, mesh)


def check_fields(config: ConfigDict) -> None:
  """Raises `UserError` for a field that is missing or that the config's task does not read."""
  schema.check_fields(sections.CONFIGS[config.task], config)


def check_values(config: ConfigDict) -> None:
  """Raises `UserError` for a field whose value is of the wrong type, out of range or no valid name;
  of the fields that the config's task has."""
  checking.check_values(sections.CONFIGS[config.task], config)
  checking.check_methods(config, methods.check, example='vote+ccc')
  sections.of_config(config)  # what the sections themselves refuse


def check_parts(work: Work) -> None:
  """Raises `UserError` where labels and methods do not go together, or scores make no sense."""
  if work.is_multilabel:
    _check_labelled(work)
  for section in running.methods_of(work.fields).values():
    methods.make(work.setting, section)


def _check_labelled(work):
  """Refuses sets that are scored by mean average precision, which needs a label."""
  matrices = {'training examples': work.evidence.matrix, 'test examples': work.test.labels}
  if work.validation is not None:
    matrices['held-out examples'] = work.validation_observed.evidence.matrix
  if work.observed.truth is not None:
    matrices['rows of true labels'] = work.observed.truth
  for what, matrix in matrices.items():
    if not np.any(matrix):
      raise UserError(
        f'None of the {len(matrix)} {what} of {work.train.name} has any label, and the mean '
        'average precision by which networks are scored needs one; give others, or more.'
      )

"""A condensation as a phase: built from the fields that decide it, run through the loop, wrapped as
a condensed set."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill import models
from jaxdistill.condensation import sections
from jaxdistill.data import Dataset
from jaxdistill.numerics import settled
from jaxdistill.synthesis import condensing as synthesis
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.synthesis.condensing import Part, Problem
from jaxdistill.training import loop
from jaxdistill.training.run import Run, environment

__all__ = ['Condensing', 'Part', 'Problem', 'condense', 'setup']


@dataclasses.dataclass(frozen=True)
class Condensing:
  """What a condensation is told.

  Attributes:
    section: the numbers that every method has.
    method: its name and its own fields, see `methods.plugs`.
    model: what `models.build` takes, but for the dtype.
    dtype: that the network computes in.
    seed: of everything random.
    classes_at_once: classes that one call of the network takes; 0: chosen for the backend.
    recipe: of the evaluation that goes with the set.
    origin: the whole config, which the set carries along.
  """

  section: sections.Condensation
  method: Mapping[str, Any]
  model: Mapping[str, Any]
  dtype: str = 'float32'
  seed: int = 0
  classes_at_once: int = 0
  recipe: str = 'idc'
  origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @classmethod
  def of_config(cls, config: ConfigDict) -> 'Condensing':
    """Returns what a config tells a condensation.

    >>> from jaxdistill import config
    >>> condensing = Condensing.of_config(config.load('m3d:digits,ipc=2'))
    >>> condensing.section.storage.ipc, condensing.method['kernel']
    (2, 'gaussian')
    """
    fields = sections.of_config(config)
    return cls(
      fields.condensation,
      fields.method,
      fields.model,
      fields.dtype,
      fields.seed,
      fields.run.classes_at_once,
      fields.evaluation.recipe,
      config.to_dict(),
    )

  def network(self, train: Dataset) -> nn.Module:
    """Builds the network for the classes and images of a data set."""
    fields = {**self.model, 'dtype': self.dtype}
    return models.build(fields, train.num_classes, train.image_shape)

  def wrap(self, canvases: np.ndarray, train: Dataset) -> Condensed:
    """Returns canvases [classes, ipc, h, w, c] with all that is needed to use them."""
    augmentation = self.section.augmentation_of(train.flip)
    return Condensed(
      canvases.reshape(-1, *canvases.shape[2:]),
      np.repeat(np.arange(len(canvases)), canvases.shape[1]),
      train.class_names,
      train.mean,
      train.std,
      factor=self.section.factor,
      flip=train.flip,
      dataset=train.name,
      method=self.method['name'],
      recipe=self.recipe,
      config=dict(self.origin),
      versions=environment()['versions'],
      augmentation={'strategy': augmentation, 'composition': self.section.composition},
    )


@settled()
def setup(
  condensing: Condensing,
  train: Dataset,
  mesh: Mesh | None = None,
  pool: Any = (),
  part: Part = Part(),
) -> Problem:
  """Builds a condensation and places data, canvases and the method's networks on the devices.

  Args:
    condensing: what is to be done.
    train: the real images.
    mesh: devices over which the classes are spread; None: the default device.
    pool: the networks that the method wants.
    part: where `train` stands in a larger set.
  """
  section = condensing.section
  return synthesis.setup(
    condensing.method,
    section.engine_settings(train.flip, condensing.classes_at_once),
    condensing.network(train),
    train,
    init=section.init,
    iterations=section.iterations,
    seed=condensing.seed,
    mesh=mesh,
    pool=pool,
    part=part,
  )


@settled()
def condense(
  condensing: Condensing,
  train: Dataset,
  ready: Problem,
  run: Run,
  phase: str = 'condense',
) -> tuple[Condensed, Condensed]:
  """Runs a condensation that is ready for the loop; returns (the condensed set, the canvases that
  it started from).

  `phase` names it in the run: metrics, checkpoints and resuming are the loop's.
  """
  before = condensing.wrap(ready.canvases, train)
  if train.counts.min() < condensing.section.batch_real:
    _begin_anew(run, phase, ready.num_steps)
  state = loop.fit(run, phase, ready)
  settings = condensing.section.engine_settings(train.flip)
  images = synthesis.learned(state, settings, train)
  return condensing.wrap(images, train), before


def _begin_anew(run: Run, phase: str, num_steps: int) -> None:
  """Drops what an earlier version, which repeated the images of small classes, has left unfinished:
  half of a condensation by one rule and half by another would be neither."""

  def begin():
    checkpoints = run.checkpoints(phase)
    steps = checkpoints.steps() if checkpoints else []
    if steps and steps[-1] < num_steps:
      run.say(f'{phase}: begins anew; an earlier version repeated images of small classes.')
      run.discard(phase)
    return True

  run.once(f'rules/{phase}-small-classes', begin)

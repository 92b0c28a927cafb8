"""What a run works on before anything is trained: the sessions of every draw, the encoder without
weights, and how the base networks are trained."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from jaxdistill import draws, models
from jaxdistill.data import Dataset, hold_out
from jaxdistill.data.examples import Examples
from jaxdistill.data.transform import Transform
from jaxdistill.errors import UserError
from jaxdistill.experiment.running import methods_of
from jaxdistill.fscil import (
  base,
  engine,
  features,
  generative,
  methods,
  protocol,
  recipes,
  sections,
)
from jaxdistill.fscil.base import Training
from jaxdistill.fscil.learner import Task
from jaxdistill.fscil.protocol import Sessions
from jaxdistill.numerics import settled
from jaxdistill.training.recipe import Recipe

# Draws of one seed are this far from those of the next.
_DRAWS = 1000


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
  """What a run works on.

  Attributes:
    fields: of its config.
    draws: the sessions, one for every draw of the few images; all but these is the same.
    encoder: of all columns, without weights.
    mesh: the devices.
  """

  fields: sections.Config
  draws: tuple[Sessions, ...]
  encoder: nn.Module
  mesh: Mesh | None

  @property
  def sessions(self) -> Sessions:
    """Those of the first draw."""
    return self.draws[0]

  @property
  def columns(self) -> int:
    """C, all classes."""
    return self.sessions.num_classes

  @property
  def view(self) -> Transform | None:
    """What every image goes through before it is tested or remembered."""
    return features.zoomed(self.fields.base_training.zoom, self.sessions.train.image_shape)

  @functools.cached_property
  def training(self) -> Training:
    """How the base networks are trained, but for what they start from."""
    asked = self.fields.base_training
    recipe = recipes.find(
      asked.recipe, epochs=asked.epochs, batch=asked.batch, learning_rate=asked.learning_rate
    )
    return Training(
      recipe,
      asked.networks,
      self.fields.seed,
      asked.steps,
      asked.checks,
      asked.select,
      begun=self._pretrained(),
      view=self.view,
      generative=self.fields.generative,
    )

  @functools.cached_property
  def pretraining(self) -> Recipe | None:
    """How an encoder is pre-trained before base training; None: it is not, or it is given."""
    asked = self.fields.generative
    if self.fields.base_training.given or not asked.pretrain_epochs:
      return None
    return recipes.find(
      asked.pretrain_recipe,
      epochs=asked.pretrain_epochs,
      learning_rate=asked.pretrain_learning_rate,
    )

  def _pretrained(self) -> str:
    """The hash of the encoder that is pre-trained; '' for none."""
    if self.pretraining is None:
      return ''
    images, _ = self.split
    return generative.identity(
      self.encoder, images, self.fields.generative, self.pretraining, seed=self.fields.seed
    )

  @functools.cached_property
  def split(self) -> tuple[Dataset, Dataset | None]:
    """The base images to train on, and those held out of them to choose by."""
    asked = self.fields.base_training
    if asked.select != 'val':
      return self.sessions.base, None
    if not asked.held_out:
      raise UserError(
        'base_training.select=val chooses by held-out base images: set base_training.held_out '
        'above 0.'
      )
    return hold_out(self.sessions.base, asked.held_out)

  @functools.cached_property
  def scored(self) -> dict[str, Examples]:
    """The base images of the checks of base training."""
    train, validation = self.split
    parts = {'test': self.sessions.test_of(0)}
    if validation is not None:
      parts['validation'] = validation
    return {name: Examples.of(images).normalised_as(train) for name, images in parts.items()}

  def network(self, head: str) -> nn.Module:
    """Returns the base network with a head, without weights."""
    return base.network(self.encoder, head, self.columns, self.fields.base_training.head_width)

  def task(self, head: str) -> Task:
    """Returns what learners know beforehand."""
    parts, model = self.sessions, self.network(head)
    shape = (1, *parts.train.image_shape)
    form = lambda: model.init_with_output(draws.key(0), np.zeros(shape, np.float32))
    (_, outputs), _ = jax.eval_shape(form)
    return Task(
      parts.num_classes,
      parts.base_classes,
      parts.way,
      parts.shot,
      parts.sessions,
      outputs['embedding'].shape[-1],
      parts.train.image_shape,
      model,
      parts.train.mean,
      parts.train.std,
      self.view,
      self.fields.dtype,
    )


@settled()
def stage(fields: sections.Config, train: Dataset, test: Dataset, mesh: Mesh | None) -> Stage:
  """Returns what a run works on.

  Raises:
    UserError: the classes do not divide into such sessions, there are too few images, a list does
      not fit, or the network cannot take the images.
  """
  asked = fields.protocol
  first = fields.seed * _DRAWS % 2**32
  parts = protocol.sessions(
    train,
    test,
    asked.base_classes,
    asked.way,
    asked.shot,
    draw=first,
    indices=asked.indices or None,
    order=asked.order or None,
    number=asked.sessions or None,
  )
  if not parts.sessions:
    raise UserError(
      f'{train.name}: protocol.base_classes is {asked.base_classes}, all classes that there are; '
      'leave some for the sessions.'
    )
  others = [parts.drawn((first + draw) % 2**32) for draw in range(1, asked.draws)]
  network = {**fields.model, 'dtype': fields.dtype}
  encoder = models.build(network, parts.num_classes, train.image_shape)
  fields.generative.check(encoder)
  return Stage(fields, (parts, *others), encoder, mesh)


def memories_of(fields: sections.Config) -> dict[str, Mapping[str, Any]]:
  """Returns what each learner remembers, by its name."""
  if isinstance(fields, sections.LearnConfig):
    return {fields.method['name']: fields.replay}
  return {name: fields.memories[name] for name in fields.compared}


def base_head(fields: sections.Config) -> str:
  """Returns the head that the base networks are trained with: what is asked for, else that of the
  first learner that wants a certain one."""
  if fields.base_training.head:
    return fields.base_training.head
  wanted = [methods.head_of(method) for method in methods_of(fields).values()]
  return next(filter(None, wanted), 'cosine')


def learner_head(fields: sections.Config, method: Mapping[str, Any]) -> str:
  """Returns the head that a learner starts from; where it needs none, that of the base networks."""
  if not methods.reads_head(method['name']):
    return base_head(fields)
  return methods.head_of(method) or base_head(fields)


def runs(stage: Stage, trains: bool = True) -> engine.Runs:
  """Returns which runs go side by side: base networks x draws x factors of the learning rate, of
  which a learner that trains nothing has one."""
  factors = stage.fields.protocol.rate_factors if trains else (1.0,)
  return engine.Runs(
    stage.fields.base_training.networks, len(stage.draws), factors, mesh=stage.mesh
  )

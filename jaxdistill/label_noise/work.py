"""What a run works on before anything is trained: the examples with their observed labels, the
network without weights, and how is trained."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
import optax
from jax.sharding import Mesh

from jaxdistill import models
from jaxdistill.data import Dataset, MultiLabelled, Vectors, views
from jaxdistill.data.examples import Examples
from jaxdistill.data.streaming import Streamed
from jaxdistill.data.transform import Transform
from jaxdistill.data.views import Views
from jaxdistill.errors import UserError
from jaxdistill.experiment import datasets
from jaxdistill.label_noise import making, recipes, sections, strong
from jaxdistill.label_noise.making import Observed
from jaxdistill.label_noise.method import Setting
from jaxdistill.label_noise.observed import Evidence
from jaxdistill.numerics import settled
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.schedules import Schedule

# What has labels that may be wrong.
SETS = (Dataset, Vectors, MultiLabelled)
# Seeds of what is held out, trusted and taken of the training examples: one split for all runs.
_HELD, _TRUSTED, _TAKEN = 0, 1, 2


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
  """What a run works on.

  Attributes:
    fields: of its config.
    train: examples that the networks learn from; their labels are the majority votes.
    observed: what was observed of them, and what only reports may know.
    validation: held-out examples, likewise; None: none are.
    validation_observed: of these.
    trusted: examples with true labels; None: there are none.
    test: examples with true labels.
    network: without weights.
    mesh: the devices.
  """

  fields: sections.Config
  train: Any
  observed: Observed
  validation: Any | None
  validation_observed: Observed | None
  trusted: Any | None
  test: Any
  network: nn.Module
  mesh: Mesh | None = None

  @property
  def evidence(self) -> Evidence:
    """The observed labels of the training examples."""
    return self.observed.evidence

  @property
  def is_multilabel(self) -> bool:
    """Whether an example has any number of classes."""
    return self.evidence.kind == 'matrix'

  @functools.cached_property
  def recipe(self) -> Recipe:
    """How is trained, unmirrored where examples lose their class."""
    asked = self.fields.learning
    recipe = recipes.find(
      asked.recipe, epochs=asked.epochs, batch=asked.batch, learning_rate=asked.learning_rate
    )
    if not asked.augmented or self.train.image_shape[0] == 1:
      recipe = dataclasses.replace(recipe, transforms=())
    return recipe if self.train.flip else recipe.unmirrored()

  @property
  def batch(self) -> int:
    """Examples a step."""
    return min(self.recipe.batch, len(self.train))

  def epoch_steps(self, examples: int, batch: int = 0) -> int:
    """Returns the steps of one pass over so many examples."""
    return self.recipe.changed(batch=batch).epoch_steps(examples)

  @property
  def weak(self) -> tuple[Transform, ...]:
    """Operations of the usual view."""
    return self.recipe.transforms

  @property
  def strong(self) -> tuple[Transform, ...]:
    """Operations of a view for contrastive learning."""
    return strong.transforms(self.train.image_shape) if self.fields.learning.augmented else ()

  def examples(self, dataset: Any) -> Examples:
    """Returns examples as the networks read them, by the statistics of the training set."""
    return dataclasses.replace(
      Examples.of(dataset), mean=tuple(self.train.mean), std=tuple(self.train.std)
    )

  def views(self, named: Any, common: Sequence[Transform] = ()) -> Views:
    """Returns views by name, see `Setting.views`."""
    train = self.train
    return views.make(
      common,
      named,
      mean=train.mean,
      std=train.std,
      num_classes=train.num_classes,
      flip=train.flip,
    )

  def optimizer(
    self,
    epochs: int,
    learning_rate: float,
    constant: bool,
    weight_decay: float | None,
    on: str = 'train',
  ) -> optax.GradientTransformation:
    """Returns the optimiser of a phase, see `Setting.optimizer`."""
    examples = {'train': self.train, 'trusted': self.trusted}[on]
    recipe = self.recipe.changed(epochs=epochs, learning_rate=learning_rate)
    optimizer = recipe.optimizer
    if constant:
      rate = recipe.schedule.learning_rate
      schedule = Schedule('constant', rate)
      recipe = dataclasses.replace(recipe, schedule=schedule, drop_at_epochs=False)
    if weight_decay is not None:
      optimizer = dataclasses.replace(optimizer, weight_decay=weight_decay)
    return optimizer.build(recipe.learning_rate(len(examples)), recipe.groups)

  @property
  def setting(self) -> Setting:
    """What a method is made for."""
    held = self.validation_observed
    return Setting(
      self.network,
      self.evidence,
      self.examples(self.train),
      self.recipe.epochs,
      self.batch,
      self.epoch_steps(len(self.train)),
      self.weak,
      self.strong,
      self.optimizer,
      self.views,
      None if self.trusted is None else self.examples(self.trusted),
      None if held is None else held.evidence,
      self.recipe.learning_rate(len(self.train)),
    )


@settled()
def make(fields: sections.Config, train: Any, test: Any, mesh: Mesh | None = None) -> Work:
  """Returns what a run works on, with the observed labels that its config says.

  Args:
    fields: of its config.
    train, test: of one set of classes, with the labels that they are stored with.
    mesh: the devices.

  Raises:
    UserError: other classes on one side, more examples asked for than there are, labels that do not
      fit, a network that cannot take the examples.
  """
  # Labels are made of all examples, so that a smaller set is a part of a larger one's.
  observed = making.observe(fields.evidence, train)
  return assemble(fields, divide(fields, train, observed), test, mesh)


class Divided(NamedTuple):
  """Examples to learn from, and those that are set aside.

  train, observed: the former, with what was observed of them. rows: their positions in the whole
  set. validation: held-out examples with what was observed of them, or None. trusted: examples with
  true labels, or None.
  """

  train: Any
  observed: Observed
  rows: np.ndarray
  validation: tuple[Any, Observed] | None
  trusted: Any | None


def divide(
  fields: sections.Config,
  train: Any,
  observed: Observed,
  validation: tuple[Any, Observed] | None = None,
  trusted: Any | None = None,
) -> Divided:
  """Returns the examples of a run: so many of all as its config asks for, without those that are
  held out and those that are trusted. Which are held out does not depend on any label.

  Args:
    fields: of the config.
    train, observed: all examples.
    validation, trusted: in place of examples that would be set aside here.

  Raises:
    UserError: more examples asked for than there are, or all of them held out.
  """
  asked = fields.learning
  if asked.train_images > len(train):
    raise UserError(
      f'learning.train_images is {asked.train_images}; {train.name} has {len(train)} training '
      'examples: ask for at most as many, by images= behind the data set in a quick run too.'
    )
  rows = np.arange(len(train))
  if not len(train.ids):
    # Tables call an example by its row in the whole, of which some are set aside.
    train = dataclasses.replace(train, ids=rows)
  if asked.train_images:
    rows = np.sort(np.random.default_rng(_TAKEN).permutation(rows)[: asked.train_images])
  if fields.data.validation_share and validation is None:
    held, rows = _held_out(rows, fields.data.validation_share)
    validation = train.take(held), observed.take(held)
  if asked.trusted and trusted is None:
    believed, rows = _trusted(rows, observed.truth, asked.trusted, train)
    trusted = dataclasses.replace(train.take(believed), labels=observed.truth[believed])
  return Divided(train.take(rows), observed.take(rows), rows, validation, trusted)


def assemble(
  fields: sections.Config, divided: Divided, test: Any, mesh: Mesh | None = None
) -> Work:
  """Returns the work of examples whose observed labels are known.

  Args:
    fields: of the config.
    divided: the examples.
    test: with true labels.
    mesh: the devices.

  Raises:
    UserError: see `make`.
  """
  train, observed, trusted = divided.train, divided.observed, divided.trusted
  held, held_observed = divided.validation or (None, None)
  if isinstance(train.images, Streamed):
    raise UserError(
      f'{train.name} is too large to stay in memory, and whole passes over it come between the '
      'steps: set data.stream=off, or take fewer examples with learning.train_images.'
    )
  others = {'test': test, 'trusted': trusted, 'validation': held}
  datasets.check_alike(train, others, many='examples')
  if observed.evidence.kind != 'matrix' and train.num_classes < 2:
    raise UserError(f'{train.name} has one class; labels are wrong among at least two.')
  network = {**fields.model, 'dtype': fields.dtype}
  return Work(
    fields,
    _with_labels(train, observed),
    observed,
    None if held is None else _with_labels(held, held_observed),
    held_observed,
    trusted,
    test,
    models.build(network, train.num_classes, train.image_shape),
    mesh,
  )


def _with_labels(dataset, observed):
  """Examples labelled by the votes, so that nothing that sees them sees the true labels."""
  return dataclasses.replace(dataset, labels=observed.evidence.labels)


def _held_out(rows, share):
  """(Held-out, other) rows, whatever their labels are."""
  order = np.random.default_rng(_HELD).permutation(rows)
  count = max(1, round(share * len(rows)))
  if count >= len(rows):
    raise UserError(
      f'A validation share of {share:g} holds out {count} of {len(rows)} examples and leaves none '
      'to learn from; ask for a smaller share (validation of label_noise.fit, val= and '
      'data.validation_share of configs), or give more examples.'
    )
  return np.sort(order[:count]), np.sort(order[count:])


def _trusted(rows, truth, per_class, dataset):
  """(Trusted, other) rows: so many of each class by their true labels."""
  if truth is None or truth.ndim > 1:
    raise UserError(
      'learning.trusted takes examples by their true labels, which are not known here; give '
      'trusted examples to label_noise.fit.'
    )
  chosen = []
  order = np.random.default_rng(_TRUSTED).permutation(rows)
  for label in range(dataset.num_classes):
    members = order[truth[order] == label][:per_class]
    if len(members) < per_class:
      raise UserError(
        f'learning.trusted is {per_class}; class {dataset.class_names[label]} of {dataset.name} '
        f'has {len(members)} examples here.'
      )
    chosen.append(members)
  trusted = np.sort(np.concatenate(chosen))
  return trusted, np.setdiff1d(rows, trusted)

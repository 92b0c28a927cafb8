"""How a classifier is trained, as one value."""

import dataclasses
import math
from typing import Any

import optax

from jaxdistill import errors
from jaxdistill.data import augment, views
from jaxdistill.data.examples import Examples
from jaxdistill.data.mixing import Mixing
from jaxdistill.data.transform import Transform
from jaxdistill.data.views import Views
from jaxdistill.errors import UserError
from jaxdistill.training.averages import Average
from jaxdistill.training.groups import Group
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.schedules import Schedule, in_steps


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How a classifier is trained.

  The augmentation is DiffAug's `strategy` with CutMix, as in the condensation literature, or any
  `transforms` and `mixing`.

  Attributes:
    name: for messages and reports.
    batch: images a step, over all devices.
    epochs: passes over the training set.
    schedule: of the learning rate.
    optimizer: of the weights.
    groups: parts of the network with a learning rate or decay of their own.
    clear_momentum: whether the momentum is set to zero at each drop of the learning rate (a
      released code that makes a new optimiser does that).
    strategy: augmentation operations, see `data.augment.diffaugment`.
    composition: 'idc' or 'dm'.
    cutmix: probability of CutMix for a batch.
    transforms: augmentation operations in place of `strategy`, see `data.views.make`.
    mixing: of images and labels, in place of `cutmix`.
    label_smoothing: share of the label spread over all classes.
    drop_last: whether the last, short batch of an epoch is left out; else it counts as a step.
    average: exponential average of the weights, which is then what is scored; None: the weights.
    drop_at_epochs: whether the learning rate drops between two epochs: the fraction d of `epochs`
      is floor(d epochs) of them, as in codes that count epochs; else it is so much of the steps. A
      training that is given another number of steps has no such epochs.
    drop_delay: epochs by which each of these drops comes later.
    extra_epochs: passes beyond `epochs`, where a code counts to it and one further.

  Raises:
    UserError: both kinds of augmentation, a batch or number of epochs below 1, or drops at epochs
      of a schedule that has none.
  """

  name: str
  batch: int = 64
  epochs: int = 1000
  schedule: Schedule = Schedule('multistep', 0.01, drops=(2 / 3, 5 / 6), drop=0.2)
  optimizer: Optimizer = Optimizer('sgd', momentum=0.9, weight_decay=5e-4)
  groups: tuple[Group, ...] = ()
  clear_momentum: bool = False
  strategy: str = ''
  composition: str = 'idc'
  cutmix: float = 0.0
  transforms: tuple[Transform, ...] = ()
  mixing: Mixing | None = None
  label_smoothing: float = 0.0
  drop_last: bool = False
  average: Average | None = None
  drop_at_epochs: bool = False
  drop_delay: int = 0
  extra_epochs: int = 0

  def __post_init__(self):
    if (self.transforms or self.mixing) and (self.strategy or self.cutmix):
      raise UserError(
        f'The recipe {self.name!r} augments twice: give strategy and cutmix, or transforms and '
        'mixing.'
      )
    errors.whole_numbers(batch=self.batch, epochs=self.epochs)
    errors.whole_numbers(drop_delay=self.drop_delay, extra_epochs=self.extra_epochs)
    shares = {'cutmix': self.cutmix, 'label_smoothing': self.label_smoothing}
    errors.real_numbers(**shares)
    for name, share in shares.items():
      if not 0 <= share <= 1:
        raise UserError(f'The recipe {self.name!r} needs {name} from 0 to 1; it is {share}.')
    if self.batch < 1 or self.epochs < 1:
      raise UserError(
        f'The recipe {self.name!r} needs batch and epochs of at least 1; got {self.batch} and '
        f'{self.epochs}.'
      )
    if min(self.drop_delay, self.extra_epochs) < 0:
      raise UserError(
        f'The recipe {self.name!r} needs drop_delay and extra_epochs of at least 0; got '
        f'{self.drop_delay} and {self.extra_epochs}.'
      )
    if self.drop_at_epochs and self.schedule.name != 'multistep':
      raise UserError(
        f'The recipe {self.name!r} drops the learning rate at epochs: its schedule must be '
        f'multistep, not {self.schedule.name}.'
      )
    if self.drop_delay and not self.drop_at_epochs:
      raise UserError(f'The recipe {self.name!r} uses drop_delay with drop_at_epochs alone.')

  def described(self) -> dict[str, Any]:
    """Returns the recipe in plain values, by which what it trains is found again: the fields that
    matter, and of those that came later only what is set."""
    schedule, optimizer = self.schedule, self.optimizer
    plain = {
      name: getattr(self, name)
      for name in ('name', 'batch', 'epochs', 'clear_momentum', 'strategy', 'composition')
    }
    plain |= {
      'cutmix': self.cutmix,
      'label_smoothing': self.label_smoothing,
      'learning_rate': schedule.learning_rate,
      'drops': schedule.drops,
      'drop': schedule.drop,
      'momentum': optimizer.momentum,
      'weight_decay': optimizer.weight_decay,
    }
    usual = Recipe(
      self.name,
      schedule=Schedule('multistep', schedule.learning_rate, schedule.drops, schedule.drop),
      optimizer=Optimizer('sgd', momentum=optimizer.momentum, weight_decay=optimizer.weight_decay),
    )
    later = ('schedule', 'optimizer', 'groups', 'transforms', 'mixing', 'drop_last', 'average')
    later += ('drop_at_epochs', 'drop_delay', 'extra_epochs')
    changed = {name: repr(getattr(self, name)) for name in later}
    return plain | {
      name: text for name, text in changed.items() if text != repr(getattr(usual, name))
    }

  def changed(self, epochs: int = 0, batch: int = 0, learning_rate: float = 0.0) -> 'Recipe':
    """Returns the recipe with another length, batch or learning rate where they are not 0.

    Raises:
      UserError: a number is negative.

    >>> Recipe('short', epochs=100).changed(epochs=20).epochs
    20
    """
    if min(epochs, batch, learning_rate) < 0:
      raise UserError(
        f'A recipe needs epochs, batch and learning_rate of at least 0; got {epochs}, {batch} and '
        f'{learning_rate}.'
      )
    schedule = self.schedule
    if learning_rate:
      schedule = dataclasses.replace(schedule, learning_rate=learning_rate)
    return dataclasses.replace(
      self, epochs=epochs or self.epochs, batch=batch or self.batch, schedule=schedule
    )

  def unmirrored(self) -> 'Recipe':
    """Returns the recipe as it is for images that lose their class when they are mirrored.

    >>> Recipe('short', strategy='color_flip').unmirrored().strategy
    'color'
    """
    kept = [transform.unmirrored() for transform in self.transforms]
    return dataclasses.replace(
      self,
      strategy=augment.unmirrored(self.strategy),
      transforms=tuple(transform for transform in kept if transform is not None),
    )

  def steps(self, images: int) -> int:
    """Steps of the whole training for so many images."""
    return (self.epochs + self.extra_epochs) * self.epoch_steps(images)

  def epoch_steps(self, images: int) -> int:
    """Steps of one pass over so many images; a set smaller than a batch is one batch."""
    errors.whole_numbers(images=images)
    return in_steps(1, images, min(self.batch, images), self.drop_last)

  def boundaries(self, images: int, num_steps: int = 0) -> tuple[int, ...]:
    """Returns the steps from which on the learning rate is lower by one more drop; () without
    drops.

    Args:
      images: of the training set.
      num_steps: of the training; 0: the recipe's own.

    >>> recipe = Recipe('r', batch=4, epochs=5, drop_at_epochs=True)  # drops at 2/3 and 5/6
    >>> recipe.boundaries(10), dataclasses.replace(recipe, drop_at_epochs=False).boundaries(10)
    ((9, 12), (10, 12))
    """
    own = self.steps(images)
    if not self.drop_at_epochs or num_steps not in (0, own):
      return self.schedule.boundaries(num_steps or own)
    # A fraction such as 2/3 is a little less or more than itself.
    epochs = [math.floor(drop * self.epochs + 1e-9) for drop in self.schedule.drops]
    return tuple((epoch + self.drop_delay) * self.epoch_steps(images) for epoch in epochs)

  def learning_rate(self, images: int, num_steps: int = 0) -> optax.Schedule:
    """Returns the learning rate as a function of the step; arguments as for `boundaries`."""
    num_steps = num_steps or self.steps(images)
    boundaries = None
    if self.schedule.name == 'multistep':
      boundaries = self.boundaries(images, num_steps)
    return self.schedule.build(num_steps, boundaries)

  def views(self, examples: Examples) -> Views:
    """Returns what a step makes of its batch."""
    shared = dict(
      mean=examples.mean, std=examples.std, num_classes=examples.num_classes, flip=examples.flip
    )
    if self.transforms or self.mixing:
      return views.make(self.transforms, mixing=self.mixing, **shared)
    return views.diffaug(self.strategy, self.composition, self.cutmix, **shared)

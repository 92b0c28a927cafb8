"""What a run works on before anything is trained: the images, the network without weights, the
attacker, and how is trained."""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import numpy as np
from jax.sharding import Mesh

from jaxdistill import backend, data, models
from jaxdistill.data import Dataset, samplers, views
from jaxdistill.data.examples import Examples
from jaxdistill.data.streaming import Streamed
from jaxdistill.data.views import Views
from jaxdistill.errors import UserError
from jaxdistill.experiment import datasets
from jaxdistill.models.pixels import OfPixels
from jaxdistill.numerics import settled
from jaxdistill.robustness import recipes, sections, threat
from jaxdistill.robustness.method import Setting
from jaxdistill.robustness.threat import Ball
from jaxdistill.training.recipe import Recipe

_DRAWN = 0  # seed of the training images that are taken


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
  """What a run works on.

  Attributes:
    fields: of its config.
    train: images that the networks learn from.
    validation: held out to choose by; None: none are.
    test: of the same classes.
    network: without weights, it reads images in [0, 1].
    mesh: the devices.
    pseudo: pseudo-labelled images that fill half of every batch; None: there are none.
  """

  fields: sections.Config
  train: Dataset
  validation: Dataset | None
  test: Dataset
  network: OfPixels
  mesh: Mesh | None = None
  pseudo: Dataset | None = None

  @functools.cached_property
  def recipe(self) -> Recipe:
    """How is trained, unmirrored where images lose their class."""
    asked = self.fields.robustness
    recipe = recipes.find(
      asked.recipe, epochs=asked.epochs, batch=asked.batch, learning_rate=asked.learning_rate
    )
    return recipe if self.train.flip else recipe.unmirrored()

  @property
  def passes(self) -> Recipe:
    """The same with the batch that a step takes of the training images: half of it where the other
    half is pseudo-labelled."""
    recipe = self.recipe
    return recipe if self.pseudo is None else recipe.changed(batch=max(1, recipe.batch // 2))

  @property
  def steps(self) -> int:
    """Of the training."""
    return self.fields.robustness.steps or self.passes.steps(len(self.train))

  @property
  def epoch_steps(self) -> int:
    """Of a pass over the training images."""
    return self.passes.epoch_steps(len(self.train))

  @property
  def batch(self) -> int:
    """Images a step."""
    return self.recipe.batch if self.pseudo is not None else min(self.recipe.batch, len(self.train))

  @property
  def learned(self) -> Examples:
    """What the networks learn from, in [0, 1]: the training images, pseudo-labelled ones behind
    them."""
    examples = self.examples(self.train)
    if self.pseudo is None:
      return examples
    pairs = ('images', 'labels')
    both = {
      name: np.concatenate([getattr(self.train, name), getattr(self.pseudo, name)])
      for name in pairs
    }
    return dataclasses.replace(examples, **both)

  @property
  def rows(self) -> Callable | None:
    """Which of them a step takes; None: shuffled passes of the batch."""
    if self.pseudo is None:
      return None
    first, second, batch = len(self.train), len(self.pseudo), self.recipe.batch
    return lambda key, step: samplers.halves_batch(key, step, first, second, batch)

  @property
  def ball(self) -> Ball:
    """What the attacker may do to an image."""
    return threat.ball(self.fields.robustness.eps, self.fields.robustness.norm)

  @property
  def views(self) -> Views:
    """What a step makes of its images, in [0, 1]."""
    raw = self.examples(self.train)
    return views.make(
      self.recipe.transforms,
      mean=raw.mean,
      std=raw.std,
      num_classes=raw.num_classes,
      flip=raw.flip,
    )

  @property
  def setting(self) -> Setting:
    """What a method is made for."""
    recipe = self.passes
    rate = recipe.learning_rate(len(self.train), self.steps)
    optimizer = recipe.optimizer.build(rate, recipe.groups)
    return Setting(self.network, self.ball, optimizer, self.epoch_steps, self.steps)

  @property
  def way(self) -> str:
    """How networks side by side share a program: on a CPU in a loop, as a step holds many passes
    whose copies would compile for minutes; elsewhere as usual, see `together.choose_way`."""
    return 'loop' if backend.platform() == 'cpu' else 'auto'

  @functools.cached_property
  def seen(self) -> Dataset:
    """Training images on which the networks are scored, without augmentation: as many as there are
    test images, evenly taken."""
    taken = np.linspace(0, len(self.train) - 1, min(len(self.train), len(self.test)))
    return self.train.take(taken.astype(int))

  @functools.cached_property
  def attacked(self) -> Dataset:
    """Test images that the final networks are attacked on, evenly taken."""
    asked = self.fields.robustness.attack_images or len(self.test)
    taken = np.linspace(0, len(self.test) - 1, min(asked, len(self.test)))
    return self.test.take(taken.astype(int))

  def examples(self, images: Dataset) -> Examples:
    """Returns images as the network reads them, in [0, 1]."""
    channels = images.image_shape[2]
    return dataclasses.replace(Examples.of(images), mean=(0.0,) * channels, std=(1.0,) * channels)


@settled()
def make(
  fields: sections.Config,
  train: Dataset,
  validation: Dataset | None,
  test: Dataset,
  mesh: Mesh | None = None,
) -> Work:
  """Returns what a run works on.

  Args:
    fields: of its config.
    train, validation, test: of one shape and one set of classes.
    mesh: the devices.

  Raises:
    UserError: another shape or other classes on one side, more training images than there are, or a
      network that cannot take them.
  """
  datasets.check_alike(train, {'test': test, 'validation': validation})
  asked = fields.robustness
  if asked.train_images > len(train):
    raise UserError(
      f'robustness.train_images is {asked.train_images}; {train.name} has {len(train)} training '
      'images here.'
    )
  if asked.train_images:
    order = np.random.default_rng(_DRAWN).permutation(len(train))
    train = train.take(np.sort(order[: asked.train_images]))
  network = {**fields.model, 'dtype': fields.dtype}
  model = models.build(network, train.num_classes, train.image_shape)
  network = of_pixels(model, train, asked.first_layer)
  pseudo = _pseudo_labelled(asked.pseudo, train) if asked.pseudo else None
  return Work(fields, train, validation, test, network, mesh, pseudo)


def _pseudo_labelled(name: str, train: Dataset) -> Dataset:
  """The training images of a data set beside those of another one, of the same classes."""
  pseudo, _ = data.load(name, image_size=train.image_shape[0])
  if not isinstance(pseudo, Dataset):
    raise UserError(f'robustness.pseudo={name} holds no images with one label each.')
  if pseudo.image_shape != train.image_shape or pseudo.num_classes != train.num_classes:
    raise UserError(
      f'robustness.pseudo={name} has images {list(pseudo.image_shape)} of {pseudo.num_classes} '
      f'classes; {train.name} has {list(train.image_shape)} of {train.num_classes}.'
    )
  if isinstance(train.images, Streamed):
    raise UserError(
      f'Half of every batch of {train.name} is pseudo-labelled, which cannot be where images are '
      'streamed from disk: set data.stream=off.'
    )
  # A set that names no classes has their numbers for names.
  if pseudo.class_names not in (train.class_names, tuple(map(str, range(pseudo.num_classes)))):
    raise UserError(
      f'robustness.pseudo={name} and {train.name} have different classes: of the same number they '
      'have other names, or the same in another order. Number its labels by the classes of '
      f'{train.name}, and store these as class_names, or none.'
    )
  return pseudo


def of_pixels(model: nn.Module, images: Dataset, first_layer: str) -> OfPixels:
  """Returns a network behind the normalisation that a config asks for."""
  channels = images.image_shape[2]
  mean, std = {
    'statistics': (images.mean, images.std),
    'half': ((0.5,) * channels, (0.5,) * channels),
    'none': ((0.0,) * channels, (1.0,) * channels),
  }[first_layer]
  return OfPixels(model, tuple(mean), tuple(std))

"""A list of operations as one function of images, with `Normalise` where it belongs."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax

from jaxdistill import draws
from jaxdistill.data import augment
from jaxdistill.data.transform import Transform
from jaxdistill.errors import UserError


@dataclasses.dataclass(frozen=True)
class Normalise(Transform):
  """Subtracts a mean and divides by a standard deviation per channel; left out, those that the
  views are made with.

  >>> Normalise((0.5,), (0.25,))(None, jax.numpy.ones((1, 1, 1, 1))).item()
  2.0
  """

  acts_on: ClassVar[str] = 'unit'
  random: ClassVar[bool] = False
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()

  def __post_init__(self):
    if len(self.mean) != len(self.std):
      raise UserError(
        f'Normalise needs a mean and a std for each channel; they are {self.mean} and {self.std}.'
      )

  def __call__(self, key: jax.Array | None, images: jax.Array, choice: Any = ()) -> jax.Array:
    return augment.normalise(images, self.mean, self.std)


class Chain:
  """Operations one after the other, each with a stream of random numbers by its place in the list.

  Args:
    transforms: the operations.
    normalise: stands for a `Normalise()` without statistics; not listed, it comes before the first
      operation on normalised images.
    flip: whether mirrors stay.
    normalised: whether the images enter normalised.
    last: whether the images must leave normalised.

  Attributes:
    normalised: whether they do.

  Raises:
    UserError: where an operation stands on the wrong side of `Normalise`.

  >>> Chain((), Normalise((0.5,), (0.5,)), flip=True).normalised
  False
  """

  def __init__(
    self,
    transforms: Sequence[Transform],
    normalise: Normalise,
    *,
    flip: bool,
    normalised: bool = False,
    last: bool = False,
  ):
    self._enters_unit = not normalised
    steps = _with_normalise(tuple(transforms), normalise, normalised, last)
    self.normalised = normalised or any(isinstance(step, Normalise) for _, step in steps)
    kept = steps if flip else [(place, step.unmirrored()) for place, step in steps]
    self._steps = [(place, step) for place, step in kept if step is not None]

  def draw(self, key: jax.Array) -> tuple:
    """Returns the choice of each operation."""
    return tuple(step.draw(jax.random.fold_in(key, place)) for place, step in self._steps)

  def __call__(self, key: jax.Array, images: jax.Array, choices: tuple) -> jax.Array:
    unit = self._enters_unit
    for (place, step), choice in zip(self._steps, choices):
      images = step(jax.random.fold_in(key, place), images, choice)
      unit = unit and not isinstance(step, Normalise)
      images = images.clip(0, 1) if unit and step.overshoots else images
    return images

  def by_row(self, keys: jax.Array, images: jax.Array) -> jax.Array:
    """Returns the images [n, h, w, c], each as if it were alone under its key of `keys` [n].

    Choices are its own too, so that of every switch all branches are computed.
    """

    def one(key, image):
      key_choice, key_draws = draws.split(key)
      return self(key_draws, image[None], self.draw(key_choice))[0]

    return jax.vmap(one)(keys, images)


def unit_chain(transforms: Sequence[Transform]) -> Chain:
  """Returns operations on images in [0, 1] as a chain that leaves them there.

  Raises:
    UserError: where one of them acts on normalised images, or is none.

  >>> unit_chain(()).normalised
  False
  """
  _check_order(transforms, False)
  for transform in transforms:
    if isinstance(transform, Normalise) or transform.acts_on == 'normalised':
      raise UserError(
        f'{type(transform).__name__} leaves images normalised; to degrade images in [0, 1], list '
        'operations on these alone, such as Blur(1.0).'
      )
  return Chain(transforms, Normalise(), flip=True)


def _with_normalise(transforms, normalise, normalised, last):
  """Returns (place, operation) with `normalise` where it belongs; having no draws, it takes no
  place."""
  _check_order(transforms, normalised)
  steps, place = [], 0
  for transform in transforms:
    if isinstance(transform, Normalise):
      steps.append((place, transform if transform.mean else normalise))
      normalised = True
      continue
    steps.append((place, transform))
    place += 1
  if normalised:
    return steps
  end = [len(steps)] if last else []
  where = [n for n, (_, transform) in enumerate(steps) if transform.acts_on == 'normalised'] + end
  return [*steps[: where[0]], (place, normalise), *steps[where[0] :]] if where else steps


def _check_order(transforms, normalised):
  for transform in transforms:
    if not isinstance(transform, Transform):
      raise UserError(f'{transform!r} is no operation of a view; give an instance, as in Crop(4).')
  listed = any(isinstance(transform, Normalise) for transform in transforms)
  for transform in transforms:
    name = type(transform).__name__
    if isinstance(transform, Normalise) and normalised:
      raise UserError('A view normalises its images once; list Normalise() once.')
    if transform.acts_on == 'unit' and normalised:
      raise UserError(f'{name} acts on images in [0, 1]; list it before Normalise() and DiffAug.')
    if transform.acts_on == 'normalised' and listed and not normalised:
      raise UserError(f'{name} acts on normalised images; list it after Normalise().')
    normalised = normalised or isinstance(transform, Normalise) or transform.acts_on == 'normalised'

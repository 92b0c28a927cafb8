"""Views that can be enumerated: an image has k of them and no others, so that what a network says
of every one can be kept in a table [N, k, ...] instead of being computed in every step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdistill import draws, errors
from jaxdistill.data import operations
from jaxdistill.data.crops import Flip
from jaxdistill.data.mixing import Mixing
from jaxdistill.data.transform import Transform
from jaxdistill.data.views import Views
from jaxdistill.errors import UserError
from jaxdistill.numerics import steady

MIRRORED = 2  # variants of an image that is mirrored or not


class Variants(NamedTuple):
  """The k variants of every image.

  count: k.
  of: (images [n, h, w, c], index int [n], variant int [n]) -> the views by name, [n, ...] each, as
    a step makes them of the images at these positions of the data: whatever step, network or seed
    of the training asks.
  views: `Views` whose rows are variants drawn uniformly in every step. The batch must have 'index'
    int [n], the positions in the data; the result has 'variant' int [n].
  """

  count: int
  of: Callable[[jax.Array, jax.Array, jax.Array], dict[str, jax.Array]]
  views: Views

  def all_of(self, images: jax.Array, index: jax.Array) -> dict[str, jax.Array]:
    """Returns all variants of some images by view, [n, k, ...] each."""
    every = jnp.arange(self.count)[None].repeat(len(index), 0)
    along = jax.vmap(self.of, in_axes=(None, None, 1), out_axes=1)
    return along(images, index, every)


def count(
  augment: Sequence[Transform], *, fixed_draws: int = 0, mixing: Mixing | None = None
) -> int:
  """Returns how many variants an image has: 1 without chance, 2 where `Flip()` is the only chance,
  or so many fixed draws.

  Args:
    augment: all operations by which a view comes about.
    fixed_draws: k draws an image, the same in every step; 0: those of the operations.
    mixing: of the images of a batch.

  Raises:
    UserError: the draws are new in every step, or an image is mixed with others of its batch.

  >>> from jaxdistill.data.crops import Crop
  >>> count(()), count((Flip(),)), count((Crop(4), Flip()), fixed_draws=8)
  (1, 2, 8)
  >>> count((Crop(4), Flip()))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: The views of an image cannot be enumerated under Crop and Flip, ...
  """
  errors.whole('fixed_draws', fixed_draws)
  if mixing is not None:
    raise UserError(
      f'The views of an image cannot be enumerated under {type(mixing).__name__}, which mixes it '
      'with other images of the batch; train without mixing, or keep no outputs of a network.'
    )
  if fixed_draws:
    return fixed_draws
  random = [transform for transform in augment if transform.random]
  if random in ([], [Flip()]):
    return MIRRORED if random else 1
  names = [type(transform).__name__ for transform in random]
  raise UserError(
    f'The views of an image cannot be enumerated under {" and ".join(names)}, drawn anew in every '
    'step; train without augmentation, with Flip() alone, or with a fixed number of draws an '
    'image, or keep no outputs of a network.'
  )


def of_draws(views: Views, number: int, seed: int = 0) -> Variants:
  """Returns views with a fixed number of draws an image: what happens to an image depends on the
  seed, its position in the data and the variant alone.

  Args:
    views: without mixing, in which every row depends on itself alone.
    number: k.
    seed: of the draws.

  >>> from jaxdistill.data import views
  >>> made = views.make(mean=(0.5,), std=(0.5,), num_classes=3)
  >>> all_views = of_draws(made, 4).all_of(jnp.ones((2, 8, 8, 1)), jnp.arange(2))
  >>> all_views['images'].shape
  (2, 4, 8, 8, 1)
  """
  return _enumerated(views, errors.whole('number of draws', number, at_least=1), seed, False)


def of_mirrors(views: Views) -> Variants:
  """Returns views with two variants an image: as it is (0), and mirrored (1).

  Args:
    views: without chance; `Flip()` is left out of their operations, as the mirror comes first.
  """
  return _enumerated(views, MIRRORED, 0, True)


def _enumerated(views, number, seed, mirrored):
  root = draws.key(seed)

  def row(entries, variant):
    """The prepared batch of one image, under the draws of its variant."""
    key = jax.random.fold_in(jax.random.fold_in(root, entries['index']), variant)
    key_choice, key_draws = draws.split(key)
    batch = jax.tree.map(lambda entry: entry[None], entries)
    prepared = views.prepare(key_draws, batch, views.draw(key_choice))
    return jax.tree.map(lambda entry: entry[0], prepared)

  def rows(batch, variant):
    if mirrored:
      images = operations.flip(jnp.asarray(batch['images']), variant == 1)
      batch = {**batch, 'images': images}
    return jax.vmap(row)(jax.tree.map(jnp.asarray, dict(batch)), variant)

  def of(images: jax.Array, index: jax.Array, variant: jax.Array) -> dict[str, jax.Array]:
    count = len(index)
    batch = {'images': images, 'index': index}
    # What a batch has besides; no view depends on it.
    batch |= {'labels': jnp.zeros(count, jnp.int32), 'weight': jnp.ones(count)}
    prepared = rows(batch, variant)
    return {name: view for name, view in prepared.items() if name not in batch or name == 'images'}

  def prepare(key: jax.Array, batch: Mapping[str, Any], choices: Any) -> dict[str, jax.Array]:
    del choices
    variant = draws.integers(key, batch['index'].shape, 0, number)
    return rows(batch, variant) | {'variant': variant}

  def draw(key: jax.Array) -> tuple:
    del key
    return ()

  return Variants(number, steady(of), Views(draw, steady(prepare)))

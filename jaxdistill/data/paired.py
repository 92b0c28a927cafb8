"""The views of a teacher and its students: one crop and mirror of an image at two resolutions, and
what further guides read, which may have an image size and statistics of their own."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdistill import draws, errors
from jaxdistill.data import variants
from jaxdistill.data.chain import Normalise
from jaxdistill.data.crops import Flip, Resize
from jaxdistill.data.mixing import Mixing
from jaxdistill.data.resolution import Lower
from jaxdistill.data.transform import Transform
from jaxdistill.data.variants import Variants
from jaxdistill.data.views import Views, make
from jaxdistill.errors import UserError

NATIVE, LOW = 'images', 'low'


@dataclasses.dataclass(frozen=True)
class GuideView:
  """What a guide reads: the native view, at another size and under other statistics.

  Attributes:
    mean, std: per channel, of images in [0, 1]; three of them make three channels of one.
    size: shorter side in pixels, by bicubic interpolation; 0: that of the images.

  >>> GuideView((0.5,), (0.25,)).transforms
  (Normalise(mean=(0.5,), std=(0.25,)),)
  """

  mean: tuple[float, ...]
  std: tuple[float, ...]
  size: int = 0

  def __post_init__(self):
    errors.whole('size of what a guide reads', self.size)

  @property
  def transforms(self) -> tuple[Transform, ...]:
    """The operations of the view."""
    resized = (Resize(self.size),) if self.size else ()
    return *resized, Normalise(self.mean, self.std)


class PairedViews(NamedTuple):
  """The views of teacher, students and guides.

  names: of the views: 'images', the native one; 'low', where there is one; those of guides.
  train: what a step makes of its batch; with `variants` their views.
  test: (images [n, h, w, c], index int [n] or None) -> the views by name, without augmentation.
    What degrades the low view by chance does so for every image once and for all, by its position
    `index` in its set.
  variants: of an image; None: its draws are new in every step.
  """

  names: tuple[str, ...]
  train: Views
  test: Callable[..., dict[str, jax.Array]]
  variants: Variants | None


def views_of(
  low: int = 0,
  how: str = 'bicubic',
  shown: str = 'native',
  *,
  augment: Sequence[Transform] = (),
  mixing: Mixing | None = None,
  degrade: Sequence[Transform] = (),
  guides: Mapping[str, GuideView] | None = None,
  keep: bool = False,
  fixed_draws: int = 0,
  seed: int = 0,
  mean: Sequence[float],
  std: Sequence[float],
  num_classes: int,
  flip: bool = True,
) -> PairedViews:
  """Returns the views of teacher, students and guides for training and for tests.

  All views of an image come from one draw of `augment`, on images in [0, 1] (so that the border of
  a padded crop is black); each is then brought to its size and normalised.

  Args:
    low: shorter side of the low view, which divides the images; 0: there is none.
    how, shown: 'bicubic' or 'area', 'native' or 'upsampled', see `resolution.Lower`.
    augment: operations that all views share, such as (Crop(4), Flip()).
    mixing: of the images and labels of a batch.
    degrade: what makes the low view worse, see `degradations`; in tests, too.
    guides: further views by name.
    keep: whether every image must have a few views that can be enumerated, so that outputs of a
      network can be kept.
    fixed_draws: how many draws of all operations an image has, the same in every step; 0: new ones,
      but for `keep`, which then needs none or a mirror.
    seed: of these draws, and of what degrades test images.
    mean, std, num_classes, flip: see `views.make`.

  Raises:
    UserError: a value that does not exist, a name that is taken, degradations without a low view,
      views that are to be kept and cannot be enumerated.

  >>> from jaxdistill.data.crops import Crop
  >>> paired = views_of(4, augment=(Crop(1),), mean=(0.5,), std=(0.5,), num_classes=3)
  >>> {name: view.shape for name, view in paired.test(jnp.ones((2, 8, 8, 1))).items()}
  {'images': (2, 8, 8, 1), 'low': (2, 4, 4, 1)}
  """
  named = _named(low, how, shown, tuple(degrade), guides or {})
  statistics = dict(mean=mean, std=std, num_classes=num_classes, flip=flip)
  kept = [transform for transform in augment if flip or transform.unmirrored() is not None]
  enumerated = None
  if keep or fixed_draws:
    number = variants.count((*kept, *degrade), fixed_draws=fixed_draws, mixing=mixing)
    if fixed_draws or number == 1:
      enumerated = variants.of_draws(make(kept, named, **statistics), number, seed)
    else:
      plain = [transform for transform in kept if not isinstance(transform, Flip)]
      enumerated = variants.of_mirrors(make(plain, named, **statistics))
  train = enumerated.views if enumerated else make(augment, named, mixing, **statistics)
  return PairedViews(tuple(named), train, _test(named, statistics, seed), enumerated)


def _named(low, how, shown, degrade, guides):
  """The operations of every view by its name."""
  errors.whole('low size', low)
  if degrade and not low:
    raise UserError(
      'Degradations make the low view worse, and with a low size of 0 there is none; give the '
      'side of the images for a low view of the same size.'
    )
  named = {NATIVE: ()}
  if low:
    named[LOW] = (Lower(low, how, shown, degrade),)
  for name, guide in guides.items():
    if name in (NATIVE, LOW):
      raise UserError(f"A view of a guide cannot be called {name!r}, as the students' views are.")
    named[name] = guide.transforms
  return named


def _test(named, statistics, seed):
  """The function `PairedViews.test`."""
  plain = make((), named, **statistics)
  random = any(transform.random for transform in sum(named.values(), ()))
  fixed = variants.of_draws(plain, 1, seed)

  def test(images: jax.Array, index: jax.Array | None = None) -> dict[str, jax.Array]:
    count = len(images)
    if random:
      if index is None:
        raise UserError('Images that are degraded by chance need their positions in their set.')
      return fixed.of(images, index, jnp.zeros(count, jnp.int32))
    batch = {'images': images, 'labels': jnp.zeros(count, jnp.int32), 'weight': jnp.ones(count)}
    key = draws.key(seed)
    prepared = plain.prepare(key, batch, plain.draw(key))
    return {name: prepared[name] for name in named}

  return test

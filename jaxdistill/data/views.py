"""Views: what a training step makes of the images that it drew: augmented, normalised, mixed, under
one name or several.

`make` builds them from operations (`TRANSFORMS`, by name) and a mixing (`mixing.MIXINGS`);
`diffaug` is the usual view of the condensation literature. Both give pure functions with static
shapes, which `vmap` spreads over networks.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxdistill import draws
from jaxdistill.data import augment, autoaugment, crops, degradations, photometric, resolution
from jaxdistill.data.chain import Chain, Normalise
from jaxdistill.data.mixing import Mixing
from jaxdistill.data.transform import Transform
from jaxdistill.errors import UserError
from jaxdistill.numerics import steady
from jaxdistill.registry import Registry

_RESERVED = ('labels', 'variant', 'weight')


class Views(NamedTuple):
  """How a batch is prepared.

  draw: key -> choices, a pytree. Called once a step, outside of `vmap`: it decides for all networks
    which branches run.
  prepare: (key, batch, choices) -> dict, for one network with a key of its own. `batch` has
    'images' (uint8, or float in [0, 1]) [n, h, w, c], 'labels' (int [n], or soft [n, classes]) and
    'weight' float [n]. The result has every view as normalised float32 images, 'labels' as float
    [n, classes], and every other entry of the batch as it was.
  """

  draw: Callable
  prepare: Callable


@dataclasses.dataclass(frozen=True)
class DiffAug(Transform):
  """Differentiable augmentation of normalised images, see `augment.diffaugment`.

  Attributes:
    strategy: names of `augment.OPERATIONS` joined by '_'.
    composition: 'idc' or 'dm'.
    siamese: whether all images of the batch share one draw.

  >>> DiffAug('color_flip').unmirrored().strategy
  'color'
  """

  acts_on: ClassVar[str] = 'normalised'
  strategy: str
  composition: str = 'idc'
  siamese: bool = False

  def __post_init__(self):
    augment.branches(self.strategy, self.composition)

  def draw(self, key: jax.Array) -> jax.Array:
    return augment.draw_choice(key, self.strategy, self.composition)

  def unmirrored(self) -> 'DiffAug':
    return dataclasses.replace(self, strategy=augment.unmirrored(self.strategy))

  def __call__(self, key: jax.Array, images: jax.Array, choice: Any = None) -> jax.Array:
    return augment.diffaugment(
      key,
      images,
      self.strategy,
      composition=self.composition,
      siamese=self.siamese,
      choice=choice,
    )


TRANSFORMS = Registry(
  'operation of a view',
  dict(
    autoaugment=autoaugment.AutoAugment,
    blur=degradations.Blur,
    centre_crop=crops.CentreCrop,
    crop=crops.Crop,
    cutout=crops.Cutout,
    darken=degradations.Darken,
    diffaug=DiffAug,
    flip=crops.Flip,
    grey=photometric.Grey,
    jitter=photometric.Jitter,
    lighting=photometric.Lighting,
    lower=resolution.Lower,
    noise=degradations.Noise,
    normalise=Normalise,
    reflect_crop=crops.ReflectCrop,
    resize=crops.Resize,
    resized_crop=crops.ResizedCrop,
    rotate=crops.Rotate,
    unclipped_jitter=photometric.UnclippedJitter,
  ),
)


def make(
  common: Sequence[Transform] = (),
  named: Mapping[str, Sequence[Transform]] | None = None,
  mixing: Mixing | None = None,
  *,
  mean: Sequence[float],
  std: Sequence[float],
  num_classes: int,
  flip: bool = True,
) -> Views:
  """Builds views from operations.

  All views of an image share `common` and its draws; then each goes on with operations and draws of
  its own: {'first': augmentation, 'second': augmentation} are two independent views for contrastive
  learning, and the same crop at two resolutions is a common crop with {'images': (), 'small':
  (Resize(16),)}. The mixing comes last; it draws the same for all views, so that they keep one
  label.

  `Normalise()` stands where it is listed: operations before it see images in [0, 1]. Not listed, it
  comes before the first `DiffAug`, and without one at the end.

  Args:
    common: operations for all views.
    named: operations of each view by its name; None: one view, 'images', without further ones.
    mixing: of the images and labels of a batch.
    mean, std: per channel, of images in [0, 1].
    num_classes: of the labels.
    flip: whether a mirrored image keeps its class (`Dataset.flip`); if not, every `Flip` goes, and
      the flip of every `DiffAug`.

  Raises:
    UserError: where an operation stands on the wrong side of `Normalise`, or a view has the name of
      another entry of the batch.

  >>> views = make((crops.Crop(1), crops.Flip()), mean=(0.5,), std=(0.5,), num_classes=3)
  >>> batch = {'images': jnp.ones((2, 8, 8, 1)), 'labels': jnp.array([0, 2]), 'weight': jnp.ones(2)}
  >>> prepared = views.prepare(jax.random.key(0), batch, views.draw(jax.random.key(1)))
  >>> prepared['images'].shape, prepared['labels'].shape
  ((2, 8, 8, 1), (2, 3))
  """
  named = {'images': ()} if named is None else dict(named)
  for name in named:
    if name in _RESERVED:
      raise UserError(f'A view cannot be called {name!r}, which the batch itself has; rename it.')
  normalise = Normalise(tuple(mean), tuple(std))
  shared = Chain(common, normalise, flip=flip)
  chains = {
    name: Chain(transforms, normalise, flip=flip, normalised=shared.normalised, last=True)
    for name, transforms in named.items()
  }

  def draw(key: jax.Array) -> dict[str, Any]:
    key_common, key_mixing, *keys = _streams(key, len(chains))
    return {
      'common': shared.draw(key_common),
      'named': {name: chain.draw(key) for key, (name, chain) in zip(keys, chains.items())},
      'mixing': mixing.draw(key_mixing) if mixing else (),
    }

  def prepare(key: jax.Array, batch: Mapping[str, jax.Array], choices: Any) -> dict[str, jax.Array]:
    key_common, key_mixing, *keys = _streams(key, len(chains))
    images = shared(key_common, augment.unit(batch['images']), choices['common'])
    prepared = {
      name: chain(key, images, choices['named'][name])
      for key, (name, chain) in zip(keys, chains.items())
    }
    labels = soft_labels(batch['labels'], num_classes)
    if mixing:
      _check_sizes(mixing, prepared)
      mixed = {
        name: mixing(key_mixing, view, labels, batch['weight'], choices['mixing'])
        for name, view in prepared.items()
      }
      prepared = {name: view for name, (view, _) in mixed.items()}
      labels = next(iter(mixed.values()))[1]
    return _with_rest(batch, prepared, labels)

  return Views(steady(draw), steady(prepare))


def diffaug(
  strategy: str,
  composition: str = 'idc',
  cutmix: float = 0.0,
  *,
  mean: Sequence[float],
  std: Sequence[float],
  num_classes: int,
  flip: bool = True,
) -> Views:
  """Builds the view 'images': normalised, augmented by DiffAug with a draw for each image, mixed by
  CutMix.

  Args:
    strategy, composition: see `augment.diffaugment`.
    cutmix: probability of CutMix for a batch.
    mean, std, num_classes, flip: see `make`.

  The two keys of a network are `jax.random.split` of its key, so that the draws are those of the
  functions of `augment` with these keys.

  >>> views = diffaug('color_crop', 'dm', mean=(0.5,), std=(0.5,), num_classes=3)
  >>> views.draw(jax.random.key(0)) == augment.draw_choice(jax.random.key(0), 'color_crop', 'dm')
  Array(True, dtype=bool)
  """
  transform = DiffAug(strategy, composition)
  transform = transform if flip else transform.unmirrored()

  def prepare(key: jax.Array, batch: Mapping[str, jax.Array], choices: Any) -> dict[str, jax.Array]:
    key_augment, key_cutmix = draws.split(key)
    images = transform(key_augment, augment.normalise(batch['images'], mean, std), choices)
    labels = soft_labels(batch['labels'], num_classes)
    if cutmix:
      images, labels = augment.cutmix(key_cutmix, images, labels, cutmix, batch['weight'])
    return _with_rest(batch, {'images': images}, labels)

  return Views(transform.draw, steady(prepare))


@steady
def soft_labels(labels: jax.Array, num_classes: int) -> jax.Array:
  """Returns float labels [n, classes]: one-hot for integer labels [n], soft labels as they are.

  >>> soft_labels(jnp.array([1, 0]), 2).tolist()
  [[0.0, 1.0], [1.0, 0.0]]
  """
  return labels.astype(jnp.float32) if labels.ndim == 2 else jax.nn.one_hot(labels, num_classes)


def _streams(key, views):
  """A stream for what is common, one for the mixing and one for each view."""
  return [jax.random.fold_in(key, number) for number in range(2 + views)]


def _check_sizes(mixing, prepared):
  sizes = {view.shape[1:3] for view in prepared.values()}
  if mixing.by_area and len(sizes) > 1:
    raise UserError(
      f'CutMix mixes labels by area, so all views must have one size; they have {sorted(sizes)}; '
      'resize them back or use Mixup.'
    )


def _with_rest(batch, prepared, labels):
  rest = {name: value for name, value in batch.items() if name not in ('images', 'labels')}
  both = sorted(rest.keys() & prepared.keys())
  if both:
    raise UserError(f'The view {both[0]!r} has the name of an entry of the batch; rename the view.')
  return {**rest, **prepared, 'labels': labels}

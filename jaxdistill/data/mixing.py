"""Mixing of the images of a batch with their labels: Mixup, CutMix, a choice among them, and the
mixup of one view for losses of pairs."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxdistill import draws, errors
from jaxdistill.data import augment
from jaxdistill.data.transform import check_range
from jaxdistill.errors import UserError
from jaxdistill.numerics import steady
from jaxdistill.registry import Registry


class Mixing:
  """A mixing, a frozen dataclass: `mixing(key, images, labels, weight, choice)` -> images, labels.

  Images are float [n, h, w, c], labels float [n, classes] and weight [n]. Images of weight 0 (the
  padding of a short batch) neither give nor receive. `choice` is what `draw` returns, once a step
  for all networks.

  Attributes:
    by_area: whether the labels depend on the size of the images.
  """

  by_area: ClassVar[bool] = False

  def draw(self, key: jax.Array) -> Any:
    """Returns the choice, a pytree of arrays; () where there is nothing to choose."""
    return ()

  def __call__(
    self,
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    weight: jax.Array,
    choice: Any = (),
  ) -> tuple[jax.Array, jax.Array]:
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Mixup(Mixing):
  """x <- l x + (1 - l) x', and y likewise, with l ~ Beta(alpha, alpha) and x', y' of a permuted
  batch.

  Attributes:
    alpha: of the Beta distribution.
    per_image: whether every image has its own l; else one serves the batch, as in the paper's code.

  Source: Zhang et al. (ICLR 2018).

  >>> images, labels = Mixup(1.)(jax.random.key(0), jnp.ones((2, 8, 8, 1)), jnp.eye(2), jnp.ones(2))
  >>> labels.sum(1).round(4).tolist()
  [1.0, 1.0]
  """

  alpha: float = 1.0
  per_image: bool = False

  def __post_init__(self):
    _check_alpha(self)

  @steady
  def __call__(
    self,
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    weight: jax.Array,
    choice: Any = (),
  ) -> tuple[jax.Array, jax.Array]:
    key_share, key_order = draws.split(key)
    count = len(images)
    given = 1 - draws.beta(key_share, self.alpha, self.alpha, (count if self.per_image else 1,))
    partner = augment.permutation(key_order, count, weight)
    # Written as a step towards the partner: who is its own partner stays bit for bit.
    return (
      images + given.reshape(-1, 1, 1, 1) * (images[partner] - images),
      labels + given.reshape(-1, 1) * (labels[partner] - labels),
    )


@dataclasses.dataclass(frozen=True)
class CutMix(Mixing):
  """Pastes one box of a permuted batch, with `probability`; see `augment.cutmix`.

  Attributes:
    alpha: the box leaves a share l ~ Beta(alpha, alpha) of the image.
    probability: for a batch, drawn for each network.

  >>> images, labels = CutMix()(jax.random.key(0), jnp.ones((2, 8, 8, 1)), jnp.eye(2), jnp.ones(2))
  >>> labels.sum(1).tolist()
  [1.0, 1.0]
  """

  by_area: ClassVar[bool] = True
  alpha: float = 1.0
  probability: float = 1.0

  def __post_init__(self):
    _check_alpha(self)
    check_range(self, 0, 1, 'probability')

  def __call__(
    self,
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    weight: jax.Array,
    choice: Any = (),
  ) -> tuple[jax.Array, jax.Array]:
    return augment.cutmix(key, images, labels, self.probability, weight, alpha=self.alpha)


@dataclasses.dataclass(frozen=True)
class OneOf(Mixing):
  """One of several mixings, drawn once a step; what is missing to 1 is the probability of none.

  Attributes:
    mixings: to choose from.
    probabilities: one each, with a sum of at most 1.

  >>> OneOf((Mixup(0.8), CutMix()), (0.4, 0.4)).draw(jax.random.key(0))[0].dtype
  dtype('int32')
  """

  mixings: tuple[Mixing, ...]
  probabilities: tuple[float, ...]

  def __post_init__(self):
    shares = self.probabilities
    # A sum of decimal fractions may exceed 1 by its rounding.
    if len(shares) != len(self.mixings) or min(shares, default=0) < 0 or sum(shares) > 1 + 1e-6:
      raise UserError(
        f'OneOf needs one probability for each of its {len(self.mixings)} mixings, none below 0 '
        f'and a sum of at most 1; they are {shares}.'
      )

  @property
  def by_area(self) -> bool:
    return any(mixing.by_area for mixing in self.mixings)

  @steady
  def draw(self, key: jax.Array) -> tuple[jax.Array, tuple]:
    key_index, key_inner = draws.split(key)
    ends = jnp.cumsum(jnp.asarray(self.probabilities, jnp.float32))
    index = (draws.uniform(key_index) >= ends).sum(dtype=jnp.int32)
    inner = (
      mixing.draw(jax.random.fold_in(key_inner, number))
      for number, mixing in enumerate(self.mixings)
    )
    return index, tuple(inner)

  def __call__(
    self,
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    weight: jax.Array,
    choice: Any = (),
  ) -> tuple[jax.Array, jax.Array]:
    index, inner = choice

    def branch(number):
      mixing, key_own = self.mixings[number], jax.random.fold_in(key, number)
      return lambda images, labels: mixing(key_own, images, labels, weight, inner[number])

    branches = [branch(number) for number in range(len(self.mixings))]
    return jax.lax.switch(
      index, [*branches, lambda images, labels: (images, labels)], images, labels
    )


class Mixed(NamedTuple):
  """A view whose images are mixed in pairs, and what a loss needs to know of it.

  images: float [n, h, w, c]. share: scalar l, of an image's own pixels. partner: int [n], whose
  pixels are the others.
  """

  images: jax.Array
  share: jax.Array
  partner: jax.Array


@steady
def mixup_view(
  key: jax.Array, images: jax.Array, weight: jax.Array | None = None, *, alpha: float = 1.0
) -> Mixed:
  """Mixes one view of a batch, x <- l x + (1 - l) x[partner], with l = max(m, 1 - m) of
  m ~ Beta(alpha, alpha): every image stays the larger part of its own.

  One l and one permutation serve the view; another view is mixed with another key. A loss of pairs
  takes l times its value for an image and 1 - l times that for its partner.

  Args:
    key: of l and of the permutation.
    images: float [n, h, w, c].
    weight: [n]; images of weight 0 (the padding of a short batch) neither give nor receive.
    alpha: of the Beta distribution.

  Raises:
    UserError: an alpha that is not above 0.

  Source: Ortego et al., CVPR 2021 (MOIT), and Sel-CL (Li et al., CVPR 2022), which mix each of two
    views so.

  >>> images, share, partner = mixup_view(jax.random.key(0), jnp.ones((2, 8, 8, 1)))
  >>> images.shape, 0.5 <= share.item() <= 1, sorted(partner.tolist())
  ((2, 8, 8, 1), True, [0, 1])
  """
  Mixup(alpha)  # checks it
  key_share, key_order = draws.split(key)
  share = draws.beta(key_share, alpha, alpha)
  share = jnp.maximum(share, 1 - share)
  partner = augment.permutation(key_order, len(images), weight)
  # Written as a step towards the partner: who is its own partner stays bit for bit.
  return Mixed(images + (1 - share) * (images[partner] - images), share, partner)


def _check_alpha(mixing):
  errors.real_numbers(alpha=mixing.alpha)
  if not mixing.alpha > 0:
    raise UserError(f'{type(mixing).__name__} needs an alpha above 0; it is {mixing.alpha}.')


MIXINGS = Registry('mixing', dict(mixup=Mixup, cutmix=CutMix, one_of=OneOf))

"""What makes images worse: blur, noise, darkness; as operations of a view in training, and as a
fixed shift of a set of images, in which every image is degraded by its own unchanging draw."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws
from jaxdistill.data import augment
from jaxdistill.data.chain import unit_chain
from jaxdistill.data.dataset import Dataset
from jaxdistill.data.stored import to_uint8
from jaxdistill.data.transform import Transform, check_range
from jaxdistill.numerics import settled, steady

_MOST = float('inf')
_REACH = 4.0  # deviations at which the kernel of a blur is cut off: one in 16,000 is outside
_GOLDEN = 0x9E3779B1  # 2^32 over the golden ratio, odd
_CHUNK = 500  # images of a set that are degraded in one call


@dataclasses.dataclass(frozen=True)
class Blur(Transform):
  """Blurs by a Gaussian: each axis is averaged with weights exp(-d^2 / (2 sigma^2)), d the distance
  in pixels up to ceil(4 sigma), beyond the border the pixel at it.

  Attributes:
    sigma: in pixels of the image at hand, at least 0; 0 changes nothing.

  >>> Blur(1.0)(None, jnp.ones((1, 4, 4, 1))).mean().item()
  1.0
  """

  random: ClassVar[bool] = False
  sigma: float = 1.0

  def __post_init__(self):
    check_range(self, 0, _MOST, 'sigma')

  @steady
  def __call__(self, key: jax.Array | None, images: jax.Array, choice: Any = ()) -> jax.Array:
    if not self.sigma:
      return images
    rows, columns = (jnp.asarray(self._weights(size)) for size in images.shape[1:3])
    # Full precision: tensor cores would keep ten bits of a pixel.
    return jnp.einsum(
      'ph,nhwc,qw->npqc', rows, images, columns, precision=jax.lax.Precision.HIGHEST
    )

  def _weights(self, size):
    """The matrix [size, size] of one axis."""
    reach = math.ceil(_REACH * self.sigma)
    distance = np.arange(-reach, reach + 1)
    kernel = np.exp(-(distance**2) / (2 * self.sigma**2))
    weights = np.zeros((size, size))
    source = np.clip(np.arange(size)[:, None] + distance, 0, size - 1)
    np.add.at(weights, (np.arange(size)[:, None], source), kernel / kernel.sum())
    return weights.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Noise(Transform):
  """Adds normal noise to every value: clip(x + sigma e, 0, 1).

  Attributes:
    sigma: deviation, of images in [0, 1]; at least 0.

  >>> Noise(0.1)(jax.random.key(0), jnp.full((1, 32, 32, 1), 0.5)).shape
  (1, 32, 32, 1)
  """

  acts_on: ClassVar[str] = 'unit'
  sigma: float = 0.05

  def __post_init__(self):
    check_range(self, 0, _MOST, 'sigma')

  @steady
  def __call__(self, key: jax.Array, images: jax.Array, choice: Any = ()) -> jax.Array:
    return (images + self.sigma * draws.normal(key, images.shape)).clip(0, 1)


@dataclasses.dataclass(frozen=True)
class Darken(Transform):
  """Scales every value towards black: factor x.

  Attributes:
    factor: from 0, all black, to 1.

  >>> Darken(0.5)(None, jnp.ones((1, 1, 1, 1))).item()
  0.5
  """

  acts_on: ClassVar[str] = 'unit'
  random: ClassVar[bool] = False
  factor: float = 0.5

  def __post_init__(self):
    check_range(self, 0, 1, 'factor')

  def __call__(self, key: jax.Array | None, images: jax.Array, choice: Any = ()) -> jax.Array:
    return self.factor * images


# By name, as configs ask for them. Our choice: what blurred, dark and noisy pictures of a camera
# look like at 32 pixels.
NAMED = {'blur': Blur(1.0), 'darken': Darken(0.5), 'noise': Noise(0.05)}


@steady
def keys_of(images: jax.Array, seed: int = 0) -> jax.Array:
  """Returns a key [n] for each of some images in [0, 1], by its pixels to 8 bits alone: whatever is
  drawn by it is the same in every set, batch and place that the image is seen in.

  >>> pair = jnp.stack([jnp.zeros((2, 2, 1)), jnp.ones((2, 2, 1))])
  >>> bool((keys_of(pair)[::-1] == keys_of(pair[::-1])).all())
  True
  """
  levels = jnp.round(images.reshape(len(images), -1) * 255).astype(jnp.uint32)
  # Odd factors, so that no change of one pixel is lost modulo 2^32.
  factors = jnp.uint32(_GOLDEN) * (2 * jnp.arange(levels.shape[1], dtype=jnp.uint32) + 1)[None]
  content = (levels * factors).sum(1, dtype=jnp.uint32)
  return jax.vmap(lambda number: jax.random.fold_in(draws.key(seed), number))(content)


@settled()
def degraded(dataset: Dataset, transforms: Sequence[Transform], seed: int = 0) -> Dataset:
  """Returns the data set under a fixed shift: every image degraded, and rounded to 8 bits.

  What happens to an image depends on the seed and on its position in the set alone. Labels, names
  and statistics stay, so that the images are normalised as before.

  Args:
    dataset: of images that fit into memory.
    transforms: operations on images in [0, 1], such as (Blur(1.0), Darken(0.5)).
    seed: of their draws.

  >>> pair = Dataset(np.full((2, 4, 4, 1), 100, np.uint8), np.array([0, 1]))
  >>> degraded(pair, (Darken(0.5),)).images.max().item()
  50
  """
  images, worsen, key = np.asarray(dataset.images), _compiled(tuple(transforms)), draws.key(seed)
  parts = []
  for start in range(0, len(images), _CHUNK):
    # The last call repeats the last image, so that one program serves all.
    positions = np.minimum(start + np.arange(min(_CHUNK, len(images))), len(images) - 1)
    parts.append(to_uint8(np.asarray(worsen(key, images[positions], positions))))
  return dataclasses.replace(dataset, images=np.concatenate(parts)[: len(images)])


@functools.lru_cache(maxsize=8)
def _compiled(transforms):
  """The function of `degraded`, kept for the next set: (key, images, positions) -> images."""
  chain = unit_chain(transforms)

  @jax.jit
  def worsen(key, images, positions):
    keys = jax.vmap(lambda position: jax.random.fold_in(key, position))(positions)
    return chain.by_row(keys, augment.unit(images))

  return worsen

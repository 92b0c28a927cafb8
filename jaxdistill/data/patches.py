"""Features of images that nothing was learned for but random patches and a linear map: fixed
vectors on which many classifiers can be compared in minutes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.data import augment
from jaxdistill.data.dataset import Dataset
from jaxdistill.data.streaming import Streamed
from jaxdistill.data.vectors import Vectors
from jaxdistill.errors import UserError

_SAMPLED = 50_000  # patches that the whitening is measured on
_BATCH = 500
_CONTRAST = 10 / 255**2  # added to a patch's variance
_WHITENING = 0.1  # added to the eigenvalues


@dataclasses.dataclass(frozen=True, eq=False)
class Filters:
  """Whitened random patches as a layer.

  kernels: [size, size, c, patches]. offset: [patches], subtracted from the answers. size, stride:
  of the patches, in pixels.
  """

  kernels: np.ndarray
  offset: np.ndarray
  size: int
  stride: int


def patch_features(
  train: Dataset,
  test: Dataset,
  features: int = 256,
  *,
  patches: int = 192,
  size: int = 6,
  stride: int = 2,
  seed: int = 0,
) -> tuple[Vectors, Vectors]:
  """Returns the features of the images of both sets, float32 [n, features].

  Random patches of the training images, each less its mean and divided by its deviation, are
  whitened (ZCA); so many of them are filters w. An image's maps are max(0, <w, p>) and
  max(0, -<w, p>) for all patches p of it, taken every `stride` pixels and prepared likewise; the
  means of their four quadrants, reduced to `features` principal components of the training images,
  are its features.

  Args:
    train, test: images of one size.
    features: at most eight times the number of patches, and the number of training images.
    patches: filters.
    size, stride: of a patch, in pixels.
    seed: of the patches.

  Raises:
    UserError: images that are smaller than two patches' worth, are streamed, or more features than
      there can be.

  Source: Coates, Ng and Lee, AISTATS 2011, who show how far random whitened patches go; the number
  of filters, the quadrants' means and the reduction are our choice.

  >>> pixels = np.random.RandomState(0).randint(256, size=(40, 12, 12, 1)).astype(np.uint8)
  >>> images = Dataset(pixels, np.arange(40) % 4)
  >>> train, test = patch_features(images, images.take([1]), 5, patches=8, size=4)
  >>> train.features.shape, test.features.shape
  ((40, 5), (1, 5))
  """
  errors.whole('features', features, at_least=1)
  height, width, channels = train.image_shape
  if isinstance(train.images, Streamed):
    raise UserError(f'{train.name} is streamed from disk; its features are of images in memory.')
  if min(height, width) < size + stride:
    raise UserError(
      f'{train.name} has images of {height}x{width}; patches of {size} every {stride} pixels need '
      f'{size + stride} at least.'
    )
  if features > min(8 * patches, len(train)):
    raise UserError(
      f'There are at most {min(8 * patches, len(train))} features of {patches} patches and '
      f'{len(train)} images; got {features}.'
    )
  filters = random_filters(train.images, patches, size, stride, seed)
  pooled = [_pooled(filters, dataset.images) for dataset in (train, test)]
  mean = pooled[0].mean(0, dtype=np.float64)
  _, vectors = np.linalg.eigh(np.cov(pooled[0].T - mean[:, None]))
  basis = vectors[:, ::-1][:, :features]
  # The sign of a component means nothing: the largest entry is made positive.
  basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(features)])
  reduced = [((part - mean) @ basis).astype(np.float32) for part in pooled]
  learned = _vectors(train, reduced[0])
  return learned, _vectors(test, reduced[1], learned)


def random_filters(
  images: np.ndarray, patches: int, size: int, stride: int, seed: int = 0
) -> Filters:
  """Returns whitened random patches of images [n, h, w, c] as filters, see `patch_features`."""
  random = np.random.RandomState(errors.seed(seed))
  n, height, width, _ = images.shape
  rows = random.randint(n, size=_SAMPLED)
  tops = random.randint(height - size + 1, size=_SAMPLED)
  lefts = random.randint(width - size + 1, size=_SAMPLED)
  offsets = np.arange(size)
  inside = (
    rows[:, None, None],
    tops[:, None, None] + offsets[:, None],
    lefts[:, None, None] + offsets,
  )
  cut = np.asarray(augment.unit(np.asarray(images)[inside]), np.float64).reshape(_SAMPLED, -1)
  cut = _contrasted(cut)
  mean = cut.mean(0)
  values, vectors = np.linalg.eigh(np.cov(cut.T))
  whitening = (vectors / np.sqrt(values + _WHITENING)) @ vectors.T
  chosen = (cut[random.permutation(_SAMPLED)[:patches]] - mean) @ whitening
  chosen /= np.linalg.norm(chosen, axis=1, keepdims=True)
  # <w, W (p - m)> = <W w, p> - <W w, m>
  kernels = chosen @ whitening
  shape = (patches, size, size, images.shape[-1])
  return Filters(
    kernels.reshape(shape).transpose(1, 2, 3, 0).astype(np.float32),
    (kernels @ mean).astype(np.float32),
    size,
    stride,
  )


def _contrasted(patches):
  """Patches [n, d] less their means, over their deviations."""
  centred = patches - patches.mean(1, keepdims=True)
  return centred / np.sqrt(centred.var(1, keepdims=True) + _CONTRAST)


def _pooled(filters: Filters, images: np.ndarray) -> np.ndarray:
  """The quadrants' means of all maps, float32 [n, 8 patches]."""
  forward = jax.jit(lambda images: _quadrants(filters, augment.unit(images)))
  parts = []
  for start in range(0, len(images), _BATCH):
    rows = np.minimum(np.arange(start, start + _BATCH), len(images) - 1)
    parts.append(np.asarray(forward(images[rows]))[: len(images) - start])
  return np.concatenate(parts)


def _quadrants(filters, images):
  size, channels = filters.size, images.shape[-1]
  convolve = lambda x, kernel: jax.lax.conv_general_dilated(
    x, kernel, (filters.stride,) * 2, 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  # Mean and variance of every patch, over its pixels and channels together.
  ones = jnp.full((size, size, channels, 1), 1 / (size * size * channels))
  mean = convolve(images, ones)
  variance = jnp.maximum(convolve(images**2, ones) - mean**2, 0)
  kernels = jnp.asarray(filters.kernels)
  answers = convolve(images, kernels) - mean * kernels.sum((0, 1, 2)).reshape(1, 1, 1, -1)
  answers = answers / jnp.sqrt(variance + _CONTRAST) - filters.offset.reshape(1, 1, 1, -1)
  maps = jnp.concatenate([jax.nn.relu(answers), jax.nn.relu(-answers)], axis=-1)
  middle, centre = maps.shape[1] // 2, maps.shape[2] // 2
  quadrants = [
    maps[:, rows, columns].mean((1, 2))
    for rows, columns in (
      (slice(None, middle), slice(None, centre)),
      (slice(None, middle), slice(centre, None)),
      (slice(middle, None), slice(None, centre)),
      (slice(middle, None), slice(centre, None)),
    )
  ]
  return jnp.concatenate(quadrants, axis=-1)


def _vectors(images, features, like=None):
  statistics = {} if like is None else dict(mean=like.mean, std=like.std)
  return Vectors(
    features,
    images.labels,
    images.class_names,
    f'patches:{images.name}',
    images.split,
    notices=images.notices,
    ids=images.ids,
    **statistics,
  )

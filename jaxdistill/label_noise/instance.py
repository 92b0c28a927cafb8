"""Label noise that depends on the image: one that looks like another class gets its label."""

import numpy as np
from scipy import special

from jaxdistill.data.dataset import Dataset
from jaxdistill.errors import UserError, real_numbers, unknown

PIXELS = ('normalised', 'raw')
# Of the normal distribution from which the images' rates of noise come.
DEVIATION = 0.1


def law(
  dataset: Dataset,
  rate: float,
  random: np.random.RandomState,
  upper: float = 1.0,
  pixels: str = 'normalised',
) -> np.ndarray:
  """Returns for each example the probabilities of its observed labels, float64 [n, C].

  P_i = eta_i softmax(s) + (1 - eta_i) e_y, with s = x_i W[y] but minus infinity for y = y_i,
  W ~ N(0, 1)^(C x d x C), and the rate eta_i of a normal distribution around `rate`, of deviation
  .1, cut to [0, upper].

  Args:
    dataset: with the true labels.
    rate: the mean before it is cut, from 0 to `upper`.
    random: the generator of the draws.
    upper: the largest rate: 1, or .6 in TAIDTM.
    pixels: what x_i is: 'normalised', or 'raw' from 0 to 255, as in TAIDTM, by which an image has
      nearly one wrong label.

  Raises:
    UserError: `upper` outside (0, 1] or below the rate, other pixels, what is no `Dataset`, images
      that stay on disk.

  Source: Xia et al., NeurIPS 2020; Li et al., TPAMI 2024 (TAIDTM).

  >>> images = np.random.RandomState(0).randint(256, size=(6, 8, 8, 1)).astype(np.uint8)
  >>> P = law(Dataset(images, np.arange(6) % 3), 0.3, np.random.RandomState(0), pixels='raw')
  >>> P.shape, bool(np.allclose(P.sum(1), 1))
  ((6, 3), True)
  """
  real_numbers(upper=upper)
  if not 0 < upper <= 1:
    raise UserError(f'upper is {upper}; it must be above 0 and at most 1.')
  if rate > upper:
    raise UserError(
      f'The rate is {rate:g}, and no image has a rate above upper, {upper:g}; give a lower rate.'
    )
  if pixels not in PIXELS:
    raise unknown('kind of pixels', pixels, PIXELS)
  if not isinstance(dataset, Dataset):
    raise UserError(
      'Noise by image looks at the images of a Dataset, as data.load returns it; this is a '
      f'{type(dataset).__name__}.'
    )
  if not isinstance(dataset.images, np.ndarray):
    raise UserError(
      f'{dataset.name} stays on disk, and noise by image reads all pixels at once; load the set '
      'into memory.'
    )
  classes, width = dataset.num_classes, int(np.prod(dataset.image_shape))
  rates = _cut_normal(random, rate, upper, len(dataset))
  probabilities = np.zeros((len(dataset), classes))
  # Class by class: the weights of one are d x C numbers.
  for label in range(classes):
    weights = random.standard_normal((width, classes)).astype(np.float32)
    members = dataset.of_class(label)
    scores = (_vectors(dataset, members, pixels) @ weights).astype(np.float64)
    scores[:, label] = -np.inf
    share = rates[members, None]
    probabilities[members] = share * special.softmax(scores, axis=1)
    probabilities[members, label] = 1 - share[:, 0]
  return probabilities


def mean_law(dataset: Dataset, probabilities: np.ndarray) -> np.ndarray:
  """Returns the mean of the examples' laws [n, C] over those of each class, [C, C]; a class without
  examples keeps its label.

  >>> pair = Dataset(np.zeros((2, 8, 8, 1), np.uint8), np.array([1, 1]))
  >>> mean_law(pair, np.array([[0.5, 0.5], [0.0, 1.0]])).tolist()
  [[1.0, 0.0], [0.25, 0.75]]
  """
  transition = np.eye(dataset.num_classes)
  for label in np.unique(dataset.labels):
    transition[label] = probabilities[dataset.labels == label].mean(0)
  return transition


def drawn(random: np.random.RandomState, probabilities: np.ndarray) -> np.ndarray:
  """Returns a label for each row of probabilities, [n].

  >>> drawn(np.random.RandomState(0), np.array([[0.0, 1.0], [1.0, 0.0]])).tolist()
  [1, 0]
  """
  sums = np.cumsum(probabilities, axis=1)
  uniform = random.random_sample(len(sums)) * sums[:, -1]
  return (uniform[:, None] >= sums).sum(1)


def _cut_normal(random, mean, upper, count):
  """Numbers of N(mean, .1) given that they are in [0, upper], by the inverse of its sums."""
  low, high = special.ndtr((np.array([0, upper]) - mean) / DEVIATION)
  uniform = low + (high - low) * random.random_sample(count)
  return np.clip(mean + DEVIATION * special.ndtri(uniform), 0, upper)


def _vectors(dataset, members, pixels):
  """The images of `members` as float32 [m, d]."""
  images = dataset.images[members].astype(np.float32)
  if pixels == 'normalised':
    images = (images / 255 - np.float32(dataset.mean)) / np.float32(dataset.std)
  return images.reshape(len(members), -1)

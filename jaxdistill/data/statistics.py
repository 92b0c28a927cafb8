"""Mean and standard deviation per channel: what published codes use, and what the training images
say."""

import numpy as np

from jaxdistill.data import presets
from jaxdistill.errors import unknown

CONVENTIONS = ('idc', 'dm', 'crd', 'measured')

# Images that a measurement looks at: enough for the third digit of a mean, few enough to be read
# from disk (our choice).
_MEASURED = 10_000


def measure(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns the mean and standard deviation per channel of `images / 255`, uint8 [n, h, w, c].

  Of more than 10,000 images (our choice) 10,000 are measured, evenly spread over the set, whether
  it is in memory or streamed from disk. Counts how often each of the 256 values occurs, so that
  nothing is rounded and no float copy is made. A channel that is constant gets the deviation 1:
  there is nothing to scale.

  >>> measure(np.array([0, 255, 255, 0], np.uint8).reshape(1, 2, 2, 1))
  ((0.5,), (0.5,))
  """
  if len(images) > _MEASURED or not isinstance(images, np.ndarray):
    images = images[np.linspace(0, len(images) - 1, min(len(images), _MEASURED)).astype(int)]
  values = np.arange(256) / 255
  means, deviations = [], []
  for channel in range(images.shape[-1]):
    share = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., channel].size
    mean = share @ values
    deviation = np.sqrt(share @ (values - mean) ** 2)
    means.append(float(mean))
    deviations.append(float(deviation) if share.max() < 1 else 1.0)
  return tuple(means), tuple(deviations)


def choose(
  name: str, images: np.ndarray, convention: str = 'idc'
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns the mean and deviation that a convention prescribes for the data set `name` with
  training `images`.

  'idc' is what IDC (Kim et al., ICML 2022) and the codes built on it use: CIFAR-10's numbers for
  CIFAR-100 too. 'dm' is what DM (Zhao & Bilen, WACV 2023) uses: CIFAR-100 has its own. 'crd' is
  what the codes of distillation use, of which CRD's (Tian et al., ICLR 2020) was the first, and
  DKD's (Zhao et al., CVPR 2022) for Tiny ImageNet. 'measured' takes them from `images`, and so does
  each convention for a set that no code knows. Condensed sets depend on this choice: keep it with
  them.

  Raises `UserError` for another convention.

  >>> choose('cifar100', np.zeros((1, 2, 2, 3), np.uint8), 'dm')[0]
  (0.5071, 0.4866, 0.4409)
  """
  check_convention(convention)
  published = presets.find(name).statistics(convention)
  if convention == 'measured' or published is None or len(published[0]) != images.shape[-1]:
    return measure(images)
  return published


def check_convention(convention: str) -> None:
  """Raises `UserError` unless `convention` is one of `CONVENTIONS`.

  >>> check_convention('dm')
  """
  if convention not in CONVENTIONS:
    raise unknown('normalisation', convention, CONVENTIONS)

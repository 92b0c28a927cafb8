"""Mean and standard deviation per channel: what published codes use, and what the training images
say."""

import numpy as np

from jaxdistill.errors import unknown

CONVENTIONS = ('idc', 'dm', 'measured')

_CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PUBLISHED = {
  'mnist': ((0.1307,), (0.3081,)),
  'fashion_mnist': ((0.2861,), (0.3530,)),
  'svhn_cropped': ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
  'cifar10': _CIFAR10,
  'cifar100': _CIFAR10,
  **dict.fromkeys(
    ('imagenet', 'imagenet2012', 'imagenet_resized', 'imagenette', 'tiny_imagenet'), _IMAGENET
  ),
}
# Images that a measurement looks at: enough for the third digit of a mean, few enough to be read
# from disk (our choice).
_MEASURED = 10_000
_DM_ONLY = {'cifar100': ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))}


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
  CIFAR-100 too. 'dm' is what DM (Zhao & Bilen, WACV 2023) uses: CIFAR-100 has its own. 'measured'
  takes them from `images`, and so does either convention for a set that neither code knows.
  Condensed sets depend on this choice: keep it with them.

  Raises `UserError` for another convention.

  >>> choose('cifar100', np.zeros((1, 2, 2, 3), np.uint8), 'dm')[0]
  (0.5071, 0.4866, 0.4409)
  """
  check_convention(convention)
  table = _PUBLISHED | _DM_ONLY if convention == 'dm' else _PUBLISHED
  base = name.split(':')[0].split('/')[0]
  if convention == 'measured' or base not in table or len(table[base][0]) != images.shape[-1]:
    return measure(images)
  return table[base]


def check_convention(convention: str) -> None:
  """Raises `UserError` unless `convention` is one of `CONVENTIONS`.

  >>> check_convention('dm')
  """
  if convention not in CONVENTIONS:
    raise unknown('normalisation', convention, CONVENTIONS)

"""How `load` reads sets that are no labelled images: vectors, and matrices of labels."""

from jaxdistill.data import mosaic as mosaics_of
from jaxdistill.data import patches as patch_files
from jaxdistill.data import presets, sources, vector_files
from jaxdistill.data import yeast as yeast_files
from jaxdistill.data.dataset import Dataset
from jaxdistill.data.multilabelled import MultiLabelled
from jaxdistill.data.stored import Asked
from jaxdistill.data.vectors import Vectors
from jaxdistill.errors import UserError

_TRAINING_FOR_ONE_TEST = 4


def vectors(path: str, asked: Asked) -> tuple[Vectors, Vectors]:
  """Returns (train, test) of vectors:PATH, see `vector_files.read_vectors`.

  >>> vectors('nowhere.npz', Asked(image_size=8))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: vectors:nowhere.npz holds vectors, which have no size ...
  """
  _check_plain(f'vectors:{path}', asked)
  return vector_files.read_vectors(path, asked.seed)


def multilabel(path: str, asked: Asked) -> tuple[MultiLabelled, MultiLabelled]:
  """Returns (train, test) of multilabel:PATH, see `vector_files.read_multilabelled`.

  >>> multilabel('nowhere.npz', Asked())
  Traceback (most recent call last):
  jaxdistill.errors.UserError: multilabel:nowhere.npz: there is no such file; ...
  """
  flip = True if asked.flip is None else asked.flip
  parts = vector_files.read_multilabelled(path, asked.image_size, asked.seed, flip)
  if parts[0].is_vectors:
    _check_plain(f'multilabel:{path}', asked)
  return parts


def yeast(path: str, asked: Asked) -> tuple[MultiLabelled, MultiLabelled]:
  """Returns (train, test) of yeast or yeast:PATH, see `yeast.read_yeast`.

  >>> yeast(':nowhere.csv', Asked())
  Traceback (most recent call last):
  jaxdistill.errors.UserError: yeast:nowhere.csv: there is no such file; ...
  """
  _check_plain(f'yeast{path}', asked)
  return yeast_files.read_yeast(path.removeprefix(':'), asked.seed)


def mosaic(name: str, asked: Asked) -> tuple[MultiLabelled, MultiLabelled]:
  """Returns (train, test) of mosaic:NAME or mosaic:COUNT:NAME: 2x2 mosaics of the images of the set
  NAME, see `mosaic.mosaics`.

  There are as many as images, or COUNT to train on and a quarter of it to test on. `image_size` is
  the side of a mosaic, an even number; 0: twice that of the images.

  >>> train, test = mosaic('80:digits', Asked(image_size=16))
  >>> print(train.describe().partition(', ')[0], len(test))
  mosaic:digits (train): 80 images of 16x16x1 20
  """
  count, base = presets.mosaic_of(f'mosaic:{name}')
  if 0 < count < _TRAINING_FOR_ONE_TEST:
    raise UserError(
      f'mosaic:{name}: {count} mosaics leave none to test on; give at least '
      f'{_TRAINING_FOR_ONE_TEST}.'
    )
  if asked.image_size % 2:
    raise UserError(
      f'mosaic:{name}: image_size is {asked.image_size}; a mosaic has two images a side and needs '
      'an even number.'
    )
  train, _, test = sources.load_splits(
    base, **(asked._asdict() | {'image_size': asked.image_size // 2})
  )
  if not isinstance(train, Dataset):
    raise UserError(f'mosaic:{name}: {base} holds no labelled images to make mosaics of.')
  return tuple(
    mosaics_of.mosaics(part, number, seed=asked.seed)
    for part, number in ((train, count), (test, count // _TRAINING_FOR_ONE_TEST))
  )


def patches(name: str, asked: Asked) -> tuple[Vectors, Vectors]:
  """Returns (train, test) of patches:NAME: features of the images of the set NAME, see
  `patches.patch_features`; `image_size` is the side of the images.

  >>> patches('digits', Asked(flip=True))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: patches:digits holds vectors, which cannot be mirrored; ...
  """
  if asked.flip:
    raise UserError(f'patches:{name} holds vectors, which cannot be mirrored; leave flip out.')
  train, _, test = sources.load_splits(name, **asked._asdict())
  if not isinstance(train, Dataset):
    raise UserError(f'patches:{name}: {name} holds no labelled images to take patches of.')
  return patch_files.patch_features(train, test, seed=asked.seed)


def _check_plain(name, asked):
  """Raises `UserError` for what only images have."""
  if asked.image_size:
    raise UserError(
      f'{name} holds vectors, which have no size to change: leave image_size at 0, it is '
      f'{asked.image_size}.'
    )
  if asked.flip:
    raise UserError(f'{name} holds vectors, which cannot be mirrored; leave flip out.')

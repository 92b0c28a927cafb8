"""Where data sets come from: one name for each source, one function that loads them all."""

import os
import warnings
from collections.abc import Callable

import numpy as np

from jaxdistill import errors, registry
from jaxdistill.data import exported, presets, statistics, streaming
from jaxdistill.data.dataset import Dataset, boolean, stratified, without_images
from jaxdistill.data.stored import Asked, Stored, check_size, resize
from jaxdistill.data.streaming import Streamed
from jaxdistill.errors import UserError, brief, shown

_TEST_SHARE = 0.2
_DIGITS_SEED = 0


def load(
  name: str = 'digits',
  *,
  data_dir: str = '',
  image_size: int = 0,
  normalisation: str = 'idc',
  seed: int = 0,
  classes: str = '',
  stream_above: int | None = None,
  flip: bool | None = None,
  tell: Callable[[str], None] | None = None,
) -> tuple[Dataset, Dataset]:
  """Loads a data set as (train, test), uint8 in memory, or leaves the training images where they
  are.

  `name`: 'digits' (scikit-learn's, in its package, no download); a name of TensorFlow Datasets,
  with `/config` and `:version` if wanted, prepared on disk in array_record form under `data_dir`,
  else the environment variable TFDS_DATA_DIR, else ~/tensorflow_datasets; 'npz:PATH' (see
  `arrays.read_npz`); 'folder:PATH', 'imagenet:PATH' and 'imagenet224:PATH' (see
  `folders.read_folder`); 'tiny_imagenet:PATH' (see `imagenet`); 'mini:PATH' (see `mini_imagenet`);
  'cub:PATH' (see `cub`); 'idx:PATH', a folder of MNIST's or Fashion-MNIST's files (see `idx`).

  Of some names the two are no `Dataset`: 'vectors:PATH' gives `Vectors` (see
  `vector_files.read_vectors`), and 'multilabel:PATH' (see `vector_files.read_multilabelled`),
  'mosaic:NAME' (2x2 mosaics of another set's images, see `others.mosaic`), 'yeast' and 'yeast:PATH'
  (see `yeast`) give `MultiLabelled`.

  `image_size` n gives [n, n] images, resized by the short side and cut about the centre; 0 keeps
  the stored size (16 for digits, 32 for folders, 128 and 224 for ImageNet, 64 for Tiny-ImageNet,
  84 for miniImageNet, 224 for CUB).
  `flip` says whether a mirrored image keeps its class; None: as it is known of the set (see
  `presets`), or as an npz file says.
  `normalisation` chooses the statistics (see `statistics.choose`). A set without a test split is
  divided by class, 4 : 1, by `seed`; that of digits never changes. `classes` takes some of the
  class folders only, in its own order: a name of `subsets.SUBSETS`, or the folders' names with
  commas between. Training images of more than `stream_above` bytes are not loaded but
  `streaming.Streamed`, read from disk for each batch; None loads all. Test images are always
  loaded. `tell` gets a line for whatever was not read, or was changed in reading it
  (`Dataset.notices`); None: each is a warning of Python.

  Images to choose by that the source itself sets apart are told of; `load_splits` returns them.

  Raises `UserError` in one sentence for an unknown name, a missing or wrong file, labels that do
  not match the images, a class without training images.

  >>> train, test = load('digits')
  >>> print(train.describe())
  digits (train): 1,438 images of 16x16x1, 10 classes of 139 to 146 images
  """
  lines = []
  train, validation, test = load_splits(
    name,
    data_dir=data_dir,
    image_size=image_size,
    normalisation=normalisation,
    seed=seed,
    classes=classes,
    stream_above=stream_above,
    flip=flip,
    tell=lines.append,
  )
  if validation is not None:
    lines.append(f'{name}: {len(validation):,} validation images; data.load_splits returns them.')
  for line in lines:
    if tell is None:
      warnings.warn(line, stacklevel=2)
    else:
      tell(line)
  return train, test


def load_splits(
  name: str = 'digits',
  *,
  data_dir: str = '',
  image_size: int = 0,
  normalisation: str = 'idc',
  seed: int = 0,
  classes: str = '',
  stream_above: int | None = None,
  flip: bool | None = None,
  tell: Callable[[str], None] = print,
) -> tuple[Dataset, Dataset | None, Dataset]:
  """Returns (train, validation, test) as `load` does (train, test), with its arguments; no
  validation where the source has none of its own.

  >>> train, validation, test = load_splits('digits', image_size=8)
  >>> validation is None, train.image_shape
  (True, (8, 8, 1))
  """
  _check_arguments(name, data_dir, classes, stream_above, flip)
  statistics.check_convention(normalisation)
  check_size(image_size)
  errors.seed(seed)
  preset = presets.find(name)
  if classes and not preset.folders:
    folders = (f'{row.name}PATH' for row in presets.TABLE.values() if row.folders)
    raise UserError(
      f'{name}: classes chooses among the folders of {", ".join(folders)}; '
      f'leave it empty here, it is {classes!r}.'
    )
  if preset.maker and name.startswith(preset.name):
    asked = Asked(data_dir, image_size, normalisation, seed, flip, tell)
    train, test = registry.load(preset.maker)(name.removeprefix(preset.name), asked)
    return train, None, test
  if name == 'digits':
    stored = _read_digits(image_size or preset.size)
  elif preset.reader and name.startswith(preset.name):
    path, options = name.removeprefix(preset.name), (classes, stream_above)
    read = registry.load(preset.reader)
    # An exported set keeps the size that it was exported in.
    size = 0 if preset.folders and exported.lies_at(path) else preset.size
    stored = read(path, image_size or size, *(options if preset.folders else ()))
  else:
    from jaxdistill.data import tfds_sets

    stored = tfds_sets.read(name, data_dir, image_size, stream_above)
  stored = stored._replace(flip=stored.flip and preset.flip if flip is None else flip)
  images, labels = stored.train
  if stream_above is not None and isinstance(images, np.ndarray) and images.nbytes > stream_above:
    stored = stored._replace(train=(Streamed.of_array(images), labels))
  datasets = _datasets(name, stored, normalisation, seed)
  for notice in datasets[0].notices:
    tell(notice)
  return datasets


def _check_arguments(name, data_dir, classes, stream_above, flip):
  """Raises `UserError` for a value of another kind."""
  if not isinstance(name, str):
    raise UserError(
      "The name of a data set is a text, such as 'digits', 'folder:PATH' or 'npz:PATH'; it is "
      f'{name!r:.200}.'
    )
  if not isinstance(data_dir, (str, os.PathLike)):
    raise UserError(f"data_dir is a path, or '' for the usual place; it is {data_dir!r}.")
  if not isinstance(classes, str):
    raise UserError(
      f'classes is a text, the names of class folders with commas between; it is {classes!r}.'
    )
  if stream_above is not None:
    errors.whole('stream_above', stream_above)
  if flip is not None:
    boolean(name, flip)


def _datasets(
  name: str, stored: Stored, normalisation: str, seed: int
) -> tuple[Dataset, Dataset | None, Dataset]:
  if isinstance(stored.train[0], Streamed):
    streaming.require()
  names = ('class_names', 'flip', 'notices', 'background')
  fields = dict(name=shown(name), **{key: getattr(stored, key) for key in names})
  # With placeholders for the statistics: the set must be known to be sound before anything is
  # computed from it.
  whole = Dataset(*stored.train, mean=_ones(stored), std=_ones(stored), ids=stored.ids, **fields)
  if whole.counts.min() == 0:
    missing = whole.class_names[whole.counts.argmin()]
    raise UserError(
      f'{name}: class {brief(repr(missing))} has no training image; each class from 0 to the last '
      'one needs some.'
    )
  for role, held in (('validation', stored.validation), ('test', stored.test)):
    if held is not None:
      _check_held(whole, role, *held)
  if stored.test is None:
    kept, held = stratified(whole.labels, _TEST_SHARE, seed)
    if not held.size:
      raise UserError(
        f'{name}: every class has a single image, so no test split can be made; add images.'
      )
    parts = whole.take(kept), whole.take(held)
    train, test = ((part.images, part.labels) for part in parts)
    test = np.asarray(test[0]), test[1]
    # Lists of rows mean those of the source, of which some are gone.
    ids = parts[0].ids if len(stored.ids) else kept
    fields['notices'] += without_images(fields['name'], 'test', test[1], whole.num_classes)
  else:
    train, test, ids = stored.train, stored.test, whole.ids
  fields['class_names'] = whole.class_names
  if stored.statistics and normalisation != 'measured':
    fields['mean'], fields['std'] = stored.statistics
  else:
    fields['mean'], fields['std'] = statistics.choose(name, train[0], normalisation)
  train, test = Dataset(*train, ids=ids, **fields), Dataset(*test, split='test', **fields)
  validation = None
  if stored.validation is not None:
    validation = Dataset(*stored.validation, split='validation', **fields)
  return train, validation, test


def _check_held(train: Dataset, role: str, images: np.ndarray, labels: np.ndarray) -> None:
  """Raises `UserError` for images to validate or test on that differ from those to train on."""
  shape = tuple(images.shape[1:])
  if train.image_shape != shape:
    advice = (
      'give image_size, or store both with one shape'
      if train.image_shape[-1:] == shape[-1:]
      else 'store both in colour or both in grey'
    )
    raise UserError(
      f'{train.name}: training images are {train.image_shape} and {role} images {shape}; {advice}.'
    )
  last = labels.max(initial=0)
  if last >= train.num_classes:
    raise UserError(
      f'{train.name}: the {role} images have the label {last}, and the training images the classes '
      f'0 to {train.num_classes - 1}.'
    )


def _ones(stored):
  return (1.0,) * stored.train[0].shape[-1]


def _read_digits(image_size: int) -> Stored:
  """The 1,797 handwritten digits of scikit-learn, 8x8 with 17 grey levels, enlarged and divided
  once and for all."""
  from sklearn.datasets import load_digits

  check_size(image_size, smallest=8)
  digits = load_digits()
  images = resize(np.rint(digits.images[..., None] * (255 / 16)).astype(np.uint8), image_size)
  kept, held = stratified(digits.target, _TEST_SHARE, _DIGITS_SEED)
  train, test = ((images[part], digits.target[part]) for part in (kept, held))
  return Stored(train, test, tuple('0123456789'))

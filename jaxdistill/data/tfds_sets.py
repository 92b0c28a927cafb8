"""Image-classification sets of TensorFlow Datasets, read from disk without TensorFlow."""

import concurrent.futures
import difflib
import io
import itertools
import json
import os
import pathlib
import re

import numpy as np

from jaxdistill.data import presets
from jaxdistill.data.stored import MODES, Stored, check_size, fit
from jaxdistill.data.streaming import Streamed
from jaxdistill.errors import UserError

_TEST_SPLITS = ('test', 'validation')
_FORMAT = 'array_record'
_BLOCK = 256


def read(
  name: str, data_dir: str = '', image_size: int = 0, stream_above: int | None = None
) -> Stored:
  """Reads the train split and the test split (validation where there is no test) of
  `name[/config][:version]`.

  The set must lie on disk in array_record form, as `tfds build NAME --file_format=array_record`
  leaves it, under `data_dir`, else TFDS_DATA_DIR, else ~/tensorflow_datasets; the newest version is
  taken. `image_size` is needed where images differ in size. Training images that would take more
  than `stream_above` bytes stay on disk; None reads them all.

  Raises `UserError` in one sentence when the set does not exist, is not on disk, has another file
  format, or is no image-classification set with a train and a test split.

  >>> read('cifar10', data_dir='/nowhere')  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  jaxdistill.errors.UserError: cifar10: not found on disk in /nowhere; run `tfds build cifar10 ...
  """
  check_size(image_size)
  root = pathlib.Path(
    data_dir or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  ).expanduser()
  folder = _find(name, root)
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(folder)
  image_key, label_key = _keys(name, tfds, builder.info)
  held = next((split for split in _TEST_SPLITS if split in builder.info.splits), None)
  if 'train' not in builder.info.splits or held is None:
    raise UserError(
      f'{name}: needs a train and a test or validation split; it has '
      f'{", ".join(builder.info.splits)}.'
    )
  feature = builder.info.features[image_key]
  if None in feature.shape[:2] and not image_size:
    raise UserError(f'{name}: its images differ in size; set image_size, for example to 64.')
  train = _read_split(tfds, builder, 'train', image_key, label_key, image_size, stream_above)
  test = _read_split(tfds, builder, held, image_key, label_key, image_size)
  return Stored(train, test, tuple(builder.info.features[label_key].names))


def _find(name: str, root: pathlib.Path) -> pathlib.Path:
  """The folder of the newest version that can be read."""
  match = re.fullmatch(r'(\w+)(?:/([\w.+-]+))?(?::(\d+\.\d+\.\d+))?', name)
  if match is None:
    raise _missing(name, root)
  base, config, version = match.groups()
  depths = (f'{config}/*',) if config else ('*', '*/*')
  folders = itertools.chain.from_iterable((root / base).glob(depth) for depth in depths)
  versions = [
    folder
    for folder in folders
    if re.fullmatch(version or r'\d+\.\d+\.\d+', folder.name)
    and (folder / 'dataset_info.json').is_file()
  ]
  if not versions:
    raise _missing(name, root)
  configs = sorted({folder.parent.name for folder in versions if folder.parent.name != base})
  if len(configs) > 1:
    raise UserError(
      f'{name}: {root / base} holds the variants {", ".join(configs)}; '
      f'name one, such as {base}/{configs[0]}.'
    )
  readable = [folder for folder in versions if _file_format(folder) == _FORMAT]
  if not readable:
    raise UserError(
      f'{name}: {versions[0]} is in {_file_format(versions[0])} format, which needs TensorFlow to '
      'read; '
      f'{_how_to_get(name)}.'
    )
  return max(readable, key=lambda folder: tuple(map(int, folder.name.split('.'))))


def _file_format(folder):
  return json.loads((folder / 'dataset_info.json').read_text()).get('fileFormat', 'tfrecord')


def _how_to_get(name):
  return (
    f'run `tfds build {name} --file_format={_FORMAT} --data_dir=DIR` where there is a '
    'network and TensorFlow'
  )


def _missing(name: str, root: pathlib.Path) -> UserError:
  """The error for a set that is not on disk: how to get it, or that there is none of this name."""
  import tensorflow_datasets as tfds

  known = tfds.list_builders(with_community_datasets=False)
  if re.split('[:/]', name)[0] in known:
    return UserError(
      f'{name}: not found on disk in {root}; {_how_to_get(name)}, copy DIR here, and set data_dir '
      '(config.data.dir) or TFDS_DATA_DIR to it.'
    )
  near = difflib.get_close_matches(name.lower(), ['digits', *known], n=1)
  hint = f'; did you mean {near[0]!r}?' if near else '.'
  own = ', '.join(f'{row.name}PATH' for row in presets.TABLE.values() if row.reader)
  return UserError(
    f'There is no data set {name!r}{hint} Valid: digits, {own}, and the names of TensorFlow '
    f'Datasets (looked on disk in {root}).'
  )


def _keys(name, tfds, info):
  """The names of the image and of the label among the features."""
  pair = info.supervised_keys or ('image', 'label')
  features = info.features
  good = len(pair) == 2 and all(isinstance(key, str) and key in features for key in pair)
  if not (
    good
    and isinstance(features[pair[0]], tfds.features.Image)
    and features[pair[0]].shape[2] in MODES
    and features[pair[0]].np_dtype == np.uint8
    and isinstance(features[pair[1]], tfds.features.ClassLabel)
  ):
    raise UserError(
      f'{name}: is no image-classification set; it holds {", ".join(features)}, and an 8-bit image '
      'with a class label is needed.'
    )
  return pair


def _read_split(tfds, builder, split, image_key, label_key, image_size, stream_above=None):
  """The images and labels of one split; the images stay on disk where they would take more than
  `stream_above` bytes."""
  import tqdm

  feature = builder.info.features[image_key]
  decode = _decoder(MODES[feature.shape[2]], image_size)
  # Taking the bytes as stored and decoding them here is faster than the decoding of TFDS, which
  # goes image by image.
  source = builder.as_data_source(split=split, decoders={image_key: tfds.decode.SkipDecoding()})

  def fetch(positions):
    examples = source.__getitems__(list(map(int, positions)))
    return decode([example[image_key] for example in examples])

  shape = ((image_size, image_size) if image_size else feature.shape[:2]) + feature.shape[2:]
  origin = f'{builder.info.full_name} {split} {len(source)}'
  streamed = Streamed(fetch, shape, np.arange(len(source)), origin)
  stays = stream_above is not None and streamed.nbytes > stream_above
  blocks, labels = [], []
  with (
    concurrent.futures.ThreadPoolExecutor() as pool,
    tqdm.tqdm(
      total=len(source), desc=f'{builder.name} {split}', unit=' images', disable=None, leave=False
    ) as bar,
  ):
    for start in range(0, len(source), _BLOCK):
      examples = source.__getitems__(list(range(start, min(start + _BLOCK, len(source)))))
      if not stays:
        blocks.append(pool.submit(decode, [example[image_key] for example in examples]))
      labels.extend(example[label_key] for example in examples)
      bar.update(len(examples))
  return streamed if stays else np.concatenate([block.result() for block in blocks]), np.array(
    labels
  )


def _decoder(mode, image_size):
  import PIL.Image

  def decode(encoded):
    pictures = []
    for data in encoded:
      with PIL.Image.open(io.BytesIO(data)) as picture:
        pictures.append(fit(picture if picture.mode == mode else picture.convert(mode), image_size))
    return np.stack(pictures)

  return decode

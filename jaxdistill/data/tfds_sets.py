"""Image-classification sets of TensorFlow Datasets, read from disk without TensorFlow."""

import concurrent.futures
import contextlib
import difflib
import hashlib
import io
import itertools
import json
import os
import pathlib
import re

import numpy as np

from jaxdistill import terminal
from jaxdistill.data import exported, pictures, presets, streaming
from jaxdistill.data.stored import MODES, Stored, check_size
from jaxdistill.data.streaming import Streamed
from jaxdistill.errors import UserError
from jaxdistill.files import expanded

_TEST_SPLITS = ('test', 'validation')
_FORMAT = 'array_record'
_INFO = 'dataset_info.json'
_BLOCK = 256
# Features in which sets say what they call an image: CIFAR its row in the original files.
_IDS = ('id', 'image/filename', 'file_name', 'filename')


def read(
  name: str, data_dir: str = '', image_size: int = 0, stream_above: int | None = None
) -> Stored:
  """Reads the train split and the test split (validation where there is no test) of
  `name[/config][:version]`; train alone is a set without a test split.

  The set must lie on disk in array_record form, as `tfds build NAME --file_format=array_record`
  leaves it, under `data_dir`, else TFDS_DATA_DIR, else ~/tensorflow_datasets; the newest version is
  taken. `image_size` is needed where images differ in size. Training images that would take more
  than `stream_above` bytes stay on disk; None reads them all. A set that `Condensed.to_tfds` wrote
  has the class names, statistics and `flip` of its manifest.

  Raises `UserError` in one sentence when the set does not exist, is not on disk, is damaged, has
  another file format, or is no image-classification set with a train split.

  >>> read('cifar10', data_dir='/nowhere')  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  jaxdistill.errors.UserError: cifar10: not found on disk in /nowhere; run `tfds build cifar10 ...
  """
  check_size(image_size)
  root = expanded(place(data_dir))
  folder, notices = _find(name, root)
  manifest = exported.read_manifest(name, folder)
  with _one_sentence(name, folder):
    import tensorflow_datasets as tfds

    # TFDS prints at length where a description, damaged or not, needs TensorFlow.
    with contextlib.redirect_stdout(io.StringIO()):
      builder = tfds.builder_from_directory(folder)
      image_key, label_key = _keys(name, tfds, builder.info)
    splits = builder.info.splits
    held = next((split for split in _TEST_SPLITS if split in splits), None)
    if 'train' not in splits:
      raise UserError(f'{name}: needs a train split; it has {", ".join(splits)}.')
    feature = builder.info.features[image_key]
    names = tuple(map(str, builder.info.features[label_key].names))
    if None in feature.shape[:2] and not image_size:
      raise UserError(f'{name}: its images differ in size; set image_size, for example to 64.')
    _check_shards(name, folder, [splits[split] for split in ('train', held) if split])
    extra = [f'{split} ({splits[split].num_examples:,})' for split in splits]
    extra = [text for text in extra if text.partition(' ')[0] not in ('train', held)]
    if extra:
      notices.append(f'{name}: splits that are not read: {", ".join(extra)}.')
    keys = (image_key, label_key)
    train, ids, on_white = _read_split(name, tfds, builder, 'train', keys, image_size, stream_above)
    test, also = None, 0
    if held:
      test, _, also = _read_split(name, tfds, builder, held, keys, image_size)
    soft = 'soft_label' in builder.info.features
  if on_white + also:
    notices.append(f'{name}: transparent pictures, laid on white: {on_white + also:,}.')
  stored = Stored(train, test, names, background='white' if on_white + also else '', ids=ids)
  if manifest is not None:
    if len(manifest.class_names) != len(names):
      raise UserError(
        f'{name}: {exported.MANIFEST} in {folder} names {len(manifest.class_names)} classes and '
        f'the set {len(names)}; export the set again.'
      )
    if soft:
      notices.append(f'{name}: the labels are soft; of each the likeliest class is taken.')
    stored = stored._replace(
      class_names=manifest.class_names,
      flip=manifest.flip,
      statistics=(manifest.mean, manifest.std),
    )
  return stored._replace(notices=tuple(notices))


def place(data_dir: str = '') -> str:
  """Returns the folder in which the sets lie.

  >>> place('/data/tfds')
  '/data/tfds'
  """
  return data_dir or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'


@contextlib.contextmanager
def _one_sentence(name, folder):
  """Makes one sentence of whatever a damaged set raises in the packages that read it."""
  try:
    yield
  except UserError:
    raise
  except MemoryError as error:
    raise streaming.too_large(name) from error
  except Exception as error:
    reason = f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'
    raise UserError(
      f'{name}: the set in {folder} is damaged or incomplete ({reason}); copy it again, or prepare '
      f'it anew ({_how_to_get(name)}).'
    ) from error


def _check_shards(name, folder, splits):
  """Raises `UserError` unless the files hold as many examples as the description tells."""
  from array_record.python import array_record_module

  for split in splits:
    for file, expected in zip(split.filepaths, split.shard_lengths):
      reader = array_record_module.ArrayRecordReader(str(file))
      count = reader.num_records()
      reader.close()
      if count != expected:
        raise UserError(
          f'{name}: {file} holds {count:,} examples, where {folder / _INFO} tells of '
          f'{expected:,}; copy the set again.'
        )


def _find(name: str, root: pathlib.Path) -> tuple[pathlib.Path, list[str]]:
  """The folder of the newest version that can be read, and what is to be told."""
  match = re.fullmatch(r'(\w+)(?:/([\w.+-]+))?(?::(\d+\.\d+\.\d+))?', name)
  if match is None:
    raise _missing(name, root)
  base, config, version = match.groups()
  depths = ('*', '*/*')
  folders = itertools.chain.from_iterable((root / base).glob(depth) for depth in depths)
  versions = [
    folder
    for folder in folders
    if re.fullmatch(r'\d+\.\d+\.\d+', folder.name) and os.path.isfile(folder / _INFO)
  ]
  asked = [
    folder
    for folder in versions
    if version in (None, folder.name) and config in (None, folder.parent.name)
  ]
  if versions and not asked:
    there = ', '.join(sorted(_full_name(folder, root) for folder in versions))
    raise UserError(f'{name}: not found on disk in {root}, which holds {there}; name one of them.')
  if not asked:
    raise _missing(name, root)
  configs = sorted({folder.parent.name for folder in asked if folder.parent.name != base})
  if len(configs) > 1:
    raise UserError(
      f'{name}: {root / base} holds the variants {", ".join(configs)}; '
      f'name one, such as {base}/{configs[0]}.'
    )
  asked.sort(key=lambda folder: tuple(map(int, folder.name.split('.'))))
  readable = [folder for folder in asked if _file_format(name, folder) == _FORMAT]
  if not readable:
    raise UserError(
      f'{name}: {asked[-1]} is in {_file_format(name, asked[-1])} format, which needs TensorFlow '
      f'to read; {_how_to_get(name)}.'
    )
  newer = [folder.name for folder in asked[asked.index(readable[-1]) + 1 :]]
  notice = f'{name}: {readable[-1].name} is read; of other file formats: {", ".join(newer)}.'
  return readable[-1], [notice] if newer else []


def _full_name(folder, root):
  """As a set is asked for: name:version or name/config:version."""
  return f'{folder.parent.relative_to(root).as_posix()}:{folder.name}'


def _file_format(name, folder):
  """What a description tells of the files; in its absence the format of old versions."""
  try:
    return json.loads((folder / _INFO).read_bytes()).get('fileFormat', 'tfrecord')
  except OSError as error:
    raise UserError(f'{name}: {folder / _INFO} cannot be read ({error.strerror}).') from error
  except (ValueError, AttributeError, RecursionError) as error:
    raise UserError(
      f'{name}: {folder / _INFO} is damaged ({type(error).__name__}); copy the set again.'
    ) from error


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
  held = ', '.join(map(pictures.shown, features))
  good = len(pair) == 2 and all(isinstance(key, str) and key in features for key in pair)
  if not (
    good
    and isinstance(features[pair[0]], tfds.features.Image)
    and features[pair[0]].shape[2] in MODES
    and features[pair[0]].np_dtype == np.uint8
    and isinstance(features[pair[1]], tfds.features.ClassLabel)
  ):
    raise UserError(
      f'{name}: is no image-classification set; it holds {held}, and an 8-bit image '
      'with a class label is needed.'
    )
  return pair


def _read_split(name, tfds, builder, split, keys, image_size, stream_above=None):
  """((images, labels), what the set calls the images, number of transparent ones) of one split;
  the images stay on disk where they would take more than `stream_above` bytes."""
  image_key, label_key = keys
  features = builder.info.features
  texts = [key for key in _IDS if key in features and isinstance(features[key], tfds.features.Text)]
  feature = features[image_key]
  shape = ((image_size, image_size) if image_size else feature.shape[:2]) + feature.shape[2:]
  # Taking the bytes as stored and decoding them here is faster than the decoding of TFDS, which
  # goes image by image.
  source = builder.as_data_source(split=split, decoders={image_key: tfds.decode.SkipDecoding()})
  where = f'{name} ({split})'

  def decode(positions, examples):
    with _one_sentence(name, builder.data_dir):
      return np.stack(
        [
          pictures.decode(where, f'number {position}', example[image_key], shape)
          for position, example in zip(positions, examples)
        ]
      )

  def fetch(positions):
    with _one_sentence(name, builder.data_dir):
      examples = source.__getitems__(list(map(int, positions)))
    return decode(positions, examples)

  files = tuple(map(pathlib.Path, builder.info.splits[split].filepaths))
  stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
  content = hashlib.sha256(repr(stats).encode()).hexdigest()
  origin = f'{builder.info.full_name} {split} {len(source)} {content}'
  streamed = Streamed(fetch, shape, np.arange(len(source)), origin, files)
  stays = stream_above is not None and streamed.nbytes > stream_above
  blocks, labels, ids = [], [], []
  transparent = 0
  with (
    concurrent.futures.ThreadPoolExecutor() as pool,
    terminal.bar(desc=f'{builder.name} {split}', total=len(source), unit=' images') as bar,
  ):
    for start in range(0, len(source), _BLOCK):
      positions = range(start, min(start + _BLOCK, len(source)))
      examples = source.__getitems__(list(positions))
      if not stays:
        blocks.append(pool.submit(decode, positions, examples))
      labels.extend(example[label_key] for example in examples)
      for key in texts[:1]:
        ids.extend(os.fsdecode(example[key]) for example in examples)
      if shape[2] < 4:
        for position, example in zip(positions, examples):
          transparent += pictures.is_transparent(where, f'number {position}', example[image_key])
      bar.update(len(examples))
  images = streamed if stays else np.concatenate([block.result() for block in blocks])
  return (images, np.array(labels)), ids, transparent

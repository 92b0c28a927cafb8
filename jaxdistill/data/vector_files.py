"""Your own vectors, and your own matrices of labels, as arrays in an npz file."""

from collections.abc import Mapping

import numpy as np

from jaxdistill import errors
from jaxdistill.data import archives
from jaxdistill.data.dataset import stratified
from jaxdistill.data.entries import names_of, whole_labels
from jaxdistill.data.multilabelled import MultiLabelled, divided
from jaxdistill.data.pixels import to_uint8
from jaxdistill.data.stored import resize
from jaxdistill.data.vectors import Vectors
from jaxdistill.errors import UserError, shown, unknown
from jaxdistill.files import expanded

_TEST_SHARE = 0.2
_SPLITS = ('', 'train_', 'test_')


def read_vectors(path: str, seed: int = 0) -> tuple[Vectors, Vectors]:
  """Returns (train, test) of an npz file with `features` [n, d] and `labels` [n], or
  `train_features` and `train_labels`, and, if there, `test_features` and `test_labels`.

  A file without a test is divided by class, 4 : 1, by `seed`, and `ids` are the rows in it. Further
  entry: class_names. The statistics are those of the training vectors.

  Raises:
    UserError: a file that is missing or no npz, an entry that is not known or does not fit.

  >>> import tempfile
  >>> file = tempfile.mkdtemp() + '/mine.npz'
  >>> np.savez(file, features=np.arange(20.).reshape(10, 2), labels=np.arange(10) % 2)
  >>> print(read_vectors(file)[1].describe().partition(': ')[2])
  2 vectors of 2 numbers, 2 classes of 1 vectors
  """
  where = f'vectors:{shown(path)}'
  entries = _entries(where, path, ('features',))
  for name in entries:
    if name.endswith('labels'):
      entries[name] = whole_labels(f'{where}: {name}', entries[name], 'a vector')
  (features, labels), test = _pairs(where, entries, 'features')
  names = names_of(where, entries)
  whole = Vectors(features, labels, names, name=where)
  if whole.counts.min() == 0:
    missing = whole.class_names[whole.counts.argmin()]
    raise UserError(
      f'{where}: class {errors.brief(repr(missing))} has no training vector; each class from 0 to '
      'the last one needs some.'
    )
  if test is None:
    kept, held = stratified(whole.labels, _TEST_SHARE, seed)
    if not held.size:
      raise UserError(
        f'{where}: every class has a single vector, so no test split can be made; add vectors.'
      )
    # Lists of rows and files of crowds mean those of the file, of which some are gone.
    known = dict(name=where, ids=kept)
    train = Vectors(whole.features[kept], whole.labels[kept], whole.class_names, **known)
    test = whole.features[held], whole.labels[held]
  else:
    train = whole
  _check_alike(where, train.features, test[0])
  known = dict(name=where, split='test', mean=train.mean, std=train.std)
  return train, Vectors(*test, train.class_names, **known)


def read_multilabelled(
  path: str, image_size: int = 0, seed: int = 0, flip: bool = True
) -> tuple[MultiLabelled, MultiLabelled]:
  """Returns (train, test) of an npz file with `images` [n, h, w, c] or `features` [n, d], and
  `labels` [n, q] of 0 and 1; with train_ and test_ before the names, if there is a test.

  A file without a test is divided at random, 4 : 1, by `seed`, and `ids` are the rows in it. Images
  are as in `arrays.read_npz`, and `image_size` brings them to one side; `flip` says whether a
  mirrored one keeps its classes. Further entry: class_names.

  Raises:
    UserError: a file that is missing or no npz, an entry that is not known or does not fit, a value
      of the labels other than 0 and 1.

  >>> import tempfile
  >>> file = tempfile.mkdtemp() + '/mine.npz'
  >>> np.savez(file, features=np.arange(20.).reshape(10, 2), labels=np.tile([1, 0, 1], (10, 1)))
  >>> print(read_multilabelled(file)[0].describe().partition(': ')[2])
  8 vectors of 2 numbers, 3 labels, 2.0 each on average
  """
  where = f'multilabel:{shown(path)}'
  entries = _entries(where, path, ('features', 'images'))
  given = [name.split('_')[-1] for name in entries]
  kinds = [kind for kind in ('images', 'features') if kind in given]
  if len(kinds) > 1:
    raise UserError(
      f'{where}: the file holds images and features ({", ".join(entries)}); it is one or the other '
      'that a network sees: leave one out.'
    )
  inputs = kinds[0] if kinds else 'features'
  names = names_of(where, entries)
  parts = []
  for values, labels in filter(None, _pairs(where, entries, inputs)):
    if inputs == 'images':
      values = resize(to_uint8(f'{where}: images', values), image_size)
    parts.append((values, labels))
  _check_alike(where, parts[0][0], parts[-1][0])
  ids = ()
  if len(parts) == 1:
    whole = MultiLabelled(*parts[0], names, name=where)
    learned, tested = divided(whole, _TEST_SHARE, seed)
    ids, parts = learned.ids, [(part.inputs, part.labels) for part in (learned, tested)]
  train = MultiLabelled(*parts[0], names, name=where, flip=flip, ids=ids)
  known = dict(name=where, split='test', mean=train.mean, std=train.std, flip=flip)
  return train, MultiLabelled(*parts[1], train.class_names, **known)


def _entries(where: str, path: str, inputs: tuple[str, ...]) -> dict[str, np.ndarray]:
  """The arrays of the file, all of known names."""
  known = ['class_names']
  for split in _SPLITS:
    known += [f'{split}{name}' for name in (*inputs, 'labels')]

  def check(names):
    for name in names:
      if name not in known:
        raise UserError(f'{where}: {unknown("such entry as", name, known)}')

  return archives.read(where, expanded(path), check)


def _pairs(where: str, entries: Mapping[str, np.ndarray], inputs: str):
  """(inputs, labels) to train on and to test on, None where there are none."""
  pairs = {}
  for split in _SPLITS:
    pair = [name for name in (f'{split}{inputs}', f'{split}labels') if name in entries]
    if len(pair) == 1:
      raise UserError(
        f'{where}: the file holds {pair[0]} alone; {split}{inputs} and {split}labels come in pairs.'
      )
    if pair:
      pairs[split] = tuple(entries[name] for name in pair)
  if ('' in pairs) == ('train_' in pairs):
    raise UserError(
      f'{where}: the file needs {inputs} and labels, or train_{inputs} and train_labels; '
      f'it holds {", ".join(entries) or "nothing"}.'
    )
  return pairs.get('', pairs.get('train_')), pairs.get('test_')


def _check_alike(where: str, train: np.ndarray, test: np.ndarray) -> None:
  if np.shape(train)[1:] != np.shape(test)[1:]:
    raise UserError(
      f'{where}: a row to train on has the shape {list(np.shape(train)[1:])} and one to test on '
      f'{list(np.shape(test)[1:])}; store both alike.'
    )

"""CIFAR-10N: what people said of the 50,000 training images of CIFAR-10.

Three workers labelled each image; ten images in a row have the same three. The labels are under the
licence CC BY-NC 4.0.

Source: Wei et al., ICLR 2022.
"""

import os
import pathlib
from collections.abc import Mapping

import numpy as np

from jaxdistill.data import archives, crowd_files
from jaxdistill.data.crowds import Crowd
from jaxdistill.data.dataset import Dataset
from jaxdistill.data.source_rows import rows_of
from jaxdistill.errors import UserError, shown, unknown
from jaxdistill.files import expanded

# What a kind of labels is called in the packed file, and by the authors.
_ENTRIES = {
  'aggregate': ('cifar10n_aggre', 'aggre_label'),
  'random1': ('cifar10n_random1', 'random_label1'),
  'random2': ('cifar10n_random2', 'random_label2'),
  'random3': ('cifar10n_random3', 'random_label3'),
  'worst': ('cifar10n_worst', 'worse_label'),
}
_CLEAN = ('train', 'clean_label')
LABELS = (*_ENTRIES, 'crowd')
_WORKERS = ('random1', 'random2', 'random3')
_TABLES = ('annotators.csv', 'side_info_cifar10N.csv')
_COLUMNS = ('Image-batch', 'Worker1-id', 'Worker2-id', 'Worker3-id')
_BATCH, _CLASSES = 10, 10


def cifar10n(
  path: str | os.PathLike, labels: str = 'aggregate', train: Dataset | None = None
) -> np.ndarray | Crowd:
  """Returns human labels of CIFAR-10's training images, int32 [n], or the crowd that gave them.

  Nothing pickled is read. The authors' labels come as a pickle, CIFAR-10_human.pt; as an npz they
  are read here: numpy.savez('labels.npz', **torch.load('CIFAR-10_human.pt', weights_only=False)).

  Args:
    path: a folder with labels.npz, and for the crowd annotators.csv or the authors'
      side_info_cifar10N.csv; or the npz, with the table beside it. Its entries are called train,
      cifar10n_aggre, cifar10n_worst and cifar10n_random1 to 3; or as the authors do, clean_label,
      aggre_label, worse_label and random_label1 to 3.
    labels: 'aggregate', the vote of the three with ties broken at random; 'random1' to 'random3',
      the label of the first, second and third worker; 'worst', a wrong one where there is any;
      'crowd', the three labels with the workers who gave them.
    train: images to which the labels are to belong, in any order and number: they are joined by
      `Dataset.ids`, as TensorFlow Datasets shuffles; without ids, all images in the original order.
      None: the labels in the original order.

  Raises:
    UserError: for files that are missing or hold something else, images that cannot be joined, and
      where the clean labels of the file are not those of `train`.

  >>> import tempfile
  >>> folder = pathlib.Path(tempfile.mkdtemp())
  >>> truth = np.arange(20) % 10
  >>> np.savez(folder / 'labels.npz', clean_label=truth, worse_label=(truth + 1) % 10)
  >>> train = Dataset(np.zeros((2, 8, 8, 3), np.uint8), truth[[7, 2]], ids=['train_7', 'train_2'])
  >>> cifar10n(folder, 'worst', train).tolist()
  [8, 3]
  """
  if labels not in LABELS:
    raise unknown('kind of human labels', labels, LABELS)
  file = expanded(path)
  if file.suffix in ('.pt', '.pth', '.pkl', '.npy'):
    raise UserError(
      f'{shown(path)} is a pickle, which may run code when it is read; once, where you trust it, '
      "write numpy.savez('labels.npz', **torch.load(PATH, weights_only=False)) and give that file."
    )
  if os.path.isdir(file):
    file = file / 'labels.npz'
  entries = archives.read(shown(path), file)
  clean = _labels_of(path, entries, _CLEAN)
  rows = None if train is None else _joined(path, train, clean)
  if labels == 'crowd':
    crowd = _crowd(path, entries, file.parent, len(clean))
    return crowd if rows is None else crowd.take(rows)
  said = _labels_of(path, entries, _ENTRIES[labels], len(clean))
  return said if rows is None else said[rows]


def _labels_of(
  path: str | os.PathLike,
  entries: Mapping[str, np.ndarray],
  names: tuple[str, ...],
  count: int | None = None,
) -> np.ndarray:
  """Returns the labels under the first of the names, int32 [n]."""
  present = [name for name in names if name in entries]
  if not present:
    raise UserError(
      f'{shown(path)} holds neither {names[0]} nor {names[1]}, but {", ".join(entries)}.'
    )
  values = entries[present[0]]
  fits = values.ndim == 1 and values.dtype.kind in 'iu' and values.size
  if not fits or not ((values >= 0) & (values < _CLASSES)).all():
    raise UserError(
      f'{shown(path)}: {present[0]} must be labels from 0 to 9, one an image; it is {values.dtype} '
      f'of shape {list(values.shape)}.'
    )
  if count is not None and len(values) != count:
    raise UserError(
      f'{shown(path)}: {present[0]} has {len(values):,} labels, and there are {count:,} clean ones.'
    )
  return values.astype(np.int32)


def _joined(path: str | os.PathLike, train: Dataset, clean: np.ndarray) -> np.ndarray:
  """Returns the row of each image among the labels, after comparing the clean ones."""
  rows = rows_of(train)
  if rows is None:
    if len(train) != len(clean):
      raise UserError(
        f'{train.name}: {len(train):,} images that do not tell their rows in CIFAR-10 (no ids) '
        f'cannot be joined to the {len(clean):,} labels of {shown(path)}; give all in the original '
        "order, or load('cifar10'), which has ids."
      )
    rows = np.arange(len(train))
  if rows.max() >= len(clean):
    raise UserError(
      f'{train.name} has the image train_{rows.max()}, and {shown(path)} labels the first '
      f'{len(clean):,} alone.'
    )
  differ = clean[rows] != train.labels
  if differ.any():
    first = int(differ.argmax())
    raise UserError(
      f'{shown(path)}: the clean labels of {differ.sum():,} of {len(train):,} images are not those '
      f'of {train.name} (row {rows[first]} is {clean[rows[first]]} there and '
      f'{train.labels[first]} here): this copy is another set, or in another order.'
    )
  return rows


def _crowd(
  path: str | os.PathLike, entries: Mapping[str, np.ndarray], folder: pathlib.Path, count: int
) -> Crowd:
  """Returns all labels with the workers who gave them."""
  tables = [folder / name for name in _TABLES if os.path.isfile(folder / name)]
  if not tables:
    raise UserError(
      f"The workers of the crowd are in {_TABLES[0]} (or the authors' {_TABLES[1]}), and "
      f'{shown(folder)} holds neither.'
    )
  batches, *workers = crowd_files.columns_of(tables[0], _COLUMNS)
  expected = [f'{first}--{first + _BATCH - 1}' for first in range(0, count, _BATCH)]
  if batches != expected:
    raise UserError(
      f'{shown(tables[0])}: Image-batch must go through {count:,} images ten by ten, from 0--9 on.'
    )
  labels = [_labels_of(path, entries, _ENTRIES[name], count) for name in _WORKERS]
  flat, names = crowd_files.numbered(tables[0], 'worker', sum(workers, []))
  # [3, batches] -> [images, 3]
  annotator = np.repeat(flat.reshape(len(workers), -1), _BATCH, axis=1).T
  return Crowd.from_triples(
    np.repeat(np.arange(count), len(workers)),
    annotator.ravel(),
    np.stack(labels, axis=1).ravel(),
    _CLASSES,
    examples=count,
    annotators=names,
  )

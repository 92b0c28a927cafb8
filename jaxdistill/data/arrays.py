"""Your own data as arrays in an npz file."""

from collections.abc import Mapping

import numpy as np

from jaxdistill.data import archives
from jaxdistill.data.dataset import without_images
from jaxdistill.data.entries import (
  ELSEWHERE,
  PAIRS,
  SPLITS,
  check_counts,
  check_named,
  first_absent,
  flip_of,
  names_of,
  whole_labels,
)
from jaxdistill.data.pictures import shown
from jaxdistill.data.pixels import to_uint8
from jaxdistill.data.stored import Stored, resize
from jaxdistill.errors import UserError, unknown
from jaxdistill.files import expanded

_FURTHER = ('class_names', 'flip', 'mean', 'std')


def read_npz(path: str, image_size: int = 0) -> Stored:
  """Reads `images` and `labels`, or `train_images` and `train_labels`, and, if there,
  `test_images` and `test_labels` to test on, `val_images` and `val_labels` to choose by (also
  `valid_` and `validation_`).

  Images are [n, h, w] or [n, h, w, c], see `pixels.check_pixels`; floats are multiplied by 255 and
  rounded. Labels are integers from 0, [n] or [n, 1]; of each class up to the last one there are
  training images. Further entries: class_names (text; of bytes, UTF-8), flip (false when a
  mirrored image is no longer of its class), mean and std (a value a channel, of images in [0, 1];
  measured where missing).

  Raises `UserError` in one sentence for a file that is missing or no npz, for an entry that is not
  known, and for entries that do not fit the above.

  >>> import tempfile
  >>> file = tempfile.mkdtemp() + '/mine.npz'
  >>> np.savez(file, images=np.zeros((4, 8, 8, 3)), labels=[0, 0, 1, 1], class_names=['cat', 'dog'])
  >>> read_npz(file).class_names
  ('cat', 'dog')
  """
  where = f'npz:{shown(path)}'
  entries = archives.read(where, expanded(path), lambda names: _check_names(where, names))
  splits = {}
  for images_key, labels_key in PAIRS.items():
    if images_key in entries:
      images = to_uint8(f'{where}: {images_key}', entries[images_key])
      labels = whole_labels(f'{where}: {labels_key}', entries[labels_key])
      check_counts(where, images_key, entries[images_key], labels_key, labels)
      splits[SPLITS[images_key.removesuffix('images')]] = images, labels
  names = names_of(where, entries)
  count = _count_classes(where, splits['train'][1], names)
  notices = _check_held(where, {role: splits[role][1] for role in splits if role != 'train'}, count)
  channels = splits['train'][0].shape[-1]
  resized = {
    role: (resize(images, image_size), labels) for role, (images, labels) in splits.items()
  }
  return Stored(
    resized['train'],
    resized.get('test'),
    names,
    flip_of(where, entries),
    notices,
    statistics=_statistics(where, entries, channels),
    validation=resized.get('validation'),
  )


def _check_names(where: str, names: list[str]) -> None:
  """Checks which entries there are."""
  for name in names:
    if name in ('description', 'factor'):
      raise UserError(
        f'{where}: the entry {name!r} belongs to a condensed set; Condensed.load(PATH).as_dataset()'
        ' gives its images, and evaluate takes it as set=PATH.'
      )
    if name not in (*PAIRS, *PAIRS.values(), *_FURTHER):
      if name.lower() in ELSEWHERE:
        raise UserError(
          f'{where}: the entry {name!r} is not known; call it {ELSEWHERE[name.lower()]!r}.'
        )
      valid = [key for key in (*PAIRS, *PAIRS.values(), *_FURTHER) if not key.startswith('vali')]
      raise UserError(f'{where}: {unknown("such entry as", name, valid)}')
  pairs = [pair for pair in PAIRS.items() if pair[0] in names or pair[1] in names]
  for pair in pairs:
    missing = [name for name in pair if name not in names]
    if missing:
      raise UserError(
        f'{where}: {missing[0]} missing, the file holds {", ".join(names)}; images and labels '
        'come in pairs.'
      )
  by_role = {}
  for images_key, _ in pairs:
    role = SPLITS[images_key.removesuffix('images')]
    if role in by_role:
      raise UserError(
        f'{where}: {by_role[role]} and {images_key} mean the same, the {role} images; keep one of '
        'them.'
      )
    by_role[role] = images_key
  if 'train' not in by_role:
    raise UserError(
      f'{where}: images and labels missing, the file holds {", ".join(names) or "nothing"}; '
      'it needs train_images and train_labels (with test_images and test_labels), or images '
      'and labels.'
    )


def _count_classes(where: str, labels: np.ndarray, names: tuple[str, ...]) -> int:
  """Returns the number of classes, after checking that there are images of each."""
  present = np.unique(labels)
  last = int(present[-1])
  check_named(where, last, names)
  count = len(names) or last + 1
  if len(present) < count:
    missing = first_absent(present)
    name = names[missing] if names else missing
    start = '; count from 0 (labels - 1)' if missing == 0 and last == len(present) else ''
    raise UserError(
      f"{where}: class '{name}' has no training image; each class from 0 to the last one, "
      f'{count - 1}, needs some{start}.'
    )
  if count < 2:
    raise UserError(f'{where}: all training images are of class 0; at least 2 classes are needed.')
  return count


def _check_held(where: str, held: Mapping[str, np.ndarray], classes: int) -> tuple[str, ...]:
  """Returns a line for each split in which classes are missing."""
  notices = []
  for role, labels in held.items():
    if labels.max() >= classes:
      raise UserError(
        f'{where}: the {role} images have the label {labels.max()}, and the training images the '
        f'classes 0 to {classes - 1}; each class needs training images.'
      )
    notices += without_images(where, role, labels, classes)
  return tuple(notices)


def _statistics(
  where: str, entries: Mapping[str, np.ndarray], channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
  stored = [entries[name] for name in ('mean', 'std') if name in entries]
  if not stored:
    return None
  if len(stored) == 1:
    raise UserError(f'{where}: mean and std come as a pair; the file holds one of them.')
  mean, std = stored
  # Written so that NaN fails too.
  if (
    any(part.size != channels or part.dtype.kind not in 'iuf' for part in stored)
    or not ((mean >= 0) & (mean <= 1)).all()
    or not ((std > 0) & (std <= 1)).all()
  ):
    raise UserError(
      f'{where}: mean and std need {channels} values each, one a channel, of images in [0, 1], '
      'every std above 0 (divide by 255 those of whole numbers).'
    )
  return tuple(map(float, mean.ravel())), tuple(map(float, std.ravel()))

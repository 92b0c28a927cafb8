"""A condensed set and its file: the images and all that is needed to use them."""

import dataclasses
import io
import json
import os
import pathlib
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxdistill.errors import UserError

FORMAT = 1
_ARRAYS = ('images', 'labels')
_FIELDS = ('format', 'class_names', 'mean', 'std', 'factor', 'flip', 'dataset', 'method', 'recipe', 'augmentation', 'config',
           'versions')


@dataclasses.dataclass(frozen=True)
class Condensed:
  """A condensed set: canvases, labels and how to use them.

  Attributes:
    images: float32 [classes ipc, h, w, c], the canvases class by class in units of [0, 1] (a method that works on normalised
      images without a clamp, such as DM, may leave the range a little).
    labels: int32 [classes ipc].
    class_names: one a class.
    mean, std: per channel, in the same units; the networks see (images - mean) / std.
    factor: cells along a canvas' side; `decode()` gives factor^2 training images a canvas.
    flip: whether a mirrored image keeps its label.
    dataset, method: names of the real set and of the method that made this one.
    recipe: name of the evaluation recipe that goes with it.
    augmentation: what the matching used, as dict(strategy, composition).
    config: the whole config of the run, as nested dicts; empty for a set that no run made.
    versions: library versions that made it.

  Raises:
    UserError: when arrays and description do not fit each other.

  >>> import numpy as np
  >>> images = np.full((4, 8, 8, 1), 0.5, np.float32)
  >>> made = Condensed(images, np.array([0, 0, 1, 1]), ('cat', 'dog'), (0.5,), (0.25,), factor=2)
  >>> made.decode()[0].shape, made.ipc
  ((16, 8, 8, 1), 2)
  """
  images: np.ndarray
  labels: np.ndarray
  class_names: tuple[str, ...]
  mean: tuple[float, ...]
  std: tuple[float, ...]
  factor: int = 1
  flip: bool = False
  dataset: str = ''
  method: str = ''
  recipe: str = 'idc'
  augmentation: dict[str, str] = dataclasses.field(default_factory=dict)
  config: dict[str, Any] = dataclasses.field(default_factory=dict)
  versions: dict[str, str] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    object.__setattr__(self, 'images', np.asarray(self.images, np.float32))
    object.__setattr__(self, 'labels', np.asarray(self.labels, np.int32))
    for name in ('class_names', 'mean', 'std'):
      object.__setattr__(self, name, tuple(getattr(self, name)))
    if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1]:
      raise UserError('A condensed set needs images [n, h, w, c] and labels [n]; '
                      f'got {self.images.shape} and {self.labels.shape}.')
    if not np.isfinite(self.images).all():
      raise UserError('The images of a condensed set must be finite numbers; some are NaN or infinite.')
    if self.labels.size and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
      raise UserError(f'The labels of a condensed set must lie in 0..{len(self.class_names) - 1}, one for each class name.')
    channels = self.images.shape[-1]
    if len(self.mean) != channels or len(self.std) != channels:
      raise UserError(f'A condensed set needs a mean and a std for each of its {channels} channels; '
                      f'got {len(self.mean)} and {len(self.std)}.')
    if not 1 <= self.factor <= min(self.images.shape[1:3]):
      raise UserError(f'The factor of a condensed set must lie between 1 and the image side; got {self.factor}.')

  @property
  def num_classes(self) -> int:
    return len(self.class_names)

  @property
  def ipc(self) -> int:
    """Canvases a class (of the class that has most)."""
    return int(np.bincount(self.labels, minlength=1).max())

  def decode(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns the training images float32 [n, h, w, c] and their labels int32 [n], n = factor^2 canvases, class by class."""
    from jaxdistill.condensation import decode
    images, labels = [], []
    for label in np.unique(self.labels):
      cells = np.asarray(decode.decode(self.images[self.labels == label], self.factor))
      images.append(cells)
      labels.append(np.full(len(cells), label, np.int32))
    return np.concatenate(images), np.concatenate(labels)

  def picture(self, columns: int = 10, rows: int = 100) -> np.ndarray:
    """Returns the canvases as one uint8 picture [H, W, 3]: a row a class with up to `columns` of its canvases, or, where every
    class has a single one, ten classes a row. Only the first `rows` classes are shown."""
    from jaxdistill.report import pictures
    shown = [self.images[self.labels == label][:columns] for label in range(min(self.num_classes, rows))]
    width = max(map(len, shown))
    blank = np.ones((width, *self.images.shape[1:]), np.float32)
    full = [np.concatenate([row, blank[len(row):]]) for row in shown]
    return pictures.grid(np.clip(np.concatenate(full), 0, 1), columns=width if width > 1 else min(10, len(full)))

  def save(self, path: str | os.PathLike) -> pathlib.Path:
    """Writes the set to one .npz file, completely or not at all, and returns its path."""
    path = pathlib.Path(path)
    description = {name: getattr(self, name) for name in _FIELDS if name != 'format'} | {'format': FORMAT}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=self.images, labels=self.labels, description=np.array(json.dumps(description)))
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
      temporary.write_bytes(buffer.getvalue())
      temporary.replace(path)
    except OSError as error:
      raise UserError(f'The condensed set cannot be written to {path}: {error.strerror}.') from error
    return path

  @classmethod
  def load(cls, path: str | os.PathLike) -> 'Condensed':
    """Reads a set from its file.

    Raises:
      UserError: when the file is missing, damaged, not a condensed set, or of a newer format than this version knows.
    """
    path = pathlib.Path(path)
    if not path.is_file():
      raise UserError(f'There is no condensed set at {path}.')
    try:
      with np.load(path, allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
      raise UserError(f'{path} is damaged or no .npz file ({error}); make it again or take another copy.') from error
    if missing := [name for name in (*_ARRAYS, 'description') if name not in found]:
      raise UserError(f'{path} is no condensed set: it lacks {", ".join(missing)}.')
    try:
      description = json.loads(str(found['description']))
      version = int(description['format'])
    except (ValueError, KeyError, TypeError) as error:
      raise UserError(f'The description in {path} is damaged; make the set again or take another copy.') from error
    if version > FORMAT:
      raise UserError(f'{path} has format {version}, and this version of jaxdistill knows formats up to {FORMAT}: '
                      'update jaxdistill.')
    if missing := [name for name in _FIELDS if name not in description]:
      raise UserError(f'The description in {path} lacks {", ".join(missing)}; make the set again or take another copy.')
    return cls(found['images'], found['labels'], **{name: description[name] for name in _FIELDS if name != 'format'})


def join(pieces: Iterable[tuple[Condensed, int]]) -> Condensed:
  """Makes one condensed set of single classes of others: the class of the k-th (set, label) becomes class k.

  >>> made = Condensed(np.zeros((2, 8, 8, 1)), [0, 1], ('ant', 'bee'), (0.5,), (0.25,))
  >>> join([(made, 1), (made, 0)]).class_names
  ('bee', 'ant')
  """
  pieces = list(pieces)
  images = [made.images[made.labels == label] for made, label in pieces]
  return dataclasses.replace(
      pieces[0][0], images=np.concatenate(images), labels=np.repeat(np.arange(len(pieces)), list(map(len, images))),
      class_names=tuple(made.class_names[label] for made, label in pieces))

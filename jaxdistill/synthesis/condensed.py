"""A condensed set and its file: the images and all that is needed to use them."""

import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdistill import errors, files
from jaxdistill.data import archives
from jaxdistill.errors import UserError

if TYPE_CHECKING:
  from jaxdistill.data import Dataset

FORMAT = 1
_ARRAYS = ('images', 'labels')
# What the description in a file holds, as JSON reads it.
_FIELDS = {
  'format': int,
  'class_names': list,
  'mean': list,
  'std': list,
  'factor': int,
  'flip': bool,
  'dataset': str,
  'method': str,
  'recipe': str,
  'augmentation': dict,
  'config': dict,
  'versions': dict,
}
# Those that a set takes as they are given; the others are read, as from NumPy.
_AS_GIVEN = ('dataset', 'method', 'recipe', 'augmentation', 'config', 'versions')
_KINDS = {str: (str, 'a text'), dict: (Mapping, 'a dict')}


@dataclasses.dataclass(frozen=True, eq=False)
class Condensed:
  """A condensed set: canvases, labels and how to use them.

  Attributes:
    images: float32 [classes ipc, h, w, c], the canvases class by class in units of [0, 1] (a method
      that works on normalised images without a clamp, such as DM, may leave the range a little).
    labels: int32 [classes ipc], or soft ones, float32 [classes ipc, classes] whose rows sum to 1.
    class_names: one a class.
    mean, std: per channel, in the same units; the networks see (images - mean) / std.
    factor: cells along a canvas' side; `decode()` gives factor^2 training images a canvas.
    flip: whether a mirrored image keeps its label.
    dataset, method: names of the real set and of the method that made this one.
    recipe: name of the evaluation recipe that goes with it.
    augmentation: what the matching used, as dict(strategy, composition).
    config: the whole config of the run, as nested dicts; empty for a set that no run made.
    versions: library versions that made it.

  Sets are equal, and have one hash, where images, labels and all other fields are.

  Raises:
    UserError: when arrays and description do not fit each other, or a field is of another type.

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
    from jaxdistill.data.dataset import boolean, texts

    images, labels = np.asarray(self.images), np.asarray(self.labels)
    where = 'A condensed set'
    object.__setattr__(self, 'class_names', texts(where, self.class_names))
    object.__setattr__(self, 'flip', boolean(where, self.flip))
    for name in ('mean', 'std'):
      object.__setattr__(self, name, _plain_numbers(name, getattr(self, name)))
    for name in _AS_GIVEN:
      kind, words = _KINDS[_FIELDS[name]]
      if not isinstance(getattr(self, name), kind):
        raise UserError(
          f'{name} of a condensed set is {words}; it is {errors.brief(repr(getattr(self, name)))}.'
        )
    if (
      images.ndim != 4
      or not images.size
      or labels.ndim not in (1, 2)
      or labels.shape[:1] != images.shape[:1]
    ):
      raise UserError(
        'A condensed set needs images [n, h, w, c] and labels [n] or [n, classes], at least one; '
        f'got {images.shape} and {labels.shape}.'
      )
    if images.dtype.kind != 'f':
      raise UserError(
        f'The images of a condensed set are floats in units of [0, 1]; these are {images.dtype}.'
      )
    object.__setattr__(self, 'images', images.astype(np.float32))
    object.__setattr__(self, 'labels', _checked_labels(labels, len(self.class_names)))
    if not np.isfinite(self.images).all():
      raise UserError(
        'The images of a condensed set must be finite numbers; some are NaN or infinite.'
      )
    channels = self.images.shape[-1]
    if len(self.mean) != channels or len(self.std) != channels:
      raise UserError(
        f'A condensed set needs a mean and a std for each of its {channels} channels; '
        f'got {len(self.mean)} and {len(self.std)}.'
      )
    if not np.isfinite([*self.mean, *self.std]).all() or min(self.std) <= 0:
      raise UserError(
        'The mean and std of a condensed set are finite and every std is above 0; they are '
        f'{self.mean} '
        f'and {self.std}.'
      )
    errors.whole_numbers(factor=self.factor)
    if not 1 <= self.factor <= min(self.images.shape[1:3]):
      raise UserError(
        f'The factor of a condensed set must lie between 1 and the image side; got {self.factor}.'
      )

  def __eq__(self, other: object) -> bool:
    if not isinstance(other, Condensed):
      return NotImplemented
    return (
      np.array_equal(self.images, other.images)
      and np.array_equal(self.labels, other.labels)
      and self._description_text() == other._description_text()
    )

  def __hash__(self) -> int:
    # With 0 added, as -0.0 equals 0.0 but has other bytes.
    arrays = ((self.images + 0).tobytes(), (self.labels + 0).tobytes())
    return hash((self.images.shape, *arrays, self._description_text()))

  def _description_text(self) -> str:
    return json.dumps(self.description(), sort_keys=True, default=str)

  @property
  def num_classes(self) -> int:
    return len(self.class_names)

  @property
  def ipc(self) -> int:
    """Canvases a class (of the class that has most)."""
    return int(np.bincount(self.hard_labels).max())

  @property
  def hard_labels(self) -> np.ndarray:
    """int32 [classes ipc]: the labels, of soft ones the likeliest class (of equal ones the
    first)."""
    return self.labels if self.labels.ndim == 1 else self.labels.argmax(1).astype(np.int32)

  def decode(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns the training images float32 [n, h, w, c] and their labels, n = factor^2 canvases,
    class by class.

    The labels are int32 [n], or float32 [n, classes] where the set has soft ones; all cells of a
    canvas have its label.
    """
    from jaxdistill.synthesis import decode

    images, labels = [], []
    for label in np.unique(self.hard_labels):
      members = self.hard_labels == label
      images.append(np.asarray(decode.decode(self.images[members], self.factor)))
      labels.extend([self.labels[members]] * self.factor**2)
    return np.concatenate(images), np.concatenate(labels)

  def as_dataset(self) -> 'Dataset':
    """Returns the training images, decoded, as a `data.Dataset`: uint8 with hard labels.

    Values outside [0, 1], which a method without a clamp leaves, become 0 and 255; of soft labels
    the likeliest class stays.

    >>> made = Condensed(np.full((2, 8, 8, 1), 0.4), [0, 1], ('ant', 'bee'), (0.5,), (0.25,),
    ...   factor=2, dataset='toy')
    >>> made.as_dataset().describe()
    'toy (condensed): 8 images of 8x8x1, 2 classes of 4 images'
    """
    from jaxdistill.data import Dataset
    from jaxdistill.data.stored import to_uint8

    images, labels = dataclasses.replace(self, labels=self.hard_labels).decode()
    return Dataset(
      to_uint8(images),
      labels,
      self.class_names,
      self.dataset or 'arrays',
      'condensed',
      self.mean,
      self.std,
      self.flip,
    )

  def to_png(self, folder: str | os.PathLike, *, decoded: bool = True) -> pathlib.Path:
    """Writes PNG files, a folder a class, with a manifest; see `export.to_png`."""
    from jaxdistill.synthesis import export

    return export.to_png(self, folder, decoded=decoded)

  def to_tfds(
    self, folder: str | os.PathLike, *, name: str = 'condensed', test: 'Dataset | None' = None
  ) -> pathlib.Path:
    """Writes a folder that TensorFlow Datasets reads without TensorFlow; see `export.to_tfds`."""
    from jaxdistill.synthesis import export

    return export.to_tfds(self, folder, name=name, test=test)

  def picture(self, columns: int = 10, rows: int = 100) -> np.ndarray:
    """Returns the canvases as one uint8 picture [H, W, 3]: a row a class with up to `columns` of
    its canvases, or, where every class has a single one, ten classes a row. Only the first `rows`
    classes are shown."""
    from jaxdistill.report import pictures

    columns = errors.whole('columns', columns, at_least=1)
    rows = errors.whole('rows', rows, at_least=1)
    shown = [
      self.images[self.hard_labels == label][:columns]
      for label in range(min(self.num_classes, rows))
    ]
    width = max(map(len, shown))
    blank = np.ones((width, *self.images.shape[1:]), np.float32)
    full = [np.concatenate([row, blank[len(row) :]]) for row in shown]
    return pictures.grid(
      np.clip(np.concatenate(full), 0, 1), columns=width if width > 1 else min(10, len(full))
    )

  def description(self) -> dict[str, Any]:
    """Returns all fields but the images and labels."""
    return {name: getattr(self, name) for name in _FIELDS if name != 'format'}

  def plain_description(self) -> dict[str, Any]:
    """Returns the description as JSON has it.

    Raises:
      UserError: a field holds a value that JSON has no form for.
    """
    return {name: _plain(name, value) for name, value in self.description().items()}

  def save(self, path: str | os.PathLike) -> pathlib.Path:
    """Writes the set to one .npz file, completely or not at all, and returns its path.

    Raises:
      UserError: the file cannot be written, or a field holds what JSON has no form for.
    """
    path, content = files.expanded(path), self.to_bytes()
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
      temporary.write_bytes(content)
      temporary.replace(path)
    except OSError as error:
      raise UserError(
        f'The condensed set cannot be written to {path}: {error.strerror}.'
      ) from error
    return path

  def to_bytes(self) -> bytes:
    """Returns the content of the file that `save` writes."""
    description = {'format': FORMAT, **self.plain_description()}
    buffer = io.BytesIO()
    np.savez_compressed(
      buffer,
      images=self.images,
      labels=self.labels,
      description=np.array(json.dumps(description)),
    )
    return buffer.getvalue()

  @classmethod
  def load(cls, path: str | os.PathLike) -> 'Condensed':
    """Reads a set from its file, or a plain one of your own.

    A plain .npz holds `images` [n, h, w(, c)], whole numbers up to 255 or floats in [0, 1], and
    `labels`, whole numbers [n] or soft [n, classes]; and, if it likes, class_names, mean and std
    (measured where missing), factor (1) and flip (true); see `plain.fields`.

    Raises:
      UserError: when the file is missing, damaged, not a condensed set, or of a format that this
        version does not know.
    """
    path = files.expanded(path)
    if os.path.isdir(path):
      raise UserError(
        f'{path} is a folder, and a condensed set is one .npz file; data.load("folder:{path}") '
        'reads the pictures of one that was exported.'
      )
    if not os.path.isfile(path):
      raise UserError(f'There is no condensed set at {path}.')
    try:
      content = path.read_bytes()
    except OSError as error:
      raise UserError(
        f'{path} cannot be read ({error.strerror}); see to it or take another copy.'
      ) from error
    return cls.from_bytes(content, str(path))

  @classmethod
  def from_bytes(cls, content: bytes, path: str = 'The set') -> 'Condensed':
    """Returns the set of a file's content; `path` names it in errors, which are those of `load`."""
    arrays = _read(content, path)
    try:
      if 'description' in arrays:
        return cls(arrays['images'], arrays['labels'], **_description(arrays))
      from jaxdistill.synthesis import plain

      return cls(**plain.fields(arrays))
    except UserError as error:
      raise UserError(f'{path} cannot be used: {error}') from error


def _plain(name: str, value: Any) -> Any:
  """Returns a field as JSON has it."""
  try:
    return files.jsonable(value)
  except TypeError as error:
    raise UserError(
      f'{name} of the condensed set cannot be kept in a file: {error}; it holds numbers, texts, '
      'and lists and dicts of them.'
    ) from error


def _plain_numbers(name: str, values: Any) -> tuple[float, ...]:
  """Returns the values of the channels as JSON has them."""
  try:
    listed = tuple(values)
  except TypeError:
    raise UserError(
      f'{name} of a condensed set is a list of numbers, one a channel; it is '
      f'{errors.brief(repr(values))}.'
    ) from None
  return tuple(map(_plain_number, listed))


def _plain_number(value: Any) -> float:
  """Returns a value of a channel as JSON has it."""
  if type(value) in (int, float):
    return value
  errors.real_numbers(**{'a value of mean or std': value})
  return float(value)


def _checked_labels(labels: np.ndarray, classes: int) -> np.ndarray:
  if labels.ndim == 1:
    if labels.dtype.kind not in 'iu':
      raise UserError(
        'The labels of a condensed set are whole numbers [n] or soft [n, classes]; these are '
        f'{labels.dtype}.'
      )
    if not 0 <= labels.min() <= labels.max() < classes:
      raise UserError(
        f'The labels of a condensed set must lie in 0..{classes - 1}, one for each class name.'
      )
    return labels.astype(np.int32)
  if labels.shape[1] != classes or labels.dtype.kind not in 'iuf':
    raise UserError(
      f'Soft labels need a number for each of the {classes} class names; got {labels.dtype} '
      f'{labels.shape}.'
    )
  # Written so that NaN fails too.
  if not (labels >= 0).all() or not (np.abs(labels.sum(1, dtype=np.float64) - 1) < 1e-3).all():
    raise UserError(
      'Soft labels are shares of the classes: none is negative, and those of an image sum to 1.'
    )
  return labels.astype(np.float32)


def _check_names(path: str, names: list[str]) -> None:
  """Checks which arrays a file holds, before they are read."""
  from jaxdistill.synthesis import plain

  if 'description' not in names:
    try:
      plain.check_names(names)
    except UserError as error:
      raise UserError(f'{path} cannot be used: {error}') from error
  if missing := [name for name in _ARRAYS if name not in names]:
    raise UserError(f'{path} is no condensed set: it lacks {" and ".join(missing)}.')


def _read(content: bytes, path: str) -> dict[str, np.ndarray]:
  try:
    return archives.unpack(
      path, io.BytesIO(content), len(content), lambda names: _check_names(path, names)
    )
  except UserError:
    raise
  except Exception as error:  # a damaged archive raises almost anything
    raise UserError(
      f'{path} is damaged or no .npz file of plain arrays ({type(error).__name__}: {error}); '
      'make it again or '
      'take another copy.'
    ) from error


def _description(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
  """The fields of a set of ours, after checking that this version knows the format and every value
  is of its type."""
  again = 'make the set again or take another copy'
  try:
    description = json.loads(str(arrays['description']))
    version = description['format']
  except (ValueError, KeyError, TypeError, RecursionError) as error:
    raise UserError(f'its description is damaged; {again}.') from error
  if type(version) is not int or version < 1:
    raise UserError(
      f'its format is {version!r}, which no version of jaxdistill has written; {again}.'
    )
  if version > FORMAT:
    raise UserError(
      f'it has format {version}, and this version of jaxdistill knows formats up to {FORMAT}: '
      'update jaxdistill.'
    )
  if missing := [name for name in _FIELDS if name not in description]:
    raise UserError(f'its description lacks {", ".join(missing)}; {again}.')
  items = {'class_names': (str,), 'mean': (int, float), 'std': (int, float)}
  for name, kind in _FIELDS.items():
    value = description[name]
    if type(value) is not kind or any(
      type(item) not in items[name] for item in (value if name in items else ())
    ):
      raise UserError(f'{name} in its description is no {kind.__name__} as it should be; {again}.')
  return {name: description[name] for name in _FIELDS if name != 'format'}


def join(pieces: Iterable[tuple[Condensed, int]]) -> Condensed:
  """Makes one condensed set of single classes of others: the class of the k-th (set, label) becomes
  class k, with hard labels.

  >>> made = Condensed(np.zeros((2, 8, 8, 1)), [0, 1], ('ant', 'bee'), (0.5,), (0.25,))
  >>> join([(made, 1), (made, 0)]).class_names
  ('bee', 'ant')
  """
  pieces = list(pieces)
  images = [made.images[made.hard_labels == label] for made, label in pieces]
  return dataclasses.replace(
    pieces[0][0],
    images=np.concatenate(images),
    labels=np.repeat(np.arange(len(pieces)), list(map(len, images))),
    class_names=tuple(made.class_names[label] for made, label in pieces),
  )

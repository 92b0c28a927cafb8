"""The images of a run: loaded, a share held out to choose by, and streamed where they are many."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from jaxdistill import data, terminal
from jaxdistill.data import Dataset, identity, statistics
from jaxdistill.data.identity import Identity
from jaxdistill.errors import UserError, unknown
from jaxdistill.experiment import schema
from jaxdistill.training import hosts, machine, provenance
from jaxdistill.training.run import Run

STREAM = ('auto', 'on', 'off')
# Share of the device's memory up to which 'auto' keeps the training images there; the rest is for
# the networks (our choice).
_STREAM_SHARE = 0.3


@dataclasses.dataclass(frozen=True)
class DataSource:
  """Which images a run takes, and how: the section `data` of a config.

  Raises:
    UserError: for another value of `stream`.
  """

  name: str = schema.field('digits', help='the data set, as data.load takes it')
  dir: str = schema.field('', help="where it lies; '': the usual place")
  image_size: int = schema.field(0, at_least=0, help='side of the images; 0: as stored')
  classes: str = schema.field('', help="the class folders to take; '': all")
  normalisation: str = schema.field(
    'idc', choices=statistics.CONVENTIONS, help='whose mean and deviation normalise the images'
  )
  stream: str = schema.field(
    'auto', choices=STREAM, help='read training images from disk batch by batch'
  )
  validation_share: float = schema.field(
    0.1, at_least=0, below=1, help='of the training images, held out to choose by'
  )

  def __post_init__(self):
    if self.stream not in STREAM:
      raise unknown('value of stream', self.stream, STREAM)

  @property
  def stream_above(self) -> int | None:
    """Bytes of training images above which they are streamed; None: never."""
    share = int(_STREAM_SHARE * machine.memory_bytes())
    return {'on': 0, 'auto': share, 'off': None}[self.stream]


class _Loaded(NamedTuple):
  """The parts as they are stored, and what each is known by."""

  parts: tuple[Any, Any | None, Any]
  identities: Mapping[str, Identity]


def load(
  source: DataSource,
  run: Run | None = None,
  takes: tuple[type, ...] = (Dataset,),
  held_out: bool = True,
) -> tuple[Any, Any | None, Any]:
  """Returns (train, validation, test); no validation set when its share is 0.

  A set's own validation images are used in place of a share of the training images. The split does
  not depend on a seed, so that runs with different seeds compare. The last data set loaded is kept,
  because the checks before a run need it first, until its files change.

  Args:
    source: which images.
    run: that works on them: it is refused where its work dir was begun with other ones, or with
      other code of the user's.
    takes: kinds of sets that the task works on.
    held_out: whether validation images are set aside here; else there are none, and all training
      images are the first part.

  >>> train, validation, test = load(DataSource('digits', image_size=16, validation_share=0.1))
  >>> train.image_shape, len(train) > 9 * len(validation) > 0
  ((16, 16, 1), True)
  """
  train, validation, test = _load(source).parts
  _check_kind(source.name, train, takes)
  if run is not None:
    provenance.settle(run, facts(source, run.config))
  if not held_out:
    if validation is not None:
      _tell(f'{source.name}: its validation images are left out.')
    return train, None, test
  if validation is None and source.validation_share:
    train, validation = _held_out(source, *_read_by(source))
  return train, validation, test


def facts(source: DataSource, config: Mapping[str, Any]) -> provenance.Sections:
  """Returns what a run of a config works on: the images as they lie there, and the user's code."""
  return {'data': _load(source).identities, 'code': provenance.code(config)}


@contextlib.contextmanager
def opened(
  workdir: str | os.PathLike | None,
  config: Mapping[str, Any],
  train: Any,
  test: Any | None = None,
  progress: bool = False,
) -> Iterator[Run]:
  """A run of a config on sets that are there already; its work dir, if it has one, is refused where
  it was begun with other ones, or with other code of the user's."""
  with Run(workdir, config, progress=progress) as run:
    if workdir is not None:
      identities = {'training': Identity(train)}
      if test is not None:
        identities['test'] = Identity(test, statistics=False)
      provenance.settle(run, {'data': identities, 'code': provenance.code(run.config)})
    yield run


def check_alike(
  train: Any, others: Mapping[str, Any | None], many: str = 'images', name: str = 'training'
) -> None:
  """Raises `UserError` for sets beside a training set that are of another kind, of another shape or
  of other classes than it.

  Args:
    train: the training set, or another one that comes first.
    others: the sets by what they are called, {'test': ...}; None: there is none.
    many: what the sets hold.
    name: what the first is called.

  >>> train, test = data.load('digits', image_size=8)
  >>> check_alike(train, {'test': test, 'validation': None})
  >>> check_alike(train, {'test': test.take_classes([1, 0])})
  Traceback (most recent call last):
  jaxdistill.errors.UserError: digits: training and test images have different classes (10 and 2...
  """
  for beside, other in others.items():
    if other is None:
      continue
    if type(other) is not type(train):
      raise UserError(
        f'{train.name}: {name} {many} are {type(train).__name__}, and {beside} {many} must be too; '
        f'they are {type(other).__name__}.'
      )
    if other.image_shape != train.image_shape:
      raise UserError(
        f'{train.name}: {name} {many} {list(train.image_shape)} and {beside} {many} '
        f'{list(other.image_shape)} are not of one kind; load them as one data set.'
      )
    if other.class_names != train.class_names:
      raise UserError(
        f'{train.name}: {name} and {beside} {many} have different classes ({train.num_classes} and '
        f'{other.num_classes}, or other names); load them as one data set.'
      )


def _load(source: DataSource) -> _Loaded:
  return _read(source, *_read_by(source))


def _read_by(source):
  """What decides, beside the source, what is read."""
  return source.stream_above, identity.stamp(source.name, source.dir)


@functools.lru_cache(maxsize=1)
def _held_out(source, stream_above, stamp):
  """The training images without, and the share of them that is held out."""
  whole = _read(source, stream_above, stamp).parts[0]
  train, validation = data.hold_out(whole, source.validation_share)
  for notice in validation.notices[len(whole.notices) :]:
    _tell(notice)
  return train, validation


@functools.lru_cache(maxsize=1)
def _read(source: DataSource, stream_above: int | None, stamp: str) -> _Loaded:
  del stamp  # of the files: others are read anew
  train, validation, test = _splits(source, stream_above, _tell)
  # Before a share is held out, so that what changed has its name.
  on_disk = lambda: _splits(source, 0, lambda notice: None)[0]
  identities = {'training': Identity(train, on_disk), 'test': Identity(test, statistics=False)}
  if not source.validation_share:
    if validation is not None:
      _tell(f'{source.name}: its validation images are left out, as data.validation_share is 0.')
    return _Loaded((train, None, test), identities)
  if validation is not None:
    identities['validation'] = Identity(validation, statistics=False)
  return _Loaded((train, validation, test), identities)


def _splits(
  source: DataSource, stream_above: int | None, tell: Callable[[str], None]
) -> tuple[Any, Any | None, Any]:
  """Returns (train, validation, test) as they are stored."""
  return data.load_splits(
    source.name,
    data_dir=source.dir,
    image_size=source.image_size,
    classes=source.classes,
    normalisation=source.normalisation,
    stream_above=stream_above,
    tell=tell,
  )


def _check_kind(name: str, train: Any, takes: tuple[type, ...]) -> None:
  """Refuses a set of another kind than a task works on."""
  if not isinstance(train, takes):
    what = 'vectors' if isinstance(train, data.Vectors) else 'a matrix of labels'
    raise UserError(
      f'{name} holds {what}, and this task takes images with one label each, such as digits or '
      'npz:PATH; data.load reads it for the functions that take it.'
    )


def _tell(notice: str) -> None:
  if hosts.is_first():
    terminal.line(notice)

"""The division of a data set into sessions: many base classes with all their images, then `way` new
classes at a time with `shot` images each, and the test images of all that have arrived.

Classes are renumbered to *columns* in the order in which they arrive: 0 ... B - 1 in the base
session (number 0), the next `way` in session 1, and so on. All labels here are columns.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np

from jaxdistill import errors
from jaxdistill.data import division
from jaxdistill.data.dataset import Dataset
from jaxdistill.errors import UserError
from jaxdistill.fscil import shots
from jaxdistill.fscil.shots import called


@dataclasses.dataclass(frozen=True, eq=False)
class Sessions:
  """A data set as it arrives.

  Attributes:
    train: the data set as it was given, labels as they were there.
    base: all training images of the base classes.
    rows: int64 [way * shot] of each later session: positions of its images in `train`, column by
      column.
    test: the test images of all C classes, column by column, so that those of the first classes
      come first; normalised as the training images, whatever statistics they were given with.
    order: the class of the data set that is in each column.
    base_classes, way, shot: B classes first, then so many a session with so many images each.
  """

  train: Dataset = dataclasses.field(repr=False)
  base: Dataset
  rows: tuple[np.ndarray, ...]
  test: Dataset
  order: tuple[int, ...]
  base_classes: int
  way: int
  shot: int

  @property
  def num_classes(self) -> int:
    """C, of all sessions together."""
    return len(self.order)

  @property
  def sessions(self) -> int:
    """T, the sessions after the base session."""
    return len(self.rows)

  @property
  def sizes(self) -> tuple[int, ...]:
    """How many classes each of the T + 1 sessions brings, as `metrics.incremental` takes them."""
    return self.base_classes, *(self.way,) * self.sessions

  @property
  def test_sizes(self) -> tuple[int, ...]:
    """How many test images the classes have that have arrived by each session; so many from the
    start of `test` are those of the session."""
    arrived = np.cumsum(self.test.counts)
    return tuple(arrived[np.cumsum(self.sizes) - 1].tolist())

  def arriving(self, number: int) -> tuple[int, int]:
    """Returns (first, end) of the columns that arrive in session `number`."""
    end = self.base_classes + number * self.way
    return (end - self.way if number else 0), end

  def novel(self, number: int) -> Dataset:
    """Returns the training images of session `number`, 1 to T; its classes are those that have
    arrived by then."""
    column = np.empty(self.train.num_classes, np.int32)
    column[list(self.order)] = np.arange(self.num_classes)
    taken = self.train.take(self.rows[number - 1], f'session {number}')
    return self._of_arrived(taken, column[taken.labels], number)

  def test_of(self, number: int) -> Dataset:
    """Returns the test images of the classes that have arrived by session `number`, 0 to T."""
    taken = self.test.take(np.arange(self.test_sizes[number]))
    return self._of_arrived(taken, taken.labels, number)

  def drawn(self, draw: int) -> 'Sessions':
    """Returns the same sessions with the images that the seed `draw` picks; base and test images
    are shared, not copied."""
    return dataclasses.replace(self, rows=shots.drawn(self.train, self._groups(), self.shot, draw))

  def _groups(self):
    return [self.order[slice(*self.arriving(number + 1))] for number in range(self.sessions)]

  def _of_arrived(self, images, labels, number):
    names = self.test.class_names[: self.arriving(number)[1]]
    return dataclasses.replace(images, labels=labels, class_names=names)


def sessions(
  train: Dataset,
  test: Dataset,
  base_classes: int,
  way: int,
  shot: int,
  draw: int = 0,
  indices: str | os.PathLike | Mapping[int, Sequence[int]] | Sequence | np.ndarray | None = None,
  order: int | str | os.PathLike | Sequence[int | str] | None = None,
  number: int | None = None,
) -> Sessions:
  """Divides a data set into a base session and few-shot sessions.

  Args:
    train, test: of one set of classes.
    base_classes: B, of session 0.
    way: new classes of each later session.
    shot: training images of each new class.
    draw: seed by which these are picked. A class's images depend on the seed and on its number in
      the data set alone: not on its session, nor on other draws; fewer shots are the first ones.
    indices: None: picked by `draw`. Else a fixed choice, for which `draw` does nothing: the name of
      a published list ('cec', of CIFAR-100), the path of a file or folder of lists (see
      `lists.read`), positions in `train`, [T, way * shot] or all in one list session by session,
      or positions by class of the data set.
    order: of the classes, see `division.class_order`: None: as they are numbered, a seed, a file,
      or the classes themselves.
    number: T, the later sessions; None: as many as the classes make.

  Raises:
    UserError: `way` does not divide the classes after the base, more sessions than classes, a class
      with fewer images than `shot`, a class twice in the order, a list of another length, or with
      an image that is not of its session's classes, sessions without test images.

  Source: the protocol of Tao et al., CVPR 2020 (TOPIC). Draws by seed, for data without a published
  list, are our choice.

  >>> from jaxdistill import data
  >>> parts = sessions(*data.load('digits'), base_classes=4, way=2, shot=5)
  >>> parts.sizes, len(parts.base), len(parts.novel(1)), parts.test_sizes
  ((4, 2, 2, 2), 576, 10, (144, 216, 288, 359))
  """
  _check_pair(train, test)
  columns = division.class_order(order, train.class_names)
  count = count_sessions(len(columns), base_classes, way, number, train.name)
  errors.whole('shot', shot, at_least=1)
  possible = (len(columns) - base_classes) // way
  columns = columns[: base_classes + count * way]
  _check_images(train, test, columns, base_classes, way)
  groups = [columns[start : start + way] for start in range(base_classes, len(columns), way)]
  if indices is None:
    rows = shots.drawn(train, groups, shot, draw)
  else:
    rows = shots.listed(train, groups, shot, indices, columns[:base_classes], possible)
  by_column = np.concatenate([test.of_class(label) for label in columns])
  arranged = test.take(by_column)
  names = tuple(train.class_names[label] for label in columns)
  labels = np.repeat(np.arange(len(columns)), test.counts[list(columns)])
  return Sessions(
    train,
    train.take_classes(columns[:base_classes], 'base'),
    rows,
    # Networks see test images as they saw those that they learned from.
    dataclasses.replace(arranged, labels=labels, class_names=names, mean=train.mean, std=train.std),
    columns,
    base_classes,
    way,
    shot,
  )


def count_sessions(
  classes: int, base_classes: int, way: int, number: int | None = None, name: str = 'the data set'
) -> int:
  """Returns T, how many sessions follow the base session.

  Args:
    classes: that there are.
    base_classes, way: B classes first, then so many a session.
    number: T, if not as many as there can be.
    name: of the data set, for messages.

  Raises:
    UserError: for more classes than there are, or where `number` is None and classes would be left
      over.

  >>> count_sessions(100, 60, 5)
  8
  >>> count_sessions(10, 4, 4)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: the data set: way=4 does not divide the 6 classes that follow the ...
  """
  errors.whole('base_classes', base_classes, at_least=1)
  errors.whole('way', way, at_least=1)
  left = classes - base_classes
  if left < 0:
    raise UserError(
      f'{name}: base_classes is {base_classes}, and there are {classes} classes; give fewer.'
    )
  if number is not None:
    errors.whole('number of sessions', number)
    if number * way > left:
      raise UserError(
        f'{name}: {number} sessions of {way} classes after {base_classes} base classes need '
        f'{base_classes + number * way} classes, and there are {classes}; '
        f'{left // way} sessions are possible.'
      )
    return number
  if left % way:
    raise UserError(
      f'{name}: way={way} does not divide the {left} classes that follow the {base_classes} base '
      f'classes; choose another, or set the number of sessions ({left // way} at most) to leave '
      f'{left % way} classes out.'
    )
  return left // way


def _check_pair(train, test):
  if train.class_names != test.class_names:
    raise UserError(
      f'{train.name}: training and test images have different classes '
      f'({len(train.class_names)} and {len(test.class_names)}, or other names); load them as one '
      'data set.'
    )
  if train.image_shape != test.image_shape:
    raise UserError(
      f'{train.name}: training images are {train.image_shape} and test images '
      f'{test.image_shape}; bring them to one shape.'
    )


def _check_images(train, test, columns, base_classes, way):
  """Raises `UserError` for a base class without training images, or a session without any to test
  on."""
  empty = [label for label in columns[:base_classes] if not train.counts[label]]
  if empty:
    raise UserError(f'{train.name}: {called(train, empty[0])} has no training image.')
  starts = [0, *range(base_classes, len(columns), way)]
  for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(columns)])):
    if not test.counts[list(columns[start:end])].any():
      raise UserError(
        f'{train.name}: no class of session {number} ({called(train, columns[start])} is the '
        'first) has a test image; each session needs some.'
      )

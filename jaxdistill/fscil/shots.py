"""Which training images are the few of each new class: picked by a seed, or a fixed choice that is
checked against the labels."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from jaxdistill import errors
from jaxdistill.data.dataset import Dataset
from jaxdistill.errors import UserError, brief
from jaxdistill.fscil import lists


def drawn(
  train: Dataset, groups: Sequence[Sequence[int]], shot: int, draw: int
) -> tuple[np.ndarray, ...]:
  """Returns positions in `train` of images that a seed picks.

  Args:
    train: all training images.
    groups: the classes of each session.
    shot: images a class.
    draw: the seed; with a class's number it decides which are picked, whatever the groups are.

  Returns:
    int64 [classes * shot] a session, class by class.

  Raises:
    UserError: for a class with fewer images than `shot`.

  >>> four = Dataset(np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 0, 1]))
  >>> sorted(drawn(four, [[1]], 2, draw=0)[0].tolist())
  [1, 3]
  """
  errors.whole('draw', draw, below=errors.SEEDS)
  rows = []
  for group in groups:
    picked = []
    for label in group:
      members = train.of_class(label)
      if len(members) < shot:
        raise UserError(
          f'{train.name}: {called(train, label)} has {len(members)} training images; '
          f'shot={shot} needs {shot}.'
        )
      picked.append(np.random.RandomState([draw, label]).permutation(members)[:shot])
    rows.append(np.concatenate(picked))
  return tuple(rows)


def listed(
  train: Dataset,
  groups: Sequence[Sequence[int]],
  shot: int,
  indices: str | os.PathLike | Mapping[int, Sequence[int]] | Sequence | np.ndarray,
  base: Sequence[int] = (),
  possible: int = 0,
) -> tuple[np.ndarray, ...]:
  """Returns positions in `train` of a fixed choice of images, once they are known to fit.

  Args:
    train, groups, shot: see `drawn`.
    indices: see `protocol.sessions`.
    base: the base classes, of which the first file of a folder may be.
    possible: how many sessions the classes make, where `groups` are fewer: a list of all is cut.

  Returns:
    As `drawn` does.

  Raises:
    UserError: for a list of another length, or with images of other classes, or twice the same.

  >>> four = Dataset(np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 0, 1]))
  >>> listed(four, [[1]], 1, [3]), listed(four, [[1], [0]], 2, {0: [2, 0], 1: [1, 3]})
  ((array([3]),), (array([1, 3]), array([2, 0])))
  """
  if not groups:
    return ()
  if isinstance(indices, str) and indices in lists.PUBLISHED:
    indices = lists.published(indices, train)
  if isinstance(indices, Mapping):
    return tuple(_of_classes(train, group, shot, indices) for group in groups)
  if isinstance(indices, (str, os.PathLike)):
    parts = lists.read(indices, train)
    # The published folders begin with a list of base images.
    if len(parts) > 1 and set(train.labels[parts[0]].tolist()) <= set(base):
      parts = parts[1:]
  else:
    parts = _arrays(indices)
  per_session = len(groups[0]) * shot
  if len(parts) == 1 and len(parts[0]) in (len(groups) * per_session, possible * per_session):
    parts = np.split(parts[0], range(per_session, len(parts[0]), per_session))
  if len(parts) not in (len(groups), possible):
    total = sum(map(len, parts))
    raise UserError(
      f'{train.name}: the list names {total:,} images in {len(parts)} part(s); {len(groups)} '
      f'sessions of {per_session} images, {shot} a class, need {len(groups) * per_session:,}.'
    )
  chosen = []
  for number, (part, group) in enumerate(zip(parts, groups), 1):
    chosen.append(_of_session(train, part, group, shot, number))
  return tuple(chosen)


def _of_classes(train, group, shot, indices):
  """Positions of the images of a session's classes, from positions by class."""
  for label in group:
    count = len(indices.get(label, ()))
    if count != shot:
      raise UserError(
        f'{train.name}: the list names {count} images of {called(train, label)}; it needs '
        f'{shot}, as shot={shot}.'
      )
  positions = np.concatenate([np.asarray(indices[label]) for label in group])
  return _of_session(train, positions, group, shot, 0)


def _of_session(train, positions, group, shot, number):
  """The positions of a session's images, column by column; raises `UserError` unless there are
  `shot` different ones of each class."""
  session = f'session {number}' if number else 'a session'
  positions = np.asarray(positions)
  if positions.dtype.kind not in 'iu' or positions.ndim != 1:
    raise UserError(f'{train.name}: a list of images holds whole numbers, the positions of images.')
  if positions.size and not 0 <= positions.min() <= positions.max() < len(train):
    raise UserError(
      f'{train.name}: the list of {session} names positions from {positions.min()} to '
      f'{positions.max()}; there are {len(train):,} training images, counted from 0.'
    )
  if len(np.unique(positions)) < len(positions):
    raise UserError(f'{train.name}: the list of {session} names an image twice.')
  labels = train.labels[positions]
  for position, label in zip(positions, labels):
    if label not in group:
      raise UserError(
        f'{train.name}: the list of {session} names image {position}, which is of '
        f'{called(train, label)}, and the classes that arrive are '
        f'{", ".join(brief(train.class_names[one], 40) for one in group)}.'
      )
  for label in group:
    count = int((labels == label).sum())
    if count != shot:
      raise UserError(
        f'{train.name}: the list of {session} names {count} images of {called(train, label)}; '
        f'shot={shot} needs {shot}.'
      )
  return np.concatenate([positions[labels == label] for label in group])


def _arrays(indices):
  """The list of each session, of positions that are given as such."""
  if len(indices) and np.ndim(indices[0]):
    return [np.asarray(part) for part in indices]
  return [np.asarray(indices)]


def called(train: Dataset, label: int) -> str:
  """Returns a class as sentences call it.

  >>> called(Dataset(np.zeros((1, 8, 8, 1), np.uint8), np.array([0]), class_names=['ant']), 0)
  "class 0 ('ant')"
  """
  return f'class {label} ({brief(repr(train.class_names[label]), 60)})'

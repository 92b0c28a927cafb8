"""Types of annotators, each a law by which confusion matrices [count, C, C] are drawn; rows are the
true classes and sum to 1."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill import errors
from jaxdistill.errors import UserError, unknown

# (type, count) or (type, count, its fields).
Group = tuple[str, int] | tuple[str, int, Mapping[str, Any]]


def expert(count: int, classes: int, diagonal: float = 0.9) -> np.ndarray:
  """Right with the probability `diagonal`, else any other label.

  >>> expert(1, 3, diagonal=0.8)[0].round(2).tolist()
  [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
  """
  return _with_diagonal(np.full(count, _probability('diagonal', diagonal)), classes)


def symmetric(
  count: int,
  classes: int,
  random: np.random.RandomState,
  low: float = 0.0,
  high: float = 1.0,
) -> np.ndarray:
  """Wrong at a rate of its own, uniform on [low, high], any other label being as likely.

  Source: the bounds are our choice.
  """
  low, high = _probability('low', low), _probability('high', high)
  return _with_diagonal(1 - random.uniform(low, high, count), classes)


def hammer_spammer(
  count: int, classes: int, random: np.random.RandomState, hammers: float = 0.5
) -> np.ndarray:
  """A hammer, always right, with the probability `hammers`; else a spammer, who guesses.

  Source: Karger, Oh and Shah, NeurIPS 2011; the default is our choice.
  """
  is_hammer = random.random_sample(count) < _probability('hammers', hammers)
  spam = np.full((classes, classes), 1 / classes)
  return np.where(is_hammer[:, None, None], np.eye(classes), spam)


def pair_confuser(
  count: int, classes: int, pairs: Sequence[tuple[int, int]], mix: float = 0.5
) -> np.ndarray:
  """Mixes one pair of classes, of which each becomes the other with the probability `mix`; the
  annotators take the pairs in turn.

  >>> pair_confuser(1, 3, [(0, 2)])[0].tolist()
  [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]
  """
  mix = _probability('mix', mix)
  pairs = np.asarray(pairs)
  if pairs.ndim != 2 or pairs.shape[1] != 2 or not ((pairs >= 0) & (pairs < classes)).all():
    raise UserError(
      f'pairs are pairs of two classes from 0 to {classes - 1}; they are {pairs.tolist()}.'
    )
  matrices = np.tile(np.eye(classes), (count, 1, 1))
  for matrix, (one, other) in zip(matrices, np.resize(pairs, (count, 2))):
    matrix[[one, other], [one, other]] = 1 - mix
    matrix[[one, other], [other, one]] = mix
  return matrices


def constant(count: int, classes: int, label: int = 0) -> np.ndarray:
  """Always says `label`.

  >>> constant(1, 2, label=1)[0].tolist()
  [[0.0, 1.0], [0.0, 1.0]]
  """
  matrices = np.zeros((count, classes, classes))
  matrices[:, :, errors.whole('label', label, below=classes)] = 1
  return matrices


def alike(
  count: int,
  classes: int,
  random: np.random.RandomState,
  matrix: Any = None,
  diagonal: float = 0.5,
  jitter: float = 0.05,
) -> np.ndarray:
  """Annotators of one group: they share a matrix, each with a deviation of its own.

  max(0, matrix + N(0, jitter^2)), its rows divided by their sums.

  Args:
    matrix: [C, C]; None: `diagonal`, the rest uniform.
    jitter: of every entry.

  Source: the form of the deviation is our choice.
  """
  errors.real_numbers(jitter=jitter)
  if matrix is None:
    matrix = expert(1, classes, diagonal)[0]
  matrix = np.asarray(matrix, float)
  # Written so that NaN fails too.
  if matrix.shape != (classes, classes) or not (
    (matrix >= 0).all() and np.allclose(matrix.sum(1), 1)
  ):
    raise UserError(
      f'matrix needs the shape [{classes}, {classes}], and rows of probabilities that sum to 1.'
    )
  if jitter < 0:
    raise UserError(f'jitter is {jitter}; it must be at least 0.')
  matrices = np.maximum(matrix + jitter * random.standard_normal((count, classes, classes)), 0)
  sums = matrices.sum(2, keepdims=True)
  return np.where(sums > 0, matrices / np.maximum(sums, 1e-12), matrix)


# `copier` has no law: such an annotator repeats what another one says.
TYPES: dict[str, Callable[..., np.ndarray]] = {
  'expert': expert,
  'symmetric': symmetric,
  'hammer_spammer': hammer_spammer,
  'pair_confuser': pair_confuser,
  'constant': constant,
  'alike': alike,
}
# Groups by name. 'ind' is our choice: it stands for CCC's independent crowds, whose matrices were
# not published.
READY: dict[str, tuple[Group, ...]] = {
  'ind': (
    ('expert', 75, {'diagonal': 0.8}),
    ('expert', 100, {'diagonal': 0.5}),
    ('expert', 75, {'diagonal': 0.3}),
  )
}


def build(
  groups: str | Sequence[Group],
  classes: int,
  pairs: Sequence[tuple[int, int]],
  random: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the matrices of all annotators [R, C, C], and whose labels each repeats [R]: its own,
  but for a copier.

  Args:
    groups: a name of `READY`, or for each group its type, the number of annotators and, where they
      are not the usual ones, its fields. A 'copier' takes `of`, the number of an annotator before
      it.
    classes: C.
    pairs: of the pair confusers that are given none.
    random: the generator of the draws.

  Raises:
    UserError: for an unknown name, type or field, and for values that do not fit.

  >>> groups = [('expert', 1), ('constant', 1), ('copier', 2, {'of': 1})]
  >>> build(groups, 3, (), np.random.RandomState(0))[1].tolist()
  [0, 1, 1, 1]
  """
  if isinstance(groups, str):
    if groups not in READY:
      raise unknown('crowd', groups, READY)
    groups = READY[groups]
  matrices, source = np.zeros((0, classes, classes)), np.zeros(0, np.int64)
  for group in groups:
    kind, count, fields = _parts(group)
    start = len(source)
    if kind == 'copier':
      of = errors.whole('of', fields['of'], below=start) if start else _no_one_to_copy()
      source = np.append(source, np.full(count, source[of]))
      matrices = np.append(matrices, np.tile(matrices[of], (count, 1, 1)), axis=0)
      continue
    law = TYPES[kind]
    taken = inspect.signature(law).parameters
    given = {'random': random, 'pairs': pairs}
    usual = {name: value for name, value in given.items() if name in taken}
    matrices = np.append(matrices, law(count, classes, **{**usual, **fields}), axis=0)
    source = np.append(source, start + np.arange(count))
  if not len(source):
    raise UserError('The groups hold no annotator; give at least one, such as ("expert", 5).')
  return matrices, source


def _parts(group: Group) -> tuple[str, int, dict[str, Any]]:
  """Returns type, number and fields of a group, which are checked by the type's signature."""
  parted = isinstance(group, Sequence) and not isinstance(group, str) and 2 <= len(group) <= 3
  if not parted or not isinstance(group[-1], int | np.integer | Mapping):
    raise UserError(
      f'A group is (type, number of annotators) or (type, number, fields); it is {group!r:.100}.'
    )
  kind, count, *rest = group
  fields = dict(rest[0]) if rest else {}
  if kind not in (*TYPES, 'copier'):
    raise unknown('type of annotator', kind, (*TYPES, 'copier'))
  if kind == 'copier':
    valid, fields = ('of',), {'of': 0, **fields}
  else:
    inner = ('count', 'classes', 'random')
    valid = [name for name in inspect.signature(TYPES[kind]).parameters if name not in inner]
  for name in fields:
    if name not in valid:
      raise unknown(f'field of the annotator {kind!r}', name, valid)
  return kind, errors.whole('The number of annotators', count, at_least=1), fields


def _no_one_to_copy():
  raise UserError('A copier repeats an annotator before it, and the first group has none before.')


def _probability(name: str, value: float) -> float:
  errors.real_numbers(**{name: value})
  if not 0 <= value <= 1:
    raise UserError(f'{name} is {value}; it must be from 0 to 1.')
  return value


def _with_diagonal(diagonal: np.ndarray, classes: int) -> np.ndarray:
  """Matrices with one number on the diagonal each, and the rest of a row uniform."""
  right = diagonal[:, None, None]
  wrong = (1 - right) / max(classes - 1, 1)
  return np.where(np.eye(classes, dtype=bool), right, wrong)

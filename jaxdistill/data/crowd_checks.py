"""What must hold of the triples of a crowd, told in one sentence where it does not."""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from jaxdistill import errors
from jaxdistill.errors import UserError, brief

_MOST = 2**31  # numbers of 32 bits


def whole_numbers(name: str, values: ArrayLike) -> np.ndarray:
  """Returns whole numbers [m] as int64; raises `UserError` for all else.

  >>> whole_numbers('label', [2, 0]).tolist()
  [2, 0]
  """
  try:
    values = np.asarray(values)
  except ValueError as error:  # lists of different lengths
    raise UserError(f'{name} cannot be made one array ({brief(error)}).') from error
  if values.ndim != 1 or values.size and values.dtype.kind not in 'iu':
    raise UserError(
      f'{name} must be whole numbers of an integer type, with one axis; it is {values.dtype} of '
      f'shape {list(values.shape)}.'
    )
  return values.astype(np.int64)


def count_and_names(
  kind: str, given: int | Sequence[str] | None, column: np.ndarray
) -> tuple[int, tuple[str, ...]]:
  """Returns how many there are of a kind, and their names, () where they are their numbers.

  Args:
    kind: for people.
    given: how many, or their names; None: up to the largest of the column.
    column: the numbers of that kind.

  >>> count_and_names('classes', ['cat', 'dog'], np.array([0]))
  (2, ('cat', 'dog'))
  """
  if given is None:
    largest = int(column.max())
    if largest >= _MOST:
      raise UserError(f'The {kind} go up to the number {largest}; number them from 0, below 2^31.')
    return largest + 1, ()
  if isinstance(given, (int, np.integer)):
    return errors.whole(kind, given, at_least=1, below=_MOST), ()
  if isinstance(given, (str, bytes)) or not isinstance(given, Sequence | np.ndarray):
    raise UserError(f'{kind} is a number, or a list of names; it is {brief(repr(given))}.')
  names = tuple(map(str, given))
  if len(set(names)) < len(names):
    raise UserError(f'{kind}: two of the names are the same; give each its own.')
  plain = names == tuple(map(str, range(len(names))))
  return len(names), () if plain else names


def in_range(name: str, values: np.ndarray, count: int) -> None:
  """Raises `UserError` for the first value outside [0, count).

  >>> in_range('label', np.array([0, 2]), 2)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: label 2 is out of range; it must be from 0 to 1.
  """
  outside = (values < 0) | (values >= count)
  if outside.any():
    raise UserError(
      f'{name} {int(values[outside.argmax()])} is out of range; it must be from 0 to {count - 1}.'
    )


def sorted_triples(
  triples: Sequence[np.ndarray],
  counts: Sequence[int],
  names: Sequence[tuple[str, ...]],
) -> None:
  """Raises `UserError` for triples, sorted by example and annotator, that are no crowd.

  Args:
    triples: example, annotator and label, [m] each.
    counts: how many there are of these.
    names: of these, () where they are their numbers.

  >>> sorted_triples((np.array([1]), np.array([0]), np.array([0])), (2, 1, 1), ((), (), ()))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: Nobody labelled example 0 (1 of 2 examples have no label); leave ...
  """
  for name, values, count in zip(('example', 'annotator', 'label'), triples, counts):
    in_range(name, values, count)
  example, annotator, _ = triples
  # Without a table of all examples, of which one wrong number would make too many.
  labelled = np.unique(example)
  missing = counts[0] - len(labelled)
  if missing:
    first = np.append(labelled != np.arange(len(labelled)), True).argmax()
    raise UserError(
      f'Nobody labelled example {_name(names[0], first)} ({missing:,} of {counts[0]:,} examples '
      'have no label); leave such examples out.'
    )
  twice = (np.diff(example) == 0) & (np.diff(annotator) == 0)
  if twice.any():
    at = int(twice.argmax())
    raise UserError(
      f'Annotator {_name(names[1], annotator[at])} labels example {_name(names[0], example[at])} '
      'twice, and nothing tells which label counts; keep one.'
    )


def _name(names, number):
  return brief(repr(names[number])) if names else str(int(number))

"""Divisions of a data set: a share of the images of every class, disjoint groups of classes, and
classes in an order."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from jaxdistill import errors
from jaxdistill.data.dataset import Dataset, stratified
from jaxdistill.errors import UserError, brief, shown, unknown
from jaxdistill.files import expanded


def share_of(train: Dataset, share: float, seed: int = 0) -> Dataset:
  """Returns a share of the images of every class, in their order in the set, with the statistics of
  the whole.

  Of a class with n images there are round(share n), but at least one. Which they are depends on the
  seed alone; those of a smaller share are among those of a larger one.

  Raises:
    UserError: the share is not above 0 and at most 1.

  >>> train = Dataset(np.zeros((20, 8, 8, 1), np.uint8), np.repeat([0, 1], 10))
  >>> share_of(train, 0.2).counts, len(share_of(train, 1))
  (array([2, 2]), 20)
  """
  errors.real_numbers(share=share)
  if not 0 < share <= 1:
    raise UserError(
      f'The share of the images of a class must be above 0 and at most 1; it is {share}.'
    )
  return train.take(stratified(train.labels, share, seed, least_kept=0)[1])


def split_classes(
  dataset: Dataset, groups: Mapping[str, int | Sequence[int | str]], seed: int | None = None
) -> dict[str, Dataset]:
  """Returns disjoint groups of classes by name, each as a set of its own: labels from 0, the names
  of its classes, the statistics of the whole.

  Which classes a group has depends on the names of the set's classes, `groups` and the seed alone:
  training and test images are divided alike.

  Args:
    dataset: the images.
    groups: how many classes a group has, drawn from those that no group lists and numbered in their
      order in the set; or which, by name or number, in the order of their labels. Classes of no
      group are left out.
    seed: of the draw; None: classes are taken in their order.

  Raises:
    UserError: more classes than there are, a class that is not known or in two groups, a group
      without images.

  >>> train = Dataset(np.zeros((8, 8, 8, 1), np.uint8), np.arange(8) // 2, tuple('abcd'))
  >>> parts = split_classes(train, {'private': 2, 'target': ['a']})
  >>> parts['private'].class_names, parts['target'].labels
  (('b', 'c'), array([0, 0], dtype=int32))
  """
  listed = {
    name: class_order(list(group), dataset.class_names)
    for name, group in groups.items()
    if not isinstance(group, (int, np.integer))
  }
  owner = {}
  for name, classes in listed.items():
    for label in classes:
      if label in owner:
        raise UserError(
          f'The class {brief(repr(dataset.class_names[label]))} is in the groups {owner[label]!r} '
          f'and {name!r}; groups share no class.'
        )
      owner[label] = name
  free = [label for label in range(dataset.num_classes) if label not in owner]
  counts = {
    name: errors.whole(f'the number of classes of {name!r}', group, at_least=1)
    for name, group in groups.items()
    if name not in listed
  }
  if sum(counts.values()) > len(free):
    raise UserError(
      f'{dataset.name}: {_summed(counts)} classes were asked for, and {len(free)} are left of '
      f'{dataset.num_classes}; ask for fewer.'
    )
  if seed is not None:
    free = np.random.RandomState(errors.seed(seed)).permutation(free).tolist()
  divided, first = {}, 0
  for name in groups:
    classes = listed.get(name)
    if classes is None:
      classes = sorted(free[first : first + counts[name]])
      first += counts[name]
    divided[name] = dataset.take_classes(classes, f'{name} {dataset.split}')
  return divided


def _summed(counts):
  """The counts of groups in words: 'private=60 + public=50'."""
  return ' + '.join(f'{name}={number}' for name, number in counts.items())


def class_order(
  order: int | str | os.PathLike | Sequence[int | str] | None, class_names: Sequence[str]
) -> tuple[int, ...]:
  """Returns the classes in the order in which they arrive.

  Args:
    order: None or '': as they are numbered; a whole number, as text too: a permutation by this
      seed; another text: a file with a class a line; or a sequence. A class is its name, or else
      its number; those that do not stand there never arrive.
    class_names: of the data set.

  Raises:
    UserError: for a file that cannot be read, a class that is not known or that comes twice.

  >>> class_order(['dog', 0], ('cat', 'ant', 'dog')), class_order(None, ('cat', 'ant'))
  ((2, 0), (0, 1))
  """
  if order is None or (isinstance(order, str) and not order):
    return tuple(range(len(class_names)))
  if isinstance(order, (int, np.integer)) or (isinstance(order, str) and order.isdecimal()):
    return tuple(np.random.RandomState(errors.seed(int(order))).permutation(len(class_names)))
  if isinstance(order, (str, os.PathLike)):
    order = lines_of(expanded(order))
  number = {name: label for label, name in enumerate(class_names)}
  numbers = {}
  for place, entry in enumerate(order):
    # A class may be called by another's number, and what is no text is a number.
    label = number.get(str(entry)) if isinstance(entry, str) else None
    if label is None and str(entry).isdecimal() and int(entry) < len(class_names):
      label = int(entry)
    if label is None:
      raise unknown('class', entry, class_names)
    if label in numbers:
      raise UserError(
        f'The class {brief(repr(class_names[label]))} comes twice in the order of the classes '
        f'(places {numbers[label]} and {place}); each arrives once.'
      )
    numbers[label] = place
  return tuple(numbers)


def lines_of(path: pathlib.Path) -> list[str]:
  """Returns the lines of a text file that are not empty.

  Raises:
    UserError: it cannot be read, or has none.
  """
  try:
    lines = path.read_text('utf-8-sig').splitlines()
  except (OSError, ValueError) as error:
    reason = getattr(error, 'strerror', None) or 'it is no text'
    raise UserError(f'The list {shown(path)} cannot be read ({reason}).') from error
  lines = [line.strip() for line in lines if line.strip()]
  if not lines:
    raise UserError(f'The list {shown(path)} is empty.')
  return lines

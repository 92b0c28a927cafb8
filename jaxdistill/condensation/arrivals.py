"""The orders in which classes arrive, a few a step, and what of them is condensed together."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxdistill import errors


class Part(NamedTuple):
  """Classes that are condensed together, once: the name of the step that needs them first, and the
  classes, ascending."""

  name: str
  classes: tuple[int, ...]


class Plan(NamedTuple):
  """What a run does. orders[o][s]: the classes that arrive in step s of order o; parts: what has to
  be condensed for them."""

  orders: tuple[tuple[tuple[int, ...], ...], ...]
  parts: tuple[Part, ...]

  @property
  def way(self) -> int:
    """Classes a step."""
    return len(self.orders[0][0])

  def seen(self, order: int, step: int) -> list[int]:
    """Returns the classes that have arrived when a step is over, oldest first."""
    return list(itertools.chain(*self.orders[order][: step + 1]))

  def places(self, order: int, step: int) -> list[tuple[Part, int]]:
    """Returns where the memories of `seen` lie: the part and the class's position in it, for
    each."""
    places = []
    for classes in self.orders[order][: step + 1]:
      places += _places(classes, self.parts)
    return places


def class_orders(num_classes: int, orders: int) -> list[np.ndarray]:
  """Returns the orders in which the classes arrive: numpy's permutations of the seeds 0, 1, ...

  Args:
    num_classes: of the data set.
    orders: how many.

  Returns:
    Permutations of range(num_classes).

  Source: five orders with the seeds 0 to 4, as in DM's public code. `RandomState` is frozen, so
    they never change.

  >>> class_orders(5, 2)[1].tolist()
  [2, 1, 4, 0, 3]
  """
  errors.whole('num_classes', num_classes, at_least=1)
  errors.whole('orders', orders, at_least=1)
  return [np.random.RandomState(seed).permutation(num_classes) for seed in range(orders)]


def plan(num_classes: int, steps: int, orders: int, shared: bool) -> Plan:
  """Divides the classes of every order into steps and finds what has to be condensed.

  Args:
    num_classes: of the data set, a multiple of `steps`.
    steps: of every order.
    orders: of the classes.
    shared: whether a class is condensed the same whatever the others of its step are (its random
      draws follow its number). Then the memories of the first order serve all orders; if not, every
      set of classes that makes a step is condensed once.

  Returns:
    Plan.

  >>> todo = plan(4, steps=2, orders=2, shared=True)
  >>> todo.orders
  (((2, 3), (1, 0)), ((3, 2), (0, 1)))
  >>> [part.classes for part in todo.parts]
  [(2, 3), (0, 1)]
  """
  divided = tuple(_divided(order, steps) for order in class_orders(num_classes, orders))
  parts: dict[tuple[int, ...], Part] = {}
  for number, order in enumerate(divided[:1] if shared else divided):
    for step, classes in enumerate(order):
      parts.setdefault(
        tuple(sorted(classes)), Part(step_name(number, step), tuple(sorted(classes)))
      )
  return Plan(divided, tuple(parts.values()))


def _divided(order: np.ndarray, steps: int) -> tuple[tuple[int, ...], ...]:
  return tuple(tuple(map(int, classes)) for classes in np.split(order, steps))


def step_name(order: int, step: int) -> str:
  """Returns the name of a step, for files and phases.

  >>> step_name(0, 2)
  'order1-step3'
  """
  return f'order{order + 1}-step{step + 1}'


def _places(classes: Sequence[int], parts: Sequence[Part]) -> list[tuple[Part, int]]:
  same = [part for part in parts if part.classes == tuple(sorted(classes))]
  part_of = {}
  for part in reversed(same or parts):
    part_of |= dict.fromkeys(part.classes, part)
  return [(part_of[label], part_of[label].classes.index(label)) for label in classes]

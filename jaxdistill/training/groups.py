"""Groups of parameters: a learning rate and a weight decay of their own, by path."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import optax

from jaxdistill import errors
from jaxdistill.errors import UserError
from jaxdistill.training import parts


@dataclasses.dataclass(frozen=True)
class Group:
  """Parameters with a learning rate or a weight decay of their own; the first group that covers a
  parameter counts.

  >>> from jaxdistill.training import optim
  >>> head = Group(paths=('head',), learning_rate=10.0, weight_decay=0.0)
  >>> optimizer = optim.sgd(0.1, groups=(head,))
  >>> params = {'conv': 1.0, 'head': 1.0}
  >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
  >>> {name: round(float(update), 3) for name, update in updates.items()}
  {'conv': -0.1, 'head': -1.0}

  Attributes:
    paths: of parameters, as in `training.parts`; each must cover one.
    learning_rate: factor to that of the optimiser, above 0 (what is not trained at all is frozen,
      see `training.parts`).
    weight_decay: in place of the optimiser's; None: the same.
  """

  paths: tuple[str, ...]
  learning_rate: float = 1.0
  weight_decay: float | None = None

  def __post_init__(self):
    errors.real_numbers(learning_rate=self.learning_rate)
    if self.weight_decay is not None:
      errors.real_numbers(weight_decay=self.weight_decay)
    if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
      raise UserError(
        'The factor to the learning rate of a group must be a finite number above 0, not '
        f'{self.learning_rate}; what is not to be trained at all is frozen.'
      )
    if self.weight_decay is not None and not 0 <= self.weight_decay < math.inf:
      raise UserError(
        'weight_decay of a group must be a finite number that is not negative or None, not '
        f'{self.weight_decay}.'
      )

  def decay(self, weight_decay: float) -> float:
    """Returns the weight decay of the group, given that of the optimiser.

    >>> Group(('head',)).decay(0.5), Group(('head',), weight_decay=0.0).decay(0.5)
    (0.5, 0.0)
    """
    return weight_decay if self.weight_decay is None else self.weight_decay


def by_group(
  function: Callable[[jax.Array, jax.Array, Group, str], jax.Array], groups: Sequence[Group]
) -> optax.GradientTransformation:
  """Returns the transformation update ← function(update, parameter, group, path), leaf by leaf.

  A parameter that no group covers comes with a group of default fields. A path of a group that
  covers no parameter is refused as soon as the optimiser starts.

  >>> double = by_group(lambda update, parameter, group, path: 2 * update, groups=())
  >>> double.update({'w': 3.0}, double.init({'w': 1.0}), {'w': 1.0})[0]
  {'w': 6.0}
  """

  def assigned(params):
    paths = parts.leaf_paths(params)
    for group in groups:
      parts.check(group.paths, paths, 'parameter')
    return list(map(group_of, paths))

  def group_of(path):
    return next((group for group in groups if parts.covers(group.paths, path)), Group(()))

  def init(params):
    assigned(params)
    return optax.EmptyState()

  def update(updates, state, params=None):
    if params is None:
      raise ValueError('This optimiser needs the parameters: update(updates, state, params).')
    leaves, structure = jax.tree.flatten(updates)
    leaves = map(
      function, leaves, jax.tree.leaves(params), assigned(updates), parts.leaf_paths(updates)
    )
    return jax.tree.unflatten(structure, leaves), state

  return optax.GradientTransformation(init, update)

"""Groups of parameters: a learning rate and a weight decay of their own, by path."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
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


def layerwise(
  params: Any, stages: Sequence[Sequence[str]], decay: float, undecayed: Sequence[str] = ()
) -> tuple[Group, ...]:
  """Returns groups by which a stage learns the slower, the nearer it is to the input.

      rate of stage i = decay^(S - i),   i = 0 ... S-1,   and 1 behind the last stage

  Vectors (biases, scales of normalisation) and the `undecayed` have no weight decay.

  Args:
    params: of one network, as arrays or only as shapes.
    stages: the S stages from the input on, each the paths of its parts; what none of them covers
      stands behind the last.
    decay: in (0, 1]; 1: all learn at one rate.
    undecayed: paths of further parameters without weight decay.

  Source: BEiT (Bao et al., ICLR 2022) and the fine-tuning of MAE (He et al., CVPR 2022), where the
  patches are stage 0 and block i is stage i + 1.

  Raises:
    UserError: a factor out of range, or a path that covers nothing.

  >>> params = {'patches': np.ones((4, 3)), 'block1': {'kernel': np.ones((3, 3))},
  ...   'head': {'kernel': np.ones((3, 2)), 'bias': np.ones(2)}}
  >>> groups = layerwise(params, (('patches',), ('block1',)), decay=0.5)
  >>> [(group.paths, group.learning_rate, group.weight_decay) for group in groups[:2]]
  [(('patches',), 0.25, None), (('block1/kernel',), 0.5, None)]
  >>> [(group.paths, group.learning_rate, group.weight_decay) for group in groups[2:]]
  [(('head/kernel',), 1.0, None), (('head/bias',), 1.0, 0.0)]
  """
  errors.real_numbers(decay=decay)
  if not 0 < decay <= 1:
    raise UserError(f'decay of the rates from layer to layer must lie in (0, 1], not {decay}.')
  paths = parts.leaf_paths(params)
  parts.check((*itertools.chain.from_iterable(stages), *undecayed), paths, 'parameter')
  grouped = {}
  for path, leaf in zip(paths, jax.tree.leaves(params)):
    covering = (number for number, stage in enumerate(stages) if parts.covers(stage, path))
    plain = np.ndim(leaf) < 2 or parts.covers(undecayed, path)
    grouped.setdefault((next(covering, len(stages)), plain), []).append(path)
  return tuple(
    Group(tuple(grouped[stage, plain]), decay ** (len(stages) - stage), 0.0 if plain else None)
    for stage, plain in sorted(grouped)
  )


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

"""What the parts of a game give: arrays by name, whatever form a network has."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxdistill import errors
from jaxdistill.models import dropout
from jaxdistill.training.learner import OF_NO_PART

# What a guide tells beside the outputs of the rows: the rows [C, d] of its last, linear layer.
PROTOTYPES = 'prototypes'
# How networks call that layer.
_LAST = 'classifier'


class Outputs(Mapping):
  """Arrays of a part or of the batch by name; a name that does not exist is refused with those that
  do.

  >>> Outputs('part', {'logits': 1})['logit']
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no output of the part 'logit'; did you mean 'logits'? ...
  """

  def __init__(
    self, of: str, arrays: Mapping[str, Any], change: Callable[[str, Any], Any] | None = None
  ):
    """Takes arrays `of` what, changed by `change`(name, array) when they are asked for."""
    self._of, self._arrays, self._change, self._changed = of, arrays, change, {}

  def __getitem__(self, name: str) -> Any:
    if name not in self._arrays:
      raise errors.unknown(f'output of the {self._of}', name, self._arrays)
    if self._change is None:
      return self._arrays[name]
    if name not in self._changed:
      self._changed[name] = self._change(name, self._arrays[name])
    return self._changed[name]

  def __contains__(self, name: object) -> bool:
    return name in self._arrays

  def get(self, name: str, default: Any = None) -> Any:
    return self[name] if name in self else default

  def __iter__(self) -> Iterator[str]:
    return iter(self._arrays)

  def __len__(self) -> int:
    return len(self._arrays)


def apply(
  module: nn.Module,
  variables: Any,
  arguments: tuple,
  train: bool,
  key: jax.Array | None = None,
) -> tuple[dict[str, jax.Array], dict[str, Any]]:
  """Returns the outputs of a network by name, and the running statistics that it has moved.

  Args:
    module: returns (logits, features by name), a dict, or one array.
    variables: of it.
    arguments: of it.
    train: whether batch normalisation takes the statistics of the batch.
    key: of the random numbers of a network that draws some in training, see `models.dropout`.

  >>> import jax.numpy as jnp
  >>> outputs, moved = apply(nn.Dense(2, use_bias=False), {'params': {'kernel': jnp.ones((3, 2))}},
  ...   (jnp.ones((1, 3)),), train=True)
  >>> outputs['output'].tolist(), dict(moved)
  ([[3.0, 3.0]], {})
  """
  settings = {'train': train} if _takes_train(module) else {}
  if not train:
    return named(module.apply(variables, *arguments, **settings)), {}
  if key is not None and dropout.is_random(module):
    settings['rngs'] = {dropout.STREAM: key}
  result, moved = module.apply(variables, *arguments, mutable=['batch_stats'], **settings)
  return named(result), dict(moved)


def named(result: Any) -> dict[str, jax.Array]:
  """Returns what a network returned as arrays by name.

  >>> named((1, {'embedding': 2})), named({'queries': 3}), named(4)
  ({'logits': 1, 'embedding': 2}, {'queries': 3}, {'output': 4})
  """
  if isinstance(result, tuple):
    logits, features = result
    return {'logits': logits, **features}
  return dict(result) if isinstance(result, Mapping) else {'output': result}


def prototypes(variables: Mapping[str, Any]) -> dict[str, jax.Array]:
  """Returns {'prototypes': [C, d]}, the weights of the classes in a linear classifier over an
  embedding; {} for another network.

  >>> import jax.numpy as jnp
  >>> prototypes({'params': {'classifier': {'kernel': jnp.ones((3, 2))}}})['prototypes'].shape
  (2, 3)
  """
  layer = variables.get('params', {}).get(_LAST, {})
  kernel = layer.get('kernel') if isinstance(layer, Mapping) else None
  return {} if kernel is None or kernel.ndim != 2 else {PROTOTYPES: kernel.T}


def part_variables(variables: Mapping[str, Any], part: str) -> dict[str, Any]:
  """Returns the variables of one part of a game's, as its network takes them; of several networks,
  if they are.

  Args:
    variables: {'params': {part: ...}, 'batch_stats': {part: ...}, ...}.
    part: its name; '' where the variables are those of a single part.

  Raises:
    UserError: there is no such part.

  >>> part_variables({'params': {'student': 1, 'teacher': 2}, 'memory': {'crd': 3}}, 'student')
  {'params': 1}
  """
  of_part = variables_of(variables, part)
  if not of_part:
    raise errors.unknown('part', part, variables['params'])
  return of_part


def variables_of(variables: Mapping[str, Any], part: str) -> dict[str, Any]:
  """Returns the same; {} of a part that has none."""
  collections = {name: tree for name, tree in variables.items() if name not in OF_NO_PART}
  if not part:
    return collections
  return {name: tree[part] for name, tree in collections.items() if part in tree}


def _takes_train(module):
  return 'train' in inspect.signature(type(module).__call__).parameters

"""What the terms of a loss see of a step: the outputs of the parts, and the batch."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from jaxdistill import errors
from jaxdistill.training import replicas

# What a guide tells beside the outputs of the rows: the rows [C, d] of its last, linear layer.
PROTOTYPES = 'prototypes'


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

  def __iter__(self) -> Iterator[str]:
    return iter(self._arrays)

  def __len__(self) -> int:
    return len(self._arrays)


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
  """What terms, and the `reads` of parts, see of one network's step; scene['student']['logits'].

  Attributes:
    outputs: of every part and guide by its name, a mapping of arrays [n, ...] each. For one
      player's terms those of the parts that it does not train are constants.
    batch: the views by name; 'labels' float [n, C], 'weight' [n], 'index' int [n], where each row
      stands in the data; every other entry of the data by its name.
    key: the term's own random numbers of this step.
    step: number of the step.
    memory: the term's, None where it has none.

  >>> import jax.numpy as jnp
  >>> scene = Scene({'student': {'logits': jnp.ones((2, 3))}}, {'weight': jnp.ones(2)})
  >>> scene['student']['logits'].shape, scene.gathered().batch['weight'].shape
  ((2, 3), (2,))
  """

  outputs: Mapping[str, Mapping[str, jax.Array]]
  batch: Mapping[str, jax.Array]
  key: jax.Array | None = None
  step: jax.Array | int = 0
  memory: Any = None

  def __getitem__(self, part: str) -> Mapping[str, jax.Array]:
    if part not in self.outputs:
      raise errors.unknown('part', part, self.outputs)
    return self.outputs[part]

  def gathered(self) -> 'Scene':
    """Returns the same scene with the rows of the whole batch, of which this device may have a
    part; the gradient flows back to where each row is from.

    Rows that only fill up the devices are among them, with weight 0. Nothing is sent that is not
    asked for.
    """

    def all_rows(name, array):
      return array if name == PROTOTYPES else replicas.all_rows(array)

    outputs = {
      name: Outputs(f'part {name!r}', arrays, all_rows) for name, arrays in self.outputs.items()
    }
    return dataclasses.replace(self, outputs=outputs, batch=Outputs('batch', self.batch, all_rows))

"""What the terms of a loss see of a step: the outputs of the parts, and the batch."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from jaxdistill import errors
from jaxdistill.training import whole_batch
from jaxdistill.training.outputs import PROTOTYPES, Outputs


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
  """What terms, and the `reads` of parts, see of one network's step; scene['student']['logits'].

  Attributes:
    outputs: of every part and guide by its name, a mapping of arrays [n, ...] each. For one
      player's terms those are constants that nothing it trains had a hand in.
    batch: the views by name; 'labels' float [n, C], 'weight' [n], 'index' int [n], where each row
      stands in the data; every other entry of the data by its name.
    key: the term's own random numbers of this step; the same on all devices.
    step: number of the step.
    memory: the term's, None where it has none; for the `reads` of a part those of all terms by
      their names.
    is_whole: whether the rows are those of the whole batch already.
    beliefs: what is thought of the whole data, by name, see `game.Game`; 'index' of the batch has
      its rows.

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
  is_whole: bool = False
  beliefs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __getitem__(self, part: str) -> Mapping[str, jax.Array]:
    if part not in self.outputs:
      raise errors.unknown('part', part, self.outputs)
    return self.outputs[part]

  def gathered(self) -> 'Scene':
    """Returns the same scene with the rows of the whole batch, of which this device may have a
    part; the gradient flows back to where each row is from.

    Rows that only fill up the devices are among them, with weight 0. Nothing is sent that is not
    asked for, and nothing twice.
    """
    if self.is_whole:
      return self

    def all_rows(name, array):
      return array if name == PROTOTYPES else whole_batch.all_rows(array)

    def gathered_outputs(name, outputs):
      return Outputs(f'part {name!r}', outputs, all_rows)

    return dataclasses.replace(
      self,
      outputs=Outputs('game', self.outputs, gathered_outputs),
      batch=Outputs('batch', self.batch, all_rows),
      is_whole=True,
    )

"""Keeps networks as they were when held-out noisy labels agreed with them best."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxdistill.label_noise.method import NET, Look
from jaxdistill.label_noise.observed import Evidence
from jaxdistill.training.learner import BELIEFS, OF_NO_PART

_BEST = 'best'


@dataclasses.dataclass(frozen=True, eq=False)
class Keeping:
  """What a phase keeps of some of its parts. Without validation examples it is their last state.

  Attributes:
    parts: their variables at first, key -> collections of one network, by name; only their form is
      looked at.
    validation: the observed labels of held-out examples, or None.
  """

  parts: Mapping[str, Callable[[jax.Array], Mapping[str, Any]]]
  validation: Evidence | None

  @property
  def beliefs(self) -> dict[str, Callable[[jax.Array], Any]]:
    """For the game of the phase."""
    return {} if self.validation is None else {_BEST: self._first}

  @property
  def refresh(self) -> Callable[..., dict[str, Any]] | None:
    """For the phase, after every pass."""
    return None if self.validation is None else self._refreshed

  def best(self, variables: Mapping[str, Any], look: Look) -> dict[str, Any]:
    """Returns the variables of the parts at their best, from the last ones of the phase:
    collections of parts, [R, ...]."""
    if self.validation is None:
      return taken(variables, self.parts)
    return self._refreshed(variables, look, 0)[_BEST]['kept']

  def _first(self, key):
    kept = {}
    for part, first in self.parts.items():
      for collection, form in jax.eval_shape(first, key).items():
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), form)
        kept[collection] = {**kept.get(collection, {}), part: zeros}
    return {'kept': kept, 'score': np.float32(-1)}

  def _refreshed(self, variables, look, step):
    best = variables[BELIEFS][_BEST]
    old = np.asarray(best['score'])
    new = agreement(look(variables, NET, 'validation')['logits'], self.validation)
    kept = jax.tree.map(
      lambda one, other: _chosen(new > old, one, other), taken(variables, self.parts), best['kept']
    )
    return {_BEST: {'kept': kept, 'score': np.maximum(old, new)}}


def agreement(logits: np.ndarray, evidence: Evidence) -> np.ndarray:
  """Returns for each network the mean, over examples, of the share of the annotators who say what
  it does: float32 [R] of logits [R, n, C].

  >>> from jaxdistill.data.crowds import Crowd
  >>> evidence = Evidence(Crowd.from_table([[0, 1], [1, -1]], classes=2))
  >>> agreement(np.array([[[2.0, 1.0], [0.0, 1.0]]]), evidence).tolist()
  [0.75]
  """
  answers = np.asarray(logits).argmax(-1)
  shares = np.take_along_axis(evidence.soft[None], answers[..., None], axis=-1)
  return shares.mean((1, 2)).astype(np.float32)


def taken(variables: Mapping[str, Any], names: Any) -> dict[str, Any]:
  """Returns the variables of some parts alone, without beliefs and memories.

  >>> taken({'params': {'net': 1, 'trunk': 2}, 'beliefs': {'kept': 3}}, ['net'])
  {'params': {'net': 1}}
  """
  of_parts = {}
  for collection, tree in variables.items():
    chosen = {name: tree[name] for name in names if name in tree}
    if chosen and collection not in OF_NO_PART:
      of_parts[collection] = chosen
  return of_parts


def _chosen(is_better, new, old):
  """Rows of `new` where it is better, of `old` elsewhere."""
  new, old = np.asarray(new), np.asarray(old)
  return np.where(is_better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

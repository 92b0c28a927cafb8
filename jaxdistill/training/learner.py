"""What one network of several learns and how it sees its data, as pure functions.

An objective is a pure function (variables, batch, key) -> Outcome of one network and one prepared
batch. It calls whatever networks it likes on whatever views the batch has. Seeds, devices, resuming
and mixed precision are not its business: `training.replicas` trains a learner many times at once.
Nor is it the statistics of batch normalisation that the rows which fill up a short batch stay out
of: a network is given whole views, several of them one behind another, or `normalisation.weighted`
says the weights of the rows that it is given.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from jaxdistill.data.views import Views
from jaxdistill.training import parts


class Outcome(NamedTuple):
  """What an objective gives.

  loss: scalar, the mean over the rows of the batch by their weight. Where the batch is spread over
    devices it is that of this device's rows, and the devices' losses are added by their weight.
  metrics: dict of scalars to report, means of the same kind.
  moved: collections by name with new values, such as {'batch_stats': ...}; {} for none.
  """

  loss: jax.Array
  metrics: dict[str, jax.Array] = {}
  moved: Mapping[str, Any] = {}


Objective = Callable[[Any, Mapping[str, jax.Array], jax.Array], Outcome]


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
  """What a network is and does.

  Attributes:
    init: key -> variables, collections by name, 'params' among them.
    rows: (key, step) -> (positions [n] in the data, weight [n]), see `data.samplers`; the same n at
      every step.
    views: what a step makes of those rows; every leaf of the result has the leading axis n, and
      'weight' is among them.
    objective: what is minimised.
    owned, frozen: paths of what is trained and of what is not, see `parts.owned`; () for all and
      for nothing. What is frozen has no gradient, no decay and no momentum, and the statistics that
      the objective moved for it are dropped.
    always_full: whether no row of any step fills up a short batch, so that nothing needs to look at
      the weights.
  """

  init: Callable[[jax.Array], Any]
  rows: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
  views: Views
  objective: Objective
  owned: tuple[str, ...] = ()
  frozen: tuple[str, ...] = ()
  always_full: bool = False

  def split(self, variables: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the trained and the frozen half of a network's variables, or of several networks'."""
    return parts.split(variables, parts.owned(variables, self.owned, self.frozen))

  def differentiate(
    self, variables: Any, batch: Mapping[str, jax.Array], key: jax.Array, share: jax.Array
  ) -> tuple[Any, Any, dict[str, jax.Array]]:
    """Returns (gradient, moved, metrics) of one network, times the `share` of the whole batch's
    weight that these rows have: the gradient of the trained parameters, new values of other
    collections, and the metrics with 'loss'."""
    mask = parts.owned(variables, self.owned, self.frozen)

    def loss_of(params):
      outcome = self.objective(parts.replace(variables, {'params': params}), batch, key)
      metrics = jax.tree.map(lambda metric: share * metric, dict(outcome.metrics))
      return share * outcome.loss, (outcome.moved, metrics)

    trained, _ = parts.split(variables, mask)
    (loss, (moved, metrics)), gradient = jax.value_and_grad(loss_of, has_aux=True)(
      trained['params']
    )
    moved, _ = parts.split(moved, mask)
    return gradient, moved, {'loss': loss, **metrics}

"""What one network of several learns and how it sees its data, as pure functions.

An objective is a pure function (variables, batch, key) -> Outcome of one network and one prepared
batch. It calls whatever networks it likes on whatever views the batch has. Seeds, devices, resuming
and mixed precision are not its business: `training.replicas` trains a learner many times at once.
Nor is it the statistics of batch normalisation that the rows which fill up a short batch stay out
of: a network is given whole views, several of them one behind another, or `normalisation.weighted`
says the weights of the rows that it is given.

A learner may be several networks that learn from each other, each trained by a player of its own:
then `training.players` writes the objectives.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from jaxdistill.data.views import Views
from jaxdistill.errors import UserError
from jaxdistill.training import parts, whole_batch

# The collection of variables in which losses keep what they remember from step to step. It belongs
# to no part: it has no gradient, and always moves.
MEMORY = 'memory'
# The collection of what is thought of the whole data, which only a refresh between steps changes.
BELIEFS = 'beliefs'
# Neither belongs to a part.
OF_NO_PART = (MEMORY, BELIEFS)


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


class Owned(NamedTuple):
  """Which parts of a network somebody trains: what `paths` cover and `frozen` does not, see
  `parts.owned`; () for all and for nothing."""

  paths: tuple[str, ...] = ()
  frozen: tuple[str, ...] = ()

  def mask(self, variables: Any) -> dict[str, Any]:
    """Returns which leaves of a network's variables these are; of its memories and beliefs none."""
    kept = {name: tree for name, tree in variables.items() if name not in OF_NO_PART}
    return parts.owned(kept, self.paths, self.frozen)

  def params(self, params: Any, variables: Any) -> dict[str, Any]:
    """Returns these leaves alone of parameters, which may lack some of the network's.

    >>> params = {'conv': 1.0, 'head': 2.0}
    >>> Owned(('head',)).params(params, {'params': params, 'memory': {'bank': 3.0}})
    {'head': 2.0}
    """
    return parts.split({'params': params}, self.mask(variables))[0]['params']


@dataclasses.dataclass(frozen=True, eq=False)
class Turn:
  """One gradient of a step, and those who move by it.

  Attributes:
    objective: what is minimised.
    players: what each of them trains, by name.
    perturb_inputs: (variables, batch, key) -> further views of the batch, by name.
    perturb_weights: (gradient, params, variables, batch, key) -> params: where the gradient is
      taken; `gradient` maps params to that of `climbed`.
    climbed: the objective that `perturb_weights` has the gradient of.
    decays_own: whether the optimiser sees the weights as they are, not those where the gradient was
      taken.
  """

  objective: Objective
  players: Mapping[str, Owned]
  perturb_inputs: Callable[..., Mapping[str, jax.Array]] | None = None
  perturb_weights: Callable[..., Any] | None = None
  climbed: Objective | None = None
  decays_own: bool = False

  def mask(self, variables: Any) -> dict[str, Any]:
    """Returns which leaves of a network's variables somebody trains in this turn.

    Raises:
      UserError: two players train one of them.
    """
    masks = [owned.mask(variables) for owned in self.players.values()]
    if len(masks) == 1:
      return masks[0]
    counts = collections.Counter()
    for mask in masks:
      leaves = zip(parts.leaf_paths(mask), jax.tree.leaves(mask))
      counts.update(path for path, is_owned in leaves if is_owned)
    twice = [path for path, count in counts.items() if count > 1]
    if twice:
      raise UserError(
        f'{" and ".join(self.players)} both train {twice[0].partition("/")[2]!r} in one step; give '
        'it to one of them, or let them move in turn.'
      )
    return jax.tree.map(lambda *marks: any(marks), *masks)

  def differentiate(
    self, variables: Any, batch: Mapping[str, jax.Array], key: jax.Array, share: jax.Array
  ) -> tuple[Any, Any, Any, dict[str, jax.Array]]:
    """Returns (gradient, at, moved, metrics) of one network, times the `share` of the whole batch's
    weight that these rows have: the gradient of the trained parameters, where it was taken if not
    at these (else None), new values of other collections, and the metrics with 'loss'."""
    mask = self.mask(variables)
    if self.perturb_inputs is not None:
      batch = {**batch, **self.perturb_inputs(variables, batch, key)}

    def loss_of(params, objective):
      outcome = objective(parts.replace(variables, {'params': params}), batch, key)
      metrics = jax.tree.map(lambda metric: share * metric, dict(outcome.metrics))
      return share * outcome.loss, (dict(outcome.moved), metrics)

    trained, _ = parts.split({'params': variables['params']}, mask)
    params, at = trained['params'], None
    if self.perturb_weights is not None:

      def climb(params):
        gradient, _ = jax.grad(loss_of, has_aux=True)(params, self.climbed)
        return whole_batch.summed(gradient)

      params = self.perturb_weights(climb, params, variables, batch, key)
      at = None if self.decays_own else params
    (loss, (moved, metrics)), gradient = jax.value_and_grad(loss_of, has_aux=True)(
      params, self.objective
    )
    memory = {name: moved.pop(name) for name in (MEMORY,) if name in moved}
    moved, _ = parts.split(moved, mask)
    return gradient, at, {**moved, **memory}, {**metrics, 'loss': loss}


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
  """What a network is and does.

  Attributes:
    init: key -> variables, collections by name, 'params' among them.
    rows: (key, step) -> (positions [n] in the data, weight [n]), see `data.samplers`; the same n at
      every step.
    views: what a step makes of those rows; every leaf of the result has the leading axis n, and
      'weight' is among them.
    objective: what is minimised; beside turns it takes their place.
    owned, frozen: paths of what is trained and of what is not, see `parts.owned`; () for all and
      for nothing. What is frozen has no gradient, no decay and no momentum, and the statistics that
      the objective moved for it are dropped.
    always_full: whether no row of any step fills up a short batch, so that nothing needs to look at
      the weights.
    turns: in place of an objective: the gradients of a step one after the other, each of a network
      as those before have left it.
    guides: what all turns see of networks that all share, the function of `guides.watching`; None:
      there are none.
    followers: parts that follow another part by a moving average of its weights: (that part, share
      that a step keeps) by name.
    drawn: in place of `rows`: (key, step, beliefs) -> the same, of what is thought of the data.
  """

  init: Callable[[jax.Array], Any]
  rows: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
  views: Views
  objective: Objective | None = None
  owned: tuple[str, ...] = ()
  frozen: tuple[str, ...] = ()
  always_full: bool = False
  turns: tuple[Turn, ...] = ()
  guides: Callable[..., Any] | None = None
  followers: Mapping[str, tuple[str, float]] = dataclasses.field(default_factory=dict)
  drawn: Callable[..., tuple[jax.Array, jax.Array]] | None = None

  def __post_init__(self):
    if self.objective is None and not self.turns:
      raise ValueError('A learner has an objective or turns.')
    if self.objective is not None:
      turn = Turn(self.objective, {'': Owned(self.owned, self.frozen)})
      object.__setattr__(self, 'turns', (turn,))

  @property
  def players(self) -> dict[str, Owned]:
    """What each player trains, by name."""
    players = {}
    for turn in self.turns:
      players |= turn.players
    return players

"""The step function: networks side by side as code for one device, see `training.replicas`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxdistill import draws, errors
from jaxdistill.models import normalisation
from jaxdistill.training import averages, optim, parallel, parts, program, together, whole_batch
from jaxdistill.training.learner import BELIEFS, OF_NO_PART, Learner, Turn
from jaxdistill.training.problem import count_devices, padded_rows

BATCHES = ('own', 'shared')
# The entry of the data, and of a batch, that holds the variables of guides, whole.
GUIDES = 'guides'
# Folded into a key in place of a network's number, for what all networks of a step draw in common.
_COMMON = 2**31 - 1
# Folded into a network's key of a step for the objective's own random numbers.
_OBJECTIVE = 2**31 - 2


@flax.struct.dataclass
class State:
  """R networks in training: every leaf of `variables`, `optimizer` and `average` has the leading
  axis R.

  optimizer: its state; of several players by their names.
  network: [R], the number of each: its random numbers depend on nothing else.
  average: exponential average of the weights; None where there is none.
  """

  variables: Any
  optimizer: Any
  network: jax.Array
  key: jax.Array
  step: jax.Array
  average: Any = None

  @property
  def scored(self) -> Any:
    """The variables that are scored and handed on: with the averaged weights where there are
    any."""
    return self.variables if self.average is None else {**self.variables, **self.average}


@dataclasses.dataclass(frozen=True)
class Options:
  """How networks train side by side; none of it is about what they learn.

  Attributes:
    networks: R.
    scales: factors [R] of the networks' updates, () for 1: learning rates of their own.
    clear_momentum_at: steps before which the momentum is set to zero.
    average: of the weights; None: no average.
    mesh: the devices; None: the default one.
    way: how the networks share a program: 'vmap', 'unroll' (one after the other in one program),
      'loop', or 'auto', see `together.choose_way`.
    spread: what is spread over the devices: 'networks', padded to a multiple of the devices, or
      'batch', of which every device takes an equal part, an uneven one being padded with rows of
      weight 0. The views of a batch, which may mix images, are then computed for the whole of it
      everywhere.
    first_rows: positions [networks] in the data at which the sets of the networks begin; () where
      all learn from one.
    batches: 'own': each network has an order and views of its own; 'shared': all have those of
      network 0, which are made once a step, as is what guides say of them.
  """

  networks: int = 1
  scales: tuple[float, ...] = ()
  clear_momentum_at: tuple[int, ...] = ()
  average: averages.Average | None = None
  mesh: Mesh | None = None
  way: str = 'auto'
  spread: str = 'networks'
  first_rows: tuple[int, ...] = ()
  batches: str = 'own'

  def __post_init__(self):
    errors.whole('networks', self.networks, at_least=1)
    if self.batches not in BATCHES:
      raise errors.unknown('way with the batches of several networks', self.batches, BATCHES)
    if len(self.scales) not in (0, self.networks):
      raise errors.UserError(
        f'{self.networks} networks need a learning rate each, or none of their own; got '
        f'{len(self.scales)}.'
      )
    if self.batches == 'shared' and len(set(self.first_rows)) > 1:
      raise errors.UserError('Networks that learn from sets of their own share no batches.')

  @property
  def padded(self) -> int:
    """Networks that are trained, with those that only fill the devices."""
    return len(padded_rows(self.networks, None if self.spread == 'batch' else self.mesh))


@dataclasses.dataclass(frozen=True, eq=False)
class SideBySide:
  """The functions of `replicas.make` as code for one device; read `step` first."""

  learner: Learner
  optimizer: optax.GradientTransformation | Mapping[str, optax.GradientTransformation]
  options: Options

  @property
  def axis(self) -> str | None:
    """The axis of the devices; None where there is one device."""
    return parallel.AXIS if count_devices(self.options.mesh) > 1 else None

  @property
  def batch_axis(self) -> str | None:
    """The same where the batch is spread over it."""
    return self.axis if self.options.spread == 'batch' else None

  @property
  def has_one_optimizer(self) -> bool:
    """Whether the state of the optimiser is that of one player."""
    return not isinstance(self.optimizer, Mapping)

  def init(self, key: jax.Array, initial: Mapping[str, Any] | None = None) -> State:
    key_init, key = draws.split(draws.typed(key))
    numbers = jnp.arange(self.options.padded)
    variables = jax.vmap(lambda number: self.learner.init(jax.random.fold_in(key_init, number)))(
      numbers
    )
    if initial is not None:
      _check_initial(variables, initial, self.options.networks)
      # A network that only fills up the devices takes the last one.
      taken = jnp.minimum(numbers, self.options.networks - 1)
      initial = jax.tree.map(lambda leaf: jnp.asarray(leaf)[taken], initial)
      variables = parts.replace(variables, initial)
    optimizer = {
      player: jax.vmap(self.optimizer_of(player).init)(owned.params(variables['params'], variables))
      for player, owned in self.learner.players.items()
    }
    if self.has_one_optimizer:
      (optimizer,) = optimizer.values()
    average = self.options.average and jax.vmap(self.options.average.init)(_averaged(variables))
    return State(variables, optimizer, numbers, jax.random.key_data(key), jnp.int32(0), average)

  def optimizer_of(self, player: str) -> optax.GradientTransformation:
    return self.optimizer if self.has_one_optimizer else self.optimizer[player]

  def sample(
    self, data: Mapping[str, jax.Array], key: jax.Array, step: jax.Array
  ) -> dict[str, jax.Array]:
    """The rows that are drawn: every entry has the leading axes [B, n], with as many batches as
    there are networks, or one for all of them."""
    if self.learner.drawn:
      return dict(data)  # the step takes the rows: it knows the beliefs
    numbers = self.numbers(data['network'])
    index, weight = jax.vmap(
      lambda number: self.learner.rows(jax.random.fold_in(key, number), step)
    )(numbers)
    return self.rows_at(data, numbers, index, weight)

  def rows_at(self, data, numbers, index, weight):
    """The rows of every entry of the data at the positions [B, n] of a set."""
    positions = index
    if self.options.first_rows:
      # A network that only fills up the devices takes the last one.
      first_rows = jnp.asarray(self.options.first_rows, jnp.int32)
      positions += first_rows[numbers][:, None]
    whole = {GUIDES: data[GUIDES]} if GUIDES in data else {}
    rows = {
      name: entry[positions] for name, entry in data.items() if name not in ('network', GUIDES)
    }
    return {**rows, **whole, 'index': index, 'weight': weight}

  def numbers(self, network: jax.Array) -> jax.Array:
    """The numbers of the networks whose batches are drawn."""
    return network if self.options.batches == 'own' else jnp.zeros(1, network.dtype)

  def step(
    self, state: State, batch: Mapping[str, jax.Array]
  ) -> tuple[State, dict[str, jax.Array]]:
    key = jax.random.fold_in(draws.typed(state.key), state.step)
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))
    if self.learner.drawn:
      batch = self.drawn(state, batch)
    batch = dict(batch)
    guides = batch.pop(GUIDES, {})
    choices = self.learner.views.draw(jax.random.fold_in(key, _COMMON))
    prepare = jax.vmap(self.learner.views.prepare, in_axes=(0, 0, None))
    prepared = prepare(keys(self.numbers(state.network)), batch, choices)
    size = prepared['weight'].shape[1]
    uneven = self.batch_axis and size % count_devices(self.options.mesh)
    always_full = self.learner.always_full and not uneven
    prepared, share = self.part_of_this_device(prepared)
    common = {'step': state.step}
    if self.learner.guides:
      with whole_batch.sharing(self.batch_axis):
        prepared, outputs = self.learner.guides(guides, prepared, always_full, self.options.way)
      common |= outputs
    state = self.forgetful(state)
    totals = {}
    for turn in self.learner.turns:
      gradient, at, moved, metrics = self.differentiate(
        turn, state.variables, prepared, common, keys(state.network), share, always_full
      )
      metrics = self.averaged(metrics, state.network)
      if self.batch_axis:
        gradient, metrics = parallel.sum_over((gradient, metrics), self.batch_axis)
      elif self.axis:
        metrics = parallel.sum_over(metrics, self.axis)
      state = self.moved(state, turn, gradient, at, moved)
      loss = metrics['loss'] + totals['loss'] if totals else metrics['loss']
      totals |= {**metrics, 'loss': loss}
    state = self.followed(state)
    average = self.options.average
    average = average and average.update(state.average, _averaged(state.variables), state.step)
    return state.replace(step=state.step + 1, average=average), totals

  def differentiate(self, turn: Turn, variables, prepared, common, keys, share, always_full):
    """Gradient, where it was taken, moved statistics and metrics of every network, times this
    device's share."""
    keys = jax.vmap(lambda key: jax.random.fold_in(key, _OBJECTIVE))(keys)
    if self.options.batches == 'shared':
      common = parts.merge(jax.tree.map(lambda leaf: leaf[0], prepared), common)
      prepared, share = {}, jnp.broadcast_to(share, len(keys))

    def differentiate(variables, batch, key, share):
      batch = parts.merge(batch, common)
      # Where no row fills anything up, a network is compiled as it is without weights.
      with normalisation.weighted(None if always_full else batch['weight']):
        return turn.differentiate(variables, batch, key, share)

    with whole_batch.sharing(self.batch_axis):
      side_by_side = together.over_networks(differentiate, self.options.way)
      return side_by_side(variables, prepared, keys, share)

  def drawn(self, state: State, data: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The rows that the beliefs of the networks decide."""
    key, beliefs = program.sampling_key(state.key), state.variables.get(BELIEFS, {})
    numbers = self.numbers(state.network)
    beliefs = jax.tree.map(lambda leaf: leaf[: len(numbers)], beliefs)

    def draw(number, beliefs):
      return self.learner.drawn(jax.random.fold_in(key, number), state.step, beliefs)

    return self.rows_at(data, numbers, *jax.vmap(draw)(numbers, beliefs))

  def followed(self, state: State) -> State:
    """The state after the parts that follow others have."""
    params = state.variables['params']
    for name, (owner, momentum) in self.learner.followers.items():
      move = lambda mean, leaf, kept=momentum: kept * mean + (1 - kept) * leaf
      params = {**params, name: jax.tree.map(move, params[name], params[owner])}
    if params is state.variables['params']:
      return state
    return state.replace(variables={**state.variables, 'params': params})

  def part_of_this_device(self, prepared):
    """The rows [B, n, ...] that this device takes of a batch, and the share [B] that they have of
    the batch's weight."""
    weight = prepared['weight']
    if not self.batch_axis:
      return prepared, jnp.ones(len(weight))
    size = weight.shape[1]
    rows = -(-size // count_devices(self.options.mesh))
    index = jax.lax.axis_index(self.batch_axis) * rows + jnp.arange(rows)
    part = jax.tree.map(lambda leaf: leaf[:, index % size], prepared)
    part['weight'] = jnp.where(index < size, part['weight'], 0.0)
    return part, part['weight'].sum(1) / jnp.maximum(weight.sum(1), 1e-12)

  def averaged(self, metrics, network):
    """The mean of every metric over the real networks; of a device's own, where they are spread."""
    real = network < self.options.networks
    return jax.tree.map(lambda m: jnp.sum(m, where=real) / self.options.networks, metrics)

  def forgetful(self, state: State) -> State:
    """The state before a step, without momentum where it is to be cleared."""
    if not self.options.clear_momentum_at:
      return state
    boundaries = jnp.asarray(self.options.clear_momentum_at, jnp.int32)
    now = jnp.any(state.step == boundaries)
    return state.replace(optimizer=optim.clear_momentum(state.optimizer, now))

  def moved(self, state: State, turn: Turn, gradient, at, moved) -> State:
    """The state after the steps of the optimisers of a turn's players, with a gradient that was
    taken at other weights than theirs where `at` is not None."""
    params, optimizers = {}, {}
    for player, owned in turn.players.items():
      old = state.optimizer if self.has_one_optimizer else state.optimizer[player]
      mine = owned.params(state.variables['params'], state.variables)
      steps = owned.params(gradient, state.variables)
      seen = mine if at is None else owned.params(at, state.variables)
      updates, optimizers[player] = jax.vmap(self.optimizer_of(player).update)(steps, old, seen)
      if self.options.scales:
        updates = self.scaled(updates, state.network)
      params = parts.merge(params, optax.apply_updates(mine, updates))
    if self.has_one_optimizer:
      (optimizer,) = optimizers.values()
    else:
      optimizer = {**state.optimizer, **optimizers}
    variables = parts.replace(state.variables, {**moved, 'params': params})
    return state.replace(variables=variables, optimizer=optimizer)

  def scaled(self, updates, network: jax.Array):
    """The updates of the networks, each times its own factor."""
    # A network that only fills up the devices takes the last one.
    scale = jnp.asarray(self.options.scales, jnp.float32)[network]
    return jax.tree.map(lambda u: u * scale.reshape(-1, *(1,) * (u.ndim - 1)), updates)


def _averaged(variables):
  """The collections that an average of a network has."""
  return {name: tree for name, tree in variables.items() if name not in OF_NO_PART}


def _check_initial(variables, initial, networks):
  """Refuses variables to begin with that have no place in the networks."""
  shapes = _shapes(variables)
  for path, shape in _shapes(initial).items():
    if path not in shapes:
      raise errors.unknown('variable of the networks to begin with', path, shapes)
    wanted = (networks, *shapes[path][1:])
    if shape != wanted:
      raise errors.UserError(
        f'The variable {path} of {networks} networks has the shape {wanted}; what they should '
        f'begin with has {shape}.'
      )


def _shapes(variables):
  """The shapes of all leaves by path."""
  leaves = jax.tree.leaves(variables)
  return {path: leaf.shape for path, leaf in zip(parts.leaf_paths(variables), leaves)}

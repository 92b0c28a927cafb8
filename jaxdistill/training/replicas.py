"""Several networks of one form in training at once, on all devices, whatever they learn.

R networks share a program and the clock; each has weights, data order and random numbers of its
own, which depend on its number alone, so that a network is the same in any company; or they share
one order and one batch. What one of them does is a `Learner`; what is here is the same for all
learners: the networks side by side, their spreading over devices or that of their batch, the
padding that fills the devices, the optimisers' steps.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxdistill import draws, errors
from jaxdistill.models import normalisation
from jaxdistill.numerics import settled
from jaxdistill.training import averages, optim, parallel, parts, together
from jaxdistill.training.learner import MEMORY, Learner, Turn
from jaxdistill.training.problem import (
  SHARE,
  WHOLE,
  Functions,
  Placement,
  Problem,
  count_devices,
  padded_rows,
  source,
  spread,
  start,
)

SPREADS = ('networks', 'batch')
BATCHES = ('own', 'shared')
# The entry of the data, and of a batch, that holds the variables of guides, whole.
GUIDES = 'guides'
# Folded into a key in place of a network's number, for what all networks of a step draw in common.
_COMMON = 2**31 - 1
# Folded into a network's key of a step for the objective's own random numbers.
_OBJECTIVE = 2**31 - 2

_batch_axis = contextvars.ContextVar('batch_axis', default=None)


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
    way: how the networks share a program: 'vmap', 'unroll' (one after the other in one program), or
      'auto'.
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
    if self.batches == 'shared' and len(set(self.first_rows)) > 1:
      raise errors.UserError('Networks that learn from sets of their own share no batches.')

  @property
  def padded(self) -> int:
    """Networks that are trained, with those that only fill the devices."""
    return len(padded_rows(self.networks, None if self.spread == 'batch' else self.mesh))


def choose_spread(way: str, networks: int, mesh: Mesh | None) -> str:
  """Returns what is spread over the devices: for 'auto' the networks, or the batch where there are
  fewer networks than devices.

  Args:
    way: one of `SPREADS`, or 'auto'.
    networks: R.
    mesh: the devices.

  Raises:
    UserError: an unknown name.

  >>> choose_spread('auto', 4, None)
  'networks'
  """
  if way not in (*SPREADS, 'auto'):
    raise errors.unknown('way to use several devices', way, (*SPREADS, 'auto'))
  devices = count_devices(mesh)
  if devices == 1:
    return 'networks'
  return way if way != 'auto' else 'networks' if networks >= devices else 'batch'


def all_rows(rows: jax.Array) -> jax.Array:
  """Returns the rows of the whole batch inside an objective, whose own part [n, ...] may be one
  device's; for losses that compare the rows of a batch with each other.

  The gradient flows back to the device that each row is from.

  >>> all_rows(jnp.arange(2)).tolist()
  [0, 1]
  """
  axis = _batch_axis.get()
  return rows if axis is None else jax.lax.all_gather(rows, axis, tiled=True)


def row_numbers(count: int) -> jax.Array:
  """Returns where `count` rows of this device's part of a batch stand in `all_rows`: int [count].

  >>> row_numbers(3).tolist()
  [0, 1, 2]
  """
  axis = _batch_axis.get()
  first = 0 if axis is None else jax.lax.axis_index(axis) * count
  return first + jnp.arange(count)


@contextlib.contextmanager
def _sharing_batch(axis: str | None) -> Iterator[None]:
  token = _batch_axis.set(axis)
  try:
    with normalisation.synchronised(axis):
      yield
  finally:
    _batch_axis.reset(token)


def make(
  learner: Learner,
  optimizer: optax.GradientTransformation | Mapping[str, optax.GradientTransformation],
  options: Options,
  entries: Sequence[str] = ('images', 'labels'),
) -> tuple[Functions, Placement]:
  """Returns the pure functions of the training, spread over the devices, and where its parts lie.

  `step` reports the metrics of `Turn.differentiate`, each as the mean over the networks. `entries`
  are the names of the data.
  """
  # Refuses a name that does not exist; what 'auto' is depends on what is compiled for.
  together.choose_way(options.way)
  replicas = _Replicas(learner, optimizer, options, options.way)
  functions = Functions(replicas.init, replicas.sample, replicas.step, draw=replicas.sample)
  share = WHOLE if options.spread == 'batch' else SHARE
  batch = WHOLE if options.batches == 'shared' else share
  if GUIDES in entries:
    drawn = (*(name for name in entries if name != GUIDES), 'index', 'weight')
    batch = {**dict.fromkeys(drawn, batch), GUIDES: WHOLE}
  placement = Placement(
    options.mesh,
    State(share, share, share, WHOLE, WHOLE, share),
    {**dict.fromkeys(entries, WHOLE), 'network': share},
    batch,
  )
  return spread(functions, placement), placement


@settled()
def problem(
  learner: Learner,
  optimizer: optax.GradientTransformation | Mapping[str, optax.GradientTransformation],
  options: Options,
  data: Mapping[str, Any],
  *,
  num_steps: int,
  seed: int = 0,
  epoch_steps: int = 0,
  initial: Mapping[str, Any] | None = None,
) -> Problem:
  """Places data and networks on the devices: a training ready for the loop.

  Args:
    learner: what a network does.
    optimizer: of each network; of several players by their names.
    options: how they train side by side.
    data: arrays by name with one leading axis, `images` among them, which may be streamed; under
      'guides' the variables of guides.
    num_steps: length of the training.
    seed: of weights, order and views.
    epoch_steps: of a pass over the data, for evaluations that come every so many passes.
    initial: variables [networks, ...] to begin with, or some of them; None: the learner's.

  Raises:
    UserError: initial variables that are none of the networks', or of another shape.
  """
  functions, placement = make(learner, optimizer, options, tuple(data))
  key = jax.random.key_data(draws.key(seed))
  arguments = (key,) if initial is None else (key, dict(initial))
  state = start(functions, placement, *arguments)
  data = {**data, 'network': np.arange(options.padded)}
  resident = (GUIDES,) if GUIDES in data else ()
  drawn = source(functions, placement, data, state.key, num_steps, resident)
  return Problem(functions.step, state, drawn, num_steps, options.networks, epoch_steps)


@dataclasses.dataclass(frozen=True, eq=False)
class _Replicas:
  """The functions of `make` as code for one device; read `step` first."""

  learner: Learner
  optimizer: optax.GradientTransformation | Mapping[str, optax.GradientTransformation]
  options: Options
  way: str

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
      # A network that only fills up the devices takes the last one.
      taken = jnp.minimum(numbers, self.options.networks - 1)
      initial = jax.tree.map(lambda leaf: jnp.asarray(leaf)[taken], initial)
      _check_initial(variables, initial)
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
    numbers = self.numbers(data['network'])
    index, weight = jax.vmap(
      lambda number: self.learner.rows(jax.random.fold_in(key, number), step)
    )(numbers)
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
      with _sharing_batch(self.batch_axis):
        prepared, outputs = self.learner.guides(guides, prepared, always_full, self.way)
      common |= outputs
    state = self.forgetful(state)
    totals = {}
    for turn in self.learner.turns:
      gradient, moved, metrics = self.differentiate(
        turn, state.variables, prepared, common, keys(state.network), share, always_full
      )
      metrics = self.averaged(metrics, state.network)
      if self.batch_axis:
        gradient, metrics = parallel.sum_over((gradient, metrics), self.batch_axis)
      elif self.axis:
        metrics = parallel.sum_over(metrics, self.axis)
      state = self.moved(state, turn, gradient, moved)
      loss = metrics['loss'] + totals['loss'] if totals else metrics['loss']
      totals |= {**metrics, 'loss': loss}
    average = self.options.average
    average = average and average.update(state.average, _averaged(state.variables), state.step)
    return state.replace(step=state.step + 1, average=average), totals

  def differentiate(self, turn: Turn, variables, prepared, common, keys, share, always_full):
    """Gradient, moved statistics and metrics of every network, times this device's share."""
    keys = jax.vmap(lambda key: jax.random.fold_in(key, _OBJECTIVE))(keys)
    if self.options.batches == 'shared':
      common = parts.merge(jax.tree.map(lambda leaf: leaf[0], prepared), common)
      prepared, share = {}, jnp.broadcast_to(share, len(keys))

    def differentiate(variables, batch, key, share):
      batch = parts.merge(batch, common)
      # Where no row fills anything up, a network is compiled as it is without weights.
      with normalisation.weighted(None if always_full else batch['weight']):
        return turn.differentiate(variables, batch, key, share)

    with _sharing_batch(self.batch_axis):
      side_by_side = together.over_networks(differentiate, self.way)
      return side_by_side(variables, prepared, keys, share)

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

  def moved(self, state: State, turn: Turn, gradient, moved) -> State:
    """The state after the steps of the optimisers of a turn's players."""
    params, optimizers = {}, {}
    for player, owned in turn.players.items():
      old = state.optimizer if self.has_one_optimizer else state.optimizer[player]
      mine = owned.params(state.variables['params'], state.variables)
      steps = owned.params(gradient, state.variables)
      updates, optimizers[player] = jax.vmap(self.optimizer_of(player).update)(steps, old, mine)
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
  return {name: tree for name, tree in variables.items() if name != MEMORY}


def _check_initial(variables, initial):
  """Refuses variables to begin with that have no place in the networks."""
  shapes = _shapes(variables)
  for path, shape in _shapes(initial).items():
    if path not in shapes:
      raise errors.unknown('variable of the networks to begin with', path, shapes)
    if shape != shapes[path]:
      raise errors.UserError(
        f'The variable {path} of the networks has the shape {shapes[path][1:]}; what it should '
        f'begin with has {shape[1:]}.'
      )


def _shapes(variables):
  """The shapes of all leaves by path."""
  leaves = jax.tree.leaves(variables)
  return {path: leaf.shape for path, leaf in zip(parts.leaf_paths(variables), leaves)}

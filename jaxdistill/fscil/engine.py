"""Sessions of many runs of one learner at once, as pure functions over all of them.

R runs share a program: they differ in the seed of the base network, in the draw of the few images
and in the learning rate. Every leaf of a learner's state has the leading axis R, which is padded
to fill the devices and spread over them. A run's random numbers depend on its seed and its draw
alone, so that it is the same in any company.

Seeds come first: runs 0 ... draws * scales - 1 are those of the first base network. What depends on
the base network alone (features of the test set, of all base images) is stored once a seed.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxdistill import draws, errors
from jaxdistill.data import samplers
from jaxdistill.fscil.learner import Learner, Rows, Task, keep, masked
from jaxdistill.losses.prototypes import cosine_logits
from jaxdistill.training import parallel, problem, schedules, together
from jaxdistill.training.problem import SHARE, WHOLE
from jaxdistill.training.schedules import Schedule

# Folded into a run's key in place of a session's number, for what it draws once.
_START = 2**31 - 1
# Bytes of test features that are gathered for all runs of a device at once.
_GATHERED = 8 * 2**20
_MOST_STEPS_A_CALL = 50


@dataclasses.dataclass(frozen=True)
class Runs:
  """Which runs go side by side, and where.

  Attributes:
    seeds: base networks.
    draws: of the few images.
    scales: factors of the learning rate, each a run of its own: (0.1, 1.0) tries two rates.
    mesh: the devices; None: the default one.
    way: how runs share a program, see `together.choose_way`; 'auto': 'vmap' for learners that read
      features, for the others what suits the backend.

  >>> runs = Runs(seeds=2, draws=2)
  >>> len(runs), runs.seed.tolist(), runs.draw.tolist()
  (4, [0, 0, 1, 1], [0, 1, 0, 1])
  """

  seeds: int = 1
  draws: int = 1
  scales: tuple[float, ...] = (1.0,)
  mesh: Mesh | None = None
  way: str = 'auto'

  def __post_init__(self):
    errors.whole('seeds', self.seeds, at_least=1)
    errors.whole('draws', self.draws, at_least=1)
    if not self.scales or not all(scale > 0 for scale in self.scales):
      raise errors.UserError(
        f'Factors of the learning rate are numbers above 0, at least one; got {self.scales}.'
      )

  def __len__(self) -> int:
    return self.seeds * self.draws * len(self.scales)

  @property
  def padded(self) -> np.ndarray:
    """The runs with those that only fill the devices: which run each one repeats."""
    return problem.padded_rows(len(self), self.mesh)

  @property
  def seed(self) -> np.ndarray:
    """int32 [R], the base network of every run."""
    return (np.arange(len(self)) // (self.draws * len(self.scales))).astype(np.int32)

  @property
  def draw(self) -> np.ndarray:
    """int32 [R], the draw of every run."""
    return (np.arange(len(self)) // len(self.scales) % self.draws).astype(np.int32)

  @property
  def scale(self) -> np.ndarray:
    """float32 [R], the factor of every run's learning rate."""
    return np.asarray(self.scales, np.float32)[np.arange(len(self)) % len(self.scales)]


class Identity(NamedTuple):
  """Who the runs are: seed, draw and scale of each, [R]."""

  seed: jax.Array
  draw: jax.Array
  scale: jax.Array


@flax.struct.dataclass
class State:
  """A session in training: the parts that its steps change, [R, ...], and their optimiser."""

  trained: Any
  optimizer: Any
  key: jax.Array
  step: jax.Array


class Everything(NamedTuple):
  """All training images so far, for learners that replay everything.

  base: [S, n, ...], once a seed (S = 1 for images). labels: int32 [n], columns.
  """

  base: Any
  labels: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Engine:
  """The functions of the sessions, each compiled once.

  Attributes:
    learner: what a run does.
    task: the static facts.
    runs: which go side by side.
  """

  learner: Learner
  task: Task
  runs: Runs

  def __post_init__(self):
    _check(self.learner, self.task)

  @functools.cached_property
  def optimizer(self) -> optax.GradientTransformation:
    """The optimiser at learning rate 1: the rate of a step is the last factor of its update."""
    return self.learner.optimizer.build(schedules.constant(1.0))

  @functools.cached_property
  def size(self) -> int:
    """Runs with the padding."""
    return len(self.runs.padded)

  @functools.cached_property
  def identity(self) -> Identity:
    """Of all runs with the padding, on the devices."""
    runs, rows = self.runs, self.runs.padded
    return self.put(Identity(runs.seed[rows], runs.draw[rows], runs.scale[rows]))

  def put(self, tree: Any, spec: Any = SHARE) -> Any:
    """Places arrays [R, ...] on the devices, or with `WHOLE` copies of any arrays."""
    if self.runs.mesh is not None:
      return (parallel.shard if spec == SHARE else parallel.replicate)(tree, self.runs.mesh)
    # Bound to the device, as what the loop returns: else a program is compiled once more for it.
    return jax.device_put(tree, jnp.zeros(()).sharding)

  def rates(self, steps: int) -> np.ndarray:
    """Returns the learning rates float32 [longest session] of a session's steps."""
    place = np.arange(max(1, *self.learner.steps))
    if not steps:
      return np.zeros(len(place), np.float32)
    schedule, is_value = self.learner.schedule, isinstance(self.learner.schedule, Schedule)
    schedule = schedule.build(steps) if is_value else schedule(steps)
    # All sessions' have one shape, so that what computes them is compiled once.
    rates = np.asarray(jax.vmap(schedule)(place), np.float32)
    return np.where(place < steps, rates, np.float32(0))

  @functools.cached_property
  def steps_per_call(self) -> int:
    """Steps in one compiled call, such that one program serves all sessions."""
    if self.learner.reads == 'images' and self._platform == 'cpu':
      return 1
    common = math.gcd(*self.learner.steps)
    return max(k for k in range(1, _MOST_STEPS_A_CALL + 1) if not common % k)

  @property
  def _platform(self) -> str:
    mesh = self.runs.mesh
    return jax.devices()[0].platform if mesh is None else mesh.devices.flat[0].platform

  # What a session is made of, for all runs.

  @functools.cached_property
  def start(self) -> Callable:
    """(key, identity, Start [S, ...]) -> parts [R, ...]."""

    def one(key, identity, start):
      of_seed = jax.tree.map(lambda leaf: leaf[identity.seed], start)
      return self.learner.start(self._key(draws.typed(key), identity, _START), of_seed)

    return self._over_runs(one, (WHOLE, SHARE, WHOLE), (1,))

  @functools.cached_property
  def begin(self) -> Callable:
    """(key, identity, parts, arrivals, memory) -> parts, their optimiser's first state, rows with
    those of weight 0 last, and how many rows have a weight [R]."""

    def one(key, identity, parts, arrivals, memory):
      run_key = self._key(draws.typed(key), identity, arrivals.number)
      parts = self.learner.begin(run_key, parts, arrivals, memory)
      optimizer = self.optimizer.init({name: parts[name] for name in self.learner.trained})
      if self.learner.replays == 'everything':
        return parts, optimizer, (), ()
      rows = self.learner.rows(parts, arrivals, memory)
      order = jnp.argsort(rows.weight <= 0, stable=True)
      rows = jax.tree.map(lambda leaf: leaf[order], rows)
      return parts, optimizer, rows, jnp.sum(rows.weight > 0)

    return self._over_runs(one, (WHOLE, SHARE, SHARE, SHARE, SHARE), (1, 2, 3, 4))

  @functools.cached_property
  def finish(self) -> Callable:
    """(parts, arrivals, memory) -> parts."""
    if self.learner.finish is keep:
      return lambda parts, arrivals, memory: parts
    return self._over_runs(self.learner.finish, (SHARE, SHARE, SHARE), (0, 1, 2))

  @functools.cached_property
  def embedded(self) -> Callable:
    """(parts, inputs [R, n, ...]) -> the learner's embedding [R, n, e]."""
    return self._over_runs(self.learner.embed, (SHARE, SHARE), (0, 1))

  @functools.cached_property
  def score(self) -> Callable:
    """(identity, parts, means, seen [C], test [S, n, ...], labels [n]) -> confusions int32
    [R, C, C] of the classifier and of the nearest class mean, row the true column, -1 for none;
    and which answers of the classifier are right, bool [R, n]."""

    def one(identity, parts, means, seen, test, labels):
      inputs = jax.tree.map(lambda leaf: leaf[jnp.minimum(identity.seed, len(leaf) - 1)], test)
      logits = self.learner.logits(parts, inputs)
      prototypes = means
      if self.learner.reads == 'features':
        prototypes = self.learner.embed(parts, means)
      near = cosine_logits(self.learner.embed(parts, inputs), prototypes)
      counted = seen[labels] & (labels >= 0)
      answers, nearest = (jnp.argmax(masked(values, seen), axis=-1) for values in (logits, near))
      counts = (_confusion(columns, labels, counted, len(seen)) for columns in (answers, nearest))
      return (*counts, (answers == labels) & counted)

    return self._over_runs(one, (SHARE, SHARE, SHARE, WHOLE, WHOLE, WHOLE), (0, 1, 2))

  def live(self, parts: Any, seen: np.ndarray) -> np.ndarray:
    """Returns how many numbers the model of every run has, int64 [R], once classes seen [C] have
    arrived."""
    if self.learner.live is None:
      return np.full(self.size, _numbers(parts, int(seen.sum())), np.int64)
    counts = self._counted(parts, self.put(seen, WHOLE))
    return np.asarray(parallel.gather(counts), np.int64)

  @functools.cached_property
  def _counted(self):
    count = lambda parts, seen: jnp.int32(self.learner.live(parts, seen))
    return self._over_runs(count, (SHARE, WHOLE), (0,))

  def chunk(self, item_bytes: int) -> int:
    """Returns the test images that are scored in one call."""
    devices = problem.count_devices(self.runs.mesh)
    if self.learner.reads == 'images':
      return max(1, min(500, _GATHERED // item_bytes))
    return max(100, min(2000, _GATHERED // (item_bytes * self.size // devices)))

  # The steps, for the loop.

  @functools.cached_property
  def functions(self) -> problem.Functions:
    """`sample` and `step` of a session on all devices; its state is made by `state`."""
    placement = problem.Placement(
      self.runs.mesh,
      State(SHARE, SHARE, WHOLE, WHOLE),
      dict(
        identity=SHARE, frozen=SHARE, rows=SHARE, count=SHARE, everything=WHOLE, shots=SHARE,
        arrivals=SHARE, memory=SHARE, rates=WHOLE,
      ),
      dict(
        identity=SHARE, frozen=SHARE, rows=SHARE, arrivals=SHARE, memory=SHARE, rate=WHOLE,
      ),
    )  # fmt: skip
    functions = problem.Functions(self.state, self.sample, self.step, draw=self.sample)
    return problem.spread(functions, placement)

  def state(self, trained: Any, optimizer: Any, key: jax.Array) -> State:
    """Returns the first state of a session."""
    return State(trained, optimizer, key, jnp.int32(0))

  def sample(self, data: Any, key: jax.Array, step: jax.Array) -> dict[str, Any]:
    """The batch of a step: of the rows, or of everything."""

    def of_rows(identity, rows, count):
      size, batch = len(rows.weight), self.learner.batch
      if batch >= size:
        return rows
      drawn = self._positions(key, identity, step, count, batch)
      # Fewer rows than a batch: each once, and the first of those without weight behind them. The
      # size of the padding, which later sessions decide, has no part in it.
      index = jnp.where(count < batch, jnp.arange(batch), drawn)
      return jax.tree.map(lambda leaf: leaf[index], rows)

    def of_everything(identity, shots, count):
      base, labels = data['everything']
      size = len(labels)
      index = self._positions(key, identity, step, count, self.learner.batch)
      seed = jnp.minimum(identity.seed, len(base) - 1)
      old, new = jnp.minimum(index, size - 1), jnp.maximum(index - size, 0)
      is_base = index < size
      inputs = jnp.where(
        is_base.reshape(-1, *(1,) * (base.ndim - 2)), base[seed, old], shots.inputs[new]
      )
      labels = jnp.where(is_base, labels[old], shots.labels[new])
      return Rows(inputs, labels, jnp.ones(len(index), jnp.float32))

    passed = {name: data[name] for name in ('identity', 'frozen', 'arrivals', 'memory')}
    if self.learner.replays == 'everything':
      rows = jax.vmap(of_everything)(data['identity'], data['shots'], data['count'])
    else:
      rows = jax.vmap(of_rows)(data['identity'], data['rows'], data['count'])
    return {**passed, 'rows': rows, 'rate': data['rates'][step]}

  def step(self, state: State, batch: dict[str, Any]) -> tuple[State, dict[str, jax.Array]]:
    """One step of every run."""
    learner, rate = self.learner, batch['rate']
    key = jax.random.fold_in(draws.typed(state.key), state.step)

    def one(trained, optimizer, identity, frozen, rows, arrivals, memory):
      run_key = self._key(key, identity, 0)

      def loss_of(trained):
        loss, metrics = learner.loss({**frozen, **trained}, rows, arrivals, memory, run_key)
        return loss, {'loss': loss, **metrics}

      gradient, metrics = jax.grad(loss_of, has_aux=True)(trained)
      updates, optimizer = self.optimizer.update(gradient, optimizer, trained)
      updates = jax.tree.map(lambda update: update * (rate * identity.scale), updates)
      return optax.apply_updates(trained, updates), optimizer, metrics

    names = ('identity', 'frozen', 'rows', 'arrivals', 'memory')
    trained, optimizer, metrics = self._mapped(one)(
      state.trained, state.optimizer, *(batch[name] for name in names)
    )
    state = state.replace(trained=trained, optimizer=optimizer, step=state.step + 1)
    return state, self._averaged(metrics)

  def _averaged(self, metrics):
    """The mean of every metric over the real runs."""
    local = jax.tree.leaves(metrics)[0].shape[0]
    spread = problem.count_devices(self.runs.mesh) > 1
    first = jax.lax.axis_index(parallel.AXIS) * local if spread else 0
    real = first + jnp.arange(local) < len(self.runs)
    metrics = jax.tree.map(lambda metric: jnp.sum(metric, where=real) / len(self.runs), metrics)
    return parallel.sum_over(metrics, parallel.AXIS) if spread else metrics

  def _positions(self, key, identity, step, count, batch):
    """The rows of a step: passes over all of them, each in a new order, one behind another."""
    place = jnp.uint32(step) * batch + jnp.arange(batch, dtype=jnp.uint32)
    count = jnp.maximum(jnp.uint32(count), 1)
    run_key = self._key(key, identity, 0)
    return samplers.shuffled_index(run_key, place % count, count, place // count)

  def _key(self, key, identity, number):
    for part in (identity.seed, identity.draw, number):
      key = jax.random.fold_in(key, part)
    return key

  def _mapped(self, one):
    way = self.runs.way
    if way == 'auto' and self.learner.reads == 'features':
      way = 'vmap'
    return together.over_networks(one, way)

  def _over_runs(self, one, specs, by_run):
    """Compiles a function of one run for all of them: the arguments numbered `by_run` have the axis
    R, the others are the same for all."""

    def function(*arguments):
      def of_run(*arguments_of_run):
        whole = list(arguments)
        for place, argument in zip(by_run, arguments_of_run):
          whole[place] = argument
        return one(*whole)

      return self._mapped(of_run)(*(arguments[place] for place in by_run))

    if problem.count_devices(self.runs.mesh) == 1:
      return jax.jit(function)
    return parallel.per_device(function, self.runs.mesh, specs, SHARE)


def _confusion(answers, labels, counted, classes):
  cells = jnp.where(counted, labels * classes + answers, classes**2)
  counts = jnp.zeros(classes**2 + 1, jnp.int32).at[cells].add(1)
  return counts[:-1].reshape(classes, classes)


def _numbers(parts, seen):
  """All numbers of a run's state, of parts [R, ...]; of the rows of a classifier those of the
  columns that have arrived."""
  total = 0
  for name, part in parts.items():
    for leaf in jax.tree.leaves(part):
      total += seen * math.prod(leaf.shape[2:]) if name == 'rows' else math.prod(leaf.shape[1:])
  return total


def _check(learner, task):
  steps, trains = learner.steps, bool(learner.trained)
  if trains and len(steps) != task.sessions:
    raise errors.UserError(
      f'The steps of {task.sessions} sessions are {task.sessions} numbers; got {len(steps)}.'
    )
  for number in steps:
    errors.whole('steps', number)
  errors.whole('batch', learner.batch, at_least=1)
  if trains and learner.loss is None:
    raise errors.UserError('A learner that trains parts has a loss.')

"""What a few-shot class-incremental learner is: pure functions of one run, over arrays of final
size.

A base network has learned the base classes; its encoder is frozen and gives features [n, d]. Then
sessions bring `way` new classes each, with `shot` images a class. Between them lives the learner's
`state`, a dict whose top-level names are its *parts* ('projector', 'rows', ...). Every function
here is about ONE run; the engine (`session`) maps them over many runs (draws, seeds, learning
rates), spreads these over devices, and compiles once for all sessions. So every shape is that of
the last session: what is not there yet has weight 0 or is masked, never cut off.

Classes are *columns* 0 ... C - 1 in the order in which they arrive: 0 ... B - 1 in the base
session (number 0), the next `way` in session 1, and so on.

How the engine goes through the sessions:

    state  = start(key, Start)                          once
    state  = begin(key, state, arrivals, memory)        at the start of every session t >= 1
    rows   = rows(state, arrivals, memory)              what its batches are drawn from
    steps x: gradient of loss(state, batch, arrivals, memory, key) for the parts `trained`
    state  = finish(state, arrivals, memory)            at its end
    logits(state, inputs), embed(state, inputs)         on the test set

and lets a memory policy add the new classes to the memory afterwards.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.data.transform import Transform
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.schedules import Schedule

State = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Task:
  """What is known before anything is learned; the same in all runs.

  Attributes:
    num_classes: C, of all sessions together.
    base_classes: B, of session 0.
    way: new classes a session.
    shot: images of a new class.
    sessions: T, those after the base session.
    dim: d, the size of the encoder's features.
    image_shape: (height, width, channels).
    network: the base network as a flax module, (logits, features with 'embedding' [n, d]); None
      where features alone are known, which serves all learners that read features.
    mean, std: of the images' channels, by which they are normalised.
    view: what every image goes through then, before the encoder sees it, without any chance: the
      test pipeline's crop; None: nothing.
    dtype: that the learner's own parts compute in: 'float32' or 'bfloat16'.

  >>> Task(num_classes=10, base_classes=4, way=2, shot=5, sessions=3, dim=8).arriving(1)
  (4, 6)
  """

  num_classes: int
  base_classes: int
  way: int
  shot: int
  sessions: int
  dim: int
  image_shape: tuple[int, int, int] = (0, 0, 0)
  network: nn.Module | None = None
  mean: tuple[float, ...] = (0.0,)
  std: tuple[float, ...] = (1.0,)
  view: Transform | None = None
  dtype: str = 'float32'

  def arriving(self, number: int) -> tuple[int, int]:
    """Returns (first, end) of the columns that arrive in session `number`."""
    if number == 0:
      return 0, self.base_classes
    first = self.base_classes + (number - 1) * self.way
    return first, first + self.way


class Start(NamedTuple):
  """What the base session leaves.

  head: the variables of the base network's head, in its own form; None where there is none.
  means: float32 [C, d], the class means of the encoder's features over all training images (eval
    mode, test pipeline); rows of classes to come are 0.
  counts: int32 [C], the images behind each mean; 0 for classes to come.
  variables: of the whole base network, given only to learners that read images; else None.
  """

  head: Any
  means: jax.Array
  counts: jax.Array
  variables: Any = None


class Arrivals(NamedTuple):
  """What a session brings.

  number: int32, t >= 1.
  inputs: [way * shot, ...] features, or uint8 images for learners that read images.
  labels: int32 [way * shot], columns.
  weight: float32 [way * shot], 1, or 0 for a place without an image.
  new, old: bool [C], the columns of this session and those of all sessions before it.
  """

  number: jax.Array
  inputs: Any
  labels: jax.Array
  weight: jax.Array
  new: jax.Array
  old: jax.Array

  @property
  def seen(self) -> jax.Array:
    """bool [C]: what the classifier knows at the end of the session."""
    return self.new | self.old


class Memory(NamedTuple):
  """What is remembered of the classes before a session: m places a class.

  inputs: [C, m, ...], what the learner reads: features (of class means, of kept or of synthetic
    images), or images.
  weight: float32 [C, m], 0 where there is nothing.
  """

  inputs: jax.Array
  weight: jax.Array


class Rows(NamedTuple):
  """What a session's batches are drawn from, and a batch of it.

  inputs: pytree of arrays [n, ...]: features or images, and whatever else of each row a learner has
    computed beforehand.
  labels: int32 [n], columns.
  weight: float32 [n]; rows of weight 0 are never drawn, and fill up a batch at most.
  """

  inputs: Any
  labels: jax.Array
  weight: jax.Array


def keep(state: State, arrivals: Arrivals, memory: Memory) -> State:
  """Returns the state as it is: a learner with nothing to do at the end of a session."""
  del arrivals, memory
  return state


def replay(state: State, arrivals: Arrivals, memory: Memory) -> Rows:
  """Returns the new rows, then the memory of the old classes: n = way * shot + C * m.

  >>> arrivals = Arrivals(jnp.int32(1), jnp.ones((2, 3)), jnp.array([1, 1]), jnp.ones(2),
  ...   new=jnp.array([False, True]), old=jnp.array([True, False]))
  >>> memory = Memory(jnp.zeros((2, 1, 3)), jnp.ones((2, 1)))
  >>> rows = replay({}, arrivals, memory)
  >>> rows.labels.tolist(), rows.weight.tolist()
  ([1, 1, 0, 1], [1.0, 1.0, 1.0, 0.0])
  """
  del state
  remembered = remembered_rows(arrivals, memory)
  inputs = jax.tree.map(
    lambda new, old: jnp.concatenate([new, old.astype(new.dtype)]),
    arrivals.inputs,
    remembered.inputs,
  )
  return Rows(
    inputs,
    jnp.concatenate([arrivals.labels, remembered.labels]),
    jnp.concatenate([arrivals.weight, remembered.weight]),
  )


def remembered_rows(arrivals: Arrivals, memory: Memory) -> Rows:
  """Returns the memory of the old classes as rows [C * m, ...], class by class; what is not there
  has weight 0."""
  classes, places = memory.weight.shape
  inputs = jax.tree.map(lambda leaf: leaf.reshape(classes * places, *leaf.shape[2:]), memory.inputs)
  labels = jnp.repeat(jnp.arange(classes, dtype=jnp.int32), places)
  weight = (memory.weight * arrivals.old[:, None]).reshape(-1)
  return Rows(inputs, labels, weight)


def new_means(vectors: jax.Array, arrivals: Arrivals) -> jax.Array:
  """Returns the means [C, e] of the arriving rows' vectors [way * shot, e] by class; 0 for columns
  that do not arrive.

  >>> arrivals = Arrivals(jnp.int32(1), None, jnp.array([1, 1]), jnp.ones(2),
  ...   new=jnp.array([False, True]), old=jnp.array([True, False]))
  >>> new_means(jnp.array([[1.0], [3.0]]), arrivals).tolist()
  [[0.0], [2.0]]
  """
  member = jax.nn.one_hot(arrivals.labels, len(arrivals.new)) * arrivals.weight[:, None]
  total = jnp.einsum('nc,ne->ce', member, vectors, precision='highest')
  return total / jnp.maximum(member.sum(0), 1.0)[:, None]


def masked(logits: jax.Array, columns: jax.Array) -> jax.Array:
  """Returns logits [..., C] with -inf outside the columns, bool [C].

  >>> masked(jnp.zeros((1, 2)), jnp.array([True, False])).tolist()
  [[0.0, -inf]]
  """
  return jnp.where(columns, logits, -jnp.inf)


def mean_over(values: jax.Array, weight: jax.Array) -> jax.Array:
  """Returns the mean of values [n] by weight [n]; 0 where all weights are 0.

  >>> float(mean_over(jnp.array([1.0, 3.0, 9.0]), jnp.array([1.0, 1.0, 0.0])))
  2.0
  """
  return jnp.sum(values * weight) / jnp.maximum(jnp.sum(weight), 1e-12)


def cross_entropy(
  logits: jax.Array, labels: jax.Array, weight: jax.Array, columns: jax.Array
) -> jax.Array:
  """Returns the mean cross-entropy of rows by weight, the softmax being over some columns.

      sum_i w_i (log sum_{c in columns} exp l_ic - l_iy) / sum_i w_i

  Args:
    logits: [n, C]. labels: int [n]. weight: [n].
    columns: bool [C], those that have arrived.

  >>> logits = jnp.array([[1.0, 1.0, 9.0]])
  >>> seen = jnp.array([True, True, False])
  >>> round(float(cross_entropy(logits, jnp.array([0]), jnp.ones(1), seen)), 4)  # log 2
  0.6931
  """
  shifted = jax.nn.log_softmax(masked(logits, columns), axis=-1)
  picked = jnp.take_along_axis(shifted, labels[:, None], axis=-1)[:, 0]
  # A row that only fills up may have a label outside the columns.
  return -mean_over(jnp.where(weight > 0, picked, 0.0), weight)


def in_sessions(
  numbers: int | Sequence[int], task: Task, name: str = 'steps', at_least: int = 0
) -> tuple[int, ...]:
  """Returns one whole number a session, of one for all, alone or in a list, or of one for each.

  Raises:
    UserError: for another number of them, or ones below `at_least`.

  >>> task = Task(num_classes=10, base_classes=4, way=2, shot=5, sessions=3, dim=8)
  >>> in_sessions(7, task), in_sessions((1, 2, 3), task)
  ((7, 7, 7), (1, 2, 3))
  """
  several = isinstance(numbers, Sequence) and not isinstance(numbers, str)
  numbers = tuple(numbers) if several else (numbers,) * task.sessions
  for number in numbers:
    errors.whole(name, number, at_least)
  if len(numbers) == 1:
    return numbers * task.sessions
  if len(numbers) != task.sessions:
    listed = ','.join(map(str, numbers[: task.sessions]))
    advice = f'; its first {task.sessions} are {listed}' if len(numbers) > task.sessions else ''
    raise errors.UserError(
      f'{name} are one number, or one for each of the {task.sessions} sessions; got '
      f'{len(numbers)}{advice}.'
    )
  return numbers


def begin_unchanged(key: jax.Array, state: State, arrivals: Arrivals, memory: Memory) -> State:
  """Returns the state as it is: a learner with nothing to do at the start of a session."""
  del key, arrivals, memory
  return state


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
  """A learner as pure functions of one run, see the module.

  Attributes:
    start: (key, Start) -> state.
    logits: (state, inputs [n, ...]) -> float32 [n, C], of all columns; the engine masks those that
      have not arrived.
    embed: (state, inputs [n, ...]) -> [n, e], for the nearest-mean classifier beside `logits`; for
      a learner that reads features it is asked for the class means too.
    begin: (key, state, arrivals, memory) -> state: grows the classifier.
    rows: (state, arrivals, memory) -> Rows.
    loss: (state, batch: Rows, arrivals, memory, key) -> (loss, metrics). Only the parts `trained`
      have a gradient, weight decay and momentum.
    finish: (state, arrivals, memory) -> state.
    trained: names of the parts that the steps change; () for a learner without training. Everything
      else leaves the steps bit for bit as it was.
    reads: 'features' of the frozen encoder, or 'images' (uint8, as they are stored: what is done to
      one before its network sees it, `Task.view` too, is the learner's, see `networks.embed`).
    replays: 'memory': `rows` says what is learned from. 'everything': all training images of all
      sessions so far, base included, which are what it remembers; `rows` and `memory` are not used.
    steps: of the sessions 1 ... T, one number each; () for none.
    batch: rows a step; where there are fewer, each once.
    schedule: of the learning rate in a session, or a function of its number of steps that gives
      one; every session starts it, and the optimiser, anew.
    optimizer: of the parts `trained`.
    live: (state, seen bool [C]) -> how many numbers the model has; None: all of the state, the
      padding of a part 'rows' [C, ...] left out.
    remembers: names of the parts that are a memory too, [C, ...], beside that of the engine.
  """

  start: Callable[[jax.Array, Start], State]
  logits: Callable[[State, Any], jax.Array]
  embed: Callable[[State, Any], jax.Array]
  begin: Callable[[jax.Array, State, Arrivals, Memory], State] = begin_unchanged
  rows: Callable[[State, Arrivals, Memory], Rows] = replay
  loss: Callable[..., tuple[jax.Array, Mapping[str, jax.Array]]] | None = None
  finish: Callable[[State, Arrivals, Memory], State] = keep
  trained: tuple[str, ...] = ()
  reads: str = 'features'
  replays: str = 'memory'
  steps: tuple[int, ...] = ()
  batch: int = 64
  schedule: Schedule | Callable[[int], Callable[[Any], Any]] = Schedule('constant', 0.1)
  optimizer: Optimizer = Optimizer('sgd', momentum=0.9, weight_decay=5e-4)
  live: Callable[[State, jax.Array], jax.Array] | None = None
  remembers: tuple[str, ...] = ()

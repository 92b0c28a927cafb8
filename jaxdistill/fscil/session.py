"""The sessions of a learner one after another: each is a phase of the one loop, and is scored.

    outcome = run_sessions(run, Course(engine, examples, base, key))

What lives between two sessions is a `Standing`. A run that is killed in any phase and started again
takes the ended phases from their checkpoints and computes what lies between them once more, and so
ends bit for bit the same.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill import draws, errors, metrics
from jaxdistill.fscil.engine import Engine, Everything, Runs
from jaxdistill.fscil.learner import Arrivals, Memory, Rows, Start
from jaxdistill.numerics import settled
from jaxdistill.training import interrupt, loop, parallel
from jaxdistill.training.batches import ArraySource
from jaxdistill.training.problem import WHOLE, Problem
from jaxdistill.training.run import Run


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
  """What the runs see, in one form: features of the frozen encoders, or uint8 images.

  Attributes:
    shots: [S, D, T, way * shot, ...], the few-shot rows by base network, draw and session; S = 1
      where all base networks see the same: images.
    shot_labels: int [D, T, way * shot], columns.
    test: [S, n, ...]. test_labels: int [n], columns.
    base: [S, n, ...], all training rows of the base classes; None where no learner replays
      everything. base_labels: int [n], columns.
  """

  shots: np.ndarray
  shot_labels: np.ndarray
  test: Any
  test_labels: np.ndarray
  base: Any = None
  base_labels: np.ndarray | None = None


class Standing(NamedTuple):
  """Where the runs stand after a session.

  number: of the session, 0 for the base session.
  parts: [R, ...], the learner's state of every run (R with the padding that fills the devices).
  means: float32 [R, C, d] on the host, class means of the features, 0 for classes to come; for
    learners that read images, as the encoder saw each class when it came.
  memory: [R, C, m, ...], see `learner.Memory`.
  """

  number: int
  parts: Any
  means: np.ndarray
  memory: Memory | None = None


# (run, course, standing) -> the memory [R, ...] with the classes that arrived in session
# standing.number; standing.memory is the one before, None behind the base session. Where what is
# stored is not what is read, a policy tells bytes_a_class(task).
Remember = Callable[[Run, 'Course', Standing], Memory]


class Outcome(NamedTuple):
  """What all runs come to.

  runs: which they are: `runs.seed`, `.draw`, `.scale` of each.
  confusions, nearest: int64 [R, T + 1, C, C], counts of test images by session: row the true
    column, column the answer, of the classifier and of the nearest class mean. Images of classes
    that have not arrived are not counted.
  batch_means: float64 [R, T + 1], `metrics.batch_mean_accuracy` of the classifier on the images
    that are counted, class by class.
  seconds: float [T], the training of each session, all runs together, without compiling.
  parameters: int64 [R, T + 1], numbers of the learner's live state.
  memory_bytes: bytes a class of the memory, and of the parts that a learner remembers by.
  standing: the last one.
  """

  runs: Runs
  confusions: np.ndarray
  nearest: np.ndarray
  batch_means: np.ndarray
  seconds: np.ndarray
  parameters: np.ndarray
  memory_bytes: float
  standing: Standing


def class_means(run: Run, course: 'Course', standing: Standing) -> Memory:
  """The memory of one vector a class, the mean of its features; none for learners that read
  images, which cannot take one up."""
  del run
  if course.engine.learner.reads == 'images':
    return nothing(None, course, standing)
  return Memory(
    course.engine.put(standing.means[:, :, None]), course.arrived(standing.number, (1,))
  )


def nothing(run: Run | None, course: 'Course', standing: Standing) -> Memory:
  """No memory: the learner never meets an old class again."""
  del run
  engine, shots = course.engine, course.examples.shots
  shape = (engine.size, engine.task.num_classes, 0)
  inputs = np.zeros((*shape, *shots.shape[4:]), shots.dtype)
  return Memory(engine.put(inputs), course.arrived(standing.number, (0,)))


@dataclasses.dataclass(frozen=True, eq=False)
class Course:
  """All sessions of one learner, for all runs.

  Attributes:
    engine: the learner's compiled functions.
    examples: what the runs see.
    base: Start with leaves [S, ...], what each base network leaves.
    key: raw key data, of everything random.
    remember: the memory policy.
    name: before the names of the phases, such as 'pki/'.
  """

  engine: Engine
  examples: Examples
  base: Start
  key: jax.Array
  remember: Remember = class_means
  name: str = ''

  def __post_init__(self):
    _check(self.engine, self.examples, self.base)

  def first(self, run: Run) -> Standing:
    """Returns where the runs stand behind the base session."""
    engine = self.engine
    base = engine.put(self.base, WHOLE)
    parts = engine.put(engine.start(engine.put(self.key, WHOLE), engine.identity, base))
    standing = Standing(0, parts, np.asarray(self.base.means)[self._own('seed')])
    return standing._replace(memory=self.remember(run, self, standing))

  def advance(self, run: Run, standing: Standing) -> tuple[Standing, float]:
    """Goes through the next session; returns where the runs stand then, and the seconds of its
    training."""
    number, engine = standing.number + 1, self.engine
    arrivals, memory = self.arrivals(number), standing.memory
    key = engine.put(self.key, WHOLE)
    begin = lambda: engine.begin(key, engine.identity, standing.parts, arrivals, memory)
    if not standing.number:
      jax.block_until_ready(begin())  # compiles, which is not the session's time
    started = time.perf_counter()
    parts, *ready = begin()
    parts = jax.block_until_ready(engine.put(parts))
    seconds = time.perf_counter() - started
    if engine.learner.trained:
      parts = self._train(run, number, parts, *ready, arrivals, memory)
      times = run.timing(f'{self.name}session-{number}')
      seconds += times['seconds'] - sum(
        times[f'{what}_seconds'] for what in ('compile', 'evaluate', 'save')
      )
    parts = engine.put(engine.finish(parts, arrivals, memory))
    standing = Standing(number, parts, self._means(parts, standing.means, number), memory)
    return standing._replace(memory=self.remember(run, self, standing)), seconds

  def score(self, standing: Standing) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the confusions int64 [R, C, C] of the classifier and of the nearest class mean, and
    the classifier's mean of accuracies over batches, float64 [R]."""
    engine, columns = self.engine, self._columns(0, standing.number)
    seen, means, total, hits = engine.put(columns, WHOLE), engine.put(standing.means), 0, []
    for inputs, labels in self._test:
      scored = engine.score(engine.identity, standing.parts, means, seen, inputs, labels)
      *counts, right = parallel.on_host(scored)
      total += np.stack(counts).astype(np.int64)
      hits.append(right)
      interrupt.check()
    real = len(engine.runs)
    return *total[:, :real], self._batch_means(np.concatenate(hits, 1)[:real], columns)

  def _batch_means(self, right, columns):
    """Mean accuracy over batches of the test images of these columns, class by class."""
    labels = np.asarray(self.examples.test_labels)
    order = np.argsort(labels, kind='stable')
    order = order[columns[labels[order]]]
    return metrics.batch_mean_accuracy(np.ones(len(order), int), right[:, order].astype(int))

  def parameters(self, standing: Standing) -> np.ndarray:
    """Returns how many numbers the model of every run has, int64 [R]."""
    counts = self.engine.live(standing.parts, self._columns(0, standing.number))
    return counts[: len(self.engine.runs)]

  def arrivals(self, number: int) -> Arrivals:
    """Returns what session `number` brings, for all runs."""
    inputs, labels = self._shots(number)
    rows = lambda value: np.repeat(np.asarray(value)[None], len(labels), 0)
    return self.engine.put(
      Arrivals(
        rows(np.int32(number)),
        inputs,
        labels,
        np.ones(labels.shape, np.float32),
        new=rows(self._columns(number, number)),
        old=rows(self._columns(0, number - 1)),
      )
    )

  def arrived(self, number: int, places: tuple[int, ...]) -> jax.Array:
    """Returns float32 [R, C, *places], 1 for the classes that have arrived by session `number`."""
    seen = self._columns(0, number).astype(np.float32)
    seen = seen.reshape(1, -1, *(1,) * len(places))
    return self.engine.put(np.tile(seen, (self.engine.size, 1, *places)))

  def _means(self, parts, means, number):
    """The class means with those of the classes that arrive in session `number`."""
    vectors, labels = self._shots(number)
    if self.engine.learner.reads == 'images':
      vectors = np.asarray(parallel.gather(self.engine.embedded(parts, self.engine.put(vectors))))
    means = means.copy()
    for column in range(*self.engine.task.arriving(number)):
      member = (labels == column)[..., None]
      means[:, column] = (vectors * member).sum(1, dtype=np.float64) / member.sum(1)
    return means

  def _shots(self, number):
    """The few-shot rows [R, way * shot, ...] of a session and their columns."""
    examples, draw = self.examples, self._own('draw')
    seed = np.minimum(self._own('seed'), len(examples.shots) - 1)
    labels = np.asarray(examples.shot_labels[draw, number - 1], np.int32)
    return np.asarray(examples.shots[seed, draw, number - 1]), labels

  def estimated(self, run: Run) -> Problem | None:
    """Returns the first session, as long as all sessions together, for an estimate; None for a
    learner that trains nothing."""
    engine = self.engine
    if not engine.learner.trained:
      return None
    standing, arrivals = self.first(run), self.arrivals(1)
    key = engine.put(self.key, WHOLE)
    begun = engine.begin(key, engine.identity, standing.parts, arrivals, standing.memory)
    parts, *ready = begun
    problem = self._problem(1, engine.put(parts), *ready, arrivals, standing.memory)
    return dataclasses.replace(problem, num_steps=sum(engine.learner.steps))

  def _train(self, run, number, parts, *ready):
    """The phase of a session: returns the parts with those that its steps changed."""
    state = loop.fit(
      run,
      f'{self.name}session-{number}',
      self._problem(number, parts, *ready),
      steps_per_call=run.steps_per_call or self.engine.steps_per_call,
    )
    return {**parts, **state.trained}

  def _problem(self, number, parts, optimizer, rows, count, arrivals, memory):
    """The steps of a session, ready for the loop."""
    engine, steps = self.engine, self.engine.learner.steps[number - 1]
    trained = {name: parts[name] for name in engine.learner.trained}
    frozen = {name: part for name, part in parts.items() if name not in trained}
    key = jax.random.key_data(jax.random.fold_in(draws.typed(self.key), number))
    state = engine.state(trained, engine.put(optimizer), engine.put(key, WHOLE))
    data = dict(
      identity=engine.identity, frozen=frozen, rows=rows, count=count, everything=(), shots=(),
      arrivals=arrivals, memory=memory, rates=engine.put(engine.rates(steps), WHOLE),
    )  # fmt: skip
    if engine.learner.replays == 'everything':
      data |= self._everything(number)
    source = ArraySource(data, engine.functions.sample)
    return Problem(engine.functions.step, state, source, steps, len(engine.runs))

  def _everything(self, number):
    """The data of a learner that replays everything: the base images, and the shots up to now."""
    examples, engine = self.examples, self.engine
    seed = np.minimum(self._own('seed'), len(examples.shots) - 1)
    draw = self._own('draw')
    shots, labels = examples.shots[seed, draw], examples.shot_labels[draw]
    inputs = np.asarray(shots).reshape(engine.size, -1, *shots.shape[3:])
    labels = np.asarray(labels, np.int32).reshape(engine.size, -1)
    rows = Rows(inputs, labels, np.ones(labels.shape, np.float32))
    count = len(examples.base_labels) + number * engine.task.way * engine.task.shot
    return dict(
      everything=self._base,
      shots=engine.put(rows),
      count=engine.put(np.full(engine.size, count, np.int32)),
    )

  @functools.cached_property
  def _base(self):
    labels = np.asarray(self.examples.base_labels, np.int32)
    return self.engine.put(Everything(self.examples.base, labels), WHOLE)

  @functools.cached_property
  def _test(self):
    """The test set in chunks of one size on the devices; what fills the last one has label -1."""
    test, labels = self.examples.test, np.asarray(self.examples.test_labels, np.int32)
    item = int(np.prod(test.shape[2:])) * np.dtype(test.dtype).itemsize
    size = min(self.engine.chunk(item), len(labels))
    chunks = []
    for begin in range(0, len(labels), size):
      rows = np.arange(begin, begin + size)
      real = np.minimum(rows, len(labels) - 1)
      chunk = test[:, real], np.where(rows < len(labels), labels[real], -1).astype(np.int32)
      chunks.append(self.engine.put(chunk, WHOLE))
    return chunks

  def _columns(self, first, last):
    """bool [C], the columns that arrive in sessions `first` to `last`."""
    task = self.engine.task
    column = np.arange(task.num_classes)
    return (column >= task.arriving(first)[0]) & (column < task.arriving(last)[1])

  def _own(self, what):
    """seed or draw of every run, with the padding."""
    return getattr(self.engine.runs, what)[self.engine.runs.padded]


@settled()
def run_sessions(run: Run, course: Course) -> Outcome:
  """Goes through all sessions and scores each; goes on where an earlier start was stopped.

  Args:
    run: where metrics and checkpoints go; the phases are called NAME + 'session-1', ...
    course: of one learner.

  Returns:
    Outcome.
  """
  engine = course.engine
  standing, seconds = course.first(run), []
  scores, parameters = [course.score(standing)], [course.parameters(standing)]
  for _ in range(engine.task.sessions):
    standing, spent = course.advance(run, standing)
    seconds.append(spent)
    scores.append(course.score(standing))
    parameters.append(course.parameters(standing))
  confusions, nearest, batch_means = (np.stack(parts, 1) for parts in zip(*scores))
  return Outcome(
    engine.runs,
    confusions,
    nearest,
    batch_means,
    np.asarray(seconds),
    np.stack(parameters, 1),
    _memory_bytes(course, standing),
    standing,
  )


def _memory_bytes(course, standing):
  """Bytes a class of the memory, as its policy says where what is stored is not what is read, and
  of the parts that the learner remembers by; of a learner that replays everything, of all that it
  has seen."""
  engine, examples = course.engine, course.examples
  if engine.learner.replays == 'everything':
    seeds, draws = len(examples.base), engine.runs.draws
    of_run = examples.base.nbytes / seeds + examples.shots.nbytes / len(examples.shots) / draws
    return of_run / engine.task.num_classes
  remembered = [standing.parts[name] for name in engine.learner.remembers]
  stored = getattr(course.remember, 'bytes_a_class', None)
  if stored is None:
    remembered.append(standing.memory.inputs)
  of_parts = sum(leaf.nbytes for leaf in jax.tree.leaves(remembered))
  # A learner that takes no memory up holds none, whatever the policy's images or means would take.
  by_policy = stored(engine.task) if stored and standing.memory.inputs.size else 0
  return of_parts / engine.size / engine.task.num_classes + by_policy


def _check(engine, examples, base):
  task, runs, learner = engine.task, engine.runs, engine.learner
  wanted = (runs.draws, task.sessions, task.way * task.shot)
  if tuple(examples.shots.shape[1:4]) != wanted or tuple(examples.shot_labels.shape) != wanted:
    raise errors.UserError(
      f'The few-shot rows are given by draw, session and image, {wanted}; got '
      f'{tuple(examples.shots.shape[1:4])} and labels {tuple(examples.shot_labels.shape)}.'
    )
  if len(base.means) != runs.seeds or len(examples.shots) not in (1, runs.seeds):
    raise errors.UserError(
      f'{runs.seeds} base networks were asked for; there are {len(base.means)}, and features of '
      f'{len(examples.shots)}.'
    )
  if learner.replays == 'everything' and examples.base is None:
    raise errors.UserError('This learner replays everything: give it the base images too.')

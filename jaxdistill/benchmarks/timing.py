"""Seconds of compiled steps and functions, and random images to compute on."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill.data import Dataset
from jaxdistill.training import program
from jaxdistill.training.problem import Problem

_MOST = 1000  # calls that are timed in one go
_ROWS = 5  # of calls that follow each other without waiting


class Calls(NamedTuple):
  """Seconds a call of a compiled program: `waited`, each ended before the next began, as a program
  that looks at its loss measures; `several`, with more calls under way, as the loop runs it."""

  waited: list[float]
  several: list[float]


def build(problem: Problem, length: int = 1) -> tuple[program.Program, Any, Any]:
  """Compiles so many steps of a problem as one call; returns (program, state where the program
  wants it, inputs of a first call)."""
  source = problem.source
  sharding = program.common_sharding(problem.state, source.data)
  state = program.settle(problem.state, sharding)
  inputs = source.feed(program.placer(sharding), 0, 1).take()
  return program.build(problem.step, source.sample, state, inputs, length), state, inputs


def time_steps(problem: Problem, count: int) -> tuple[program.Program, list[float]]:
  """Returns the compiled step of a problem, and the seconds of `count` calls after a first one.

  Args:
    problem: as the loop takes it.
    count: of the timed calls.
  """
  built, state, inputs = build(problem)
  seconds = []
  for _ in range(count + 1):
    started = time.perf_counter()
    state, _ = jax.block_until_ready(built(state, inputs))
    seconds.append(time.perf_counter() - started)
  return built, seconds[1:]


class Timed:
  """The compiled step of a problem, which takes its turn among others: timed(count) -> median
  seconds of so many calls, going on from where it stood."""

  def __init__(self, problem: Problem):
    self.built, self.state, self.inputs = build(problem)
    self(1)

  def __call__(self, count: int) -> float:
    seconds = []
    for _ in range(count):
      started = time.perf_counter()
      self.state, _ = jax.block_until_ready(self.built(self.state, self.inputs))
      seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def in_turn(
  timed: Mapping[str, Callable[[int], float]], rounds: int, iters: int, tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
  """Returns what takes its turn in every round: {name: {seconds: of each round, ratio: how many
  times as long as the first one, of medians}}.

  Args:
    timed: count -> seconds, by name.
    rounds, iters: turns of each, and calls a turn.
    tell: gets a line a round, and one with the ratios.

  >>> figures = in_turn({'one': lambda count: 1.0, 'other': lambda count: 2.5}, 2, 3, print)
  round 1: one 1.0000 s, other 2.5000 s
  round 2: one 1.0000 s, other 2.5000 s
  other takes 2.50 times as long as one
  """
  seconds = {name: [] for name in timed}
  for number in range(1, rounds + 1):
    for name, time_of in timed.items():
      seconds[name].append(time_of(iters))
    tell(
      f'round {number}: '
      + ', '.join(f'{name} {taken[-1]:.4f} s' for name, taken in seconds.items())
    )
  medians = {name: statistics.median(taken) for name, taken in seconds.items()}
  first, *others = medians
  ratios = {name: median / medians[first] for name, median in medians.items()}
  for name in others:
    tell(f'{name} takes {ratios[name]:.2f} times as long as {first}')
  return {name: {'seconds': taken, 'ratio': ratios[name]} for name, taken in seconds.items()}


def time_calls(
  built: program.Program, state: Any, inputs: Any, seconds: float = 3.0
) -> tuple[Calls, Any]:
  """Times calls of a program, after a first one, for about so many seconds; returns (their times,
  the state behind them).

  At least two calls are waited for, and one is not, however long they take.
  """
  state, _ = jax.block_until_ready(built(state, inputs))
  waited, several, begun = [], [], time.perf_counter()
  while len(waited) < 2 or len(waited) < _MOST and time.perf_counter() - begun < seconds / 3:
    started = time.perf_counter()
    state, _ = jax.block_until_ready(built(state, inputs))
    waited.append(time.perf_counter() - started)
  room = int(2 / 3 * seconds / statistics.median(waited))
  rows = max(1, min(_ROWS, room))
  calls = max(1, min(_MOST, room // rows))
  for _ in range(rows):
    started = time.perf_counter()
    for _ in range(calls):
      state, metrics = built(state, inputs)
    jax.block_until_ready((state, metrics))
    several.append((time.perf_counter() - started) / calls)
  return Calls(waited, several), state


def median_seconds(function: Callable, arguments: Sequence[Any], repeats: int = 5) -> float:
  """Returns the median seconds of `repeats` calls after a first one.

  >>> median_seconds(lambda seconds: time.sleep(seconds), [0.001], repeats=2) >= 0.001
  True
  """
  jax.block_until_ready(function(*arguments))
  seconds = []
  for _ in range(repeats):
    started = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    seconds.append(time.perf_counter() - started)
  return statistics.median(seconds)


def random_images(per_class: int, classes: int = 10) -> Dataset:
  """Returns random images of CIFAR-10's shape, with its statistics: the time does not depend on
  what they show.

  >>> random_images(2, classes=3).images.shape
  (6, 32, 32, 3)
  """
  images = np.random.default_rng(0).integers(0, 256, (classes * per_class, 32, 32, 3), np.uint8)
  return Dataset(
    images,
    np.arange(len(images)) % classes,
    name='random',
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
  )

"""Seconds of compiled steps and functions, and random images to compute on."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxdistill.data import Dataset
from jaxdistill.training import program
from jaxdistill.training.problem import Problem


def build(problem: Problem) -> tuple[program.Program, Any, Any]:
  """Compiles the step of a problem; returns (program, state where the program wants it, inputs of a
  first call)."""
  source = problem.source
  sharding = program.common_sharding(problem.state, source.data)
  state = program.settle(problem.state, sharding)
  inputs = source.feed(program.placer(sharding), 0, 1).take()
  return program.build(problem.step, source.sample, state, inputs), state, inputs


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

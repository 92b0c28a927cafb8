"""Seconds of a student's step: one student, several with shared batches, the same one after the
other, and another program beside them; and how fast the student answers.

Every figure is taken in a process of its own, and all have their turn in every round, so that a
drift of the machine meets them alike. That process is this file as a command, on random images of
CIFAR-10's shape: a ResNet teaches a smaller one, whose images are `--low` pixels wide. A yardstick
takes the same flags, trains `--seeds` students one after the other in every step, and its last line
is JSON with `s_per_iter`, of all seeds together, and `images_per_s` by images a call.

What is timed is what a run computes: the problem of the method's last stage, made from its config,
with crop, mirror and both views, in calls as long as the loop's.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxdistill import config as configs
from jaxdistill import draws, models
from jaxdistill.benchmarks import Settings, process, timing
from jaxdistill.data import Dataset
from jaxdistill.data.resolution import check_low
from jaxdistill.distillation import methods, sections, speed, standing, work
from jaxdistill.distillation.teachers import Teacher
from jaxdistill.experiment import arguments
from jaxdistill.numerics import settled
from jaxdistill.training import program
from jaxdistill.training.machine import peak_memory_bytes
from jaxdistill.training.problem import Problem

_COMMAND = (sys.executable, '-m', 'jaxdistill.benchmarks.distillation')
_FOLDER = 'distillation/'
_SHAPE, _CLASSES = (32, 32, 3), 10
_IMAGES_A_CLASS = 5000  # CIFAR-10's, as a bank of all images is as large as they are many
_SIZES = ('iters', 'batch', 'low', 'teacher', 'student')
_RATES = 'images_per_s'


def check(chosen: Settings) -> None:
  """Raises `UserError` for a method, a network or a size that does not exist, and for a yardstick
  that does not."""
  for name in chosen.distillations:
    methods.check(_config(name, chosen).method)
  for depth in (chosen.teacher, chosen.student):
    _network(depth, chosen, _SHAPE)
  check_low(chosen.low, _SHAPE)
  process.check_program('--yardstick', chosen.yardstick)


def distil(chosen: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
  """Seconds of a step of each method: of one student, of `networks` together on shared batches, of
  as many one after the other, and of the yardstick with one and with as many, in turn.

  Returns:
    {method: {one_s, together_s, one_by_one_s: medians by round; share, the time of all together of
    that of all one by one; images_per_s: of the student, by images a call; with a yardstick also
    yardstick_s, yardstick_all_s, yardstick_images_per_s, ratio and together_ratio, how many times
    as fast as it one step is, and that of all together}}.
  """
  return {name: _of_method(name, chosen, tell) for name in chosen.distillations}


def _of_method(name, chosen, tell):
  commands = _commands(name, chosen)
  seconds = {figure: [] for figure in commands}
  rates = {figure: [] for figure in ('one_s', 'yardstick_s') if figure in commands}
  for number in range(1, chosen.rounds + 1):
    for figure, command in commands.items():
      figures = process.figures(command)
      seconds[figure].append(figures['s_per_iter'])
      if figure in rates:
        rates[figure].append(figures[_RATES])
    tell(f'{name}, round {number}: {_round_text(seconds, chosen.networks)}')
  result = {**seconds, 'students': chosen.networks, _RATES: _medians(rates['one_s'])}
  median = {figure: statistics.median(taken) for figure, taken in seconds.items()}
  result['share'] = median['together_s'] / median['one_by_one_s']
  tell(f'{name}: together {result["share"]:.2f} of the time one by one')
  if chosen.yardstick:
    result |= {
      'ratio': median['yardstick_s'] / median['one_s'],
      'together_ratio': median['yardstick_all_s'] / median['together_s'],
      f'yardstick_{_RATES}': _medians(rates['yardstick_s']),
    }
    tell(
      f'{name}: one step {result["ratio"]:.2f} times as fast as the yardstick, together '
      f'{result["together_ratio"]:.2f} times'
    )
  for images, rate in result[_RATES].items():
    beside = ''
    if chosen.yardstick:
      beside = f', yardstick {result[f"yardstick_{_RATES}"][images]:,.0f}'
    tell(f'{name}: the student answers {rate:,.0f} images a second, {images} a call{beside}')
  return result


def _round_text(seconds, students):
  texts = {
    'one_s': 'one step',
    'together_s': f'{students} together',
    'one_by_one_s': 'one by one',
    'yardstick_s': 'yardstick',
    'yardstick_all_s': f'{students} of it',
  }
  shown = (f'{text} {seconds[name][-1]:.4f} s' for name, text in texts.items() if name in seconds)
  return ', '.join(shown)


def _medians(rates):
  """The medians over the rounds, by images a call."""
  medians = {}
  for size in rates[0]:
    medians[size] = statistics.median(one[size] for one in rates)
  return medians


PARTS = {'distil': distil}


def _commands(name: str, chosen: Settings) -> dict[str, list[Any]]:
  """Returns the commands of all figures, by their names."""
  flags = ['--method', name]
  for size in _SIZES:
    flags += [f'--{size}', getattr(chosen, size)]
  ours = [*_COMMAND, '--dtype', chosen.dtype, *flags, '--seeds']
  commands = {
    'one_s': [*ours, 1],
    'together_s': [*ours, chosen.networks],
    'one_by_one_s': [*ours, chosen.networks, '--one-by-one'],
  }
  if chosen.yardstick:
    theirs = [*shlex.split(chosen.yardstick), *flags, '--seeds']
    commands |= {'yardstick_s': [*theirs, 1], 'yardstick_all_s': [*theirs, chosen.networks]}
  return commands


# What is measured.


def build(name: str, chosen: Settings, students: int = 1, seed: int = 0) -> Problem:
  """Returns the last stage of a method, ready for the loop: students beside each other on shared
  batches of random images, with a teacher of random weights.

  Args:
    name: of a config of this family, or terms that are joined by +.
    chosen: the sizes.
    students: in one program.
    seed: of their weights and batches.
  """
  images = timing.random_images(_IMAGES_A_CLASS, _CLASSES)
  config, teacher = _config(name, chosen, students), _teacher(chosen, images)
  config.seed = seed
  ready = work.make(sections.of_config(config), images, None, images, given=teacher)
  method = methods.make(ready.pair(teacher), config.method.to_dict())
  *_, (_, problem) = standing.problems(ready, teacher, method)
  return problem


def _config(name: str, chosen: Settings, students: int = 1) -> ConfigDict:
  """The config of a method, or of a sum of terms, on CIFAR-10."""
  given = dict(data='cifar10', low=str(chosen.low), seeds=students, batches='shared')
  if name not in _methods():
    name, given['terms'] = 'sum', name
  config = configs.load(f'{_FOLDER}{name}', given)
  config.model = arguments.network('', _fields(chosen.student))
  config.teacher_model = arguments.network('', _fields(chosen.teacher))
  config.dtype, config.distillation.batch = chosen.dtype, chosen.batch
  return config


def _methods():
  """The names of the configs of one method."""
  named = {name.removeprefix(_FOLDER) for name in configs.names() if name.startswith(_FOLDER)}
  return named - {'compare'}


def _fields(depth):
  return {'name': 'resnet', 'depth': depth, 'shortcut': 'B'}


def _network(depth: int, chosen: Settings, shape: tuple[int, int, int]) -> Any:
  return models.build({**_fields(depth), 'dtype': chosen.dtype}, _CLASSES, shape)


def _teacher(chosen: Settings, images: Dataset) -> Teacher:
  network = _network(chosen.teacher, chosen, _SHAPE)
  return Teacher(
    f'resnet{chosen.teacher}',
    _CLASSES,
    network,
    _first_variables(network, _SHAPE),
    class_names=images.class_names,
  )


def _first_variables(network, shape):
  return jax.jit(network.init)(draws.key(0), np.zeros((1, *shape), np.float32))


@settled()
def measure(
  name: str, chosen: Settings, seeds: int = 1, one_by_one: bool = False
) -> dict[str, Any]:
  """Measures a method in this process.

  Args:
    name: of the method.
    chosen: the sizes.
    seeds: students.
    one_by_one: whether each is a program's call of its own, as runs one after the other are, or all
      are one program with shared batches.

  Returns:
    dict(s_per_iter: the median step of all students; seconds: of each; compile_s: of the program,
    which students one by one share; peak_bytes; seeds; method; of a single student images_per_s).
  """
  length = program.steps_per_call(0, jax.default_backend(), program.MAX_STEPS_PER_CALL)
  states, compiling = [], []
  for number in range(seeds if one_by_one else 1):
    problem = build(name, chosen, 1 if one_by_one else seeds, number)
    # The same program for every seed, which is compiled once.
    built, state, inputs = timing.build(problem, length)
    states.append(state)
    compiling.append(built.seconds)
  seconds = _time_steps(built, states, inputs, chosen.iters)
  figures = {
    's_per_iter': statistics.median(seconds),
    'seconds': seconds,
    'compile_s': compiling[0],
    'peak_bytes': peak_memory_bytes().bytes,
    'seeds': seeds,
    'method': name,
  }
  return figures if seeds > 1 else {**figures, _RATES: answers(chosen)}


def _time_steps(built, states, inputs, count):
  """Seconds of `count` steps of all states one after the other, after a first one."""
  seconds = []
  for _ in range(count + 1):
    started = time.perf_counter()
    for number, state in enumerate(states):
      states[number], _ = jax.block_until_ready(built(state, inputs))
    seconds.append((time.perf_counter() - started) / built.length)
  return seconds[1:]


def answers(chosen: Settings) -> dict[int, float]:
  """Returns the images a second of the student alone, by images a call."""
  shape = (chosen.low, chosen.low, _SHAPE[2])
  network = _network(chosen.student, chosen, shape)
  return speed.images_per_second(network, _first_variables(network, shape), shape)


def main(argv: Sequence[str] | None = None) -> None:
  """Measures one method as the flags say and prints the figures as a line of JSON."""
  parser = argparse.ArgumentParser(description=main.__doc__)
  parser.add_argument('--method', required=True)
  parser.add_argument('--dtype', default=Settings.dtype)
  for size in _SIZES:
    parser.add_argument(f'--{size}', type=int, default=getattr(Settings, size))
  parser.add_argument('--seeds', type=int, default=1)
  parser.add_argument('--one-by-one', action='store_true')
  values = vars(parser.parse_args(argv))
  asked = [values.pop(name) for name in ('method', 'seeds', 'one_by_one')]
  name, seeds, one_by_one = asked
  print(json.dumps(measure(name, Settings(**values), seeds, one_by_one)))


if __name__ == '__main__':
  main()

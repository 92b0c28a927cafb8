"""Seconds per iteration of the condensation methods: beside another program, against the size, on
several devices.

Every figure of a method is taken in a process of its own, so that its peak memory is its own and
another program, the yardstick, can be timed in turn with it on the same machine. That process is
this file as a command: it takes the flags of a yardstick, prints what a yardstick prints (one line
of JSON with `s_per_iter`), and knows a few flags more.
"""

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxdistill import config as configs
from jaxdistill.benchmarks import Settings, growth, process, timing
from jaxdistill.condensation import methods, problem
from jaxdistill.condensation.problem import Condensing
from jaxdistill.report import numbers
from jaxdistill.training import child, cost, parallel, pretrained
from jaxdistill.training.machine import peak_memory_bytes
from jaxdistill.training.problem import Problem

_COMMAND = (sys.executable, '-m', 'jaxdistill.benchmarks.condensation')
_CLASSES_A_DEVICE = 5
_REAL_A_CLASS = 500  # images of a class to draw batches from


def check(settings: Settings) -> None:
  """Raises `UserError` for a method or a yardstick that does not exist."""
  for method in settings.methods:
    methods.find(method)
  process.check_program('--yardstick', settings.yardstick)


def condense(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
  """Seconds per iteration of each method, in turn with the yardstick.

  Returns:
    {method: {ours_s: a median for each round, flops, peak_bytes ... of the last one; with a
    yardstick also yardstick_s, yardstick (its last line) and ratio, that of the medians}}.
  """
  return {method: _beside_yardstick(method, settings, tell) for method in settings.methods}


def _beside_yardstick(
  method: str, settings: Settings, tell: Callable[[str], None]
) -> dict[str, Any]:
  ours, theirs = [], []
  for number in range(1, settings.rounds + 1):
    ours.append(_measured(method, settings))
    seconds, memory = ours[-1]['s_per_iter'], numbers.size(ours[-1]['peak_bytes'])
    beside = ''
    if settings.yardstick:
      theirs.append(process.figures(yardstick(method, settings)))
      beside = f', yardstick {theirs[-1]["s_per_iter"]:.3f} s'
    tell(f'{method}, round {number}: {seconds:.3f} s an iteration, {memory}{beside}')
  result = {'ours_s': [figures.pop('s_per_iter') for figures in ours], **ours[-1]}
  if theirs:
    result |= {
      'yardstick_s': [figures['s_per_iter'] for figures in theirs],
      'yardstick': theirs[-1],
    }
    medians = [statistics.median(result[name]) for name in ('yardstick_s', 'ours_s')]
    result['ratio'] = medians[0] / medians[1]
    tell(f'{method}: {result["ratio"]:.2f} times as fast as the yardstick')
  return result


def along_sizes(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
  """Seconds per iteration of each method against the number of classes and the synthetic images a
  class: {method: see `growth.measure`}."""
  result = {}
  for method in settings.methods:
    result[method] = growth.measure(
      settings.ipc,
      settings.factor,
      lambda classes, ipc, method=method: _seconds(method, settings, classes=classes, ipc=ipc),
    )
    for axis, along in result[method].items():
      tell(f'{method}, {growth.describe(axis, along)}')
  return result


def weak_scaling(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
  """Seconds per iteration with a fixed number of classes a device, on more and more devices, beside
  all of them on one.

  Where there is no accelerator the devices are fake ones that share the processors: there the time
  grows with the work, and what spreading costs is the ratio to one device with the same work.

  Returns:
    {method: [{devices, classes, spread_s, one_device_s: medians, rounds: pairs of them} ...]}.
  """
  fake = jax.default_backend() == 'cpu'
  counts = (1, 2, 4) if fake else [n for n in (1, 2, 4, 8) if n <= jax.device_count()]
  result = {}
  for method in settings.methods:
    result[method] = []
    for count in counts:
      row = _spread_and_alone(method, settings, count, fake)
      result[method].append(row)
      tell(
        f'{method}, {row["classes"]} classes: {row["spread_s"]:.3f} s an iteration on {count} '
        f'devices, {row["one_device_s"]:.3f} s on one'
      )
  return result


def _spread_and_alone(method: str, settings: Settings, count: int, fake: bool) -> dict[str, Any]:
  classes, rounds = count * _CLASSES_A_DEVICE, []
  for _ in range(settings.rounds if count > 1 else 1):
    place = dict(classes=classes, fake_devices=count if fake else 0)
    rounds.append([_seconds(method, settings, devices=used, **place) for used in (count, 1)])
  spread, alone = (statistics.median(seconds) for seconds in zip(*rounds))
  return {
    'devices': count,
    'classes': classes,
    'spread_s': spread,
    'one_device_s': alone,
    'rounds': rounds,
  }


PARTS = {'condense': condense, 'scaling': along_sizes, 'devices': weak_scaling}


# A process for each figure.


def yardstick(method: str, settings: Settings) -> list[Any]:
  """Returns the command that times another program on a method."""
  return [*shlex.split(settings.yardstick), '--method', method, *_sizes(settings)]


def _sizes(settings: Settings, ipc: int = 0) -> list[Any]:
  """Returns the flags that a yardstick takes too."""
  return [
    *('--ipc', ipc or settings.ipc),
    *('--factor', settings.factor),
    *('--iters', settings.iters),
    *('--batch-real', settings.batch_real),
  ]


def _seconds(method: str, settings: Settings, **place: Any) -> float:
  return _measured(method, settings, **place)['s_per_iter']


def _measured(
  method: str,
  settings: Settings,
  classes: int = 0,
  ipc: int = 0,
  devices: int = 1,
  fake_devices: int = 0,
) -> dict[str, Any]:
  """Returns the figures of a method, measured in a process with so many fake CPU devices (0: the
  machine's own devices)."""
  command = [
    *_COMMAND,
    *('--method', method),
    *('--dtype', settings.dtype),
    *('--width', settings.width),
    *('--classes', classes or settings.classes),
    *('--devices', devices),
    *_sizes(settings, ipc),
  ]
  return process.figures(command, child.environment(fake_devices))


def build(method: str, settings: Settings, devices: int = 1) -> Problem:
  """Returns the condensation of random images of CIFAR-10's shape, ready for the loop."""
  config = configs.load(
    f'condensation/{method}:cifar10,ipc={settings.ipc},factor={settings.factor}'
  )
  config.condensation.batch_real = settings.batch_real
  config.dtype, config.model.width = settings.dtype, settings.width
  images = timing.random_images(_REAL_A_CLASS, settings.classes)
  condensing = Condensing.of_config(config)
  model = condensing.network(images)
  mesh = parallel.make_mesh(devices) if devices > 1 else None
  pool = pretrained.untrained(model, images.image_shape, methods.wants(config.method))
  return problem.setup(condensing, images, mesh, pool)


def measure(method: str, settings: Settings, devices: int = 1) -> dict[str, Any]:
  """Measures a method in this process, on random images of CIFAR-10's shape.

  Returns:
    dict(s_per_iter: the median, compile_s, flops: of an iteration on one device, peak_share: of the
    arithmetic that the devices are capable of, peak_bytes and peak_of: see `PeakMemory`).
  """
  ready = build(method, settings, devices)
  built, seconds = timing.time_steps(ready, settings.iters)
  median, memory = statistics.median(seconds), peak_memory_bytes()
  flops = cost.program_flops(built.lowered, built.compiled, devices)
  return {
    's_per_iter': median,
    'compile_s': built.seconds,
    'flops': flops,
    'peak_share': cost.share_of_peak(flops, median, settings.dtype, jax.devices()[:devices]),
    'peak_bytes': memory.bytes,
    'peak_of': memory.of,
  }


def main(argv: Sequence[str] | None = None) -> None:
  """Measures one method as the flags say and prints the figures as a line of JSON."""
  parser = argparse.ArgumentParser(description=main.__doc__)
  parser.add_argument('--method', required=True)
  parser.add_argument('--dtype', default=Settings.dtype)
  parser.add_argument('--devices', type=int, default=1)
  for name in ('ipc', 'factor', 'iters', 'batch-real', 'classes', 'width'):
    default = getattr(Settings, name.replace('-', '_'))
    parser.add_argument(f'--{name}', type=int, default=default)
  values = vars(parser.parse_args(argv))
  method, devices = values.pop('method'), values.pop('devices')
  print(json.dumps(measure(method, Settings(**values), devices)))


if __name__ == '__main__':
  main()

"""Speed: seconds per iteration of every method, its growth, several devices, many networks against
one, convolutions, the loop.

Every figure of a method is taken in a process of its own, so that its peak memory is its own and
another program, the yardstick, can be timed in turn with it on the same machine.
"""

import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import config as configs
from jaxdistill import models
from jaxdistill.benchmarks import growth as growth_figures
from jaxdistill.benchmarks import loop as loop_benchmark
from jaxdistill.commands import local_cluster
from jaxdistill.condensation import api, evaluation, methods
from jaxdistill.data import Dataset
from jaxdistill.errors import UserError, unknown
from jaxdistill.models import convolution
from jaxdistill.report import numbers
from jaxdistill.training import classifier, cost, parallel, pretrained, program, together
from jaxdistill.training.machine import environment, peak_memory_bytes

PARTS = ('condense', 'evaluate', 'experts', 'convolution', 'networks', 'scaling', 'devices', 'loop')
_CLASSES_A_DEVICE = 5
_LOOPS = (
  (0.0005, 2000),
  (0.005, 1000),
  (0.05, 500),
)  # seconds a step, steps; a checkpoint every 500


def main(argv: Sequence[str] | None = None) -> int:
  """Measures what the flags ask for, prints each figure as it comes and writes all as JSON."""
  flags = _flags().parse_args(argv)
  try:
    _check(flags)
    if flags.measure:  # one figure, in a process of its own
      print(json.dumps(measure_method(flags)))
      return 0
    result = {**environment(), 'settings': {name: getattr(flags, name) for name in _SIZES}}
    for part in flags.only:
      print(f'{part}:')
      result[part] = _MEASURES[part](flags)
    if flags.out:
      flags.out.write_text(json.dumps(result, indent=2) + '\n')
      print(f'written to {flags.out}')
      if 'scaling' in result:
        page = flags.out.with_suffix('.html')
        page.write_text(
          growth_figures.html(
            result['scaling'], f'{result["date"]}, {result["device"]["kind"]}, {flags.dtype}'
          )
        )
        print(f'figure in {page}')
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  return 0


def _check(flags: argparse.Namespace) -> None:
  for part in flags.only:
    if part not in PARTS:
      raise unknown('part of the benchmark', part, PARTS)
  for method in flags.methods:
    methods.find(method)
  if flags.yardstick and flags.rounds < 3:
    raise UserError('A comparison with a yardstick needs at least three rounds (--rounds=3).')


_SIZES = ('ipc', 'factor', 'batch_real', 'iters', 'dtype')


def _flags() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='launch.benchmark',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  names = lambda text: text.split(',')
  parser.add_argument('--out', type=pathlib.Path, help='file for the figures, JSON')
  parser.add_argument(
    '--only', type=names, default=list(PARTS), help=f'parts, joined by commas: {", ".join(PARTS)}'
  )
  parser.add_argument(
    '--methods', type=names, default=['m3d', 'dance', 'dm'], help='methods of the part condense'
  )
  parser.add_argument(
    '--yardstick',
    help='command of another program to time in turn; the flags --method, --ipc, --factor, '
    '--iters and --batch-real are added, and its last line must be JSON with s_per_iter',
  )
  parser.add_argument(
    '--rounds', type=int, default=3, help='rounds of the parts condense, evaluate and loop'
  )
  parser.add_argument('--iters', type=int, default=5, help='timed iterations a round')
  parser.add_argument('--ipc', type=int, default=10)
  parser.add_argument('--factor', type=int, default=2)
  parser.add_argument('--batch-real', type=int, default=128)
  parser.add_argument(
    '--dtype', choices=models.DTYPES, default='float32', help='type that the networks compute in'
  )
  parser.add_argument('--networks', type=int, default=5, help='networks of the part evaluate')
  parser.add_argument('--classes', type=int, default=10, help='classes of the part condense')
  parser.add_argument('--devices', type=int, default=1, help=argparse.SUPPRESS)
  parser.add_argument('--measure', choices=sorted(methods.METHODS), help=argparse.SUPPRESS)
  return parser


# Condensation, beside the yardstick.


def condense(flags: argparse.Namespace) -> dict[str, Any]:
  """Seconds per iteration of each method, in turn with the yardstick: a median for each round, the
  ratio of their medians."""
  result = {}
  for method in flags.methods:
    own = _own_command(flags, method)
    other = (
      [*shlex.split(flags.yardstick), '--method', method, *_sizes(flags)]
      if flags.yardstick
      else None
    )
    rounds, others = [], []
    for number in range(flags.rounds):
      rounds.append(_run(own))
      others.extend([_run(other)] if other else [])
      told = f', yardstick {others[-1]["s_per_iter"]:.3f} s' if other else ''
      memory = numbers.size(rounds[-1]['peak_bytes'])
      print(
        f'  {method}, round {number + 1}: {rounds[-1]["s_per_iter"]:.3f} s an iteration, '
        f'{memory}{told}',
        flush=True,
      )
    result[method] = {'ours_s': [r.pop('s_per_iter') for r in rounds], **rounds[-1]}
    if other:
      result[method] |= {'yardstick_s': [r['s_per_iter'] for r in others], 'yardstick': others[-1]}
      result[method]['ratio'] = statistics.median(
        result[method]['yardstick_s']
      ) / statistics.median(result[method]['ours_s'])
      print(f'  {method}: {result[method]["ratio"]:.2f} times as fast as the yardstick')
  return result


def _sizes(flags: argparse.Namespace, ipc: int = 0) -> list[Any]:
  return [
    '--ipc',
    ipc or flags.ipc,
    '--factor',
    flags.factor,
    '--iters',
    flags.iters,
    '--batch-real',
    flags.batch_real,
  ]


def _own_command(
  flags: argparse.Namespace, method: str, classes: int = 0, ipc: int = 0, devices: int = 1
) -> list[Any]:
  """Returns the command that measures one method in a process of its own."""
  return [
    sys.executable,
    '-m',
    'launch.benchmark',
    '--measure',
    method,
    '--dtype',
    flags.dtype,
    '--classes',
    classes or flags.classes,
    '--devices',
    devices,
    *_sizes(flags, ipc),
  ]


def _run(command: Sequence[Any], fake_devices: int = 0) -> dict[str, Any]:
  """Runs a command, with so many fake CPU devices if asked for, and reads the JSON in its last
  line."""
  command = [str(word) for word in command]
  environ = os.environ | (local_cluster.fake_devices(fake_devices) if fake_devices else {})
  try:
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    return json.loads(done.stdout.strip().splitlines()[-1])
  except (OSError, ValueError, IndexError) as error:
    raise UserError(f'The command {shlex.join(command)} gave no JSON line: {error}.') from None
  except subprocess.CalledProcessError as error:
    last = (error.stderr or error.stdout).strip().splitlines()[-1:] or [
      f'status {error.returncode}'
    ]
    raise UserError(f'The command {shlex.join(command)} failed: {last[0]}') from None


def measure_method(flags: argparse.Namespace) -> dict[str, Any]:
  """One method on random images of CIFAR-10's shape (the time does not depend on them)."""
  config = configs.load(
    f'condensation/{flags.measure}:cifar10,ipc={flags.ipc},factor={flags.factor}'
  )
  config.condensation.batch_real = flags.batch_real
  config.dtype = flags.dtype
  images = random_images(500, flags.classes)
  model = api.build_model(config, images.num_classes, images.image_shape)
  mesh = parallel.make_mesh(flags.devices) if flags.devices > 1 else None
  problem = api.setup(config, images, mesh, methods.untrained(config, images.image_shape, model))
  built, seconds = time_steps(problem.step, problem.state, problem.source, flags.iters)
  median, memory = statistics.median(seconds), peak_memory_bytes()
  flops = cost.program_flops(built.lowered, built.compiled, flags.devices)
  return {
    's_per_iter': median,
    'compile_s': built.seconds,
    'flops': flops,
    'peak_share': cost.share_of_peak(flops, median, flags.dtype, jax.devices()[: flags.devices]),
    'peak_bytes': memory.bytes,
    'peak_of': memory.of,
  }


def random_images(per_class: int, classes: int = 10) -> Dataset:
  """Returns random images of CIFAR-10's shape."""
  images = np.random.default_rng(0).integers(0, 256, (classes * per_class, 32, 32, 3), np.uint8)
  return Dataset(
    images,
    np.arange(len(images)) % classes,
    name='random',
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
  )


def time_steps(
  step: Callable, state: Any, source: Any, count: int
) -> tuple[program.Program, list[float]]:
  """Compiles a step and returns the program and the seconds of `count` calls after a first one."""
  sharding = program.common_sharding(state, source.data)
  state = program.settle(state, sharding)
  inputs = source.feed(program.placer(sharding), 0, 1).take()
  built = program.build(step, source.sample, state, inputs)
  seconds = []
  for _ in range(count + 1):
    started = time.perf_counter()
    state, _ = jax.block_until_ready(built(state, inputs))
    seconds.append(time.perf_counter() - started)
  return built, seconds[1:]


# Many networks at once against as many times one.


def evaluate(flags: argparse.Namespace) -> dict[str, Any]:
  """Training `networks` networks on a condensed set of CIFAR-10's shape at once, and one by one in
  calls of their own."""
  return _together(flags, random_images(flags.ipc * flags.factor**2), evaluation.find_recipe('idc'))


def pool(flags: argparse.Namespace) -> dict[str, Any]:
  """The same for the experts of DANCE on a real set."""
  return _together(flags, random_images(500), pretrained.RECIPE)


def _together(
  flags: argparse.Namespace, images: Dataset, recipe: classifier.Recipe
) -> dict[str, Any]:
  model = models.build(
    {'name': 'convnet', 'dtype': flags.dtype}, images.num_classes, images.image_shape
  )

  def train(networks, seed):
    started = time.perf_counter()
    problem = classifier.setup(
      model,
      images.images,
      images.labels,
      recipe,
      num_classes=images.num_classes,
      mean=images.mean,
      std=images.std,
      networks=networks,
      seed=seed,
    )
    _, seconds = time_steps(problem.step, problem.state, problem.source, flags.iters * 4)
    return statistics.median(seconds), time.perf_counter() - started

  at_once, alone = [], []
  for round_number in range(flags.rounds):  # in turn, so that a drift of the machine meets both
    at_once.append(train(flags.networks, round_number))
    alone.append([train(1, seed) for seed in range(flags.networks)])
  step_together = statistics.median(step for step, _ in at_once)
  step_alone = statistics.median(step for each in alone for step, _ in each)
  whole_together = statistics.median(whole for _, whole in at_once)
  whole_alone = statistics.median(sum(whole for _, whole in each) for each in alone)
  result = {
    'networks': flags.networks,
    'way': together.choose_way('auto'),
    'step_together_s': step_together,
    'step_alone_s': step_alone,
    'step_ratio': flags.networks * step_alone / step_together,
    'whole_together_s': whole_together,
    'whole_one_by_one_s': whole_alone,
    'whole_ratio': whole_alone / whole_together,
  }
  print(
    f'  a step of {flags.networks} networks {step_together:.3f} s, of one {step_alone:.3f} s: '
    f'{result["step_ratio"]:.2f} times as fast; '
    f'with compilation {result["whole_ratio"]:.2f} times'
  )
  return result


# Forms: how a convolution is computed, and how several networks share a program.


def convolutions(flags: argparse.Namespace) -> list[dict[str, Any]]:
  """Milliseconds of a convolution and its gradients in every form: alone, inside a compiled loop,
  under vmap over 4 kernels."""
  rows = []
  for images, side, channels in ((64, 32, 3), (64, 16, 128), (64, 8, 128)):
    x = jax.random.normal(jax.random.key(0), (images, side, side, channels))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, channels, 128)) * 0.05
    for form in convolution.FORMS:
      row = {'input': f'{images}x{side}x{side}x{channels}', 'form': form}
      with convolution.using(form):
        row |= {
          place: 1e3 * _median_seconds(jax.jit(function), arguments)
          for place, (function, arguments) in _placements(x, kernel).items()
        }
      rows.append(row)
      told = (
        f'{name} {value:.1f} ms' if isinstance(value, float) else value
        for name, value in row.items()
      )
      print('  ' + ', '.join(told), flush=True)
  return rows


def _placements(x, kernel):
  def gradient(x, kernel):
    return jax.grad(lambda x, k: jnp.square(convolution.convolve(x, k)).sum(), argnums=(0, 1))(
      x, kernel
    )

  def loop(x, kernel):
    def body(carry, _):
      dx, dk = gradient(*carry)
      return (x + 1e-9 * dx, kernel + 1e-9 * dk), None

    return jax.lax.scan(body, (x, kernel), None, length=2)[0]

  kernels = jnp.stack([kernel] * 4)
  return {
    'forward': (convolution.convolve, (x, kernel)),
    'gradient': (gradient, (x, kernel)),
    'gradient in a loop, 2 steps': (loop, (x, kernel)),
    'gradient, vmap over 4': (jax.vmap(gradient, in_axes=(None, 0)), (x, kernels)),
  }


def networks(flags: argparse.Namespace) -> list[dict[str, Any]]:
  """Seconds of a training step for 1 and 4 networks, in every way that they can share a program."""
  images = random_images(flags.ipc * flags.factor**2)
  model = models.build(
    {'name': 'convnet', 'dtype': flags.dtype}, images.num_classes, images.image_shape
  )
  rows = []
  for way in together.WAYS:
    for count in (1, 4):
      problem = classifier.setup(
        model,
        images.images,
        images.labels,
        evaluation.find_recipe('idc'),
        mean=images.mean,
        std=images.std,
        num_classes=images.num_classes,
        networks=count,
        way=way,
      )
      built, seconds = time_steps(problem.step, problem.state, problem.source, flags.iters)
      rows.append(
        {
          'way': way,
          'networks': count,
          's_per_step': statistics.median(seconds),
          'compile_s': built.seconds,
        }
      )
      print(
        f'  {way}, {count} networks: {rows[-1]["s_per_step"]:.3f} s a step, compiled in '
        f'{built.seconds:.1f} s',
        flush=True,
      )
  return rows


# The loop itself.


def loop(flags: argparse.Namespace) -> list[dict[str, Any]]:
  """What the training loop adds to phases of short and of longer steps, with and without
  checkpoints.

  The longer a phase takes, the more the machine itself varies: short ones tell what the loop costs,
    the others what it comes to.
  """
  results = []
  for seconds, steps in _LOOPS:
    results.append(
      loop_benchmark.measure(
        seconds, steps, flags.rounds, tell=lambda text: print(f'  {text}', flush=True)
      )
    )
    for way, share in results[-1]['overhead'].items():
      extra, step = results[-1]['extra_seconds'][way]['wall'], 1e3 * results[-1]['step_seconds']
      print(
        f'  {steps:,} steps of {step:.2g} ms, {way}: {extra:+.2f} s in all, '
        f'{share["wall"]:+.1%} of the time, '
        f'{share["cpu"]:+.1%} of the work of the processors',
        flush=True,
      )
  return results


def _median_seconds(function, arguments, repeats: int = 5) -> float:
  jax.block_until_ready(function(*arguments))
  seconds = []
  for _ in range(repeats):
    started = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    seconds.append(time.perf_counter() - started)
  return statistics.median(seconds)


def growth(flags: argparse.Namespace) -> dict[str, Any]:
  """Seconds per iteration of each method against the number of classes and the synthetic images a
  class."""
  result = {}
  for method in flags.methods:
    result[method] = growth_figures.measure(
      flags.ipc,
      flags.factor,
      lambda classes, ipc, method=method: _run(_own_command(flags, method, classes, ipc))[
        's_per_iter'
      ],
    )
    for axis, along in result[method].items():
      print(f'  {method}, {growth_figures.told(axis, along)}', flush=True)
  return result


def weak_scaling(flags: argparse.Namespace) -> dict[str, Any]:
  """Seconds per iteration with a fixed number of classes a device, on more and more devices, beside
  all of them on one.

  Where there is no accelerator the devices are fake ones that share the processors: there the time
  grows with the work, and what spreading costs is the ratio to one device with the same work.
  """
  fake = jax.default_backend() == 'cpu'
  counts = (1, 2, 4) if fake else [n for n in (1, 2, 4, 8) if n <= jax.device_count()]
  result = {}
  for method in flags.methods:
    result[method] = []
    for count in counts:
      classes = count * _CLASSES_A_DEVICE
      rounds = [
        [
          _run(_own_command(flags, method, classes, devices=devices), count if fake else 0)[
            's_per_iter'
          ]
          for devices in (count, 1)
        ]
        for _ in range(flags.rounds if count > 1 else 1)
      ]
      spread, alone = (statistics.median(seconds) for seconds in zip(*rounds))
      result[method].append(
        {
          'devices': count,
          'classes': classes,
          'spread_s': spread,
          'one_device_s': alone,
          'rounds': rounds,
        }
      )
      print(
        f'  {method}, {classes} classes: {spread:.3f} s an iteration on {count} devices, '
        f'{alone:.3f} s on one',
        flush=True,
      )
  return result


_MEASURES = {
  'condense': condense,
  'evaluate': evaluate,
  'experts': pool,
  'convolution': convolutions,
  'networks': networks,
  'scaling': growth,
  'devices': weak_scaling,
  'loop': loop,
}

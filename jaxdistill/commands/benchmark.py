"""Speed on this machine: `jaxdistill benchmark`, or `python -m launch.benchmark` in a checkout."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags

from jaxdistill import benchmarks, files, terminal
from jaxdistill.commands import flags as command_flags
from jaxdistill.commands import streams
from jaxdistill.errors import UserError, unknown
from jaxdistill.files import expanded
from jaxdistill.training.exits import exit_status

_USAGE = f"""\
Measures speed: seconds per iteration of every method, its growth, several devices, many networks
against one, convolutions, the loop, sessions of few-shot learners, steps of distilled students, of
adversarial training and of learning from crowds.

  jaxdistill benchmark --out=bench.json                    every part
  jaxdistill benchmark --only=condense --methods=m3d       some parts, some methods
  jaxdistill benchmark --only=condense --yardstick='python other.py --data=cifar10.npz'

  jaxdistill benchmark --only=distil --distillations=kd,crd --yardstick='python other.py'

  jaxdistill benchmark --plan=device --out=device.json     on a GPU or TPU, in 480 s

Parts: {', '.join(benchmarks.PARTS)}; of the plan: {', '.join(benchmarks.PLAN_PARTS)}.

Each figure is printed as it comes; --out keeps all of them, with the machine and the versions. A
method is measured in a process of its own, so that its peak memory is its own and another program,
the yardstick, can be timed in turn with it.

The plan for a device that is there for minutes takes the most important figures first and keeps
each in --out, with a page beside it, as soon as it is measured; the same command goes on with what
is missing.

Flags:"""
# Settings that a file of figures names.
_RECORDED = (
  *('ipc', 'factor', 'batch_real', 'iters', 'width', 'dtype'),
  *('teacher', 'student', 'low', 'batch'),
)
_PLANS = ('device',)
_SECONDS = 480
_NOT_OF_PLANS = ('dtype', 'networks')
_LEAST_ROUNDS = 3  # of a comparison with a yardstick


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit status; `argv` as for `main.main`.

  >>> main(['--only=condens'])
  2
  """
  return exit_status(_dispatch, argv, stopped='before all was measured; nothing was written')


def _dispatch(argv: list[str]) -> None:
  (values,) = command_flags.parse(argv, _flags(), ())
  if values.help:
    streams.show(command_flags.help_text(values, _USAGE))
    return
  settings = _settings(values)
  if values.plan:
    _run_plan(values, settings)
    return
  if values['seconds'].present:
    raise UserError('--seconds is the time of a plan: --plan=device.')
  parts = _names(values.only) if values.only else tuple(benchmarks.PARTS)
  _check(parts, settings)
  if values.out:
    _check_out(values.out)
  from jaxdistill.training.machine import environment

  figures = {
    **environment(),
    'settings': {name: getattr(settings, name) for name in _RECORDED},
    **{part: _measure(part, settings) for part in parts},
  }
  if values.out:
    _write(expanded(values.out), figures)


def _run_plan(values: flags.FlagValues, settings: benchmarks.Settings) -> None:
  """Measures what the plan for a device says."""
  if values.plan not in _PLANS:
    raise unknown('plan', values.plan, _PLANS)
  if not values.out:
    raise UserError('A plan keeps its figures in a file: --out=device.json.')
  for name in _NOT_OF_PLANS:
    if values[name].present:
      raise UserError(f'--{name} does not go with --plan, which takes several of them.')
  _check_out(values.out)
  from jaxdistill.benchmarks import device

  parts = _names(values.only) if values.only else benchmarks.PLAN_PARTS
  out = expanded(values.out)
  device.check(parts, settings, out)
  kept = device.run(settings, out, values.seconds, terminal.line, parts)
  terminal.line(f'written to {kept.path}, page in {kept.page}')


def _measure(part: str, settings: benchmarks.Settings) -> Any:
  terminal.line(f'{part}:')
  return benchmarks.measure(part, settings, lambda text: terminal.line(f'  {text}'))


def _flags() -> flags.FlagValues:
  values = flags.FlagValues()
  at = dict(flag_values=values)
  default = benchmarks.Settings()
  flags.DEFINE_string('out', None, 'File for the figures, JSON.', **at)
  flags.DEFINE_string('only', None, 'Parts, divided by commas (default: all).', **at)
  flags.DEFINE_string(
    'plan', None, 'device: what to measure on a device, and in which order.', **at
  )
  flags.DEFINE_integer('seconds', _SECONDS, 'Time for the plan.', lower_bound=1, **at)
  flags.DEFINE_string(
    'methods', ','.join(default.methods), 'Methods of condense, scaling and devices.', **at
  )
  flags.DEFINE_string(
    'learners', ','.join(default.learners), 'Few-shot learners of the part sessions.', **at
  )
  flags.DEFINE_string(
    'distillations',
    ','.join(default.distillations),
    'Methods of the part distil, or terms that are joined by +.',
    **at,
  )
  flags.DEFINE_string(
    'yardstick',
    default.yardstick,
    'Command of another program to time in turn with the part condense, sessions or distil; the '
    'flags --method, --ipc, --factor, --iters and --batch-real are added (sessions: --learner, '
    '--dim, --steps, --sessions and --draws; distil: --method, --iters, --batch, --low, --teacher, '
    '--student and --seeds), and its last line must be JSON with s_per_iter (sessions: '
    's_per_session; distil: images_per_s too, by images a call).',
    **at,
  )
  for name, text in {
    'rounds': 'Rounds of the parts that compare.',
    'iters': 'Timed iterations a round.',
    'ipc': 'Stored images a class.',
    'factor': 'Cells along the side of a stored image.',
    'batch_real': 'Real images a class in an iteration.',
    'networks': 'Networks of the parts evaluate and experts, students of the part distil.',
    'classes': 'Classes of the part condense.',
    'width': 'Width of the ConvNet.',
    'draws': 'Draws of few images at once, of the part sessions.',
    'dim': 'Size of the features of the part sessions.',
    'session_steps': 'Steps of a session of the part sessions.',
    'teacher': 'Depth of the ResNet that teaches in the part distil.',
    'student': 'Depth of the ResNet that learns there.',
    'low': "Side of the student's images there, a divisor of 32.",
    'batch': 'Images of a step there.',
  }.items():
    flags.DEFINE_integer(name, getattr(default, name), text, lower_bound=1, **at)
  flags.DEFINE_boolean(
    'images', default.images, 'Sessions through images too, in the part sessions.', **at
  )
  flags.DEFINE_string('dtype', default.dtype, 'Type that the networks compute in.', **at)
  flags.DEFINE_boolean('help', False, 'Show this.', short_name='h', **at)
  return values


def _names(text: str) -> tuple[str, ...]:
  return tuple(text.split(','))


def _settings(values: flags.FlagValues) -> benchmarks.Settings:
  fields = dataclasses.fields(benchmarks.Settings)
  chosen = {field.name: values[field.name].value for field in fields}
  names = {name: _names(chosen[name]) for name in ('methods', 'learners', 'distillations')}
  return benchmarks.Settings(**chosen | names)


def _check(parts: Sequence[str], settings: benchmarks.Settings) -> None:
  """Raises `UserError` for a name that does not exist and for too few rounds, before any work."""
  if settings.yardstick and settings.rounds < _LEAST_ROUNDS:
    raise UserError('A comparison with a yardstick needs at least three rounds (--rounds=3).')
  from jaxdistill import models

  if settings.dtype not in models.DTYPES:
    raise unknown('dtype', settings.dtype, models.DTYPES)
  benchmarks.check(parts, settings)


def _check_out(out: str) -> None:
  """Raises `UserError` where the figures, and the page beside them, could not be written."""
  files.check_writable('--out', out)
  page = expanded(out).with_suffix('.html')
  if page == expanded(out):
    raise UserError(f'--out={out} is for the figures, as JSON; name a file that is no .html.')
  files.check_writable('--out', page)


def _write(out: pathlib.Path, figures: dict[str, Any]) -> None:
  """Writes the figures, and beside them the page of their growth if that was measured."""
  out.write_text(json.dumps(figures, indent=2) + '\n')
  terminal.line(f'written to {out}')
  if 'scaling' in figures:
    from jaxdistill.benchmarks import growth

    dtype = figures['settings']['dtype']
    subtitle = f'{figures["date"]}, {figures["device"]["kind"]}, {dtype}'
    page = out.with_suffix('.html')
    page.write_bytes(files.encoded(growth.html(figures['scaling'], subtitle)))
    terminal.line(f'figure in {page}')

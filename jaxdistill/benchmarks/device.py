"""The plan for a device that is there for minutes: all that is to be measured on it, the most
important first, each figure in a process of its own, within a given time.

Every figure is kept as soon as it is there, and a second start measures what is missing. One that
fails is kept with its sentence and ends no other. This process itself leaves the device alone, as a
TPU takes one process at a time.
"""

import dataclasses
import math
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxdistill import backend
from jaxdistill.benchmarks import PLAN_PARTS, Settings, condensation, kept, process
from jaxdistill.benchmarks.kept import Kept
from jaxdistill.benchmarks.steps import Subject
from jaxdistill.errors import UserError, unknown
from jaxdistill.report import numbers
from jaxdistill.training import child, interrupt, together

DTYPES = ('float32', 'bfloat16')
COUNTS = (1, 5, 20)  # of networks that are trained at once
PER_CALL = (1, 10, 100)  # steps in one call
_TIMING_SECONDS = 3.0  # of a figure, with much time
_RESERVED_SECONDS = 4.0  # to start this process, and for its last words
_LEAST_SECONDS = 3.0  # in which no process begins and measures anything
_LONGEST_SHARE = 4  # no figure takes more of the whole time than one in so many
_MACHINE = ('-m', 'jaxdistill.benchmarks.ceilings')
_STEPS = ('-m', 'jaxdistill.benchmarks.steps')
# Memory is taken as it is needed: that of a figure is then its own, and another program beside it
# has the rest.
_ENVIRONMENT = {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}


class Figure(NamedTuple):
  """One process.

  Attributes:
    name: of what it measures.
    about: kind ('ceilings', 'condense', 'train', 'yardstick'), and the kind's own: method, dtype,
      round, networks, way, per_call.
    command: without the interpreter, but of the yardstick, which is another program.
  """

  name: str
  about: Mapping[str, Any]
  command: tuple[str, ...]

  @property
  def words(self) -> tuple[str, ...]:
    """The whole command."""
    return self.command if self.about['kind'] == 'yardstick' else (sys.executable, *self.command)


def check(parts: Sequence[str], settings: Settings, out: pathlib.Path) -> None:
  """Raises `UserError` for names that do not exist and for a file that holds something else."""
  for part in parts:
    if part not in PLAN_PARTS:
      raise unknown('part of the plan', part, PLAN_PARTS)
  condensation.check(settings)
  kept.read(out)


def run(
  settings: Settings,
  out: pathlib.Path,
  seconds: float,
  tell: Callable[[str], None],
  parts: Sequence[str] = PLAN_PARTS,
) -> Kept:
  """Measures what is missing in a file, within so many seconds, and returns what it holds then.

  Raises:
    UserError: JAX has no device here.
  """
  end = time.monotonic() + seconds - _RESERVED_SECONDS
  with tempfile.TemporaryDirectory() as programs:
    # A figure that has its turn again need not be compiled again.
    environment = {'JAX_COMPILATION_CACHE_DIR': programs} | _ENVIRONMENT | child.environment()
    machine = _machine(environment, seconds)
    device = machine['device']
    tell(f'{device["count"]} x {device["kind"]} ({device["platform"]})')
    kept_figures = Kept.of(out, machine, settings, tell)
    interrupt.begun(f'; {out} keeps what was measured, and the same command goes on')
    figures = plan(settings, device['platform'], parts, seconds)
    _measure(kept_figures, figures, environment, end, seconds, tell)
  return kept_figures


def _machine(environment: dict[str, str], seconds: float) -> dict[str, Any]:
  ended = process.run([sys.executable, *_MACHINE, '--machine-only'], environment, seconds)
  if ended.trouble or 'machine' not in ended.figures:
    raise UserError(f'JAX does not start here: the process that asks for devices {ended.trouble}.')
  return ended.figures['machine']


def _measure(
  kept_figures: Kept,
  figures: Sequence[Figure],
  environment: dict[str, str],
  end: float,
  seconds: float,
  tell: Callable[[str], None],
) -> None:
  """Measures one figure after the other while there is time."""
  missing = kept_figures.missing(figures)
  if len(missing) < len(figures):
    tell(f'{len(figures) - len(missing)} figures are there already, {len(missing)} are missing')
  longest, left_out, durations = max(60.0, seconds / _LONGEST_SHARE), [], []
  for figure in missing:
    left = end - time.monotonic()
    if left < max(_LEAST_SECONDS, statistics.median(durations or [0.0])):
      left_out.append(figure.name)
      continue
    ended = _checked(figure, process.run(figure.words, environment, min(left, longest)))
    duration = left - (end - time.monotonic())
    if ended.is_late and left <= longest and not ended.figures:
      left_out.append(figure.name)
    else:
      kept_figures.add(figure, ended, duration)
    if ended.figures:
      durations.append(duration)
    tell(f'{figure.name}: {describe(ended)} [{duration:.0f} s, {end - time.monotonic():.0f} left]')
  kept_figures.finish(left_out)
  if left_out:
    tell(
      f'{len(left_out)} of {len(figures)} figures were left out, as the time was over: '
      f'{", ".join(left_out)}; the same command goes on'
    )


def _checked(figure: Figure, ended: process.Ended) -> process.Ended:
  """Refuses figures of another program without the one that counts."""
  if figure.about['kind'] != 'yardstick':
    return ended
  if ended.trouble:
    return ended._replace(figures=None)
  seconds = ended.figures.get('s_per_iter')
  if isinstance(seconds, (int, float)) and seconds > 0:
    return ended
  return process.Ended(None, 'gave no s_per_iter above zero in its last line of JSON')


def describe(ended: process.Ended) -> str:
  """Returns a figure in one line.

  >>> describe(process.Ended({'s_per_step': 0.004, 'program_bytes': 2**30, 'compile_s': 9.5}))
  '4 ms a step (250 a second), 1.0 GiB, compiled in 9.5 s'
  """
  figures, texts = ended.figures or {}, []
  for name in ('s_per_step', 's_per_iter'):
    if name in figures:
      texts.append(f'{numbers.seconds(figures[name])} a step ({1 / figures[name]:.3g} a second)')
  if figures.get('program_bytes'):
    texts.append(numbers.size(figures['program_bytes']))
  if figures.get('least_s'):
    texts.append(
      f'{figures["least_s"] / figures["s_per_step"]:.0%} of what {figures["bound"]} allows'
    )
  if 'compile_s' in figures:
    texts.append(f'compiled in {numbers.seconds(figures["compile_s"])}')
  if 'bytes_per_s' in figures:
    texts += [f'{figures["bytes_per_s"] / 1e9:,.0f} GB/s']
    texts += [
      f'{rate / 1e12:.3g} TFLOP/s in {dtype}' for dtype, rate in figures['flops_per_s'].items()
    ]
  texts += [f'no {part}: {why}' for part, why in figures.get('missing', {}).items()]
  if ended.trouble:
    texts.append(ended.trouble)
  return ', '.join(texts) or 'no figure of ours'


# What is measured.


def plan(
  settings: Settings, platform: str, parts: Sequence[str] = PLAN_PARTS, seconds: float = math.inf
) -> list[Figure]:
  """Returns all figures, the most important first.

  Args:
    settings: sizes, methods, yardstick and rounds.
    platform: of the device.
    parts: some of `PLAN_PARTS`.
    seconds: for all of them, which bounds the time that each is timed for.

  >>> [figure.name for figure in plan(Settings(methods=('dm',), rounds=1), 'gpu', ('methods',))]
  ['ceilings', 'condense/dm/float32', 'condense/dm/bfloat16']
  """
  subject = Subject(
    width=settings.width,
    ipc=settings.ipc,
    factor=settings.factor,
    batch_real=settings.batch_real,
    classes=settings.classes,
    seconds=min(_TIMING_SECONDS, seconds / 100),
  )
  with backend.compiling_for(platform):
    usual = together.choose_way('auto')
  others = [way for way in together.WAYS if way != usual]
  figures = {
    'methods': _methods(settings, subject),
    'networks': _networks(subject, 'float32', [usual], COUNTS),
    'steps': _several_steps(subject, settings.methods[0], usual),
    'other ways': _networks(subject, 'float32', others, COUNTS[1:]),
    'in bfloat16': [
      *_networks(subject, 'bfloat16', [usual], COUNTS),
      *_networks(subject, 'bfloat16', others, COUNTS[1:]),
    ],
    'again': [],
  }
  for number in range(2, settings.rounds + 1):
    figures['again'] += _methods(settings, subject, number)
  belonging = {
    'methods': ('methods', 'again'),
    'networks': ('networks', 'other ways', 'in bfloat16'),
  }
  names = set()
  for part in parts:
    names.update(belonging.get(part, (part,)))
  chosen = {'ceilings': Figure('ceilings', {'kind': 'ceilings'}, _MACHINE)}
  for name, rows in figures.items():
    for figure in rows if name in names else ():
      chosen.setdefault(figure.name, figure)
  return list(chosen.values())


def _methods(settings: Settings, subject: Subject, number: int = 1) -> list[Figure]:
  """Each method in either type, in turn with the yardstick: once, or once more."""
  again = f'/round {number}' if number > 1 else ''
  figures = []
  for method in settings.methods:
    for dtype in DTYPES:
      chosen = dataclasses.replace(subject, method=method, dtype=dtype, whole=int(number == 1))
      figures.append(_ours(f'condense/{method}/{dtype}{again}', chosen, round=number))
    if settings.yardstick:
      command = tuple(map(str, condensation.yardstick(method, settings)))
      about = {'kind': 'yardstick', 'method': method, 'round': number, 'command': list(command)}
      figures.insert(-1, Figure(f'yardstick/{method}{again}', about, command))
  return figures


def _networks(
  subject: Subject, dtype: str, ways: Sequence[str], counts: Sequence[int]
) -> list[Figure]:
  """Networks that are trained at once."""
  figures = []
  for count in counts:
    for way in ways:
      chosen = dataclasses.replace(subject, networks=count, way=way, dtype=dtype)
      figures.append(_ours(f'train/{count}/{way}/{dtype}', chosen))
  return figures


def _several_steps(subject: Subject, method: str, way: str) -> list[Figure]:
  """Several steps in one call, of a condensation and of a training."""
  subjects = {
    f'condense/{method}/float32': dataclasses.replace(subject, method=method),
    f'train/1/{way}/float32': dataclasses.replace(subject, way=way),
  }
  figures = []
  for name, chosen in subjects.items():
    for length in PER_CALL:
      several = dataclasses.replace(chosen, per_call=length)
      figures.append(_ours(name if length == 1 else f'{name}/{length} a call', several))
  return figures


def _ours(name: str, subject: Subject, **more: Any) -> Figure:
  about = {'kind': 'condense', 'method': subject.method}
  if not subject.method:
    about = {'kind': 'train', 'networks': subject.networks, 'way': subject.way}
  about |= {'dtype': subject.dtype, 'per_call': subject.per_call, **more}
  return Figure(name, about, (*_STEPS, *subject.flags()))

"""One figure of a device: the step of a condensation or of a training, timed, counted and traced.

A command, so that memory and failures are its own: `python -m jaxdistill.benchmarks.steps
--method=m3d --dtype=bfloat16`. It prints a line of JSON as soon as the time is known, and after
each of the rest a fuller one: whatever ends the process, the last line holds what there was.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import statistics
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxdistill import terminal
from jaxdistill.benchmarks import Settings, condensation, networks, timing
from jaxdistill.errors import brief
from jaxdistill.numerics import settled
from jaxdistill.training import cost, trace, traffic
from jaxdistill.training.machine import peak_memory_bytes
from jaxdistill.training.problem import Problem
from jaxdistill.training.program import Program

_LISTED = 15  # operations of a table
_TRACED_SECONDS, _TRACED_CALLS = 1.0, 5


@dataclasses.dataclass(frozen=True)
class Subject:
  """What is measured.

  Attributes:
    method: that condenses; '': networks are trained on a condensed set.
    networks, way: how many are trained at once, and how they share a program.
    per_call: steps in one compiled call.
    seconds: of timing, about.
    whole: whether it is counted and traced as well; 0: timed only.
    dtype, width, ipc, factor, batch_real, classes: as in `Settings`.
  """

  method: str = ''
  networks: int = 1
  way: str = 'auto'
  per_call: int = 1
  seconds: float = 3.0
  whole: int = 1
  dtype: str = Settings.dtype
  width: int = Settings.width
  ipc: int = Settings.ipc
  factor: int = Settings.factor
  batch_real: int = Settings.batch_real
  classes: int = Settings.classes

  def problem(self) -> Problem:
    """Returns it, ready for the loop."""
    shared = {field.name for field in dataclasses.fields(Settings)} - {'networks'}
    mine = dataclasses.asdict(self)
    settings = Settings(**{name: mine[name] for name in mine if name in shared})
    if self.method:
      return condensation.build(self.method, settings)
    return networks.evaluation(settings, self.networks, self.way)

  def flags(self) -> list[str]:
    """Returns it as the flags of the command.

    >>> Subject(method='dm', per_call=10).flags()
    ['--method=dm', '--per-call=10']
    """
    differing = []
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if value != field.default:
        differing.append(f'--{field.name.replace("_", "-")}={value}')
    return differing


@settled(x64=None)
def measure(subject: Subject, tell: Callable[[dict[str, Any]], None]) -> None:
  """Measures in this process, and tells the figures so far each time that there are more of them.

  They are of one step unless they say otherwise. First s_per_step, with several calls under way,
  and s_per_step_waited, where each is waited for (medians; `spread` is the least and the most of
  the former), compile_s, program_bytes of the compiled call, peak_bytes and peak_of as in
  `PeakMemory`; then what `count` gives; last the `profile`. What of the latter two cannot be had is
  told under 'missing', by name.
  """
  built, state, inputs = timing.build(subject.problem(), subject.per_call)
  calls, state = timing.time_calls(built, state, inputs, subject.seconds)
  memory, length = peak_memory_bytes(), subject.per_call
  figures = {
    's_per_step': statistics.median(calls.several) / length,
    's_per_step_waited': statistics.median(calls.waited) / length,
    'spread': [min(calls.several) / length, max(calls.several) / length],
    'compile_s': built.seconds,
    'program_bytes': cost.program_bytes(built.compiled),
    'peak_bytes': memory.bytes,
    'peak_of': memory.of,
    'missing': {},
  }
  tell(figures)
  if not subject.whole:
    return
  parts = {
    'counts': lambda: count(built, subject.dtype),
    'profile': lambda: {'profile': profile(built, state, inputs, statistics.median(calls.waited))},
  }
  for part, figures_of in parts.items():
    try:
      figures |= figures_of()
    except Exception as error:  # the time is known, whatever a compiler's text or a tracer holds
      figures['missing'][part] = f'{type(error).__name__}: {brief(error)}'
    tell(figures)


def count(built: Program, dtype: str) -> dict[str, Any]:
  """Returns what a step of a compiled program computes and moves on one device, and the least
  seconds that this takes there (None where its data sheet is not known)."""
  text, length = built.compiled.as_text(), built.length
  moved = traffic.read(text, _LISTED)
  flops = traffic.flops(built.lowered.as_text(dialect='hlo')) / length
  kind = jax.devices()[0].device_kind
  peak, bandwidth = cost.peak_flops(kind, dtype), cost.peak_bandwidth(kind)
  least = {}
  if peak and bandwidth:
    least = {'compute': flops / peak, 'memory': moved.bytes / length / bandwidth}
  bound = max(least, key=least.get, default=None)
  return {
    'flops': flops,
    'bytes': moved.bytes / length,
    'operations': moved.operations / length,
    'grouped': moved.grouped,
    'largest': [[size / length, *names] for size, *names in moved.largest],
    'least_s': least.get(bound),
    'bound': bound,
  }


def profile(built: Program, state: Any, inputs: Any, seconds: float) -> list[dict[str, Any]]:
  """Traces a few calls of about so many seconds; returns the operations that took longest, as rows
  of operation, seconds and share (of all operations', over all threads), bytes and source."""
  calls = max(1, min(_TRACED_CALLS, int(_TRACED_SECONDS / seconds)))
  steps = calls * built.length
  with tempfile.TemporaryDirectory() as directory:
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with jax.profiler.trace(directory, profiler_options=options):
      for _ in range(calls):
        state, _ = built(state, inputs)
      jax.block_until_ready(state)
    (path,) = pathlib.Path(directory).rglob('*.xplane.pb')
    planes = jax.profiler.ProfileData.from_file(str(path)).planes
    timed = trace.operations(planes, numbered=True)
  total = sum(operation.seconds for operation in timed)
  known, rows = traffic.operations(built.compiled.as_text()), []
  # A GPU's kernel is named after its operation, but for letters that no function's name has.
  kernels = {re.sub(r'\W', '_', name): moved for name, moved in known.items()}
  for operation in timed[:_LISTED]:
    moved = known.get(operation.name) or kernels.get(operation.name)
    rows.append(
      {
        'operation': operation.name[:80],
        'seconds': operation.seconds / steps,
        'share': operation.seconds / total,
        'bytes': moved and moved.bytes / built.length,
        'source': moved.source if moved else '',
      }
    )
  return rows


def main(argv: Sequence[str] | None = None) -> None:
  """Measures what the flags say and prints the figures as lines of JSON."""
  parser = argparse.ArgumentParser(description=main.__doc__)
  for field in dataclasses.fields(Subject):
    name = f'--{field.name.replace("_", "-")}'
    parser.add_argument(name, type=type(field.default), default=field.default)
  subject = Subject(**vars(parser.parse_args(argv)))
  measure(subject, lambda figures: terminal.line(json.dumps(figures)))


if __name__ == '__main__':
  main()

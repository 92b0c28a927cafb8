"""What a run would cost on a machine that is not here: its phases compiled for it, and counted.

The seconds are a bound from below: what the chip's peak, its memory's bandwidth and its links take
at their data sheets' best, whichever takes longest. No program is that fast; how near one comes is
what a measurement there tells.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jax.sharding import Mesh

from jaxdistill.experiment.estimates import Phase
from jaxdistill.report import numbers
from jaxdistill.training import cost, program, traffic
from jaxdistill.training.targets import Target

BOUNDS = ('compute', 'memory', 'links')


@dataclasses.dataclass(frozen=True)
class Count:
  """One phase on a machine; everything of one device and one step unless it says otherwise.

  Attributes:
    compiles: whether the compiler took it.
    error: the compiler's own sentence where it did not.
    flops: of matrix products and convolutions.
    bytes: read from and written to the device's memory.
    bytes_everywhere: the same with what stays in the chip's own memory.
    collectives: bytes of the messages between devices, by kind.
    messages: their number, by kind.
    seconds_at_least: the longest of what `BOUNDS` take.
    bound: which of them that is.
    memory_bytes: arguments, results, temporaries and the program itself.
    memory_share: of the device's memory.
    argument_bytes, temporary_bytes, code_bytes: the parts of it.
    operations: that are started one after the other.
    grouped_convolutions: in the program.
    steps: of the phase, all the times that the run goes through it.
    hours_at_least: of all these steps.
  """

  compiles: bool
  error: str = ''
  flops: int = 0
  bytes: int = 0
  bytes_everywhere: int = 0
  collectives: Mapping[str, int] = dataclasses.field(default_factory=dict)
  messages: Mapping[str, int] = dataclasses.field(default_factory=dict)
  seconds_at_least: float = 0.0
  bound: str = ''
  memory_bytes: int = 0
  memory_share: float = 0.0
  argument_bytes: int = 0
  temporary_bytes: int = 0
  code_bytes: int = 0
  operations: int = 0
  grouped_convolutions: int = 0
  steps: int = 0
  hours_at_least: float = 0.0


def count(phase: Phase, target: Target, mesh: Mesh) -> Count:
  """Compiles the one-step program of a phase for the devices of a mesh, and counts it.

  Args:
    phase: made for the mesh.
    target: the machine that the mesh is of.
    mesh: its devices.
  """
  problem = phase.problem
  try:
    built = program.build(problem.step, problem.source.sample, problem.state, problem.source.data)
  except Exception as error:  # of whatever type the compiler has chosen
    return Count(False, error=_sentence(error))
  moved = traffic.read(built.compiled.as_text())
  flops = traffic.flops(built.lowered.as_text(dialect='hlo'))
  memory = built.compiled.memory_analysis()
  code = memory.generated_code_size_in_bytes
  needed = (cost.program_bytes(built.compiled) or 0) + code
  peak = cost.peak_flops(mesh.devices.flat[0].device_kind, phase.dtype)
  seconds = {
    'compute': flops / peak if peak else 0.0,
    'memory': moved.bytes / target.chip.bandwidth,
    'links': sum(moved.collectives.values()) / target.chip.link,
  }
  bound = max(BOUNDS, key=seconds.get)
  steps = problem.num_steps * max(1, phase.times)
  return Count(
    True,
    flops=flops,
    bytes=moved.bytes,
    bytes_everywhere=moved.bytes_everywhere,
    collectives=moved.collectives,
    messages=moved.counts,
    seconds_at_least=seconds[bound],
    bound=bound,
    memory_bytes=needed,
    memory_share=needed / target.chip.memory,
    argument_bytes=memory.argument_size_in_bytes,
    temporary_bytes=memory.temp_size_in_bytes,
    code_bytes=code,
    operations=moved.operations,
    grouped_convolutions=moved.grouped,
    steps=steps,
    hours_at_least=steps * seconds[bound] / 3600,
  )


def line(name: str, counted: Count) -> str:
  """Returns what is told of a phase.

  >>> line('condense', Count(False, error='Ran out of memory.'))
  'condense: does not compile: Ran out of memory.'
  """
  if not counted.compiles:
    return f'{name}: does not compile: {counted.error}'
  grouped = counted.grouped_convolutions
  parts = [
    f'{name}: compiles; {numbers.size(counted.memory_bytes)} of memory '
    f'({numbers.size(counted.argument_bytes)} arguments, '
    f'{numbers.size(counted.temporary_bytes)} temporaries, '
    f'{numbers.size(counted.code_bytes)} program), {counted.memory_share:.0%} of the device'
    + (', which is TOO MUCH' if counted.memory_share > 1 else ''),
    f'a step {numbers.flops(counted.flops)} and {numbers.traffic(counted.bytes)} moved'
    + _on_chip(counted)
    + (f', {grouped} grouped convolution(s)' if grouped else ''),
    _messages(counted),
    f'at least {numbers.seconds(counted.seconds_at_least)} a step, bound by {counted.bound}, '
    f'{numbers.seconds(counted.seconds_at_least * counted.steps)} for {counted.steps:,} steps',
  ]
  return '; '.join(parts)


def text_of_all(counts: Mapping[str, Count], target: Target, devices: int) -> str:
  """Returns what is told at the end: the machine, and the least hours of all phases."""
  failed = [name for name, counted in counts.items() if not counted.compiles]
  large = [name for name, counted in counts.items() if counted.memory_share > 1]
  hours = sum(counted.hours_at_least for counted in counts.values())
  chip = target.chip
  text = (
    f'{target.name}: {devices} x {chip.label} of {chip.memory / 1e9:.0f} GB and '
    f'{chip.bandwidth / 1e9:,.0f} GB/s; figures are of one device. All phases take at least '
    f'{numbers.seconds(3600 * hours)}, compiling, scoring and pictures not counted.'
  )
  if failed:
    text += f' Not compiled: {", ".join(failed)}.'
  if large:
    text += f' Too large for the device: {", ".join(large)}.'
  return text


def as_json(counts: Mapping[str, Count]) -> dict[str, Any]:
  """Returns the content of the file that `--json` names: {phase: fields of its count}."""
  return {name: dataclasses.asdict(counted) for name, counted in counts.items()}


def _on_chip(counted: Count) -> str:
  stays = counted.bytes_everywhere - counted.bytes
  return f' (and {numbers.traffic(stays)} within the chip)' if stays else ''


def _messages(counted: Count) -> str:
  kinds = [
    f'{number} {kind} of {numbers.traffic(counted.collectives[kind])}'
    for kind, number in counted.messages.items()
  ]
  return ', '.join(kinds) or 'no messages between devices'


def _sentence(error: Exception) -> str:
  """The compiler's first line, without the code of its status."""
  return str(error).strip().splitlines()[0][:500] if str(error).strip() else type(error).__name__

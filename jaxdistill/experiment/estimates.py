"""How long a run will take and what memory it needs, told before it starts."""

import dataclasses
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill import draws, models
from jaxdistill.report import numbers, tables
from jaxdistill.training import hosts, loop
from jaxdistill.training.run import Run, peak_memory_bytes


class Phase(NamedTuple):
  """A phase of a run before it begins.

  Attributes:
    name: of the phase, for people.
    problem: ready for the loop.
    dtype: that its networks compute in, for the share of the device's peak.
    times: how often the run goes through it, with one program; 0: once, and that is not said.
    score: what its state is measured by on the way, whose memory counts too; None: nothing.
  """

  name: str
  problem: loop.Problem
  dtype: str = 'float32'
  times: int = 0
  score: Callable[[Any], Any] | None = None


def measure(phases: Iterable[Phase]) -> dict[str, dict[str, Any]]:
  """Measures a few steps of every phase and extrapolates; returns the fields of a `loop.Estimate`
  by phase."""
  return {phase.name: _measured(phase) for phase in phases}


def _measured(phase: Phase) -> dict[str, Any]:
  once = loop.estimate(phase.problem, dtype=phase.dtype)
  if phase.score is not None:
    phase.score(phase.problem.state)
    once = dataclasses.replace(once, needed_bytes=peak_memory_bytes().bytes)
  return repeated(once, phase.times) if phase.times else dataclasses.asdict(once)


def described(*parts: str, phases: Iterable[Phase]) -> str:
  """Returns what is told of a run in place of starting it: these parts, and the estimate of its
  phases, if it has any."""
  expected = measure(phases)
  return '\n\n'.join([*parts, estimate_text(expected)] if expected else parts)


def parameters(network: Any, image_shape: tuple[int, ...]) -> str:
  """Returns the table of a network's parameters, of which none is made."""
  image = np.zeros((1, *image_shape), np.float32)
  return models.parameter_table(jax.eval_shape(network.init, draws.key(0), image))


def repeated(once: loop.Estimate, times: int) -> dict[str, Any]:
  """Returns the estimate of a phase that a run goes through so many times, with one program.

  >>> once = loop.Estimate(num_steps=10, seconds_per_step=0.5, compile_seconds=2.0,
  ...   total_seconds=7.0, peak_bytes=1, flops_per_step=1.0, peak_share=None, needed_bytes=1,
  ...   needed_of='process')
  >>> repeated(once, 3)['total_seconds']
  17.0
  """
  total = once.compile_seconds + times * once.num_steps * once.seconds_per_step
  return {**dataclasses.asdict(once), 'times': times, 'total_seconds': total}


# A first part of a run that takes less is done before the rest is measured (our choice): nobody
# plans an afternoon by it, and what one looks at is there sooner.
SHORT_SECONDS = 120.0


def estimate_once(
  run: Run,
  compute: Callable[[], dict[str, Any]],
  what: str = 'every phase',
  ready: Mapping[str, Callable[[], bool]] = types.MappingProxyType({}),
  name: str = 'estimate',
  until: str = 'in all',
) -> dict[str, Any]:
  """Returns the estimates of a run, by name: measured at its first start and kept, told at every
  start that has work left.

  Args:
    run: keeps and tells them.
    compute: measures.
    what: is measured, for the one who waits.
    ready: tells of a phase whether other runs have left its result; those that this run has
      finished are known.
    name: that they are kept under.
    until: what the sum of their times is the time of.
  """

  def measured():
    run.say(f'Compiling {what} and timing a few steps.')
    return compute()

  estimates = run.once(name, measured)
  if is_finished(run):
    run.say('This run is finished; its results are read back.')
  else:
    there = [name for name in estimates if run.has(name) or name in ready and ready[name]()]
    run.say(estimate_text(estimates, there, until))
  return estimates


def is_finished(run: Run) -> bool:
  """Whether a work dir holds the result of its run; all processes come here and learn it of the
  first, which alone knows the work dir."""
  return hosts.first(
    'finished', lambda: run.workdir is not None and (run.workdir / 'result.json').exists()
  )


def is_short(estimates: Mapping[str, Mapping[str, Any]]) -> bool:
  """Whether the phases of these estimates are done before the rest of a run is measured.

  >>> is_short({'condense': {'total_seconds': 20.0}})
  True
  """
  return sum(estimate['total_seconds'] for estimate in estimates.values()) < SHORT_SECONDS


def first_step(run: Run) -> float | None:
  """Returns the seconds from the opening of the run to its first step, in the start that came to
  the end first."""
  return run.once('first_step', lambda: run.first_step_seconds)


def estimate_text(
  estimates: Mapping[str, Mapping[str, Any]],
  ready: Collection[str] = (),
  until: str = 'in all',
) -> str:
  """Returns estimates by phase as an aligned table: steps, times, memory and work of a step; then
  what the run needs.

  A phase that the run goes through several times, with one program, says how often under 'times'.
  The phases in `ready` take no time any more.
  """
  rows = [{'phase': name, **estimate} for name, estimate in estimates.items()]
  often = [('times', 'Times', 'count')] if any('times' in row for row in rows) else []
  columns = [
    ('phase', 'Estimate'),
    *often,
    ('num_steps', 'Steps', 'count'),
    ('seconds_per_step', 'A step', 'seconds'),
    ('compile_seconds', 'To compile', 'seconds'),
    ('total_seconds', 'Together', 'seconds'),
    ('peak_bytes', 'Its memory', 'bytes'),
    ('flops_per_step', 'Work a step', numbers.flops),
  ]
  if any(row['peak_share'] for row in rows):
    columns.append(('peak_share', 'Of peak', '.1%'))
  total = sum(row['total_seconds'] for row in rows if row['phase'] not in ready)
  there = [row['phase'] for row in rows if row['phase'] in ready]
  remark = f' ({", ".join(there)}: there already)' if there else ''
  needed = max(row['needed_bytes'] for row in rows)
  return (
    f'{tables.text(rows, columns)}\n{until} about {numbers.seconds(total)}{remark}, scoring and '
    f'selecting images not counted; memory of the {rows[0]["needed_of"]}: about '
    f'{numbers.size(needed)}'
  )

"""The one training loop: compiled steps, logging, evaluation, checkpoints, resume, signals,
progress."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxdistill import errors
from jaxdistill.errors import UserError
from jaxdistill.numerics import settled
from jaxdistill.training import cost, hosts, interrupt, program
from jaxdistill.training.batches import ArraySource, HostSource
from jaxdistill.training.cost import Estimate
from jaxdistill.training.interrupt import Interrupted
from jaxdistill.training.machine import peak_memory_bytes
from jaxdistill.training.phase import Phase
from jaxdistill.training.problem import Problem, Refresh
from jaxdistill.training.run import Run

_TIMED = 3  # steps of an estimate

__all__ = [
  'ArraySource',
  'Estimate',
  'Evaluation',
  'HostSource',
  'Interrupted',
  'Problem',
  'Refresh',
  'estimate',
  'fit',
]


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Something that is measured now and then while a problem is trained, and at its end.

  Attributes:
    measure: state -> dict of floats or lists, for run.history(name). It must not keep arrays of the
      state, whose memory the next step uses again.
    every: steps from one to the next; 0: at the end alone, unless `epochs` says otherwise.
    epochs: the same in passes over the data, rounded to steps; 0: `every` counts.

  >>> Evaluation(lambda state: {}, epochs=1.5).interval(epoch_steps=4)
  6
  """

  measure: Callable[[Any], dict[str, Any]]
  every: int = 0
  epochs: float = 0.0

  def interval(self, epoch_steps: int) -> int:
    """Returns the steps from one evaluation to the next, 0 for the end alone.

    Raises:
      UserError: negative numbers, both, or passes over data that have none.
    """
    errors.whole_numbers(every=self.every)
    errors.real_numbers(epochs=self.epochs)
    if self.every < 0 or self.epochs < 0 or self.every and self.epochs:
      raise UserError(
        'An evaluation comes every so many steps or epochs, one of the two and not negative; '
        f'got every={self.every} and epochs={self.epochs}.'
      )
    if self.epochs and not epoch_steps:
      raise UserError('This problem knows no epochs: give the steps between two evaluations.')
    return self.every or (max(1, round(self.epochs * epoch_steps)) if self.epochs else 0)


@settled(x64=None)
def fit(
  run: Run,
  name: str,
  problem: Problem,
  *,
  evaluate: Evaluation | Sequence[Evaluation] = (),
  steps_per_call: int = 0,
  checkpoint_every: int | None = None,
  keep_final: bool = True,
) -> Any:
  """Applies the problem's step until state.step is `num_steps`, and returns the state; goes on
  where an earlier start was stopped.

  Everything that a step needs is in the state and the batch, so a stopped and resumed phase ends
  bit for bit where an uninterrupted one does. The problem's `state` is copied, not destroyed.

  Args:
    run: where metrics and checkpoints go.
    name: of the phase, unique in the run.
    problem: its step is pure, (state, batch) -> (state, metrics). The state is a pytree with the
      fields `step` (int32, counted up by the step function, 0 at first) and `key` (typed or raw
      uint32; constant); its floating-point leaves stay finite. metrics: dict of scalars or small
      vectors; its 'loss' must stay finite.
    evaluate: what is measured on the way; evaluations that meet at one step make one line of
      run.history(name).
    steps_per_call: steps in one compiled call; 0 for what suits the backend. With a HostSource it
      is always 1.
    checkpoint_every: overrides run.checkpoint_every.
    keep_final: save the state at the end; False when the result is kept elsewhere (then run.discard
      frees the disk).

  Raises:
    UserError: a loss or the state is not finite, the data end too early, a checkpoint does not fit,
      the disk is full.
    Interrupted: after SIGTERM or Ctrl-C, with the state saved, if the run handles signals.
    TypeError: the step changes the form of the state.

  >>> import flax, jax.numpy as jnp
  >>> @flax.struct.dataclass
  ... class State:
  ...   step: jax.Array
  ...   key: jax.Array
  ...   x: jax.Array
  >>> def halve(state, batch):
  ...   return state.replace(step=state.step + 1, x=state.x / 2), {'loss': state.x}
  >>> start = State(jnp.int32(0), jax.random.key(0), jnp.float32(8))
  >>> with Run(progress=False) as run:
  ...   problem = Problem(halve, start, ArraySource({}, lambda data, key, step: None), num_steps=3)
  ...   end = fit(run, 'halving', problem)
  ...   run.curve('halving')[0]['loss'] == (8 + 4 + 2) / 3
  True
  >>> float(end.x)
  1.0
  """
  every = run.checkpoint_every if checkpoint_every is None else checkpoint_every
  num_steps = problem.num_steps
  errors.whole_numbers(num_steps=num_steps, steps_per_call=steps_per_call, checkpoint_every=every)
  if num_steps < 0 or steps_per_call < 0 or every < 0:
    raise UserError(f'The phase {name!r} needs numbers of steps that are not negative.')
  evaluations = [evaluate] if isinstance(evaluate, Evaluation) else evaluate
  timed = [(one.measure, one.interval(problem.epoch_steps)) for one in evaluations]
  sharding = program.common_sharding(problem.state, getattr(problem.source, 'data', ()))
  state = program.settle(problem.state, sharding)
  per_call = 1
  if isinstance(problem.source, ArraySource):
    intervals = [steps for _, steps in timed if steps]
    if problem.refresh is not None:
      intervals.append(problem.refresh.every)
    interval = min(intervals, default=every or num_steps)
    platform = next(iter(sharding.device_set)).platform
    per_call = program.steps_per_call(
      steps_per_call or run.steps_per_call, platform, min(interval, num_steps)
    )
  with interrupt.remembering(run.handle_signals):
    phase = Phase(run, name, num_steps, timed, every, keep_final, problem.rows, problem.refresh)
    finished = phase.resume(state)
    del state
    if finished:
      return phase.state
    with interrupt.holding(phase.unsaved):
      return phase.train(problem.step, problem.source, per_call, program.placer(sharding))


@settled(x64=None)
def estimate(problem: Problem, *, dtype: str = 'float32', seconds: float = 3.0) -> Estimate:
  """Measures on a copy of the state what `fit` would take; writes and consumes nothing.

  Compiles the one-step program (kept for a `fit` that follows), warms up with one step and times up
  to 3 steps or `seconds`, with the reading of their batches. `dtype` is the type that the networks
  compute in, for the share of the peak. Evaluations, refreshes and checkpoints come on top.
  """
  source, num_steps = problem.source, problem.num_steps
  sharding = program.common_sharding(problem.state, getattr(source, 'data', ()))
  state = program.settle(problem.state, sharding)
  feed = source.feed(program.placer(sharding), 0, max(1, min(num_steps, _TIMED + 1)))
  compiled = program.build(problem.step, source.sample, state, feed.take())
  interrupt.check()
  devices = sorted(sharding.device_set, key=lambda device: device.id)
  state, _ = jax.block_until_ready(compiled(state, feed.take()))
  counted = 0

  def measure(steps):
    nonlocal state, counted
    started = time.perf_counter()
    for _ in range(steps):
      counted += 1
      feed.prepare(counted)
      state, _ = jax.block_until_ready(compiled(state, feed.take()))
      interrupt.check()
    return time.perf_counter() - started

  spent = measure(1)
  # All processes must do as many steps as the first one.
  more = hosts.first('timed steps', lambda: max(0, min(_TIMED - 1, int(seconds / spent) - 1)))
  per_step = (spent + measure(more)) / (1 + more)
  needed = peak_memory_bytes()
  flops = cost.program_flops(compiled.lowered, compiled.compiled, len(devices))
  return Estimate(
    num_steps=num_steps,
    compile_seconds=compiled.seconds,
    seconds_per_step=per_step,
    total_seconds=compiled.seconds + num_steps * per_step,
    flops_per_step=flops,
    peak_bytes=cost.program_bytes(compiled.compiled),
    peak_share=cost.share_of_peak(flops, per_step, dtype, devices),
    needed_bytes=needed.bytes,
    needed_of=needed.of,
  )

"""The one training loop: compiled steps, logging, evaluation, checkpoints, resume, signals,
progress."""

import time
from collections.abc import Callable
from typing import Any

import jax

from jaxdistill.errors import UserError
from jaxdistill.training import cost, hosts, program
from jaxdistill.training.batches import ArraySource, HostSource
from jaxdistill.training.cost import Estimate
from jaxdistill.training.interrupt import Interrupted
from jaxdistill.training.machine import peak_memory_bytes
from jaxdistill.training.phase import Phase
from jaxdistill.training.run import Run

_TIMED = 3  # steps of an estimate

__all__ = ['ArraySource', 'Estimate', 'HostSource', 'Interrupted', 'estimate', 'fit']


def fit(
  run: Run,
  name: str,
  step: Callable,
  state: Any,
  source: ArraySource | HostSource,
  num_steps: int,
  *,
  evaluate: Callable[[Any], dict[str, Any]] | None = None,
  evaluate_every: int = 0,
  steps_per_call: int = 0,
  checkpoint_every: int | None = None,
  keep_final: bool = True,
  rows: int | None = None,
) -> Any:
  """Applies `step` until state.step is `num_steps`, and returns the state; goes on where an earlier
  start was stopped.

  Everything that a step needs is in the state and the batch, so a stopped and resumed phase ends
  bit for bit where an uninterrupted one does. The caller's `state` is copied, not destroyed.

  Args:
    run: where metrics and checkpoints go.
    name: of the phase, unique in the run.
    step: pure (state, batch) -> (state, metrics). The state is a pytree with the fields `step`
      (int32, counted up by the step function, 0 at first) and `key` (typed or raw uint32;
      constant); its floating-point leaves stay finite.
      metrics: dict of scalars or small vectors; its 'loss' must stay finite.
    source: of the batches.
    num_steps: length of the phase.
    evaluate: state -> dict of floats or lists, for run.history(name); called after every
      `evaluate_every` steps (0: never before the end) and at the end. It must not keep arrays of
      the state, whose memory the next step uses again.
    steps_per_call: steps in one compiled call; 0 for what suits the backend. With a HostSource it
      is always 1.
    checkpoint_every: overrides run.checkpoint_every.
    rows: how many leading rows of those leaves of the state that are spread over the devices are
      real, the rest being padding to a multiple of the devices: a checkpoint then holds the real
        rows, and any number of devices can go on with it.
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
  ...   end = fit(run, 'halving', halve, start, ArraySource({}, lambda data, key, step: None), 3)
  ...   run.curve('halving')[0]['loss'] == (8 + 4 + 2) / 3
  True
  >>> float(end.x)
  1.0
  """
  every = run.checkpoint_every if checkpoint_every is None else checkpoint_every
  if num_steps < 0 or evaluate_every < 0 or steps_per_call < 0 or every < 0:
    raise UserError(f'The phase {name!r} needs numbers of steps that are not negative.')
  evaluate_every = evaluate_every if evaluate else 0
  sharding = program.common_sharding(state, getattr(source, 'data', ()))
  state = program.settle(state, sharding)
  per_call = 1
  if isinstance(source, ArraySource):
    interval = evaluate_every or every or num_steps
    platform = next(iter(sharding.device_set)).platform
    per_call = program.steps_per_call(
      steps_per_call or run.steps_per_call, platform, min(interval, num_steps)
    )
  with run.watch.watching(run.handle_signals):
    phase = Phase(run, name, num_steps, evaluate, evaluate_every, every, keep_final, rows)
    finished = phase.resume(state)
    del state
    return (
      phase.state if finished else phase.train(step, source, per_call, program.placer(sharding))
    )


def estimate(
  step: Callable,
  state: Any,
  source: ArraySource | HostSource,
  num_steps: int,
  *,
  dtype: str = 'float32',
  seconds: float = 3.0,
) -> Estimate:
  """Measures on a copy of the state what `fit` with the same arguments would take; writes and
  consumes nothing.

  Compiles the one-step program (kept for a `fit` that follows), warms up with one step and times up
  to 3 steps or `seconds`, with the reading of their batches. `dtype` is the type that the networks
  compute in, for the share of the peak. Evaluations and checkpoints
  come on top.
  """
  sharding = program.common_sharding(state, getattr(source, 'data', ()))
  state = program.settle(state, sharding)
  feed = source.feed(program.placer(sharding), 0, max(1, min(num_steps, _TIMED + 1)))
  compiled = program.build(step, source.sample, state, feed.take())
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

"""One phase of a run under way: the order in which the loop computes, logs, evaluates, saves and
stops."""

import collections
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxdistill.errors import UserError
from jaxdistill.report import numbers
from jaxdistill.training import hosts, interrupt, program, progress, records, trace
from jaxdistill.training.batches import Reached
from jaxdistill.training.checkpoint import NonFinite
from jaxdistill.training.interrupt import Interrupted
from jaxdistill.training.problem import Refresh
from jaxdistill.training.run import Run

# Calls that the device may have before it while the host waits for an older one: enough to keep it
# busy, and few enough that Ctrl-C and the progress bar tell of now.
_IN_FLIGHT = 2


class Phase:
  """The state of a phase and its bookkeeping; `loop.fit` tells what the arguments mean.

  `at` counts the steps given to the device, `landed` those whose metrics are back; `saved` is the
  step last saved.
  """

  def __init__(
    self,
    run: Run,
    name: str,
    num_steps: int,
    evaluations: Sequence[tuple[Callable, int]],
    checkpoint_every: int,
    keep_final: bool,
    rows: int | None = None,
    refresh: Refresh | None = None,
  ):
    self.run, self.name, self.num_steps = run, name, num_steps
    self.evaluations, self.refresh = evaluations, refresh
    self.intervals = tuple(every for _, every in evaluations if every)
    if refresh is not None:
      self.intervals += (refresh.every,)
    self.checkpoint_every, self.keep_final, self.rows = checkpoint_every, keep_final, rows
    self.checkpoints = run.checkpoints(name)
    self.state, self.at, self.landed, self.saved = None, 0, 0, None
    self.feed, self.restored = None, Reached(0)
    self.interval, self.layout, self.recent = records.Interval(), (), collections.deque(maxlen=5)
    self.flight, self.programs = collections.deque(), {}
    self.times = dict.fromkeys(
      ('seconds', 'compile_seconds', 'evaluate_seconds', 'save_seconds', 'first_step_seconds'), 0.0
    )
    self.begun = self.started = self.saved_at = time.monotonic()
    self.calls, self.evaluated, self.settling = 0, False, hosts.Settling()
    self.trace = trace.Trace(run.workdir / 'profile', name) if run.profile else None

  def resume(self, template: Any) -> bool:
    """Takes the newest good checkpoint, or begins; forgets what was logged later. Returns whether
    all is done."""
    restored = self.checkpoints.restore(template, self.rows) if self.checkpoints else None
    if restored is None:
      self.state = template
      self.run.records.restore(self.name, -1, [])
      return False
    self.run.warn_unsettled()
    self.state, meta = restored
    self.at = self.landed = self.saved = meta['step']
    if self.at > self.num_steps:
      raise UserError(
        f'The phase {self.name!r} has done {self.at:,} steps already, more than the '
        f'{self.num_steps:,} '
        'that are asked for; use another work dir.'
      )
    self.run.records.restore(self.name, self.at, meta['evaluations'])
    self.restored = Reached(self.at, _own(meta['position']))
    self.interval, self.times = records.Interval(meta['interval']), meta['times']
    self.started = self.saved_at = time.monotonic()
    if self.at == self.num_steps and not self.evaluations_due():
      self.report_times(self.times)
      self.checkpoints.close()
      return True
    self.run.set_seconds(meta['run_seconds'])
    self.run.say(f'{self.name}: continues after step {self.at:,} of {self.num_steps:,}.')
    return False

  def train(self, step: Callable, source: Any, per_call: int, place: Callable[[Any], Any]) -> Any:
    """Runs what is left of the phase; the order of the lines is what makes a resumed run equal an
    uninterrupted one."""
    self.bar = progress.Bar(
      self.name, self.num_steps, self.at, enabled=self.run.progress, say=self.run.say
    )
    try:
      if self.at < self.num_steps:
        self.feed = source.feed(place, self.at, self.num_steps, self.restored.position)
      while self.at < self.num_steps:
        if due := self.evaluations_due():
          self.evaluate(due)
        stop, late = self.settling.settle(self.calls, interrupt.requested(), self.save_late())
        if stop:
          self.stop(stop)
        if late or self.save_due():
          self.save()
        self.advance(step, source.sample, per_call, place)
      self.drain()
      if self.interval.count:
        self.log()
      if due := self.evaluations_due():
        self.evaluate(due)
      if self.keep_final:
        self.save()
      return self.state
    except (KeyboardInterrupt, Interrupted) as error:
      self.rescue(error)
      raise
    finally:
      self.close()

  @property
  def reached(self) -> Reached:
    """How far the source has come."""
    return self.feed.reached if self.feed else self.restored

  def advance(self, step, sample, per_call, place):
    """Gives the device one more call, and waits for an older one."""
    inputs = self.feed.take()
    state = self.refreshed(place)
    length = program.call_length(self.at, per_call, self.num_steps, self.intervals)
    if length not in self.programs:
      self.programs[length] = program.build(step, sample, self.state, inputs, length)
      self.times['compile_seconds'] += self.programs[length].seconds
      self.bar.leave_out(self.programs[length].seconds)
      interrupt.check()
    if self.trace:
      self.trace.before_call(self.calls, lambda: jax.block_until_ready(self.state))
    self.state, metrics = self.programs[length](state, inputs)
    self.at += length
    self.calls += 1
    metrics.values.copy_to_host_async()
    self.flight.append(metrics)
    self.feed.prepare(self.at)
    if self.calls == 1:
      self.check_first_call()
    while len(self.flight) > _IN_FLIGHT:
      self.land()

  def refreshed(self, place):
    """The state that the next call begins with. `self.state`, which alone is ever saved, stays what
    it was before the refresh: after a restart there, the refresh is repeated."""
    if self.refresh is None or not self.refresh.is_due(self.at):
      return self.state
    return place(self.refresh(self.state))

  def check_first_call(self):
    """Waits for the first call, this once: how long it took to get there, and whether the step
    counts."""
    counted = int(self.state.step)
    self.times['first_step_seconds'] = seconds = time.monotonic() - self.begun
    compiling = numbers.seconds(self.times['compile_seconds'])
    text = f'{self.name}: first step after {numbers.seconds(seconds)}, {compiling} of it compiling'
    if self.run.first_step_seconds is None:
      self.run.first_step_seconds = time.monotonic() - self.run.opened
      text += f'; {numbers.seconds(self.run.first_step_seconds)} after the start of the run'
    if self.run.progress:
      self.run.say(f'{text}.')
    if counted != self.at:
      raise ValueError(
        f'state.step is {counted} after step {self.at} of {self.name!r}: '
        'it must begin at 0 and be counted up by the step function.'
      )

  def land(self):
    """Takes in the metrics of the oldest call: checks the losses, logs full intervals."""
    metrics = self.flight[0]
    rows = np.asarray(metrics.values)
    self.flight.popleft()
    self.layout = metrics.layout
    rows = rows.reshape(-1, rows.shape[-1])
    losses = records.column(rows, self.layout, 'loss')
    for i, row in enumerate(rows):
      self.landed += 1
      if losses is not None:
        self.check_loss(losses[i])
      self.interval.add(row)
      if self.landed % self.run.log_every == 0:
        self.log()
    self.bar.update(self.landed, None if losses is None else losses[-1])

  def check_loss(self, loss: float):
    self.recent.append(loss)
    if not np.isfinite(loss):
      losses = ', '.join(f'{value:.4g}' for value in self.recent)
      self.fail(f'the loss is not finite at step {self.landed:,} (last values: {losses})')

  def fail(self, what: str):
    steps = self.checkpoints.steps() if self.checkpoints else []
    where = (
      f'The newest good checkpoint is that of step {steps[-1]:,} in {self.checkpoints.directory}.'
      if steps
      else 'No checkpoint had been saved.'
    )
    raise UserError(
      f'{self.name}: {what}. {where} Try a lower learning rate, '
      'or float32 if the networks compute in bfloat16.'
    )

  def log(self):
    self.run.log(self.name, self.landed, self.interval.means(self.layout))

  def drain(self):
    while self.flight:
      self.land()

  def evaluations_due(self) -> list[Callable]:
    """Returns the evaluations that belong to this step and are not in the history (an interrupt may
    have come in between); those of one step are one line of it."""
    history = self.run.history(self.name)
    if history and history[-1]['step'] == self.at:
      return []
    if self.at == self.num_steps:
      return [measure for measure, _ in self.evaluations]
    return [
      measure for measure, every in self.evaluations if every and self.at and self.at % every == 0
    ]

  def evaluate(self, due: Sequence[Callable]):
    self.drain()
    measured, started = {}, time.monotonic()
    with self.timed('evaluate_seconds'):
      for measure in due:
        metrics = measure(self.state)
        twice = sorted(metrics.keys() & measured.keys())
        if twice:
          raise ValueError(f'Two evaluations of {self.name!r} give the metric {twice[0]!r}.')
        measured |= metrics
      self.run.log(self.name, self.at, measured, kind='evaluate')
    if not self.evaluated:  # the first one compiles
      self.bar.leave_out(time.monotonic() - started)
    self.evaluated = True

  def save_due(self) -> bool:
    """Whether the steps since the last save ask for one."""
    if not self.checkpoints or not self.checkpoint_every or not self.at or self.saved == self.at:
      return False
    return self.at // self.checkpoint_every > (self.saved or 0) // self.checkpoint_every

  def save_late(self) -> bool:
    """Whether the time since the last save asks for one."""
    waited = time.monotonic() - self.saved_at > self.run.checkpoint_seconds
    return bool(
      self.checkpoints and self.checkpoint_every and self.at and self.saved != self.at and waited
    )

  def unsaved(self) -> bool:
    """Whether an end of the process at this moment would lose steps."""
    if not self.checkpoints:
      return False
    return self.at not in (0, self.saved) or self.checkpoints.is_saving

  def save(self):
    """Saves the state as of now, unless it is saved already or there is nowhere to."""
    self.drain()
    if not self.checkpoints or self.saved == self.at:
      return
    meta = dict(
      phase=self.name,
      step=self.at,
      run_seconds=self.run.seconds,
      times=self.times_now(),
      position=_of_all(self.reached.position),
      interval=self.interval.saved(),
      evaluations=self.run.history(self.name),
    )
    with self.timed('save_seconds'), interrupt.saving():
      try:
        self.checkpoints.save(self.at, self.state, meta, self.rows)
      except NonFinite as error:
        self.fail(f'the state ({error}) is not finite after step {self.at:,}')
    self.saved, self.saved_at = self.at, time.monotonic()

  def stop(self, signal: str):
    """After a signal to this process or another one: saves, and ends the program."""
    interrupt.answer()
    where = 'nothing is saved, since the run has no work dir.'
    with interrupt.saving():
      self.save()
      if self.checkpoints:
        self.checkpoints.wait()
    if self.checkpoints:
      where = (
        f'the state is saved in {self.checkpoints.directory}. Start the same command '
        'again to continue.'
      )
    raise Interrupted(
      f'{self.name}: stopped by {signal} after step {self.at:,} of {self.num_steps:,}; {where}'
    )

  def rescue(self, error: BaseException):
    """After an interrupt, which may come anywhere: saves if the state, its step and metrics and the
    source's position are whole and agree."""
    if isinstance(error, interrupt.AtOnce):
      return
    if hosts.count() > 1:
      return  # a save takes them all, and only this one is here
    whole = not any(leaf.is_deleted() for leaf in jax.tree.leaves(self.state))
    if not self.checkpoints or self.saved == self.at or not whole:
      return
    with contextlib.suppress(UserError, RuntimeError), interrupt.saving():
      self.drain()
      if self.landed == self.at == self.reached.step == int(self.state.step):
        if self.at == self.num_steps and self.interval.count:
          self.log()  # the next start finds all steps done, and logs none
        self.save()
        self.checkpoints.wait()
        self.run.say(
          f'{self.name}: the state after step {self.at:,} is saved in {self.checkpoints.directory}.'
        )

  @contextlib.contextmanager
  def timed(self, what: str) -> Iterator[None]:
    started = time.monotonic()
    try:
      yield
    finally:
      self.times[what] += time.monotonic() - started

  def times_now(self) -> dict[str, float]:
    return {**self.times, 'seconds': self.times['seconds'] + time.monotonic() - self.started}

  def report_times(self, times: dict[str, float]):
    alone = (
      times['seconds']
      - times['compile_seconds']
      - times['evaluate_seconds']
      - times['save_seconds']
    )
    self.run.set_timing(
      self.name, {**times, 'steps': self.at, 'steps_per_second': self.at / max(alone, 1e-9)}
    )

  def close(self):
    """Leaves the screen in order, tells the run what the phase took, waits for the last save."""
    try:
      if self.trace:  # first, as nothing that comes after the calls belongs to their time
        self.trace.close(self.run)
    finally:
      self.bar.close()
      self.report_times(self.times_now())
      if self.checkpoints:
        with interrupt.saving():
          self.checkpoints.close()


def _of_all(position):
  """What a checkpoint holds of the source's position: each process reads a share of its own."""
  return (
    position
    if position is None or hosts.count() == 1
    else {'by_process': hosts.collect('position', position)}
  )


def _own(position):
  """The position of this process out of what `_of_all` returned."""
  stored = (
    position['by_process']
    if isinstance(position, dict) and 'by_process' in position
    else [position]
  )
  if position is not None and len(stored) != hosts.count():
    raise UserError(
      f'The checkpoint was written by {len(stored)} processes, each with a share of the data; '
      f'start as many again, not {hosts.count()}.'
    )
  return None if position is None else stored[hosts.number()]

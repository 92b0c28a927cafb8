"""Learning-rate schedules of the papers, as functions of the step. Everything counts in steps; step
0 is the first.

A schedule is a function step -> learning rate, as optax takes it. `Schedule` is one as a value of
plain fields: a section of a config, part of what a trained network is found by.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import optax

from jaxdistill import errors
from jaxdistill.errors import UserError, unknown

# The fields that a kind of schedule reads besides `name` and `learning_rate`.
_WARMUP = ('warmup_steps', 'warmup_share')
_FIELDS = {
  'constant': _WARMUP,
  'multistep': ('drops', 'drop', *_WARMUP),
  'cosine': ('final', *_WARMUP),
  'one_cycle': ('rise', 'div_factor', 'final_div_factor'),
}


@dataclasses.dataclass(frozen=True)
class Schedule:
  """A learning-rate schedule as a value, independent of the length of the training.

  A field that the kind does not read must be left at its default: nothing that is set is ignored.

  >>> schedule = Schedule('multistep', 1.0, drops=(0.5, 0.75), drop=0.1).build(num_steps=4)
  >>> [round(float(schedule(step)), 3) for step in range(4)]
  [1.0, 1.0, 0.1, 0.01]
  >>> Schedule('cosine', 0.1, drops=(0.5,))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: The schedule 'cosine' does not use drops; leave it at ().

  Attributes:
    name: 'constant', 'multistep', 'cosine' or 'one_cycle'.
    learning_rate: at the start; for 'one_cycle' at the peak.
    drops: of 'multistep': rising fractions of the training, at which the rate is multiplied by
      `drop`; the fraction d is the step round(d · num_steps).
    drop: that factor.
    final: of 'cosine': the share of the rate that is left at the end.
    rise: of 'one_cycle': the share of the training that rises.
    div_factor: of 'one_cycle': the first rate is learning_rate / div_factor.
    final_div_factor: of 'one_cycle': the last rate is the first one / final_div_factor.
    warmup_steps: the steps of a linear warm-up, see `warmup`; not for 'one_cycle', which has its
      own.
    warmup_share: the same as a share of the training, round(warmup_share · num_steps) steps; at
      most one of the two is set.
  """

  name: str = 'constant'
  learning_rate: float = 0.01
  drops: tuple[float, ...] = ()
  drop: float = 0.1
  final: float = 0.0
  rise: float = 0.3
  div_factor: float = 25.0
  final_div_factor: float = 1e4
  warmup_steps: int = 0
  warmup_share: float = 0.0

  def __post_init__(self):
    if self.name not in _FIELDS:
      raise unknown('schedule', self.name, _FIELDS)
    check_unused('schedule', self, _FIELDS[self.name])
    errors.whole_numbers(warmup_steps=self.warmup_steps)
    errors.real_numbers(
      learning_rate=self.learning_rate, final=self.final, warmup_share=self.warmup_share
    )
    drops = tuple(self.drops)
    for drop in drops:
      errors.real_numbers(drops=drop)
    if list(drops) != sorted(drops) or not all(0 <= drop <= 1 for drop in drops):
      raise UserError(f'drops must be rising fractions of the training, from 0 to 1, not {drops}.')
    if not 0 <= self.final <= 1:
      raise UserError(f'final must be a share of the learning rate, from 0 to 1, not {self.final}.')
    if not 0 <= self.warmup_share <= 1:
      raise UserError(f'warmup_share must lie between 0 and 1, not {self.warmup_share}.')
    if self.warmup_steps and self.warmup_share:
      raise UserError('Give warmup_steps or warmup_share, not both.')
    self.build(num_steps=1)  # the functions below check the other values

  def boundaries(self, num_steps: int) -> tuple[int, ...]:
    """Returns the steps from which on the rate is lower by one more `drop`; () without drops.

    >>> Schedule('multistep', drops=(0.5, 0.75)).boundaries(10)
    (5, 8)
    """
    return tuple(round(drop * num_steps) for drop in self.drops)

  def build(self, num_steps: int, boundaries: Sequence[int] | None = None) -> optax.Schedule:
    """Returns the learning rate as a function of the step, for a training of `num_steps` steps.

    Args:
      num_steps: of the training.
      boundaries: of 'multistep': the steps of the drops; None: those of the method `boundaries`.

    >>> schedule = Schedule('cosine', 1.0, final=0.5, warmup_share=0.25).build(num_steps=8)
    >>> [round(float(schedule(step)), 3) for step in (0, 4, 8)]
    [0.5, 0.75, 0.5]
    """
    if self.name == 'constant':
      schedule = constant(self.learning_rate)
    elif self.name == 'multistep':
      boundaries = self.boundaries(num_steps) if boundaries is None else boundaries
      schedule = multistep(self.learning_rate, boundaries, self.drop)
    elif self.name == 'cosine':
      schedule = cosine(self.learning_rate, num_steps, self.final * self.learning_rate)
    else:
      return one_cycle(
        self.learning_rate, num_steps, self.rise, self.div_factor, self.final_div_factor
      )
    steps = self.warmup_steps or round(self.warmup_share * num_steps)
    return warmup(schedule, steps) if steps else schedule


def by_tenths(learning_rate: float, epochs: float, *drops: float) -> Schedule:
  """Returns a schedule of so many epochs whose rate is divided by ten at each of the `drops`, which
  count epochs, too.

  >>> by_tenths(0.1, 200, 100, 150).drops
  (0.5, 0.75)
  """
  return Schedule(
    'multistep', learning_rate, drops=tuple(drop / epochs for drop in drops), drop=0.1
  )


def check_unused(kind: str, section: Any, used: Iterable[str]) -> None:
  """Raises `UserError` where a frozen dataclass with a `name` sets a field that this name does not
  use.

  Args:
    kind: what the section describes, for the sentence.
    section: the dataclass; `name` and `learning_rate` are always used.
    used: names of the other fields that are read.

  >>> check_unused('schedule', Schedule('constant', 0.1), used=())
  """
  used = {'name', 'learning_rate', *used}
  for field in dataclasses.fields(section):
    if field.name not in used and getattr(section, field.name) != field.default:
      raise UserError(
        f'The {kind} {section.name!r} does not use {field.name}; leave it at {field.default!r}.'
      )


def in_steps(epochs: float, examples: int, batch: int, drop_last: bool = False) -> int:
  """Returns the number of steps of so many epochs; the last short batch of an epoch is a step too,
  unless dropped.

  >>> in_steps(2, examples=10, batch=4), in_steps(2, examples=10, batch=4, drop_last=True)
  (6, 4)
  """
  errors.whole_numbers(examples=examples, batch=batch)
  errors.real_numbers(epochs=epochs)
  if epochs < 0 or examples < 1 or batch < 1 or drop_last and batch > examples:
    raise UserError(
      f'Epochs of {examples} examples in batches of {batch} cannot be counted; '
      'epochs must be at least 0 and a batch between 1 and the number of examples.'
    )
  return round(epochs * (examples // batch if drop_last else math.ceil(examples / batch)))


def constant(learning_rate: float) -> optax.Schedule:
  """Returns the same learning rate at every step.

  >>> float(constant(0.5)(7))
  0.5
  """
  _positive('learning_rate', learning_rate)
  return lambda count: jnp.full(jnp.shape(count), learning_rate, jnp.float32)


def multistep(learning_rate: float, boundaries: Sequence[int], factor: float) -> optax.Schedule:
  """Returns learning_rate · factor^k, where k is the number of boundaries that are <= step.

  The same as torch.optim.lr_scheduler.MultiStepLR, in steps.

  >>> schedule = multistep(1.0, [2, 4], 0.5)
  >>> [float(schedule(step)) for step in range(6)]
  [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
  """
  _positive('learning_rate', learning_rate)
  _positive('factor', factor)
  for boundary in boundaries:
    errors.whole_numbers(boundary=boundary)
  boundaries = [int(boundary) for boundary in boundaries]
  if boundaries != sorted(boundaries) or any(boundary < 0 for boundary in boundaries):
    raise UserError(
      f'The steps at which the learning rate changes must rise from 0 on, not {boundaries}.'
    )
  values = [learning_rate * factor**k for k in range(len(boundaries) + 1)]

  def schedule(count):
    passed = jnp.sum(jnp.asarray(count) >= jnp.asarray(boundaries, jnp.int32)) if boundaries else 0
    return jnp.asarray(values, jnp.float32)[passed]

  return schedule


def cosine(learning_rate: float, num_steps: int, final: float = 0.0) -> optax.Schedule:
  """Returns final + (learning_rate - final) · (1 + cos(π · step / num_steps)) / 2, and `final` from
  num_steps on.

  Loshchilov and Hutter, ICLR 2017, without restarts.

  >>> [round(float(cosine(1.0, 4)(step)), 3) for step in (0, 2, 4, 9)]
  [1.0, 0.5, 0.0, 0.0]
  """
  _positive('learning_rate', learning_rate)
  errors.whole_numbers(num_steps=num_steps)
  errors.real_numbers(final=final)
  if num_steps < 1 or not 0 <= final <= learning_rate:
    raise UserError(
      'A cosine schedule needs at least one step and 0 <= final <= learning_rate, '
      f'not {num_steps} steps and {final}.'
    )

  def schedule(count):
    done = jnp.minimum(jnp.asarray(count, jnp.float32) / num_steps, 1.0)
    return final + (learning_rate - final) * 0.5 * (1 + jnp.cos(jnp.pi * done))

  return schedule


def one_cycle(
  peak: float,
  num_steps: int,
  rise: float = 0.3,
  div_factor: float = 25.0,
  final_div_factor: float = 1e4,
) -> optax.Schedule:
  """One rise and one fall, each half a cosine: first -> peak -> last.

      first = peak / div_factor, last = first / final_div_factor
      step <= rise · num_steps - 1: from first to peak; then to last, which step num_steps - 1 has

  Args:
    peak: the highest learning rate.
    num_steps: length of the training; later steps keep the last rate.
    rise: share of the training that rises, from 0 to below 1.
    div_factor, final_div_factor: see above; at least 1.

  Source: Smith and Topin, arXiv 1708.07120, in the form and with the defaults of
  torch.optim.lr_scheduler.OneCycleLR with two cosine phases (`rise` is pct_start there). That the
  momentum stays as it is (there it falls and rises against the rate), and that steps behind the
  end are allowed, is our own choice.

  >>> schedule = one_cycle(1.0, num_steps=10, div_factor=10, final_div_factor=100)
  >>> [round(float(schedule(step)), 3) for step in (0, 1, 2, 9)]
  [0.1, 0.55, 1.0, 0.001]
  """
  _positive('learning_rate', peak)
  errors.whole_numbers(num_steps=num_steps)
  errors.real_numbers(rise=rise, div_factor=div_factor, final_div_factor=final_div_factor)
  if num_steps < 1 or not 0 <= rise < 1:
    raise UserError(
      'A one-cycle schedule needs at least one step and 0 <= rise < 1, '
      f'not {num_steps} steps and {rise}.'
    )
  for name, divisor in (('div_factor', div_factor), ('final_div_factor', final_div_factor)):
    if not (divisor >= 1 and math.isfinite(divisor)):
      raise UserError(f'{name} must be a finite number of at least 1, not {divisor}.')
  first = peak / div_factor
  last = first / final_div_factor
  top, end = rise * num_steps - 1, num_steps - 1

  def between(start, stop, done):
    return stop + (start - stop) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(done, 0.0, 1.0)))

  def schedule(count):
    step = jnp.asarray(count, jnp.float32)
    # Where nothing rises, top lies at or before step 0 and the first branch is at most its end.
    rising = between(first, peak, step / top if top > 0 else jnp.ones_like(step))
    return jnp.where(step <= top, rising, between(peak, last, (step - top) / (end - top)))

  return schedule


def warmup(schedule: optax.Schedule | float, num_steps: int) -> optax.Schedule:
  """Returns schedule(step) · min(1, (step + 1) / num_steps): the steps of `schedule` go on counting
  from the start.

  That the first step is not zero, and that the end does not move, is our own choice.

  >>> [float(warmup(1.0, 4)(step)) for step in (0, 1, 3, 8)]
  [0.25, 0.5, 1.0, 1.0]
  """
  errors.whole_numbers(num_steps=num_steps)
  if num_steps < 0:
    raise UserError(f'A warm-up needs a number of steps that is not negative, not {num_steps}.')
  rate = schedule if callable(schedule) else lambda count: schedule
  return lambda count: (
    rate(count) * jnp.minimum(1.0, (jnp.asarray(count, jnp.float32) + 1) / max(num_steps, 1))
  )


def _positive(name, value):
  errors.real_numbers(**{name: value})
  if not (value > 0 and math.isfinite(value)):
    raise UserError(f'{name} must be a finite number above 0, not {value}.')

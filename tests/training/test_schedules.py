"""Schedules by hand, and against the formula of torch's one cycle in float64."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.errors import UserError
from jaxdistill.training import schedules
from jaxdistill.training.schedules import Schedule


def values(schedule, steps):
  return [float(schedule(jnp.int32(step))) for step in steps]


def test_steps_of_epochs():
  assert schedules.in_steps(3, examples=50000, batch=64) == 3 * 782
  assert schedules.in_steps(3, examples=50000, batch=64, drop_last=True) == 3 * 781
  assert schedules.in_steps(0.5, examples=10, batch=100) == 0  # half of one step, rounded to even
  for wrong in (
    dict(epochs=-1, examples=1, batch=1),
    dict(epochs=1, examples=0, batch=1),
    dict(epochs=1, examples=1, batch=0),
    dict(epochs=1, examples=3, batch=4, drop_last=True),
  ):
    with pytest.raises(UserError):
      schedules.in_steps(**wrong)


def test_drops_by_tenths_fall_on_their_epochs():
  schedule = schedules.by_tenths(0.5, 10, 5, 8)
  assert schedule.boundaries(100) == (50, 80)
  expected = [0.5, 0.5, 0.05, 0.05, 0.005]
  np.testing.assert_allclose(values(schedule.build(100), [0, 49, 50, 79, 80]), expected, rtol=1e-6)


def test_multistep_drops_at_each_boundary():
  assert values(schedules.multistep(0.5, [2, 3, 3], 0.5), range(5)) == [
    0.5,
    0.5,
    0.25,
    0.0625,
    0.0625,
  ]
  assert values(schedules.multistep(0.1, [], 0.2), [0, 9]) == [np.float32(0.1)] * 2
  assert values(schedules.multistep(1.0, [0], 0.5), [0]) == [0.5]


def test_cosine():
  np.testing.assert_allclose(
    values(schedules.cosine(2.0, 8, final=1.0), [0, 2, 4, 6, 8, 100]),
    [2, 1.5 + np.sqrt(0.5) / 2, 1.5, 1.5 - np.sqrt(0.5) / 2, 1, 1],
    rtol=1e-6,
  )


def test_warmup_leaves_the_rest_of_the_schedule_alone():
  plain = schedules.multistep(1.0, [3], 0.1)
  np.testing.assert_allclose(
    values(schedules.warmup(plain, 4), range(6)), [0.25, 0.5, 0.75, 0.1, 0.1, 0.1], rtol=1e-6
  )
  assert values(schedules.warmup(0.5, 0), [0]) == [0.5]


def test_constant():
  assert values(schedules.constant(0.25), [0, 10**6]) == [0.25] * 2


def torch_one_cycle(peak, total, rise, div_factor, final_div_factor):
  """The rates that torch's scheduler would set before each step."""
  first = peak / div_factor
  phases = [(rise * total - 1, first, peak), (total - 1, peak, first / final_div_factor)]
  rates = []
  for step in range(total):
    start = 0.0
    for end, before, after in phases:
      if step <= end:
        done = (step - start) / (end - start)
        rates.append(after + (before - after) / 2 * (1 + math.cos(math.pi * done)))
        break
      start = end
  return rates


@pytest.mark.parametrize('rise, total', [(0.3, 10), (0.25, 30), (0.5, 7), (0.1, 5)])
def test_one_cycle_is_that_of_pytorch(rise, total):
  schedule = schedules.one_cycle(2.0, total, rise, div_factor=10, final_div_factor=100)
  np.testing.assert_allclose(
    values(schedule, range(total)), torch_one_cycle(2.0, total, rise, 10, 100), rtol=2e-6, atol=2e-7
  )


def test_one_cycle_at_its_ends_and_peak():
  # 0.3 · 10 - 1 = 2 is the peak; the last step is 9.
  assert values(schedules.one_cycle(1.0, 10), [0, 2, 9, 50]) == pytest.approx(
    [1 / 25, 1.0, 1 / 25e4, 1 / 25e4], rel=1e-6
  )
  # Nothing rises: at once at the peak, on a step that stands behind the end of the rise.
  assert values(schedules.one_cycle(1.0, 4, rise=0.25), [0, 3]) == pytest.approx([1, 1 / 25e4])
  assert values(schedules.one_cycle(1.0, 1, rise=0.0), [0]) == pytest.approx([1 / 25e4])


@pytest.mark.parametrize('num_steps', [1, 10, 37])
def test_a_schedule_builds_the_function_it_names(num_steps):
  """Bit for bit, and with the rounding of fractions to steps."""
  steps = range(num_steps + 2)
  drops = (2 / 3, 5 / 6)
  bounds = [round(drop * num_steps) for drop in drops]
  pairs = [
    (Schedule('constant', 0.1), schedules.constant(0.1)),
    (Schedule('multistep', 0.1, drops, 0.2), schedules.multistep(0.1, bounds, 0.2)),
    (Schedule('cosine', 0.5, final=0.25), schedules.cosine(0.5, num_steps, 0.125)),
    (Schedule('one_cycle', 0.5, rise=0.4), schedules.one_cycle(0.5, num_steps, 0.4)),
    (
      Schedule('cosine', 0.5, warmup_steps=3),
      schedules.warmup(schedules.cosine(0.5, num_steps), 3),
    ),
    (
      Schedule('constant', 0.5, warmup_share=0.25),
      schedules.warmup(schedules.constant(0.5), round(0.25 * num_steps)),
    ),
  ]
  for schedule, function in pairs:
    assert values(schedule.build(num_steps), steps) == values(function, steps), schedule
  assert pairs[1][0].boundaries(num_steps) == tuple(bounds)
  assert pairs[0][0].boundaries(num_steps) == ()


def test_a_schedule_is_a_value():
  schedule = Schedule('multistep', 0.1, drops=(0.5,), warmup_steps=5)
  assert hash(schedule) == hash(Schedule('multistep', 0.1, drops=(0.5,), warmup_steps=5))
  fields = json.loads(json.dumps(dataclasses.asdict(schedule)))
  assert Schedule(**fields | {'drops': tuple(fields['drops'])}) == schedule


def test_a_schedule_compiles():
  for name in ('constant', 'multistep', 'cosine', 'one_cycle'):
    schedule = Schedule(name, 0.1).build(10)
    np.testing.assert_allclose(jax.jit(schedule)(jnp.int32(4)), schedule(4), rtol=1e-6)


@pytest.mark.parametrize(
  'build, word',
  [
    (lambda: schedules.multistep(0.1, [5, 3], 0.1), 'rise'),
    (lambda: schedules.multistep(0.1, [-1], 0.1), 'rise'),
    (lambda: schedules.multistep(0.1, [1], 0), 'factor'),
    (lambda: schedules.multistep(-0.1, [1], 0.1), 'learning_rate'),
    (lambda: schedules.cosine(0.1, 0), 'at least one step'),
    (lambda: schedules.cosine(0.1, 5, final=0.2), 'final'),
    (lambda: schedules.warmup(0.1, -1), 'warm-up'),
    (lambda: schedules.constant(0.0), 'learning_rate'),
    (lambda: schedules.one_cycle(0.0, 5), 'learning_rate'),
    (lambda: schedules.one_cycle(0.1, 0), 'at least one step'),
    (lambda: schedules.one_cycle(0.1, 5, rise=1.0), 'rise'),
    (lambda: schedules.one_cycle(0.1, 5, div_factor=0.5), 'div_factor'),
    (lambda: schedules.one_cycle(0.1, 5, final_div_factor=math.nan), 'final_div_factor'),
    (lambda: Schedule('cosin'), "did you mean 'cosine'"),
    (lambda: Schedule('constant', math.inf), 'learning_rate'),
    (lambda: Schedule('multistep', drops=(0.9, 0.6)), 'rising fractions'),
    (lambda: Schedule('multistep', drops=(5,)), 'fractions'),
    (lambda: Schedule('multistep', drops=(0.5,), drop=-1.0), 'factor'),
    (lambda: Schedule('cosine', final=1.5), 'share of the learning rate'),
    (lambda: Schedule('cosine', drops=(0.5,)), 'does not use drops'),
    (lambda: Schedule('one_cycle', warmup_steps=3), 'does not use warmup_steps'),
    (lambda: Schedule('constant', warmup_steps=3, warmup_share=0.1), 'not both'),
    (lambda: Schedule('constant', warmup_steps=-3), 'warm-up'),
    (lambda: Schedule('constant', warmup_share=-0.1), 'warmup_share'),
    (lambda: Schedule('cosine').build(0), 'at least one step'),
  ],
)
def test_senseless_schedules_are_refused(build, word):
  with pytest.raises(UserError, match=word):
    build()

"""The clock of the benchmarks: what is counted and what is left out."""

import types

import flax
import jax
import jax.numpy as jnp

from jaxdistill.benchmarks import timing
from jaxdistill.training import loop


@flax.struct.dataclass
class State:
  step: jax.Array
  key: jax.Array


def test_a_compiled_step_is_timed_after_a_first_call():
  source = loop.ArraySource(jnp.float32(2), lambda data, key, step: data)
  problem = types.SimpleNamespace(
    step=lambda state, factor: (state.replace(step=state.step + 1), {'loss': factor}),
    state=State(jnp.int32(0), jax.random.key(0)),
    source=source,
  )
  built, seconds = timing.time_steps(problem, 3)
  assert len(seconds) == 3 and min(seconds) > 0 and built.seconds > 0


def test_the_first_call_of_a_function_does_not_count(monkeypatch):
  clock = iter([0.0, 1.0, 1.0, 4.0, 4.0, 6.0])
  monkeypatch.setattr(timing.time, 'perf_counter', lambda: next(clock))
  calls = []
  assert timing.median_seconds(calls.append, ['x'], repeats=3) == 2.0
  assert calls == ['x'] * 4


def test_random_images_are_the_same_again_and_hold_every_class():
  first, again = timing.random_images(3, classes=4), timing.random_images(3, classes=4)
  assert (first.images == again.images).all() and list(first.counts) == [3] * 4

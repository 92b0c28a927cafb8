"""Speed of a network: what is timed, and how it is counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import models
from jaxdistill.data import crops
from jaxdistill.distillation import speed
from jaxdistill.errors import UserError


@pytest.fixture(scope='module')
def network():
  return models.build({'name': 'mlp', 'width': 4, 'depth': 1}, 3, (4, 4, 3))


@pytest.fixture(scope='module')
def variables(network):
  return network.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))


class Clock:
  """A clock on which every call of a program takes the next of some durations."""

  def __init__(self, durations):
    self.now, self.durations, self.calls = 0.0, list(durations), 0

  def perf_counter(self):
    return self.now

  def call(self, *arguments):
    self.calls += 1
    self.now += self.durations.pop(0)
    return arguments


def test_the_median_of_the_calls_after_the_first_counts(monkeypatch):
  clock = Clock([100.0, 2.0, 1.0, 9.0, 3.0, 1.0, 7.0])
  monkeypatch.setattr(speed, 'time', clock)
  # Of 2 s the second call is past the end; five are timed all the same.
  assert speed._median_seconds(clock.call, (1,), seconds=2.0) == 2.0
  assert clock.calls == 6


def test_timing_ends_with_its_time(monkeypatch):
  clock = Clock([50.0] + [0.5] * 99)
  monkeypatch.setattr(speed, 'time', clock)
  assert speed._median_seconds(clock.call, (1,), seconds=5.0) == 0.5
  assert clock.calls == 11


def test_batches_count_their_images_and_the_resizing_is_in_the_program(
  network, variables, monkeypatch
):
  timed = []

  def one_millisecond(function, arguments, seconds):
    timed.append((np.shape(arguments[1]), arguments[1].dtype, function(*arguments).shape))
    return 0.001

  monkeypatch.setattr(speed, '_median_seconds', one_millisecond)
  speeds = speed.images_per_second(network, variables, (8, 8, 3), view=crops.Resize(4))
  assert speeds == pytest.approx({1: 1000, 256: 256_000})
  assert timed == [((size, 8, 8, 3), np.uint8, (size, 3)) for size in (1, 256)]
  assert speed.images_per_second(network, variables, (4, 4, 3), batches=[2]) == {2: 2000}


def test_a_batch_of_nothing_is_refused(network, variables):
  with pytest.raises(UserError, match='batch is 0'):
    speed.images_per_second(network, variables, (4, 4, 3), batches=(0,))


def test_small_images_are_answered_faster():
  """A student of 16x16 images has 36 times fewer pixels than one of 96x96."""
  speeds = []
  for side in (16, 96):
    network = models.build({'name': 'resnet8', 'width': 4}, 3, (side, side, 3))
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, side, side, 3)))
    shape = (side, side, 3)
    speeds.append(
      speed.images_per_second(network, variables, shape, batches=[16], seconds=0.05)[16]
    )
  assert speeds[0] > 5 * speeds[1]

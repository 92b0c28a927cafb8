"""Schedules and SGD by hand, against plain float64 loops."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill.errors import UserError
from jaxdistill.training import optim


def values(schedule, steps):
  return [float(schedule(jnp.int32(step))) for step in steps]


def test_steps_of_epochs():
  assert optim.in_steps(3, examples=50000, batch=64) == 3 * 782
  assert optim.in_steps(3, examples=50000, batch=64, drop_last=True) == 3 * 781
  assert optim.in_steps(0.5, examples=10, batch=100) == 0  # half of one step, rounded to even
  for wrong in (
    dict(epochs=-1, examples=1, batch=1),
    dict(epochs=1, examples=0, batch=1),
    dict(epochs=1, examples=1, batch=0),
    dict(epochs=1, examples=3, batch=4, drop_last=True),
  ):
    with pytest.raises(UserError):
      optim.in_steps(**wrong)


def test_multistep_drops_at_each_boundary():
  assert values(optim.multistep(0.5, [2, 3, 3], 0.5), range(5)) == [0.5, 0.5, 0.25, 0.0625, 0.0625]
  assert values(optim.multistep(0.1, [], 0.2), [0, 9]) == [np.float32(0.1)] * 2
  assert values(optim.multistep(1.0, [0], 0.5), [0]) == [0.5]


def test_cosine():
  np.testing.assert_allclose(
    values(optim.cosine(2.0, 8, final=1.0), [0, 2, 4, 6, 8, 100]),
    [2, 1.5 + np.sqrt(0.5) / 2, 1.5, 1.5 - np.sqrt(0.5) / 2, 1, 1],
    rtol=1e-6,
  )


def test_warmup_leaves_the_rest_of_the_schedule_alone():
  plain = optim.multistep(1.0, [3], 0.1)
  np.testing.assert_allclose(
    values(optim.warmup(plain, 4), range(6)), [0.25, 0.5, 0.75, 0.1, 0.1, 0.1], rtol=1e-6
  )
  assert values(optim.warmup(0.5, 0), [0]) == [0.5]


@pytest.mark.parametrize(
  'momentum, decay, nesterov',
  [(0, 0, False), (0.9, 0, False), (0.9, 0.01, False), (0.5, 0.1, True)],
)
def test_sgd_is_that_of_pytorch(momentum, decay, nesterov):
  curvature = np.array([1.0, 3.0])
  optimizer = optim.sgd(optim.multistep(0.1, [3], 0.1), momentum, decay, nesterov)
  w = jnp.array([1.0, -2.0])
  state = optimizer.init(w)
  plain, velocity = np.array([1.0, -2.0]), np.zeros(2)
  for step in range(6):
    updates, state = optimizer.update(jnp.asarray(curvature) * w, state, w)
    w = optax.apply_updates(w, updates)
    gradient = curvature * plain + decay * plain
    velocity = momentum * velocity + gradient
    plain = plain - (0.1 if step < 3 else 0.01) * (
      gradient + momentum * velocity if nesterov else velocity
    )
  np.testing.assert_allclose(w, plain, rtol=1e-5)


def test_momentum_is_cleared_when_asked():
  optimizer = optim.sgd(1.0, momentum=0.5)
  w = jnp.zeros(2)
  _, state = optimizer.update(jnp.ones(2), optimizer.init(w), w)
  for when, step in ((False, -1.5), (True, -1.0)):
    updates, _ = jax.jit(
      lambda s, when=when: optimizer.update(jnp.ones(2), optim.clear_momentum(s, when), w)
    )(state)
    assert updates.tolist() == [step] * 2


@pytest.mark.parametrize(
  'build',
  [
    lambda: optim.sgd(0.0),
    lambda: optim.sgd(float('nan')),
    lambda: optim.sgd(0.1, momentum=1.0),
    lambda: optim.sgd(0.1, momentum=-0.1),
    lambda: optim.sgd(0.1, weight_decay=-1),
    lambda: optim.sgd(0.1, nesterov=True),
    lambda: optim.multistep(0.1, [5, 3], 0.1),
    lambda: optim.multistep(0.1, [-1], 0.1),
    lambda: optim.multistep(0.1, [1], 0),
    lambda: optim.multistep(-0.1, [1], 0.1),
    lambda: optim.cosine(0.1, 0),
    lambda: optim.cosine(0.1, 5, final=0.2),
    lambda: optim.warmup(0.1, -1),
  ],
)
def test_senseless_values_are_refused(build):
  with pytest.raises(UserError):
    build()

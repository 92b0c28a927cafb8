"""Learning-rate schedules and optimisers of the papers, on optax. Everything counts in steps; step
0 is the first."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdistill.errors import UserError


def in_steps(epochs: float, examples: int, batch: int, drop_last: bool = False) -> int:
  """Returns the number of steps of so many epochs; the last short batch of an epoch is a step too,
  unless dropped.

  >>> in_steps(2, examples=10, batch=4), in_steps(2, examples=10, batch=4, drop_last=True)
  (6, 4)
  """
  if epochs < 0 or examples < 1 or batch < 1 or drop_last and batch > examples:
    raise UserError(
      f'Epochs of {examples} examples in batches of {batch} cannot be counted; '
      'epochs must be at least 0 and a batch between 1 and the number of examples.'
    )
  return round(epochs * (examples // batch if drop_last else math.ceil(examples / batch)))


def multistep(learning_rate: float, boundaries: Sequence[int], factor: float) -> optax.Schedule:
  """Returns learning_rate · factor^k, where k is the number of boundaries that are <= step.

  The same as torch.optim.lr_scheduler.MultiStepLR, in steps.

  >>> schedule = multistep(1.0, [2, 4], 0.5)
  >>> [float(schedule(step)) for step in range(6)]
  [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
  """
  _positive('learning_rate', learning_rate)
  _positive('factor', factor)
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
  if num_steps < 1 or not 0 <= final <= learning_rate:
    raise UserError(
      'A cosine schedule needs at least one step and 0 <= final <= learning_rate, '
      f'not {num_steps} steps and {final}.'
    )

  def schedule(count):
    done = jnp.minimum(jnp.asarray(count, jnp.float32) / num_steps, 1.0)
    return final + (learning_rate - final) * 0.5 * (1 + jnp.cos(jnp.pi * done))

  return schedule


def warmup(schedule: optax.Schedule | float, num_steps: int) -> optax.Schedule:
  """Returns schedule(step) · min(1, (step + 1) / num_steps): the steps of `schedule` go on counting
  from the start.

  That the first step is not zero, and that the end does not move, is our own choice.

  >>> [float(warmup(1.0, 4)(step)) for step in (0, 1, 3, 8)]
  [0.25, 0.5, 1.0, 1.0]
  """
  if num_steps < 0:
    raise UserError(f'A warm-up needs a number of steps that is not negative, not {num_steps}.')
  rate = schedule if callable(schedule) else lambda count: schedule
  return lambda count: (
    rate(count) * jnp.minimum(1.0, (jnp.asarray(count, jnp.float32) + 1) / max(num_steps, 1))
  )


def sgd(
  learning_rate: optax.ScalarOrSchedule,
  momentum: float = 0.0,
  weight_decay: float = 0.0,
  nesterov: bool = False,
) -> optax.GradientTransformation:
  """Stochastic gradient descent with the momentum and the coupled weight decay of torch.optim.SGD.

      g ← gradient + weight_decay · p        v ← momentum · v + g        p ← p - learning_rate · v

  (Nesterov: p ← p - learning_rate · (g + momentum · v).) All parameters decay, biases and scales
  too, as in the papers' code.

  Raises:
    UserError: a value out of range.
  """
  if not callable(learning_rate):
    _positive('learning_rate', learning_rate)
  if not 0 <= momentum < 1:
    raise UserError(f'momentum must be at least 0 and below 1, not {momentum}.')
  if not (weight_decay >= 0 and math.isfinite(weight_decay)):
    raise UserError(
      f'weight_decay must be a finite number that is not negative, not {weight_decay}.'
    )
  if nesterov and not momentum:
    raise UserError('Nesterov needs a momentum above 0.')
  steps = [optax.add_decayed_weights(weight_decay)] if weight_decay else []
  steps += [optax.trace(momentum, nesterov)] if momentum else []
  return optax.chain(*steps, optax.scale_by_learning_rate(learning_rate))


def clear_momentum(state: Any, when: jax.Array) -> Any:
  """Returns the optimiser's state with every momentum set to zero where `when` (a boolean scalar)
  holds.

  For released codes that make a new optimiser at each drop of the learning rate.
  """

  def clear(node):
    if not isinstance(node, optax.TraceState):
      return node
    return node._replace(
      trace=jax.tree.map(lambda leaf: jnp.where(when, jnp.zeros_like(leaf), leaf), node.trace)
    )

  return jax.tree.map(clear, state, is_leaf=lambda node: isinstance(node, optax.TraceState))


def _positive(name, value):
  if not (value > 0 and math.isfinite(value)):
    raise UserError(f'{name} must be a finite number above 0, not {value}.')

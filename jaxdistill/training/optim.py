"""Optimisers of the papers, on optax.

In all of them the learning rate is the last factor of an update, so that an update can be scaled
afterwards as if it had had another rate (networks that are trained side by side, each at its own).
`Optimizer` is one as a value of plain fields: a section of a config, part of what a trained network
is found by. `groups` gives some parameters a learning rate or a decay of their own.
"""

import dataclasses
import inspect
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdistill import errors
from jaxdistill.errors import UserError, unknown
from jaxdistill.training import schedules
from jaxdistill.training.groups import Group, by_group


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """An optimiser as a value, independent of the learning rate.

  A field that the optimiser does not read must be left at its default: nothing that is set is
  ignored.

  >>> optimizer = Optimizer('sgd', momentum=0.5).build(schedules.constant(1.0))
  >>> state = optimizer.init(jnp.zeros(()))
  >>> for _ in range(2):
  ...   update, state = optimizer.update(jnp.ones(()), state)
  >>> float(update)
  -1.5
  >>> Optimizer('adam', nesterov=True)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: The optimiser 'adam' does not use nesterov; leave it at False.

  Attributes:
    name: 'sgd', 'adam', 'adamw' or 'lars', the functions of this module.
    momentum: of 'sgd' and 'lars'.
    dampening, nesterov: of 'sgd'.
    beta1, beta2, epsilon: of 'adam' and 'adamw'.
    weight_decay: of all; what it means differs, see the functions.
    trust, excluded: of 'lars'.
  """

  name: str = 'sgd'
  momentum: float = 0.9
  dampening: float = 0.0
  nesterov: bool = False
  beta1: float = 0.9
  beta2: float = 0.999
  epsilon: float = 1e-8
  weight_decay: float = 0.0
  trust: float = 0.001
  excluded: tuple[str, ...] = ('bias', 'scale')

  def __post_init__(self):
    if self.name not in _OPTIMIZERS:
      raise unknown('optimiser', self.name, _OPTIMIZERS)
    schedules.check_unused('optimiser', self, self._fields())
    self.build(1.0)  # the functions below check the values

  def build(
    self, learning_rate: optax.ScalarOrSchedule, groups: Sequence[Group] = ()
  ) -> optax.GradientTransformation:
    """Returns the optimiser with this learning rate and these groups of parameters.

    >>> optimizer = Optimizer('adamw', weight_decay=0.1).build(0.01)
    >>> updates, _ = optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), jnp.ones(2))
    >>> [round(float(update), 4) for update in updates]
    [-0.011, -0.011]
    """
    fields = {name: getattr(self, name) for name in self._fields()}
    return _OPTIMIZERS[self.name](learning_rate, groups=groups, **fields)

  def _fields(self):
    read = inspect.signature(_OPTIMIZERS[self.name]).parameters
    return [field.name for field in dataclasses.fields(self) if field.name in read]


def sgd(
  learning_rate: optax.ScalarOrSchedule,
  momentum: float = 0.0,
  weight_decay: float = 0.0,
  nesterov: bool = False,
  dampening: float = 0.0,
  groups: Sequence[Group] = (),
) -> optax.GradientTransformation:
  """Stochastic gradient descent with the momentum and the coupled weight decay of torch.optim.SGD.

      g ← gradient + weight_decay · p
      v ← momentum · v + (1 - dampening) · g, the first time v ← g
      p ← p - learning_rate · v

  (Nesterov: p ← p - learning_rate · (g + momentum · v).) All parameters decay, biases and scales
  too, as in the papers' code.

  Raises:
    UserError: a value out of range; as in torch dampening goes with momentum, but not with
      Nesterov.

  >>> optimizer = sgd(0.5, momentum=0.9, dampening=0.5)
  >>> state = optimizer.init(jnp.zeros(()))
  >>> for _ in range(2):
  ...   update, state = optimizer.update(jnp.ones(()), state)
  >>> round(float(update), 3)
  -0.7
  """
  _check_share('momentum', momentum)
  _check_share('dampening', dampening)
  if nesterov and not momentum:
    raise UserError('Nesterov needs a momentum above 0.')
  if dampening and (nesterov or not momentum):
    raise UserError('Dampening needs a momentum above 0 and no Nesterov.')
  steps = _decay(weight_decay, groups)
  if dampening:
    steps += [_dampened_trace(momentum, dampening)]
  elif momentum:
    steps += [optax.trace(momentum, nesterov)]
  return _chain(steps, groups, learning_rate)


def adam(
  learning_rate: optax.ScalarOrSchedule,
  beta1: float = 0.9,
  beta2: float = 0.999,
  epsilon: float = 1e-8,
  weight_decay: float = 0.0,
  groups: Sequence[Group] = (),
) -> optax.GradientTransformation:
  """Adam with the coupled weight decay of torch.optim.Adam.

      g ← gradient + weight_decay · p
      m ← beta1 · m + (1 - beta1) · g         s ← beta2 · s + (1 - beta2) · g²
      p ← p - learning_rate · m / (1 - beta1^t) / (√(s / (1 - beta2^t)) + epsilon),   t = 1, 2, ...

  Source: Kingma and Ba, ICLR 2015.

  Raises:
    UserError: a value out of range.

  >>> optimizer = adam(0.1)
  >>> update, _ = optimizer.update(jnp.array(-7.0), optimizer.init(jnp.zeros(())))
  >>> round(float(update), 4)
  0.1
  """
  steps = [*_decay(weight_decay, groups), _adam_step(beta1, beta2, epsilon)]
  return _chain(steps, groups, learning_rate)


def adamw(
  learning_rate: optax.ScalarOrSchedule,
  beta1: float = 0.9,
  beta2: float = 0.999,
  epsilon: float = 1e-8,
  weight_decay: float = 0.01,
  groups: Sequence[Group] = (),
) -> optax.GradientTransformation:
  """Adam with decoupled weight decay, as torch.optim.AdamW: p ← p - learning_rate · (a +
  weight_decay · p), where a is the step of `adam` without decay.

  All parameters decay.

  Source: Loshchilov and Hutter, ICLR 2019.

  Raises:
    UserError: a value out of range.

  >>> optimizer = adamw(0.1, weight_decay=0.5)
  >>> update, _ = optimizer.update(jnp.array(-7.0), optimizer.init(jnp.ones(())), jnp.ones(()))
  >>> round(float(update), 4)
  0.05
  """
  steps = [_adam_step(beta1, beta2, epsilon), *_decay(weight_decay, groups)]
  return _chain(steps, groups, learning_rate)


def lars(
  learning_rate: optax.ScalarOrSchedule,
  momentum: float = 0.9,
  weight_decay: float = 0.0,
  trust: float = 0.001,
  excluded: Sequence[str] = ('bias', 'scale'),
  groups: Sequence[Group] = (),
) -> optax.GradientTransformation:
  """Momentum with a rate for every layer (LARS), in proportion to the size of its weights.

      λ = trust · ‖w‖ / (‖gradient‖ + weight_decay · ‖w‖)      for every array w of weights
      v ← momentum · v + λ · (gradient + weight_decay · w)
      w ← w - learning_rate · v

  Networks that are stacked along a leading axis need `jax.vmap`, else they share their norms.

  Args:
    excluded: last names of parameters that keep λ = 1 and do not decay: biases, and the scales of
      normalisation layers. The paper says nothing of them; codes of contrastive learning do this.

  Source: You, Gitman and Ginsburg, arXiv 1708.03888. There the learning rate stands before the
  momentum takes λ · (...) up, here behind it, as in torch.optim.SGD; they differ where the rate
  changes. λ = 1 where ‖w‖ or ‖gradient‖ is 0, the excluded names: our own choices.

  Raises:
    UserError: a value out of range.

  >>> optimizer = lars(1.0, momentum=0.0, trust=0.1)
  >>> params = {'kernel': jnp.array([3.0, 4.0]), 'bias': jnp.array([3.0, 4.0])}
  >>> gradient = {'kernel': jnp.array([0.0, 2.0]), 'bias': jnp.array([0.0, 2.0])}
  >>> updates, _ = optimizer.update(gradient, optimizer.init(params), params)
  >>> {name: [round(float(u), 3) for u in update] for name, update in updates.items()}
  {'bias': [-0.0, -2.0], 'kernel': [-0.0, -0.5]}
  """
  _check_share('momentum', momentum)
  _check_decay(weight_decay)
  _check_positive('trust', trust)
  if isinstance(excluded, str):
    raise UserError(f'excluded is a tuple of names: ({excluded!r},) in place of {excluded!r}.')
  steps = [_trust_step(weight_decay, trust, tuple(excluded), groups)]
  steps += [optax.trace(momentum)] if momentum else []
  return _chain(steps, groups, learning_rate)


_OPTIMIZERS = {'sgd': sgd, 'adam': adam, 'adamw': adamw, 'lars': lars}


class DampenedState(NamedTuple):
  """The momentum of `sgd` with dampening.

  trace: v, of the form of the parameters. started: whether v has taken up a gradient yet.
  """

  trace: Any
  started: jax.Array


# What an optimiser remembers of earlier gradients; all of it is zero at the start.
_MEMORIES = (optax.TraceState, DampenedState, optax.ScaleByAdamState)


def clear_momentum(state: Any, when: jax.Array) -> Any:
  """Returns the optimiser's state with every momentum set to zero where `when` (a boolean scalar)
  holds.

  For released codes that make a new optimiser at each drop of the learning rate: the moments of
  Adam and its count for their correction start again too.

  >>> optimizer = sgd(1.0, momentum=0.5)
  >>> _, state = optimizer.update(jnp.ones(()), optimizer.init(jnp.zeros(())))
  >>> float(optimizer.update(jnp.ones(()), clear_momentum(state, True))[0])
  -1.0
  """

  def is_memory(node):
    return isinstance(node, _MEMORIES)

  def clear(node):
    if not is_memory(node):
      return node
    return jax.tree.map(lambda leaf: jnp.where(when, jnp.zeros_like(leaf), leaf), node)

  return jax.tree.map(clear, state, is_leaf=is_memory)


def _chain(steps, groups, learning_rate):
  """Puts the factors of the groups and, last of all, the learning rate behind `steps`."""
  if not callable(learning_rate):
    _check_positive('learning_rate', learning_rate)
  if groups:
    steps = [*steps, by_group(lambda update, _, group, path: update * group.learning_rate, groups)]
  return optax.chain(*steps, optax.scale_by_learning_rate(learning_rate))


def _decay(weight_decay, groups):
  """The steps that add weight_decay · parameter to the update; none where nothing decays."""
  _check_decay(weight_decay)
  if not any(group.weight_decay is not None for group in groups):
    return [optax.add_decayed_weights(weight_decay)] if weight_decay else []

  def add(update, parameter, group, path):
    return update + group.decay(weight_decay) * parameter

  return [by_group(add, groups)]


def _dampened_trace(momentum, dampening):
  def init(params):
    return DampenedState(jax.tree.map(jnp.zeros_like, params), jnp.zeros((), bool))

  def update(updates, state, params=None):
    def move(g, v):
      return jnp.where(state.started, momentum * v + (1 - dampening) * g, g)

    trace = jax.tree.map(move, updates, state.trace)
    return trace, DampenedState(trace, jnp.ones_like(state.started))

  return optax.GradientTransformation(init, update)


def _adam_step(beta1, beta2, epsilon):
  _check_share('beta1', beta1)
  _check_share('beta2', beta2)
  _check_positive('epsilon', epsilon)
  return optax.scale_by_adam(beta1, beta2, epsilon)


def _trust_step(weight_decay, trust, excluded, groups):
  """gradient ← λ · (gradient + weight_decay · w) of `lars`."""

  def adapt(gradient, weights, group, path):
    if path.rpartition('/')[2] in excluded:
      return gradient
    decay = group.decay(weight_decay)
    size, slope = _norm(weights), _norm(gradient)
    usable = (size > 0) & (slope > 0)
    # The divisor is 1 where the ratio is not taken: no division by zero.
    ratio = trust * size / jnp.where(usable, slope + decay * size, 1.0)
    rate = jnp.where(usable, ratio, 1.0).astype(gradient.dtype)
    return rate * (gradient + decay * weights)

  return by_group(adapt, groups)


def _norm(array):
  return jnp.sqrt(jnp.sum(jnp.square(array.astype(jnp.float32))))


def _check_positive(name, value):
  errors.real_numbers(**{name: value})
  if not (value > 0 and math.isfinite(value)):
    raise UserError(f'{name} must be a finite number above 0, not {value}.')


def _check_share(name, value):
  errors.real_numbers(**{name: value})
  if not 0 <= value < 1:
    raise UserError(f'{name} must be at least 0 and below 1, not {value}.')


def _check_decay(value):
  errors.real_numbers(weight_decay=value)
  if not (value >= 0 and math.isfinite(value)):
    raise UserError(f'weight_decay must be a finite number that is not negative, not {value}.')

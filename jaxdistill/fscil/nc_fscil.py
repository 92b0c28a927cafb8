"""NC-FSCIL: a projector learns to send every class to a direction that was fixed for it before any
image was seen (Yang et al., ICLR 2023, arXiv 2302.03004).

The directions are the columns e_c of a simplex equiangular tight frame (ETF) over all classes that
will ever come, as far from each other as directions can be. The encoder is frozen; a session goes
on training the one projector on the features of the new images and the class means of all features
before.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from jaxdistill import draws, errors
from jaxdistill.data import samplers
from jaxdistill.fscil.learner import (
  Arrivals,
  Learner,
  Memory,
  Rows,
  Start,
  State,
  Task,
  in_sessions,
  remembered_rows,
)
from jaxdistill.losses.prototypes import class_lengths, dot_regression, unit
from jaxdistill.models.heads import EtfHead, Projector
from jaxdistill.training import schedules
from jaxdistill.training.optim import Optimizer

HEAD = 'etf'


def learner(
  task: Task,
  *,
  steps: int | Sequence[int] = 100,
  batch: int = 64,
  learning_rate: float = 0.25,
  warmup_steps: int = 5,
  cooldown_steps: int = 5,
  momentum: float = 0.9,
  weight_decay: float = 5e-4,
  copies: int | Sequence[int] = 1,
  lengths: bool = True,
  mixing: float = 0.75,
  mixing_share: float = 0.5,
) -> Learner:
  """Returns NC-FSCIL.

      h = unit(φ(f)),   logit_c = e_cᵀ h,   L = 10 · ½ mean_i s_{y_i}² (e_{y_i}ᵀ h_i - 1)²

  The e_c are those that the base network was trained with, `heads.EtfHead`'s.

  A batch mixes its features with the probability `mixing`: λ f_i + (1 - λ) f_j for a row j at
  random, with the loss λ L(y_i) + (1 - λ) L(y_j).

  Args:
    task: the static facts.
    steps: of every session, or one number a session. The authors' are 50, 75, 100, 120, 140, 160,
      200, 200 for CIFAR-100.
    batch: rows a step.
    learning_rate: at the end of the warm-up, see `schedule`.
    warmup_steps, cooldown_steps: of every session.
    momentum, weight_decay: of SGD.
    copies: how often the memory of a class of an earlier session is there, at least once (that of
      base classes is there once), or one number a session; 1 for CIFAR-100, the session's number
      for miniImageNet and CUB-200.
    lengths: whether rare classes of a batch pull harder, s_c of `losses.prototypes.class_lengths`;
      else s_c = 1. The authors do so for CIFAR-100.
    mixing: the probability; 0.75 for CIFAR-100, else 0.
    mixing_share: λ.

  Raises:
    UserError: a value out of range.

  Source: the paper and its public code, numbers included. How the rows of a mixture are paired and
  that its loss is mixed alike: our choice.

  >>> task = Task(num_classes=10, base_classes=4, way=2, shot=5, sessions=3, dim=8)
  >>> learner(task, steps=(5, 6, 7), copies=(1, 2, 3)).steps
  (5, 6, 7)
  """
  errors.real_numbers(mixing=mixing, mixing_share=mixing_share)
  if not 0 <= mixing <= 1 or not 0 <= mixing_share <= 1:
    raise errors.UserError(
      f'mixing and mixing_share lie from 0 to 1; got {mixing} and {mixing_share}.'
    )
  schedule(learning_rate, 1, warmup_steps, cooldown_steps)  # checks the numbers
  by_session = in_sessions(copies, task, 'copies', at_least=1)

  def start(key: jax.Array, start: Start) -> State:
    del key
    if not start.head or 'projector' not in start.head or 'rows' in start.head:
      raise errors.UserError(
        "NC-FSCIL goes on from a base network with the head 'etf': train one, or name its work dir."
      )
    return {'projector': start.head['projector']}

  def embed(state: State, inputs: jax.Array) -> jax.Array:
    width = state['projector']['linear3']['kernel'].shape[-1]
    return unit(Projector(width).apply({'params': state['projector']}, inputs))

  def frame(projected):
    return EtfHead(task.num_classes, projected.shape[-1]).frame

  def logits(state: State, inputs: jax.Array) -> jax.Array:
    projected = embed(state, inputs)
    return jnp.matmul(projected, frame(projected), precision='highest')

  def rows(state: State, arrivals: Arrivals, memory: Memory) -> Rows:
    del state
    times = jnp.asarray(by_session, jnp.int32)[arrivals.number - 1]
    return repeated(arrivals, memory, times, max(by_session, default=1), task.base_classes)

  def loss(state: State, batch: Rows, arrivals: Arrivals, memory: Memory, key: jax.Array):
    del arrivals, memory
    target = jax.nn.one_hot(batch.labels, task.num_classes)
    inputs = batch.inputs
    if mixing:
      inputs, target = mixed(key, inputs, target, batch.weight, mixing, mixing_share)
    projected = embed(state, inputs)
    scaled = class_lengths(target, task.num_classes, batch.weight) if lengths else None
    return dot_regression(projected, target, frame(projected), batch.weight, scaled), {}

  return Learner(
    start=start,
    logits=logits,
    embed=embed,
    rows=rows,
    loss=loss,
    trained=('projector',),
    steps=in_sessions(steps, task),
    batch=batch,
    schedule=lambda number: schedule(learning_rate, number, warmup_steps, cooldown_steps),
    optimizer=Optimizer('sgd', momentum=momentum, weight_decay=weight_decay),
  )


def schedule(
  learning_rate: float, num_steps: int, warmup_steps: int = 5, cooldown_steps: int = 5
) -> optax.Schedule:
  """Returns the authors' learning rate: a linear warm-up, a cosine that falls to 1 % where the
  cool-down begins, and 0.1 % for the steps of that.

  >>> rate = schedule(1.0, num_steps=10, warmup_steps=2, cooldown_steps=2)
  >>> [round(float(rate(step)), 4) for step in (0, 1, 4, 7, 8, 9)]
  [0.5, 0.9623, 0.505, 0.0477, 0.001, 0.001]
  """
  errors.whole('cooldown_steps', cooldown_steps)
  falling = max(1, num_steps - cooldown_steps)
  cosine = schedules.cosine(learning_rate, falling, 0.01 * learning_rate)
  rising = schedules.warmup(cosine, warmup_steps)
  last = num_steps - cooldown_steps
  return lambda step: jnp.where(step < last, rising(step), 0.001 * learning_rate)


def repeated(
  arrivals: Arrivals, memory: Memory, times: jax.Array, most: int, base_classes: int
) -> Rows:
  """Returns the new rows, and the memory of the old classes, that of classes of earlier sessions
  several times.

  Args:
    arrivals, memory: of the session.
    times: how often, int.
    most: the largest number of any session, so that all have one shape.
    base_classes: B, whose memory comes once.

  >>> arrivals = Arrivals(jnp.int32(2), jnp.zeros((1, 1)), jnp.array([2]), jnp.ones(1),
  ...   new=jnp.array([False, False, True]), old=jnp.array([True, True, False]))
  >>> memory = Memory(jnp.arange(3.0).reshape(3, 1, 1), jnp.ones((3, 1)))
  >>> rows = repeated(arrivals, memory, times=2, most=3, base_classes=1)
  >>> rows.labels[rows.weight > 0].tolist()
  [2, 0, 1, 1]
  """
  old = remembered_rows(arrivals, memory)
  parts = [Rows(arrivals.inputs, arrivals.labels, arrivals.weight), old]
  for number in range(1, most):
    again = old.weight * (old.labels >= base_classes) * (number < times)
    parts.append(old._replace(weight=again))
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def mixed(
  key: jax.Array,
  inputs: jax.Array,
  target: jax.Array,
  weight: jax.Array,
  probability: float,
  share: float,
) -> tuple[jax.Array, jax.Array]:
  """Returns a batch with `probability` as mixtures: share · row + (1 - share) · another row, of
  features [n, d] and targets [n, C] alike.

  The other row is by a random order of those that have a weight, which come first.
  """
  when, order = draws.split(key)
  count = jnp.maximum(jnp.sum(weight > 0), 1)
  partner = samplers.shuffled_index(order, jnp.arange(len(weight)), count)
  share = jnp.where(draws.coins(when, probability), share, 1.0)
  blend = lambda rows: share * rows + (1 - share) * rows[partner]
  return blend(inputs), blend(target)

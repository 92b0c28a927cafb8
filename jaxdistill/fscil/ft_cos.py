"""ft_cos: NCM whose new rows are fine-tuned on the new images for a while; all other rows stay."""

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.fscil import ncm
from jaxdistill.fscil.learner import (
  Arrivals,
  Learner,
  Memory,
  Rows,
  State,
  Task,
  cross_entropy,
  in_sessions,
)
from jaxdistill.losses.prototypes import cosine_logits
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.schedules import Schedule

HEAD = 'cosine'
READS_HEAD = False
READS_MEMORY = False


def learner(
  task: Task,
  *,
  steps: int = 100,
  learning_rate: float = 0.1,
  momentum: float = 0.9,
  dampening: float = 0.9,
  scale: float = 16.0,
) -> Learner:
  """Returns NCM with trained new rows.

      min over w_c, c new:  mean over the new images of CE(s cos(f, w_c) over all seen c, y)

  from the class means, by full batches of the session's images. The part that the steps change is
  'new' [way, d], so that no old row can move.

  Args:
    task: the static facts.
    steps: of every session.
    learning_rate, momentum, dampening: of SGD without weight decay; the rate is constant.
    scale: s, above 0.

  Source: the mode ft_cos of the public code of CEC (Zhang et al., CVPR 2021), its numbers too.

  >>> learner(Task(num_classes=4, base_classes=2, way=1, shot=5, sessions=2, dim=2), steps=3).steps
  (3, 3)
  """
  errors.positive_numbers(scale=scale)

  def first(arrivals):
    return task.base_classes + (arrivals.number - 1) * task.way

  def begin(key: jax.Array, state: State, arrivals: Arrivals, memory: Memory) -> State:
    state = ncm.imprint(key, state, arrivals, memory)
    new = jax.lax.dynamic_slice_in_dim(state['rows'], first(arrivals), task.way)
    return {**state, 'new': new}

  def placed(state, arrivals):
    return jax.lax.dynamic_update_slice_in_dim(state['rows'], state['new'], first(arrivals), 0)

  def rows(state: State, arrivals: Arrivals, memory: Memory) -> Rows:
    del state, memory
    return Rows(arrivals.inputs, arrivals.labels, arrivals.weight)

  def loss(state: State, batch: Rows, arrivals: Arrivals, memory: Memory, key: jax.Array):
    del memory, key
    logits = cosine_logits(batch.inputs, placed(state, arrivals), scale)
    return cross_entropy(logits, batch.labels, batch.weight, arrivals.seen), {}

  def finish(state: State, arrivals: Arrivals, memory: Memory) -> State:
    del memory
    return {**state, 'rows': placed(state, arrivals)}

  def start(key, start):
    state = ncm.start(key, start)
    return {**state, 'new': jnp.zeros((task.way, state['rows'].shape[1]))}

  return Learner(
    start=start,
    logits=ncm.logits,
    embed=ncm.embed,
    begin=begin,
    rows=rows,
    loss=loss,
    finish=finish,
    trained=('new',),
    steps=in_sessions(steps, task),
    batch=task.way * task.shot,
    schedule=Schedule('constant', learning_rate),
    optimizer=Optimizer('sgd', momentum=momentum, dampening=dampening),
    live=lambda state, seen: jnp.sum(seen) * state['rows'].shape[1],
  )

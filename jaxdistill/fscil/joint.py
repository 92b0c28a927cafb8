"""Joint training: every session learns from all images of all sessions so far, with a loss that
makes up for the few of the new classes. A reference, not a learner of the protocol: it keeps
everything."""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.fscil import ncm, networks
from jaxdistill.fscil.learner import (
  Arrivals,
  Learner,
  Memory,
  Rows,
  Start,
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
  reads: Literal['features', 'images'] = 'features',
  balance: Literal['softmax', 'none'] = 'softmax',
  steps: int = 200,
  batch: int = 128,
  learning_rate: float = 0.1,
  momentum: float = 0.9,
  weight_decay: float = 5e-4,
  scale: float = 16.0,
) -> Learner:
  """Returns joint training.

      min  mean CE(s cos(f, w_c) + log n_c over all seen c, y)   over all images so far

  n_c images of class c: the classes of a session have few, and the balanced softmax does not charge
  them for it.

  Args:
    task: the static facts.
    reads: 'features': the rows alone are trained, on features of the frozen encoder. 'images': the
      whole network is, by images under the view of the test.
    balance: 'softmax', or 'none' for the plain cross-entropy.
    steps: of every session, which goes on from the one before.
    batch: images a step.
    learning_rate, momentum, weight_decay: of SGD; the rate falls along a cosine.
    scale: s, above 0.

  Source: the balanced softmax of Ren et al., NeurIPS 2020; that joint training needs a balanced
  loss to be a reference here: Kim et al., ICCVW 2025. The rest is our choice.

  >>> task = Task(num_classes=4, base_classes=2, way=1, shot=5, sessions=2, dim=2)
  >>> learner(task).trained, learner(task, reads='images').trained
  (('rows',), ('rows', 'network'))
  """
  errors.positive_numbers(scale=scale)
  through_images = reads == 'images'

  def start(key: jax.Array, start: Start) -> State:
    del key
    state = {'rows': start.means, 'counts': start.counts}
    return {**state, **networks.split(start)} if through_images else state

  def embed(state: State, inputs: jax.Array) -> jax.Array:
    return networks.embed(task, state, inputs) if through_images else inputs

  def logits(state: State, inputs: jax.Array) -> jax.Array:
    return cosine_logits(embed(state, inputs), state['rows'], scale)

  def begin(key: jax.Array, state: State, arrivals: Arrivals, memory: Memory) -> State:
    seen = arrivals._replace(inputs=embed(state, arrivals.inputs))
    state = ncm.imprint(key, state, seen, memory)
    return {**state, 'counts': jnp.where(arrivals.new, task.shot, state['counts'])}

  def loss(state: State, batch: Rows, arrivals: Arrivals, memory: Memory, key: jax.Array):
    del memory, key
    answers = logits(state, batch.inputs)
    if balance == 'softmax':
      answers += jnp.log(jnp.maximum(state['counts'], 1).astype(jnp.float32))[None]
    return cross_entropy(answers, batch.labels, batch.weight, arrivals.seen), {}

  return Learner(
    start=start,
    logits=logits,
    embed=embed,
    begin=begin,
    loss=loss,
    trained=('rows', 'network') if through_images else ('rows',),
    reads=reads,
    replays='everything',
    steps=in_sessions(steps, task),
    batch=batch,
    schedule=Schedule('cosine', learning_rate),
    optimizer=Optimizer('sgd', momentum=momentum, weight_decay=weight_decay),
    live=networks.live if through_images else lambda state, seen: jnp.sum(seen) * task.dim,
  )

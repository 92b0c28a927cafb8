"""Fine-tuning: the whole network goes on learning from the new images alone, and forgets. The
baseline that every other learner exists to beat."""

import jax

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
  replay,
)
from jaxdistill.losses.prototypes import cosine_logits
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.schedules import Schedule

HEAD = 'cosine'
READS_HEAD = False


def learner(
  task: Task,
  *,
  steps: int = 100,
  batch: int = 64,
  learning_rate: float = 0.1,
  momentum: float = 0.9,
  weight_decay: float = 5e-4,
  scale: float = 16.0,
) -> Learner:
  """Returns fine-tuning.

      min over all weights and rows:  mean CE(s cos(f(x), w_c) over all seen c, y)

  over the new images, and over those of a memory of images where there is one. It starts where NCM
  does: rows are class means.

  Args:
    task: the static facts, with the base network.
    steps: of every session.
    batch: images a step.
    learning_rate, momentum, weight_decay: of SGD; the rate is constant.
    scale: s, above 0.

  Source: the row 'Finetune' of the tables since Tao et al., CVPR 2020. Our choices: the classifier,
  the numbers, that images are learned from as they are tested, without augmentation, and that batch
  normalisation keeps the statistics of the base session.
  """
  errors.positive_numbers(scale=scale)

  def start(key: jax.Array, start: Start) -> State:
    del key
    return {**networks.split(start), 'rows': start.means}

  def embed(state: State, images: jax.Array) -> jax.Array:
    return networks.embed(task, state, images)

  def logits(state: State, images: jax.Array) -> jax.Array:
    return cosine_logits(embed(state, images), state['rows'], scale)

  def begin(key: jax.Array, state: State, arrivals: Arrivals, memory: Memory) -> State:
    seen = arrivals._replace(inputs=embed(state, arrivals.inputs))
    return ncm.imprint(key, state, seen, memory)

  def loss(state: State, batch: Rows, arrivals: Arrivals, memory: Memory, key: jax.Array):
    del memory, key
    answers = logits(state, batch.inputs)
    return cross_entropy(answers, batch.labels, batch.weight, arrivals.seen), {}

  return Learner(
    start=start,
    logits=logits,
    embed=embed,
    begin=begin,
    rows=replay,
    loss=loss,
    trained=('network', 'rows'),
    reads='images',
    steps=in_sessions(steps, task),
    batch=batch,
    schedule=Schedule('constant', learning_rate),
    optimizer=Optimizer('sgd', momentum=momentum, weight_decay=weight_decay),
    live=networks.live,
  )

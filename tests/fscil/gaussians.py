"""Features without images: classes as Gaussian clouds, divided into a base session and three of two
classes with five rows each; and a learner that trains one row a class."""

import jax.numpy as jnp
import numpy as np

from jaxdistill import draws
from jaxdistill.fscil import learner as learners
from jaxdistill.fscil.engine import Engine, Runs
from jaxdistill.fscil.features import class_means
from jaxdistill.fscil.session import Course, Examples
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.schedules import Schedule

DIM, PER_CLASS = 8, 12
TASK = learners.Task(num_classes=10, base_classes=4, way=2, shot=5, sessions=3, dim=DIM)


def cloud(rng, centres, labels, spread=0.6):
  """One row of each label."""
  return (centres[labels] + spread * rng.normal(size=(len(labels), DIM))).astype(np.float32)


def examples(seeds=1, draws=2):
  """What the runs see, and the class means of the base classes by seed, [S, C, d]."""
  rng = np.random.RandomState(0)
  base, test = np.repeat(np.arange(4), 20), np.repeat(np.arange(10), PER_CLASS)
  arriving = np.repeat(np.arange(4, 10).reshape(3, 2), 5, axis=1)
  seen = []
  for _ in range(seeds):
    centres = rng.normal(size=(10, DIM))
    shots = [cloud(rng, centres, arriving.ravel()).reshape(3, 10, DIM) for _ in range(draws)]
    seen.append((np.stack(shots), cloud(rng, centres, test), cloud(rng, centres, base)))
  shots, tests, bases = map(np.stack, zip(*seen))
  labels = np.repeat(arriving[None], draws, 0)
  return Examples(shots, labels, tests, test, bases, base)


def start(seen, head=None):
  """What the base session leaves."""
  means, counts = class_means(seen.base, seen.base_labels, TASK.num_classes)
  return learners.Start(head, means, counts)


def rows_learner(steps=(6, 9, 6), batch=8, **changes):
  """A linear classifier without bias, one row a class, that starts from the class means."""

  def logits(state, inputs):
    return inputs @ state['rows'].T

  def begin(key, state, arrivals, memory):
    means = learners.new_means(arrivals.inputs, arrivals)
    return {**state, 'rows': jnp.where(arrivals.new[:, None], means, state['rows'])}

  def loss(state, batch, arrivals, memory, key):
    value = learners.cross_entropy(logits(state, batch.inputs), *batch[1:], arrivals.seen)
    return value, {'rows': jnp.sum(batch.weight)}

  fields = dict(
    begin=begin,
    loss=loss,
    trained=('rows',),
    steps=steps,
    batch=batch,
    schedule=Schedule('constant', 0.1),
    optimizer=Optimizer('sgd', momentum=0.5),
  )
  return learners.Learner(
    lambda key, start: {'rows': start.means, 'fixed': jnp.ones(3)},
    logits,
    lambda state, inputs: inputs,
    **{**fields, **changes},
  )


def course(learner=None, seeds=1, number=2, scales=(1.0,), mesh=None, seed=0, **changes):
  """All sessions of a learner on these features, ready to run."""
  seen = examples(seeds, number)
  engine = Engine(learner or rows_learner(), TASK, Runs(seeds, number, scales, mesh))
  return Course(engine, seen, start(seen), np.asarray(_raw(seed)), **changes)


def _raw(seed):
  import jax

  return jax.random.key_data(draws.key(seed))

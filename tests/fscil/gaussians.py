"""Features without images: classes as Gaussian clouds, divided into a base session and three of two
classes with five rows each; and a learner that trains one row a class."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdistill import data, draws, losses, models
from jaxdistill.data import augment
from jaxdistill.fscil import features, protocol
from jaxdistill.fscil import learner as learners
from jaxdistill.fscil.engine import Engine, Runs
from jaxdistill.fscil.features import class_means
from jaxdistill.fscil.session import Course, Examples
from jaxdistill.models import heads
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
  return Course(engine, seen, start(seen), _raw(seed), **changes)


@functools.cache
def pictures():
  """The same sessions of digits at 8x8, and a small network whose head has seen the base classes:
  (task, examples, start)."""
  train, test = data.load('digits', image_size=8)
  parts = protocol.sessions(train, test, base_classes=4, way=2, shot=5)
  encoder = models.build({'name': 'convnet', 'width': 4, 'depth': 1}, 10, train.image_shape)
  network = heads.attach(encoder, 'cosine')
  variables = _fitted(network, parts.base)
  vectors = features.encode(network, variables, parts.base)
  task = dataclasses.replace(
    TASK,
    dim=vectors.shape[-1],
    image_shape=train.image_shape,
    network=network,
    mean=train.mean,
    std=train.std,
  )
  few = np.stack([parts.novel(number).images for number in (1, 2, 3)])
  labels = np.stack([parts.novel(number).labels for number in (1, 2, 3)])
  rows = np.arange(0, len(parts.test), 3)
  seen = Examples(
    few[None, None],
    labels[None],
    parts.test.images[rows][None],
    parts.test.labels[rows],
    parts.base.images[None],
    parts.base.labels,
  )
  return task, seen, features.leaves(vectors, parts.base.labels, 10, variables, whole=True)


def _fitted(network, images):
  """One network after some full-batch steps on the base images."""
  normal = augment.normalise(images.images, images.mean, images.std)
  variables = network.init(jax.random.key(0), normal[:1])
  optimizer = optax.adam(0.01)

  @jax.jit
  def step(variables, state):
    def loss(variables):
      logits = network.apply(variables, normal, train=True)[0][:, :4]
      return losses.cross_entropy(logits, images.labels)

    updates, state = optimizer.update(jax.grad(loss)(variables), state)
    return optax.apply_updates(variables, updates), state

  state = optimizer.init(variables)
  for _ in range(15):
    variables, state = step(variables, state)
  return jax.tree.map(lambda leaf: leaf[None], variables)


def course_of(learner, task, seen, base, **changes):
  """All sessions of a learner on what `pictures` has, ready to run."""
  return Course(Engine(learner, task, Runs()), seen, base, _raw(0), **changes)


def _raw(seed):
  return jax.random.key_data(draws.key(seed))

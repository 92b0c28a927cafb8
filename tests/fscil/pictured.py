"""Digits at 8x8 as they arrive, small base networks that know the first four, and what the runs of
a learner see of all that."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdistill import data, draws, losses, models
from jaxdistill.data import augment
from jaxdistill.fscil import features, protocol
from jaxdistill.fscil.engine import Engine, Runs
from jaxdistill.fscil.learner import Task
from jaxdistill.fscil.memory import Pictures
from jaxdistill.fscil.session import Course, Examples
from jaxdistill.models import heads

SHAPE, BASE, WAY, SHOT, T, DRAWS, SEEDS = (8, 8, 1), 4, 2, 5, 2, 2, 2
DIM, WIDTH, COLUMNS = 16, 12, BASE + T * WAY


@functools.cache
def parts(draw=0):
  train, test = data.load('digits', image_size=8)
  return protocol.sessions(train, test, BASE, WAY, SHOT, draw=draw, number=T)


@functools.cache
def network():
  encoder = models.build({'name': 'mlp', 'width': DIM, 'depth': 1}, COLUMNS, SHAPE)
  return heads.attach(encoder, {'name': 'projector', 'width': WIDTH}, COLUMNS)


@functools.cache
def variables():
  """Of base networks after a few steps on the base images, leaves [SEEDS, ...]."""
  base, optimizer = parts().base, optax.adam(1e-2)
  images = augment.normalise(base.images, base.mean, base.std)

  def loss(variables):
    logits = network().apply(variables, images)[0][:, :BASE]
    return losses.cross_entropy(logits, jnp.asarray(base.labels))

  @jax.jit
  def trained(key):
    first = network().init(key, images[:1])

    def step(carry, _):
      variables, state = carry
      updates, state = optimizer.update(jax.grad(loss)(variables), state)
      return (optax.apply_updates(variables, updates), state), None

    return jax.lax.scan(step, (first, optimizer.init(first)), length=60)[0][0]

  return jax.tree.map(
    lambda *leaves: np.stack(leaves), *[trained(jax.random.key(seed)) for seed in range(SEEDS)]
  )


def shots():
  """uint8 [DRAWS, T, WAY * SHOT, ...] and their labels."""
  images, labels = [], []
  for draw in range(DRAWS):
    novel = [parts(draw).novel(number) for number in range(1, T + 1)]
    images.append(np.stack([one.images for one in novel]))
    labels.append(np.stack([one.labels for one in novel]))
  return np.stack(images), np.stack(labels)


@functools.cache
def pictures():
  images, _ = shots()
  encode = functools.partial(features.encode, network(), variables())
  few = parts().base
  flat = data.Dataset(
    images.reshape(-1, *SHAPE), np.zeros(images[..., 0, 0, 0].size, int), ('any',),
    mean=few.mean, std=few.std,
  )  # fmt: skip
  vectors = encode(flat).reshape(SEEDS, *images.shape[:3], -1)
  return Pictures(few, images, encode(few), vectors, variables())


def task():
  base = parts().base
  return Task(COLUMNS, BASE, WAY, SHOT, T, DIM, SHAPE, network(), base.mean, base.std)


def course(make, remember, *, mesh=None, scales=(1.0,), seed=0, reads='features', name=''):
  """All sessions of `make(task)` for SEEDS x DRAWS runs, with the memory that `remember` keeps."""
  seen, (images, labels) = pictures(), shots()
  test = parts().test
  if reads == 'features':
    few, tests = seen.shot_vectors, features.encode(network(), variables(), test)
  else:
    few, tests = images[None], test.images[None]
  means, counts = features.class_means(seen.vectors, seen.base.labels, COLUMNS)
  start = features.Start(variables()['params']['head'], means, counts)
  if reads == 'images':
    start = start._replace(variables=variables())
  engine = Engine(make(task()), task(), Runs(SEEDS, DRAWS, scales, mesh))
  examples = Examples(few, labels, tests, test.labels)
  return Course(engine, examples, start, _raw(seed), remember, name)


def _raw(seed):
  return np.asarray(jax.random.key_data(draws.key(seed)))

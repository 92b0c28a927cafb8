"""Features of Gaussian classes, a projector head that is trained on the base's, and the sessions of
a learner one after another in many draws at once, without the engine: every state between can be
looked at."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdistill.fscil.learner import Arrivals, Memory, Start, Task, new_means
from jaxdistill.losses import cross_entropy
from jaxdistill.losses.prototypes import cosine_logits
from jaxdistill.models.heads import Projector

TASK = Task(num_classes=10, base_classes=4, way=2, shot=5, sessions=3, dim=16)


class World(NamedTuple):
  """What a run sees; every leaf of `arrivals` is [T, ...]."""

  start: Start
  arrivals: Arrivals
  test: jax.Array
  labels: jax.Array


class Session(NamedTuple):
  """A session t >= 1: the state as it begins and at the end, and what it learns from."""

  begun: dict
  end: dict
  arrivals: Arrivals
  memory: Memory


def world(seed, task=TASK, width=8, noise=1.0, base_images=50, test_images=40, base_steps=200):
  """Class centres of N(0, 1) in every dimension, images around them with the deviation `noise`."""
  key_centres, key_base, key_shots, key_test, key_head = jax.random.split(jax.random.key(seed), 5)
  centres = jax.random.normal(key_centres, (task.num_classes, task.dim))

  def images(key, classes, count):
    labels = jnp.repeat(classes, count)
    return centres[labels] + noise * jax.random.normal(key, (len(labels), task.dim)), labels

  later = task.num_classes - task.base_classes
  base, labels = images(key_base, jnp.arange(task.base_classes), base_images)
  means = base.reshape(task.base_classes, base_images, -1).mean(1)
  start = Start(
    _base_head(key_head, base, labels, task, width, base_steps),
    jnp.pad(means, ((0, later), (0, 0))),
    jnp.pad(jnp.full(task.base_classes, base_images), (0, later)),
  )
  shots, columns = images(key_shots, task.base_classes + jnp.arange(later), task.shot)
  number = 1 + jnp.arange(task.sessions)
  first = task.base_classes + task.way * (number[:, None] - 1)
  classes = jnp.arange(task.num_classes)[None]
  arrivals = Arrivals(
    number,
    shots.reshape(task.sessions, task.way * task.shot, -1),
    columns.reshape(task.sessions, -1),
    jnp.ones((task.sessions, task.way * task.shot)),
    new=(classes >= first) & (classes < first + task.way),
    old=classes < first,
  )
  return World(start, arrivals, *images(key_test, jnp.arange(task.num_classes), test_images))


def _base_head(key, features, labels, task, width, steps):
  """Projector and cosine rows of all columns, trained by cross-entropy over the base columns."""
  key_projector, key_rows = jax.random.split(key)
  network = Projector(width)
  head = {
    'projector': network.init(key_projector, features)['params'],
    'rows': jax.random.normal(key_rows, (task.num_classes, width)),
  }
  optimizer = optax.sgd(0.05, 0.9)

  def loss(head):
    logits = cosine_logits(network.apply({'params': head['projector']}, features), head['rows'])
    return cross_entropy(logits[:, : task.base_classes], labels)

  def step(carry, _):
    head, state = carry
    updates, state = optimizer.update(jax.grad(loss)(head), state)
    return (optax.apply_updates(head, updates), state), None

  return jax.lax.scan(step, (head, optimizer.init(head)), length=steps)[0][0]


@functools.cache
def worlds(draws=5, **fields):
  """That many draws of `world` side by side, every leaf [draws, ...]."""
  return jax.jit(jax.vmap(functools.partial(world, **fields)))(jnp.arange(draws))


def part(tree, *place):
  """Returns leaf[place] of every leaf, such as one draw, or one slot in all draws."""
  return jax.tree.map(lambda leaf: leaf[place], tree)


def run(learner, worlds, remember=1.0):
  """Goes through all sessions of all draws; the memory is the class means, times `remember`.

  Returns the state after the base session and a `Session` for each of the others, [draws, ...].
  """
  first = state = _start(learner, worlds.start)
  means, sessions = worlds.start.means, []
  for number in range(len(learner.steps)):
    arrivals = part(worlds.arrivals, slice(None), number)
    begun, state, means, memory = _session(learner, state, means, arrivals, remember)
    sessions.append(Session(begun, state, arrivals, memory))
  return first, sessions


@functools.partial(jax.jit, static_argnums=0)
def _start(learner, start):
  return jax.vmap(lambda start: learner.start(jax.random.key(0), start))(start)


@functools.partial(jax.jit, static_argnums=0)
def _session(learner, state, means, arrivals, remember):
  def one(state, means, arrivals):
    memory = Memory(means[:, None], remember * arrivals.old[:, None])
    begun = learner.begin(jax.random.key(0), state, arrivals, memory)
    end = train(learner, begun, arrivals, memory, learner.steps[0])
    means = jnp.where(arrivals.new[:, None], new_means(arrivals.inputs, arrivals), means)
    return begun, end, means, memory

  return jax.vmap(one)(state, means, arrivals)


def train(learner, state, arrivals, memory, steps):
  """Returns the state after some steps, each on all rows of the session."""
  rows = learner.rows(state, arrivals, memory)
  frozen = {name: part for name, part in state.items() if name not in learner.trained}
  optimizer = learner.optimizer.build(learner.schedule.build(max(1, steps)))

  def loss(trained):
    return learner.loss({**frozen, **trained}, rows, arrivals, memory, jax.random.key(0))[0]

  def step(carry, _):
    trained, momentum = carry
    updates, momentum = optimizer.update(jax.grad(loss)(trained), momentum, trained)
    return (optax.apply_updates(trained, updates), momentum), None

  trained = {name: state[name] for name in learner.trained}
  trained, _ = jax.lax.scan(step, (trained, optimizer.init(trained)), length=steps)[0]
  return learner.finish({**frozen, **trained}, arrivals, memory)


@functools.partial(jax.jit, static_argnums=0)
def opening(learner, world):
  """Returns the state of one draw at the start of session 1, and its logits and unit outputs of the
  test set."""
  key, arrivals = jax.random.key(0), part(world.arrivals, 0)
  state = learner.begin(key, learner.start(key, world.start), arrivals, None)
  return state, learner.logits(state, world.test), learner.embed(state, world.test)


def starting(learner, world):
  """Returns the states of one draw at the start of every session, without training between."""
  begin, key = jax.jit(learner.begin), jax.random.key(0)
  state, states = jax.jit(learner.start)(key, world.start), []
  for number in range(TASK.sessions):
    state = begin(key, state, part(world.arrivals, number), None)
    states.append(state)
  return states


def final(learner, worlds, remember=1.0):
  """Returns (base, novel) accuracy after the last session, the mean over the draws."""
  last = run(learner, worlds, remember)[1][-1]
  return np.asarray(_accuracies(learner, worlds, last.end)).mean(0)


@functools.partial(jax.jit, static_argnums=0)
def _accuracies(learner, worlds, state):
  def one(world, state):
    right = jnp.argmax(learner.logits(state, world.test), axis=1) == world.labels
    base = world.arrivals.old[0][world.labels]
    return jnp.stack([jnp.mean(right, where=base), jnp.mean(right, where=~base)])

  return jax.vmap(one)(worlds, state)

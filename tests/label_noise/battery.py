"""What the battery over every method (tests/test_battery.py) asks of learning from wrong labels: a
few steps of each on a few digits, or on a few vectors with a matrix of labels."""

import dataclasses
import functools

import jax
import numpy as np

from jaxdistill import config as configs
from jaxdistill import data
from jaxdistill.label_noise import flow, methods, sections
from jaxdistill.label_noise import work as works
from jaxdistill.label_noise.method import NET
from jaxdistill.training import players

EXAMPLES = 60
# Each compiles for seconds; the others are among the slow tests.
QUICK = ('crowd_layer',)
SMALL = {
  'model.width': 4,
  'model.depth': 1,
  'learning.batch': 12,
  'learning.train_images': 0,
  'learning.trusted': 1,
  'learning.seeds': 1,
}
# A bias before batch normalisation has no gradient but rounding, of which Adam makes whole steps.
STEADY = {'tcl': {'method.optimizer': 'recipe'}}


def names():
  return sorted(methods.METHODS)


@functools.cache
def digits():
  """Training and test images."""
  train, test = data.load('digits', image_size=8)
  return train.take(np.arange(EXAMPLES)), test.take(np.arange(12))


@functools.cache
def matrices():
  """Vectors whose labels depend on each other."""
  random = np.random.default_rng(0)
  features = random.normal(size=(EXAMPLES + 12, 5)).astype(np.float32)
  labels = (features @ random.normal(size=(5, 3)) > 0).astype(np.int32)
  labels[:, 0] |= labels[:, 1]
  whole = data.MultiLabelled(features, labels)
  return whole.take(np.arange(EXAMPLES)), whole.take(np.arange(EXAMPLES, len(whole)))


def is_matrix(name):
  return methods.READS.get(name) == 'matrix'


def config(name, **changes):
  """The config of a method on a tiny network."""
  loaded = configs.load(
    f'label_noise/{name}:{"multilabel:x" if is_matrix(name) else "digits"},quick'
  )
  small = {**SMALL, **STEADY.get(name, {}), **changes}
  if is_matrix(name):
    small['learning.trusted'] = 0
  for key, value in small.items():
    if key.removeprefix('model.') in loaded.model or not key.startswith('model.'):
      configs.override(loaded, key, str(value))
  return loaded


def work(name, mesh=None, **changes):
  """What a run of a method works on."""
  train, test = matrices() if is_matrix(name) else digits()
  return works.make(sections.of_config(config(name, **changes)), train, test, mesh)


def ready(name, *, mesh=None, dtype='float32', steps=4, **changes):
  """The first training of a method with so many steps, a refresh before the third of them where it
  has one."""
  asked = work(name, mesh, dtype=dtype, **changes)
  method = methods.make(asked.setting, asked.fields.method)
  problem = flow.problem(asked, method, 0, None)
  refresh = problem.refresh and dataclasses.replace(problem.refresh, every=2, first=2)
  return dataclasses.replace(problem, num_steps=steps, refresh=refresh)


def learned(state):
  """The parameters of the networks, a row each."""
  params = players.part_variables(state.variables, NET)['params']
  leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
  return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], 1)


def pools(name):
  return (), ()


def company(name):
  """A network alone, and it beside another one."""
  asked = work(name)
  members = methods.make(asked.setting, asked.fields.method).members
  return None, ready(name, **{'learning.seeds': 2}), slice(0, members)


def refuse(name):
  """Asks the method for a field that it has not."""
  methods.check({'name': name, 'no_such_field': 1})

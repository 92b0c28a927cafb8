"""What the battery over every method (tests/test_battery.py) asks of adversarial training: a few
steps of each, on a few digits."""

import functools

import jax
import numpy as np

from jaxdistill import config as configs
from jaxdistill import data
from jaxdistill.robustness import flow, methods, sections
from jaxdistill.robustness import work as works
from jaxdistill.robustness.method import NET
from jaxdistill.training import players

IMAGES = 24
# Each compiles for seconds; the others are among the slow tests.
QUICK = ('rwp',)
SMALL = {
  'model.width': 4,
  'model.depth': 1,
  'robustness.batch': 8,
  'robustness.train_images': 0,
  'robustness.eps': 0.05,
}
SHORT = {'attack_steps': 2, 'ascents': 2}


def names():
  return sorted(methods.METHODS)


@functools.cache
def digits():
  """Training and test images."""
  train, test = data.load('digits', image_size=8)
  return train.take(np.arange(IMAGES)), test.take(np.arange(8))


def config(name, **changes):
  """The config of a method on a tiny network."""
  loaded = configs.load(f'robustness/{name}:digits,seeds=1')
  short = {f'method.{key}': value for key, value in SHORT.items() if key in loaded.method}
  for key, value in {**SMALL, **short, **changes}.items():
    configs.override(loaded, key, str(value))
  return loaded


def work(name, mesh=None, **changes):
  """What a run of a method works on."""
  train, test = digits()
  return works.make(sections.of_config(config(name, **changes)), train, None, test, mesh)


def ready(name, *, mesh=None, dtype='float32', steps=4, **changes):
  """The training of a method with so many steps."""
  asked = work(name, mesh, dtype=dtype, **{'robustness.steps': steps, **changes})
  return flow.problem(asked, methods.make(asked.setting, asked.fields.method))


def learned(state):
  """The parameters of the networks, a row each."""
  params = players.part_variables(state.variables, NET)['params']
  leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
  return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], 1)


def pools(name):
  return (), ()


def company(name):
  """A network alone, and it beside another one."""
  return None, ready(name, **{'robustness.seeds': 2}), slice(0, 1)


def refuse(name):
  """Asks the method for a field that it has not."""
  methods.check({'name': name, 'no_such_field': 1})

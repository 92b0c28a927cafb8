"""What the battery over every method (tests/test_battery.py) asks of condensation."""

import functools

import jax
import numpy as np

from jaxdistill import config as configs
from jaxdistill import data
from jaxdistill.condensation import methods, problem
from jaxdistill.training import pretrained
from jaxdistill.training.run import Run

CLASSES = 6
# The others are among the slow tests.
QUICK = ('m3d',)
SMALL = {
  'model.width': 4,
  'model.depth': 1,
  'condensation.ipc': 1,
  'condensation.factor': 2,
  'condensation.batch_real': 4,
  'condensation.learning_rate': 0.1,
}
# Fields of methods that want networks first: few, and a few steps of them.
WANTED = {'method.experts': 2, 'method.expert_steps': 3}


def names():
  return sorted(methods.METHODS)


@functools.cache
def digits():
  train, _ = data.load('digits', image_size=8)
  return train.take_classes(range(CLASSES))


def condensing(name, **changes):
  config = configs.load(f'condensation/{name}:digits')
  fields = configs.flat(config)
  wanted = {key: value for key, value in WANTED.items() if key in fields}
  for key, value in {**SMALL, **wanted, **changes}.items():
    configs.override(config, key, str(value))
  return problem.Condensing.of_config(config)


@functools.cache
def pools(name):
  """A stand-in for the networks that the method wants, and such networks; () for none."""
  asked, train = condensing(name), digits()
  model, wanted = asked.network(train), methods.wants(asked.method)
  with Run(progress=False) as run:
    real = pretrained.train(run, model, train, wanted)
  return pretrained.untrained(model, train.image_shape, wanted), real


def ready(name, *, mesh=None, dtype='float32', steps=4):
  changes = {'dtype': dtype, 'condensation.iterations': steps}
  return problem.setup(condensing(name, **changes), digits(), mesh, pools(name)[1])


def learned(state):
  """What is learned, rows first: those beyond the classes fill up devices."""
  return np.asarray(jax.device_get(state.images))[:CLASSES]


def company(name):
  """The problems of some classes alone and among the others, and which rows those are there; None
  where a method's networks know all classes, so that no class is alone."""
  if methods.wants(condensing(name).method):
    return None
  some, train = [4, 1], digits()
  asked = condensing(name, **{'condensation.iterations': 2})
  part = problem.Part(some, int(train.counts.max()))
  return problem.setup(asked, train.take_classes(some), None, (), part), ready(name, steps=2), some


def refuse(name):
  """Asks the method for a field that it has not."""
  methods.plugs({'name': name, 'no_such_field': 1}, condensing(name).network(digits()), (8, 8, 1))

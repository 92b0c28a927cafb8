"""What the battery over every method (tests/test_battery.py) asks of distillation: the last stage
of each, from an untrained teacher and untrained stages before it, on a few digits."""

import functools

import jax
import numpy as np

from jaxdistill import config as configs
from jaxdistill import data
from jaxdistill.distillation import flow, methods, sections
from jaxdistill.distillation import work as works
from jaxdistill.distillation.flow import Flow
from jaxdistill.distillation.teachers import Teacher
from jaxdistill.training import players

IMAGES = 48
# Each compiles for seconds; the others are among the slow tests.
QUICK = ('sum',)
SMALL = {
  'model.width': 4,
  'model.depth': 1,
  'teacher_model.width': 6,
  'teacher_model.depth': 1,
  'distillation.batch': 16,
  'distillation.batches': 'own',
}


def names():
  return sorted(methods.METHODS)


@functools.cache
def digits():
  """Training and test images."""
  train, test = data.load('digits', image_size=8)
  return train.take(np.arange(IMAGES)), test.take(np.arange(40))


def config(name, **changes):
  """The config of a method on tiny networks."""
  # A linear teacher compiles soonest; EvoKD reads its maps.
  teacher = 'convnet' if name == 'evokd' else 'mlp'
  loaded = configs.load(f'distillation/{name}:digits,seeds=1,teacher={teacher}')
  for key, value in {**SMALL, **changes}.items():
    configs.override(loaded, key, str(value))
  return loaded


def work(name, mesh=None, **changes):
  """What a run of a method works on."""
  train, test = digits()
  return works.make(sections.of_config(config(name, **changes)), train, None, test, mesh)


def teacher(asked):
  """A teacher that has learned nothing."""
  model = asked.training.build(asked.taught)
  images = np.zeros((1, *asked.taught.image_shape), np.float32)
  variables = jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(9), images))
  return Teacher('untrained', asked.taught.num_classes, model, variables)


def stages(name, asked):
  """Returns (stage, its problem) of a method, each from the stages before it as they begin."""
  guide = teacher(asked)
  method = methods.make(asked.pair(guide), asked.fields.method)
  current, made = Flow(asked, guide, method, {}), []
  for stage in method.stages:
    problem = flow.stage_problem(current, stage)
    made.append((stage, problem))
    ended = {**current.ended, stage.name: flow.on_host(asked, problem.state)}
    current = Flow(asked, guide, method, ended)
  return made


def ready(name, *, mesh=None, dtype='float32', steps=4, **changes):
  """The last stage of a method with so many steps."""
  share = stage_share(name)
  changes = {'dtype': dtype, 'distillation.steps': round(steps / share), **changes}
  return stages(name, work(name, mesh, **changes))[-1][1]


@functools.cache
def stage_share(name):
  asked = work(name)
  return methods.make(asked.pair(teacher(asked)), asked.fields.method).stages[-1].share


def learned(state):
  """The parameters of the students, a row each."""
  params = players.part_variables(state.variables, 'student')['params']
  leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
  return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], 1)


def pools(name):
  return (), ()


def company(name):
  """A student alone, and it beside another one."""
  return None, ready(name, **{'distillation.seeds': 2}), slice(0, 1)


def refuse(name):
  """Asks the method for a field that it has not."""
  methods.check({'name': name, 'no_such_field': 1})

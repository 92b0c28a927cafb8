"""What the battery over every method (tests/test_battery.py) asks of learning from wrong labels: a
few steps of each on a few digits, or on a few vectors with a matrix of labels.

A method of several phases is asked once a phase, of which the first has the method's name and a
later one is called METHOD.PHASE; it begins as if the phases before it had no steps.
"""

import dataclasses
import functools

import jax
import numpy as np

from jaxdistill import config as configs
from jaxdistill import data
from jaxdistill.label_noise import flow, methods, sections
from jaxdistill.label_noise import work as works
from jaxdistill.training import parallel

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
# The phases behind a method's first one.
LATER = {
  'divide_mix': ('divide_mix',),
  'forward': ('forward',),
  'mlntm': ('correct',),
  'moco': ('finetune',),
  'sel_cl': ('finetune',),
  'sup_cl': ('finetune',),
  'taidtm': ('global', 'global_joint', 'individual', 'gcn', 'gcn_joint'),
  'tcl': ('retrain', 'finetune'),
}
# A bias before batch normalisation has no gradient but rounding, of which Adam makes whole steps.
# Of few annotators each has distilled examples in a step of his.
FIELDS = {
  'taidtm': {'evidence.origin': 'by_image', 'evidence.annotators': 4, 'method.least': 1},
  'tcl': {'method.optimizer': 'recipe'},
}


def names():
  listed = []
  for name in sorted(methods.METHODS):
    listed += [name, *(f'{name}.{phase}' for phase in LATER.get(name, ()))]
  return listed


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
  labels = 'multilabel:x,rate=0+0.4' if is_matrix(name) else 'digits'
  loaded = configs.load(f'label_noise/{name}:{labels},quick')
  small = {**SMALL, **FIELDS.get(name, {}), **changes}
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


def made(name, mesh=None, **changes):
  """What a run of a method works on, and the method."""
  asked = work(name, mesh, **changes)
  method = methods.make(asked.setting, asked.fields.method)
  later = tuple(phase.name for phase in method.phases[1:])
  assert later == LATER.get(name, ()), f'LATER lacks phases of {name}: {later}'
  return asked, method


def ready(name, *, mesh=None, dtype='float32', steps=4, **changes):
  """The training of a phase with so many steps, a refresh before the third of them where it has
  one."""
  name, _, wanted = name.partition('.')
  asked, method = made(name, mesh, dtype=dtype, **changes)
  networks, ended = asked.fields.learning.seeds * method.members, {}
  for number, phase in enumerate(method.phases):
    begin = phase.begin and phase.begin(ended, flow.look_of(asked, phase))
    problem = flow.problem(asked, method, number, begin)
    if phase.name == wanted or not wanted:
      break
    ended[phase.name] = parallel.on_host(problem.state.scored, slice(networks))
  refresh = problem.refresh and dataclasses.replace(problem.refresh, every=2, first=2)
  return dataclasses.replace(problem, num_steps=steps, refresh=refresh)


def learned(state):
  """The parameters of the networks, a row each, of all parts: in some phases the classifier
  rests."""
  leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state.variables['params'])]
  return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], 1)


def pools(name):
  return (), ()


def company(name):
  """A network alone, and it beside another one."""
  members = made(name.partition('.')[0])[1].members
  return None, ready(name, **{'learning.seeds': 2}), slice(0, members)


def refuse(name):
  """Asks the method for a field that it has not."""
  methods.check({'name': name.partition('.')[0], 'no_such_field': 1})

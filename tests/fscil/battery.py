"""What the battery over every method (tests/test_battery.py) asks of few-shot learners."""

import dataclasses

import gaussians
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import registry
from jaxdistill.fscil import methods
from jaxdistill.fscil.engine import Engine, Runs
from jaxdistill.fscil.session import Course
from jaxdistill.models import heads
from jaxdistill.training import parallel

WIDTH = 12
# The others, earlier versions of PKI, are among the slow tests.
QUICK = (
  'cd2',
  'comemory',
  'finetune',
  'ft_cos',
  'joint',
  'nc_fscil',
  'ncm',
  'pki',
  'sdc',
  'teen',
)
# Fields of learners: few steps, and a weight where the published rule wants more classes.
SMALL = {'steps': 4, 'alpha_rule': 'fixed'}


def names():
  return sorted(methods.LEARNERS)


def course(name, devices=1, dtype='float32'):
  """A learner with a few steps a session, on what it reads, ready to run."""
  mesh = parallel.make_mesh(devices) if devices > 1 else None
  task, draws = dataclasses.replace(gaussians.TASK, dtype=dtype), 2
  learner = make(name, task)
  if learner.reads == 'images':
    task, seen, start = gaussians.pictures()
    encoder = dataclasses.replace(task.network.encoder, dtype=dtype)
    task = dataclasses.replace(
      task, dtype=dtype, network=heads.attach(encoder, methods.head(name), task.num_classes)
    )
    learner, draws = make(name, task), 1
  else:
    seen = gaussians.examples()
    start = gaussians.start(seen, head(methods.head(name)))
  engine = Engine(learner, task, Runs(draws=draws, mesh=mesh))
  return Course(engine, seen, start, np.array([0, 3], np.uint32))


def make(name, task):
  fields = registry.fields(methods.find(name))
  given = {field: value for field, value in SMALL.items() if field in fields}
  return methods.make(task, {'name': name, **given})


def head(kind):
  """One base network's head of a kind, as it starts, [1, ...]."""
  fields = {'width': WIDTH} if 'width' in heads.defaults(kind) else {}
  module = heads.HEADS.find(kind)(num_classes=gaussians.TASK.num_classes, **fields)
  params = module.init(jax.random.key(3), jnp.zeros((1, gaussians.DIM)))['params']
  return jax.tree.map(lambda leaf: leaf[None], params)


def poisoned(examples, number):
  """What the runs see from session `number` on, and nonsense in place of all before it."""
  shots, base = examples.shots.copy(), examples.base.copy()
  nonsense = np.nan if shots.dtype.kind == 'f' else 77
  shots[:, :, : number - 1], base[:] = nonsense, nonsense
  return dataclasses.replace(examples, shots=shots, base=base)


def refuse(name):
  """Asks the learner for a field that it has not."""
  methods.make(gaussians.TASK, {'name': name, 'no_such_field': 1})

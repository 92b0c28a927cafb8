"""Tiny teachers and students with every kind of feature, and what a term makes of one batch."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from jaxdistill.distillation.method import Pair
from jaxdistill.models import normalisation
from jaxdistill.models.convolution import Conv
from jaxdistill.models.linear import Linear
from jaxdistill.training import parallel, whole_batch
from jaxdistill.training.players import Scene

CLASSES, SIDE, ROWS = 3, 8, 6
LABELS = np.array([0, 1, 2, 0, 1, 2])


class Net(nn.Module):
  """Two stages, whose names are those of the library's networks."""

  num_classes: int = CLASSES
  width: int = 4
  depth: int = 8

  @nn.compact
  def __call__(self, x, train=False):
    x = nn.relu(Conv(self.width, padding=1, name='conv')(x))
    features = {'stem': x}
    for stage in (1, 2):
      conv = Conv(self.width * stage, (3, 3), (stage, stage), padding=1, name=f'stage{stage}_conv1')
      before = normalisation.norm('batch')(name=f'stage{stage}_norm1')(conv(x), train)
      x = nn.relu(before)
      features |= {f'stage{stage}': x, f'stage{stage}_pre': before}
    features['embedding'] = x.mean((1, 2))
    return Linear(self.num_classes, name='classifier')(features['embedding']), features


def form(module, side, num_classes=CLASSES):
  images = jnp.zeros((1, side, side, 3))
  (logits, features), _ = jax.eval_shape(module.init_with_output, jax.random.key(0), images)
  return {'logits': logits, **features}


@functools.cache
def variables(module):
  """Of a network, its biases not all 0."""
  images = jnp.zeros((1, SIDE, SIDE, 3))
  started = jax.jit(module.init)(jax.random.key(7), images)
  return jax.tree.map(lambda leaf: leaf + 0.1 * (leaf == 0), started)


def pair(width=4, teacher_width=4, low=0, **changes):
  """A student of a width and size of images, and a teacher of a width at the full size."""
  student, teacher = Net(width=width), Net(width=teacher_width)
  made = Pair(
    student=student,
    student_form=form(student, low or SIDE),
    teacher_form=form(teacher, SIDE),
    teacher=teacher,
    num_classes=CLASSES,
    images=ROWS,
    labels=LABELS,
    batch=ROWS,
    steps=40,
    epoch_steps=10,
    low=low,
    student_view='low' if low else 'images',
    views=('images', 'low') if low else ('images',),
    optimizer=lambda steps: optax.sgd(0.1),
    assistant=student,
    teacher_variables=variables(teacher),
  )
  return dataclasses.replace(made, **changes)


def batch():
  """Labels, weights and places of the rows."""
  return {
    'labels': jax.device_put(np.float32(np.eye(CLASSES)[LABELS])),
    'weight': jnp.ones(ROWS),
    'index': jnp.arange(ROWS, dtype=jnp.int32),
  }


def features(forms, seed=0):
  """Random outputs of a network, in which what is behind a ReLU is that of what is before it."""
  rng = np.random.default_rng(seed)
  given = {
    name: jax.device_put(np.float32(rng.normal(size=(ROWS, *leaf.shape[1:]))))
    for name, leaf in forms.items()
  }
  for name in forms:
    if f'{name}_pre' in given:
      given[name] = nn.relu(given[f'{name}_pre'])
  return given


def phases(piece):
  """The (adapters, terms) of a piece: of its own phase, and of that of the student."""
  own = []
  if piece.first:
    own.append((piece.first.parts, piece.first.players[0].terms))
  if piece.terms:
    own.append((piece.parts, piece.terms))
  return [({n: p for n, p in parts.items() if n != 'student'}, terms) for parts, terms in own]


def start(parts, outputs):
  """Variables of some adapters beside networks with these outputs."""
  scene, variables = Scene(outputs, batch()), {}
  for number, (name, part) in enumerate(parts.items()):
    arguments = part.reads(scene)
    variables[name] = jax.jit(part.module.init)(jax.random.key(number), *arguments)
  return variables


def adapted(parts, variables, scene):
  """A scene with the outputs of some adapters, as the engine has it while they are trained."""
  with normalisation.weighted(scene.batch['weight']):
    for name, part in parts.items():
      given, _ = part.module.apply(
        variables[name], *part.reads(scene), train=True, mutable=['batch_stats']
      )
      given = given if isinstance(given, dict) else {'output': given}
      scene = dataclasses.replace(scene, outputs={**scene.outputs, name: given})
  return scene


def values(terms, scene):
  """The loss of every term by name, without its weight; one that remembers sees the whole batch."""
  losses = {}
  for term in terms:
    if term.memory:
      own = dataclasses.replace(scene, memory=term.memory(jax.random.key(5)))
      losses[term.name], _ = term.loss(own.gathered())
    else:
      losses[term.name] = term.loss(scene)
  return losses


def gradients(total):
  """(parameters, outputs, batch) -> gradients of both, and the terms, of a function that returns
  the sum of terms and each by its name."""
  return jax.grad(total, argnums=(0, 1), has_aux=True)


def of_four_devices(total):
  """The same of a batch of six rows, on four devices that have two rows each, the last of them two
  of weight 0; as the engine adds up what the devices come to."""
  mesh, axis = parallel.make_mesh(4), parallel.AXIS
  whole, rows = PartitionSpec(), PartitionSpec(axis)

  def of_device(params, outputs, entries):
    weight = entries['weight'].sum()
    share = weight / jax.lax.psum(weight, axis)

    def shared(*arguments):
      loss, by_term = total(*arguments)
      return share * loss, {name: share * value for name, value in by_term.items()}

    with whole_batch.sharing(axis):
      (of_params, of_outputs), by_term = gradients(shared)(params, outputs, entries)
    of_params, by_term = jax.lax.psum((of_params, by_term), axis)
    return (of_params, of_outputs), by_term

  spread = parallel.per_device(of_device, mesh, (whole, rows, rows), ((whole, rows), whole))

  def evaluate(params, outputs, entries):
    filled = lambda array: jnp.concatenate([array, array[:2]])
    outputs, entries = jax.tree.map(filled, (outputs, entries))
    entries['weight'] = entries['weight'].at[ROWS:].set(0.0)
    (of_params, of_outputs), by_term = spread(params, outputs, entries)
    return (of_params, jax.tree.map(lambda leaf: leaf[:ROWS], of_outputs)), by_term

  return evaluate

"""Tiny teachers and students with every kind of feature, and what a term makes of one batch."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdistill.distillation.method import Pair
from jaxdistill.distillation.pieces import student_part
from jaxdistill.models import normalisation
from jaxdistill.models.convolution import Conv
from jaxdistill.models.linear import Linear
from jaxdistill.training.players import Part, Scene

CLASSES, SIDE, ROWS = 3, 8, 6
LABELS = np.array([0, 1, 2, 0, 1, 2])


class Net(nn.Module):
  """Two stages without normalisation, so that the rows of a batch stand for themselves."""

  num_classes: int = CLASSES
  width: int = 4
  depth: int = 8

  @nn.compact
  def __call__(self, x, train=False):
    x = nn.relu(Conv(self.width, padding=1, name='conv')(x))
    features = {'stem': x}
    for stage in (1, 2):
      before = Conv(self.width * stage, (3, 3), (stage, stage), padding=1, name=f'stage{stage}')(x)
      x = nn.relu(before)
      features |= {f'stage{stage}': x, f'stage{stage}_pre': before}
    features['embedding'] = x.mean((1, 2))
    return Linear(self.num_classes, name='classifier')(features['embedding']), features


def form(module, side, num_classes=CLASSES):
  images = jnp.zeros((1, side, side, 3))
  (logits, features), _ = jax.eval_shape(module.init_with_output, jax.random.key(0), images)
  return {'logits': logits, **features}


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
  )
  return dataclasses.replace(made, **changes)


def batch(low=0, seed=0):
  """Images of both views, labels, weights and places."""
  images = np.random.default_rng(seed).normal(size=(ROWS, SIDE, SIDE, 3)).astype(np.float32)
  step = SIDE // (low or SIDE)
  return {
    'images': images,
    'low': images[:, ::step, ::step],
    'labels': np.eye(CLASSES, dtype=np.float32)[LABELS],
    'weight': np.ones(ROWS, np.float32),
    'index': np.arange(ROWS, dtype=np.int32),
  }


def phases(piece, made):
  """The (parts, terms) of a piece: those of its own phase, and those beside the student."""
  own = []
  if piece.first:
    own.append((piece.first.parts, piece.first.players[0].terms))
  if piece.terms:
    own.append(({'student': student_part(made), **piece.parts}, piece.terms))
  return own


def outputs(part, variables, arguments):
  """What a part gives, by name."""
  given = part.module.apply(variables, *arguments, train=True, mutable=['batch_stats'])[0]
  if isinstance(given, tuple):
    return {'logits': given[0], **given[1]}
  return given if isinstance(given, dict) else {'output': given}


def scene_of(parts, variables, entries, teacher, key=None):
  """The scene of some parts on a batch, and the variables of those that have none yet."""
  variables, scene = dict(variables), Scene({}, entries, key)
  with normalisation.weighted(entries['weight']):
    guide = outputs(Part(teacher), variables['teacher'], (entries['images'],))
    seen = {'teacher': guide}
    for number, (name, part) in enumerate(parts.items()):
      scene = dataclasses.replace(scene, outputs=seen)
      arguments = part.reads(scene) if part.reads else (entries[part.view],)
      if name not in variables:
        variables[name] = part.module.init(jax.random.key(number), *arguments)
      seen = {**seen, name: outputs(part, variables[name], arguments)}
  return dataclasses.replace(scene, outputs=seen), variables


def values(terms, scene):
  """The loss of every term by name, without its weight."""
  losses = {}
  for term in terms:
    if term.memory:
      own = dataclasses.replace(scene, memory=term.memory(jax.random.key(5)))
      losses[term.name], _ = term.loss(own)
    else:
      losses[term.name] = term.loss(scene)
  return losses

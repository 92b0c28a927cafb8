"""Tiny pairs, and a stage of a method on one batch of them: its variables, terms and gradients, and
a few steps of its training."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdistill import models
from jaxdistill.data.examples import Examples
from jaxdistill.distillation.method import Pair
from jaxdistill.models import normalisation
from jaxdistill.training import loop, outputs, players, turns
from jaxdistill.training.players import Game, Part
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run

CLASSES, SHAPE, ROWS = 3, (8, 8, 1), 6
LABELS = np.array([0, 1, 2, 0, 1, 2])


def network(width, norm='none'):
  fields = {'name': 'convnet', 'width': width, 'depth': 2, 'norm': norm}
  return models.build(fields, CLASSES, SHAPE)


def pair(width=4, teacher_width=4, norm='none', **changes):
  """A student and a teacher, whose embeddings have four times their width."""
  student, teacher = network(width, norm), network(teacher_width, norm)

  def form(module):
    images = jnp.zeros((1, *SHAPE))
    (logits, features), _ = jax.eval_shape(module.init_with_output, jax.random.key(0), images)
    return {'logits': logits, **features}

  made = Pair(
    student=student,
    student_form=form(student),
    teacher_form=form(teacher),
    teacher=teacher,
    num_classes=CLASSES,
    images=ROWS,
    labels=LABELS,
    batch=ROWS,
    steps=40,
    epoch_steps=10,
    low=0,
    student_view='images',
    views=('images',),
    optimizer=lambda steps: optax.sgd(0.1),
    assistant=student,
  )
  return dataclasses.replace(made, **changes)


def batch(seed=0):
  """Images, labels, weights and places."""
  images = np.random.default_rng(seed).normal(size=(ROWS, *SHAPE)).astype(np.float32)
  return {
    'images': images,
    'labels': np.eye(CLASSES, dtype=np.float32)[LABELS],
    'weight': np.ones(ROWS, np.float32),
    'index': np.arange(ROWS, dtype=np.int32),
  }


@functools.cache
def teacher_variables(teacher):
  with (
    jax.ensure_compile_time_eval()
  ):  # numbers, also where a test compiles what asks for them first
    return jax.jit(teacher.init)(jax.random.key(2), jnp.zeros((1, *SHAPE)))


def teacher_outputs(pair, images):
  """What the teacher gives as a guide."""
  own = teacher_variables(pair.teacher)
  given, _ = outputs.apply(pair.teacher, own, (images,), train=False)
  return {**given, **outputs.prototypes(own)}


def game(pair, stage):
  return Game(stage.parts, stage.players, {name: Part(pair.teacher) for name in stage.guides})


def examples(entries):
  pixels = np.clip(entries['images'] * 40 + 128, 0, 255).astype(np.uint8)
  labels = entries['labels'].argmax(1).astype(np.int32)
  return Examples(pixels, labels, CLASSES, (0.5,), (0.25,))


def recipe():
  return Recipe('toy', batch=ROWS, epochs=1)


def guides(pair, stage):
  return {name: teacher_variables(pair.teacher) for name in stage.guides}


def first_variables(pair, stage, entries, seed=1):
  """The variables of a stage's parts and the memories of its terms, of one network."""
  data, views = examples(entries), recipe().views(examples(entries))
  forms = {'images': data.images, 'labels': data.labels}
  made = players.learner(game(pair, stage), forms, recipe(), views, guides(pair, stage))
  return jax.jit(made.init)(jax.random.key(seed))


def compiled(pair, stage):
  """(variables, batch, step) -> (what the stage's players make of it, the gradient of the sum of
  their losses by all parameters of its parts)."""
  played = game(pair, stage)
  objective = turns.objective(played, played.players)

  def loss(params, variables, entries, step):
    batch = {**entries, 'step': step}
    if stage.guides:
      batch['guides'] = {'teacher': teacher_outputs(pair, entries['images'])}
    with normalisation.weighted(entries['weight']):
      outcome = objective({**variables, 'params': params}, batch, jax.random.key(3))
    return outcome.loss, outcome

  @jax.jit
  def play(variables, entries, step=0):
    params = variables['params']
    (_, outcome), gradient = jax.value_and_grad(loss, has_aux=True)(
      params, variables, entries, step
    )
    return outcome, gradient

  return play


def trained(pair, stage, entries, *, steps=2, networks=1, kept=False, **settings):
  """(First variables, last variables, lines of metrics) of a few steps, leading axis networks;
  `kept`: without the teacher's own variables, where tables hold its outputs."""
  start = players.problem(
    game(pair, stage),
    examples(entries),
    recipe(),
    guide_variables={} if kept else guides(pair, stage),
    networks=networks,
    num_steps=steps,
    seed=5,
    **settings,
  )
  with Run(progress=False, log_every=1) as run:
    end = loop.fit(run, 'train', start)
    lines = run.curve('train')
  on_host = functools.partial(jax.tree.map, np.asarray)
  return on_host(start.state.variables), on_host(end.variables), lines


def flat(tree):
  """The leaves of a tree by their paths."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def largest(gradient):
  """The largest entry of a gradient's leaves."""
  return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradient))


def same(one, other):
  """Whether two trees are equal bit for bit."""
  return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))

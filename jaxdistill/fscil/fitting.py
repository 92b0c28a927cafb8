"""Heads for encoders that are finished: where base networks were trained with another head than a
learner starts from, or are an encoder alone, its own is fitted to their features of the base
images."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxdistill import files
from jaxdistill.data import samplers
from jaxdistill.data.views import Views, soft_labels
from jaxdistill.experiment import kept
from jaxdistill.fscil import base
from jaxdistill.numerics import settled
from jaxdistill.training import loop, parallel, replicas
from jaxdistill.training.learner import Learner
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.problem import Problem
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run
from jaxdistill.training.schedules import Schedule


def recipe(epochs: int, learning_rate: float) -> Recipe:
  """Returns how a head is fitted (our choice): SGD with momentum, cosine, no augmentation.

  >>> recipe(20, 0.1).batch
  128
  """
  return Recipe(
    'head',
    batch=128,
    epochs=epochs,
    schedule=Schedule('cosine', learning_rate, warmup_share=0.05),
    optimizer=Optimizer('sgd', momentum=0.9, weight_decay=5e-4),
  )


@settled()
def setup(
  head: nn.Module,
  features: np.ndarray,
  labels: np.ndarray,
  base_classes: int,
  how: Recipe,
  *,
  seed: int = 0,
  mesh: Mesh | None = None,
) -> Problem:
  """Returns the fitting of S heads, each to the features of one encoder, ready for the loop.

  Args:
    head: a module of `models.heads` of all C columns.
    features: float32 [S, n, d].
    labels: int [n], columns of the base.
    base_classes: B.
    how: see `recipe`.
    seed: of the first weights and of the order.
    mesh: the devices.
  """
  networks, images, dim = features.shape
  batch = min(how.batch, images)
  steps = how.steps(images)
  module = _Alone(head)

  def init(key):
    return module.init(key, jnp.zeros((1, dim), jnp.float32))

  def rows(key, step):
    return samplers.epoch_batch(key, step, images, batch)

  def prepare(key, batch, choices):
    del key, choices
    return {**batch, 'labels': soft_labels(batch['labels'], head.num_classes)}

  learner = Learner(
    init, rows, Views(lambda key: (), prepare), base.objective(module, base_classes)
  )
  return replicas.problem(
    learner,
    how.optimizer.build(how.learning_rate(images, steps), how.groups),
    replicas.Options(
      networks,
      mesh=mesh,
      # Tiny matrix products: mapped they are one.
      way='vmap',
      first_rows=tuple(images * number for number in range(networks)) if networks > 1 else (),
    ),
    {
      'images': np.asarray(features).reshape(networks * images, dim),
      'labels': np.tile(np.asarray(labels), networks),
    },
    num_steps=steps,
    seed=seed,
    epoch_steps=how.epoch_steps(images),
  )


@settled()
def fit(
  run: Run,
  name: str,
  features_key: str,
  head: nn.Module,
  features: np.ndarray,
  labels: np.ndarray,
  base_classes: int,
  how: Recipe,
  *,
  seed: int = 0,
  mesh: Mesh | None = None,
  directory: Any = None,
) -> Any:
  """Returns the parameters [S, ...] of heads fitted to finished encoders, or reads them back.

  Args:
    run: keeps metrics and checkpoints.
    name: of the phase.
    features_key: the hash of all that decides the features: encoders, images, how they are seen.
    head, features, labels, base_classes, how, seed, mesh: see `setup`.
    directory: where heads are kept for other runs; None: nowhere.
  """
  problem = setup(head, features, labels, base_classes, how, seed=seed, mesh=mesh)
  networks = len(features)
  form = lambda leaf: jax.ShapeDtypeStruct((networks, *leaf.shape[1:]), leaf.dtype)
  template = jax.tree.map(form, problem.state.variables['params']['head'])

  def compute():
    state = loop.fit(run, name, problem, keep_final=False)
    fitted = state.variables['params']['head']
    return parallel.on_host(fitted, slice(networks))

  key = files.content_hash(
    [np.asarray(labels)],
    dict(
      what='head',
      features=features_key,
      head=repr(head),
      base_classes=base_classes,
      recipe=how.described(),
      seed=seed,
      shape=features.shape,
    ),
  )
  fitted = kept.tree_once(run, directory, key, compute, lambda: template)
  run.discard(name)
  return fitted


class _Alone(nn.Module):
  """A head as a network whose images are features."""

  head: nn.Module

  @nn.compact
  def __call__(self, features, train=False):
    del train
    logits, projected = self.head(features)
    return logits, {'embedding': features, 'projected': projected}

"""The base network inside a learner that trains it on in the sessions: what is its own, what is
frozen, how it sees images.

It sees every image as frozen encoders do (`fscil.features`): in eval mode, in the test pipeline,
those that it learns from too, without augmentation. So rows that start at class means, the memory's
images and the test images fit each other. (Our choice.)
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.fscil.learner import Start, State, Task
from jaxdistill.training import features


def split(start: Start) -> State:
  """Returns the parts 'network', the encoder's parameters, and 'frozen': its running statistics,
  which stay those of the base session, and the head, which nobody asks any more."""
  if start.variables is None:
    raise errors.UserError('This learner reads images: give it the whole base networks.')
  params = dict(start.variables['params'])
  frozen = {name: tree for name, tree in start.variables.items() if name != 'params'}
  frozen['head'] = {name: params.pop(name) for name in ('head', 'classifier') if name in params}
  return {'network': params, 'frozen': frozen}


def embed(task: Task, state: State, images: Any) -> jax.Array:
  """Returns the encoder's features [n, d] of images (uint8, or in the unit range), in eval mode and
  under the view of the test pipeline."""
  collections = {name: tree for name, tree in state['frozen'].items() if name != 'head'}
  variables = {**collections, 'params': {**state['network'], **state['frozen']['head']}}
  return features.embedder(task.network, task.mean, task.std, task.view)(variables, images)


def live(state: State, seen: jax.Array) -> jax.Array:
  """Returns how many numbers the encoder and the rows of the columns seen have."""
  encoder = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state['network']))
  return encoder + jnp.sum(seen) * state['rows'].shape[1]

"""A classifier that has gone through all sessions: it answers, and is saved and read back."""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import numpy as np
from flax import serialization

from jaxdistill import draws, files, models
from jaxdistill.errors import UserError
from jaxdistill.fscil import base, methods
from jaxdistill.fscil.features import zoomed
from jaxdistill.fscil.learner import Learner, Start, Task, masked
from jaxdistill.numerics import settled
from jaxdistill.training import features, trees

_BATCH = 500  # images a call
_FORMAT = 'jaxdistill few-shot classifier, version 1'


@dataclasses.dataclass(frozen=True)
class Built:
  """What a classifier is built from again, all plain values.

  Attributes:
    method: name and fields of the learner.
    model: what `models.build` takes, with the dtype.
    head: name of the head that the learner started from.
    head_width: of it; 0: its own.
    zoom: side to which images are scaled before the centre crop; 0: none.
    task: the static facts as numbers, see `learner.Task`.
    order: the class of the data set in each column.
    class_names: of the columns.
  """

  method: Mapping[str, Any]
  model: Mapping[str, Any]
  head: str
  head_width: int
  zoom: int
  task: Mapping[str, Any]
  order: tuple[int, ...]
  class_names: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Learned(trees.Saved):
  """A few-shot class-incremental classifier at the end of its sessions.

  Attributes:
    built: what it is built from.
    variables: of its base network.
    state: of its learner.

  `jaxdistill.fscil.run` returns one; `load` reads one back.
  """

  WHAT: ClassVar[str] = 'classifier'
  built: Built
  variables: Any
  state: Any

  @functools.cached_property
  def network(self) -> nn.Module:
    """The base network."""
    built = self.built
    shape = tuple(built.task['image_shape'])
    encoder = models.build(built.model, built.task['num_classes'], shape)
    return base.network(encoder, built.head, built.task['num_classes'], built.head_width)

  @functools.cached_property
  def task(self) -> Task:
    """What the learner knew beforehand."""
    fields = {
      name: tuple(value) if isinstance(value, list) else value
      for name, value in self.built.task.items()
    }
    view = zoomed(self.built.zoom, fields['image_shape'])
    return Task(**fields, network=self.network, view=view)

  @functools.cached_property
  def learner(self) -> Learner:
    """The functions of the learner."""
    return methods.make(self.task, self.built.method)

  @property
  def class_names(self) -> tuple[str, ...]:
    """Of the labels that `predict` returns, those of the data set that it has learned from."""
    names = [''] * (max(self.built.order) + 1)
    for label, name in zip(self.built.order, self.built.class_names):
      names[label] = name
    return tuple(names)

  @settled()
  def predict(self, images: np.ndarray) -> np.ndarray:
    """Returns the labels of images, int32 [n], as the data set numbers its classes.

    Args:
      images: uint8 [n, h, w, c], of the shape that it has learned from.

    Raises:
      UserError: for other images.
    """
    return np.asarray(self.built.order, np.int32)[self.logits(images).argmax(-1)]

  @settled()
  def logits(self, images: np.ndarray) -> np.ndarray:
    """Returns float32 [n, C] by column; images as for `predict`."""
    images, shape = np.asarray(images), tuple(self.task.image_shape)
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[1:] != shape:
      raise UserError(
        f'This classifier takes uint8 images [n, {", ".join(map(str, shape))}]; got '
        f'{images.dtype} of shape {list(images.shape)}.'
      )
    if not len(images):
      return np.zeros((0, self.task.num_classes), np.float32)
    forward = lambda rows: self._forward(self.variables, self.state, images[rows])
    return features.in_chunks(forward, len(images), _BATCH)

  @functools.cached_property
  def _forward(self):
    task = self.task
    embed = features.embedder(self.network, task.mean, task.std, task.view)
    seen = np.ones(task.num_classes, bool)

    def forward(variables, state, images):
      inputs = embed(variables, images) if self.learner.reads == 'features' else images
      return masked(self.learner.logits(state, inputs), seen)

    return jax.jit(forward)

  def to_bytes(self) -> bytes:
    """Returns the content of the file."""
    built = json.dumps(files.jsonable(dataclasses.asdict(self.built)))
    return trees.encode(
      {'format': _FORMAT, 'built': built, 'variables': self.variables, 'state': self.state}
    )

  @classmethod
  def from_bytes(cls, content: bytes) -> 'Learned':
    """Returns the classifier of what `to_bytes` returned.

    Raises:
      ValueError, KeyError or TypeError: it is something else.
    """
    content = trees.opened(content, _FORMAT)
    learned = cls(_built(content['built']), content['variables'], {})
    return dataclasses.replace(learned, state=learned._restored(content['state']))

  def _restored(self, state):
    """The state in the learner's own form: a tuple is a dict in a file."""
    form = jax.eval_shape(self._ended)
    return serialization.from_state_dict(form, state)

  def _ended(self):
    """A state of the form that the sessions leave."""
    task, variables = self.task, self.variables
    width = (task.num_classes, task.dim)
    head = variables['params'].get('head')
    start = Start(
      head,
      np.zeros(width, np.float32),
      np.zeros(task.num_classes, np.int32),
      variables if self.learner.reads == 'images' else None,
    )
    return self.learner.start(draws.key(0), start)


def _built(text: str) -> Built:
  """What `to_bytes` wrote, with tuples again."""
  content = json.loads(text)
  content['order'], content['class_names'] = map(tuple, (content['order'], content['class_names']))
  # A field of earlier versions, which with 0 meant the directions that the base network has.
  if content['method'].get('etf_seed') == 0:
    del content['method']['etf_seed']
  return Built(**content)

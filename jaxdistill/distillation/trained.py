"""Students that have been trained: they answer, and are saved, read back and handed on."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import numpy as np

from jaxdistill import errors, files, models
from jaxdistill.data import pixels
from jaxdistill.data.degradations import NAMED
from jaxdistill.data.resolution import Lower, seen_shape
from jaxdistill.distillation import exporting, seeing
from jaxdistill.distillation.seeing import Seeing
from jaxdistill.errors import UserError
from jaxdistill.numerics import settled
from jaxdistill.training import trees

_FORMAT = 'jaxdistill students, version 1'


@dataclasses.dataclass(frozen=True)
class Built:
  """What students are built from again, all plain values.

  Attributes:
    model: what `models.build` takes, with the dtype.
    class_names: of the logits.
    image_shape: of native images.
    low: side of the images that they read; 0: native.
    how, shown: of such images, see `data.resolution.Lower`.
    mean, std: per channel, of images in [0, 1].
    degrade: what the low images suffered in training and in tests, see `degradations.NAMED`.
  """

  model: Mapping[str, Any]
  class_names: tuple[str, ...]
  image_shape: tuple[int, int, int]
  low: int
  how: str
  shown: str
  mean: tuple[float, ...]
  std: tuple[float, ...]
  degrade: tuple[str, ...] = ()

  @property
  def student_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of the images that the network reads."""
    return seen_shape(self.image_shape, self.low, self.shown)

  @property
  def network(self) -> nn.Module:
    """The network, without weights."""
    return models.build(self.model, len(self.class_names), self.student_shape)

  @property
  def lower(self) -> Lower | None:
    """What makes native images those that the network reads; None: nothing."""
    return Lower(self.low, self.how, self.shown) if self.low else None

  def seeing(self, degraded: bool = True) -> Seeing:
    """Returns the network behind the view that it reads, with or without what images suffered."""
    if not self.low:
      return Seeing(self.network, (), self.mean, self.std)
    suffered = tuple(NAMED[name] for name in self.degrade) if degraded else ()
    lower = dataclasses.replace(self.lower, degrade=suffered)
    return Seeing(self.network, (lower,), self.mean, self.std)


@dataclasses.dataclass(frozen=True, eq=False)
class Trained(trees.Saved):
  """R students of one method.

  Attributes:
    built: what they are built from.
    variables: leading axis R.

  `load` reads what `save` has written, or a run left as students.msgpack.
  """

  WHAT: ClassVar[str] = 'students'
  built: Built
  variables: Any

  @property
  def seeds(self) -> int:
    """R."""
    return len(jax.tree.leaves(self.variables)[0])

  @settled()
  def logits(self, images: np.ndarray, degraded: bool = True) -> np.ndarray:
    """Returns float32 [R, n, C] of native images, which are made low here where the students read
    low ones.

    Args:
      images: uint8 [n, h, w, c], or floats in [0, 1].
      degraded: whether they then suffer what those of the training and the tests did, so that the
        answers are those that were scored; False: pictures that are as bad already.

    Raises:
      UserError: for images of another shape, type or range.
    """
    images = pixels.checked_inputs('These students', images, self.built.image_shape)
    seen = self.built.seeing(degraded)
    return seeing.outputs(seen, self.variables, images, ['logits'], networks=self.seeds)['logits']

  def student(self, number: int = 0) -> Any:
    """Returns the variables of one student.

    Raises:
      UserError: there is none of this number.
    """
    if not 0 <= errors.whole('number', number) < self.seeds:
      raise UserError(f'There are {self.seeds} students, from 0; got {number}.')
    return jax.tree.map(lambda leaf: np.asarray(leaf)[number], self.variables)

  def export(self, folder: str | os.PathLike, number: int = 0) -> pathlib.Path:
    """Writes one student as a folder that runs without the library, on native images, see
    `exporting.export`; returns its path.

    The program makes images low where the student reads low ones, and nothing else: pictures come
    to it from a camera as bad as they are. The description says what the student has learned on.
    """
    built, description = self.built, {}
    if built.low:
      description = {'low': built.low, 'shown': built.shown}
    if built.degrade:
      description['learned_on'] = built.degrade
    return exporting.export(
      folder,
      built.network,
      self.student(number),
      image_shape=built.image_shape,
      mean=built.mean,
      std=built.std,
      class_names=built.class_names,
      view=built.lower,
      description=description,
    )

  def to_bytes(self) -> bytes:
    """Returns the content of the file."""
    fields = dataclasses.asdict(self.built)
    if not self.built.degrade:
      del fields['degrade']  # as files of before it was there lack it
    built = json.dumps(files.jsonable(fields))
    return trees.encode({'format': _FORMAT, 'built': built, 'variables': self.variables})

  @classmethod
  def from_bytes(cls, content: bytes) -> 'Trained':
    """Returns the students of what `to_bytes` returned.

    Raises:
      ValueError, KeyError or TypeError: it is something else.
    """
    content = trees.opened(content, _FORMAT)
    built = json.loads(content['built'])
    for name in ('class_names', 'image_shape', 'mean', 'std', 'degrade'):
      built[name] = tuple(built.get(name, ()))
    return cls(Built(**built), content['variables'])

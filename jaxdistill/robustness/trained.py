"""Networks that have been trained: they answer, are attacked, are saved and read back."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import numpy as np

from jaxdistill import errors, files, models
from jaxdistill.data import augment, pixels
from jaxdistill.errors import UserError
from jaxdistill.models.pixels import OfPixels
from jaxdistill.numerics import settled
from jaxdistill.training import features, trees

_FORMAT = 'jaxdistill robust networks, version 1'
_BATCH = 500


@dataclasses.dataclass(frozen=True)
class Built:
  """What networks are built from again, all plain values.

  Attributes:
    model: what `models.build` takes, with the dtype.
    class_names: of the logits.
    image_shape: of the images.
    mean, std: per channel, by which the network normalises images in [0, 1] itself.
  """

  model: Mapping[str, Any]
  class_names: tuple[str, ...]
  image_shape: tuple[int, int, int]
  mean: tuple[float, ...]
  std: tuple[float, ...]

  @property
  def network(self) -> OfPixels:
    """The network, without weights."""
    model = models.build(self.model, len(self.class_names), self.image_shape)
    return OfPixels(model, self.mean, self.std)


@dataclasses.dataclass(frozen=True, eq=False)
class Trained(trees.Saved):
  """R networks of one method.

  Attributes:
    built: what they are built from.
    variables: leading axis R.

  `load` reads what `save` has written, or a run left as networks.msgpack.
  """

  WHAT: ClassVar[str] = 'networks'
  built: Built
  variables: Any

  @property
  def seeds(self) -> int:
    """R."""
    return len(jax.tree.leaves(self.variables)[0])

  @functools.cached_property
  def network(self) -> OfPixels:
    """The network, without weights."""
    return self.built.network

  def function(self, number: int = 0) -> Callable[[jax.Array], jax.Array]:
    """Returns one network as what `attack` and `evaluate` take: images in [0, 1] -> logits.

    Raises:
      UserError: there is none of this number.
    """
    if not 0 <= errors.whole('number', number) < self.seeds:
      raise UserError(f'There are {self.seeds} networks, from 0; got {number}.')
    variables = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf[number]), self.variables)
    return lambda images: self.network.apply(variables, images, train=False)[0]

  @settled()
  def logits(self, images: np.ndarray) -> np.ndarray:
    """Returns float32 [R, n, C].

    Args:
      images: uint8 [n, h, w, c], or floats in [0, 1].

    Raises:
      UserError: for images of another shape, type or range.
    """
    images = pixels.checked_inputs('These networks', images, self.built.image_shape)

    @jax.jit
    def forward(variables, rows):
      logits, _ = self.network.apply(variables, augment.unit(rows), train=False)
      return {'logits': logits.astype(np.float32)}

    answers = []
    for number in range(self.seeds):
      variables = jax.tree.map(lambda leaf, number=number: leaf[number], self.variables)
      one = features.in_chunks(
        lambda rows, variables=variables: forward(variables, images[rows]), len(images), _BATCH
      )
      answers.append(one['logits'])
    return np.stack(answers)

  def to_bytes(self) -> bytes:
    """Returns the content of the file."""
    built = json.dumps(files.jsonable(dataclasses.asdict(self.built)))
    return trees.encode({'format': _FORMAT, 'built': built, 'variables': self.variables})

  @classmethod
  def from_bytes(cls, content: bytes) -> 'Trained':
    """Returns the networks of what `to_bytes` returned.

    Raises:
      ValueError, KeyError or TypeError: it is something else.
    """
    content = trees.opened(content, _FORMAT)
    built = json.loads(content['built'])
    for name in ('class_names', 'image_shape', 'mean', 'std'):
      built[name] = tuple(built[name])
    return cls(Built(**built), content['variables'])

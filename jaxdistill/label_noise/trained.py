"""The networks of a method as a file that answers without it."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import numpy as np

from jaxdistill import errors, files
from jaxdistill.data import augment, pixels, vectors
from jaxdistill.numerics import settled
from jaxdistill.training import features, portable, trees
from jaxdistill.training.learner import OF_NO_PART

_FORMAT = 'jaxdistill label-noise networks, version 1'
_BATCH = 500


@dataclasses.dataclass(frozen=True)
class Form:
  """What is known of the networks of a method, all plain values.

  Attributes:
    class_names: of the probabilities.
    image_shape: of an example; (1, 1, d) of vectors.
    members: networks that make one answer, the mean of theirs.
    multilabel: whether an example has any number of classes, each with a probability of its own.
  """

  class_names: tuple[str, ...]
  image_shape: tuple[int, int, int]
  members: int = 1
  multilabel: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Trained(trees.Saved):
  """Networks of one method, with the program that answers.

  Attributes:
    form: what they are.
    program: (variables of one game, float32 images) -> probabilities, see `portable.program_of`.
    variables: leading axis seeds x members.

  `load` reads what `save` has written, or a run left as networks.msgpack.
  """

  WHAT: ClassVar[str] = 'networks'
  form: Form
  program: bytes
  variables: Any

  @property
  def seeds(self) -> int:
    """How many answers there are."""
    return len(jax.tree.leaves(self.variables)[0]) // self.form.members

  @functools.cached_property
  def function(self) -> Callable[[Any, jax.Array], jax.Array]:
    """The program, compiled."""
    return portable.called(self.program)

  @settled()
  def probabilities(self, examples: np.ndarray) -> np.ndarray:
    """Returns float32 [seeds, n, C].

    Args:
      examples: images uint8 [n, h, w, c] or floats in [0, 1]; or vectors [n, d], any numbers.

    Raises:
      UserError: for examples of another shape, images of another type or range, and vectors that
        are not finite.
    """
    examples = np.asarray(examples)
    if examples.ndim == 2 and tuple(self.form.image_shape[:2]) == (1, 1):
      # As the training set has them: whole numbers of eight bits are numbers here, no pixels.
      examples = vectors.as_images(vectors.checked_features('examples', examples))
    examples = pixels.checked_inputs('These networks', examples, self.form.image_shape)
    answers = []
    for number in range(len(jax.tree.leaves(self.variables)[0])):
      variables = jax.tree.map(lambda leaf, number=number: leaf[number], self.variables)
      answer = lambda rows, variables=variables: self.function(
        variables, augment.unit(examples[rows])
      )
      answers.append(features.in_chunks(answer, len(examples), _BATCH))
    stacked = np.stack(answers)
    return stacked.reshape(self.seeds, self.form.members, *stacked.shape[1:]).mean(1)

  def predict(self, examples: np.ndarray) -> np.ndarray:
    """Returns the most probable class, int32 [seeds, n]; of several labels an example which ones
    are more likely than not, [seeds, n, q]."""
    probabilities = self.probabilities(examples)
    if self.form.multilabel:
      return (probabilities > 0.5).astype(np.int32)
    return probabilities.argmax(-1).astype(np.int32)

  def to_bytes(self) -> bytes:
    """Returns the content of the file."""
    form = json.dumps(files.jsonable(dataclasses.asdict(self.form)))
    content = {'format': _FORMAT, 'form': form, 'program': self.program}
    return trees.encode({**content, 'variables': self.variables})

  @classmethod
  def from_bytes(cls, content: bytes) -> 'Trained':
    """Returns the networks of what `to_bytes` returned.

    Raises:
      ValueError, KeyError or TypeError: it is something else.
    """
    content = trees.opened(content, _FORMAT)
    form = json.loads(content['form'])
    for name in ('class_names', 'image_shape'):
      form[name] = tuple(form[name])
    return cls(Form(**form), content['program'], content['variables'])


def of_networks(
  answer: Callable[[Any, jax.Array], jax.Array],
  variables: Mapping[str, Any],
  form: Form,
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> Trained:
  """Returns networks with their program.

  Args:
    answer: (variables of one game, normalised images) -> probabilities.
    variables: leading axis seeds x members.
    form: what they are.
    mean, std: per channel, of images in [0, 1], or per feature.
  """
  variables = {name: tree for name, tree in variables.items() if name not in OF_NO_PART}
  variables = jax.tree.map(np.asarray, dict(variables))
  errors.whole('members', form.members, at_least=1)

  def normalising(variables, images):
    return answer(variables, augment.normalise(images, mean, std))

  one = jax.tree.map(lambda leaf: leaf[0], variables)
  return Trained(form, portable.program_of(normalising, one, form.image_shape), variables)

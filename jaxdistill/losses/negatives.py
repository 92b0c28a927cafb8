"""Negatives of other classes, drawn from a whole training set."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxdistill import errors
from jaxdistill.numerics import steady


@struct.dataclass
class Classes:
  """The training images by their classes, from which negatives are drawn without rejection.

  Attributes:
    order: int [N], the images sorted by label.
    starts: int [C], where a class begins in it.
    counts: int [C], of the images of a class.
  """

  order: jax.Array
  starts: jax.Array
  counts: jax.Array


def by_class(labels: np.ndarray, num_classes: int) -> Classes:
  """Returns the images of a training set by class.

  Args:
    labels: int [N], on the host.
    num_classes: C.

  Raises:
    UserError: where all images are of one class, so that nothing is a negative.

  >>> by_class(np.array([1, 0, 1]), 2).order.tolist()
  [1, 0, 2]
  """
  labels = np.asarray(labels)
  counts = np.bincount(labels, minlength=num_classes)
  if (counts > 0).sum() < 2:
    raise errors.UserError('Negatives are of other classes; CRD needs at least two classes.')
  order = np.argsort(labels, kind='stable')
  starts = np.cumsum(counts) - counts
  return Classes(*(jnp.asarray(part, jnp.int32) for part in (order, starts, counts)))


@steady
def draw_negatives(key: jax.Array, labels: jax.Array, classes: Classes, number: int) -> jax.Array:
  """Draws images of other classes, for every label uniformly among all of them, with replacement.

  Args:
    key: of the random numbers.
    labels: int [n], of the anchors.
    classes: the training images, see `by_class`.
    number: K, of negatives an anchor.

  Returns:
    int [n, K], rows of the training set.

  Source: the sampler of RepDistiller draws without replacement where a class leaves enough images;
  with it a draw needs no permutation (our choice).

  >>> draw_negatives(jax.random.key(0), jnp.array([1]), by_class(np.array([1, 0, 1]), 2), 3)
  Array([[1, 1, 1]], dtype=int32)
  """
  starts, counts = classes.starts[labels][:, None], classes.counts[labels][:, None]
  shape = (len(labels), errors.whole('number', number, at_least=1))
  places = jax.random.randint(key, shape, 0, len(classes.order) - counts, jnp.int32)
  # The own class is a run of the order; places behind its start skip it.
  return classes.order[jnp.where(places >= starts, places + counts, places)]

"""What matrices T^r(x) by annotator and image say: the rows of given classes, their means, and how
far they are from true ones."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdistill.label_noise import transition_networks

_SAMPLE = 256  # images a class that an annotator's matrix is the mean over
_BLOCK = 16  # annotators whose rows are compared at a time


def mean_confusions(layers: jax.Array, hidden: ArrayLike, classes: ArrayLike) -> np.ndarray:
  """Returns the mean of T^r(x)[c] over up to 256 images of each class c, float32 [R, C, C]; of all
  images for a class that none is of.

  Args:
    layers: last layers of the annotators, [R, d + 1, C, C].
    hidden: h(x), [n, d].
    classes: of each image, int [n].

  >>> layers = jnp.zeros((5, 3, 2, 2)).at[:, -1].set(jnp.log(jnp.array([[3.0, 1.0], [1.0, 1.0]])))
  >>> mean_confusions(layers, np.ones((4, 2)), [0, 0, 1, 1])[4].round(2).tolist()
  [[0.75, 0.25], [0.5, 0.5]]
  """
  hidden, classes = np.asarray(hidden), np.asarray(classes)
  means = []
  for label in range(layers.shape[-1]):
    members = np.flatnonzero(classes == label)
    members = members if len(members) else np.arange(len(classes))
    # Spread evenly, as a set may be sorted by something.
    members = members[np.linspace(0, len(members) - 1, min(_SAMPLE, len(members))).astype(int)]
    means.append(rows_of(layers, hidden[members], np.full(len(members), label)).mean(1))
  return np.stack(means, axis=1)


def rows_of(layers: jax.Array, hidden: ArrayLike, classes: ArrayLike) -> np.ndarray:
  """Returns T^r(x_i)[c_i], what annotator r says of image i if it is of class c_i: float32 [R, n,
  C].

  Args:
    layers: last layers of the annotators, [R, d + 1, C, C].
    hidden: h(x), [n, d].
    classes: c, int [n].
  """
  hidden, classes = np.asarray(hidden), np.asarray(classes)
  rows = np.zeros((len(layers), len(hidden), layers.shape[-1]), np.float32)
  for label in np.unique(classes):
    members = np.flatnonzero(classes == label)
    rows[:, members] = _rows_of_class(layers[:, :, label], hidden[members])
  return rows


def rows_error(
  layers: jax.Array, hidden: ArrayLike, classes: ArrayLike, laws: ArrayLike, group: ArrayLike
) -> float:
  """Returns the error of T^r(x): the mean, over annotators and images, of
  sum_c |T^r(x_i)[y_i, c] - P_g(c | x_i, y_i)|, g the group of r; from 0 to 2.

  Args:
    layers, hidden: see `rows_of`.
    classes: y, the true ones, int [n].
    laws: P of each group, [groups, n, C], as `simulate_by_image` gives them.
    group: of each annotator, int [R].
  """
  laws, group = np.asarray(laws), np.asarray(group)
  errors = []
  # The rows of all annotators at once may be many.
  for start in range(0, len(group), _BLOCK):
    rows = rows_of(layers[start : start + _BLOCK], hidden, classes)
    errors.append(np.abs(rows - laws[group[start : start + _BLOCK]]).sum(2).mean(1))
  return float(np.concatenate(errors).mean())


@jax.jit
def _rows_of_class(layers, hidden):
  """Of all annotators, the rows of the class whose slices of the layers, [R, d + 1, C], these
  are."""
  inputs = transition_networks.with_one(hidden)
  return jax.nn.softmax(jnp.einsum('nl,rlc->rnc', inputs, layers))

"""Data selection: real images that stand for their class, the baselines of condensation.

A method takes what a network sees in the images of one class and returns the positions of those it
picks, best first: (features [m, d] of which the first `count` are valid, count, number, key) -> int
  [number]. `select` applies it class by class.
"""

import functools
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws, errors
from jaxdistill.data import samplers
from jaxdistill.numerics import settled, steady
from jaxdistill.registry import Registry


@settled()
def select(
  name: str,
  features: np.ndarray | None,
  labels: np.ndarray,
  number: int,
  key: jax.Array,
  class_names: tuple[str, ...] = (),
) -> np.ndarray:
  """Picks `number` different images of each class.

  Args:
    name: 'random', 'herding', 'kcenter' or 'kmeans', see `METHODS`.
    features: float [n, d], one row an image; None for a method that does not look at them
      ('random').
    labels: int [n].
    number: images a class.
    key: of what a method draws; class c uses fold_in(key, c).
    class_names: one a class; left out, the classes are 0 to the largest label.

  Returns:
    int64 [classes, number], positions in `labels`, in the order in which they were picked.

  Raises:
    UserError: for an unknown method, a class with fewer images than `number`, or features that are
      missing or do not fit.

  >>> features, labels = np.array([[0.], [4.], [5.], [7.], [9.]]), np.array([1, 1, 0, 0, 0])
  >>> select('herding', features, labels, 2, jax.random.key(0))
  array([[3, 2],
         [0, 1]])
  """
  method = find(name)
  if features is None and name in NEED_FEATURES:
    raise errors.UserError(
      f'The selection {name!r} compares features, and none were given; see training.features.embed.'
    )
  features = (
    np.zeros((len(labels), 0), np.float32) if features is None else np.asarray(features, np.float32)
  )
  if features.shape[:1] != labels.shape or features.ndim != 2:
    raise errors.UserError(
      f'A selection needs features [n, d] and labels [n]; got {features.shape} and {labels.shape}.'
    )
  classes = len(class_names) or int(labels.max()) + 1
  counts = np.bincount(labels, minlength=classes)
  check_number(number, counts, class_names)
  picks = np.empty((classes, number), np.int64)
  # One size for all classes, so that a method is compiled once.
  padded = np.zeros((counts.max(), features.shape[1]), np.float32)
  for label, count in enumerate(counts):
    members = np.flatnonzero(labels == label)
    padded[:count], padded[count:] = features[members], 0
    picks[label] = members[
      np.asarray(method(padded, count, number, jax.random.fold_in(key, label)))
    ]
  return picks


def find(name: str) -> Callable:
  """Returns a method of selection.

  >>> find('hearding')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no selection method 'hearding'; did you mean 'herding'? ...
  """
  return METHODS.find(name)


def check_number(number: int, counts: np.ndarray, class_names: tuple[str, ...] = ()) -> None:
  """Raises `UserError` unless every class has `number` images, at least one.

  >>> check_number(3, np.array([5, 2]), ('cat', 'dog'))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: 3 images a class cannot be selected: class 'dog' has 2.
  """
  errors.whole_numbers(number=number)
  if number < 1:
    raise errors.UserError(f'At least one image a class must be selected; got {number}.')
  if number > counts.min():
    label = int(counts.argmin())
    name = class_names[label] if class_names else str(label)
    raise errors.UserError(
      f'{number} images a class cannot be selected: class {name!r} has {counts[label]}.'
    )


@functools.partial(jax.jit, static_argnums=2)
@steady
def random(features: jax.Array, count: jax.Array, number: int, key: jax.Array) -> jax.Array:
  """Draws `number` different images; the features are not looked at.

  >>> sorted(random(jnp.zeros((3, 0)), 3, 3, jax.random.key(0)).tolist())
  [0, 1, 2]
  """
  del features
  return samplers.shuffled_index(key, jnp.arange(number), count)


@functools.partial(jax.jit, static_argnums=2)
@steady
def herding(features: jax.Array, count: jax.Array, number: int, key: jax.Array) -> jax.Array:
  """Picks greedily so that the mean of the picked stays close to the mean of the class.

  Pick k + 1 is the free image x nearest to (k + 1) m - sum of the k picked, with m the mean of the
  class; of equal ones the first. With x' = x - m and S' the sum of the picked x' this minimises |x'
  + S'|^2, or |x'|^2 + 2 <x', S'>: one product of the features with a vector a pick.

  Source: Welling, ICML 2009; the form without repeats that IDC's public code uses (Kim et al., ICML
    2022).

  >>> herding(jnp.array([[0.], [4.], [5.], [7.]]), 4, 2, jax.random.key(0)).tolist()
  [1, 2]
  """
  del key
  valid = jnp.arange(len(features)) < count
  centred = _centred(features, valid)
  lengths = (centred**2).sum(1)

  def pick(carry, _):
    free, along = carry
    chosen = jnp.argmin(jnp.where(free, lengths + 2 * along, jnp.inf))
    along = along + jnp.dot(centred, centred[chosen], precision=jax.lax.Precision.HIGHEST)
    return (free.at[chosen].set(False), along), chosen

  _, picked = jax.lax.scan(pick, (valid, jnp.zeros(len(features))), length=number)
  return picked


@functools.partial(jax.jit, static_argnums=2)
@steady
def kcenter(features: jax.Array, count: jax.Array, number: int, key: jax.Array) -> jax.Array:
  """Picks greedily the image farthest from all picked ones, so that every image comes close to a
  picked one.

  Pick k + 1 is the image x with the largest min over picked p of |x - p|^2; of equal ones the
  first.

  Source: the greedy k-center of Gonzalez, 1985, used as core-set by Sener and Savarese, ICLR 2018.
  The first pick, here the image nearest the mean of the class, is our choice.

  >>> kcenter(jnp.array([[0.], [4.], [5.], [12.]]), 4, 3, jax.random.key(0)).tolist()
  [2, 3, 0]
  """
  del key
  valid = jnp.arange(len(features)) < count
  lengths = (_centred(features, valid) ** 2).sum(1)
  first = jnp.argmin(jnp.where(valid, lengths, jnp.inf))

  def pick(carry, _):
    distance, chosen = carry
    # The differences themselves: two equal images are then at distance 0 exactly.
    distance = (
      jnp.minimum(distance, ((features - features[chosen][None]) ** 2).sum(1))
      .at[chosen]
      .set(-jnp.inf)
    )
    return (distance, jnp.argmax(distance)), chosen

  _, picked = jax.lax.scan(pick, (jnp.where(valid, jnp.inf, -jnp.inf), first), length=number)
  return picked


@steady
def kmeans(features: np.ndarray, count: int, number: int, key: jax.Array) -> np.ndarray:
  """Picks the real image nearest to each of `number` k-means centres; a picked one is not picked
  again.

  Source: what DC-Bench calls K-Center (Cui et al., NeurIPS 2022). One run of Lloyd's algorithm from
  a k-means++ start (scikit-learn), and larger clusters choosing first, are our choices.

  >>> kmeans(np.array([[0.], [1.], [9.], [10.], [12.]]), 5, 2, jax.random.key(0)).tolist()
  [3, 0]
  """
  from sklearn import cluster, exceptions

  valid = np.asarray(features)[:count]
  seed = int(draws.bits(key))
  with warnings.catch_warnings():
    # Fewer different images than clusters leave clusters empty; their centres still choose an image
    # each.
    warnings.simplefilter('ignore', exceptions.ConvergenceWarning)
    fitted = cluster.KMeans(number, n_init=1, random_state=seed).fit(valid)
  sizes = np.bincount(fitted.labels_, minlength=number)
  free, picked = np.ones(count, bool), []
  for centre in fitted.cluster_centers_[np.argsort(-sizes, kind='stable')]:
    distance = ((valid - centre) ** 2).sum(1)
    picked.append(int(np.argmin(np.where(free, distance, np.inf))))
    free[picked[-1]] = False
  return np.array(picked)


def _centred(features: jax.Array, valid: jax.Array) -> jax.Array:
  """Features less the mean of the valid ones; rows of padding become 0."""
  mean = jnp.where(valid[:, None], features, 0).sum(0, keepdims=True) / valid.sum()
  return jnp.where(valid[:, None], features - mean, 0)


METHODS = Registry(
  'selection method', dict(random=random, herding=herding, kcenter=kcenter, kmeans=kmeans)
)
NEED_FEATURES = ('herding', 'kcenter', 'kmeans')

"""What the two members of CCC think between steps: groups of annotators, and small sets of examples
with the labels that a network finds most plausible, as many of each class."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws
from jaxdistill.data import augment
from jaxdistill.estimation.kmeans import kmeans
from jaxdistill.label_noise import crowd_layer
from jaxdistill.label_noise.crowd_layer import CROWD
from jaxdistill.label_noise.method import NET, Believed, Look, Setting
from jaxdistill.training.outputs import part_variables

# Beliefs: the annotators' groups, and the meta set that the other member has chosen.
GROUPS, IMAGES, LABELS, WEIGHTS = 'groups', 'meta_images', 'meta_labels', 'meta_weights'
# Its positions in the training set.
EXAMPLES = 'meta_examples'


@dataclasses.dataclass(frozen=True, eq=False)
class Sets:
  """What the members think: groups of annotators, and which examples they are sure of.

  Attributes:
    setting: what it is for.
    per_class: examples of a class in a meta set.
    groups: G.
    duplicates: see `ccc.method`.
  """

  setting: Setting
  per_class: int
  groups: int
  duplicates: bool

  @property
  def size(self) -> int:
    """M."""
    return self.per_class * self.setting.classes

  def first(self) -> dict[str, Callable[[jax.Array], jax.Array]]:
    """Returns the beliefs of a game before the first refresh: no example weighs anything."""
    shapes = {
      GROUPS: ((self.setting.evidence.annotators,), jnp.int32),
      IMAGES: ((self.size, *self.setting.examples.image_shape), jnp.float32),
      LABELS: ((self.size,), jnp.int32),
      WEIGHTS: ((self.size,), jnp.float32),
      EXAMPLES: ((self.size,), jnp.int32),
    }
    return {name: lambda key, form=form: jnp.zeros(*form) for name, form in shapes.items()}

  def refresh(self, variables: Mapping[str, Any], look: Look, step: int) -> dict[str, np.ndarray]:
    """Returns the beliefs of R networks: the groups of each, and the meta set of its partner."""
    logits = np.asarray(look(variables, NET)['logits'])
    matrices = part_variables(variables, CROWD)['params']['matrices']
    networks = len(logits)
    counts = self.setting.evidence.counts
    chosen = [
      shuffled(
        smallest_losses(logits[number], counts, self.per_class, self.duplicates),
        (step, number),
      )
      for number in range(networks)
    ]
    crossed = [chosen[partner] for partner in partners(networks)]
    return {
      GROUPS: grouped(jnp.asarray(matrices), self.groups, step),
      IMAGES: np.stack([self._images(meta.examples) for meta in crossed]),
      LABELS: np.stack([meta.labels for meta in crossed]),
      WEIGHTS: np.stack([meta.weights for meta in crossed]),
      EXAMPLES: np.stack([meta.examples for meta in crossed]),
    }

  def believe(self, variables, look) -> Believed:
    """Returns the annotators' matrices as CrowdLayer's, and what each pair has chosen."""
    confident = self.chosen(variables, look)
    return dataclasses.replace(crowd_layer.believe(variables, look), confident=confident)

  def chosen(self, variables, look) -> np.ndarray:
    """Returns of each pair the examples of its last two meta sets that have there the label of most
    annotators, bool [pairs, n]."""
    beliefs = jax.tree.map(np.asarray, variables['beliefs'])
    evidence = self.setting.evidence
    pairs = len(beliefs[EXAMPLES]) // 2
    examples, labels, weights = (
      beliefs[name][: 2 * pairs].reshape(pairs, -1) for name in (EXAMPLES, LABELS, WEIGHTS)
    )
    pair, place = np.nonzero((weights > 0) & (labels == evidence.labels[examples]))
    confident = np.zeros((pairs, len(evidence)), bool)
    confident[pair, examples[pair, place]] = True
    return confident

  def _images(self, positions):
    examples = self.setting.examples
    images = np.asarray(examples.images[positions])
    return np.asarray(augment.normalise(images, examples.mean, examples.std))


def partners(networks: int) -> np.ndarray:
  """Returns the number of the other member of the pair of each network, int [networks].

  >>> partners(4).tolist()
  [1, 0, 3, 2]
  """
  # Networks that only fill up the devices may have none.
  return np.minimum(np.arange(networks) ^ 1, networks - 1)


@functools.partial(jax.jit, static_argnums=1)
def grouped(matrices: jax.Array, groups: int, step: jax.Array) -> jax.Array:
  """Returns the group of every annotator of every network by k-means, int [networks, annotators].

  Args:
    matrices: [networks, annotators, C, C].
    groups: G.
    step: by which the starts are drawn.

  >>> apart = jnp.stack([jnp.eye(2), 1 - jnp.eye(2), jnp.eye(2)])[None]
  >>> group = grouped(apart, 2, 0)[0]
  >>> bool(group[0] == group[2]), bool(group[0] == group[1])
  (True, False)
  """
  keys = draws.split(jax.random.fold_in(draws.key(0), step), len(matrices))
  flat = matrices.reshape(*matrices.shape[:2], -1)
  return jax.vmap(lambda points, key: kmeans(points, groups, key).assignment)(flat, keys)


class MetaSet(NamedTuple):
  """M examples, the classes one after the other.

  examples: positions, int32 [M]. labels: int32 [M]. weights: float32 [M], 0 where a class has too
    few examples that somebody called so.
  """

  examples: np.ndarray
  labels: np.ndarray
  weights: np.ndarray


def smallest_losses(
  logits: np.ndarray, counts: np.ndarray, per_class: int, duplicates: bool = False
) -> MetaSet:
  """Returns, of every class c, the examples with the smallest cross-entropy to c among those that
  some annotator called c.

  Args:
    logits: [n, C].
    counts: how often each class was said of each example, int [n, C].
    per_class: examples of a class.
    duplicates: whether an example is taken once for every annotator who called it c, in place of
      once.

  Source: the meta set of CCC (Zhang et al., AAAI 2024), whose public code has the duplicates.

  >>> logits = np.array([[3.0, 0.0], [1.0, 0.0], [0.0, 9.0], [2.0, 0.0]])
  >>> counts = np.array([[1, 0], [2, 1], [0, 1], [1, 0]])
  >>> chosen = smallest_losses(logits, counts, per_class=2)
  >>> chosen.examples.tolist(), chosen.labels.tolist()
  ([0, 3, 2, 1], [0, 0, 1, 1])
  >>> smallest_losses(logits, counts, per_class=3, duplicates=True).weights.tolist()
  [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
  """
  logits = np.asarray(logits, np.float64)
  top = logits.max(1, keepdims=True)
  losses = np.log(np.exp(logits - top).sum(1, keepdims=True)) + top - logits
  classes = counts.shape[1]
  examples = np.zeros((classes, per_class), np.int32)
  weights = np.zeros((classes, per_class), np.float32)
  for label in range(classes):
    called = np.flatnonzero(counts[:, label])
    called = called[np.argsort(losses[called, label], kind='stable')]
    if duplicates:
      called = np.repeat(called, counts[called, label])
    taken = called[:per_class]
    examples[label, : len(taken)] = taken
    weights[label, : len(taken)] = 1
  labels = np.repeat(np.arange(classes, dtype=np.int32), per_class)
  return MetaSet(examples.ravel(), labels, weights.ravel())


def shuffled(chosen: MetaSet, seed: tuple[int, ...]) -> MetaSet:
  """Returns the same examples in a random order, by numpy's frozen `RandomState`.

  >>> order = shuffled(MetaSet(np.arange(9), np.arange(9), np.ones(9)), (0, 1)).examples
  >>> sorted(order.tolist()) == list(range(9)), order.tolist() == list(range(9))
  (True, False)
  """
  order = np.random.RandomState(seed).permutation(len(chosen.examples))
  return MetaSet(*(column[order] for column in chosen))


def rows(step, size: int, batch: int):
  """Returns the places of a step's batch in a set that is gone through again and again, int
  [batch], or [size] of a set that is smaller.

  >>> rows(1, size=5, batch=3).tolist()
  [3, 4, 0]
  """
  batch = min(batch, size)
  return (step * batch + jnp.arange(batch)) % size

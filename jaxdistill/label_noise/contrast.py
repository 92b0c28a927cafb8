"""Contrast between pairs of images that are thought to be of one class, and against a queue.

Pure functions on arrays. Anchors are rows of a batch; columns are what they are compared with: the
batch itself, or keys of a queue.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdistill.losses.classification import weighted_mean
from jaxdistill.numerics import steady

_TINY = 1e-7  # inside the logarithms of `similarity`, as in Sel-CL's public code


class Positives(NamedTuple):
  """Which columns belong to each anchor, bool [a, k] each.

  partners: other images that are a pair with the anchor's.
  positive: those, and other views of the anchor's own image.
  """

  partners: jax.Array
  positive: jax.Array


@steady
def positives(
  pairs: jax.Array, anchors: jax.Array, columns: jax.Array, there: jax.Array
) -> Positives:
  """Returns the positives of anchors by the identities of images.

  An image is no partner of itself, so that a column counts once, where the public codes of MOIT and
  Sel-CL count the partner's own column twice in the second term of a mixed view.

  Args:
    pairs: bool [a, k], whether the image of an anchor and that of a column are a pair.
    anchors: int [a], the images.
    columns: int [k], the images.
    there: bool [a, k], the columns that an anchor is compared with: not itself.

  >>> alike = jnp.array([[True, True, False]])
  >>> positives(alike, jnp.array([7]), jnp.array([7, 8, 9]), jnp.ones((1, 3), bool))
  Positives(partners=Array([[False,  True, False]], dtype=bool), positive=Array([[ True, ...
  """
  same = anchors[:, None] == columns[None]
  partners = pairs & ~same & there
  return Positives(partners, partners | (same & there))


@steady
def supervised(
  scores: jax.Array,
  there: jax.Array,
  first: jax.Array,
  second: jax.Array,
  share: jax.Array,
) -> jax.Array:
  """The contrast of every anchor with its positives, [a]; of a mixed image with those of both.

      log p_ab = s_ab - log sum over b' there of exp s_ab'
      l(P) = - sum_b P_ab log p_ab / sum_b P_ab
      L_a = share_a l(first) + (1 - share_a) l(second)

  Args:
    scores: s [a, k], cosines by temperature.
    there: bool [a, k], what is in the denominator.
    first: P bool [a, k] of the anchor's own image, within `there`.
    second: likewise of the image that is mixed into it.
    share: [a], of the anchor's own image; 1 where nothing is mixed.

  Source: Khosla et al., NeurIPS 2020 (SupCon, the sum outside of the logarithm); with mixed views
  MOIT (Ortego et al., CVPR 2021) and Sel-CL (Li et al., CVPR 2022).

  >>> scores, there = jnp.log(jnp.array([[1.0, 3.0]])), jnp.ones((1, 2), bool)
  >>> own = jnp.array([[True, False]])
  >>> round(float(supervised(scores, there, own, ~own, jnp.ones(1))[0]), 4)   # log 4
  1.3863
  """
  log_p = jnp.where(there, scores - jax.nn.logsumexp(scores, 1, b=there, keepdims=True), 0)

  def mean_of(positive):
    return (positive * log_p).sum(1) / jnp.maximum(positive.sum(1), 1)

  return -(share * mean_of(first) + (1 - share) * mean_of(second))


@steady
def of_images(anchors: jax.Array, paired: jax.Array, weight: jax.Array) -> jax.Array:
  """The mean over images of the mean of their two views, 0 for an image without any partner.

  Args:
    anchors: losses [2 B], all first views and then all second ones.
    paired: bool [B], whether an image has a partner.
    weight: [B]; an image of weight 0 counts nowhere.

  >>> of_images(jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([True, False]), jnp.ones(2))
  Array(1., dtype=float32)
  """
  return weighted_mean(paired * anchors.reshape(2, -1).mean(0), weight)


@steady
def instances(
  queries: jax.Array, keys: jax.Array, queue: jax.Array, temperature: float
) -> jax.Array:
  """-log softmax of the own key among it and a queue, [n]: every image is a class of its own.

  Args:
    queries: q [n, d] of length 1.
    keys: k [n, d] of length 1, of the same images.
    queue: keys of other images [K, d].
    temperature: of q k.

  Source: He et al., CVPR 2020 (MoCo).

  >>> one = jnp.array([[1.0, 0.0]])
  >>> round(float(instances(one, one, jnp.array([[0.0, 1.0]]), 1.0)[0]), 4)   # log(1 + 1 / e)
  0.3133
  """
  own = (queries * keys).sum(1, keepdims=True)
  others = jnp.matmul(queries, queue.T, precision=jax.lax.Precision.HIGHEST)
  return -jax.nn.log_softmax(jnp.concatenate([own, others], 1) / temperature)[:, 0]


@steady
def similarity(
  chances: jax.Array,
  there: jax.Array,
  counted: jax.Array,
  first: jax.Array,
  second: jax.Array,
  share: jax.Array,
) -> jax.Array:
  """Cross-entropy of whether two images are of one class, the mean over anchors and columns.

      l(t) = -t log(s + 1e-7) - (1 - t) log(1 - s + 1e-7)
      L = mean over counted (a, b) of there_ab (share_a l(first_ab) + (1 - share_a) l(second_ab))

  Args:
    chances: s [a, k] in [0, 1], sum_c p_ac p_bc of two classifiers' outputs.
    there: bool [a, k]; an anchor against itself has no loss.
    counted: bool [a, k], whose number divides: rows and columns that are there, an anchor's own
      column included, as in the public code.
    first, second, share: as for `supervised`.

  Source: Sel-CL (Li et al., CVPR 2022).

  >>> yes = jnp.ones((1, 1), bool)
  >>> similarity(jnp.full((1, 1), 0.5), yes, yes, yes, yes, jnp.ones(1)).round(4)   # log 2
  Array(0.6931, dtype=float32)
  """
  target = share[:, None] * first + (1 - share[:, None]) * second
  losses = -target * jnp.log(chances + _TINY) - (1 - target) * jnp.log(
    jnp.maximum(1 - chances, 0) + _TINY
  )
  return jnp.where(there & counted, losses, 0).sum() / jnp.maximum(counted.sum(), 1)

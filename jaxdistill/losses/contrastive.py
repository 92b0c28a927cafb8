"""Contrast within a batch: which of the other network's outputs belongs to an image, or to a pair
of images.

The batch is the global one. The contrast of CRD with a bank or a queue of embeddings is in
`jaxdistill.losses.banks`.
"""

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.losses import rows
from jaxdistill.numerics import steady


@steady
def cross_contrast(
  anchors: jax.Array,
  keys: jax.Array,
  labels: jax.Array | None = None,
  temperature: float = 0.07,
  weight: jax.Array | None = None,
) -> jax.Array:
  """Mean over examples of -log of exp(s_ii) / sum_j exp(s_ij), with s_ij = cos(a_i, k_j) /
  temperature and j over i itself and the examples of other classes.

  Args:
    anchors: a [n, d].
    keys: k [n, d], the other network's outputs on the same images.
    labels: int [n]; None: every image is a class of its own.
    temperature: of the softmax.
    weight: [n]; a row of weight 0 is neither an anchor nor a negative.

  Returns:
    A scalar; 0 where there are no negatives.

  Raises:
    UserError: for shapes that do not fit, or a temperature that is not above 0.

  Source: van den Oord, Li & Vinyals, arXiv 1807.03748 (InfoNCE), across two networks; leaving out
  the own class is our choice, after the negatives of CRD.

  >>> eye = jnp.eye(2)
  >>> round(float(cross_contrast(eye, eye, temperature=1.0)), 4)   # log(1 + 1 / e)
  0.3133
  >>> float(cross_contrast(eye, eye, jnp.array([3, 3])))
  0.0
  """
  errors.positive_numbers(temperature=temperature)
  anchors, keys, weight = rows.aligned(anchors, keys, weight, 'embeddings')
  itself = jnp.eye(len(weight), dtype=bool)
  candidates = itself | (_of_other_classes(labels, len(weight)) & (weight > 0)[None, :])
  scores = rows.cosines(rows.flat(anchors), rows.flat(keys)) / temperature
  own = jnp.diagonal(rows.log_softmax(scores, candidates))
  return (rows.share(weight) * -own).sum()


@steady
def in_batch_crd(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array | None = None,
  temperature: float = 0.07,
  weight: jax.Array | None = None,
) -> jax.Array:
  """`cross_contrast` of the student's embeddings with the teacher's, plus that of the teacher's
  with the student's: CRD whose negatives are the other classes of the batch, without a bank.

  Args:
    student: [n, d], embedded to the teacher's width.
    teacher: [n, d], embedded likewise.
    labels: int [n]; None: every image is a class of its own.
    temperature: of the softmax.
    weight: [n]; a row of weight 0 is neither an anchor nor a negative.

  Returns:
    A scalar.

  Raises:
    UserError: for shapes that do not fit.

  Source: Tian, Krishnan & Isola, ICLR 2020 (CRD), with InfoNCE in place of its NCE, whose constant
  is that of a bank (our choice).

  >>> round(float(in_batch_crd(jnp.eye(2), jnp.eye(2), temperature=1.0)), 4)
  0.6265
  """
  to_teacher = cross_contrast(student, teacher, labels, temperature, weight)
  return to_teacher + cross_contrast(teacher, student, labels, temperature, weight)


@steady
def relational_contrast(
  teacher_relations: jax.Array,
  cross_relations: jax.Array,
  labels: jax.Array | None = None,
  temperature: float = 0.1,
  noise: float = 1.0,
  negatives: jax.Array | None = None,
  negative_labels: jax.Array | None = None,
  anchors: jax.Array | None = None,
  weight: jax.Array | None = None,
  images: jax.Array | None = None,
  negative_images: jax.Array | None = None,
) -> jax.Array:
  """Mean over pairs (i, j), i != j, of -log h(v_ij, u_ij) - sum_k log(1 - h(v_ij, u_ik)): the
  relation of the teacher's feature i to the student's feature j is to be that of the teacher's two.

  h(v, u) = s / (s + noise) with s = exp(cos(v, u) / temperature). With noise = 1 it is the sigmoid
  of cos / temperature; with noise = n / M, of n negatives from M images, the critic of noise
  contrastive estimation. The sum over k goes over the examples of other classes than j, without i,
  and is not averaged: the loss grows with their number.

  Args:
    teacher_relations: v [a, n, r], of every anchor's teacher feature to the teacher's features.
    cross_relations: u [a, n, r], of every anchor's teacher feature to the student's features.
    labels: int [n]; None: every image is a class of its own.
    temperature: of the cosines.
    noise: see above.
    negatives: u' [a, m, r], relations of the anchors to student features of a bank, in place of the
      batch's own for k.
    negative_labels: int [m], of the bank's features; all of them are negatives without it.
    anchors: int [a], the anchors' rows in the batch; None: all in turn, a = n.
    weight: [n]; a row of weight 0 is no anchor, no partner and no negative.
    images: int [n], which image each row of the batch is, for `negative_images`.
    negative_images: int [m], which image each of the bank's features is of: none is a negative of a
      pair that its image belongs to. None: the bank has none of the batch's.

  Returns:
    A scalar; 0 where there is no pair.

  Raises:
    UserError: for shapes that do not fit, or a temperature that is not above 0.

  Source: Zhang et al., TCSVT 2023 (CRRCD), after CRCD (Zhu et al., CVPR 2021). The relations are
  those of trained modules; negatives of other classes alone and their temperature are our choices.

  >>> relations = jnp.eye(2)[jnp.array([[0, 1], [0, 1]])]   # v_ij is the unit vector j
  >>> round(float(relational_contrast(relations, relations, temperature=1.0)), 4)
  0.3133
  """
  errors.positive_numbers(temperature=temperature)
  _check_relations(teacher_relations, cross_relations, negatives, anchors)
  own, cross = (
    jnp.asarray(side).astype(jnp.promote_types(side.dtype, jnp.float32))
    for side in (teacher_relations, cross_relations)
  )
  n = own.shape[1]
  weight = rows.counted(weight, n, own.dtype)
  anchors = jnp.arange(n) if anchors is None else anchors
  own, cross = (_kept(side, weight[anchors], weight) for side in (own, cross))
  partner = anchors[:, None] != jnp.arange(n)[None, :]
  own, shift = rows.directions(own), jnp.log(noise)
  positive = (own * rows.directions(cross)).sum(-1) / temperature - shift
  if negatives is None:
    others, there = cross, partner & (weight > 0)[None, :]
    allowed = _of_other_classes(labels, n)
  else:
    others = _kept(negatives.astype(own.dtype), weight[anchors], jnp.ones(negatives.shape[1]))
    there = jnp.ones(others.shape[:2], bool)
    known = labels is not None and negative_labels is not None
    allowed = labels[:, None] != negative_labels[None, :] if known else True
    allowed = jnp.broadcast_to(allowed, (n, others.shape[1]))
    if images is not None and negative_images is not None:
      another = images[:, None] != negative_images[None, :]
      there, allowed = there & another[anchors], allowed & another
  exact = jax.lax.Precision.HIGHEST
  scores = jnp.einsum('ijd,ikd->ijk', own, rows.directions(others), precision=exact)
  missed = jax.nn.softplus(scores / temperature - shift)
  missed = jnp.where(there[:, None, :] & allowed[None], missed, 0).sum(-1)
  pairs = jnp.where(partner, weight[anchors][:, None] * weight[None, :], 0)
  total = pairs.sum()
  return (pairs * (jax.nn.softplus(-positive) + missed)).sum() / jnp.where(total > 0, total, 1)


def _check_relations(teacher_relations, cross_relations, negatives, anchors):
  shape = teacher_relations.shape
  if len(shape) != 3 or cross_relations.shape != shape:
    raise errors.UserError(
      'Relations of the teacher and across have one shape [anchors, n, r]; got '
      f'{shape} and {cross_relations.shape}.'
    )
  if anchors is None and shape[0] != shape[1]:
    raise errors.UserError(
      f'Relations of {shape[0]} anchors in a batch of {shape[1]} need the rows of the anchors.'
    )
  if negatives is not None and (negatives.shape[0], *negatives.shape[2:]) != (shape[0], shape[2]):
    raise errors.UserError(
      f'Relations to negatives have the shape [{shape[0]}, m, {shape[2]}] here; got '
      f'{negatives.shape}.'
    )


def _kept(relations, anchor_weight, weight):
  """Relations with zeros wherever either of the two rows has the weight 0."""
  there = (anchor_weight > 0)[:, None, None] & (weight > 0)[None, :, None]
  return jnp.where(there, relations, 0)


def _of_other_classes(labels, n):
  """Bool [n, n], whether two rows are of two classes; without labels, whether they are two."""
  labels = jnp.arange(n) if labels is None else labels
  return labels[:, None] != labels[None, :]

"""Distillation of what one layer is to the next: the flow of solution procedure (FSP), and the
leading singular vectors of consecutive layers (KDSVD).

Both take a list of maps [n, h, w, c] a side, in the order of the layers.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.losses import rows
from jaxdistill.losses.features import stages
from jaxdistill.numerics import steady

_EXACT = jax.lax.Precision.HIGHEST
# The student offers so many more singular vectors than are compared.
_SPARE = 3
# Eigenvalues that differ by less than this share of the largest have one eigenspace.
_SAME = 1e-5


@steady
def fsp(
  student_maps: Sequence[jax.Array],
  teacher_maps: Sequence[jax.Array],
  weight: jax.Array | None = None,
) -> jax.Array:
  """Mean over the entries and examples of (G_s - G_t)^2, summed over consecutive layers, with the
  flow matrix G = mean over pixels of F_l(pixel) F_{l+1}(pixel)^T.

  The larger map of two layers is averaged down to the size of the other one.

  Args:
    student_maps: of two layers or more, [n, h, w, c] each.
    teacher_maps: of the same layers, with as many channels; sizes may differ.
    weight: [n]; an example of weight 0 counts nowhere.

  Returns:
    A scalar.

  Raises:
    UserError: for numbers of layers, rows or channels that differ, or a single layer.

  Source: Yim et al., CVPR 2017, with the means of RepDistiller, which trains with it before the
  student learns the labels, 30 epochs.

  >>> low, high = jnp.ones((1, 4, 4, 1)), jnp.full((1, 2, 2, 1), 3.0)
  >>> float(fsp([low, high], [low, 0 * high]))
  9.0
  """
  student_maps, teacher_maps, weight = _layers(student_maps, teacher_maps, weight)
  part, total = rows.share(weight), 0
  for layer in range(len(student_maps) - 1):
    flows = [_flow(*maps[layer : layer + 2]) for maps in (student_maps, teacher_maps)]
    total += (part * jnp.square(flows[0] - flows[1]).mean((1, 2))).sum()
  return total


def _flow(bottom, top):
  bottom, top = rows.of_one_size(bottom, top)
  pixels = bottom.shape[1] * bottom.shape[2]
  return jnp.einsum('nhwc,nhwk->nck', bottom, top, precision=_EXACT) / pixels


@steady
def kdsvd(
  student_maps: Sequence[jax.Array],
  teacher_maps: Sequence[jax.Array],
  vectors: int = 1,
  weight: jax.Array | None = None,
) -> jax.Array:
  """Mean over examples of sum (R_s - R_t)^2, summed over consecutive layers, with the radial
  relations R = exp(-(v_l[c] - v_{l+1}[c'])^2 / 8) of all channels c and c' of two layers.

  v holds the leading right singular vectors of an example's map as a matrix [pixels, channels],
  times the teacher's singular values, which are scaled to unit length together. Of the student's
  leading `vectors` + 3 ones that with the largest |cosine| stands for each of the teacher's, with
  its sign. The sign of the teacher's own makes its largest entry positive (our choice; it is
  arbitrary in the public code). Vectors of one singular value have no gradient between them.

  Args:
    student_maps: of two layers or more, [n, h, w, c] each.
    teacher_maps: of the same layers, with as many channels; sizes may differ.
    vectors: how many of the teacher's singular vectors are compared.
    weight: [n]; an example of weight 0 counts nowhere.

  Returns:
    A scalar.

  Raises:
    UserError: for numbers of layers, rows or channels that differ, or a single layer.

  Source: Lee, Kim & Song, ECCV 2018 (SVD), as RepDistiller has it.

  >>> left, right = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
  >>> maps = [[side.reshape(1, 1, 1, 2) for side in pair] for pair in ((left, left), (left, right))]
  >>> round(float(kdsvd(*maps)), 4)   # 2 (1 - exp(-1/8))^2
  0.0276
  """
  vectors = errors.whole('vectors', vectors, at_least=1)
  student_maps, teacher_maps, weight = _layers(student_maps, teacher_maps, weight)
  part, total, before = rows.share(weight), 0, None
  for student, teacher in zip(student_maps, teacher_maps):
    now = _matched_vectors(student, teacher, vectors)
    if before is not None:
      relations = [_radial(*pair) for pair in zip(now, before)]
      total += (part * jnp.square(relations[0] - relations[1]).sum((1, 2, 3))).sum()
    before = now
  return total


def _matched_vectors(student, teacher, vectors):
  """The student's and the teacher's singular vectors that are compared, [n, channels, vectors]."""
  values, of_teacher = _singular(teacher, vectors)
  _, of_student = _singular(student, vectors + _SPARE)
  peak = jnp.argmax(jnp.abs(of_teacher), axis=1, keepdims=True)
  of_teacher = of_teacher * jnp.sign(jnp.take_along_axis(of_teacher, peak, 1))
  cosine = jnp.einsum('nck,ncm->nkm', of_student, of_teacher, precision=_EXACT)
  best = jnp.argmax(jnp.abs(cosine), axis=1, keepdims=True)
  sign = jnp.sign(jnp.take_along_axis(cosine, best, 1))
  of_student = jnp.take_along_axis(of_student, best, 2) * sign
  scale = rows.directions(values)[:, None, :]
  return of_student * scale, of_teacher * scale


def _singular(maps, number):
  """The leading singular values [n, number] and right singular vectors [n, channels, number]."""
  matrix = maps.reshape(len(maps), -1, maps.shape[-1])
  number = min(number, *matrix.shape[1:])
  squares, vectors = _eigen(jnp.einsum('npc,npk->nck', matrix, matrix, precision=_EXACT))
  squares, vectors = squares[:, ::-1][:, :number], vectors[:, :, ::-1][:, :, :number]
  return jnp.sqrt(jnp.where(squares > 0, squares, 1)) * (squares > 0), vectors


@jax.custom_jvp
def _eigen(gram):
  """Eigenvalues, ascending, and eigenvectors of symmetric matrices [n, c, c]."""
  return tuple(jnp.linalg.eigh(gram))


@_eigen.defjvp
def _eigen_jvp(primals, tangents):
  """The usual rule, in which eigenvectors of one eigenvalue do not turn into each other: between
  them the derivative does not exist."""
  values, vectors = _eigen(*primals)
  turned = jnp.einsum('nca,nck,nkb->nab', vectors, tangents[0], vectors, precision=_EXACT)
  gaps = values[:, None, :] - values[:, :, None]
  least = _SAME * jnp.abs(values).max(1)[:, None, None]
  apart = jnp.abs(gaps) > least
  turns = jnp.where(apart, turned / jnp.where(apart, gaps, 1), 0)
  moved = jnp.einsum('nca,nab->ncb', vectors, turns, precision=_EXACT)
  return (values, vectors), (jnp.diagonal(turned, axis1=1, axis2=2), moved)


def _radial(vectors, before):
  return jnp.exp(-jnp.square(vectors[:, :, None] - before[:, None]) / 8)


def _layers(student_maps, teacher_maps, weight):
  """The maps of both sides as lists, with rows of weight 0 as zeros, and the weights."""
  pairs = stages(student_maps, teacher_maps)
  if len(pairs) < 2:
    raise errors.UserError(f'Relations between layers need two of them; got {len(pairs)}.')
  students, teachers = [], []
  for student, teacher in pairs:
    student, teacher, counted = rows.aligned(student, teacher, weight, 'maps', same=False)
    if student.shape[-1] != teacher.shape[-1]:
      raise errors.UserError(
        "The student's and the teacher's maps of a layer need one number of channels here; got "
        f'{student.shape} and {teacher.shape}.'
      )
    students.append(student)
    teachers.append(teacher)
  return students, teachers, counted

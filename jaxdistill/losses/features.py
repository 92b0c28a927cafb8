"""Distillation of feature maps, one stage or several: values (FitNet, ReviewKD), attention (AT and
FT), channels as samples (NST), a likelihood (VID).

Maps are [n, h, w, c]; of two sizes the larger maps are averaged down to the smaller ones. A loss of
several stages takes a list of maps a side and sums over it; a single array is one stage. What a
method trains to make shapes equal, such as FitNet's regressor, has been applied before. No gradient
is stopped here: a teacher that is to have none is stopped outside.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.losses import rows
from jaxdistill.numerics import steady

Maps = jax.Array | Sequence[jax.Array]
# VID's least variance.
_VARIANCE = 1e-5
# ReviewKD's sizes of averaged maps below the full one.
_LEVELS = (4, 2, 1)


@steady
def fitnet(student: jax.Array, teacher: jax.Array, weight: jax.Array | None = None) -> jax.Array:
  """Mean over all elements of (r(F_s) - F_t)^2, the hint.

  Args:
    student: r(F_s) [n, ...], the student's features after the regressor.
    teacher: F_t, of the same shape.
    weight: [n]; an example of weight 0 counts nowhere.

  Returns:
    A scalar.

  Raises:
    UserError: for shapes that do not fit.

  Source: Romero et al., ICLR 2015, with the mean of RepDistiller, whose weight of it is 100.

  >>> float(fitnet(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 4.0]])))
  2.0
  """
  student, teacher, weight = rows.aligned(student, teacher, weight)
  return (rows.share(weight) * _row_mean(jnp.square(student - teacher))).sum()


@steady
def attention_transfer(
  student_maps: Maps, teacher_maps: Maps, weight: jax.Array | None = None
) -> jax.Array:
  """Mean over pixels and examples of (A_s - A_t)^2, summed over stages, with the attention
  A(F) = flatten(mean_c F^2) / ||.||_2 of an example.

  Args:
    student_maps: of a stage [n, h, w, c], or a list of stages.
    teacher_maps: likewise; sizes and channels may differ from the student's.
    weight: [n]; an example of weight 0 counts nowhere.

  Returns:
    A scalar; it knows no factor of either side's maps.

  Raises:
    UserError: for numbers of stages or rows that differ.

  Source: Zagoruyko & Komodakis, ICLR 2017, with the means of RepDistiller, whose weight of it is
  1000, on the three stages of a ResNet.

  >>> student, teacher = jnp.array([3.0, 4.0]) ** 0.5, jnp.array([1.0, 0.0])
  >>> maps = [side.reshape(1, 2, 1, 1) for side in (student, teacher)]
  >>> round(float(attention_transfer(*maps)), 4)   # ((0.6 - 1)^2 + 0.8^2) / 2
  0.4
  """
  return _over_stages(_attention_loss, student_maps, teacher_maps, weight)


def _attention_loss(student, teacher):
  return _row_mean(jnp.square(_attention(student) - _attention(teacher)))


def _attention(maps):
  return rows.directions(rows.flat(jnp.square(maps).mean(-1)))


@steady
def ft(
  student_factor: jax.Array,
  teacher_factor: jax.Array,
  power: int = 1,
  weight: jax.Array | None = None,
) -> jax.Array:
  """Mean over pixels and examples of |A_s - A_t|^power of the two factors' attention, which is
  that of `attention_transfer`.

  Args:
    student_factor: the translator's output on the student's maps, [n, h, w, k].
    teacher_factor: the paraphraser's middle layer on the teacher's maps, [n, h, w, k].
    power: 1 or 2.
    weight: [n]; an example of weight 0 counts nowhere.

  Returns:
    A scalar.

  Raises:
    UserError: for numbers of rows that differ, or a power that is no whole number.

  Source: Kim et al., NeurIPS 2018 (factor transfer), as RepDistiller has it, whose weight of it is
  200; the paper compares the normalised factors themselves.

  >>> student, teacher = jnp.array([3.0, 4.0]) ** 0.5, jnp.array([1.0, 0.0])
  >>> factors = [side.reshape(1, 2, 1, 1) for side in (student, teacher)]
  >>> round(float(ft(*factors)), 4)   # (0.4 + 0.8) / 2
  0.6
  """
  power = errors.whole('power', power, at_least=1)

  def loss(student, teacher):
    return _row_mean(rows.differences(_attention(teacher), _attention(student)) ** power)

  return _over_stages(loss, student_factor, teacher_factor, weight)


@steady
def nst(student_maps: Maps, teacher_maps: Maps, weight: jax.Array | None = None) -> jax.Array:
  """Squared MMD between the two sets of channels of an example under the kernel (u.v)^2, as the
  mean over examples, summed over stages.

  A channel is a vector over the pixels, of length 1; the means go over all pairs of channels, those
  of one with itself too. In Gram matrices: no tensor has channels^2 x pixels entries.

  Args:
    student_maps: of a stage [n, h, w, c], or a list of stages.
    teacher_maps: likewise.
    weight: [n]; an example of weight 0 counts nowhere.

  Returns:
    A scalar.

  Raises:
    UserError: for numbers of stages or rows that differ.

  Source: Huang & Wang, arXiv 1707.01219, with the means of RepDistiller, whose weight of it is 50.

  >>> student, teacher = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])   # one channel, two pixels
  >>> float(nst(student.reshape(1, 2, 1, 1), teacher.reshape(1, 2, 1, 1)))   # 1 + 1 - 2 * 0
  2.0
  """
  return _over_stages(_selectivity_loss, student_maps, teacher_maps, weight)


def _selectivity_loss(student, teacher):
  student, teacher = (
    rows.directions(jnp.moveaxis(maps, -1, 1).reshape(len(maps), maps.shape[-1], -1))
    for maps in (student, teacher)
  )

  def kernel(left, right):
    exact = jax.lax.Precision.HIGHEST
    products = jnp.einsum('ncp,nkp->nck', left, right, precision=exact)
    return _row_mean(jnp.square(products))

  return kernel(student, student) + kernel(teacher, teacher) - 2 * kernel(student, teacher)


@steady
def vid(
  student_mean: jax.Array,
  teacher: jax.Array,
  scale: jax.Array,
  weight: jax.Array | None = None,
) -> jax.Array:
  """Mean over all elements of 1/2 ((mu_s - F_t)^2 / v + log v), the negative log likelihood of the
  teacher's map under a normal with the variance v_c = log(1 + exp(scale_c)) + 1e-5 of its channel.

  Args:
    student_mean: mu_s [n, h, w, c], of the student's regressor.
    teacher: F_t [n, h, w, c], or larger.
    scale: [c], trained with the regressor; see `vid_scale`.
    weight: [n]; an example of weight 0 counts nowhere.

  Returns:
    A scalar; negative where the variance is small and the map is met.

  Raises:
    UserError: for numbers of channels or rows that differ.

  Source: Ahn et al., CVPR 2019, with the constants of RepDistiller, which sums over three stages.

  >>> maps = jnp.zeros((1, 1, 1, 2))
  >>> round(float(vid(maps, maps + 5.0 ** 0.5, vid_scale(2))), 4)   # (1 + log 5) / 2
  1.3047
  """
  student_mean, teacher, weight = rows.aligned(student_mean, teacher, weight, same=False)
  student_mean, teacher = rows.of_one_size(student_mean, teacher)
  if student_mean.shape != teacher.shape or scale.shape != teacher.shape[-1:]:
    raise errors.UserError(
      'VID needs one number of channels of the regressed maps, of the teacher and of the scale; '
      f'got {student_mean.shape}, {teacher.shape} and {scale.shape}.'
    )
  variance = jax.nn.softplus(scale) + _VARIANCE
  error = jnp.square(student_mean - teacher).mean((1, 2)) / variance[None]
  return 0.5 * (rows.share(weight) * (error + jnp.log(variance)[None]).mean(-1)).sum()


def vid_scale(channels: int, variance: float = 5.0) -> np.ndarray:
  """Returns the scale with which `vid` starts, [channels]: that of one variance.

  >>> vid_scale(2).round(3)
  array([4.993, 4.993], dtype=float32)
  """
  errors.real_numbers(variance=variance)
  return np.full(channels, np.log(np.expm1(variance - _VARIANCE)), np.float32)


@steady
def reviewkd(student_maps: Maps, teacher_maps: Maps, weight: jax.Array | None = None) -> jax.Array:
  """Hierarchical context loss: the mean squared difference of the maps at several sizes, summed
  over stages.

  A stage counts (sum_l a_l MSE_l) / (sum_l a_l) with a = 1, 1/2, 1/4, 1/8 for the full size and for
  the maps averaged to 4x4, 2x2 and 1x1, as far as these are lower than the map.

  Args:
    student_maps: the fused maps of a stage [n, h, w, c], or a list of stages; a pooled vector is a
      map of 1x1.
    teacher_maps: of the same shapes.
    weight: [n]; an example of weight 0 counts nowhere.

  Returns:
    A scalar.

  Raises:
    UserError: for shapes that differ.

  Source: Chen et al., CVPR 2021, as the public code and mdistiller have it, whose weight of it goes
  by the student: 0.6 for resnet20, 1 for resnet32, 5 for resnet8x4 and WRN, 8 for ShuffleNetV2,
  raised linearly over 20 epochs.

  >>> maps = jnp.array([1.0, -1.0, 1.0, -1.0]).reshape(1, 2, 2, 1)
  >>> round(float(reviewkd(maps, 0 * maps)), 4)   # (1 + 0 / 2) / (1 + 1/2)
  0.6667
  """
  return _over_stages(_context_loss, student_maps, teacher_maps, weight, same=True)


def _context_loss(student, teacher):
  levels = [level for level in _LEVELS if level < student.shape[1]]
  total, factor, factors = _row_mean(jnp.square(student - teacher)), 1.0, 1.0
  for level in levels:
    factor /= 2
    small = rows.pooled(student - teacher, level, level)
    total, factors = total + factor * _row_mean(jnp.square(small)), factors + factor
  return total / factors


def _over_stages(loss, student_maps, teacher_maps, weight, same=False):
  """The sum over stages of the weighted mean of loss(student, teacher) [n]."""
  total = 0
  for student, teacher in stages(student_maps, teacher_maps):
    student, teacher, counted = rows.aligned(student, teacher, weight, 'maps', same)
    student, teacher = rows.of_one_size(student, teacher)
    total += (rows.share(counted) * loss(student, teacher)).sum()
  return total


def stages(student_maps: Maps, teacher_maps: Maps) -> list[tuple[jax.Array, jax.Array]]:
  """Returns the pairs of maps of every stage; a single array is one stage.

  Raises:
    UserError: for another number of stages on the other side, for none, or for what is no map.

  >>> len(stages(jnp.ones((1, 2, 2, 3)), jnp.ones((1, 4, 4, 3))))
  1
  """
  student_maps, teacher_maps = (
    list(maps) if isinstance(maps, list | tuple) else [maps]
    for maps in (student_maps, teacher_maps)
  )
  if len(student_maps) != len(teacher_maps) or not student_maps:
    raise errors.UserError(
      'Student and teacher need maps of the same stages; got '
      f'{len(student_maps)} and {len(teacher_maps)} of them.'
    )
  for maps in (*student_maps, *teacher_maps):
    if maps.ndim != 4:
      raise errors.UserError(f'Maps have the shape [n, h, w, c]; got {maps.shape}.')
  return list(zip(student_maps, teacher_maps))


def _row_mean(values):
  """The mean of [n, ...] over all but the rows, [n]."""
  return rows.flat(values).mean(-1)

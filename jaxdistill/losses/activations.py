"""Distillation of what stands before a ReLU: on which side of 0 a neuron is (AB), and how far above
it or below a margin (OFD).

Maps are [n, h, w, c] before their ReLU, the student's after its connector to the teacher's shape.
A loss of several stages takes a list of maps a side, the last stage last; a single array is one
stage.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import stats

from jaxdistill import errors
from jaxdistill.losses import rows
from jaxdistill.losses.features import Maps, stages
from jaxdistill.numerics import steady

# Below it the chance of a negative response is none, and OFD's margin is three deviations.
_CHANCE = 1e-3


@steady
def ab(
  student_maps: Maps,
  teacher_maps: Maps,
  margin: float = 1.0,
  weight: jax.Array | None = None,
) -> jax.Array:
  """Mean over examples of 3/1000 sum over elements of (s + m)^2 where s > -m and t <= 0, and of
  (s - m)^2 where s <= m and t > 0; a stage counts half of the one after it.

  Only the side on which the teacher's neuron is matters, not how far it is.

  Args:
    student_maps: s of a stage [n, h, w, c], or a list of stages.
    teacher_maps: t, of the same shapes.
    margin: m.
    weight: [n]; an example of weight 0 counts nowhere.

  Returns:
    A scalar; 0 where every neuron of the student is on its side by at least the margin.

  Raises:
    UserError: for shapes that differ.

  Source: Heo et al., AAAI 2019 (activation boundaries), with the constants of RepDistiller, which
  trains with it before the student learns the labels, 30 epochs.

  >>> student, teacher = jnp.array([0.5, -2.0, 0.5]), jnp.array([-1.0, -1.0, 1.0])
  >>> maps = [side.reshape(1, 1, 3, 1) for side in (student, teacher)]
  >>> round(float(ab(*maps)), 4)   # 3/1000 (1.5^2 + 0 + 0.5^2)
  0.0075
  """
  errors.real_numbers(margin=margin)

  def loss(student, teacher):
    off = (student > -margin) & (teacher <= 0)
    on = (student <= margin) & (teacher > 0)
    return 3e-3 * (
      jnp.where(off, jnp.square(student + margin), 0)
      + jnp.where(on, jnp.square(student - margin), 0)
    )

  return _halved_by_stage(loss, stages(student_maps, teacher_maps), weight)


@steady
def ofd(
  student_maps: Maps,
  teacher_maps: Maps,
  margins: jax.Array | list[jax.Array],
  weight: jax.Array | None = None,
) -> jax.Array:
  """Mean over examples of the sum over elements of (s - max(t, m))^2, but 0 where t <= 0 and s lies
  below max(t, m) already; a stage counts half of the one after it.

  Where the teacher is positive the student is to meet it; where it is negative, to be no higher
  than it or, at the least, than the margin.

  Args:
    student_maps: s of a stage [n, h, w, c], or a list of stages.
    teacher_maps: t; larger maps are averaged down to the student's size.
    margins: m < 0 of every channel [c], or a list of stages; see `ofd_margin`.
    weight: [n]; an example of weight 0 counts nowhere.

  Returns:
    A scalar; 0 for equal maps above the margin.

  Raises:
    UserError: for numbers of stages, rows or channels that differ.

  Source: Heo et al., ICCV 2019 (overhaul of feature distillation), as mdistiller has it, whose
  weight of it is 0.001.

  >>> student, teacher = jnp.array([1.0, 0.5, -3.0]), jnp.array([3.0, -2.0, -2.0])
  >>> maps = [side.reshape(1, 1, 3, 1) for side in (student, teacher)]
  >>> float(ofd(*maps, jnp.array([-1.0])))   # (1 - 3)^2 + (0.5 + 1)^2 + 0
  6.25
  """
  pairs = stages(student_maps, teacher_maps)
  margins = list(margins) if isinstance(margins, list | tuple) else [margins]
  if len(margins) != len(pairs):
    raise errors.UserError(
      f'OFD needs the margins of {len(pairs)} stages; got those of {len(margins)}.'
    )

  def loss(student, teacher, margin):
    goal = jnp.maximum(teacher, margin.reshape(1, 1, 1, -1))
    return jnp.where((teacher > 0) | (student > goal), jnp.square(student - goal), 0)

  pooled = []
  for student, teacher in pairs:
    pooled.append((student, rows.pooled(teacher, *student.shape[1:3])))
  return _halved_by_stage(loss, pooled, weight, margins)


@steady
def ofd_margin(scale: jax.Array, bias: jax.Array) -> jax.Array:
  """Returns the mean of the negative responses of every channel, E[x | x < 0] for x normal with the
  mean and deviation that a BatchNorm gives, the margins of `ofd`.

  m = bias - |scale| phi(bias / |scale|) / Phi(-bias / |scale|), or -3 |scale| where a negative
  response has a chance of at most 0.001.

  Args:
    scale: of the teacher's last BatchNorm before the ReLU, [c].
    bias: likewise.

  Returns:
    [c], negative where scale is not 0.

  Source: Heo et al., ICCV 2019, and mdistiller.

  >>> margins = ofd_margin(jnp.array([1.0, 1.0]), jnp.array([0.0, 4.0]))
  >>> [round(float(margin), 4) for margin in margins]   # -sqrt(2 / pi), -3
  [-0.7979, -3.0]
  """
  scale = jnp.abs(jnp.asarray(scale))
  ratio = bias / jnp.where(scale > 0, scale, 1)
  chance = stats.norm.cdf(-ratio)
  possible = chance > _CHANCE
  mean = bias - scale * stats.norm.pdf(ratio) / jnp.where(possible, chance, 1)
  return jnp.where(possible, mean, -3 * scale)


def _halved_by_stage(loss, pairs, weight, extras=None):
  """sum_i 2^(i + 1 - stages) times the weighted mean over rows of loss summed over elements."""
  total = 0
  for stage, (student, teacher) in enumerate(pairs):
    student, teacher, counted = rows.aligned(student, teacher, weight, 'maps')
    extra = () if extras is None else (jnp.asarray(extras[stage], student.dtype),)
    by_row = rows.flat(loss(student, teacher, *extra)).sum(-1)
    total += np.exp2(stage + 1 - len(pairs)) * (rows.share(counted) * by_row).sum()
  return total

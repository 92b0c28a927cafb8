"""Relations of a batch: HORKD's orders against RKD, large batches, widths that differ."""

import functools

import distillation_references as references
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import errors, losses
from jaxdistill.losses import relational

RNG = np.random.default_rng(13)
STUDENT, TEACHER = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 5))


def as_float32(*arrays):
  return [jax.device_put(np.float32(array)) for array in arrays]


def test_orders_2_and_3_are_rkd():
  value = jax.jit(functools.partial(losses.horkd, point=0.0))(
    *as_float32(STUDENT, TEACHER)
  )  # of two widths
  assert float(value) == pytest.approx(references.rkd(STUDENT, TEACHER), rel=1e-6)


def test_order_1_alone_is_a_hint_and_order_4_counts_by_its_weight():
  student, teacher = as_float32(STUDENT, TEACHER[:, :3])
  hint = jax.jit(functools.partial(losses.horkd, pair=0.0, triplet=0.0))(student, teacher)
  assert float(hint) == pytest.approx(references.point_order(STUDENT, TEACHER[:, :3]), rel=1e-5)
  group_only = dict(point=0.0, pair=0.0, triplet=0.0, group=2.0, temperature=0.5)
  group = jax.jit(functools.partial(losses.horkd, **group_only))(student, teacher)
  expected = 2 * references.group_order(STUDENT, TEACHER[:, :3], temperature=0.5)
  assert float(group) == pytest.approx(expected, rel=1e-5)


def test_large_batches_take_a_few_anchors_at_a_time(monkeypatch):
  batch = as_float32(STUDENT, TEACHER)
  weight = jnp.array([1.0, 0, 2, 1, 1, 1])
  at_once, gradient = jax.jit(jax.value_and_grad(lambda *batch: losses.rkd_angle(*batch)))(
    *batch, weight
  )
  monkeypatch.setattr(relational, '_AT_ONCE', 4)
  monkeypatch.setattr(relational, '_ANCHORS', 2)
  in_turn, same = jax.jit(jax.value_and_grad(lambda *batch: losses.rkd_angle(*batch)))(
    *batch, weight
  )
  assert float(in_turn) == pytest.approx(float(at_once), rel=1e-6)
  np.testing.assert_allclose(same, gradient, rtol=1e-4, atol=1e-8)


def test_distances_far_from_the_origin_keep_their_digits():
  value = jax.jit(losses.rkd_distance)(*as_float32(STUDENT + 300, TEACHER - 200))
  assert float(value) == pytest.approx(references.rkd_distance(STUDENT, TEACHER), rel=1e-3)


def test_maps_are_compared_flattened():
  student, teacher = RNG.normal(size=(4, 2, 2, 3)), RNG.normal(size=(4, 3, 3, 2))
  for name in ('similarity_preserving', 'rkd_distance', 'pkt', 'group_order'):
    value = jax.jit(losses.DISTILLATION.find(name))(*as_float32(student, teacher))
    expected = getattr(references, name)(student.reshape(4, -1), teacher.reshape(4, -1))
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_neighbours_are_those_of_the_rows_that_count():
  weight = jnp.array([1.0, 0, 1, 1, 0, 1])
  student, teacher = STUDENT, TEACHER[:, :3]
  value = jax.jit(losses.correlation_congruence)(*as_float32(student, teacher), weight)
  kept = [0, 2, 3, 5]
  expected = references.correlation_congruence(student[kept], teacher[kept])
  assert float(value) == pytest.approx(expected, rel=1e-5)


def test_mistakes_are_told_in_a_sentence():
  student, teacher = as_float32(STUDENT, TEACHER)
  with pytest.raises(errors.UserError, match=r'one shape; got \(6, 3\) and \(6, 5\)'):
    losses.point_order(student, teacher)
  with pytest.raises(errors.UserError, match=r'one number of rows; got \(6, 3\) and \(5, 5\)'):
    losses.rkd_distance(student, teacher[:5])

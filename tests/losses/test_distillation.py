"""Losses of logits: KD, its two parts in DKD, logit standardisation, DIST."""

import distillation_references as references
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import errors, losses

RNG = np.random.default_rng(7)
STUDENT, TEACHER = 3 * RNG.normal(size=(2, 5, 4))
LABELS = np.array([0, 3, 1, 2, 0])
KD = jax.jit(losses.kd, static_argnames='standardize')
DKD = jax.jit(losses.dkd, static_argnames='standardize')
DIST = jax.jit(losses.dist)


def as_float32(*arrays):
  return [jax.device_put(np.float32(array)) for array in arrays]


def test_kd_of_a_high_temperature_pulls_the_centred_logits_together():
  gradient = jax.jit(jax.grad(losses.kd))(*as_float32(STUDENT, TEACHER), 1e3)
  centred = STUDENT - TEACHER
  centred -= centred.mean(1, keepdims=True)
  np.testing.assert_allclose(gradient, centred / STUDENT.size, rtol=5e-2, atol=2e-3)


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_dkd_with_the_weights_of_kd_is_kd(temperature):
  """beta_i = 1 - p_t(target), in float64."""
  powers = np.exp(TEACHER / temperature)
  p_target = (powers / powers.sum(1, keepdims=True))[np.arange(5), LABELS]
  with jax.enable_x64(True):
    student, teacher = jnp.asarray(STUDENT), jnp.asarray(TEACHER)
    whole = KD(student, teacher, temperature)
    parts = DKD(student, teacher, jnp.asarray(LABELS), 1.0, jnp.asarray(1 - p_target), temperature)
    assert whole.dtype == parts.dtype == jnp.float64
    assert float(parts) == pytest.approx(float(whole), rel=1e-10)
    assert float(whole) == pytest.approx(references.kd(STUDENT, TEACHER, temperature), rel=1e-10)


def test_dkd_of_a_teacher_without_doubt_is_finite():
  sure = 300.0 * np.eye(4)[LABELS]
  value, gradient = jax.jit(jax.value_and_grad(losses.dkd))(
    *as_float32(STUDENT, sure), jnp.asarray(LABELS), temperature=1.0
  )
  assert np.isfinite(value) and np.isfinite(gradient).all()


def test_standardised_logits_forget_place_and_size():
  student, teacher = as_float32(STUDENT, TEACHER)
  moved = 5 * student + jnp.arange(5.0)[:, None]
  for loss in (KD, lambda *sides, **settings: DKD(*sides, jnp.asarray(LABELS), **settings)):
    value = loss(student, teacher, standardize=True)
    assert float(loss(moved, teacher, standardize=True)) == pytest.approx(float(value), rel=1e-4)
    assert float(loss(moved, teacher)) != pytest.approx(float(loss(student, teacher)), rel=0.1)
  standard = losses.standardize_logits(student)
  np.testing.assert_allclose(np.std(standard, 1, ddof=1), 1, rtol=1e-5)
  np.testing.assert_allclose(np.mean(standard, 1), 0, atol=1e-6)
  flat = jax.jit(jax.grad(lambda z: losses.kd(z, teacher, standardize=True)))(0 * student + 1)
  assert not np.asarray(flat).any()


def test_dist_weighs_its_two_parts():
  student, teacher = as_float32(STUDENT, TEACHER)
  parts = [DIST(student, teacher, 1.0, *factors) for factors in ((1.0, 0.0), (0.0, 1.0))]
  assert float(sum(parts)) == pytest.approx(references.dist(STUDENT, TEACHER), rel=1e-5)
  hot = DIST(4 * student, 4 * teacher, temperature=4.0)
  assert float(hot) == pytest.approx(16 * float(sum(parts)), rel=1e-5)


def test_bfloat16_logits_are_compared_in_float32():
  student, teacher = (side.astype(jnp.bfloat16) for side in as_float32(STUDENT, TEACHER))
  value = KD(student, teacher)
  assert value.dtype == jnp.float32
  expected = references.kd(np.asarray(student, np.float64), np.asarray(teacher, np.float64))
  assert float(value) == pytest.approx(expected, rel=1e-5)


def test_mistakes_are_told_in_a_sentence():
  student, teacher = as_float32(STUDENT, TEACHER)
  with pytest.raises(errors.UserError, match=r'logits need one shape; got \(5, 4\) and \(5, 3\)'):
    losses.kd(student, teacher[:, :3])
  with pytest.raises(errors.UserError, match=r'one weight a row, here 5; got shape \(4,\)'):
    losses.kd(student, teacher, weight=jnp.ones(4))
  with pytest.raises(errors.UserError, match="temperature is 'hot'; it must be a number"):
    losses.kd(student, teacher, 'hot')
  with pytest.raises(errors.UserError, match="no distillation loss 'dk'; did you mean 'dkd'"):
    losses.DISTILLATION.find('dk')

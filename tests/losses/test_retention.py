"""Retention losses against loops in float64, their invariances, and the rule of their weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.errors import UserError
from jaxdistill.losses import retention

ROWS, COLUMNS, OLD = 7, 6, 4
RNG = np.random.default_rng(5)
BEFORE, AFTER = RNG.normal(size=(2, ROWS, COLUMNS))
OLD_ONLY = np.arange(COLUMNS) < OLD


def feature_loop(before, after, old, reduction):
  total = 0.0
  for m in range(len(before)):
    for c in range(old):
      total += abs(before[m, c] - after[m, c])
  return total / len(before) / (old if reduction == 'mean' else 1)


def structure_loop(before, after, old, reduction, normalize):
  total = 0.0
  for m in range(len(before)):
    for n in range(len(before)):
      products = []
      for outputs in (before, after):
        left, right = outputs[m, :old], outputs[n, :old]
        scale = np.sqrt((left @ left) * (right @ right)) if normalize else 1.0
        products.append(left @ right / scale)
      total += abs(products[0] - products[1])
  return total / len(before) / (len(before) if reduction == 'mean' else 1)


def as_float32(*arrays):
  return [jax.device_put(np.float32(array)) for array in arrays]


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_feature_retention_is_the_loop(reduction):
  loss = retention.feature_retention(
    *as_float32(BEFORE, AFTER), None, jnp.asarray(OLD_ONLY), reduction=reduction
  )
  assert float(loss) == pytest.approx(feature_loop(BEFORE, AFTER, OLD, reduction), rel=1e-6)


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
@pytest.mark.parametrize('normalize', [True, False])
def test_structure_retention_is_the_loop(reduction, normalize):
  loss = retention.structure_retention(
    *as_float32(BEFORE, AFTER),
    None,
    jnp.asarray(OLD_ONLY),
    reduction=reduction,
    normalize=normalize,
  )
  expected = structure_loop(BEFORE, AFTER, OLD, reduction, normalize)
  assert float(loss) == pytest.approx(expected, rel=2e-6)


LOSSES = {
  'feature': retention.feature_retention,
  'structure': retention.structure_retention,
  'literal': lambda *args: retention.structure_retention(*args, reduction='sum', normalize=False),
}


@pytest.mark.parametrize('name', LOSSES)
def test_what_is_padded_counts_nowhere(name):
  """Neither in the loss nor in its gradient, whatever stands there."""
  padded = np.full((2, ROWS + 3, COLUMNS + 2), np.nan)
  padded[:, :ROWS, :COLUMNS] = BEFORE, AFTER
  rows = jnp.arange(ROWS + 3) < ROWS
  columns = jnp.arange(COLUMNS + 2) < OLD
  differentiate = jax.value_and_grad(LOSSES[name], argnums=1)
  full, full_gradient = differentiate(*as_float32(*padded), rows.astype(jnp.float32), columns)
  loss, gradient = differentiate(*as_float32(BEFORE, AFTER), None, jnp.asarray(OLD_ONLY))
  assert float(full) == pytest.approx(float(loss), rel=1e-6)
  np.testing.assert_allclose(full_gradient[:ROWS, :COLUMNS], gradient, atol=1e-6)
  assert not np.asarray(full_gradient[ROWS:]).any()
  assert not np.asarray(full_gradient[:, OLD:]).any()


@pytest.mark.parametrize('name', LOSSES)
def test_a_weight_is_a_number_of_copies(name):
  weight = jnp.array([2, 1, 0, 3, 1, 1, 1], jnp.float32)
  copies = np.repeat(np.arange(ROWS), np.asarray(weight, int))
  weighted = LOSSES[name](*as_float32(BEFORE, AFTER), weight, None)
  copied = LOSSES[name](*as_float32(BEFORE[copies], AFTER[copies]), None, None)
  assert float(weighted) == pytest.approx(float(copied), rel=1e-5)


@pytest.mark.parametrize('name', LOSSES)
def test_nothing_is_lost_where_nothing_has_changed(name):
  (outputs,) = as_float32(BEFORE)
  changed = outputs.at[:, OLD:].add(3.0)  # the new columns
  loss, gradient = jax.jit(jax.value_and_grad(LOSSES[name], argnums=1))(
    outputs, changed, None, jnp.asarray(OLD_ONLY)
  )
  assert float(loss) == 0 and not np.asarray(gradient).any()


@pytest.mark.parametrize('name', LOSSES)
def test_rounding_is_no_difference(name):
  (outputs,) = as_float32(BEFORE)
  rounded = outputs * (
    1 + 2e-7 * jnp.sign(jnp.sin(jnp.arange(outputs.size))).reshape(outputs.shape)
  )
  assert not jnp.array_equal(rounded, outputs)
  loss, gradient = jax.jit(jax.value_and_grad(LOSSES[name], argnums=1))(
    outputs, rounded, None, None
  )
  assert float(loss) == 0 and not np.asarray(gradient).any()
  assert float(LOSSES[name](outputs, outputs * 1.0001 + 1e-4, None, None)) > 0


@pytest.mark.parametrize('name', LOSSES)
def test_no_row_no_loss(name):
  before, after = as_float32(BEFORE, AFTER)
  loss, gradient = jax.jit(jax.value_and_grad(LOSSES[name], argnums=1))(
    before, after, jnp.zeros(ROWS), jnp.asarray(OLD_ONLY)
  )
  assert float(loss) == 0 and not np.asarray(gradient).any()


def test_a_common_rotation_keeps_the_structure_and_not_the_place():
  rotation, _ = np.linalg.qr(RNG.normal(size=(OLD, OLD)))
  rotated = BEFORE.copy()
  rotated[:, :OLD] = BEFORE[:, :OLD] @ rotation
  arguments = (*as_float32(BEFORE, rotated), None, jnp.asarray(OLD_ONLY))
  assert float(LOSSES['structure'](*arguments)) < 1e-6
  assert float(LOSSES['literal'](*arguments)) < 1e-4
  assert float(LOSSES['feature'](*arguments)) > 0.1


def test_a_row_of_zeros_has_a_gradient():
  before, after = as_float32(BEFORE, AFTER)
  gradient = jax.jit(jax.grad(retention.structure_retention, argnums=1))(
    before, after.at[0].set(0.0)
  )
  assert np.isfinite(gradient).all()


def test_the_weight_of_the_relations():
  sessions = [retention.structure_weight(60 + 5 * t) for t in range(1, 9)]
  np.testing.assert_allclose(
    sessions, [0.435, 0.492, 0.533, 0.563, 0.586, 0.603, 0.617, 0.629], atol=6e-4
  )
  assert retention.structure_weight(65) == pytest.approx(0.4349, abs=5e-5)
  assert retention.structure_weight(100) == pytest.approx(0.6286, abs=5e-5)
  assert sessions == sorted(sessions) and retention.structure_weight(10**6) < np.log(2)
  assert retention.structure_weight(40) < 0
  with pytest.raises(UserError, match='from N = 40 classes on; with 39'):
    retention.structure_weight(39)


def test_an_unknown_reduction_is_refused():
  outputs = jnp.ones((2, 2))
  for loss in (retention.feature_retention, retention.structure_retention):
    with pytest.raises(UserError, match="no reduction 'summ'; did you mean 'sum'"):
      loss(outputs, outputs, reduction='summ')

"""Monotone fits against scikit-learn, and the calibration of probabilities class by class."""

import jax
import numpy as np
import pytest
from sklearn import isotonic as sklearn_isotonic

from jaxdistill.errors import UserError
from jaxdistill.estimation import isotonic


def theirs(scores, targets, weights, sought):
  fitted = sklearn_isotonic.IsotonicRegression(out_of_bounds='clip')
  return fitted.fit(scores.astype(float), targets, weights).predict(sought)


@pytest.mark.parametrize('levels', [None, 12])
@pytest.mark.parametrize('kind', ['labels', 'numbers', 'weighted'])
def test_curve_is_scikit_learns(kind, levels):
  rng = np.random.default_rng(0)
  for _ in range(6):  # one program
    scores = rng.random(80) if levels is None else rng.integers(0, levels, 80) / levels
    targets = rng.random(80) if kind == 'numbers' else (rng.random(80) < scores).astype(float)
    weights = rng.random(80) + 0.1 if kind == 'weighted' else None
    sought = np.linspace(-0.2, 1.2, 57)
    scores = scores.astype(np.float32)
    curve = isotonic.fit(scores, targets, weights)
    ours = isotonic.evaluate(curve, sought)
    np.testing.assert_allclose(ours, theirs(scores, targets, weights, sought), atol=1e-6)
    assert (np.diff(ours) >= 0).all()


def test_constant_scores_give_the_mean_and_falling_targets_one_level():
  level = isotonic.fit(np.full(80, 0.3), np.arange(80) % 5 < 3)
  np.testing.assert_allclose(isotonic.evaluate(level, np.linspace(0, 1, 57)), 0.6, atol=1e-6)
  falling = isotonic.fit(np.arange(80.0), -np.arange(80.0))
  np.testing.assert_allclose(falling.values, -39.5)


def test_weight_zero_is_absent():
  rng = np.random.default_rng(2)
  scores, targets = rng.random(80).astype(np.float32).round(1), rng.random(80)
  present = rng.random(80) < 0.5
  sought = np.linspace(-0.2, 1.2, 57)
  some = isotonic.evaluate(isotonic.fit(scores, targets, present.astype(float)), sought)
  np.testing.assert_allclose(
    some, theirs(scores[present], targets[present], None, sought), atol=1e-6
  )


def test_classes_are_calibrated_side_by_side():
  rng = np.random.default_rng(3)
  trusted = rng.dirichlet(np.ones(3), 40).astype(np.float32)
  labels = rng.integers(0, 3, 40)
  others = rng.dirichlet(np.ones(3), 20).astype(np.float32)
  calibrated = jax.jit(
    lambda t, y, p: isotonic.calibrate(isotonic.fit_classes(t, y), p)  # one program
  )(trusted, labels, others)
  expected = np.stack(
    [theirs(trusted[:, c], (labels == c).astype(float), None, others[:, c]) for c in range(3)], 1
  )
  expected = (expected + 1e-20) / (expected + 1e-20).sum(1, keepdims=True)
  np.testing.assert_allclose(calibrated, expected, atol=1e-5)


def test_no_class_is_impossible():
  curves = isotonic.Curve(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32))
  np.testing.assert_allclose(isotonic.calibrate(curves, np.array([[0.5, 0.5]])), 0.5)


@pytest.mark.parametrize(
  'call',
  [
    lambda: isotonic.fit(np.ones(3), np.ones(2)),
    lambda: isotonic.fit(np.ones(3), np.ones(3), np.ones(4)),
    lambda: isotonic.fit(np.ones(0), np.ones(0)),
    lambda: isotonic.fit_classes(np.ones((3, 2)), np.ones(2)),
  ],
)
def test_wrong_shapes_are_told(call):
  with pytest.raises(UserError, match=r'^A (monotone fit|calibration) takes .*\.$'):
    call()

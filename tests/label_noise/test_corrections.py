"""Losses of a matrix of labels that know its transitions: against float64, and their gradients."""

import jax
import numpy as np
import pytest

from jaxdistill.label_noise import corrections

RNG = np.random.default_rng(0)
LABELS = 4
LOGITS = RNG.normal(0, 3, (50, LABELS)).astype(np.float32)
NOISY = RNG.integers(0, 2, (50, LABELS)).astype(np.float32)
RATES = np.array([[0.1, 0.3], [0.0, 0.6], [0.6, 0.0], [0.25, 0.05]])
EYE = np.tile(np.eye(2, dtype=np.float32), (LABELS, 1, 1))
TRANSITION = np.stack(
  [[[1 - added, added], [missing, 1 - missing]] for added, missing in RATES]
).astype(np.float32)
CORRECTIONS = ('reweight', 'revision', 'forward', 'backward')


def by_loops(name, logits=LOGITS, noisy=NOISY, transition=TRANSITION):
  """Every label's loss in float64, from the definitions."""
  losses = np.zeros(logits.shape)
  for row, label in np.ndindex(*logits.shape):
    g = 1 / (1 + np.exp(-np.float64(logits[row, label])))
    clean, matrix = np.array([1 - g, g]), np.float64(transition[label])
    observed, y = matrix.T @ clean, int(noisy[row, label])
    losses[row, label] = {
      'plain': -np.log(clean[y]),
      'reweight': clean[y] / observed[y] * -np.log(clean[y]),
      'revision': clean[y] / observed[y] * -np.log(clean[y]),
      'forward': -np.log(observed[y]),
      'backward': (np.linalg.inv(matrix) @ -np.log(clean))[y],
    }[name]
  return losses


def call(name, logits=LOGITS, noisy=NOISY, transition=TRANSITION):
  matrices = () if name == 'plain' else (transition,)
  return jax.jit(getattr(corrections, name))(logits, noisy, *matrices)


def gradient_of(name, logits=LOGITS, noisy=NOISY, transition=TRANSITION, argument=0):
  """Of the sum of the losses, with respect to the logits (0) or the matrices (2)."""
  matrices = () if name == 'plain' else (transition,)
  total = lambda *arguments: getattr(corrections, name)(*arguments).sum()
  return jax.jit(jax.grad(total, argument))(logits, noisy, *matrices)


@pytest.mark.parametrize('name', ['plain', *CORRECTIONS])
def test_losses_are_those_of_loops(name):
  np.testing.assert_allclose(call(name), by_loops(name), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize('name', CORRECTIONS)
def test_without_noise_all_are_the_cross_entropy_however_sure_the_answer(name):
  logits = np.concatenate([LOGITS, np.full((1, LABELS), -300.0), np.full((1, LABELS), 300.0)])
  noisy = np.concatenate([NOISY, np.ones((1, LABELS)), np.zeros((1, LABELS))]).astype(np.float32)
  np.testing.assert_array_equal(call('importance', logits, noisy, EYE), 1)
  plain = call('plain', logits, noisy)
  assert plain[-1, 0] == plain[-2, 0] == 300
  np.testing.assert_allclose(call(name, logits, noisy, EYE), plain, rtol=1e-6)
  if name != 'revision':
    gradients = [gradient_of(which, logits, noisy, EYE) for which in (name, 'plain')]
    np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-7)


def test_no_gradient_goes_through_beta():
  gradient = gradient_of('reweight')
  g = 1 / (1 + np.exp(-np.float64(LOGITS)))
  beta = by_loops('reweight') / by_loops('plain')
  np.testing.assert_allclose(gradient, beta * (g - NOISY), rtol=1e-3, atol=1e-6)
  assert not gradient_of('reweight', argument=2).any()


def test_a_revision_moves_the_matrix_alone():
  of_logits, of_transition = gradient_of('revision', argument=(0, 2))
  assert not of_logits.any()
  for label, clean, observed in np.ndindex(2, 2, 2):
    if not TRANSITION[label, clean, observed]:
      assert of_transition[label, clean, observed] == 0  # -inf has no slope
      continue
    moved = np.float64(TRANSITION)[None].repeat(2, 0)
    moved[:, label, clean, observed] += [-1e-5, 1e-5]
    low, high = (by_loops('revision', transition=matrix).sum() for matrix in moved)
    assert of_transition[label, clean, observed] == pytest.approx((high - low) / 2e-5, rel=1e-3)


def test_the_mean_backward_loss_of_the_noisy_labels_is_that_of_the_clean_one():
  values = [call('backward', noisy=np.full_like(NOISY, value)) for value in (0, 1)]
  for clean in (0, 1):
    mean = sum(TRANSITION[None, :, clean, value] * values[value] for value in (0, 1))
    expected = call('plain', noisy=np.full_like(NOISY, clean))
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-5)


def test_a_singular_matrix_has_a_finite_backward_loss():
  half = np.full((LABELS, 2, 2), 0.5, np.float32)
  assert np.isfinite(call('backward', transition=half)).all()


def test_the_posterior_is_bayes():
  g = 1 / (1 + np.exp(-np.float64(LOGITS)))
  joint = np.stack(
    [np.where(NOISY, TRANSITION[:, value, 1], TRANSITION[:, value, 0]) for value in (0, 1)]
  ) * np.stack([1 - g, g])
  expected = joint[1] / joint.sum(0)
  np.testing.assert_allclose(call('posterior'), expected, rtol=1e-4, atol=1e-6)
  np.testing.assert_array_equal(call('posterior', transition=EYE), NOISY)

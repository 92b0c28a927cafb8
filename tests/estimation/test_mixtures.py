"""1-D Gaussian mixtures against scikit-learn from the same start, and what absent values change."""

import numpy as np
import pytest
from sklearn import mixture as sklearn_mixture

from jaxdistill.errors import UserError
from jaxdistill.estimation import mixtures


def two_piles(seed, examples=200, share=0.3):
  rng = np.random.default_rng(seed)
  high = rng.random(examples) < share
  return np.where(high, rng.normal(0.7, 0.1, examples), rng.normal(0.1, 0.05, examples)), high


def groups_of_lloyd(values, components):
  """The start of the docstring in plain float64."""
  order = np.sort(values)
  ranks = np.ceil((np.arange(components) + 0.5) / components * len(values)).astype(int) - 1
  centres = order[ranks]
  for _ in range(20):
    group = np.abs(values[:, None] - centres[None]).argmin(1)
    centres = np.array([values[group == k].mean() for k in range(components)])
  return np.abs(values[:, None] - centres[None]).argmin(1)


def em_by_loops(values, components, steps, tolerance, added):
  shares = np.eye(components)[groups_of_lloyd(values, components)]
  likelihoods = [-np.inf]
  for step in range(steps + 1):
    size = shares.sum(0)
    weight, mean = size / size.sum(), shares.T @ values / size
    variance = (shares * (values[:, None] - mean) ** 2).sum(0) / size + added
    if step and abs(likelihoods[-1] - likelihoods[-2]) < tolerance:
      break
    density = np.exp(-((values[:, None] - mean) ** 2) / 2 / variance)
    joint = weight * density / np.sqrt(2 * np.pi * variance)
    likelihoods.append(np.log(joint.sum(1)).mean())
    shares = joint / joint.sum(1, keepdims=True)
  return weight, mean, variance, step


def fit_side_by_side(*rows, **fields):
  """Mixtures of two rows of different lengths, the rest absent and not a number."""
  values = np.full((2, 250), np.nan, np.float32)
  for number, row in enumerate(rows):
    values[number, number : len(row) + number] = row
  return mixtures.fit(values, ~np.isnan(values), **fields)


def shares_of(fitted, row, values):
  one = mixtures.Mixture(*(parameter[row] for parameter in fitted))
  return np.asarray(mixtures.posterior(one, values.astype(np.float32)))


@pytest.mark.parametrize('steps, tolerance', [(10, 1e-2), (40, 1e-5)])
def test_parameters_are_those_of_em_written_out(steps, tolerance):
  rows = two_piles(0)[0], two_piles(4, 120, share=0.6)[0]
  fitted = fit_side_by_side(*rows, max_steps=steps, tolerance=tolerance)
  for number, row in enumerate(rows):
    weight, mean, variance, taken = em_by_loops(row, 2, steps, tolerance, 5e-4)
    np.testing.assert_allclose(fitted.weights[number], weight, atol=1e-4)
    np.testing.assert_allclose(fitted.means[number], mean, atol=1e-4)
    np.testing.assert_allclose(fitted.variances[number], variance, atol=1e-5)
    assert int(fitted.steps[number]) == taken


def test_fit_is_scikit_learns_where_both_go_to_the_end():
  values, high = two_piles(1)
  fitted = fit_side_by_side(values, values, max_steps=200, tolerance=1e-6)
  theirs = sklearn_mixture.GaussianMixture(2, reg_covar=5e-4, max_iter=500, tol=1e-9)
  theirs.fit(values[:, None])
  order = theirs.means_[:, 0].argsort()
  np.testing.assert_allclose(fitted.means[0], theirs.means_[order, 0], atol=2e-4)
  np.testing.assert_allclose(fitted.variances[0], theirs.covariances_[order, 0, 0], atol=2e-5)
  shares = shares_of(fitted, 0, values)
  np.testing.assert_allclose(shares, theirs.predict_proba(values[:, None])[:, order], atol=2e-3)
  assert ((shares[:, 0] > 0.5) != high).mean() > 0.99


def test_equal_values_and_no_values_give_finite_numbers():
  fitted = fit_side_by_side(np.full(5, 0.25), [])
  assert all(np.isfinite(parameter).all() for parameter in fitted[:3])
  assert 0.25 in np.asarray(fitted.means[0])
  assert np.isfinite(shares_of(fitted, 0, np.zeros(200))).all()
  assert np.isfinite(shares_of(fitted, 1, np.zeros(200))).all()


@pytest.mark.parametrize(
  'values, weights', [(np.zeros(0), None), (np.float32(1.0), None), (np.ones(3), np.ones(2))]
)
def test_wrong_shapes_are_told(values, weights):
  with pytest.raises(UserError, match=r'^A mixture .*\.$'):
    mixtures.fit(values, weights)

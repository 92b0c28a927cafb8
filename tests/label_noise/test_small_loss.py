"""Small-loss selection against loops, scikit-learn's mixture and a set whose flips are known."""

import numpy as np
import pytest
from sklearn import mixture as sklearn_mixture

from jaxdistill import label_noise, metrics
from jaxdistill.errors import UserError


def epochs_of_a_network(number=300, labels=2, epochs=3, seed=0):
  """Noisy labels, their truth, and probabilities of a network that leans to the truth."""
  rng = np.random.default_rng(seed)
  truth = rng.integers(0, 2, (number, labels))
  noise = label_noise.corrupt_multilabel(truth, 0.2, 0.3, seed=seed)
  sure = rng.beta(8, 3, (epochs, number, labels))
  return noise.labels, truth, np.where(truth, sure, 1 - sure)


def test_selection_is_the_loops_and_scikit_learns():
  noisy, truth, probabilities = epochs_of_a_network()
  selected = label_noise.select_small_losses(probabilities, noisy)
  agreed = 0
  for label in range(2):
    for value in (0, 1):
      members = noisy[:, label] == value
      chance = probabilities[:, members, label]
      losses = -np.log(chance if value else 1 - chance)
      low, high = losses.min(1, keepdims=True), losses.max(1, keepdims=True)
      scaled = ((losses - low) / (high - low)).mean(0)[:, None]
      theirs = sklearn_mixture.GaussianMixture(
        2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0
      ).fit(scaled)
      shares = theirs.predict_proba(scaled)[:, theirs.means_[:, 0].argmin()]
      agreed += ((shares > 0.5) == selected[members, label]).sum()
  assert agreed / noisy.size > 0.98
  assert metrics.retrieval(selected, noisy == truth).precision > 0.95


def test_harmless_values_are_selected_whole():
  noisy, _, probabilities = epochs_of_a_network()
  both = label_noise.select_small_losses(probabilities, noisy)
  for harmless, value in (('missing', 1), ('partial', 0)):
    selected = label_noise.select_small_losses(probabilities, noisy, harmless=harmless)
    assert selected[noisy == value].all()
    np.testing.assert_array_equal(selected[noisy != value], both[noisy != value])


def test_a_higher_threshold_selects_less():
  noisy, _, probabilities = epochs_of_a_network()
  some = label_noise.select_small_losses(probabilities, noisy)
  fewer = label_noise.select_small_losses(probabilities, noisy, threshold=0.999)
  assert fewer.sum() < some.sum() and not (fewer & ~some).any()


def test_certain_errors_are_never_selected():
  noisy, _, probabilities = epochs_of_a_network()
  probabilities[:, :3] = 1 - noisy[:3]  # probability 0
  selected = label_noise.select_small_losses(probabilities, noisy)
  assert not selected[:3].any() and selected[3:].any()


@pytest.mark.parametrize(
  'arguments, fields, words',
  [
    ((np.ones((3, 2)), np.ones((3, 2))), {}, r'\[epochs, n, q\]'),
    ((np.ones((1, 3, 2)), np.ones((2, 2))), {}, '2 examples with labels and 3'),
    ((np.ones((1, 3, 2)), np.ones((3, 1))), {}, r'\[n, 2\]'),
    ((np.full((1, 3, 2), 2), np.ones((3, 2))), {}, 'Probabilities must be from 0 to 1'),
    ((np.ones((1, 3, 2)), np.ones((3, 2))), dict(threshold=2), 'threshold is 2'),
    ((np.ones((1, 3, 2)), np.ones((3, 2))), dict(added_variance=-1.0), 'added_variance is -1.0'),
    ((np.ones((1, 3, 2)), np.ones((3, 2))), dict(harmless='no'), "kind of flips 'no'"),
  ],
)
def test_what_cannot_be_read_is_told(arguments, fields, words):
  with pytest.raises(UserError, match=words):
    label_noise.select_small_losses(*arguments, **fields)

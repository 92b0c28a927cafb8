"""Transitions of several labels by counting: the closed form, what is refused, what stands in."""

import numpy as np
import pytest

from jaxdistill import label_noise, metrics
from jaxdistill.errors import UserError
from jaxdistill.label_noise import multilabel

# Joint probabilities of two correlated clean labels: P(0, 0), P(0, 1), P(1, 0), P(1, 1).
CELLS = np.array([0.55, 0.05, 0.05, 0.35])


def two_labels(number, seed=0, cells=CELLS):
  cell = np.random.default_rng(seed).choice(4, number, p=cells)
  return np.stack([cell // 2, cell % 2], 1)


def topics(number=20000, labels=5, seed=0):
  """Labels that follow two hidden topics."""
  rng = np.random.default_rng(seed)
  topic = rng.integers(0, 2, number)
  chance = np.array([[0.6, 0.5, 0.1, 0.1, 0.3], [0.1, 0.15, 0.5, 0.6, 0.4]])[:, :labels]
  return (rng.random((number, labels)) < chance[topic]).astype(int)


def test_flips_have_their_rates_and_one_seed_one_result():
  truth = topics()
  rates = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
  noise = label_noise.corrupt_multilabel(truth, rates, 0.25, seed=3)
  np.testing.assert_array_equal(noise.truth, truth)
  np.testing.assert_allclose(noise.transition[:, 0, 1], rates)
  np.testing.assert_allclose(noise.transition.sum(2), 1)
  for label in range(5):
    for value in (0, 1):
      members = truth[:, label] == value
      share = noise.labels[members, label].mean()
      error = np.sqrt(noise.transition[label, value].prod() / members.sum())
      assert abs(share - noise.transition[label, value, 1]) <= 3 * error
      assert noise.realised[label, value, 1] == pytest.approx(share)
  again = label_noise.corrupt_multilabel(truth, rates, 0.25, seed=3)
  np.testing.assert_array_equal(noise.labels, again.labels)
  other = label_noise.corrupt_multilabel(truth, rates, 0.25, seed=4)
  assert (noise.labels != other.labels).any()


def closed_form_error(number, seed):
  truth = two_labels(number, seed)
  noisy = label_noise.corrupt_multilabel(truth, 0.1, 0.3, seed=seed + 1).labels
  # M by the clean label of all examples, E by the noisy one.
  joint = np.bincount(noisy[:, 0] * 2 + noisy[:, 1], minlength=4).reshape(2, 2) / number
  cells = np.bincount(truth[:, 0] * 2 + noisy[:, 1], minlength=4).reshape(2, 2)
  prior, rates = multilabel.solve(joint, cells / cells.sum(1, keepdims=True))
  return np.abs(np.append(rates - [0.1, 0.3], prior - 0.4)).max()


def test_closed_form_recovers_prior_and_rates_from_clean_co_occurrence():
  assert closed_form_error(200000, 0) < 0.005
  errors = [
    np.mean([closed_form_error(number, seed) for seed in range(5)]) for number in (2000, 200000)
  ]
  assert 4 < errors[0] / errors[1] < 25  # as 1 / sqrt(n): 10


def test_without_noise_the_matrix_is_the_identity():
  truth = topics()
  for choice in multilabel.CHOICES:
    exact = label_noise.multilabel_transition(truth, np.ones_like(truth), choice=choice)
    np.testing.assert_allclose(exact.transition, np.broadcast_to(np.eye(2), (5, 2, 2)), atol=1e-9)
    np.testing.assert_allclose(exact.prior, truth.mean(0), atol=1e-9)
    np.testing.assert_array_equal(exact.accepted, ~np.eye(5, dtype=bool))


@pytest.mark.parametrize('choice', multilabel.CHOICES)
@pytest.mark.parametrize('flips', [(0.1, 0.3), (0.0, 0.6), (0.6, 0.0)])
def test_right_selections_give_the_matrices(choice, flips):
  truth = topics(40000)
  noise = label_noise.corrupt_multilabel(truth, *flips, seed=1)
  clean = noise.labels == truth
  result = label_noise.multilabel_transition(noise.labels, clean, choice=choice)
  errors = metrics.transition_errors(noise.transition, result.transition)
  assert errors.max() < 0.12
  assert (result.partner >= 0).all() and (result.partner != np.arange(5)).all()
  taken = result.rates[np.arange(5), result.partner]
  np.testing.assert_array_equal(result.transition[:, 0, 1], taken[:, 0])
  np.testing.assert_array_equal(result.transition[:, 1, 0], taken[:, 1])


def counted_by_loops(noisy, selected, label, partner):
  joint, conditional = np.zeros((2, 2)), np.zeros((2, 2))
  for a in (0, 1):
    members = noisy[selected[:, label] & (noisy[:, label] == a), partner]
    for b in (0, 1):
      joint[a, b] = ((noisy[:, label] == a) & (noisy[:, partner] == b)).mean()
      conditional[a, b] = (members == b).mean()
  prior = (conditional[0, 0] - joint[:, 0].sum()) / (conditional[0, 0] - conditional[1, 0])
  matrix = (joint @ np.linalg.inv(conditional) @ np.diag([1 / (1 - prior), 1 / prior])).T
  return joint, conditional, prior, matrix


def test_candidates_and_both_choices_are_those_of_loops():
  truth = topics(3000)
  noise = label_noise.corrupt_multilabel(truth, 0.2, 0.2, seed=2)
  selected = (noise.labels == truth) | (np.random.default_rng(0).random(truth.shape) < 0.1)
  results = {
    choice: label_noise.multilabel_transition(noise.labels, selected, choice=choice, lift=0.0)
    for choice in multilabel.CHOICES
  }
  for label in range(5):
    candidates = {}
    for partner in range(5):
      if partner == label:
        continue
      counted = counted_by_loops(noise.labels, selected, label, partner)
      prior, matrix = counted[2:]
      if 0 < prior < 1 and (matrix >= 0).all() and matrix[0, 1] + matrix[1, 0] < 1:
        candidates[partner] = counted
    accepted = results['medoid'].accepted[label]
    np.testing.assert_array_equal(np.flatnonzero(accepted), list(candidates))
    medoid = {
      one: sum(np.abs(candidates[one][3] - candidates[other][3]).sum() for other in candidates)
      for one in candidates
    }
    released = {}
    for one, (_, _, prior, matrix) in candidates.items():
      released[one] = 0.0
      for other in range(5):
        if other == label:
          continue
        joint, conditional, _, _ = counted_by_loops(noise.labels, selected, label, other)
        n = np.diag([1 - prior, prior]) @ conditional
        det = n[0, 0] * n[1, 1] - n[0, 1] * n[1, 0]
        released[one] += abs(matrix[0, 1] * det - n[1, 1] * joint[1, 0] + n[1, 0] * joint[1, 1])
        released[one] += abs(matrix[1, 0] * det - n[0, 0] * joint[0, 1] + n[0, 1] * joint[0, 0])
    for choice, costs in (('medoid', medoid), ('released', released)):
      partner = results[choice].partner[label]  # of two candidates both are medoids
      assert costs[partner] == pytest.approx(min(costs.values()), abs=1e-9)
      np.testing.assert_allclose(results[choice].transition[label], candidates[partner][3])
      np.testing.assert_allclose(results[choice].prior[label], candidates[partner][2])


def test_independent_partners_are_refused_or_outvoted():
  rng = np.random.default_rng(0)
  truth = np.concatenate([topics(20000, 3), rng.random((20000, 1)) < 0.4], 1).astype(int)
  noise = label_noise.corrupt_multilabel(truth, 0.1, 0.3, seed=1)
  result = label_noise.multilabel_transition(noise.labels, noise.labels == truth)
  for label in range(3):
    assert result.partner[label] != 3
  # Exactly independent: M is singular.
  exact = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 100)
  result = label_noise.multilabel_transition(exact, np.ones_like(exact))
  assert not result.accepted.any() and np.isnan(result.transition).all()


def test_two_labels_alone_do_not_tell_the_matrix():
  """Theorem 1 of the paper: another T, p and M give the same E; only M tells which it was."""
  clean = CELLS.reshape(2, 2)
  first = np.array([[0.9, 0.1], [0.3, 0.7]])
  joint = first.T @ clean
  second = np.array([[0.95, 0.05], [0.2, 0.8]])
  other = np.linalg.solve(second.T, joint)  # diag(1 - p, p) M of the second
  assert (other > 0).all()
  np.testing.assert_allclose(second.T @ other, joint)
  for matrix, cells in ((first, clean), (second, other)):
    prior, rates = multilabel.solve(joint, cells / cells.sum(1, keepdims=True))
    np.testing.assert_allclose(rates, [matrix[0, 1], matrix[1, 0]])
    np.testing.assert_allclose(prior, cells[1].sum())


def test_dual_t_stands_in_where_no_partner_serves():
  exact = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 100)
  probabilities = np.where(exact, 0.8, 0.1) + np.linspace(0, 0.05, 400)[:, None]
  result = label_noise.multilabel_transition(exact, np.ones_like(exact), probabilities)
  dual = label_noise.transition(exact, probabilities)
  np.testing.assert_array_equal(result.transition, dual)
  assert (result.partner == -1).all()
  off, on = dual[:, 0, 1], dual[:, 1, 1]
  np.testing.assert_allclose(result.prior, (0.5 - off) / (on - off))


def test_too_few_selected_serve_nobody():
  truth = topics(2000)
  selected = np.ones_like(truth)
  on = np.flatnonzero(truth[:, 2])
  selected[on[49:], 2] = 0
  result = label_noise.multilabel_transition(truth, selected)
  assert not result.accepted[2].any() and np.isnan(result.transition[2]).all()
  assert label_noise.multilabel_transition(truth, selected, least_selected=49).accepted[2].any()


def test_harmless_values_fix_a_rate_and_small_negative_rates_are_lifted():
  truth = topics(4000)
  noise = label_noise.corrupt_multilabel(truth, 0.0, 0.5, seed=1)
  selected = (noise.labels == truth) & (np.random.default_rng(0).random(truth.shape) < 0.3)
  missing = label_noise.multilabel_transition(noise.labels, selected, harmless='missing')
  assert (missing.transition[:, 0, 1] == 0).all()
  partial = label_noise.multilabel_transition(noise.labels, selected, harmless='partial')
  assert (partial.rates[partial.accepted][:, 1] == 0).all()
  strict = label_noise.multilabel_transition(noise.labels, selected, lift=0.0)
  lifted = label_noise.multilabel_transition(noise.labels, selected)  # by .3 / 5
  new = lifted.accepted & ~strict.accepted
  assert new.any() and not (strict.accepted & ~lifted.accepted).any()
  assert (lifted.rates[new].min(1) == 0).all()


@pytest.mark.parametrize('harmless, row', [('missing', 0), ('partial', 1)])
def test_what_is_harmless_is_so_where_dual_t_stands_in(harmless, row):
  truth = topics(2000)
  noisy = label_noise.corrupt_multilabel(truth, 0.1, 0.2, seed=1).labels
  likely = np.where(truth, 0.8, 0.2) + np.random.default_rng(0).uniform(-0.15, 0.15, truth.shape)
  given = noisy, np.zeros_like(noisy), likely
  (dual, _, *_), (known, prior, *_) = (
    label_noise.multilabel_transition(*given, harmless=kind) for kind in ('both', harmless)
  )
  assert (dual[:, row, 1 - row] > 0).any()
  np.testing.assert_array_equal(known[:, row], np.tile(np.eye(2)[row], (5, 1)))
  np.testing.assert_allclose(known[:, 1 - row], dual[:, 1 - row])
  # The share of noisy ones follows from the prior and the rates that are told.
  shares = (1 - prior) * known[:, 0, 1] + prior * known[:, 1, 1]
  inside = (prior > 0) & (prior < 1)
  assert inside.any()
  np.testing.assert_allclose(shares[inside], noisy.mean(0)[inside])


EYE = np.eye(3, dtype=int)


def test_a_matrix_may_be_a_nested_list():
  noise = label_noise.corrupt_multilabel([[0, 1], [1, 1]], 1.0, 0.0)
  assert noise.labels.tolist() == [[1, 1], [1, 1]]
  given = [[0, 1], [1, 0], [1, 1]]
  counted = label_noise.multilabel_transition(given, [[True, True]] * 3, least_selected=1)
  np.testing.assert_array_equal(
    counted.rates,
    label_noise.multilabel_transition(np.array(given), np.ones((3, 2)), least_selected=1).rates,
  )


@pytest.mark.parametrize(
  'call, words',
  [
    (lambda: label_noise.corrupt_multilabel(EYE, 1.5), r'false_positive is 1\.5; rates must be'),
    (lambda: label_noise.corrupt_multilabel(EYE, 0, -0.1), r'false_negative is -0\.1'),
    (lambda: label_noise.corrupt_multilabel(EYE, 0, [0.1, 0.2]), 'each of the 3 labels'),
    (lambda: label_noise.corrupt_multilabel(EYE, np.nan), 'rates must be from 0 to 1'),
    (lambda: label_noise.corrupt_multilabel(EYE * 2, 0.1), 'holds 0 and 1'),
    (lambda: label_noise.corrupt_multilabel([[0], [0, 2]], 0.1), 'a matrix of 0 and 1 here'),
    (lambda: label_noise.corrupt_multilabel(EYE, 0.1, seed=-1), 'seed is -1'),
    (lambda: label_noise.multilabel_transition(EYE, EYE[:2]), 'a mark a label'),
    (lambda: label_noise.multilabel_transition(EYE, EYE, choice='best'), "no choice 'best'"),
    (lambda: label_noise.multilabel_transition(EYE, EYE, harmless='none'), "kind of flips 'none'"),
    (lambda: label_noise.multilabel_transition(EYE, EYE, EYE * 2.0), 'Probabilities must be'),
  ],
)
def test_what_cannot_be_is_told(call, words):
  with pytest.raises(UserError, match=words):
    call()

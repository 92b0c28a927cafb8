"""Several labels an example, flipped label by label: made, and estimated by counting.

T[j] is a matrix 2 x 2 for label j, rows clean 0 and 1, columns noisy 0 and 1; its false positives
T[j, 0, 1] = P(noisy 1 | clean 0) are written rho-, its false negatives T[j, 1, 0] rho+. On the
host, in float64.
"""

from typing import NamedTuple

import numpy as np

from jaxdistill import errors
from jaxdistill.label_noise import evidence
from jaxdistill.label_noise.transitions import transition

CHOICES = ('medoid', 'released')
# Which noisy value is certainly clean: with missing labels a 1, with surplus ones a 0.
HARMLESS = ('both', 'missing', 'partial')
# Which of the rates rho- and rho+ is 0 then.
_CERTAIN = {'missing': 0, 'partial': 1}


class MultilabelNoise(NamedTuple):
  """Labels with flips; q labels, n examples."""

  labels: np.ndarray  # int32 [n, q], noisy
  truth: np.ndarray  # int32 [n, q]
  transition: np.ndarray  # [q, 2, 2], by which was drawn
  realised: np.ndarray  # [q, 2, 2], the shares counted; a row without examples is zeros


class MultilabelTransition(NamedTuple):
  """What is estimated for q labels; rows of `accepted` and `rates` are labels, columns partners."""

  transition: np.ndarray  # [q, 2, 2]; nan where nothing serves
  prior: np.ndarray  # [q], P(clean label is 1)
  accepted: np.ndarray  # bool [q, q], whether the partner's candidate is a possible one
  partner: np.ndarray  # int32 [q], whose candidate was taken; -1: none serves
  rates: np.ndarray  # [q, q, 2], the candidates' rho- and rho+; nan where not accepted


def corrupt_multilabel(
  labels: np.ndarray,
  false_positive: float | np.ndarray = 0.0,
  false_negative: float | np.ndarray = 0.0,
  seed: int = 0,
) -> MultilabelNoise:
  """Flips labels independently, each by the rate of its value.

  Args:
    labels: clean, a matrix of 0 and 1 [n, q].
    false_positive: rho-, of 0 to 1; one rate, or [q].
    false_negative: rho+, of 1 to 0; one rate, or [q].
    seed: of the draws, by numpy's frozen `RandomState`.

  Raises:
    UserError: for labels other than 0 and 1, rates outside [0, 1], or as many rates as no labels.

  Source: the class-wise flips of MLNTM (Li et al., NeurIPS 2022).

  >>> noise = corrupt_multilabel(np.array([[0, 1]] * 4), false_negative=1.0)
  >>> noise.labels.tolist(), noise.realised[1].tolist()
  ([[0, 0], [0, 0], [0, 0], [0, 0]], [[0.0, 0.0], [1.0, 0.0]])
  """
  truth = evidence.label_matrix(labels)
  number = truth.shape[1]
  rates = [
    _rates(name, rate, number)
    for name, rate in (('false_positive', false_positive), ('false_negative', false_negative))
  ]
  draws = np.random.RandomState(errors.seed(seed)).random_sample(truth.shape)
  noisy = truth ^ (draws < np.where(truth, rates[1], rates[0]))
  realised = np.zeros((number, 2, 2))
  for value in (0, 1):
    members = (truth == value).sum(0)
    ones = (noisy & (truth == value)).sum(0)
    some = members > 0
    share = ones[some] / members[some]
    realised[some, value] = np.stack([1 - share, share], 1)
  matrices = _matrices(*rates)
  return MultilabelNoise(noisy.astype(np.int32), truth.astype(np.int32), matrices, realised)


def multilabel_transition(
  noisy: np.ndarray,
  selected: np.ndarray,
  probabilities: np.ndarray | None = None,
  choice: str = 'medoid',
  harmless: str = 'both',
  lift: float | None = None,
  least_selected: int = 50,
) -> MultilabelTransition:
  """Estimates every label's transition by counting its co-occurrence with the other labels.

  For label j and a partner i, E[a, b] = P(noisy j = a, noisy i = b) is counted over all examples
  and M[k, b] = P(noisy i = b | clean j = k) over those selected for j, where the label is taken for
  clean. As E = T^T diag(1 - p, p) M, each partner gives a candidate for p and T (see `solve`),
  accepted where 0 < p < 1, both rates are in [0, 1] and their sum is below 1. Of these is taken
    medoid: the one with the least sum of absolute differences from the others (the paper);
    released: the one that leaves the least in the equations of all partners, rho- det = ... and
      rho+ det = ... of `solve`, undivided, so that partners with little to say count little (the
      public code).
  Of equally good ones the lowest index.

  Args:
    noisy: a matrix of 0 and 1 [n, q].
    selected: bool [n, q], where the noisy label is taken for clean; see `select_small_losses`.
    probabilities: of the noisy labels, [n, q]: where no partner serves, Dual-T (see `transition`)
      is taken, its harmless rate set to 0. Without them such a label's matrix is nan.
    choice: see above.
    harmless: 'missing': no label was added, so rho- = 0; 'partial': none was taken away, rho+ = 0;
      'both': neither is known.
    lift: rates from -lift to 0 count as 0; None: 0.3 / q, as in the public code.
    least_selected: for a label with fewer selected examples of either value no partner serves.

  Raises:
    UserError: for unknown names, shapes that do not fit, or numbers other than 0 and 1.

  Source: MLNTM (Li et al., NeurIPS 2022) and its public code, which leaves T = 0 where fewer than
    50 are selected; Dual-T there, and `harmless` as an option instead of a look at the true T, are
    our choices.

  >>> truth = np.repeat([[0, 0], [1, 1], [0, 1], [1, 0]], [400, 300, 100, 200], 0)
  >>> exact = multilabel_transition(truth, np.ones_like(truth))
  >>> exact.transition.round(6).tolist()[0], exact.prior.round(6).tolist()
  ([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.4])
  """
  if choice not in CHOICES:
    raise errors.unknown('choice', choice, CHOICES)
  check_harmless(harmless)
  noisy, selected = evidence.label_matrix(noisy), evidence.label_matrix(selected)
  if noisy.shape != selected.shape:
    raise errors.UserError(
      f'The selection has a mark a label, {noisy.shape}; got {selected.shape}.'
    )
  fallback = None if probabilities is None else transition(noisy, probabilities, 'dual')
  number = noisy.shape[1]
  lift = 0.3 / number if lift is None else lift
  joint, conditional, counts = _counted(noisy, selected)
  prior, rates = solve(joint, conditional)
  if harmless != 'both':
    rates[..., _CERTAIN[harmless]] = 0
  rates = np.where((rates < 0) & (rates >= -lift), 0, rates)
  accepted = _possible(prior, rates)
  accepted &= (counts.min(0) >= least_selected)[:, None] & ~np.eye(number, dtype=bool)
  rates = np.where(accepted[..., None], rates, np.nan)
  taken = np.full(number, -1, np.int32)
  for label in np.flatnonzero(accepted.any(1)):
    partners = np.flatnonzero(accepted[label])
    if choice == 'medoid':
      candidates = rates[label, partners]
      cost = np.abs(candidates[:, None] - candidates[None]).sum((1, 2))
    else:
      cost = _left(label, partners, joint, conditional, prior, rates)
    taken[label] = partners[cost.argmin()]
  return _result(noisy, taken, prior, rates, accepted, _harmless(fallback, harmless))


def solve(joint: np.ndarray, conditional: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Solves E = T^T diag(1 - p, p) M for p and the rates of T.

  p makes the clean label explain how often the partner is 0:
    p = (M[0, 0] - E[0, 0] - E[1, 0]) / (M[0, 0] - M[1, 0]).
  With N = diag(1 - p, p) M and det its determinant,
    rho- det = N[1, 1] E[1, 0] - N[1, 0] E[1, 1],  rho+ det = N[0, 0] E[0, 1] - N[0, 1] E[0, 0].

  Args:
    joint: E, [..., 2, 2], rows the noisy label, columns the partner.
    conditional: M, [..., 2, 2], rows the clean label, columns the partner.

  Returns:
    p [...] and (rho-, rho+) [..., 2]; not finite where M is singular.

  >>> transition, clean = np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([[0.48, 0.12], [0.1, 0.3]])
  >>> prior, rates = solve(transition.T @ clean, clean / clean.sum(1, keepdims=True))
  >>> prior.round(6).tolist(), rates.round(6).tolist()
  (0.4, [0.1, 0.3])
  """
  with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
    partner_off = joint[..., 0, 0] + joint[..., 1, 0]
    first, second = conditional[..., 0, 0], conditional[..., 1, 0]
    prior = (first - partner_off) / (first - second)
    determinant, right = _equations(joint, conditional, prior)
    return prior, right / determinant[..., None]


def check_harmless(harmless: str) -> None:
  """Raises `UserError` for what is no kind of harmless value.

  >>> check_harmless('mising')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no kind of flips 'mising'; did you mean 'missing'? ...
  """
  if harmless not in HARMLESS:
    raise errors.unknown('kind of flips', harmless, HARMLESS)


def _equations(joint, conditional, prior):
  """The determinant and the right sides of the two equations of `solve`, [...] and [..., 2]."""
  off = conditional[..., 0, :] * (1 - prior)[..., None]  # N[0]
  on = conditional[..., 1, :] * prior[..., None]  # N[1]
  determinant = off[..., 0] * on[..., 1] - off[..., 1] * on[..., 0]
  false_positive = on[..., 1] * joint[..., 1, 0] - on[..., 0] * joint[..., 1, 1]
  false_negative = off[..., 0] * joint[..., 0, 1] - off[..., 1] * joint[..., 0, 0]
  return determinant, np.stack([false_positive, false_negative], -1)


def _counted(noisy, selected):
  """E and M of all pairs [q, q, 2, 2], and the numbers of selected zeros and ones [2, q]."""
  ones = noisy.astype(np.float64)
  number = len(noisy)
  both = ones.T @ ones / number
  share = ones.mean(0)
  row, column = share[:, None] - both, share[None] - both
  off = 1 - share[:, None] - column
  joint = np.stack([np.stack([off, column], -1), np.stack([row, both], -1)], -2)
  chosen = np.stack([selected & ~noisy, selected & noisy]).astype(np.float64)
  counts = chosen.sum(1)
  with np.errstate(divide='ignore', invalid='ignore'):
    on = np.stack([value.T @ ones for value in chosen], -2) / counts.T[..., None]
  conditional = np.stack([1 - on, on], -1)
  return joint, np.swapaxes(conditional, 1, 2), counts


def _possible(prior, rates):
  with np.errstate(invalid='ignore'):
    possible = (prior > 0) & (prior < 1)
    return possible & ((rates >= 0) & (rates <= 1)).all(-1) & (rates.sum(-1) < 1)


def _left(label, candidates, joint, conditional, prior, rates):
  """Sum over all other labels of what each candidate [m] leaves in the equations of `solve`."""
  others = np.delete(np.arange(len(joint)), label)
  left = []
  for candidate in candidates:
    every = np.full(len(others), prior[label, candidate])
    determinant, right = _equations(joint[label, others], conditional[label, others], every)
    left.append(np.abs(rates[label, candidate] * determinant[:, None] - right).sum())
  return np.array(left)


def _harmless(matrices, harmless):
  """Matrices [q, 2, 2], or None, with the rate at 0 that is known to be."""
  if matrices is None or harmless == 'both':
    return matrices
  rates = np.stack([matrices[:, 0, 1], matrices[:, 1, 0]])
  rates[_CERTAIN[harmless]] = 0
  return _matrices(*rates)


def _result(noisy, taken, prior, rates, accepted, fallback):
  labels = np.arange(len(taken))
  served = taken >= 0
  matrices = np.full((len(taken), 2, 2), np.nan) if fallback is None else fallback.copy()
  chosen = rates[labels, taken]
  matrices[served] = _matrices(chosen[served, 0], chosen[served, 1])
  false_positive, false_negative = matrices[:, 0, 1], matrices[:, 1, 0]
  with np.errstate(divide='ignore', invalid='ignore'):
    by_share = (noisy.mean(0) - false_positive) / (1 - false_positive - false_negative)
  prior = np.where(served, prior[labels, taken], np.clip(by_share, 0, 1))
  return MultilabelTransition(matrices, prior, accepted, taken, rates)


def _rates(name, rate, number):
  rate = np.asarray(rate)
  if rate.dtype.kind not in 'iuf' or rate.shape not in ((), (number,)):
    raise errors.UserError(f'{name} is one rate, or one for each of the {number} labels.')
  if not ((rate >= 0) & (rate <= 1)).all():
    raise errors.UserError(f'{name} is {rate.tolist()}; rates must be from 0 to 1.')
  return np.broadcast_to(rate, number).astype(np.float64)


def _matrices(false_positive, false_negative):
  rows = [1 - false_positive, false_positive, false_negative, 1 - false_negative]
  return np.stack(rows, -1).reshape(*np.shape(false_positive), 2, 2)

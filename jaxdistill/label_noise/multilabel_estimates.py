"""Transitions of a matrix of labels by what networks answered while they learned it: MLNTM's, and
those that it is compared with."""

from typing import Literal

import numpy as np

from jaxdistill.label_noise.multilabel import MultilabelTransition, multilabel_transition
from jaxdistill.label_noise.small_loss import select_small_losses
from jaxdistill.label_noise.transitions import transition

Estimator = Literal['mlntm', 'dual_t', 't_97', 't_max']
Harmless = Literal['both', 'missing', 'partial']
Choice = Literal['medoid', 'released']


def estimate(
  estimator: Estimator,
  noisy: np.ndarray,
  early: np.ndarray,
  best: np.ndarray,
  *,
  tau: float = 0.5,
  choice: Choice = 'medoid',
  harmless: Harmless = 'both',
  least_selected: int = 50,
) -> np.ndarray:
  """Returns T, float64 [q, 2, 2], rows clean, columns noisy.

  mlntm: small losses of the early epochs select the labels that are taken for clean, and the
    co-occurrence of the others with them gives T, see `select_small_losses` and
    `multilabel_transition`; Dual-T where no partner serves.
  t_max, t_97, dual_t: see `transition`; t_97 leaves the largest 3 % aside.

  Args:
    estimator: see above.
    noisy: a matrix of 0 and 1 [n, q].
    early: probabilities after some epochs early in the training, [epochs, n, q].
    best: probabilities of each label after its best epoch, [n, q].
    tau, choice, harmless, least_selected: of mlntm.

  >>> truth = np.repeat([[0, 0], [1, 1], [0, 1], [1, 0]], [400, 300, 100, 200], 0)
  >>> answers = np.where(truth, 0.9, 0.1) + np.linspace(0, 0.05, 1000)[:, None]
  >>> estimate('t_max', truth, answers[None], answers).round(2).tolist()[0]
  [[0.9, 0.1], [0.05, 0.95]]
  """
  if estimator == 'mlntm':
    selected = select_small_losses(early, noisy, tau, harmless)
    counted = multilabel_transition(
      noisy, selected, best, choice, harmless, least_selected=least_selected
    )
    return counted.transition
  if estimator == 'dual_t':
    return transition(noisy, best, 'dual')
  return transition(noisy, best, 'max', 97 if estimator == 't_97' else None)


def oracle(
  noisy: np.ndarray, truth: np.ndarray, choice: Choice = 'medoid', harmless: Harmless = 'both'
) -> MultilabelTransition:
  """Returns what MLNTM counts where exactly the labels that are right are selected: what is left of
  its error when the selection has none. No method knows these labels; as all of them are right, few
  serve too.

  >>> truth = np.repeat([[0, 0], [1, 1], [0, 1], [1, 0]], [400, 300, 100, 200], 0)
  >>> oracle(truth, truth).transition.round(6).tolist()[1]
  [[1.0, 0.0], [0.0, 1.0]]
  """
  selected = np.asarray(noisy) == np.asarray(truth)
  return multilabel_transition(noisy, selected, choice=choice, harmless=harmless, least_selected=1)
